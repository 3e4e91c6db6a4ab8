// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Section `locks`: locks on files.
//!
//! Preserved: record locks of the process and of open file descriptions (`fcntl(2)`), `flock(2)`. A restart takes
//! them again and fails if somebody else holds them meanwhile. Leases are an obstacle.
//! Source: spec, "Section: locks"; `fs/locks.c`.

use crate::record::record;

/// [`LockRecord::kind`]: `fcntl(F_SETLK)`, owned by the process.
pub const LOCK_POSIX: u64 = 0;
/// `fcntl(F_OFD_SETLK)`, owned by the open file.
pub const LOCK_OFD: u64 = 1;
/// `flock(2)`, owned by the open file.
pub const LOCK_FLOCK: u64 = 2;

record! {
    /// One lock; ids count from 1.
    LockRecord in LOCKS, type 1, "lock" {
        /// Open file in section `files` that it is taken through.
        1 file: u64 Dec;
        /// 0 POSIX record lock, 1 open file description lock, 2 flock.
        2 kind: u64 Dec;
        /// 0 shared (read), 1 exclusive (write).
        3 exclusive: u64 Dec;
        /// First byte; 0 for flock.
        4 start: u64 Dec;
        /// Number of bytes, 0: to the end of the file however long it becomes.
        5 len: u64 Dec;
    }
}
