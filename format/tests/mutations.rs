// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! The properties of the fuzz targets without a fuzzer: random changes of sound images, the whole bad corpus.
//!
//! `CRKIT_MUTATIONS` sets how many changes are tried (default: a few seconds' worth). The seed is fixed, so a
//! failure repeats; the failing input is written to the file that the message names.

mod common;
mod properties;
mod synth;

use cr_format::SECTIONS;
use std::{fs, panic};

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

/// READ-3.
#[test]
fn changed_images_never_panic_and_read_the_same_in_pieces() {
    let seeds = [
        synth::process().bytes(),
        synth::compressed().bytes(),
        synth::resources().bytes(),
        synth::tree().bytes(),
    ];
    let mut random = Random(0x1234_5678_9abc_def1);
    for _ in 0..tries() {
        let mut data = seeds[random.below(4)].clone();
        // Most of the image is page data; the rest is what can break.
        if random.below(4) == 0 {
            data.truncate(0x4000);
        }
        mutate(&mut data, &mut random);
        hold("image", &data, properties::image::image);
    }
}

#[test]
fn changed_sections_never_panic() {
    let mut random = Random(0xfeed_5678_9abc_def1);
    for section in SECTIONS {
        let seed = properties::record::section_seed(section.id);
        for _ in 0..tries() {
            let mut data = seed.clone();
            if data.is_empty() {
                continue;
            }
            mutate(&mut data, &mut random);
            hold(section.word, &data, |d| {
                properties::record::section(section.id, d)
            });
        }
    }
}

#[test]
fn changed_records_are_written_back_as_they_were_read() {
    let mut random = Random(0xabcd_5678_9abc_def1);
    let seed: Vec<u8> = SECTIONS
        .iter()
        .flat_map(|s| properties::record::section_seed(s.id))
        .collect();
    for _ in 0..tries() {
        let mut data = seed.clone();
        mutate(&mut data, &mut random);
        hold("records", &data, properties::record::records);
    }
}

#[test]
fn the_bad_corpus_reads_the_same_in_pieces() {
    for bad in synth::bad().iter().filter(|b| b.bytes.len() < 1 << 20) {
        hold("image", &bad.bytes, properties::image::image);
    }
}
