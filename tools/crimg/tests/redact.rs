// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `crimg redact`: what is to go is gone, from the decoded memory and from the bytes of the file.

mod contents;
mod tool;

use contents::{assert_sound, contents, heap, open, pages, synth, write, HEAP, PAGE};
use cr_format::{records_of, validate::MetaSet, EditRecord};
use memchr::memmem;
use std::path::{Path, PathBuf};

const SECRET: &[u8] = b"hunter2-correct-horse";

fn redact(from: &Path, to: &Path, options: &[&str]) -> tool::Run {
    let mut args = vec!["redact", from.to_str().unwrap(), "-o", to.to_str().unwrap()];
    args.extend(options);
    let run = tool::crimg(&args);
    if run.code == 0 {
        assert_sound(to);
    }
    run
}

/// Is the text somewhere in memory (in the order of addresses), in metadata, or in the file as it is?
fn has(image: &Path, text: &[u8]) -> bool {
    let mut all: Vec<Vec<u8>> = vec![std::fs::read(image).unwrap()];
    let mut next = None;
    for ((section, owner, address), page) in contents(image) {
        if next != Some((section, owner, address)) {
            all.push(Vec::new());
        }
        all.last_mut().unwrap().extend(page);
        next = Some((section, owner, address + PAGE as u64));
    }
    let file = open(image);
    all.extend(file.image.sections.0.values().map(|s| s.bytes.clone()));
    all.iter().any(|bytes| memmem::find(bytes, text).is_some())
}

/// The model with a stack that has arguments and environment, and copies of a secret everywhere.
fn model() -> synth::Image {
    let mut heap_pages = vec![0_u8; 6 * PAGE];
    // Within a page, across two pages, across two chunks, at the very end.
    for at in [100, 2 * PAGE - 5, 4 * PAGE - 7, 6 * PAGE - SECRET.len()] {
        heap_pages[at..at + SECRET.len()].copy_from_slice(SECRET);
    }
    let page = |n: u64| HEAP + n * PAGE as u64;
    let tail = heap_pages.split_off(4 * PAGE);
    let mut model = heap(
        10,
        vec![
            pages(&[(page(0), 4, 0)], heap_pages),
            pages(&[(page(4), 2, 0), (page(6), 4, 1)], tail),
        ],
    );
    let stack = 0x7ffd_1234_5000_u64;
    let vector = [
        &b"prog\0--password\0hunter2-correct-horse\0"[..],
        b"HOME=/home/me\0TOKEN=hunter2-correct-horse\0EMPTY=\0N=1\0",
    ];
    let mut bytes = vec![0; PAGE];
    let at = PAGE - 200;
    bytes[at..at + vector.concat().len()].copy_from_slice(&vector.concat());
    model.pages.push(pages(&[(stack, 1, 0)], bytes));
    let mm = model.record(0x11, 1, 0);
    let arg = stack + at as u64;
    let env = arg + vector[0].len() as u64;
    for (field, value) in [
        (7, stack + 0x700),
        (8, arg),
        (9, env),
        (10, env),
        (11, env + vector[1].len() as u64),
    ] {
        mm.set(field, value);
    }
    let process = model.record(0x10, 1, 0);
    process.put(7, vector[0]);
    let pipe = model.record(0x13, 2, 0);
    pipe.put(3, b"hunter2-correct-horse");
    model.record(0x13, 1, 0).set(3, 21 + 6);
    let file = model.record(0x12, 2, 2);
    file.put(2, b"/var/log/hunter2-correct-horse");
    // In a vector register.
    let xstate = &mut model.record(0x10, 2, 0).fields[3].payload;
    xstate[160..160 + SECRET.len()].copy_from_slice(SECRET);
    model
}

fn setup() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let image = write(dir.path(), "image", &model());
    assert_sound(&image);
    let new = dir.path().join("new");
    (dir, image, new)
}

