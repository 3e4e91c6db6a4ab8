// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `crimg show`: every view against a golden file, damaged images, streams, closed pipes.
//!
//! `CRKIT_UPDATE=1 cargo test -p crimg` writes the golden files anew; review them as a diff.

#[path = "../../../format/tests/synth/mod.rs"]
mod synth;
mod tool;

use tool::{crimg, golden, image, stdin};

#[test]
fn the_checked_in_image_is_the_synthetic_process() {
    golden("process.ckpt", &synth::process().bytes());
}

#[test]
fn every_view_is_as_reviewed() {
    for (view, args) in [
        ("show", &[][..]),
        ("threads", &["--threads"]),
        ("maps", &["--maps"]),
        ("fds", &["--fds"]),
        ("signals", &["--signals"]),
        (
            "sections",
            &[
                "--section",
                "pipes",
                "--section",
                "creds",
                "--section",
                "0x16",
            ],
        ),
        ("json", &["--json"]),
    ] {
        let mut all = vec!["show", "process.ckpt"];
        all.extend(args);
        let r = crimg(&all);
        assert_eq!((r.code, r.stderr.as_str()), (0, ""), "{view}");
        golden(&format!("process.{view}"), r.stdout.as_bytes());
    }
}

#[test]
fn json_is_complete_and_limited_by_the_views() {
    let all: serde_json::Value =
        serde_json::from_str(&crimg(&["show", "--json", "process.ckpt"]).stdout).unwrap();
    assert_eq!(all["crimg_schema"], 1);
    assert_eq!(all["complete"], true);
    assert_eq!(all["sections"].as_object().unwrap().len(), 10);
    assert_eq!(
        all["sections"]["tasks"]["records"][1]["regs"]["rip"],
        "0x555555555100"
    );
    assert_eq!(
        all["sections"]["limits"]["records"][0]["soft"],
        "18446744073709551615"
    );
    assert_eq!(all["runs"].as_array().unwrap().len(), 5);
    let some: serde_json::Value =
        serde_json::from_str(&crimg(&["show", "--json", "--fds", "process.ckpt"]).stdout).unwrap();
    let words: Vec<_> = some["sections"]
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect();
    assert_eq!(words, ["files", "pipes"]);
    assert!(some.get("runs").is_none());
}

#[test]
fn a_stream_shows_the_same_as_the_file() {
    let from_stream = stdin(&["show", "--maps", "-"], &image("process.ckpt"));
    assert_eq!(from_stream.code, 0);
    assert_eq!(
        from_stream.stdout,
        crimg(&["show", "--maps", "process.ckpt"]).stdout
    );
}

#[test]
fn a_cut_image_is_shown_as_far_as_it_goes() {
    let bytes = image("process.ckpt");
    let r = stdin(&["show", "-"], &bytes[..bytes.len() - 5000]);
    assert_eq!(r.code, 3);
    assert!(r.stdout.contains("1234 counter, 2 threads"), "{}", r.stdout);
    assert!(r.stdout.contains("DAMAGED"), "{}", r.stdout);
    assert!(
        r.stdout.contains("restart      no, the image is damaged"),
        "{}",
        r.stdout
    );
    assert!(r.stderr.contains("bytes needed"), "{}", r.stderr);
}

#[test]
fn a_damaged_section_is_left_out_and_the_rest_shown() {
    let mut bytes = image("process.ckpt");
    let at = bytes
        .windows(12)
        .position(|w| w == b"pipe:[81234]")
        .unwrap();
    bytes[at] ^= 1;
    let r = stdin(&["show", "-"], &bytes);
    assert_eq!(r.code, 3);
    assert!(r.stdout.contains("1234 counter"), "{}", r.stdout);
    assert!(r.stdout.contains("descriptors  none"), "{}", r.stdout);
    assert!(r.stdout.contains("6 pages stored"), "{}", r.stdout);
    assert!(r.stderr.contains("checksum"), "{}", r.stderr);
}

#[test]
fn damaged_page_data_does_not_matter_to_show() {
    let mut bytes = image("process.ckpt");
    let at = bytes.windows(8).position(|w| w == b"CHNKPAGE").unwrap() + 4096 + 9;
    bytes[at] ^= 1;
    assert_eq!(stdin(&["show", "-"], &bytes).code, 0);
    assert_eq!(stdin(&["verify", "-"], &bytes).code, 3);
}

