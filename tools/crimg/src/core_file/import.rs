// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Makes an image from a core of the kernel, of gcore or of `crimg export core`.
//!
//! The metadata is made and checked by the rules of the format first; then the memory is copied, a MiB at a
//! time. Holes of a sparse core are not read.

use super::{
    areas::{areas, Area},
    read::{read, Core, Load},
    records::{Facts, Set},
};
use crate::{
    elf::{Object, Source},
    error::Failure,
    load::crc,
    number, progress,
    rewrite::{new_uuid, Bytes},
};
use cr_format::{
    limits,
    runs::{Run, RunKind},
    superblock::{self, Superblock, NOT_RESTARTABLE},
    validate,
    writer::{cut_index, cut_records, ImageWriter, PAGE_HEAD_LEN},
    Error, Record, StatsRecord, VmaStatsRecord, MEMORY, STATS, VMA_ANON,
};
use rustix::fs::SeekFrom;
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Write},
};

const PAGE: usize = limits::PAGE as usize;
const PIECE: u64 = 1 << 20;

/// What was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Bytes of the image.
    pub bytes: u64,
    pub uuid: [u8; 16],
    pub threads: u64,
    pub areas: u64,
    pub files: u64,
    /// Pages with contents.
    pub pages: u64,
    pub zero_pages: u64,
    /// Areas whose permissions the core does not have.
    pub guessed: u64,
    /// Signal that ended the process, 0 none.
    pub signal: u16,
}

/// Reads the core `file`, which is called `name`, and writes an image to `out`.
///
/// # Errors
/// [`Failure::Malformed`], [`Failure::Unsupported`], [`Failure::Defect`] for limits and for what the rules of
/// the format do not allow, [`Failure::Read`], and those of `failed` for a failed write.
pub fn import(
    name: &str,
    file: &File,
    out: &mut dyn Write,
    failed: &dyn Fn(io::Error) -> Failure,
) -> Result<Imported, Failure> {
    let core = read(name, file)?;
    let (areas, paths, guessed) = areas(&core);
    if areas.is_empty() {
        return Err(Failure::Malformed {
            file: name.to_owned(),
            place: "program headers".to_owned(),
            message: "there is no memory".to_owned(),
            remedy: "Write the core again, with gcore or: crimg export core".to_owned(),
        });
    }
    let build_ids = build_ids(&core, file, &areas, paths.len());
    let created_ns = file.metadata().ok().and_then(|m| m.modified().ok());
    let created_ns = created_ns.and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok());
    let created_ns = created_ns.map_or(0, |d| u64::try_from(d.as_nanos()).unwrap_or(0));
    let signal = core.threads.first().map_or(0, |t| t.signal);
    let facts = Facts {
        core: &core,
        source: file,
        areas: &areas,
        paths: &paths,
        build_ids: &build_ids,
        created_ns,
        description: description(name, guessed, signal),
    };
    let set = facts.sections()?;
    validate::meta(&set).map_err(|error| Failure::Malformed {
        file: name.to_owned(),
        place: "its threads and memory areas".to_owned(),
        message: format!("they cannot be those of a process: {error}"),
        remedy: "Write the core again, with gcore or: crimg export core".to_owned(),
    })?;
    let uuid = new_uuid().map_err(Failure::Write)?;
    let mut this = Writing {
        name,
        core: file,
        writer: ImageWriter::with_crc(crc),
        index: Bytes::default(),
        out,
        failed,
        runs: Vec::new(),
        data: Vec::new(),
        areas: &areas,
        counts: BTreeMap::new(),
        begun: false,
    };
    this.head(&set, uuid, created_ns)?;
    drop(set);
    let total = core.loads.iter().map(|l| l.filesz).sum();
    let bar = progress::bar(total, "importing");
    for load in &core.loads {
        this.load(load, &bar)?;
    }
    bar.finish_and_clear();
    let (pages, zero_pages) = this.tail()?;
    Ok(Imported {
        bytes: this.writer.offset(),
        uuid,
        threads: core.threads.len() as u64,
        areas: areas.len() as u64,
        files: paths.len() as u64,
        pages,
        zero_pages,
        guessed,
        signal,
    })
}

fn description(name: &str, guessed: u64, signal: u16) -> String {
    let mut text = format!(
        "from the core {}; not in a core: descriptors, handlers, limits, names of threads",
        crate::escape::text(name.as_bytes())
    );
    if guessed > 0 {
        let areas = number::count(guessed, "area", "areas");
        text.push_str(&format!("; permissions of {areas} taken to be r-x"));
    }
    if signal > 0 {
        text.push_str(&format!("; ended by signal {signal}"));
    }
    text
}

