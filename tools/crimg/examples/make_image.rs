// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Makes a large image for benchmarks: a sound image of a process that never was.
//!
//! `cargo run --release -p crimg --example make_image -- --mib 4096 OUT`
//!
//! The pages are what processes have: text, records with pointers, random bytes, zeros, equal pages. The
//! same options give the same image. A needle, `crkit-needle-` and the number of the page in hexadecimal, is
//! in one of 4096 pages, sometimes across the border of two. `crimg verify OUT` finds it sound.

#[path = "../../../format/tests/synth/mod.rs"]
mod synth;

use clap::Parser;
use cr_format::{
    limits::{CHUNK_PAGES, CHUNK_RUNS, PAGE},
    runs::Run,
    superblock::Superblock,
    writer::{cut_index, cut_records, ImageWriter, PAGE_HEAD_LEN},
    MEMORY, STATS,
};
use crimg::{load::crc, rewrite::Bytes};
use std::{
    fs::File,
    io::{self, Seek, Write},
    path::PathBuf,
};

const PAGE_LEN: usize = PAGE as usize;
/// Where the areas lie: between heap and libraries of the model process.
const BASE: u64 = 0x6000_0000_0000;
/// Bytes of one area; a gap of one page is between two.
const AREA: u64 = 1 << 30;

/// Make a large image for benchmarks.
#[derive(Parser)]
struct Args {
    /// MiB of memory, zero pages included.
    #[arg(long, default_value_t = 1024)]
    mib: u64,
    /// Zero pages of 100.
    #[arg(long, default_value_t = 10)]
    zero: u64,
    /// Pages of 100 that equal the page before them, stored as duplicates.
    #[arg(long, default_value_t = 0)]
    duplicate: u64,
    /// Another image.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Pages are zeros that are stored as if they were not, in holes of the file: an image of any size that takes no disk.
    #[arg(long)]
    holes: bool,
    /// File to write.
    out: PathBuf,
}

/// xorshift64*.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
    fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 33) % n
    }
}

/// What a log, a configuration and a heap of strings look like.
fn text_pool(random: &mut Random) -> Vec<u8> {
    const WORDS: [&str; 48] = [
        "the",
        "connection",
        "request",
        "of",
        "user",
        "session",
        "to",
        "error",
        "cache",
        "and",
        "value",
        "from",
        "index",
        "buffer",
        "is",
        "timeout",
        "while",
        "reading",
        "worker",
        "thread",
        "GET",
        "/index.html",
        "HTTP/1.1",
        "200",
        "404",
        "application/json",
        "{\"id\":",
        "\"name\":",
        "\"state\":",
        "null",
        "true",
        "[INFO]",
        "[WARN]",
        "2026-03-14T09:26:53Z",
        "src/main.rs",
        "malloc",
        "struct",
        "return",
        "const",
        "key=",
        "page",
        "database",
        "SELECT",
        "WHERE",
        "localhost:8080",
        "checkpoint",
        "restored",
        "memory",
    ];
    let mut pool = Vec::with_capacity(8 << 20);
    while pool.len() < 8 << 20 {
        for _ in 0..=random.below(12) {
            pool.extend(WORDS[random.below(48) as usize].bytes());
            pool.push(b' ');
        }
        pool.extend(format!("{}\n", random.below(1_000_000)).bytes());
    }
    pool
}

struct Maker {
    out: io::BufWriter<File>,
    writer: ImageWriter,
    index: Bytes,
    random: Random,
    pool: Vec<u8>,
    runs: Vec<Run>,
    data: Vec<u8>,
    /// Pages are left out as holes.
    holes: bool,
    /// The rest of a needle that the page before had no room for.
    carry: Vec<u8>,
    pages: u64,
    zeros: u64,
}

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

fn failed(e: cr_format::Error) -> Box<dyn std::error::Error> {
    format!("{e:?}").into()
}

impl Maker {
    fn meta(&mut self, id: u16, records: &[u8]) -> Result {
        let mut rest = records;
        while let Some(piece) = cut_records(&mut rest) {
            let piece = piece.map_err(failed)?;
            let head = self.writer.meta(id, true, piece, &mut self.index);
            self.out.write_all(&head.map_err(failed)?)?;
            self.out.write_all(piece)?;
        }
        Ok(())
    }

    fn add(&mut self, run: Run) {
        match self.runs.last_mut() {
            Some(last)
                if last.kind == run.kind
                    && last.source == run.source
                    && last.end() == Ok(run.start) =>
            {
                last.npages += run.npages;
            }
            _ => self.runs.push(run),
        }
    }

    fn flush(&mut self) -> Result {
        if self.runs.is_empty() {
            return Ok(());
        }
        let mut head = [0; PAGE_HEAD_LEN];
        let sum = crc(0, &self.data);
        self.writer
            .page(MEMORY, 1, true, &self.runs, sum, &mut head, &mut self.index)
            .map_err(failed)?;
        self.out.write_all(&head)?;
        if self.holes {
            // The index comes behind the last hole, so it has its length.
            self.out.seek_relative(i64::try_from(self.data.len())?)?;
        } else {
            self.out.write_all(&self.data)?;
        }
        self.runs.clear();
        self.data.clear();
        Ok(())
    }

