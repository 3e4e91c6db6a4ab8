// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! The fuzz targets without a fuzzer: random changes of sound images, kept findings, the whole bad corpus.
//!
//! `CRKIT_MUTATIONS` sets how many changes are tried (default: a few seconds' worth). The seed is fixed, so a
//! failure repeats; the failing input is written to the file that the message names.

mod common;
mod properties;
mod synth;

use cr_format::SECTIONS;
use std::{fs, panic, path::Path};

/// xorshift64*: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

/// Numbers at which things break.
const EDGES: [u64; 14] = [
    0,
    1,
    2,
    7,
    8,
    63,
    64,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    1 << 47,
    u64::MAX >> 1,
    u64::MAX - 1,
    u64::MAX,
];

fn mutate(data: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(4) {
        let at = random.below(data.len());
        match random.below(6) {
            0 => data[at] ^= 1 << random.below(8),
            1 => data[at] = random.next() as u8,
            2 => {
                let edge = EDGES[random.below(EDGES.len())].to_le_bytes();
                let n = [2, 4, 8][random.below(3)].min(data.len() - at);
                data[at..at + n].copy_from_slice(&edge[..n]);
            }
            3 => data.truncate(at),
            4 => {
                let n = (8 * random.below(40)).min(data.len() - at);
                let copy = data[at..at + n].to_vec();
                let to = random.below(data.len()) & !7;
                data.splice(to..to, copy);
            }
            _ => {
                let n = (8 * random.below(40)).min(data.len() - at);
                data.drain(at..at + n);
            }
        }
        if data.is_empty() {
            return;
        }
    }
}

fn tries() -> u64 {
    std::env::var("CRKIT_MUTATIONS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(300)
}

fn hold(name: &str, data: &[u8], property: impl Fn(&[u8]) + panic::RefUnwindSafe) {
    if panic::catch_unwind(|| property(data)).is_err() {
        let path = std::env::temp_dir().join(format!("crkit-{name}.bin"));
        fs::write(&path, data).unwrap();
        panic!("{name}: the input is in {}", path.display());
    }
}

#[test]
fn changed_images_never_panic_and_read_the_same_in_pieces() {
    let seeds = [
        synth::process().bytes(),
        synth::compressed().bytes(),
        synth::resources().bytes(),
    ];
    let mut random = Random(0x1234_5678_9abc_def1);
    for _ in 0..tries() {
        let mut data = seeds[random.below(2)].clone();
        // Most of the image is page data; the rest is what can break.
        if random.below(4) == 0 {
            data.truncate(0x4000);
        }
        mutate(&mut data, &mut random);
        hold("image", &data, properties::image);
    }
}

#[test]
fn changed_sections_never_panic() {
    let mut random = Random(0xfeed_5678_9abc_def1);
    for section in SECTIONS {
        let seed = properties::section_seed(section.id);
        for _ in 0..tries() {
            let mut data = seed.clone();
            if data.is_empty() {
                continue;
            }
            mutate(&mut data, &mut random);
            hold(section.word, &data, |d| properties::section(section.id, d));
        }
    }
}

#[test]
fn changed_records_are_written_back_as_they_were_read() {
    let mut random = Random(0xabcd_5678_9abc_def1);
    let seed: Vec<u8> = SECTIONS
        .iter()
        .flat_map(|s| properties::section_seed(s.id))
        .collect();
    for _ in 0..tries() {
        let mut data = seed.clone();
        mutate(&mut data, &mut random);
        hold("records", &data, properties::records);
    }
}

#[test]
fn the_bad_corpus_reads_the_same_in_pieces() {
    for bad in synth::bad().iter().filter(|b| b.bytes.len() < 1 << 20) {
        hold("image", &bad.bytes, properties::image);
    }
}

/// What the fuzzer has found, one file each in `tests/images/found/TARGET/`.
#[test]
fn findings_stay_fixed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/images/found");
    let Ok(targets) = fs::read_dir(folder) else {
        return;
    };
    for found in targets.map(|t| t.unwrap()).filter(|t| t.path().is_dir()) {
        let name = found.file_name().into_string().unwrap();
        for file in fs::read_dir(found.path()).unwrap() {
            let data = fs::read(file.unwrap().path()).unwrap();
            match name.as_str() {
                "image" => properties::image(&data),
                "records" => properties::records(&data),
                name => {
                    let section = SECTIONS.iter().find(|s| target(s.word) == name);
                    properties::section(
                        section.unwrap_or_else(|| panic!("target {name}")).id,
                        &data,
                    );
                }
            }
        }
    }
}

/// The fuzz target of a section; `image` is the one of whole images.
fn target(word: &str) -> &str {
    if word == "image" {
        "origin"
    } else {
        word
    }
}

/// `CRKIT_SEEDS=DIR` writes the seeds of the fuzz targets there, `DIR/TARGET/NAME`.
#[test]
fn seeds_can_be_written() {
    let Some(dir) = std::env::var_os("CRKIT_SEEDS") else {
        return;
    };
    let write = |folder: &str, name: &str, data: &[u8]| {
        let dir = Path::new(&dir).join(folder);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(name), data).unwrap();
    };
    let small = {
        let mut image = synth::process();
        image.pages.remove(0);
        image.stats.clear();
        image.bytes()
    };
    write("image", "process", &synth::process().bytes());
    write("image", "compressed", &synth::compressed().bytes());
    write("image", "resources", &synth::resources().bytes());
    write("image", "small", &small);
    for (n, bad) in synth::bad()
        .iter()
        .enumerate()
        .filter(|(_, b)| b.bytes.len() < 1 << 17)
    {
        write("image", &format!("bad-{n}"), &bad.bytes);
    }
    for section in SECTIONS {
        let seed = properties::section_seed(section.id);
        write(target(section.word), "process", &seed);
        write("records", section.word, &seed);
    }
}
