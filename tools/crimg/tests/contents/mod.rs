// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! What an image says about memory, however it is stored; and images with pages of one's own.
#![allow(dead_code)] // Each test takes a part of it.

#[path = "../../../../format/tests/synth/mod.rs"]
pub mod synth;

use cr_format::{
    chunk::HEADER_LEN,
    runs::{RunKind, TABLE_LEN},
    stream::{Next, Validator},
    superblock,
    validate::{self, MetaSet},
};
use crimg::{
    file::{ImageFile, Page},
    load::{crc, load, Sections},
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};
use synth::{Image, Pages};

/// Start of the heap of [`heap`].
pub const HEAP: u64 = 0x5555_5556_0000;
pub const PAGE: usize = 4096;

pub fn open(path: &Path) -> ImageFile {
    ImageFile::open(path.to_str().unwrap()).unwrap_or_else(|e| panic!("{e}"))
}

/// Reads the image from the first to the last byte as the kernel would, and decodes every frame.
pub fn assert_sound(path: &Path) {
    let bytes = std::fs::read(path).unwrap();
    let mut rest = &bytes[..];
    let mut take = |n: usize| {
        let (head, tail) = rest.split_at(n);
        rest = tail;
        head
    };
    let mut v = Validator::with_crc(crc);
    let mut sections = Sections::default();
    v.superblock(take(superblock::LEN).try_into().unwrap())
        .unwrap();
    while !v.is_complete() {
        let next = v
            .chunk_header(take(HEADER_LEN).try_into().unwrap())
            .unwrap();
        let h = *v.header().unwrap();
        match next {
            Next::Payload(n) => {
                let payload = take(n as usize);
                v.payload(payload).unwrap();
                if h.chunk_type == cr_format::chunk::ChunkType::Meta {
                    let s = sections.0.entry(h.section).or_default();
                    s.push(payload, 0, h.is_critical());
                }
            }
            Next::RunTable => {
                v.run_table(take(TABLE_LEN).try_into().unwrap()).unwrap();
                let stored = take(h.stored_len as usize);
                v.page_data(stored).unwrap();
                if h.codec != 0 {
                    let frame = &stored[..h.frame_len as usize];
                    v.decoded(crimg::file::decode(frame, h.raw_len).as_deref())
                        .unwrap();
                }
            }
        }
    }
    assert!(rest.is_empty());
    validate::meta(&sections).unwrap();
    let (pages, zero) = v.page_counts();
    validate::stats(&sections, pages, zero).unwrap();
    // And what depends on both: runs in their areas.
    let areas: Vec<(u64, u64)> =
        cr_format::records_of::<cr_format::VmaRecord<'_>>(sections.section(cr_format::MEMORY))
            .map(|a| a.map(|a| (a.start, a.end)).unwrap())
            .collect();
    let file = open(path);
    for entry in file
        .page_chunks()
        .filter(|e| e.section == cr_format::MEMORY)
    {
        for run in file.runs(entry).unwrap().1 {
            validate::run_in_vmas(&areas, &run).unwrap();
        }
    }
    assert!(
        load(&mut crimg::input::Input::open(path.to_str().unwrap()).unwrap())
            .unwrap()
            .is_complete()
    );
}

/// Contents of every page that has a run: by section, owner and address.
pub fn contents(path: &Path) -> BTreeMap<(u16, u32, u64), Vec<u8>> {
    let file = open(path);
    let mut all = BTreeMap::new();
    for entry in file.page_chunks() {
        file.page_data(entry).unwrap().for_each(|address, page| {
            let bytes = match page {
                Page::Data(bytes) => bytes.to_vec(),
                Page::Zero => vec![0; PAGE],
                Page::Parent => panic!("no parents here"),
            };
            assert!(all
                .insert((entry.section, entry.owner, address), bytes)
                .is_none());
        });
    }
    all
}

/// The run table of each chunk.
pub fn runs(path: &Path) -> Vec<Vec<(u64, u32, RunKind)>> {
    let file = open(path);
    file.page_chunks()
        .map(|e| {
            let runs = file.runs(e).unwrap().1;
            runs.iter().map(|r| (r.start, r.npages, r.kind)).collect()
        })
        .collect()
}

/// A chunk of section memory: runs of start, pages, kind, and the stored pages.
pub fn pages(runs: &[(u64, u32, u16)], data: Vec<u8>) -> Pages {
    Pages {
        section: 0x11,
        owner: 1,
        runs: runs.to_vec(),
        data,
        sources: Vec::new(),
        frame: None,
    }
}

/// The model process with these chunks in a heap of `npages`, and nothing else stored.
pub fn heap(npages: u64, chunks: Vec<Pages>) -> Image {
    let mut model = synth::process();
    let area = model.record(0x11, 2, 2);
    area.set(1, HEAP);
    area.set(2, HEAP + npages * PAGE as u64);
    // They lay in the area that has grown.
    model.section(0x11).retain(|r| r.kind != 4);
    model.pages = chunks;
    model.stats.clear();
    model
}

/// Writes a model into a folder.
pub fn write(dir: &Path, name: &str, model: &Image) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, model.bytes()).unwrap();
    path
}

/// Pseudo-random numbers, the same in each run.
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
    /// A page: zero, one of a few, compressible, or noise.
    pub fn page(&mut self) -> Vec<u8> {
        match self.below(5) {
            0 => vec![0; PAGE],
            1 | 2 => vec![self.below(4) as u8 + 1; PAGE],
            3 => {
                let n = self.below(1000) as usize;
                (0..PAGE).map(|i| ((i + n) / 7) as u8).collect()
            }
            _ => (0..PAGE).map(|_| self.below(256) as u8).collect(),
        }
    }
}
