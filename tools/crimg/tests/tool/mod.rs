// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Runs `crimg` in the folder of the test images and compares with golden files.
#![allow(dead_code)] // Each test takes a part of it.

use snapbox::{assert::Action, Data};
use std::{
    io::{Read, Write},
    path::PathBuf,
    process::{Command, Stdio},
};

/// The folder with images and golden files.
pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/images")
}

/// A checked-in image.
pub fn image(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(name)).unwrap()
}

pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_crimg"));
    command
        .args(args)
        .current_dir(folder())
        .env_remove("COLUMNS")
        .stdin(Stdio::null());
    command
}

/// Runs it.
pub fn crimg(args: &[&str]) -> Run {
    let out = command(args).output().unwrap();
    Run {
        code: out.status.code().expect("an exit status, not a signal"),
        stdout: String::from_utf8(out.stdout).unwrap(),
        stderr: String::from_utf8(out.stderr).unwrap(),
    }
}

/// Runs it with `input` on standard input.
pub fn stdin(args: &[&str], input: &[u8]) -> Run {
    let mut child = command(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = child.stdin.take().unwrap();
    let input = input.to_vec();
    // It need not read everything.
    let feeder = std::thread::spawn(move || drop(pipe.write_all(&input)));
    let out = child.wait_with_output().unwrap();
    feeder.join().unwrap();
    Run {
        code: out.status.code().expect("an exit status, not a signal"),
        stdout: String::from_utf8(out.stdout).unwrap(),
        stderr: String::from_utf8(out.stderr).unwrap(),
    }
}

/// Runs it with an output that is closed after a few bytes.
pub fn closed_output(args: &[&str], input: &[u8]) -> Run {
    let mut child = command(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = child.stdin.take().unwrap();
    let input = input.to_vec();
    let feeder = std::thread::spawn(move || drop(pipe.write_all(&input)));
    let mut out = child.stdout.take().unwrap();
    out.read_exact(&mut [0; 10]).unwrap();
    drop(out);
    let out = child.wait_with_output().unwrap();
    feeder.join().unwrap();
    let stderr = String::from_utf8(out.stderr).unwrap();
    Run {
        code: out.status.code().expect("an exit status, not a signal"),
        stdout: String::new(),
        stderr,
    }
}

/// Compares with a golden file, or writes it if `CRKIT_UPDATE` is set.
pub fn golden(name: &str, got: &[u8]) {
    let path = folder().join(name);
    let got = match std::str::from_utf8(got) {
        Ok(text) => Data::text(text),
        Err(_) => Data::binary(got),
    };
    // As it is: no wildcards, no exchange of line ends or path separators.
    let want = Data::read_from(&path, Some(got.format())).raw();
    let action = match std::env::var_os("CRKIT_UPDATE") {
        Some(_) => Action::Overwrite,
        None => Action::Verify,
    };
    snapbox::Assert::new().action(action).eq(got.raw(), want);
}