    fn page(&mut self, args: &Args, at: u64, number: u64) -> Result {
        let full = self.data.len() >= CHUNK_PAGES as usize * PAGE_LEN;
        if full || self.runs.len() + 1 >= CHUNK_RUNS as usize {
            self.flush()?;
        }
        if self.holes {
            self.pages += 1;
            self.add(Run::data(at, 1));
            self.data.resize(self.data.len() + PAGE_LEN, 0);
            return Ok(());
        }
        // A needle and the page behind it are stored.
        let needle = number % 4096 == 77;
        if !needle && self.carry.is_empty() {
            let of_100 = self.random.below(100);
            // Zeros come in groups, as they do in heaps.
            let group = (number / 8).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48;
            if group < args.zero * 65536 / 100 {
                self.zeros += 1;
                self.add(Run::zero(at, 1));
                return Ok(());
            }
            if of_100 < args.duplicate {
                // Of the last page that this chunk stores.
                let data = self.runs.iter().rev().find(|r| r.stored_bytes() > 0);
                if let Some(end) = data.and_then(|r| r.end().ok()) {
                    self.pages += 1;
                    self.add(Run::duplicate(at, 1, end - PAGE));
                    return Ok(());
                }
            }
        }
        self.pages += 1;
        self.add(Run::data(at, 1));
        let from = self.data.len();
        match self.random.below(20) {
            0..=9 => {
                let start = self.random.below((self.pool.len() - PAGE_LEN) as u64) as usize;
                self.data
                    .extend_from_slice(&self.pool[start..start + PAGE_LEN]);
            }
            10..=14 => {
                for n in 0..PAGE / 8 {
                    let r = self.random.next();
                    let word = match n % 4 {
                        0 => BASE + ((r % (args.mib << 20)) & !15),
                        1 => r & 0xff,
                        2 => 0,
                        _ => r & 0xffff_ffff,
                    };
                    self.data.extend(word.to_le_bytes());
                }
            }
            _ => {
                for _ in 0..PAGE / 8 {
                    self.data.extend(self.random.next().to_le_bytes());
                }
            }
        }
        let carry = std::mem::take(&mut self.carry);
        self.data[from..from + carry.len()].copy_from_slice(&carry);
        if needle {
            let text = format!("crkit-needle-{number:08x}").into_bytes();
            // One of four crosses the border.
            let within = if number / 4096 % 4 == 3 {
                PAGE_LEN - 9
            } else {
                self.random.below(4000) as usize
            };
            let fits = text.len().min(PAGE_LEN - within);
            self.data[from + within..from + within + fits].copy_from_slice(&text[..fits]);
            self.carry = text[fits..].to_vec();
        }
        Ok(())
    }
}

/// The records of the model process with areas for `bytes` of memory.
fn model(bytes: u64) -> (synth::Image, Vec<(u64, u64)>) {
    let mut model = synth::process();
    // The model's own pages are left out, and so is the deleted file that has some.
    model.pages.clear();
    let mut areas = Vec::new();
    let mut at = BASE;
    let mut rest = bytes;
    while rest > 0 {
        let len = rest.min(AREA);
        areas.push((at, at + len));
        at += len + PAGE;
        rest -= len;
    }
    let records = model.section(0x11);
    let heap = records.iter().rposition(|r| r.kind == 2 && r.id == 3);
    let heap = heap.expect("the heap");
    for (n, (start, end)) in areas.iter().enumerate() {
        let mut area = records[heap].clone();
        area.set(1, *start);
        area.set(2, *end);
        area.put(8, b"bench");
        records.insert(heap + 1 + n, area);
    }
    for (n, area) in records.iter_mut().filter(|r| r.kind == 2).enumerate() {
        area.id = n as u32 + 1;
    }
    (model, areas)
}

fn main() -> Result {
    let args = Args::parse();
    let (model, areas) = model(args.mib << 20);
    let mut random = Random(args.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let pool = text_pool(&mut random);
    let mut make = Maker {
        out: io::BufWriter::with_capacity(1 << 20, File::create(&args.out)?),
        writer: ImageWriter::with_crc(crc),
        index: Bytes::default(),
        random,
        pool,
        runs: Vec::new(),
        data: Vec::with_capacity(1 << 20),
        holes: args.holes,
        carry: Vec::new(),
        pages: 0,
        zeros: 0,
    };
    let mut block = [0; 4096];
    let superblock = Superblock::new([0x42; 16], 1_700_000_000_000_000_000, b"make_image");
    make.writer.superblock(&superblock, &mut block);
    make.out.write_all(&block)?;
    for (id, _, records) in &model.sections {
        let bytes: Vec<u8> = records.iter().flat_map(synth::Rec::bytes).collect();
        make.meta(*id, &bytes)?;
    }
    if let Some((head, zeros)) = make.writer.pad(&mut make.index).map_err(failed)? {
        make.out.write_all(&head)?;
        make.out.write_all(&vec![0; zeros])?;
    }
    let mut number = 0;
    for (start, end) in areas {
        for at in (start..end).step_by(PAGE_LEN) {
            make.page(&args, at, number)?;
            number += 1;
        }
        // A needle does not go on in the next area.
        make.carry.clear();
        make.flush()?;
    }
    // Display hints: nanoseconds, decimal.
    let mut totals = vec![synth::u(1_000_000, 7)];
    totals.extend([make.pages, make.zeros, make.pages * PAGE].map(|n| synth::u(n, 1)));
    let stats = synth::rec(1, 1, totals);
    make.meta(STATS, &stats.bytes())?;
    let index = std::mem::take(&mut make.index).0;
    let mut rest = &index[..];
    while let Some(piece) = cut_index(&mut rest) {
        let head = make.writer.index(piece).map_err(failed)?;
        make.out.write_all(&head)?;
        make.out.write_all(piece)?;
    }
    make.out.write_all(&make.writer.end().map_err(failed)?)?;
    make.out.flush()?;
    println!(
        "{}: {} bytes, {} pages stored, {} zero",
        args.out.display(),
        make.writer.offset(),
        make.pages,
        make.zeros
    );
    Ok(())
}
