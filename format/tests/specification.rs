// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! The specification and the crate say the same: rules, sections, fields, worked examples.

mod common;
mod properties;
mod synth;

use cr_format::{chunk::ChunkHeader, crc::crc32, rules::RULES, *};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn images() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/images")
}

fn spec() -> String {
    read("../spec/IMAGE_FORMAT.md")
}

fn sources(dir: &Path, out: &mut String) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.file_name().unwrap() != "rules.rs" {
            out.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}

/// String literals in `text` that look like a rule id.
fn literals(text: &str) -> BTreeSet<String> {
    let is_id = |s: &str| {
        s.split_once('-').is_some_and(|(word, number)| {
            !word.is_empty()
                && word.bytes().all(|b| b.is_ascii_uppercase())
                && !number.is_empty()
                && number.bytes().all(|b| b.is_ascii_digit())
        })
    };
    text.split('"')
        .filter(|s| is_id(s))
        .map(str::to_owned)
        .collect()
}

#[test]
fn rules_are_the_same_in_specification_table_and_checks() {
    let table: BTreeSet<String> = RULES.iter().map(|r| r.0.to_owned()).collect();
    assert_eq!(table.len(), RULES.len(), "an id twice");
    let mut code = String::new();
    sources(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut code,
    );
    assert_eq!(literals(&code), table);
    let spec = spec();
    let listed: Vec<(&str, &str)> = spec
        .lines()
        .filter_map(|l| l.strip_prefix("- **")?.split_once("**: "))
        .collect();
    let ids: BTreeSet<String> = listed.iter().map(|l| l.0.to_owned()).collect();
    assert_eq!(ids.len(), listed.len(), "an id twice");
    // What readers and tools do is not seen in an image: their tests name those rules.
    let in_images = |id: &str| !id.starts_with("READ-") && !id.starts_with("EDIT-");
    for (id, text) in listed.iter().filter(|l| in_images(l.0)) {
        let text = text.strip_suffix('.').expect(id);
        assert!(text.eq_ignore_ascii_case(rule_text(id)), "{id}: {text}");
    }
    assert_eq!(
        ids.into_iter()
            .filter(|id| in_images(id))
            .collect::<BTreeSet<_>>(),
        table
    );
}

/// `CRKIT_UPDATE=1 cargo test -p cr-format` writes them anew.
#[test]
fn the_checked_in_images_are_the_synthetic_ones() {
    for (name, image) in [
        ("process", synth::process()),
        ("compressed", synth::compressed()),
        ("resources", synth::resources()),
        ("tree", synth::tree()),
        ("leaderless", synth::leaderless()),
        ("headless", synth::headless()),
        ("roots", synth::roots()),
    ] {
        let path = images().join(name).with_extension("ckpt");
        if std::env::var_os("CRKIT_UPDATE").is_some() {
            fs::write(&path, image.bytes()).unwrap();
        }
        assert!(fs::read(&path).unwrap() == image.bytes(), "{name}");
    }
}

#[test]
fn every_section_record_and_field_is_specified() {
    let spec = spec();
    for section in SECTIONS {
        let row = format!("| {:#06x} | `{}` | ", section.id, section.word);
        assert!(spec.contains(&row), "{row}");
        let chapter = spec
            .split("\n## ")
            .find(|c| c.starts_with(&format!("Section: {}\n", section.word)));
        let chapter = chapter.unwrap_or_else(|| panic!("no chapter {}", section.word));
        for record in section.records {
            let heading = format!("Record `{}`, type {}\n", record.name, record.number);
            let part = chapter.split("\n### ").find(|p| p.starts_with(&heading));
            let part = part.unwrap_or_else(|| panic!("{heading}"));
            let rows: Vec<&str> = part
                .lines()
                .filter(|l| l.starts_with("| ") && !l.starts_with("| field"))
                .skip(1)
                .collect();
            assert_eq!(rows.len(), record.fields.len(), "{heading}");
            for (row, f) in rows.iter().zip(record.fields) {
                let wire = format!("{:?}", f.wire).to_lowercase();
                let hint = format!("{:?}", f.hint).to_lowercase();
                let want = format!("| {} | `{}` | {wire} | {hint} | ", f.id, f.name);
                assert!(row.starts_with(&want), "{want} in {heading}: {row}");
            }
        }
    }
}

