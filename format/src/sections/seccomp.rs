// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Section `seccomp`: which system calls threads have left themselves.
//!
//! Preserved: mode and filters of each thread, as programs. Not preserved: that processes share a filter; each has its own copy.
//! Source: spec, "Section: seccomp"; seccomp(2), `struct sock_filter`.

use crate::record::record;

/// Most instructions of a program: `BPF_MAXINSNS`.
pub const SECCOMP_INSTRUCTIONS: usize = 4096;
/// Bytes of an instruction: `struct sock_filter`.
pub const SECCOMP_INSTRUCTION: usize = 8;

/// [`ConfinedRecord::mode`]: `read`, `write`, `_exit` and `sigreturn` only.
pub const SECCOMP_STRICT: u64 = 1;
/// [`ConfinedRecord::mode`]: what the filters say.
pub const SECCOMP_FILTER: u64 = 2;

record! {
    /// A filter. Ids count from 1.
    FilterRecord<'a> in SECCOMP, type 1, "filter" {
        /// The filter that was there before it, 0 if none was; all of them judge.
        1 under: u64 Dec;
        /// 1: what it does not allow is told to the audit log (`SECCOMP_FILTER_FLAG_LOG`).
        2 log: u64 Dec;
        /// Instructions of classic BPF, 8 bytes each: `struct sock_filter`.
        3 program: bytes None;
    }
}

record! {
    /// A thread that is confined; id is its thread id.
    ConfinedRecord in SECCOMP, type 2, "confined" {
        /// 1 strict, 2 by filters.
        1 mode: u64 Dec;
        /// The filter that came last; 0 in strict mode.
        2 filter: u64 Dec;
    }
}