#[test]
fn every_copy_of_an_environment_value_is_gone_and_nothing_else() {
    let (_dir, image, new) = setup();
    assert!(has(&image, SECRET));
    let run = redact(&image, &new, &["--env", "TOKEN"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(!has(&new, SECRET) && !has(&new, b"hunter2"));
    for kept in [&b"HOME=/home/me"[..], b"TOKEN=", b"--password", b"packet"] {
        assert!(has(&new, kept), "{kept:?}");
    }
    let (before, after) = (contents(&image), contents(&new));
    let mut changed = 0;
    for (place, old) in &before {
        let new = &after[place];
        changed += old.iter().zip(new).filter(|(a, b)| a != b).count();
        assert!(old.iter().zip(new).all(|(a, b)| a == b || *b == b'*'));
    }
    // Four in the heap, two on the stack.
    assert_eq!(changed, 6 * SECRET.len());
    assert_eq!(before.len(), after.len());
    assert!(!open(&new).image.superblock.unwrap().is_restartable());
}

#[test]
fn each_way_to_say_it_removes_it_also_from_compressed_and_deduplicated_images() {
    let (dir, image, new) = setup();
    let stored = [
        (&["--raw"][..], "raw"),
        (&["--zstd"], "zstd"),
        (&["--zstd", "--dedup", "--strip-zero"], "small"),
    ];
    for (way, name) in stored {
        let from = dir.path().join(name);
        let mut args = vec![
            "repack",
            image.to_str().unwrap(),
            "-o",
            from.to_str().unwrap(),
        ];
        args.extend(way);
        assert_eq!(tool::crimg(&args).code, 0);
        for options in [
            &["--env", "all"][..],
            &["--args"],
            &["--regex", "hunter2-[a-z]+-horse"],
            &["--regex", "(?i)HUNTER2-CORRECT-HORSE"],
            &["--regex", "(?-u)hunter2.correct.horse", "--fill", "0"],
        ] {
            let options = [options, &["--force"]].concat();
            let run = redact(&from, &new, &options);
            assert_eq!(run.code, 0, "{name} {options:?}: {}", run.stderr);
            assert!(!has(&new, SECRET), "{name} {options:?}");
            assert!(!has(&new, b"hunter2"), "{name} {options:?}");
            assert!(!has(&new, b"-horse"), "{name} {options:?}");
        }
    }
}

#[test]
fn pages_that_repeat_stay_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let mut one = vec![b'.'; PAGE];
    // In the middle, and across the border between two copies.
    one[1000..1000 + SECRET.len()].copy_from_slice(SECRET);
    one[..10].copy_from_slice(&SECRET[11..]);
    one[PAGE - 11..].copy_from_slice(&SECRET[..11]);
    let mut chunk = pages(&[(HEAP, 1, 0), (HEAP + PAGE as u64, 5000, 2)], one);
    chunk.sources = vec![0, HEAP];
    let mut model = heap(5001, vec![chunk]);
    model.stats.clear();
    let image = write(dir.path(), "image", &model);
    assert_sound(&image);
    let new = dir.path().join("new");
    let text = std::str::from_utf8(SECRET).unwrap();
    let run = redact(&image, &new, &["--regex", text]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(!has(&new, SECRET));
    assert!(std::fs::metadata(&new).unwrap().len() < 100_000);
    // A range within the repeated pages: only there.
    let (a, b) = (HEAP + 100 * PAGE as u64 + 8, HEAP + 103 * PAGE as u64 + 16);
    let run = redact(
        &image,
        &new,
        &["--range", &format!("{a:x}-{b:x}"), "--force"],
    );
    assert_eq!(run.code, 0, "{}", run.stderr);
    let (before, after) = (contents(&image), contents(&new));
    for ((_, _, address), old) in &before {
        let new = &after[&(0x11, 1, *address)];
        for (n, (x, y)) in old.iter().zip(new).enumerate() {
            let at = address + n as u64;
            assert_eq!(*y, if a <= at && at < b { b'*' } else { *x }, "{at:x}");
        }
    }
}

#[test]
fn ranges_areas_pipes_and_paths_go_where_they_are_named() {
    let (_dir, image, new) = setup();
    let run = redact(
        &image,
        &new,
        &["--vma", "[heap]", "--pipes", "--paths", "--hostname"],
    );
    assert_eq!(run.code, 0, "{}", run.stderr);
    let after = contents(&new);
    for ((section, _, address), page) in &after {
        if *section == 0x11 && (HEAP..HEAP + 6 * PAGE as u64).contains(address) {
            assert!(page.iter().all(|b| *b == b'*'));
        }
    }
    let file = open(&new);
    let sections = &file.image.sections;
    for gone in [&b"workshop"[..], b"hello", b"counter.log", b"/home/user"] {
        for id in [1, 0x10, 0x11, 0x12, 0x13] {
            assert!(
                memmem::find(sections.section(id), gone).is_none(),
                "{gone:?}"
            );
        }
    }
    let paths = sections.section(0x12);
    assert!(memmem::find(paths, b"/***/***/").is_some());
    // The stack was not named.
    assert!(has(&new, SECRET));
}

#[test]
fn the_note_in_the_image_does_not_repeat_the_secret() {
    let (_dir, image, new) = setup();
    let run = redact(
        &image,
        &new,
        &["--regex", "hunter2.*?horse", "--env=HOME,MISSING"],
    );
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(
        run.stdout.contains("MISSING is not in it"),
        "{}",
        run.stdout
    );
    let file = open(&new);
    let edits: Vec<_> =
        records_of::<EditRecord<'_>>(file.image.sections.section(cr_format::PROVENANCE))
            .map(Result::unwrap)
            .collect();
    let last = edits.last().unwrap();
    assert_eq!(last.operation, b"redact");
    assert_eq!(last.description, b"1 environment value, 1 pattern");
    assert!(!has(&new, b"hunter2") && !has(&new, b"/home/me"));
}

#[test]
fn real_images_lose_their_environment() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["plain", "threads", "same", "memory"] {
        let image = tool::folder().join(format!("real/{name}.ckpt"));
        let new = dir.path().join(name);
        let run = redact(&image, &new, &["--env=all", "--args"]);
        assert_eq!(run.code, 0, "{}", run.stderr);
        assert!(run.stdout.contains("nothing is left"), "{}", run.stdout);
        let (before, after) = (contents(&image), contents(&new));
        assert!(before != after && before.keys().eq(after.keys()));
    }
}

#[test]
fn an_image_stays_restartable_only_if_that_is_asked_for() {
    let (_dir, image, new) = setup();
    let run = redact(
        &image,
        &new,
        &["--env=TOKEN", "--restartable", "--no-copies"],
    );
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(open(&new).image.superblock.unwrap().is_restartable());
    // Only the stack.
    assert!(has(&new, SECRET) && !has(&new, b"TOKEN=hunter2"));
}

/// EDIT-10.
#[test]
fn sections_that_nobody_knows_are_left_out_or_the_image_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let new = dir.path().join("new");
    for critical in [false, true] {
        let mut model = model();
        let secret = synth::rec(1, 1, vec![synth::b(b"c2VjcmV0", 0)]);
        // The id of the word.
        let id = 0x8000 | (synth::crc(b"vault") & 0x7fff) as u16;
        let section = vec![
            synth::t("vault", 0),
            synth::u(critical.into(), 1),
            synth::t("cr_vault", 0),
            synth::u(1, 1),
        ];
        model.section(1).push(synth::rec(2, id.into(), section));
        model.sections.push((id, critical, vec![secret]));
        let image = write(dir.path(), "image", &model);
        let run = redact(&image, &new, &["--env=TOKEN"]);
        if critical {
            assert_eq!(run.code, 4, "{}", run.stderr);
        } else {
            assert_eq!(run.code, 0, "{}", run.stderr);
            assert!(
                run.stdout.contains("1 section of other parties"),
                "{}",
                run.stdout
            );
            assert!(!has(&new, b"c2VjcmV0"));
            std::fs::remove_file(&new).unwrap();
        }
    }
    assert!(!new.exists());
}

