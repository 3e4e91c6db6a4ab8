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
fn each_level_has_its_words_and_its_json() {
    for image in ["process", "compressed"] {
        for level in ["crc", "structure", "semantics"] {
            let path = format!("{image}.ckpt");
            let r = crimg(&["verify", "--level", level, &path]);
            assert_eq!((r.code, r.stderr.as_str()), (0, ""), "{image} {level}");
            golden(&format!("verify/{image}-{level}.txt"), r.stdout.as_bytes());
            let r = crimg(&["verify", "--level", level, "--json", &path]);
            golden(&format!("verify/{image}-{level}.json"), r.stdout.as_bytes());
        }
    }
}

#[test]
fn a_level_finds_what_it_looks_for_and_nothing_else() {
    // A rule about values: not before semantics.
    let mut model = synth::process();
    model.record(0x16, 1, 13).set(2, 1);
    let bytes = model.bytes();
    let code = |level: &str| stdin(&["verify", "-q", "--level", level, "-"], &bytes).code;
    assert_eq!(
        (code("crc"), code("structure"), code("semantics")),
        (0, 0, 3)
    );
    // A field that its record type does not have: from structure on.
    let mut model = synth::process();
    model.record(0x16, 1, 13).fields.push(synth::u(1, 1));
    let bytes = model.bytes();
    let code = |level: &str| stdin(&["verify", "-q", "--level", level, "-"], &bytes).code;
    assert_eq!(
        (code("crc"), code("structure"), code("semantics")),
        (0, 4, 4)
    );
    // Damage: always.
    let mut bytes = image("process.ckpt");
    bytes[0x4000 + 5000] ^= 1;
    let code = |level: &str| stdin(&["verify", "-q", "--level", level, "-"], &bytes).code;
    assert_eq!(
        (code("crc"), code("structure"), code("semantics")),
        (3, 3, 3)
    );
}

#[test]
fn every_damaged_chunk_is_found_in_one_run() {
    let mut bytes = image("process.ckpt");
    bytes[0x4000 + 5000] ^= 1;
    bytes[0xa000 + 5000] ^= 1;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("damaged.ckpt");
    std::fs::write(&path, &bytes).unwrap();
    for r in [
        crimg(&["verify", "--json", path.to_str().unwrap()]),
        stdin(&["verify", "--json", "-"], &bytes),
    ] {
        assert_eq!(r.code, 3);
        let json: serde_json::Value = serde_json::from_str(&r.stdout).unwrap();
        let offsets: Vec<_> = json["defects"]
            .as_array()
            .unwrap()
            .iter()
            .map(|d| d["offset"].clone())
            .collect();
        assert_eq!(offsets, [0x5000, 0xb000]);
    }
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
