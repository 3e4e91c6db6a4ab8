// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! What must hold for any input: the bodies of the fuzz targets (`fuzz/`) and of the tests that replay them.
//!
//! | module | subject |
//! | --- | --- |
//! | [`parts`] | superblock, chunk header, run table, zstd frame, index entry and end, each alone |
//! | [`record`] | records, and the sections that they make |
//! | [`image`] | whole images and container streams: by slice and in pieces |
//! | [`model`] | sound images that are changed as a model, so that every checksum is right |
//! | [`canonical`] | what is accepted is written back byte for byte |
#![allow(dead_code)] // Each user takes a part of it.

pub mod canonical;
pub mod image;
pub mod model;
pub mod parts;
pub mod record;

use cr_format::*;

/// A property: panics if it does not hold for this input.
pub type Property = fn(&[u8]);

/// The fuzz targets, by name. Section `image` has the target `origin`.
pub const TARGETS: &[(&str, Property)] = &[
    ("superblock", parts::superblock),
    ("header", parts::header),
    ("runs", parts::runs),
    ("frame", parts::frame),
    ("tail", parts::tail),
    ("records", record::records),
    ("origin", |d| record::section(IMAGE, d)),
    ("schema", |d| record::section(SCHEMA, d)),
    ("provenance", |d| record::section(PROVENANCE, d)),
    ("tasks", |d| record::section(TASKS, d)),
    ("memory", |d| record::section(MEMORY, d)),
    ("files", |d| record::section(FILES, d)),
    ("pipes", |d| record::section(PIPES, d)),
    ("signals", |d| record::section(SIGNALS, d)),
    ("creds", |d| record::section(CREDS, d)),
    ("limits", |d| record::section(LIMITS, d)),
    ("eventfd", |d| record::section(EVENTFD, d)),
    ("timerfd", |d| record::section(TIMERFD, d)),
    ("signalfd", |d| record::section(SIGNALFD, d)),
    ("epoll", |d| record::section(EPOLL, d)),
    ("locks", |d| record::section(LOCKS, d)),
    ("timers", |d| record::section(TIMERS, d)),
    ("inotify", |d| record::section(INOTIFY, d)),
    ("pidfd", |d| record::section(PIDFD, d)),
    ("owners", |d| record::section(OWNERS, d)),
    ("seccomp", |d| record::section(SECCOMP, d)),
    ("landlock", |d| record::section(LANDLOCK, d)),
    ("uring", |d| record::section(URING, d)),
    ("proc", |d| record::section(PROC, d)),
    ("cgroups", |d| record::section(CGROUPS, d)),
    ("stats", |d| record::section(STATS, d)),
    ("report", |d| record::section(REPORT, d)),
    ("chunks", image::chunks),
    ("model", model::model),
    ("image", image::image),
];

/// The property of a target.
pub fn property(name: &str) -> Option<Property> {
    TARGETS.iter().find(|t| t.0 == name).map(|t| t.1)
}

/// The fuzz target of a section.
pub fn target_of(word: &str) -> &str {
    if word == "image" {
        "origin"
    } else {
        word
    }
}
