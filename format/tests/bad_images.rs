// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Every bad image is refused for the reason it is named after, and every rule has a bad image.

mod common;
mod synth;

use cr_format::{rules::RULES, ErrorKind};
use std::collections::BTreeSet;
use synth::Expect;

#[test]
fn each_bad_image_is_refused_for_its_reason() {
    let mut wrong = Vec::new();
    for bad in synth::bad() {
        let got = match common::read(&bad.bytes) {
            Ok(_) => None,
            Err(e) => Some((
                match e.kind {
                    ErrorKind::Rule(id) => Expect::Rule(id),
                    ErrorKind::BadChecksum { .. } => Expect::Checksum,
                    ErrorKind::Truncated { .. } => Expect::Truncated,
                    ErrorKind::Unsupported(_) => Expect::Unsupported,
                    ErrorKind::OverLimit { .. } => Expect::OverLimit,
                    ErrorKind::NoSpace => panic!("{}: {e}", bad.name),
                },
                e,
            )),
        };
        if got.map(|g| g.0) != Some(bad.expect) {
            wrong.push(format!("{}: {:?}", bad.name, got.map(|g| g.1)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn names_of_bad_images_are_unique() {
    let bad = synth::bad();
    let names: BTreeSet<_> = bad.iter().map(|b| b.name).collect();
    assert_eq!(names.len(), bad.len());
}

#[test]
fn every_rule_has_a_bad_image() {
    let broken: BTreeSet<_> = synth::bad()
        .iter()
        .filter_map(|b| match b.expect {
            Expect::Rule(id) => Some(id),
            _ => None,
        })
        .collect();
    let missing: Vec<_> = RULES
        .iter()
        .map(|r| r.0)
        .filter(|id| !broken.contains(id))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// READ-1. Bytes that no checksum covers do not exist: any flipped bit is found, and by nothing but the
/// checksum or the magic in front of it.
#[test]
fn every_flipped_byte_is_found() {
    let good = synth::process().bytes();
    for at in (0..good.len()).step_by(97) {
        let mut bytes = good.clone();
        bytes[at] ^= 1 << (at % 8);
        let kind = common::read(&bytes).unwrap_err().kind;
        assert!(
            matches!(
                kind,
                ErrorKind::BadChecksum { .. } | ErrorKind::Rule("SUPER-1" | "CHUNK-1")
            ),
            "{at:#x}: {kind:?}"
        );
    }
}
