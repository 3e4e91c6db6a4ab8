// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! What the fuzzer has found (`fuzz/regressions/TARGET/NAME`) and what it keeps (`fuzz/corpus/TARGET/`), replayed.

mod common;
mod properties;
mod synth;

use cr_format::SECTIONS;
use properties::{property, target_of, TARGETS};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

/// Files of a folder; none if it does not exist.
fn files(folder: PathBuf) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut files: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
    files.sort();
    files
}

fn replay(folder: &str) -> usize {
    let mut count = 0;
    for (target, property) in TARGETS {
        for path in files(fuzz().join(folder).join(target)) {
            // A panic does not say which input it was.
            println!("{}", path.display());
            property(&fs::read(path).unwrap());
            count += 1;
        }
    }
    count
}

#[test]
fn findings_stay_fixed() {
    replay("regressions");
}

#[test]
fn every_kept_input_holds() {
    assert!(replay("corpus") > 50);
}

#[test]
fn every_target_has_its_file_and_every_section_its_target() {
    let names: BTreeSet<String> = files(fuzz().join("fuzz_targets"))
        .iter()
        .map(|p| p.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    for (target, _) in TARGETS {
        assert!(names.contains(*target), "no fuzz/fuzz_targets/{target}.rs");
    }
    for section in SECTIONS {
        assert!(
            property(target_of(section.word)).is_some(),
            "{}",
            section.word
        );
    }
}

/// The first inputs of each target, from the independent writer: `CRKIT_UPDATE=1` writes them anew.
#[test]
fn seeds_are_the_synthetic_ones() {
    for (target, name, data) in seeds() {
        let path = fuzz().join("corpus").join(target).join(name);
        if std::env::var_os("CRKIT_UPDATE").is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &data).unwrap();
        }
        let kept = fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        assert!(kept == data, "{}", path.display());
    }
}

fn seeds() -> Vec<(&'static str, String, Vec<u8>)> {
    let mut seeds = Vec::new();
    for section in SECTIONS {
        let data = properties::record::section_seed(section.id);
        if !data.is_empty() {
            let name = format!("seed-{}", section.word);
            seeds.push(("records", name.clone(), data.clone()));
            seeds.push((target_of(section.word), name, data));
        }
    }
    seeds.push((
        "superblock",
        "seed".into(),
        synth::superblock()[..116].to_vec(),
    ));
    for (name, image) in [
        ("process", synth::process()),
        ("compressed", synth::compressed()),
    ] {
        // Few pages: the fuzzer is to spend its time on what is not data.
        let mut small = image.clone();
        small.pages.truncate(1);
        small.stats.clear();
        seeds.push(("image", format!("seed-{name}"), small.bytes()));
        let chunks = small.chunks();
        let mut stream = vec![image.features as u8];
        stream.extend(&synth::assemble(&small.superblock(), &tiny(&chunks))[4096..]);
        seeds.push(("chunks", format!("seed-{name}"), stream));
        for (n, chunk) in chunks.iter().enumerate() {
            let bytes = chunk.bytes();
            seeds.push(("header", format!("seed-{name}-{n}"), bytes[..64].to_vec()));
            if &chunk.code == b"PAGE" {
                let mut runs = vec![chunk.items as u8];
                runs.extend(&bytes[64..64 + 24 * chunk.items as usize]);
                seeds.push(("runs", format!("seed-{name}"), runs));
            }
        }
    }
    for (name, raw) in [
        ("one", vec![7; 4096]),
        (
            "mixed",
            (0..8192).map(|n| (n / 4096 * n % 251) as u8).collect(),
        ),
    ] {
        seeds.push(("frame", format!("seed-{name}"), synth::frame(&raw)));
        for level in [1, 19] {
            let mut encoder = zstd::bulk::Compressor::new(level).unwrap();
            encoder
                .set_parameter(zstd::zstd_safe::CParameter::WindowLog(20))
                .unwrap();
            let frame = encoder.compress(&raw).unwrap();
            seeds.push(("frame", format!("seed-{name}-{level}"), frame));
        }
    }
    seeds.push(("tail", "seed".into(), (0..64).collect()));
    seeds.push(("model", "seed-process".into(), vec![0]));
    seeds.push(("model", "seed-compressed".into(), vec![1]));
    seeds
}

/// The chunks with one record each and no page data, to be read in a moment.
fn tiny(chunks: &[synth::Chunk]) -> Vec<synth::Chunk> {
    let mut tiny: Vec<synth::Chunk> = chunks
        .iter()
        .filter(|c| &c.code == b"META")
        .cloned()
        .collect();
    for c in &mut tiny {
        let len = 16 + u32::from_le_bytes(c.body[4..8].try_into().unwrap()) as usize;
        c.body.truncate(len);
        c.items = 1;
    }
    let at: usize = 4096 + tiny.iter().map(synth::Chunk::len).sum::<usize>();
    let mut pad = synth::Chunk::new(b"PAD_", vec![0; (8192 - 64 - at % 4096) % 4096]);
    pad.flags = 0;
    tiny.push(pad);
    tiny
}
