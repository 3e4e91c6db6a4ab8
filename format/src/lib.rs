// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! The checkpoint image format, shared by the kernel modules and the tools.
//!
//! An image is one file that is written and read strictly forward: a superblock, chunks of metadata
//! (sections made of records made of fields), chunks of page data, an index, an end. The contract is
//! `spec/IMAGE_FORMAT.md`; this crate implements it, rule by rule ([`rule_text`]).
//!
//! The crate does no I/O, allocates nothing, has no dependency and no `unsafe`, so the kernel compiles
//! the very files that the tools use. Where to look:
//!
//! * [`stream::Validator`] is the phase machine that every reader drives; [`writer::ImageWriter`] its mirror.
//! * [`record`] is the encoding of records, [`sections`] the list of sections and one struct per record.
//! * [`validate`] holds the rules that need whole sections; run it after the last `META` chunk.
//! * [`superblock`], [`chunk`], [`runs`], [`index`], [`end`] are the fixed-size parts.
#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

#[cfg(test)]
extern crate std;

pub mod chunk;
pub mod crc;
pub mod end;
pub mod error;
pub mod index;
pub mod limits;
pub mod record;
pub mod rules;
pub mod runs;
pub mod sections;
pub mod stream;
pub mod superblock;
pub mod validate;
pub mod wire;
pub mod writer;
pub mod zstd;

pub use error::{Error, ErrorKind, Result};
pub use record::{
    records, records_in, records_of, FieldSchema, Hint, RawField, RawRecord, Record, Sink, U64s,
    Wire,
};
pub use rules::rule_text;
pub use sections::*;
