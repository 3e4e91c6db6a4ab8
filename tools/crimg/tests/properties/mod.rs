// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! What must hold for `crimg` with any input: the bodies of the fuzz targets (`fuzz/`) and of the tests that replay them.
//!
//! | module | subject |
//! | --- | --- |
//! | [`views`] | what is printed about an image: complete, and nothing in it that steers a terminal or a browser |
//! | [`compare`] | two images: an image does not differ from itself |
//! | [`edit`] | edits, and the way back from them |
//! | [`stored`] | repacked, redacted, cut: the same process, and sound |
//! | [`exchange`] | JSON and ELF cores, there and back |
//! | [`walk`] | backtraces of hostile stacks and programs |
//!
//! [`input`] makes images of an input, [`tool`] runs a command in this process, [`printed`] looks at what it says. Files
//! are in memory (`/dev/shm`).
#![allow(dead_code)] // Each user takes a part of it.

pub mod compare;
pub mod edit;
pub mod exchange;
pub mod input;
pub mod page;
pub mod printed;
pub mod stored;
pub mod tool;
pub mod views;
pub mod walk;

/// A property: panics if it does not hold for this input.
pub type Property = fn(&[u8]);

/// The fuzz targets of `crimg`, by name.
pub const TARGETS: &[(&str, Property)] = &[
    ("show", views::show),
    ("walk", views::walk),
    ("verify", views::verify),
    ("page", views::report),
    ("mem", views::mem),
    ("diff", compare::diff),
    ("patch", edit::patch),
    ("undo", edit::undo),
    ("repack", stored::repack),
    ("redact", stored::redact),
    ("split", stored::split),
    ("join", stored::join),
    ("export_json", exchange::export_json),
    ("import_json", exchange::import_json),
    ("export_core", exchange::export_core),
    ("import_core", exchange::import_core),
    ("bt", walk::bt),
    ("elf", walk::elf),
];
