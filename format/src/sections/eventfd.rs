// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Section `eventfd`: event counters (`eventfd(2)`).
//!
//! Preserved: counter, semaphore mode, flags. Not preserved: the kernel's running number of the instance
//! (`eventfd-id` in `/proc/PID/fdinfo`). Source: spec, "Section: eventfd"; `fs/eventfd.c`.

use crate::record::record;

record! {
    /// One counter; the record id is that of its open file.
    EventfdRecord in EVENTFD, type 1, "eventfd" {
        /// Open file in section `files`.
        1 file: u64 Dec;
        /// The counter.
        2 count: u64 Dec;
        /// 1: `EFD_SEMAPHORE`.
        3 semaphore: u64 Dec;
    }
}
