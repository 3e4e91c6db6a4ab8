// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `crimg import core`: what was exported comes back, foreign cores are taken, broken ones refused.

use std::{fs, path::Path, process::Command};

mod tool;

fn export(image: &str, core: &Path) {
    let core = core.to_str().unwrap();
    let run = tool::crimg(&["export", "core", image, "-o", core, "--force"]);
    assert_eq!(run.code, 0, "{image}: {}", run.stderr);
}

fn import(core: &Path, image: &Path, more: &[&str]) -> tool::Run {
    let (core, image) = (core.to_str().unwrap(), image.to_str().unwrap());
    let mut args = vec!["import", "core", core, "-o", image, "--force"];
    args.extend(more);
    tool::crimg(&args)
}

#[test]
fn an_exported_core_comes_back_and_is_exported_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let (core, again) = (dir.path().join("core"), dir.path().join("again"));
    let image = dir.path().join("image.ckpt");
    for from in [
        "real/bt.ckpt",
        "real/avx.ckpt",
        "real/threads.ckpt",
        "real/pipes.ckpt",
    ] {
        export(from, &core);
        let run = import(&core, &image, &[]);
        assert_eq!(run.code, 0, "{from}: {}", run.stderr);
        let run = tool::crimg(&["verify", image.to_str().unwrap()]);
        assert_eq!(run.code, 0, "{from}: {}{}", run.stdout, run.stderr);
        export(image.to_str().unwrap(), &again);
        assert!(
            fs::read(&core).unwrap() == fs::read(&again).unwrap(),
            "{from}"
        );
    }
}

#[test]
fn the_result_is_marked_and_says_where_it_comes_from() {
    let dir = tempfile::tempdir().unwrap();
    let (core, image) = (dir.path().join("core"), dir.path().join("image.ckpt"));
    export("real/bt.ckpt", &core);
    let run = import(&core, &image, &["--json"]);
    let text = run.stdout.replace(dir.path().to_str().unwrap(), "DIR");
    let (before, rest) = text.split_once("\"uuid\": \"").unwrap();
    let text = format!("{before}\"uuid\": \"UUID{}", &rest[36..]);
    // The embedded schema grows with the format.
    let (before, rest) = text.split_once("\"bytes\": ").unwrap();
    let text = format!("{before}\"bytes\": N{}", &rest[rest.find(',').unwrap()..]);
    tool::golden("real/bt.import.json", text.as_bytes());
    let run = tool::crimg(&["show", "--json", image.to_str().unwrap()]);
    assert!(run.stdout.contains("\"restartable\": false"));
    assert!(run.stdout.contains("\"operation\": \"import\""));
    assert!(run.stdout.contains("/opt/crkit/programs/bt"));
}

#[test]
fn what_is_no_core_of_this_machine_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (core, image) = (dir.path().join("core"), dir.path().join("image.ckpt"));
    export("real/plain.ckpt", &core);
    let good = fs::read(&core).unwrap();
    let refused = |name: &str, bytes: &[u8], code: i32| {
        fs::write(&core, bytes).unwrap();
        let run = import(&core, &image, &[]);
        assert_eq!(run.code, code, "{name}: {}", run.stderr);
        assert!(!image.exists(), "{name}");
    };
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    refused("empty", b"", 3);
    refused("text", b"#!/bin/sh\n", 3);
    refused("another machine", &with(18, 183), 4);
    refused("32 bits", &with(4, 1), 4);
    refused("big-endian", &with(5, 2), 4);
    refused("a program", &with(16, 3), 3);
    refused("cut in the headers", &good[..100], 3);
    refused("cut in the notes", &good[..2000], 3);
    refused("cut in the memory", &good[..good.len() - 1], 3);
    refused("an image", &tool::image("process.ckpt"), 3);

    let run = tool::crimg(&["import", "core", ".", "-o", image.to_str().unwrap()]);
    assert_eq!(run.code, 6, "{}", run.stderr);
}

#[test]
fn damaged_cores_are_refused_or_give_sound_images() {
    let dir = tempfile::tempdir().unwrap();
    let (core, image) = (dir.path().join("core"), dir.path().join("image.ckpt"));
    export("real/plain.ckpt", &core);
    let good = fs::read(&core).unwrap();
    let mut taken = 0;
    // Headers and notes of the core.
    for step in 0..150_usize {
        let mut bytes = good.clone();
        let at = 16 + step * 31 % 6000;
        bytes[at] ^= 1 << (step % 8);
        bytes[at + 1] = bytes[at + 1].wrapping_add(step as u8);
        fs::write(&core, &bytes).unwrap();
        let _ = fs::remove_file(&image);
        let run = import(&core, &image, &[]);
        assert!(
            [0, 3, 4].contains(&run.code),
            "{at}: {}{}",
            run.code,
            run.stderr
        );
        assert_eq!(run.code == 0, image.exists(), "{at}");
        if run.code == 0 {
            taken += 1;
            let run = tool::crimg(&["verify", image.to_str().unwrap()]);
            assert_eq!(run.code, 0, "{at}: {}{}", run.stdout, run.stderr);
        }
    }
    assert!(taken > 0);
}

#[test]
fn a_core_of_gcore_is_taken_and_its_functions_are_found() {
    if Command::new("gcore").arg("--version").output().is_err() {
        eprintln!("skipped: gcore is not installed");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("image.ckpt");
    let mut child = Command::new("sleep").arg("100").spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(200));
    let prefix = dir.path().join("core");
    let made = Command::new("gcore")
        .arg("-o")
        .arg(&prefix)
        .arg(child.id().to_string())
        .output()
        .unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let core = dir.path().join(format!("core.{}", child.id()));
    if !made.status.success() || !core.exists() {
        eprintln!("skipped: gcore may not trace here");
        return;
    }
    let run = import(&core, &image, &[]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let image = image.to_str().unwrap();
    let run = tool::crimg(&["verify", image]);
    assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
    let run = tool::crimg(&["show", image]);
    assert!(
        run.stdout.contains("sleep 100"),
        "arguments: {}",
        run.stdout
    );
    let run = tool::crimg(&["bt", image]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stdout.contains("nanosleep"), "{}", run.stdout);
}
