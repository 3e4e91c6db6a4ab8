// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Section `uring`: rings of asynchronous requests (`io_uring_setup(2)`) with nothing in flight.
//!
//! Preserved: sizes, setup flags, positions, entries that were not submitted and events that were not taken (in the
//! contents of the ring's memory areas, section `memory`), the thread that alone may submit, registered ring
//! descriptors, the eventfd that is told. Not preserved: CPU affinity of the ring's workers. Requests in flight, a kernel thread that polls,
//! registered buffers, files and the like are obstacles. Source: spec, "Section: uring"; `io_uring/`.

use crate::record::record;

/// Bits of [`RingRecord::flags`] (`IORING_SETUP_*`), with the names that tools print.
pub const RING_FLAG_NAMES: [(u64, &str); 16] = [
    (1, "IOPOLL"),
    (RING_CQSIZE, "CQSIZE"),
    (1 << 4, "CLAMP"),
    (RING_DISABLED, "R_DISABLED"),
    (1 << 7, "SUBMIT_ALL"),
    (1 << 8, "COOP_TASKRUN"),
    (1 << 9, "TASKRUN_FLAG"),
    (1 << 10, "SQE128"),
    (1 << 11, "CQE32"),
    (RING_SINGLE_ISSUER, "SINGLE_ISSUER"),
    (1 << 13, "DEFER_TASKRUN"),
    (1 << 16, "NO_SQARRAY"),
    (1 << 17, "HYBRID_IOPOLL"),
    (1 << 18, "CQE_MIXED"),
    (1 << 19, "SQE_MIXED"),
    (1 << 20, "SQ_REWIND"),
];
/// The number of completion entries was given.
pub const RING_CQSIZE: u64 = 1 << 3;
/// Not enabled yet.
pub const RING_DISABLED: u64 = 1 << 6;
/// Only one thread may submit.
pub const RING_SINGLE_ISSUER: u64 = 1 << 12;
/// All bits that have a meaning.
pub const RING_FLAGS: u64 = 0x001f_3fd9;

/// [`crate::VmaRecord::offset`] of areas that show a ring: the submission ring, which shares its memory with …
pub const RING_OFFSET_SQ: u64 = 0;
/// … the completion ring, and …
pub const RING_OFFSET_CQ: u64 = 0x0800_0000;
/// … the submission entries.
pub const RING_OFFSET_SQES: u64 = 0x1000_0000;

record! {
    /// One ring; the record id is that of its open file.
    RingRecord in URING, type 1, "ring" {
        /// Open file in section `files`.
        1 file: u64 Dec;
        /// Number of submission entries.
        2 sq_entries: u64 Dec;
        /// Number of completion entries.
        3 cq_entries: u64 Dec;
        /// `IORING_SETUP_*`.
        4 flags: u64 Flags;
        /// Entries that the kernel has taken since the ring was made, modulo 2^32.
        5 sq_head: u64 Dec;
        /// Events that the kernel has put since the ring was made, modulo 2^32.
        6 cq_tail: u64 Dec;
        /// The thread that alone may submit (`SINGLE_ISSUER`), else 0.
        7 submitter: u64 Dec;
    }
}

record! {
    /// A ring that a thread calls by an index instead of a descriptor (`IORING_REGISTER_RING_FDS`); ids count from 1.
    RegisteredRingRecord in URING, type 2, "registered_ring" {
        /// The thread.
        1 tid: u64 Dec;
        /// Its index, 0 to 15.
        2 index: u64 Dec;
        /// The ring's open file, of which the process has a descriptor.
        3 file: u64 Dec;
    }
}

record! {
    /// The event counter that a ring tells of new events (`IORING_REGISTER_EVENTFD`); ids count from 1.
    RingEventfdRecord in URING, type 3, "ring_eventfd" {
        /// The ring's open file, of which the process has a descriptor.
        1 ring: u64 Dec;
        /// A descriptor of the counter.
        2 fd: u64 Dec;
        /// 1: only events that come while nobody waits (`IORING_REGISTER_EVENTFD_ASYNC`).
        3 asynchronous: u64 Dec;
        /// The thread that registers it.
        4 tid: u64 Dec;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_has_a_name() {
        let all = RING_FLAG_NAMES.iter().fold(0, |all, (bit, _)| all | bit);
        assert_eq!(all, RING_FLAGS);
    }
}
