// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Section `epoll`: event polls (`epoll_create(2)`) and what they watch.
//!
//! Preserved: entries with their events and data, one-shot and edge-triggered modes, nesting, flags. Not
//! preserved: which entries are ready (what is ready is found ready again, so that an edge-triggered entry may
//! report an event once more), busy-poll parameters. Source: spec, "Section: epoll"; `fs/eventpoll.c`.

use crate::record::record;

record! {
    /// One event poll; the record id is that of its open file.
    EpollRecord in EPOLL, type 1, "epoll" {
        /// Open file in section `files`.
        1 file: u64 Dec;
        /// Number of its entries.
        2 entries: u64 Dec;
    }
}

record! {
    /// One entry; ids count from 1, those of one poll stand together, in the order of the polls.
    WatchRecord in EPOLL, type 2, "watch" {
        /// Poll: id of its open file.
        1 epoll: u64 Dec;
        /// Descriptor that is watched.
        2 fd: u64 Dec;
        /// `EPOLL*` bits.
        3 events: u64 Flags;
        /// What `epoll_wait` gives back.
        4 data: u64 Hex;
    }
}
