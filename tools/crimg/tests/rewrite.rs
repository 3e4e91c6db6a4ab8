// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! The core of every command that makes a new image from an old one.

mod tool;

use cr_format::{records_of, validate::MetaSet, EditRecord, PROVENANCE};
use crimg::{
    file::{chunk_len, ImageFile},
    memory::{Content, Memory},
    rewrite::{PageAction, Rewrite, Target},
};
use std::path::Path;

fn open(path: &Path) -> ImageFile {
    ImageFile::open(path.to_str().unwrap()).unwrap_or_else(|e| panic!("{e}"))
}

fn process() -> ImageFile {
    open(&tool::folder().join("process.ckpt"))
}

fn to(path: &Path) -> Target {
    Target::File {
        path: path.to_owned(),
        force: false,
    }
}

/// EDIT-8.
#[test]
fn rewriting_nothing_gives_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let new = dir.path().join("new");
    let file = process();
    let mut plan = Rewrite::new(&file).unwrap();
    plan.keep_uuid();
    plan.run(to(&new), false).unwrap();
    assert_eq!(std::fs::read(new).unwrap(), tool::image("process.ckpt"));
}

/// EDIT-6.
#[test]
fn recounting_the_pages_gives_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let new = dir.path().join("new");
    let file = process();
    let mut plan = Rewrite::new(&file).unwrap();
    plan.keep_uuid();
    plan.pages(|_| Ok(PageAction::Keep));
    plan.run(to(&new), false).unwrap();
    assert_eq!(std::fs::read(new).unwrap(), tool::image("process.ckpt"));
}

/// EDIT-3, EDIT-4, EDIT-7.
#[test]
fn an_edit_changes_the_id_and_is_noted_and_page_chunks_stay_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let new = dir.path().join("new");
    let file = process();
    let mut plan = Rewrite::new(&file).unwrap();
    plan.edit("patch", "nothing at all");
    plan.run(to(&new), false).unwrap();
    let edited = open(&new);
    assert_ne!(
        edited.image.superblock.unwrap().uuid,
        file.image.superblock.unwrap().uuid
    );
    let edits: Vec<_> = records_of::<EditRecord<'_>>(edited.image.sections.section(PROVENANCE))
        .map(Result::unwrap)
        .collect();
    assert_eq!(edits.last().unwrap().description, b"nothing at all");
    let (old_bytes, new_bytes) = (tool::image("process.ckpt"), std::fs::read(&new).unwrap());
    let chunk = |bytes: &[u8], e: &cr_format::index::IndexEntry| {
        bytes[e.offset as usize..(e.offset + chunk_len(e)) as usize].to_vec()
    };
    assert!(file.page_chunks().count() > 0);
    assert_eq!(file.page_chunks().count(), edited.page_chunks().count());
    for (a, b) in file.page_chunks().zip(edited.page_chunks()) {
        assert_eq!(chunk(&old_bytes, a), chunk(&new_bytes, b));
    }
    assert_eq!(tool::crimg(&["verify", new.to_str().unwrap()]).code, 0);
}

#[test]
fn an_existing_file_is_kept_without_force() {
    let dir = tempfile::tempdir().unwrap();
    let new = dir.path().join("new");
    std::fs::write(&new, b"precious").unwrap();
    let file = process();
    assert!(Rewrite::new(&file).unwrap().run(to(&new), false).is_err());
    assert_eq!(std::fs::read(new).unwrap(), b"precious");
}

#[test]
fn the_index_and_reading_forward_tell_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let broken = dir.path().join("broken");
    let file = process();
    // Without its end the image must be read forward.
    let bytes = tool::image("process.ckpt");
    std::fs::write(&broken, &bytes[..bytes.len() - 1]).unwrap();
    let forward = open(&broken);
    assert!(!forward.image.damage.is_empty() && file.image.damage.is_empty());
    assert_eq!(forward.entries(), file.entries());
    assert!(Rewrite::new(&forward).is_err());
}

#[test]
fn the_spans_of_an_address_space_have_no_gap_and_its_stored_bytes_can_be_read() {
    let file = process();
    let memory = Memory::new(&file, None);
    let spans = memory.spans(0, u64::MAX).unwrap();
    let mut at = 0;
    for span in &spans {
        assert_eq!(span.start, at);
        at = span.end;
    }
    assert_eq!(at, u64::MAX);
    assert!(spans.iter().any(|s| s.content == Content::Stored));
    for span in spans.iter().filter(|s| s.end - s.start < 1 << 24) {
        let mut buf = vec![1; (span.end - span.start) as usize];
        let n = memory.read(span.start, &mut buf).unwrap();
        match span.content {
            Content::Stored => assert_eq!(n, buf.len()),
            Content::Zero => assert!(n == buf.len() && buf.iter().all(|b| *b == 0)),
            _ => assert_eq!(n, 0),
        }
    }
}
