// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `crimg bt` on a real image, with its program below a sysroot and without; compared with what gdb says about
//! the exported core.

use std::process::Command;

mod tool;

/// A sysroot with the program of `real/bt.ckpt`, but not its libc.
fn sysroot() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("opt/crkit/programs");
    std::fs::create_dir_all(&folder).unwrap();
    let program = folder.join("bt");
    std::fs::copy(tool::folder().join("real/bt.elf"), &program).unwrap();
    // As recorded in the image.
    let file = std::fs::File::options().write(true).open(&program).unwrap();
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_795_397_027);
    file.set_modified(time).unwrap();
    root
}

fn bt(root: &tempfile::TempDir, more: &[&str]) -> tool::Run {
    let mut args = vec![
        "bt",
        "real/bt.ckpt",
        "--sysroot",
        root.path().to_str().unwrap(),
    ];
    args.extend(more);
    tool::crimg(&args)
}

#[test]
fn threads_have_functions_lines_and_inlined_functions() {
    let root = sysroot();
    let run = bt(&root, &[]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    tool::golden("real/bt.bt", run.stdout.as_bytes());
    assert!(
        run.stderr.contains("libc.so.6: there is no such file"),
        "{}",
        run.stderr
    );
    let run = bt(&root, &["--json", "--tid", "366"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    tool::golden("real/bt.bt.json", run.stdout.as_bytes());
}

#[test]
fn without_any_file_the_frame_pointer_leads_on() {
    let root = tempfile::tempdir().unwrap();
    let run = bt(&root, &["--tid", "367"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stdout.contains("[by frame pointer]"), "{}", run.stdout);
    assert!(run.stdout.contains("from /opt/crkit/programs/bt"));
}

#[test]
fn a_file_that_the_process_did_not_have_is_not_used() {
    let root = sysroot();
    let program = root.path().join("opt/crkit/programs/bt");
    let mut bytes = std::fs::read(&program).unwrap();
    bytes.push(0);
    std::fs::write(&program, &bytes).unwrap();
    let run = bt(&root, &["--tid", "366"]);
    assert_eq!(run.code, 0);
    assert!(!run.stdout.contains("spinner ()"), "{}", run.stdout);
    assert!(
        run.stderr
            .contains("has 26305 bytes, the process had one of 26304"),
        "{}",
        run.stderr
    );
    // The same size at another time: used, with a warning.
    bytes.pop();
    std::fs::write(&program, &bytes).unwrap();
    let run = bt(&root, &["--tid", "366"]);
    assert!(run.stdout.contains("spinner ()"), "{}", run.stdout);
    assert!(
        run.stderr.contains("modified at another time"),
        "{}",
        run.stderr
    );
}

#[test]
fn damaged_programs_do_no_harm() {
    let root = sysroot();
    let program = root.path().join("opt/crkit/programs/bt");
    let good = std::fs::read(&program).unwrap();
    // Headers, unwind tables, debug information: a byte here and there.
    for step in 0..97 {
        let mut bytes = good.clone();
        for at in (step..bytes.len()).step_by(97) {
            bytes[at] ^= 0xff;
        }
        // It must be taken for the program at all.
        bytes[..64].copy_from_slice(&good[..64]);
        std::fs::write(&program, &bytes).unwrap();
        let run = bt(&root, &[]);
        assert_eq!(run.code, 0, "{step}: {}", run.stderr);
    }
}

#[test]
fn options_that_cannot_be_are_refused() {
    let run = tool::crimg(&["bt", "real/bt.ckpt", "--tid", "1"]);
    assert_eq!(run.code, 2);
    assert!(run.stderr.contains("363 366 367 368"), "{}", run.stderr);
    let root = sysroot();
    let run = bt(&root, &["--tid", "367", "--limit", "3"]);
    assert!(run.stdout.contains("more frames follow"), "{}", run.stdout);
}

/// Function and `file:line` of the frames of gdb's thread 2, as far as they are in the program.
fn of_gdb(text: &str) -> Vec<(String, String)> {
    let frames = text.lines().filter(|l| l.starts_with('#'));
    frames
        .filter_map(|l| {
            let rest = l.split_once(' ')?.1.trim_start();
            let rest = rest.split_once(" in ").map_or(rest, |r| r.1);
            let function = rest.split(' ').next()?;
            let place = rest.rsplit_once(" at ")?.1;
            Some((function.to_owned(), place.rsplit('/').next()?.to_owned()))
        })
        .collect()
}

#[test]
fn gdb_says_the_same_about_the_exported_core() {
    if Command::new("gdb").arg("--version").output().is_err() {
        eprintln!("skipped: gdb is not installed");
        return;
    }
    let root = sysroot();
    let core = root.path().join("core");
    let run = tool::crimg(&[
        "export",
        "core",
        "real/bt.ckpt",
        "-o",
        core.to_str().unwrap(),
    ]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let out = Command::new("gdb")
        .args([
            "-nx",
            "-batch",
            "-iex",
            "set debuginfod enabled off",
            "-iex",
        ])
        .arg(format!("set sysroot {}", root.path().display()))
        .args(["-ex", "thread 2", "-ex", "bt"])
        .arg(root.path().join("opt/crkit/programs/bt"))
        .arg(&core)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    let (_, thread) = text.split_once("[Switching to thread 2").unwrap();
    // gdb prints the innermost frame when it switches, then all.
    let want = of_gdb(thread).split_off(1);
    assert_eq!(want.len(), 4, "{text}");
    let got = of_gdb(&bt(&root, &["--tid", "366"]).stdout);
    assert_eq!(got, want);
}
