// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Section `pidfd`: descriptors of processes (`pidfd_open(2)`).
//!
//! Preserved: the process, whether it means the main thread alone, flags. Not preserved: the inode number, which the kernel
//! gives to each process anew. Source: spec, "Section: pidfd"; `fs/pidfs.c`.

use crate::record::record;

record! {
    /// One descriptor; the record id is that of its open file.
    PidfdRecord in PIDFD, type 1, "pidfd" {
        /// Open file in section `files`.
        1 file: u64 Dec;
        /// Process id, in the pid namespace of the first process.
        2 pid: u64 Dec;
        /// 1: `PIDFD_THREAD`, the main thread and not the process.
        3 thread: u64 Dec;
    }
}