#[test]
fn text_of_an_image_cannot_steer_the_terminal() {
    let evil = "\u{1b}[2J\u{9b}0m\u{202e}x";
    let mut model = synth::process();
    model.record(0x10, 1, 0).put(5, b"\x1b]0;evil\x07");
    model
        .record(0x10, 1, 0)
        .put(6, format!("/{evil}").as_bytes());
    model
        .record(0x10, 1, 0)
        .put(7, format!("{evil}\0\u{1b}c\0").as_bytes());
    model.record(0x10, 2, 1).put(2, b"\x1bc\xff\n");
    model.record(0x11, 2, 2).put(8, evil.as_bytes());
    model
        .record(0x11, 3, 0)
        .put(1, format!("/{evil}").as_bytes());
    model
        .record(0x12, 1, 0)
        .put(1, format!("/{evil}").as_bytes());
    model.record(0x12, 2, 1).put(14, evil.as_bytes());
    model
        .record(0x12, 2, 2)
        .put(2, format!("/{evil}").as_bytes());
    model.record(1, 1, 0).put(5, evil.as_bytes());
    model.record(1, 1, 0).put(2, evil.as_bytes());
    model.record(2, 1, 0).put(3, evil.as_bytes());
    let bytes = model.bytes();
    let views = [
        "",
        "--threads",
        "--maps",
        "--fds",
        "--signals",
        "--json",
        "--section=tasks",
        "--section=schema",
    ];
    for view in views {
        let args: Vec<&str> = ["show", "-", view]
            .into_iter()
            .filter(|a| !a.is_empty())
            .collect();
        let r = stdin(&args, &bytes);
        let bad = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(
            !r.stdout.contains(bad) && !r.stderr.contains(bad),
            "{view}: {:?}",
            r.stdout
        );
    }
}

#[test]
fn a_section_of_a_newer_release_is_shown_with_the_names_in_the_image() {
    use synth::{rec, t, u};
    let mut model = synth::process();
    model.section(1).insert(
        2,
        rec(2, 9, vec![t("lamps", 0), u(0, 1), t("", 0), u(1, 1)]),
    );
    model
        .section(2)
        .push(rec(1, 3, vec![u(9, 2), u(1, 1), t("lamp", 0)]));
    model.section(2).push(rec(
        2,
        4,
        vec![
            u(9, 2),
            u(1, 1),
            u(1, 1),
            t("brightness", 0),
            u(1, 1),
            u(1, 1),
        ],
    ));
    model
        .sections
        .insert(2, (9, false, vec![rec(1, 5, vec![u(77, 1), u(88, 1)])]));
    let bytes = model.bytes();
    let r = stdin(&["show", "-", "--section", "lamps"], &bytes);
    assert_eq!(
        r.stdout,
        "lamp 5\n  brightness           77\n  field_2              88\n"
    );
    assert_eq!(stdin(&["verify", "-"], &bytes).code, 0);
    assert!(stdin(&["show", "-"], &bytes).stdout.contains("lamps"));
}

#[test]
fn usage_errors_say_what_works() {
    let r = crimg(&["show", "process.ckpt", "--section", "pipe"]);
    assert_eq!(r.code, 2);
    assert!(
        r.stderr
            .contains("Its sections are: image schema tasks memory files pipes"),
        "{}",
        r.stderr
    );
    assert_eq!(crimg(&["show"]).code, 2);
    assert_eq!(crimg(&["show", "no-such.ckpt"]).code, 6);
    assert_eq!(crimg(&["show", "."]).code, 6);
}

#[test]
fn something_else_than_an_image_is_named_as_such() {
    let r = stdin(&["show", "-"], &[b'x'; 5000]);
    assert_eq!((r.code, r.stdout.as_str()), (3, ""));
    assert!(r.stderr.contains("no image of crkit"), "{}", r.stderr);
    let r = stdin(&["show", "-"], b"");
    assert_eq!(r.code, 3);
}

#[test]
fn a_closed_output_pipe_is_a_quiet_end() {
    let mut model = synth::process();
    // More than a pipe holds.
    let task = model.record(0x10, 2, 1).clone();
    for tid in 0..2000 {
        let mut next = task.clone();
        next.id = 2000 + tid;
        next.set(1, 2000 + u64::from(tid));
        model.section(0x10).push(next);
    }
    let r = tool::closed_output(&["show", "-", "--threads"], &model.bytes());
    assert_eq!((r.code, r.stderr.as_str()), (0, ""));
}
