// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Rules of the chapter "Editing images" that need an image from the future, and the bad images as files.

#[path = "../../../format/tests/synth/mod.rs"]
mod synth;
mod tool;

use cr_format::validate::MetaSet;
use crimg::{
    file::ImageFile,
    rewrite::{Rewrite, Target},
};
use std::path::Path;
use synth::{rec, u};

fn open(path: &Path) -> ImageFile {
    ImageFile::open(path.to_str().unwrap()).unwrap_or_else(|e| panic!("{e}"))
}

/// EDIT-2.
#[test]
fn a_feature_that_an_editor_must_know_is_read_but_not_rewritten() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new");
    let model = synth::process();
    let mut superblock = model.superblock();
    superblock[20] = 1;
    std::fs::write(&path, synth::assemble(&superblock, &model.chunks())).unwrap();
    assert_eq!(tool::crimg(&["verify", path.to_str().unwrap()]).code, 0);
    assert!(Rewrite::new(&open(&path)).is_err());
}

/// EDIT-5.
#[test]
fn a_section_that_is_not_known_is_kept_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (dir.path().join("old"), dir.path().join("new"));
    let mut model = synth::process();
    let strange = vec![rec(77, 3, vec![u(1, 1)]), rec(2, 9, vec![u(2, 250)])];
    model.sections.insert(2, (9, false, strange));
    std::fs::write(&old, model.bytes()).unwrap();
    let file = open(&old);
    let mut plan = Rewrite::new(&file).unwrap();
    plan.edit("patch", "nothing at all");
    let target = Target::File {
        path: new.clone(),
        force: false,
    };
    plan.run(target, false).unwrap();
    let edited = open(&new);
    let kept = edited.image.sections.section(9);
    assert!(!kept.is_empty());
    assert_eq!(kept, file.image.sections.section(9));
}

/// The same files go through a restart in the test machine.
#[test]
fn every_bad_image_gets_the_answer_of_the_manifest() {
    let manifest = tool::image("bad/manifest.tsv");
    let manifest = String::from_utf8(manifest).unwrap();
    for line in manifest.lines().filter(|l| !l.starts_with('#')) {
        let columns: Vec<&str> = line.split('\t').collect();
        let [file, exit, rule, _, answer, _] = columns[..] else {
            panic!("{line}");
        };
        let r = tool::crimg(&["verify", "--json", &format!("bad/{file}")]);
        assert_eq!(r.code.to_string(), exit, "{file}: {}{}", r.stdout, r.stderr);
        let json: serde_json::Value = serde_json::from_str(&r.stdout).unwrap();
        let verdict = if answer == "over-limit" {
            "unsupported"
        } else {
            answer
        };
        assert_eq!(json["verdict"], verdict, "{file}");
        if rule.contains(|c: char| c.is_ascii_uppercase()) {
            assert!(r.stdout.contains(rule), "{file}: {}", r.stdout);
        }
    }
}
