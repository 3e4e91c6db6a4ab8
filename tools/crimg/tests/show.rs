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

/// Image, options, name of the golden files.
const VIEWS: [(&str, &[&str], &str); 21] = [
    ("resources.ckpt", &["--fds", "--timers"], "resources"),
    ("process.ckpt", &["--tree"], "tree"),
    ("headless.ckpt", &["--tree", "--threads"], "headless"),
    ("process.ckpt", &["--threads"], "threads"),
    (
        "process.ckpt",
        &["--threads", "--tree", "--signals", "--pid=1240"],
        "thread",
    ),
    ("process.ckpt", &["--maps"], "maps"),
    ("process.ckpt", &["--modules"], "modules"),
    ("process.ckpt", &["--fds"], "fds"),
    ("process.ckpt", &["--signals"], "signals"),
    ("process.ckpt", &["--creds"], "creds"),
    ("process.ckpt", &["--limits"], "limits"),
    ("process.ckpt", &["--args"], "args"),
    ("process.ckpt", &["--chunks"], "chunks"),
    ("process.ckpt", &["--chunks=list"], "chunks-list"),
    ("compressed.ckpt", &[], "compressed"),
    (
        "compressed.ckpt",
        &["--maps", "--chunks", "--provenance"],
        "compressed-views",
    ),
    ("process.ckpt", &["--all"], "all"),
    ("real/bt.ckpt", &["--args"], "bt-args"),
    ("real/bt.ckpt", &["--env"], "bt-env"),
    ("real/bt.ckpt", &["--auxv"], "bt-auxv"),
    ("real/bt.ckpt", &["--tree"], "bt-tree"),
];

#[test]
fn every_view_has_its_text_and_its_json() {
    for (image, options, name) in VIEWS {
        let mut args = vec!["show", image];
        args.extend(options);
        let r = crimg(&args);
        assert_eq!((r.code, r.stderr.as_str()), (0, ""), "{name}");
        golden(&format!("show/{name}.txt"), r.stdout.as_bytes());
        args.push("--json");
        let r = crimg(&args);
        assert_eq!((r.code, r.stderr.as_str()), (0, ""), "{name}");
        golden(&format!("show/{name}.json"), r.stdout.as_bytes());
    }
}

#[test]
fn avx_512_and_avx_registers_are_shown() {
    // The last state of the synthetic process, made wider: Intel's layout with AVX-512 and PKRU.
    let mut model = synth::process();
    let mut state = vec![0; 2696];
    state[..2].copy_from_slice(&0x37f_u16.to_le_bytes());
    state[24..28].copy_from_slice(&0x1f80_u32.to_le_bytes());
    state[512..520].copy_from_slice(&0x2e7_u64.to_le_bytes());
    for (at, byte) in [
        (32, 0x80),
        (160, 1),
        (576, 2),
        (1152, 3),
        (1664, 4),
        (1096, 5),
        (2688, 0x54),
    ] {
        state[at] = byte;
    }
    model.record(1, 1, 0).set(12, 0x2e7);
    model.record(1, 1, 0).set(13, 2696);
    for n in 0..2 {
        model.record(0x10, 2, n).put(4, &state);
    }
    let bytes = model.bytes();
    assert_eq!(stdin(&["verify", "-"], &bytes).code, 0);
    let r = stdin(&["show", "-", "--threads", "--pid=1240"], &bytes);
    golden("show/avx512.txt", r.stdout.as_bytes());
    let r = stdin(&["show", "-", "--threads", "--pid=1240", "--json"], &bytes);
    golden("show/avx512.json", r.stdout.as_bytes());
    let json: serde_json::Value = serde_json::from_str(&r.stdout).unwrap();
    assert_eq!(
        json["threads"][0]["extended"]["zmm"]
            .as_array()
            .unwrap()
            .len(),
        32
    );
}

#[test]
fn the_stack_is_read_only_where_there_is_one() {
    let r = stdin(&["show", "-", "--args", "--env"], &image("real/bt.ckpt"));
    assert_eq!(r.code, 0);
    assert!(r.stdout.contains("from a stream"), "{}", r.stdout);
    assert!(crimg(&["show", "--env", "real/bt.ckpt"])
        .stdout
        .contains("PURPOSE=image for tests"));
}

