// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `crimg repack`: other bytes in the file, the same bytes in memory.

mod contents;
mod tool;

use contents::{assert_sound, contents, heap, open, pages, runs, synth, write, Dice, HEAP, PAGE};
use cr_format::{records_of, runs::RunKind, EditRecord, StatsRecord};
use std::path::{Path, PathBuf};

fn crimg(args: &[&str]) -> String {
    let run = tool::crimg(args);
    assert_eq!(run.code, 0, "{args:?}: {}", run.stderr);
    run.stdout
}

fn repack(from: &Path, to: &Path, options: &[&str]) {
    let mut args = vec!["repack", from.to_str().unwrap(), "-o", to.to_str().unwrap()];
    args.extend(options);
    crimg(&args);
    assert_sound(to);
}

const WAYS: [&[&str]; 9] = [
    &["--zstd"],
    &["--zstd=19", "--threads", "3"],
    &["--raw"],
    &["--strip-zero"],
    &["--dedup"],
    &["--strip-zero", "--dedup"],
    &["--strip-zero", "--dedup", "--zstd=1"],
    &["--dedup", "--raw", "--threads=1"],
    &["--strip-zero", "--zstd=5"],
];

fn images() -> Vec<PathBuf> {
    let mut all = vec![tool::folder().join("process.ckpt")];
    for entry in std::fs::read_dir(tool::folder().join("real")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "ckpt") {
            all.push(path);
        }
    }
    assert!(all.len() > 5);
    all
}

#[test]
fn memory_is_the_same_after_each_way_and_back() {
    let dir = tempfile::tempdir().unwrap();
    for image in images() {
        let before = contents(&image);
        for (n, way) in WAYS.iter().enumerate() {
            let there = dir.path().join(format!("there{n}"));
            let back = dir.path().join(format!("back{n}"));
            repack(&image, &there, &[way, &["--force"][..]].concat());
            assert!(contents(&there) == before, "{image:?} {way:?}");
            repack(&there, &back, &["--raw", "--force"]);
            assert!(contents(&back) == before, "{image:?} {way:?} and back");
        }
    }
}

#[test]
fn without_options_the_image_is_the_same_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    for image in images() {
        let copy = dir.path().join("copy");
        repack(&image, &copy, &["--force"]);
        let same = std::fs::read(&copy).unwrap() == std::fs::read(&image).unwrap();
        assert!(same, "{image:?}");
    }
}

#[test]
fn random_images_keep_their_memory() {
    let dir = tempfile::tempdir().unwrap();
    for seed in 0..16 {
        let mut dice = Dice(seed);
        let mut chunks = Vec::new();
        let (mut at, mut areas) = (HEAP, 0);
        for _ in 0..dice.below(6) {
            let (mut table, mut data) = (Vec::new(), Vec::new());
            for _ in 0..1 + dice.below(if seed % 4 == 0 { 168 } else { 8 }) {
                if data.len() > 230 * PAGE {
                    break;
                }
                at += dice.below(2) * PAGE as u64;
                let n = 1 + dice.below(if seed % 4 == 0 { 2 } else { 12 });
                if dice.below(4) == 0 {
                    table.push((at, n as u32, 1));
                } else {
                    table.push((at, n as u32, 0));
                    (0..n).for_each(|_| data.extend(dice.page()));
                }
                at += n * PAGE as u64;
            }
            chunks.push(pages(&table, data));
            areas += 1;
        }
        let image = write(dir.path(), &format!("{seed}"), &heap(10_000, chunks));
        assert_sound(&image);
        let before = contents(&image);
        let mut from = image;
        // Each result is the input of the next.
        for n in 0..4 {
            let way = WAYS[dice.below(WAYS.len() as u64) as usize];
            let to = dir.path().join(format!("{seed}-{n}"));
            repack(&from, &to, way);
            assert!(contents(&to) == before, "{seed}: {way:?}, {areas} chunks");
            from = to;
        }
    }
}

