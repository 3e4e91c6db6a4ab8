// SPDX-License-Identifier: GPL-2.0
//! Reads what an instance watches, and the events that nobody has read.

use crate::{sys::Instance, WORD};
use cr_format::{InotifyRecord, NotifyRecord, PlaceRecord};
use cr_logic::inotify::{end, events, is_repeated, next_wd, watches, End, Event, Watch};
use crkit::{
    objects,
    sys::{
        file::FileRef,
        inode::{InodeRef, Mounts},
        open_file::descriptors,
        path::PathText,
    },
    Checkpoint, Obstacle, RecordBuf,
};
use kernel::{prelude::*, str::CString};

/// Numberings of places and of events, of all instances together.
const PLACES: u16 = 8;
const EVENTS: u16 = 9;

/// Emits the records of one instance.
pub(crate) fn file(cx: &Checkpoint<'_>, file: &FileRef, id: u32) -> Result {
    let instance = Instance::of(file).ok_or(EINVAL)?;
    let text = file.fdinfo()?;
    let mut list: KVVec<Watch> = KVVec::new();
    for w in watches(&text) {
        list.push(w.ok_or_else(|| objects::not_understood(cx, WORD))?, GFP_KERNEL)?;
    }
    list.sort_unstable_by_key(|w| w.wd);
    let (own, first) = (cx.descriptor_of(file), cx.of_process(0).ok_or(EINVAL)?);
    let mounts = Mounts::read()?;
    let mut places = RecordBuf::new();
    let (mut count, mut clear) = (0u64, true);
    for w in list.iter() {
        // Gone meanwhile: its last events are in the queue, which is read later.
        let Some(object) = instance.inode(w.wd) else { continue };
        if (object.ino(), object.dev()) != (w.ino, w.dev) {
            return Err(cx.fail(EAGAIN, WORD, "", b"what is watched changes while it is read", "try again"));
        }
        let (path, target) = place(cx, &mounts, &object)?;
        if path.is_none() && target == 0 {
            clear = false;
            let what = CString::try_from_fmt(fmt!("watch {} on inode {}", w.wd, w.ino))?;
            cx.obstacle(Obstacle {
                fd: own,
                ..Obstacle::new(
                    WORD,
                    what.to_bytes(),
                    "the kernel knows no path to what is watched: it was removed, or nobody has looked at it for long",
                    "look at it by its path (ls -ld PATH) if it still has one, or have the program remove the watch",
                )
            })?;
            continue;
        }
        count = count.saturating_add(1);
        places.push(&PlaceRecord {
            id: first.number(PLACES)?,
            inotify: id.into(),
            wd: w.wd.into(),
            mask: w.mask.into(),
            path: path.as_ref().map_or(&[], PathText::bytes),
            target: target.into(),
        })?;
    }
    let queue = instance.queue()?;
    let mut unread: KVVec<Event<'_>> = KVVec::new();
    for e in events(&queue) {
        unread.push(e.ok_or_else(|| objects::not_understood(cx, WORD))?, GFP_KERNEL)?;
    }
    let mut told = RecordBuf::new();
    for (n, e) in unread.iter().enumerate() {
        let rest = unread.get(n..).unwrap_or(&[]).iter();
        let watched = list.binary_search_by_key(&i64::from(e.wd), |w| w.wd.into()).is_ok();
        let known = watched || e.wd == -1;
        if !known && end(e.wd.into(), rest.map(|e| (e.wd.into(), e.mask.into()))) == End::Unknown {
            return Err(objects::not_understood(cx, WORD));
        }
        if n.checked_sub(1).and_then(|n| unread.get(n)).is_some_and(|last| is_repeated(last, e)) {
            return Err(objects::not_understood(cx, WORD));
        }
        told.push(&NotifyRecord {
            id: first.number(EVENTS)?,
            inotify: id.into(),
            wd: e.wd.into(),
            mask: e.mask.into(),
            cookie: e.cookie.into(),
            name: e.name,
        })?;
    }
    if !clear {
        return Ok(());
    }
    let next_wd = next_wd(instance.cursor()).into();
    cx.emit(&InotifyRecord { id, file: id.into(), watches: count, events: unread.len() as u64, next_wd })?;
    cx.emit_bytes(cr_format::INOTIFY, places.bytes())?;
    cx.emit_bytes(cr_format::INOTIFY, told.bytes())
}

/// How a watched object is found again: by a path, or because a process of the checkpoint has it open.
fn place(cx: &Checkpoint<'_>, mounts: &Mounts, object: &InodeRef) -> Result<(Option<PathText>, u32)> {
    if let Some(path) = mounts.path_of(object)? {
        return Ok((Some(path), 0));
    }
    for p in cx.all_processes().filter(|p| !p.is_zombie()) {
        if let Some((_, f)) = descriptors(p.leader()).find(|(_, f)| f.inode_key() == object.key()) {
            return Ok((None, cx.open_file_id(&f)?));
        }
    }
    Ok((None, 0))
}