/// The bytes of a block: lines of two-digit groups, a comment behind two blanks.
fn bytes(block: &str) -> Vec<u8> {
    block
        .lines()
        .flat_map(|l| l.split("  ").next().unwrap().split(' '))
        .map(|b| u8::from_str_radix(b, 16).unwrap())
        .collect()
}

#[test]
fn worked_examples_decode_to_what_they_say() {
    let spec = spec();
    let (image, packed) = (synth::process().bytes(), synth::compressed().bytes());
    let resources = synth::resources().bytes();
    let first_page = packed.windows(8).position(|w| w == b"CHNKPAGE").unwrap();
    let mut words = BTreeSet::new();
    for block in spec.split("```hex ").skip(1) {
        let (title, rest) = block.split_once('\n').unwrap();
        let body = bytes(rest.split("\n```").next().unwrap());
        let (word, name) = title.split_once(' ').unwrap();
        if word == "chunk" {
            ChunkHeader::parse(body.as_slice().try_into().unwrap(), crc32).unwrap();
            assert_eq!(body, image[4096..4160]);
            continue;
        }
        if title == "zstd header" {
            let h = ChunkHeader::parse(body.as_slice().try_into().unwrap(), crc32).unwrap();
            assert_eq!((h.codec, h.frame_len), (chunk::CODEC_ZSTD, 4116));
            assert_eq!(body, packed[first_page..first_page + 64]);
            continue;
        }
        if title == "zstd frame" {
            assert_eq!(body, packed[first_page + 4096..][..body.len()]);
            continue;
        }
        words.insert(word.to_owned());
        let section = sections::by_word(word).unwrap();
        let raw = records_in(section.id, &body).next().unwrap().unwrap();
        let record = sections::record_of(section.id, raw.record_type).unwrap();
        assert_eq!(record.name, name);
        assert_eq!(raw.bytes().len(), body.len());
        // Each field has a line that begins with its name.
        let notes: Vec<&str> = rest
            .lines()
            .take_while(|l| *l != "```")
            .filter_map(|l| l.split_once("  "))
            .map(|l| l.1.trim())
            .collect();
        for (note, field) in notes[1..].iter().zip(record.fields) {
            assert!(note.starts_with(field.name), "{note}");
        }
        assert_eq!(notes.len(), record.fields.len() + 1);
        if word != "report" {
            assert!(
                [&image, &packed, &resources]
                    .iter()
                    .any(|i| i.windows(body.len()).any(|w| w == body)),
                "{title} is not in the image"
            );
        }
    }
    let all: BTreeSet<String> = WORDS.iter().map(|w| (*w).to_owned()).collect();
    assert_eq!(words, all);
}

#[test]
fn every_record_type_survives_writing_and_parsing() {
    let mut types = BTreeSet::new();
    let models = [
        synth::compressed(),
        synth::resources(),
        synth::leaderless(),
        synth::headless(),
    ];
    let sets = models.map(|m| common::read(&m.bytes()).unwrap());
    for ((id, _), bytes) in sets.iter().flat_map(|set| &set.0) {
        for raw in records_in(*id, bytes) {
            let raw = raw.unwrap();
            assert!(
                properties::record::round_trip(*id, raw),
                "section {id:#x} record {}",
                raw.record_type
            );
            types.insert((*id, raw.record_type));
        }
    }
    let known = SECTIONS
        .iter()
        .filter(|s| s.id != REPORT)
        .flat_map(|s| s.records.iter().map(|r| (s.id, r.number)));
    assert_eq!(types, known.collect());
}
