// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Section `signalfd`: descriptors that signals are read from (`signalfd(2)`).
//!
//! Preserved: mask, flags. The pending signals are those of section `signals`.
//! Source: spec, "Section: signalfd"; `fs/signalfd.c`.

use crate::record::record;

record! {
    /// One descriptor; the record id is that of its open file.
    SignalfdRecord in SIGNALFD, type 1, "signalfd" {
        /// Open file in section `files`.
        1 file: u64 Dec;
        /// Signals that can be read from it.
        2 mask: u64 Sigset;
    }
}
