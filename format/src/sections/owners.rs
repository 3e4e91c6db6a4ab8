// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Section `owners`: whom open files tell by signal that they are ready.
//!
//! Preserved: `F_SETOWN`, `F_SETOWN_EX`, `F_SETSIG`, `O_ASYNC`. An owner that is not in the image is an obstacle. Not
//! preserved: which of several descriptors of one open file the signal names.
//! Source: spec, "Section: owners"; `fs/fcntl.c`.

use crate::record::record;

/// [`OwnerRecord::kind`]: one thread.
pub const OWNER_THREAD: u64 = 0;
/// A process.
pub const OWNER_PROCESS: u64 = 1;
/// A process group.
pub const OWNER_GROUP: u64 = 2;

record! {
    /// What one open file has; ids count from 1.
    OwnerRecord in OWNERS, type 1, "owner" {
        /// Open file in section `files`.
        1 file: u64 Dec;
        /// 0 thread, 1 process, 2 process group: `F_OWNER_*`.
        2 kind: u64 Dec;
        /// Its id, 0 nobody.
        3 pid: u64 Dec;
        /// Signal that is sent, 0: SIGIO without data.
        4 signo: u64 Dec;
        /// 1: signals are sent (`O_ASYNC`).
        5 enabled: u64 Dec;
        /// Real user id of whoever set the owner.
        6 uid: u64 Uid;
        /// Effective user id of whoever set the owner.
        7 euid: u64 Uid;
    }
}
