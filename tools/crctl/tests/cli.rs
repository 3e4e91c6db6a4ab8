// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Runs the program where no kernel module is loaded: wrong use, refusals before anything is touched, documents.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn crctl(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_crctl"))
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("crctl starts")
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("no signal")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

/// True, with a line that says so, where the modules are loaded or could be: these tests must not load them.
fn modules_are_there() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let installed = std::fs::read_to_string(format!("/lib/modules/{}/modules.dep", release.trim()))
        .is_ok_and(|list| list.contains("cr_core.ko"));
    let there = installed || Path::new("/dev/crkit").exists();
    if there {
        eprintln!("skipped: the crkit modules are installed here");
    }
    there
}

struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let path =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a directory for the test");
        Self(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("UTF-8").to_owned()
    }

    fn is_empty(&self) -> bool {
        std::fs::read_dir(&self.0)
            .expect("readable")
            .next()
            .is_none()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn wrong_use_is_exit_code_2_with_a_message() {
    for args in [
        &["frobnicate"][..],
        &["checkpoint"],
        &["checkpoint", "1"],
        &["checkpoint", "1", "-o", "x", "--kill", "--stop"],
        &["check", "many"],
        &["restart", "x", "--fd", "5"],
        &["man", "nothing"],
    ] {
        let output = crctl(args);
        assert_eq!(code(&output), 2, "{args:?}");
        assert!(stdout(&output).is_empty(), "{args:?}");
        assert!(!stderr(&output).is_empty(), "{args:?}");
    }
}

#[test]
fn help_documents_the_exit_codes() {
    let restart = stdout(&crctl(&["restart", "--help"]));
    for text in [
        "120",
        "121",
        "122",
        "123",
        "124",
        "125",
        "--new-pidns",
        "--detach",
        "/dev/null",
    ] {
        assert!(restart.contains(text), "restart --help has no {text}");
    }
    let main = stdout(&crctl(&["--help"]));
    for text in [
        "no such process",
        "not permitted",
        "cannot be checkpointed",
        "JSON",
    ] {
        assert!(main.contains(text), "--help has no {text}");
    }
    assert!(stdout(&crctl(&["checkpoint", "--help"])).contains("SIGKILL"));
}

#[test]
fn manual_pages_and_completions_are_generated() {
    assert!(stdout(&crctl(&["man"])).contains(".TH crctl 1"));
    let page = stdout(&crctl(&["man", "restart"]));
    assert!(page.contains(".TH crctl-restart 1"), "{page}");
    assert!(page.contains("new\\-pidns"));
    assert!(stdout(&crctl(&["completions", "bash"])).contains("_crctl"));
}

#[test]
fn a_process_that_does_not_exist_is_exit_code_3_and_leaves_no_file() {
    let dir = Dir::new("no-process");
    let output = crctl(&["checkpoint", "2147483647", "-o", &dir.file("a.ckpt")]);
    assert_eq!(code(&output), 3);
    assert!(stderr(&output).starts_with("crctl checkpoint: there is no process 2147483647\n"));
    assert!(dir.is_empty());
    assert_eq!(code(&crctl(&["check", "2147483647"])), 3);
}

#[test]
fn an_existing_image_is_refused_before_the_process_is_looked_at() {
    let dir = Dir::new("existing");
    std::fs::write(dir.file("a.ckpt"), "precious").expect("writable");
    let output = crctl(&["checkpoint", "2147483647", "-o", &dir.file("a.ckpt")]);
    assert_eq!(code(&output), 6);
    assert!(stderr(&output).contains("--force"));
    let output = crctl(&[
        "checkpoint",
        "2147483647",
        "-o",
        &dir.file("a.ckpt"),
        "--force",
    ]);
    assert_eq!(code(&output), 3);
    assert_eq!(
        std::fs::read_to_string(dir.file("a.ckpt")).expect("readable"),
        "precious"
    );
    let output = crctl(&["checkpoint", "2147483647", "-o", "/dev/null", "--force"]);
    assert_eq!(code(&output), 2);
    let output = crctl(&["checkpoint", "2147483647", "-o", &dir.file("none/a.ckpt")]);
    assert_eq!(code(&output), 6);
}

#[test]
fn an_image_that_cannot_be_read_is_exit_code_124() {
    let output = crctl(&["restart", "/nonexistent.ckpt"]);
    assert_eq!(code(&output), 124);
    assert_eq!(
        stderr(&output),
        "crctl restart: /nonexistent.ckpt: No such file or directory\n"
    );
    assert_eq!(code(&crctl(&["restart", "/"])), 124);
}

#[test]
fn failures_have_a_json_form() {
    let output = crctl(&["--json", "restart", "/nonexistent.ckpt"]);
    assert_eq!(code(&output), 124);
    let text = stdout(&output);
    for part in [
        "\"command\":\"restart\"",
        "\"ok\":false",
        "\"exit_code\":124",
        "\"error\":\"io\"",
    ] {
        assert!(text.contains(part), "{text} has no {part}");
    }
    assert_eq!(text.lines().count(), 1);
}

#[test]
fn without_modules_the_message_says_how_to_get_them() {
    if modules_are_there() {
        return;
    }
    let own = std::process::id().to_string();
    let dir = Dir::new("no-modules");
    let image = dir.file("a.ckpt");
    let output = crctl(&["checkpoint", &own, "-o", &image]);
    // 4 instead of 5 for a user who may not load modules.
    assert!(matches!(code(&output), 4 | 5), "{output:?}");
    assert!(
        stderr(&output).starts_with("crctl checkpoint: cannot load cr_core"),
        "{output:?}"
    );
    assert!(
        stderr(&output).lines().count() >= 2,
        "there is a remedy: {output:?}"
    );
    assert!(dir.is_empty());

    std::fs::write(&image, "no image").expect("writable");
    assert!(matches!(code(&crctl(&["restart", &image])), 122 | 123));
    assert!(matches!(code(&crctl(&["load"])), 4 | 5));
}

#[test]
fn status_tells_that_nothing_is_loaded() {
    if modules_are_there() {
        return;
    }
    let output = crctl(&["status"]);
    assert_eq!(code(&output), 1);
    assert!(stdout(&output).starts_with("loaded: no\n"));
    assert!(stdout(&crctl(&["status", "--json"])).contains("\"loaded\":false"));
    let output = crctl(&["unload"]);
    assert_eq!(
        (code(&output), stdout(&output).as_str()),
        (0, "cr_core is not loaded\n")
    );
}

#[test]
fn a_closed_output_pipe_is_a_quiet_end() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_crctl"))
        .args(["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("crctl starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty());
}
