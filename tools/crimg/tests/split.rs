// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `crimg split` and `crimg join`: the same bytes again, or a reason why not.

mod tool;

use std::{
    fs,
    path::{Path, PathBuf},
};

struct Split {
    _dir: tempfile::TempDir,
    prefix: PathBuf,
    image: Vec<u8>,
}

impl Split {
    fn new(size: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let prefix = dir.path().join("p");
        let image = "real/memory.ckpt";
        let run = tool::crimg(&[
            "split",
            image,
            "--size",
            size,
            "-o",
            prefix.to_str().unwrap(),
        ]);
        assert_eq!(run.code, 0, "{}", run.stderr);
        Self {
            _dir: dir,
            prefix,
            image: tool::image(image),
        }
    }
    fn path(&self, suffix: &str) -> PathBuf {
        PathBuf::from(format!("{}{suffix}", self.prefix.display()))
    }
    fn pieces(&self) -> Vec<PathBuf> {
        let mut all: Vec<PathBuf> = fs::read_dir(self.prefix.parent().unwrap())
            .unwrap()
            .map(|e| e.unwrap().path())
            .filter(|p| p.extension().unwrap() != "json")
            .collect();
        all.sort();
        all
    }
    fn join(&self, arguments: &[&Path]) -> tool::Run {
        let out = self.path(".out");
        let mut args = vec!["join", "-o", out.to_str().unwrap()];
        args.extend(arguments.iter().map(|a| a.to_str().unwrap()));
        let run = tool::crimg(&args);
        if run.code == 0 {
            assert!(fs::read(&out).unwrap() == self.image);
            fs::remove_file(&out).unwrap();
        }
        assert!(!out.exists());
        run
    }
}

#[test]
fn pieces_make_the_same_image_by_join_and_by_cat() {
    for (size, count) in [
        ("1M", 1),
        ("64K", 3),
        ("4096", 43),
        ("172895", 2),
        ("172896", 1),
    ] {
        let s = Split::new(size);
        let pieces = s.pieces();
        assert_eq!(pieces.len(), count, "{size}");
        let whole: Vec<u8> = pieces.iter().flat_map(|p| fs::read(p).unwrap()).collect();
        assert!(whole == s.image);
        assert_eq!(s.join(&[&s.prefix]).code, 0);
        assert_eq!(s.join(&[&s.path(".json")]).code, 0);
        assert_eq!(s.join(&[&s.path(".000")]).code, 0);
        let mut all: Vec<&Path> = pieces.iter().map(PathBuf::as_path).collect();
        all.reverse();
        assert_eq!(s.join(&all).code, 0);
    }
}

#[test]
fn names_sort_when_there_are_a_thousand_pieces() {
    let s = Split::new("172");
    let pieces = s.pieces();
    assert_eq!(pieces.len(), 1006);
    assert!(pieces[0].to_str().unwrap().ends_with("p.0000"));
    assert_eq!(s.join(&[&s.path(".0000")]).code, 0);
}

#[test]
fn missing_damaged_and_mixed_pieces_are_found_before_anything_is_written() {
    let check = |change: &dyn Fn(&Split), code: i32, word: &str| {
        let s = Split::new("64K");
        change(&s);
        let run = s.join(&[&s.prefix]);
        assert_eq!(run.code, code, "{}", run.stderr);
        assert!(run.stderr.contains(word), "{word}: {}", run.stderr);
    };
    check(&|s| fs::remove_file(s.path(".001")).unwrap(), 6, "p.001");
    check(&|s| fs::remove_file(s.path(".json")).unwrap(), 6, "p.json");
    check(
        &|s| {
            let mut piece = fs::read(s.path(".002")).unwrap();
            piece[77] ^= 1;
            fs::write(s.path(".002"), piece).unwrap();
        },
        3,
        "CRC-32",
    );
    check(
        &|s| {
            let piece = fs::read(s.path(".001")).unwrap();
            fs::write(s.path(".001"), &piece[..100]).unwrap();
        },
        3,
        "fewer bytes",
    );
    check(
        &|s| {
            let mut piece = fs::read(s.path(".001")).unwrap();
            piece.push(0);
            fs::write(s.path(".001"), piece).unwrap();
        },
        3,
        "more bytes",
    );
    check(
        &|s| {
            let (a, b) = (s.path(".000"), s.path(".001"));
            let (x, y) = (fs::read(&a).unwrap(), fs::read(&b).unwrap());
            fs::write(a, y).unwrap();
            fs::write(b, x).unwrap();
        },
        3,
        "another image",
    );
    // A manifest that fits the pieces, of which the image says something else.
    check(
        &|s| {
            let text = fs::read_to_string(s.path(".json")).unwrap();
            let at = text.find("\"uuid\": \"").unwrap() + 9;
            let other = if &text[at..=at] == "0" { "1" } else { "0" };
            let text = format!("{}{other}{}", &text[..at], &text[at + 1..]);
            fs::write(s.path(".json"), text).unwrap();
        },
        3,
        "another image than the manifest says",
    );
}

