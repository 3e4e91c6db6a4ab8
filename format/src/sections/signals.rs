// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Section `signals`: handlers, masks, alternate stacks, pending signals.
//!
//! Preserved: all of it, with the `siginfo` of pending signals. Not preserved: nothing known.
//! Source: spec, "Section: signals".

use crate::record::record;

/// Highest signal number.
pub const SIGNALS_MAX: u64 = 64;
/// Bytes of a `siginfo_t`.
pub const SIGINFO_LEN: usize = 128;

record! {
    /// Action of one signal, if it is not the default; the record id is the signal number.
    ActionRecord in SIGNALS, type 1, "action" {
        /// Signal number.
        1 signo: u64 Dec;
        /// Handler, or 1 for SIG_IGN.
        2 handler: u64 Hex;
        /// `SA_*`.
        3 flags: u64 Hex;
        /// Restorer.
        4 restorer: u64 Hex;
        /// Signals blocked while it runs.
        5 mask: u64 Sigset;
    }
}

record! {
    /// Signal state of one thread; the record id is the tid.
    TaskSignalsRecord in SIGNALS, type 2, "task_signals" {
        /// Thread id.
        1 tid: u64 Dec;
        /// Blocked signals.
        2 blocked: u64 Sigset;
        /// Mask to put back after an interrupted `sigsuspend` and the like.
        3 saved_blocked: u64 Sigset;
        /// 1 if `saved_blocked` is to be put back.
        4 has_saved: u64 Dec;
        /// Alternate stack.
        5 altstack_sp: u64 Hex;
        /// Its size.
        6 altstack_size: u64 Dec;
        /// `SS_*`.
        7 altstack_flags: u64 Hex;
    }
}

record! {
    /// A pending signal; ids are running, in the order of the queues.
    PendingRecord<'a> in SIGNALS, type 3, "pending" {
        /// Thread it is for, 0: the process.
        1 tid: u64 Dec;
        /// Signal number.
        2 signo: u64 Dec;
        /// `siginfo_t`, 128 bytes.
        3 info: bytes None;
    }
}