#[test]
fn an_image_of_the_future_shows_its_head() {
    let mut model = synth::process();
    model.features = 0x8000_0000;
    let bytes = model.bytes();
    for options in [&["show", "-"][..], &["show", "-", "--json"]] {
        let r = stdin(options, &bytes);
        assert_eq!(r.code, 4, "{}", r.stderr);
        assert!(r.stdout.contains("0x80000000"), "{}", r.stdout);
        assert!(r.stdout.contains("01020304-0506"), "{}", r.stdout);
    }
    golden(
        "show/future.txt",
        stdin(&["show", "-"], &bytes).stdout.as_bytes(),
    );
    golden(
        "show/future.json",
        stdin(&["show", "-", "--json"], &bytes).stdout.as_bytes(),
    );
}

#[test]
fn a_pid_that_is_not_there_is_a_usage_error_that_lists_the_others() {
    let r = crimg(&["show", "process.ckpt", "--pid", "7"]);
    assert_eq!(r.code, 2);
    assert!(r.stderr.contains("1234 1240"), "{}", r.stderr);
    assert_eq!(crimg(&["show", "process.ckpt", "--pid", "1234"]).code, 0);
}

#[test]
fn colours_are_for_terminals_or_on_demand() {
    assert!(!crimg(&["show", "process.ckpt"]).stdout.contains('\u{1b}'));
    let r = crimg(&["show", "process.ckpt", "--color=always"]);
    assert!(r.stdout.contains("\u{1b}[1mimage"), "{}", r.stdout);
    let r = crimg(&["--color=never", "show", "process.ckpt"]);
    assert!(!r.stdout.contains('\u{1b}'));
}

/// Runs a command on a terminal of some width, by `script` of util-linux; `None` if there is none.
fn on_a_terminal(columns: u16, command: &str) -> Option<String> {
    let line = format!(
        "stty cols {columns}; exec {} {command}",
        env!("CARGO_BIN_EXE_crimg")
    );
    let out = std::process::Command::new("script")
        .args(["-q", "-e", "-c", &line, "/dev/null"])
        .current_dir(tool::folder())
        .env_remove("NO_COLOR")
        .env_remove("COLUMNS")
        .env("TERM", "xterm")
        .output();
    match out {
        Ok(out) if out.status.success() => Some(String::from_utf8(out.stdout).unwrap()),
        _ => {
            eprintln!("skipped: script(1) of util-linux is missing or has no terminal");
            None
        }
    }
}

#[test]
fn tables_fit_the_terminal_and_colours_are_there() {
    for (columns, options) in [(70, "--maps"), (100, "--maps"), (70, "--fds")] {
        let Some(text) = on_a_terminal(
            columns,
            &format!("show --color=never {options} process.ckpt"),
        ) else {
            return;
        };
        for line in text.lines() {
            let line = line.trim_end();
            // Lines of views that are no tables may be longer.
            let is_table = line.starts_with(' ') && !line.contains("0x0000");
            assert!(
                !is_table || line.chars().count() <= usize::from(columns),
                "{columns} {options}: {line}"
            );
        }
    }
    let text = on_a_terminal(100, "show process.ckpt").unwrap();
    assert!(text.contains("\u{1b}[1mimage"), "{text}");
}

#[test]
fn help_pages_are_as_reviewed() {
    for command in ["show", "verify", "schema"] {
        let r = crimg(&[command, "--help"]);
        assert_eq!(r.code, 0);
        golden(&format!("show/help-{command}.txt"), r.stdout.as_bytes());
    }
    assert!(crimg(&["--help"])
        .stdout
        .contains("5  the image is sound, but this host"));
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
    let edit = synth::rec(
        1,
        1,
        vec![
            synth::u(5, 7),
            synth::t(evil, 0),
            synth::b(&[7; 16], 2),
            synth::t(evil, 0),
            synth::t(evil, 0),
        ],
    );
    model.sections.insert(2, (3, false, vec![edit]));
    let bytes = model.bytes();
    let views = [
        "",
        "--all",
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
        let bad = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}' || c == '\u{9b}';
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
