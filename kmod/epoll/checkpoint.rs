// SPDX-License-Identifier: GPL-2.0
//! Reads the entries of a poll, and confirms which files they are about.

use crate::WORD;
use cr_format::{EpollRecord, WatchRecord};
use cr_logic::epoll::{confirms, watches, Watch};
use crkit::{
    objects,
    sys::{epoll, file::FileRef, open_file::descriptors},
    Checkpoint, Obstacle,
};
use kernel::{prelude::*, str::CString};

/// Numbering of entries, apart from that of files (see `object_in`).
const WATCHES: u16 = 2;

/// Emits the records of one poll.
///
/// They are with the first process that has the poll and, under their numbers, all files that it watches: there the
/// entries can be added again.
pub(crate) fn file(cx: &Checkpoint<'_>, poll: &FileRef, id: u32) -> Result {
    let text = poll.fdinfo()?;
    let mut list: KVVec<Watch> = KVVec::new();
    for w in watches(&text) {
        list.push(w.ok_or_else(|| objects::not_understood(cx, WORD))?, GFP_KERNEL)?;
    }
    // The kernel's order is that of addresses of files; numbers say more to people, and are a rule.
    list.sort_unstable_by_key(|w| w.fd);
    let holds = |p: &Checkpoint<'_>| descriptors(p.leader()).any(|(_, f)| f.as_ptr() == poll.as_ptr());
    let mut all = cx.all_processes().filter(|p| !p.is_zombie() && holds(p));
    let Some(home) = all.find(|p| strangers(p, poll, &list).next().is_none()) else {
        for w in strangers(&cx.own(), poll, &list) {
            let object = CString::try_from_fmt(fmt!("entry for descriptor {}", w.fd))?;
            cx.obstacle(Obstacle {
                fd: cx.descriptor_of(poll),
                ..Obstacle::new(
                    WORD,
                    object.to_bytes(),
                    "the descriptor that was added has been closed or replaced since, while its file is still watched",
                    "have the program remove the entry, or close all descriptors of that file",
                )
            })?;
        }
        return Ok(());
    };
    home.emit(&EpollRecord { id, file: id.into(), entries: list.len() as u64 })?;
    for w in list.iter() {
        // Entries of all polls of a process are numbered together.
        let number = home.number(WATCHES)?;
        home.emit(&WatchRecord { id: number, epoll: id.into(), fd: w.fd.into(), events: w.events.into(), data: w.data })?;
    }
    Ok(())
}

/// The entries, ascending by descriptor, whose files do not have these numbers in the process.
fn strangers<'a>(cx: &Checkpoint<'a>, poll: &'a FileRef, list: &'a [Watch]) -> impl Iterator<Item = &'a Watch> + 'a {
    let leader = cx.leader();
    let mut table = descriptors(leader).peekable();
    list.iter().filter(move |w| {
        // Both ascend, so one pass over the descriptors is enough.
        while table.next_if(|(fd, _)| *fd < w.fd).is_some() {}
        !table.peek().is_some_and(|(fd, f)| *fd == w.fd && is_about(poll, f, w))
    })
}

/// Is the entry `w` of `poll` about `file`? See `cr_logic::epoll::confirms`.
fn is_about(poll: &FileRef, file: &FileRef, w: &Watch) -> bool {
    let (file_key, poll_key) = (file.as_ptr() as u64, poll.private_data() as u64);
    epoll::hooks(file, |before, behind| confirms(before, behind, file_key, poll_key, w))
}
