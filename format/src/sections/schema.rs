// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Section `schema`: names of record types and fields, so that an old `crimg` can show a new image.
//!
//! Ancillary: the kernel never reads it. Source: spec, "Section: schema".

use crate::record::record;

record! {
    /// A record type.
    SchemaRecord<'a> in SCHEMA, type 1, "record" {
        /// Section id.
        1 section: u64 Hex;
        /// Number of the record type.
        2 record_type: u64 Dec;
        /// Its name.
        3 name: text None;
    }
}

record! {
    /// A field of a record type.
    SchemaField<'a> in SCHEMA, type 2, "field" {
        /// Section id.
        1 section: u64 Hex;
        /// Number of the record type.
        2 record_type: u64 Dec;
        /// Field id.
        3 field: u64 Dec;
        /// Its name.
        4 name: text None;
        /// Wire type.
        5 wire: u64 Dec;
        /// Display hint.
        6 hint: u64 Dec;
    }
}