/// Build ids of the mapped files, as far as the core has their first pages.
fn build_ids(core: &Core, file: &File, areas: &[Area], files: usize) -> Vec<Vec<u8>> {
    let mut found = vec![Vec::new(); files];
    for area in areas.iter().filter(|a| a.object > 0 && a.offset == 0) {
        let after = core.loads.partition_point(|l| l.start <= area.start);
        let load = after.checked_sub(1).and_then(|n| core.loads.get(n));
        let Some(load) = load.filter(|l| l.start == area.start && l.filesz > 0) else {
            continue;
        };
        let window = Window { file, load };
        let id = Object::read(&window).and_then(|o| o.build_id(&window));
        let n = usize::try_from(area.object)
            .ok()
            .and_then(|n| n.checked_sub(1));
        if let (Some(to), Some(id)) = (n.and_then(|n| found.get_mut(n)), id) {
            *to = id;
        }
    }
    found
}

/// The contents of one segment.
struct Window<'a> {
    file: &'a File,
    load: &'a Load,
}

impl Source for Window<'_> {
    fn read(&self, offset: u64, buf: &mut [u8]) -> Option<()> {
        let end = offset.checked_add(buf.len() as u64)?;
        if end > self.load.filesz {
            return None;
        }
        Source::read(self.file, self.load.offset.checked_add(offset)?, buf)
    }
    fn len(&self) -> u64 {
        self.load.filesz
    }
}

struct Writing<'a> {
    name: &'a str,
    core: &'a File,
    writer: ImageWriter,
    index: Bytes,
    out: &'a mut dyn Write,
    failed: &'a dyn Fn(io::Error) -> Failure,
    /// The chunk that is being filled.
    runs: Vec<Run>,
    data: Vec<u8>,
    areas: &'a [Area],
    /// Pages with contents and zero pages by area.
    counts: BTreeMap<u32, (u64, u64)>,
    begun: bool,
}

