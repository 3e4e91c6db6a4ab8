// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `crimg verify`: sound images, every bad image of the corpus, messages with cause, place and remedy.

#[path = "../../../format/tests/synth/mod.rs"]
mod synth;
mod tool;

use synth::Expect;
use tool::{crimg, golden, image, stdin};

#[test]
fn a_sound_image_is_said_to_be_sound() {
    let r = crimg(&["verify", "process.ckpt"]);
    assert_eq!((r.code, r.stderr.as_str()), (0, ""));
    golden("process.verify", r.stdout.as_bytes());
    assert_eq!(stdin(&["verify", "-"], &image("process.ckpt")).code, 0);
    let quiet = crimg(&["verify", "--quiet", "process.ckpt"]);
    assert_eq!((quiet.code, quiet.stdout.as_str()), (0, ""));
}

#[test]
fn every_bad_image_gets_its_exit_status_its_rule_and_a_remedy() {
    for bad in synth::bad() {
        let r = stdin(&["verify", "-"], &bad.bytes);
        let (code, word) = match bad.expect {
            Expect::Rule(id) => (3, id),
            Expect::Checksum => (3, "checksum"),
            Expect::Truncated => (3, "needed"),
            Expect::Unsupported => (4, "not supported"),
            Expect::OverLimit => (4, "limit"),
        };
        assert_eq!(r.code, code, "{}: {}", bad.name, r.stderr);
        assert!(r.stderr.contains(word), "{}: {}", bad.name, r.stderr);
        assert!(
            r.stderr.contains(" at 0x") && r.stderr.lines().count() >= 2,
            "{}: {}",
            bad.name,
            r.stderr
        );
        assert_eq!(r.stdout, "", "{}", bad.name);
    }
}

#[test]
fn show_survives_every_bad_image() {
    // One of them is just large.
    for bad in synth::bad().iter().filter(|b| b.bytes.len() < 1 << 20) {
        for view in [
            "--json",
            "--threads",
            "--maps",
            "--fds",
            "--signals",
            "--section=image",
        ] {
            let r = stdin(&["show", "-", view], &bad.bytes);
            assert!(
                matches!(r.code, 0 | 2 | 3 | 4),
                "{} {view}: {}",
                bad.name,
                r.stderr
            );
            if view == "--json" && !r.stdout.is_empty() {
                serde_json::from_str::<serde_json::Value>(&r.stdout).unwrap();
            }
        }
    }
}

#[test]
fn several_defects_are_listed_with_their_records() {
    let mut model = synth::process();
    model.record(0x13, 1, 0).set(3, 70000);
    model.record(0x16, 1, 13).set(2, 1);
    let bytes = model.bytes();
    let r = stdin(&["verify", "-"], &bytes);
    assert_eq!(r.code, 3);
    golden("two-defects.verify", r.stderr.as_bytes());
    let r = stdin(&["verify", "--json", "-"], &bytes);
    assert_eq!(r.code, 3);
    let json: serde_json::Value = serde_json::from_str(&r.stdout).unwrap();
    assert_eq!(json["verdict"], "malformed");
    assert_eq!(json["defects"][0]["rule"], "PIPES-3");
    assert_eq!(json["defects"][1]["section"], "limits");
}

#[test]
fn the_place_of_a_defect_is_its_offset_in_the_image() {
    let mut model = synth::process();
    model.chunk_max = 300;
    model.record(0x16, 1, 13).set(2, 1);
    let bytes = model.bytes();
    let r = stdin(&["verify", "--json", "-"], &bytes);
    let json: serde_json::Value = serde_json::from_str(&r.stdout).unwrap();
    let at = json["defects"][0]["offset"].as_u64().unwrap() as usize;
    assert_eq!(bytes[at..at + 2], [1, 0], "type of the record");
    assert_eq!(bytes[at + 8..at + 12], [14, 0, 0, 0], "id of the record");
}
