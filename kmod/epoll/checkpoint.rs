// SPDX-License-Identifier: GPL-2.0
//! Reads the entries of a poll, and confirms which files they are about.

use crate::WORD;
use cr_format::{EpollRecord, WatchRecord};
use cr_logic::epoll::{confirms, watches, Watch};
use crkit::{
    objects,
    sys::{epoll, file::FileRef, open_file::descriptors},
    Checkpoint, Obstacle, RecordBuf,
};
use kernel::{prelude::*, str::CString};

/// Numbering of entries, apart from that of files (see `object_in`).
const WATCHES: u16 = 2;

/// Emits the records of one poll.
pub(crate) fn file(cx: &Checkpoint<'_>, poll: &FileRef, id: u32) -> Result {
    let text = poll.fdinfo()?;
    let mut list: KVVec<Watch> = KVVec::new();
    for w in watches(&text) {
        list.push(w.ok_or_else(|| objects::not_understood(cx, WORD))?, GFP_KERNEL)?;
    }
    // The kernel's order is that of addresses of files; numbers say more to people, and are a rule.
    list.sort_unstable_by_key(|w| w.fd);
    let own = descriptors(cx.leader()).find(|(_, f)| f.as_ptr() == poll.as_ptr()).map_or(-1, |(fd, _)| fd.into());
    let mut records = RecordBuf::new();
    let mut table = descriptors(cx.leader());
    let mut clear = true;
    for w in list.iter() {
        // Both ascend, so one pass over the descriptors is enough.
        let file = table.by_ref().find(|(fd, _)| *fd >= w.fd);
        let sure = file.is_some_and(|(fd, f)| fd == w.fd && is_about(poll, &f, w));
        if !sure {
            clear = false;
            let object = CString::try_from_fmt(fmt!("entry for descriptor {}", w.fd))?;
            cx.obstacle(Obstacle {
                fd: own,
                ..Obstacle::new(
                    WORD,
                    object.to_bytes(),
                    "the descriptor that was added has been closed or replaced since, while its file is still watched",
                    "have the program remove the entry, or close all descriptors of that file",
                )
            })?;
            // The table may have been passed by; begin again for the next one.
            table = descriptors(cx.leader());
            continue;
        }
        // Entries of all polls are numbered together; the key only has to be another one each time.
        let (number, _) = cx.object_in(WATCHES, (u64::from(id) << 32) | u64::from(w.fd))?;
        records.push(&WatchRecord { id: number, epoll: id.into(), fd: w.fd.into(), events: w.events.into(), data: w.data })?;
    }
    if !clear {
        return Ok(());
    }
    cx.emit(&EpollRecord { id, file: id.into(), entries: list.len() as u64 })?;
    cx.emit_bytes(cr_format::EPOLL, records.bytes())
}

/// Is the entry `w` of `poll` about `file`? See `cr_logic::epoll::confirms`.
fn is_about(poll: &FileRef, file: &FileRef, w: &Watch) -> bool {
    let (file_key, poll_key) = (file.as_ptr() as u64, poll.private_data() as u64);
    epoll::hooks(file, |before, behind| confirms(before, behind, file_key, poll_key, w))
}
