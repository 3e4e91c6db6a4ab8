// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Every command that takes an image takes it from a pipe, says the same, and leaves nothing behind.

mod tool;

use std::{fs, path::Path};
use tool::{image, stdin, Run};

const IMAGE: &str = "real/plain.ckpt";

/// What is said from the file and from the pipe must differ in the name only.
fn same(args: &[&str]) {
    let at = args.iter().position(|a| *a == "-").unwrap();
    let mut named = args.to_vec();
    named[at] = IMAGE;
    let (from_file, from_pipe) = (tool::crimg(&named), stdin(args, &image(IMAGE)));
    assert_eq!(
        from_file.code, from_pipe.code,
        "{args:?}: {}",
        from_pipe.stderr
    );
    let nameless = |text: &str| {
        text.replace("\"standard input\"", "NAME")
            .replace("\"-\"", "NAME")
            .replace(&format!("\"{IMAGE}\""), "NAME")
            .replace("standard input", IMAGE)
    };
    assert_eq!(
        nameless(&from_file.stdout),
        nameless(&from_pipe.stdout),
        "{args:?}"
    );
}

#[test]
fn what_looks_at_an_image_says_the_same_of_a_pipe() {
    for args in [
        &["show", "-"][..],
        &["show", "-", "--fds", "--json"],
        &["verify", "-", "--json"],
        &["bt", "-", "--sysroot", "/nonexistent"],
        &["bt", "-", "--sysroot", "/nonexistent", "--json"],
        &["mem", "hex", "-", "--vma", "[stack]"],
        &["mem", "strings", "-", "--json"],
        &["mem", "grep", "-", "PURPOSE"],
        &["mem", "find-ptr", "-", "[stack]"],
        &["mem", "disasm", "-"],
        &[
            "mem",
            "extract",
            "-",
            "--vma",
            "[stack]",
            "--fill",
            "0",
            "-o",
            "/dev/null",
            "--force",
        ],
        &["diff", "-", "real/timens.ckpt", "--json"],
        &["diff", "real/timens.ckpt", "-"],
        &["patch", "-", "--umask", "77", "--dry-run"],
    ] {
        same(args);
    }
}

fn works(args: &[&str]) -> Run {
    let run = stdin(args, &image(IMAGE));
    assert_eq!(run.code, 0, "{args:?}: {}", run.stderr);
    run
}

#[test]
fn what_makes_something_of_an_image_makes_it_of_a_pipe() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| {
        dir.path()
            .join(name)
            .into_os_string()
            .into_string()
            .unwrap()
    };
    let read = |name: &str| fs::read(dir.path().join(name)).unwrap();
    works(&["repack", "-", "-o", &path("same.ckpt")]);
    assert!(read("same.ckpt") == image(IMAGE));
    works(&["repack", "-", "--zstd", "-o", &path("small.ckpt")]);
    works(&["redact", "-", "--env", "all", "-o", &path("redacted.ckpt")]);
    works(&["patch", "-", "--umask", "77", "-o", &path("patched.ckpt")]);
    for name in ["small.ckpt", "redacted.ckpt", "patched.ckpt"] {
        assert_eq!(
            tool::crimg(&["verify", "-q", &path(name)]).code,
            0,
            "{name}"
        );
    }
    works(&["export", "core", "-", "-o", &path("core")]);
    let core = read("core");
    let run = stdin(&["import", "core", "-", "-o", &path("core.ckpt")], &core);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let document = works(&["export", "json", "-"]).stdout;
    let run = stdin(
        &["import", "json", "-", "-o", &path("json.ckpt")],
        document.as_bytes(),
    );
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(read("json.ckpt") == image(IMAGE));
    works(&["report", "-", "-o", &path("page.html")]);
}

#[test]
fn a_stream_is_cut_as_it_comes() {
    let dir = tempfile::tempdir().unwrap();
    let prefix = dir.path().join("p").into_os_string().into_string().unwrap();
    let split = ["split", "-", "--size", "40K", "-o", &prefix];
    works(&split);
    let pieces: Vec<_> = (0..3)
        .map(|n| fs::read(format!("{prefix}.{n:04}")).unwrap())
        .collect();
    assert!(pieces.concat() == image(IMAGE));
    let whole = format!("{prefix}.whole");
    let run = tool::crimg(&["join", &prefix, "-o", &whole]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(fs::read(&whole).unwrap() == image(IMAGE));

    // Damage, a cut and bytes behind the end are noticed, and no pieces are left.
    let mut damaged = image(IMAGE);
    damaged[50_000] ^= 1;
    let mut longer = image(IMAGE);
    longer.push(0);
    let cut = image(IMAGE)[..90_000].to_vec();
    for bytes in [damaged, longer, cut] {
        let dir = tempfile::tempdir().unwrap();
        let prefix = dir.path().join("p").into_os_string().into_string().unwrap();
        let run = stdin(&["split", "-", "--size", "10K", "-o", &prefix], &bytes);
        assert_eq!(run.code, 3, "{}", run.stderr);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
    // Pieces that are there already.
    assert_eq!(stdin(&split, &image(IMAGE)).code, 2);
    let run = stdin(&["split", "-", "--size", "40K"], &image(IMAGE));
    assert_eq!(run.code, 2);
    assert!(run.stderr.contains("-o"), "{}", run.stderr);
    let run = stdin(
        &["split", "-", "--size", "1", "-o", &format!("{prefix}.x")],
        &image(IMAGE),
    );
    assert_eq!(run.code, 2);
    assert!(run.stderr.contains("more than 10000"), "{}", run.stderr);
    assert!(!Path::new(&format!("{prefix}.x.0000")).exists());
}

#[test]
fn a_stream_has_no_place_and_is_read_once() {
    for args in [
        &["repack", "-", "--in-place", "--zstd"][..],
        &["redact", "-", "--in-place", "--args"],
        &["patch", "-", "--umask", "77"],
        &["diff", "-", "-"],
        &["patch", "-", "--script", "-", "-o", "/dev/null"],
    ] {
        let run = stdin(args, &image(IMAGE));
        assert_eq!(run.code, 2, "{args:?}: {}", run.stderr);
        assert!(run.stderr.contains("standard input"), "{}", run.stderr);
    }
    // A named pipe is a stream, too.
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo");
    assert!(std::process::Command::new("mkfifo")
        .arg(&fifo)
        .status()
        .unwrap()
        .success());
    let path = fifo.to_str().unwrap().to_owned();
    let feeder = std::thread::spawn(move || fs::write(fifo, image(IMAGE)));
    let run = tool::crimg(&["mem", "grep", "-c", &path, "PURPOSE"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    feeder.join().unwrap().unwrap();
}

#[test]
fn the_copy_goes_where_the_user_says() {
    let full = std::process::Command::new(env!("CARGO_BIN_EXE_crimg"))
        .args(["mem", "strings", "-"])
        .env("TMPDIR", "/proc/nowhere")
        .stdin(fs::File::open("/dev/null").unwrap())
        .output()
        .unwrap();
    assert_eq!(full.status.code(), Some(6));
    let message = String::from_utf8(full.stderr).unwrap();
    assert!(message.contains("TMPDIR"), "{message}");
}
