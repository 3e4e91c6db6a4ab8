// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Section `report`: what `read(2)` on the device gives; never part of an image.
//!
//! Source: spec, "Section: report".

use crate::record::record;

record! {
    /// Something that a checkpoint would lose: the reason why it is refused.
    ObstacleRecord<'a> in REPORT, type 1, "obstacle" {
        /// Resource word.
        1 word: text None;
        /// Process id.
        2 pid: u64 Dec;
        /// Thread id, 0 if the whole process is meant.
        3 tid: u64 Dec;
        /// Descriptor, -1 none.
        4 fd: i64 Dec;
        /// Address, 0 none.
        5 address: u64 Hex;
        /// The object as the user knows it.
        6 object: text None;
        /// Why it would be lost.
        7 reason: text None;
        /// What the user can do.
        8 remedy: text None;
    }
}

record! {
    /// Why a call failed.
    FailureRecord<'a> in REPORT, type 2, "failure" {
        /// Resource word.
        1 word: text None;
        /// The errno of the call.
        2 errno: u64 Dec;
        /// Offset in the image, 0 none.
        3 offset: u64 Hex;
        /// Broken rule of the image format, empty none.
        4 rule: text None;
        /// Cause and place.
        5 message: text None;
        /// What the user can do.
        6 remedy: text None;
    }
}

record! {
    /// A descriptor that the user must connect at restart.
    ExternalRecord<'a> in REPORT, type 3, "external" {
        /// Descriptor number in the image.
        1 fd: u64 Dec;
        /// 0 read, 1 write, 2 both.
        2 access: u64 Dec;
        /// What it was.
        3 description: text None;
        /// 1: standard input, output or error, which `crctl` connects itself.
        4 stdio: u64 Dec;
        /// 1: opened for appending.
        5 append: u64 Dec;
    }
}

record! {
    /// Something the user should know that is no failure.
    NoteRecord<'a> in REPORT, type 4, "note" {
        /// Resource word.
        1 word: text None;
        /// The message.
        2 message: text None;
    }
}
