// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! The bad images as files, `tests/images/bad/`, with a manifest of what every reader must answer.
//!
//! `CRKIT_UPDATE=1 cargo test -p cr-format --test corpus` writes them anew from `synth::bad()`.

mod common;
mod synth;

use cr_format::ErrorKind;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};
use synth::{Bad, Expect};

const HEAD: &str = "\
# Bad images, one defect each. Written by: CRKIT_UPDATE=1 cargo test -p cr-format --test corpus
# FILE\tEXIT of crimg verify\tRULE or kind\tERRNO of the kernel\tANSWER\tWHAT\n";

/// Largest image that is kept as a file; those above only try limits and are made when needed.
const KEPT: usize = 64 << 10;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/images/bad")
}

/// `PAGE-12 source in a zero run` becomes `PAGE-12-source-in-a-zero-run.ckpt`.
fn file_name(bad: &Bad) -> String {
    let mut name = String::new();
    for c in bad.name.chars() {
        match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' => name.push(c),
            _ if name.ends_with('-') => {}
            _ => name.push('-'),
        }
    }
    format!("{}.ckpt", name.trim_end_matches('-'))
}

/// Exit status of `crimg`, rule or kind, errno, answer.
fn answer(expect: Expect) -> (u8, &'static str, &'static str, &'static str) {
    match expect {
        Expect::Rule(id) => (3, id, "EUCLEAN", "malformed"),
        Expect::Checksum => (3, "checksum", "EBADMSG", "malformed"),
        Expect::Truncated => (3, "truncated", "EUCLEAN", "malformed"),
        Expect::Unsupported => (4, "unsupported", "EOPNOTSUPP", "unsupported"),
        Expect::OverLimit => (4, "over-limit", "EFBIG", "over-limit"),
    }
}

/// The first image of each rule, and all that are no matter of one rule.
fn kept() -> Vec<Bad> {
    let mut rules = BTreeSet::new();
    let mut all = synth::bad();
    all.retain(|b| match b.expect {
        _ if b.bytes.len() > KEPT => false,
        Expect::Rule(id) => rules.insert(id),
        _ => true,
    });
    all
}

fn line(bad: &Bad) -> String {
    let (exit, rule, errno, answer) = answer(bad.expect);
    let what = bad.name;
    format!(
        "{}\t{exit}\t{rule}\t{errno}\t{answer}\t{what}\n",
        file_name(bad)
    )
}

#[test]
fn the_files_and_the_manifest_are_those_of_the_independent_writer() {
    let mut manifest = HEAD.to_owned();
    let mut files = BTreeMap::new();
    for bad in kept() {
        manifest.push_str(&line(&bad));
        let before = files.insert(file_name(&bad), bad.bytes);
        assert!(before.is_none(), "{} twice", bad.name);
    }
    if std::env::var_os("CRKIT_UPDATE").is_some() {
        let _ = fs::remove_dir_all(folder());
        fs::create_dir_all(folder()).unwrap();
        fs::write(folder().join("manifest.tsv"), &manifest).unwrap();
        for (name, bytes) in &files {
            fs::write(folder().join(name), bytes).unwrap();
        }
    }
    assert_eq!(
        fs::read_to_string(folder().join("manifest.tsv")).unwrap(),
        manifest
    );
    for (name, bytes) in &files {
        assert!(fs::read(folder().join(name)).unwrap() == *bytes, "{name}");
    }
    let there: BTreeSet<String> = fs::read_dir(folder())
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .filter(|n| n.ends_with(".ckpt"))
        .collect();
    assert_eq!(there, files.into_keys().collect());
}

#[test]
fn every_file_gets_the_answer_of_the_manifest() {
    let manifest = fs::read_to_string(folder().join("manifest.tsv")).unwrap();
    let mut count = 0;
    for line in manifest.lines().filter(|l| !l.starts_with('#')) {
        let columns: Vec<&str> = line.split('\t').collect();
        let [file, exit, rule, errno, answer, _] = columns[..] else {
            panic!("{line}");
        };
        let bytes = fs::read(folder().join(file)).unwrap();
        let Err(error) = common::read(&bytes) else {
            panic!("{file} is accepted");
        };
        let got = match error.kind {
            ErrorKind::Rule(id) => ("3", id, "EUCLEAN", "malformed"),
            ErrorKind::BadChecksum { .. } => ("3", "checksum", "EBADMSG", "malformed"),
            ErrorKind::Truncated { .. } => ("3", "truncated", "EUCLEAN", "malformed"),
            ErrorKind::Unsupported(_) => ("4", "unsupported", "EOPNOTSUPP", "unsupported"),
            ErrorKind::OverLimit { .. } => ("4", "over-limit", "EFBIG", "over-limit"),
            ErrorKind::NoSpace => panic!("{file}: {error}"),
        };
        assert_eq!(got, (exit, rule, errno, answer), "{file}: {error}");
        count += 1;
    }
    assert!(count > 150, "{count}");
}
