// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Section `proc`: open files and folders of `/proc`.
//!
//! Preserved: the path, the position, flags. Not preserved: contents, which are those of the moment they are read in; of a text that
//! was read in part, the rest is that of another moment. Source: spec, "Section: proc".

use crate::record::record;

record! {
    /// One open file or folder; the record id is that of its open file.
    ProcRecord<'a> in PROC, type 1, "proc" {
        /// Open file in section `files`, which has the position.
        1 file: u64 Dec;
        /// Path, below `/proc`.
        2 path: text Path;
        /// Process whose folder it is in, 0: none.
        3 pid: u64 Dec;
    }
}