#[test]
fn a_piece_of_another_split_is_not_taken() {
    let s = Split::new("64K");
    let stranger = s.path("x.000");
    fs::write(&stranger, b"x").unwrap();
    let run = s.join(&[&s.path(".000"), &stranger]);
    assert_eq!(run.code, 2, "{}", run.stderr);
}

#[test]
fn files_in_the_way_are_kept() {
    let s = Split::new("64K");
    let before = s.pieces();
    let prefix = s.prefix.to_str().unwrap();
    let run = tool::crimg(&["split", "real/memory.ckpt", "--size=64K", "-o", prefix]);
    assert_eq!(run.code, 2);
    assert_eq!(s.pieces(), before);
    // Fewer and larger ones: the third would be left over.
    let run = tool::crimg(&[
        "split",
        "real/memory.ckpt",
        "--size=100K",
        "--force",
        "-o",
        prefix,
    ]);
    assert_eq!(run.code, 2);
    assert!(run.stderr.contains("p.002"), "{}", run.stderr);
    assert_eq!(s.join(&[&s.prefix]).code, 0);
    let run = tool::crimg(&[
        "split",
        "real/memory.ckpt",
        "--size=64K",
        "--force",
        "-o",
        prefix,
    ]);
    assert_eq!(run.code, 0);
    assert_eq!(s.join(&[&s.prefix]).code, 0);
}

#[test]
fn a_damaged_image_and_too_many_pieces_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let bad = dir.path().join("bad");
    let bytes = tool::image("process.ckpt");
    fs::write(&bad, &bytes[..bytes.len() - 1]).unwrap();
    let run = tool::crimg(&["split", bad.to_str().unwrap(), "--size", "1K"]);
    assert_eq!(run.code, 3, "{}", run.stderr);
    let run = tool::crimg(&[
        "split",
        "real/memory.ckpt",
        "--size",
        "2",
        "-o",
        bad.to_str().unwrap(),
    ]);
    assert_eq!(run.code, 2, "{}", run.stderr);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn the_reports_are_the_golden_ones() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().to_str().unwrap();
    let (prefix, out) = (format!("{place}/p"), format!("{place}/out"));
    let run = |args: &[&str]| {
        let run = tool::crimg(args);
        assert_eq!(run.code, 0, "{}", run.stderr);
        run.stdout.replace(place, "DIR")
    };
    let text = run(&["split", "real/memory.ckpt", "--size=64K", "-o", &prefix])
        + &run(&["join", &prefix, "-o", &out]);
    tool::golden("split/report", text.as_bytes());
    let text = run(&[
        "split",
        "real/memory.ckpt",
        "--size=64K",
        "--force",
        "--json",
        "-o",
        &prefix,
    ]) + &run(&["join", &prefix, "--force", "--json", "-o", &out]);
    tool::golden("split/report.json", text.as_bytes());
    let manifest = fs::read(format!("{prefix}.json")).unwrap();
    tool::golden("split/manifest.json", &manifest);
}