#[test]
fn a_fill_becomes_one_page_and_one_run_and_zeros_become_one_run() {
    let dir = tempfile::tempdir().unwrap();
    let mib = |n: u64, byte: u8| pages(&[(HEAP + n * (256 << 12), 256, 0)], vec![byte; 256 * PAGE]);
    let chunks = (0..8)
        .map(|n| mib(n, if n < 5 { 0xaa } else { 0 }))
        .collect();
    let image = write(dir.path(), "fill", &heap(8 * 256, chunks));
    let small = dir.path().join("small");
    repack(&image, &small, &["--dedup", "--strip-zero"]);
    let kib = |pages: u64| HEAP + pages * PAGE as u64;
    assert_eq!(
        runs(&small),
        [[
            (HEAP, 1, RunKind::Data),
            (kib(1), 5 * 256 - 1, RunKind::Duplicate),
            (kib(5 * 256), 3 * 256, RunKind::Zero),
        ]]
    );
    assert!(contents(&small) == contents(&image));
    // An image of zeros alone.
    let image = write(dir.path(), "zeros", &heap(512, vec![mib(0, 0), mib(1, 0)]));
    for way in [&["--strip-zero"][..], &["--strip-zero", "--zstd"]] {
        repack(&image, &small, &[way, &["--force"]].concat());
        assert_eq!(runs(&small), [[(HEAP, 512, RunKind::Zero)]]);
        assert_eq!(open(&small).image.superblock.unwrap().feature_incompat, 0);
    }
}

#[test]
fn a_chunk_ends_at_168_runs_and_256_pages_and_at_the_border_of_an_area() {
    let dir = tempfile::tempdir().unwrap();
    // Alternating: every page a run of its own.
    let table: Vec<_> = (0..168)
        .map(|n| (HEAP + n * PAGE as u64, 1, (n % 2) as u16))
        .collect();
    let data: Vec<u8> = (0..84_u8).flat_map(|n| vec![n + 1; PAGE]).collect();
    let more: Vec<_> = (200..368)
        .map(|n| (HEAP + n * PAGE as u64, 1, (n % 2) as u16))
        .collect();
    let image = write(
        dir.path(),
        "runs",
        &heap(400, vec![pages(&table, data.clone()), pages(&more, data)]),
    );
    let new = dir.path().join("new");
    repack(&image, &new, &["--dedup"]);
    assert!(contents(&new) == contents(&image));
    assert!(runs(&new).iter().all(|t| t.len() <= 168));

    // Two areas that touch: their pages are neighbours and equal, and stay in runs of their own.
    let mut model = heap(
        2,
        vec![pages(
            &[(HEAP, 2, 0), (HEAP + 2 * PAGE as u64, 1, 0)],
            vec![7; 3 * PAGE],
        )],
    );
    let area = model.record(0x11, 2, 2).clone();
    let next = model.record(0x11, 2, 3);
    *next = synth::Rec {
        id: next.id,
        ..area
    };
    next.set(1, HEAP + 2 * PAGE as u64);
    next.set(2, HEAP + 3 * PAGE as u64);
    let image = write(dir.path(), "areas", &model);
    assert_sound(&image);
    repack(&image, &new, &["--dedup", "--force"]);
    let page = |n: u64| HEAP + n * PAGE as u64;
    assert_eq!(
        runs(&new),
        [[
            (page(0), 1, RunKind::Data),
            (page(1), 1, RunKind::Duplicate),
            (page(2), 1, RunKind::Duplicate)
        ]]
    );
}

#[test]
fn an_image_without_page_data_can_be_repacked_in_every_way() {
    let dir = tempfile::tempdir().unwrap();
    let image = write(dir.path(), "empty", &heap(4, Vec::new()));
    for way in WAYS {
        let new = dir.path().join("new");
        repack(&image, &new, &[way, &["--force"]].concat());
        assert!(contents(&new).is_empty());
    }
}

/// EDIT-9.
#[test]
fn no_pages_leaves_the_metadata_and_marks_the_image() {
    let dir = tempfile::tempdir().unwrap();
    let new = dir.path().join("new");
    let image = tool::folder().join("process.ckpt");
    repack(&image, &new, &["--no-pages"]);
    let (old, new) = (open(&image), open(&new));
    assert_eq!(new.page_chunks().count(), 0);
    assert!(!new.image.superblock.unwrap().is_restartable());
    for (id, section) in &old.image.sections.0 {
        if *id != cr_format::STATS {
            assert_eq!(section.bytes, new.image.sections.0[id].bytes, "{id:#x}");
        }
    }
    let stats = records_of::<StatsRecord>(&new.image.sections.0[&cr_format::STATS].bytes);
    assert_eq!(stats.map(|s| s.unwrap().pages).sum::<u64>(), 0);
}