#[test]
fn wrong_usage_is_explained_without_the_secret() {
    let (_dir, image, new) = setup();
    for (options, word) in [
        (&[][..], "nothing is to be overwritten"),
        (&["--regex", "hunter2("], "no regular expression"),
        (&["--regex", "x*"], "nothing at all"),
        (&["--range", "1000-2000"], "no memory area"),
        (&["--range", "2000-1000"], "two addresses"),
        (&["--vma", "[nowhere]"], "no memory area"),
        (&["--env=TOKEN", "--fill", "/"], "but /"),
    ] {
        let run = redact(&image, &new, options);
        assert_eq!(run.code, 2, "{options:?}: {}", run.stderr);
        assert!(run.stderr.contains(word), "{options:?}: {}", run.stderr);
        assert!(!run.stderr.contains("hunter2"), "{}", run.stderr);
        assert!(!new.exists());
    }
}

#[test]
fn the_reports_are_the_golden_ones() {
    let (_dir, image, new) = setup();
    let names = |text: String| {
        let text = text.replace(new.to_str().unwrap(), "NEW");
        text.replace(image.to_str().unwrap(), "IMAGE")
    };
    let options = ["--env=all", "--args", "--regex", "hunter2"];
    let run = redact(&image, &new, &options);
    tool::golden("redact/report", names(run.stdout).as_bytes());
    let run = redact(
        &image,
        &new,
        &[&options[..], &["--force", "--json"]].concat(),
    );
    let mut value: serde_json::Value = serde_json::from_str(&names(run.stdout)).unwrap();
    value["uuid"] = "UUID".into();
    tool::golden("redact/report.json", format!("{value:#}\n").as_bytes());
}