impl Writing<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.out.write_all(bytes).map_err(self.failed)
    }

    fn bad(&self, error: Error) -> Failure {
        Failure::Defect {
            image: self.name.to_owned(),
            error,
        }
    }

    fn head(&mut self, set: &Set, uuid: [u8; 16], created_ns: u64) -> Result<(), Failure> {
        let writer = concat!("crimg ", env!("CARGO_PKG_VERSION"));
        let mut superblock = Superblock::new(uuid, created_ns, writer.as_bytes());
        superblock.flags |= NOT_RESTARTABLE;
        let mut block = [0; superblock::LEN];
        self.writer.superblock(&superblock, &mut block);
        self.put(&block)?;
        let total: u64 = set.0.values().map(|b| b.0.len() as u64).sum();
        if total > limits::META_TOTAL {
            return Err(self.bad(Error::over_limit(total, limits::META_TOTAL)));
        }
        for (id, records) in &set.0 {
            self.meta(*id, &records.0)?;
        }
        Ok(())
    }

    fn meta(&mut self, id: u16, records: &[u8]) -> Result<(), Failure> {
        let mut rest = records;
        while let Some(piece) = cut_records(&mut rest) {
            let piece = piece.map_err(|e| self.bad(e))?;
            let head = self.writer.meta(id, false, piece, &mut self.index);
            let head = head.map_err(|e| self.bad(e))?;
            self.put(&head)?;
            self.put(piece)?;
        }
        Ok(())
    }

    /// The contents of a segment.
    fn load(&mut self, load: &Load, bar: &indicatif::ProgressBar) -> Result<(), Failure> {
        let after = self.areas.partition_point(|a| a.start <= load.start);
        let n = after.checked_sub(1);
        let Some(area) = n.and_then(|n| self.areas.get(n)) else {
            return Ok(());
        };
        if load.end > area.end {
            return Ok(());
        }
        let id = u32::try_from(after).unwrap_or(u32::MAX);
        // Untouched anonymous memory is zero without being named.
        let named = area.kind != VMA_ANON;
        let mut buf = vec![0; PIECE as usize];
        let (mut at, mut fresh) = (0_u64, true);
        while at < load.filesz {
            let data = self.data_from(load, at)?;
            if data > at {
                if named {
                    let pages = data.saturating_sub(at).div_ceil(limits::PAGE);
                    self.zeros(id, load.start.saturating_add(at), pages, fresh)?;
                    fresh = false;
                }
                bar.inc(data.saturating_sub(at));
                at = data;
                continue;
            }
            let len = PIECE.min(load.filesz.saturating_sub(at));
            // CAST: at most 1 MiB.
            let piece = buf.get_mut(..len as usize).unwrap_or(&mut []);
            let from = load.offset.saturating_add(at);
            if Source::read(self.core, from, piece).is_none() {
                return Err(self.bad(Error::truncated(len, 0)));
            }
            let whole = piece.len().next_multiple_of(PAGE);
            // Behind the end of the contents, the page is zero.
            if let Some(rest) = buf.get_mut(len as usize..whole) {
                rest.fill(0);
            }
            for (i, page) in buf
                .get(..whole)
                .unwrap_or(&[])
                .chunks_exact(PAGE)
                .enumerate()
            {
                let within = at.saturating_add((i as u64).saturating_mul(limits::PAGE));
                let address = load.start.saturating_add(within);
                if page.iter().any(|b| *b != 0) {
                    self.page(id, address, page, fresh)?;
                    fresh = false;
                } else if named {
                    self.zeros(id, address, 1, fresh)?;
                    fresh = false;
                }
            }
            bar.inc(len);
            at = at.saturating_add(whole as u64);
        }
        Ok(())
    }

    /// Where, from `at` on, the next page with data in the core begins, as far as the file system knows.
    fn data_from(&self, load: &Load, at: u64) -> Result<u64, Failure> {
        let from = load.offset.saturating_add(at);
        let next = match rustix::fs::seek(self.core, SeekFrom::Data(from)) {
            Ok(next) => next.saturating_sub(load.offset),
            // No more data up to the end of the file.
            Err(rustix::io::Errno::NXIO) => load.filesz,
            // A file system that cannot tell.
            Err(_) => at,
        };
        // Down to a page of the segment, which need not lie at one of the file.
        let within = next.saturating_sub(at);
        let whole = within.saturating_sub(within % limits::PAGE);
        let next = at.saturating_add(whole);
        Ok(if next >= load.filesz {
            load.filesz
        } else {
            next
        })
    }

    fn page(&mut self, area: u32, at: u64, page: &[u8], fresh: bool) -> Result<(), Failure> {
        if self.data.len() >= limits::CHUNK_PAYLOAD as usize {
            self.flush()?;
        }
        self.count(area, 1, false);
        self.run(RunKind::Data, at, 1, fresh)?;
        self.data.extend_from_slice(page);
        Ok(())
    }

    fn zeros(&mut self, area: u32, at: u64, pages: u64, fresh: bool) -> Result<(), Failure> {
        self.count(area, pages, true);
        let (mut at, mut left) = (at, pages);
        while left > 0 {
            let n = u32::try_from(left).unwrap_or(u32::MAX);
            self.run(RunKind::Zero, at, n, fresh)?;
            at = at.saturating_add(u64::from(n).saturating_mul(limits::PAGE));
            left = left.saturating_sub(n.into());
        }
        Ok(())
    }

    fn count(&mut self, area: u32, pages: u64, zero: bool) {
        let (data, zeros) = self.counts.entry(area).or_default();
        let counter = if zero { zeros } else { data };
        *counter = counter.saturating_add(pages);
    }

    /// Makes the last run longer, or begins another one; `fresh` begins one, for a run lies in one area.
    fn run(&mut self, kind: RunKind, at: u64, pages: u32, fresh: bool) -> Result<(), Failure> {
        if let Some(last) = self.runs.last_mut().filter(|_| !fresh) {
            if last.kind == kind && last.end() == Ok(at) {
                if let Some(sum) = last.npages.checked_add(pages) {
                    last.npages = sum;
                    return Ok(());
                }
            }
        }
        if self.runs.len() >= limits::CHUNK_RUNS as usize {
            self.flush()?;
        }
        self.runs.push(Run::of(at, pages, kind));
        Ok(())
    }

    /// Writes the chunk.
    fn flush(&mut self) -> Result<(), Failure> {
        if self.runs.is_empty() {
            return Ok(());
        }
        if !std::mem::replace(&mut self.begun, true) {
            let pad = self.writer.pad(&mut self.index).map_err(|e| self.bad(e))?;
            if let Some((head, zeros)) = pad {
                self.put(&head)?;
                self.put(&vec![0; zeros])?;
            }
        }
        let (runs, data) = (
            std::mem::take(&mut self.runs),
            std::mem::take(&mut self.data),
        );
        let mut head = [0; PAGE_HEAD_LEN];
        self.writer
            .page(
                MEMORY,
                1,
                true,
                &runs,
                crc(0, &data),
                &mut head,
                &mut self.index,
            )
            .map_err(|e| self.bad(e))?;
        self.put(&head)?;
        self.put(&data)?;
        self.data = data;
        self.data.clear();
        Ok(())
    }

    /// What follows the pages; gives their numbers.
    fn tail(&mut self) -> Result<(u64, u64), Failure> {
        self.flush()?;
        let sum = |f: fn(&(u64, u64)) -> u64| self.counts.values().map(f).sum::<u64>();
        let (pages, zero_pages) = (sum(|c| c.0), sum(|c| c.1));
        let mut stats = Bytes::default();
        let result = StatsRecord {
            id: 1,
            frozen_ns: 0,
            pages,
            zero_pages,
            page_bytes: pages.saturating_mul(limits::PAGE),
        }
        .write(&mut stats);
        result.map_err(|e| self.bad(e))?;
        for (id, (pages, zero)) in &self.counts {
            let record = VmaStatsRecord {
                id: *id,
                pages: *pages,
                zero: *zero,
            };
            record.write(&mut stats).map_err(|e| self.bad(e))?;
        }
        self.meta(STATS, &stats.0)?;
        let index = std::mem::take(&mut self.index.0);
        let mut rest = &index[..];
        while let Some(piece) = cut_index(&mut rest) {
            let head = self.writer.index(piece).map_err(|e| self.bad(e))?;
            self.put(&head)?;
            self.put(piece)?;
        }
        let end = self.writer.end().map_err(|e| self.bad(e))?;
        self.put(&end)?;
        Ok((pages, zero_pages))
    }
}
