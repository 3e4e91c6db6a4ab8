// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Section `inotify`: instances of `inotify(7)`, what they watch, and events that were not read.
//!
//! Preserved: watches with their numbers and masks, the number of the next watch, unread events in their order.
//! Not preserved: what happens between checkpoint and restart is not told.
//! Source: spec, "Section: inotify"; `fs/notify/inotify/`.

use crate::record::record;

/// [`NotifyRecord::mask`]: events were lost because the queue was full.
pub const IN_Q_OVERFLOW: u64 = 0x4000;
/// The watch is gone.
pub const IN_IGNORED: u64 = 0x8000;

record! {
    /// One instance; the record id is that of its open file.
    InotifyRecord in INOTIFY, type 1, "inotify" {
        /// Open file in section `files`.
        1 file: u64 Dec;
        /// Number of its watches.
        2 watches: u64 Dec;
        /// Number of its unread events.
        3 events: u64 Dec;
        /// Number that its next watch gets.
        4 next_wd: u64 Dec;
    }
}

record! {
    /// One watch; ids count from 1, those of one instance stand together, in the order of the instances.
    PlaceRecord<'a> in INOTIFY, type 2, "place" {
        /// Instance: id of its open file.
        1 inotify: u64 Dec;
        /// Watch descriptor.
        2 wd: u64 Dec;
        /// `IN_*` bits.
        3 mask: u64 Flags;
        /// Path of what is watched; empty for `target`.
        4 path: text Path;
        /// Open file in section `files` whose inode is watched, 0: the path leads to it.
        5 target: u64 Dec;
    }
}

record! {
    /// One unread event; ids count from 1, those of one instance stand together, oldest first.
    NotifyRecord<'a> in INOTIFY, type 3, "notify" {
        /// Instance: id of its open file.
        1 inotify: u64 Dec;
        /// Watch descriptor, -1 for an overflow.
        2 wd: i64 Dec;
        /// `IN_*` bits, and two that only the kernel sees.
        3 mask: u64 Flags;
        /// Connects the two events of a rename.
        4 cookie: u64 Dec;
        /// Name in the watched folder, empty for the watched object itself.
        5 name: text None;
    }
}