#[test]
fn the_result_says_what_was_done_and_has_an_id_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let new = dir.path().join("new");
    let image = tool::folder().join("process.ckpt");
    repack(&image, &new, &["--zstd=7", "--dedup"]);
    let (old, new) = (open(&image), open(&new));
    let edits: Vec<_> =
        records_of::<EditRecord<'_>>(&new.image.sections.0[&cr_format::PROVENANCE].bytes)
            .map(Result::unwrap)
            .collect();
    let last = edits.last().unwrap();
    assert_eq!(last.operation, b"repack");
    assert_eq!(last.description, b"zstd level 7, equal pages stored once");
    let uuid = |f: &crimg::file::ImageFile| f.image.superblock.unwrap().uuid;
    assert_eq!(last.source_uuid, uuid(&old));
    assert_ne!(uuid(&old), uuid(&new));
}

/// EDIT-1.
#[test]
fn in_place_replaces_the_image_as_a_whole() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("a");
    std::fs::write(&image, tool::image("real/memory.ckpt")).unwrap();
    let before = contents(&image);
    crimg(&[
        "repack",
        image.to_str().unwrap(),
        "--in-place",
        "--zstd",
        "--dedup",
    ]);
    assert_sound(&image);
    assert!(contents(&image) == before);
    assert!(std::fs::metadata(&image).unwrap().len() < 100_000);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn damage_is_found_before_the_target_appears() {
    let dir = tempfile::tempdir().unwrap();
    let (bad, new) = (dir.path().join("bad"), dir.path().join("new"));
    let mut bytes = tool::image("process.ckpt");
    let at = open(&tool::folder().join("process.ckpt"))
        .page_chunks()
        .next()
        .unwrap()
        .offset as usize
        + 4096
        + 100;
    bytes[at] ^= 1;
    std::fs::write(&bad, &bytes).unwrap();
    for way in [&["--zstd"][..], &["--dedup"], &["--strip-zero", "--zstd"]] {
        let mut args = vec!["repack", bad.to_str().unwrap(), "-o", new.to_str().unwrap()];
        args.extend(way);
        let run = tool::crimg(&args);
        assert_eq!(run.code, 3, "{}", run.stderr);
        assert!(run.stderr.contains("checksum"), "{}", run.stderr);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}

#[test]
fn wrong_usage_is_explained() {
    for (args, word) in [
        (&["repack", "process.ckpt"][..], "--output"),
        (&["repack", "process.ckpt", "-o", "x", "--zstd=20"], "19"),
        (
            &["repack", "process.ckpt", "-o", "x", "--zstd", "--raw"],
            "--raw",
        ),
        (&["repack", "process.ckpt", "-o", "-", "--json"], "--json"),
        (
            &["repack", "process.ckpt", "-o", "process.ckpt", "--zstd"],
            "exists",
        ),
    ] {
        let run = tool::crimg(args);
        assert_eq!(run.code, 2, "{args:?}");
        assert!(run.stderr.contains(word), "{args:?}: {}", run.stderr);
    }
}

#[test]
fn the_report_is_the_golden_one() {
    let dir = tempfile::tempdir().unwrap();
    let new = dir.path().join("new");
    let args = [
        "repack",
        "real/memory.ckpt",
        "-o",
        new.to_str().unwrap(),
        "--force",
    ];
    let report = |more: &[&str]| {
        let text = crimg(&[&args[..], more].concat());
        text.replace(new.to_str().unwrap(), "NEW")
    };
    let text = report(&["--zstd", "--dedup"]) + &report(&[]) + &report(&["--no-pages"]);
    tool::golden("repack/report", text.as_bytes());
    let text = report(&["--strip-zero", "--dedup", "--json"]);
    let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(value["uuid"].as_str().unwrap().len() == 36);
    value["uuid"] = "UUID".into();
    tool::golden("repack/report.json", format!("{value:#}\n").as_bytes());
}
