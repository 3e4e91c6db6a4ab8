// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Section `pipes`: pipes and FIFOs whose ends are all inside the process.
//!
//! Preserved: unread bytes, packet boundaries, capacity, flags of each end. Not preserved: the fill of
//! single buffer slots. Source: spec, "Section: pipes"; `fs/pipe.c`.

use crate::record::record;

/// [`BufferRecord::flags`]: one packet of an `O_DIRECT` pipe.
pub const BUFFER_PACKET: u64 = 1;

record! {
    /// One pipe; ids count from 1.
    PipeRecord<'a> in PIPES, type 1, "pipe" {
        /// Capacity in bytes, as `F_GETPIPE_SZ` says.
        1 capacity: u64 Dec;
        /// Path of a FIFO, empty for a pipe.
        2 fifo_path: text Path;
        /// Unread bytes.
        3 queued: u64 Dec;
    }
}

record! {
    /// Unread bytes of a pipe, oldest first; ids are running.
    BufferRecord<'a> in PIPES, type 2, "buffer" {
        /// Pipe.
        1 pipe: u64 Dec;
        /// 1 packet.
        2 flags: u64 Flags;
        /// The bytes.
        3 data: bytes None;
    }
}

record! {
    /// One end: which pipe an open file belongs to. The record id is that of the file.
    EndRecord in PIPES, type 3, "end" {
        /// Open file in section `files`.
        1 file: u64 Dec;
        /// Pipe.
        2 pipe: u64 Dec;
    }
}
