// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Section `provenance`: what tools have done to the image since the checkpoint.
//!
//! Ancillary; a restart never reads it. Source: spec, "Section: provenance".

use crate::record::record;

record! {
    /// One edit; ids count from 1 in the order of the edits.
    EditRecord<'a> in PROVENANCE, type 1, "edit" {
        /// When, nanoseconds since 1970 UTC.
        1 time_ns: u64 Ns;
        /// Program and version that did it.
        2 tool: text None;
        /// `uuid` of the image that was edited, 16 bytes.
        3 source_uuid: bytes Hex;
        /// What it was: `patch`, `repack`, `redact`, `import`.
        4 operation: text None;
        /// What changed, for people.
        5 description: text None;
    }
}
