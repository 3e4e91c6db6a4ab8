// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Puts pages into new chunks: zero pages become runs, equal pages refer to one, neighbours are joined.
//!
//! A chunk ends when it is full (256 stored pages, 168 runs), so chunks that have shrunk are merged with
//! their neighbours; a gibibyte of one pattern becomes one stored page and one run. Equal pages are found
//! within a chunk only, since a reader keeps one chunk at a time.

use crate::{
    file::ZERO_PAGE,
    load::crc,
    rewrite::{NewChunk, NewData},
};
use cr_format::{
    limits, records_of,
    runs::{Run, RunKind},
    validate::MetaSet,
    VmaRecord, MEMORY,
};
use std::collections::{BTreeMap, HashMap};

const PAGE: usize = limits::PAGE as usize;

/// What becomes of the pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shrink {
    /// Stored pages of zeros become runs of kind ZERO.
    pub strip_zero: bool,
    /// Stored pages that equal an earlier one of their chunk become runs of kind DUPLICATE.
    pub dedup: bool,
}

/// Where the memory areas of each process begin, by the owner of its pages: a run must not reach from one area into
/// the next (PAGE-10).
#[derive(Clone, Debug, Default)]
pub struct Areas(BTreeMap<u32, Vec<u64>>);

impl Areas {
    /// Those of all processes.
    pub fn new(set: &dyn MetaSet) -> Self {
        let starts = |process| {
            let areas = records_of::<VmaRecord<'_>>(set.of(process, MEMORY));
            let mut starts: Vec<u64> = areas.map_while(Result::ok).map(|v| v.start).collect();
            starts.sort_unstable();
            (process.saturating_add(1), starts)
        };
        Self((0..set.processes()).map(starts).collect())
    }

    /// Number of the area that holds the address.
    fn of(&self, owner: u32, address: u64) -> usize {
        let starts = self.0.get(&owner).map_or(&[][..], Vec::as_slice);
        starts.partition_point(|start| *start <= address)
    }
}

/// A chunk being filled.
pub struct Builder {
    shrink: Shrink,
    areas: Areas,
    home: Option<(u16, u32, bool)>,
    runs: Vec<Run>,
    /// Area of the last run.
    area: usize,
    bytes: Vec<u8>,
    /// Addresses of the stored pages, in order.
    stored: Vec<u64>,
    /// Stored page by CRC-32; the contents are compared as well.
    known: HashMap<u32, usize>,
    out: Vec<NewChunk>,
}

impl Builder {
    /// An empty one. `areas` ascend.
    pub fn new(shrink: Shrink, areas: Areas) -> Self {
        Self {
            shrink,
            areas,
            home: None,
            runs: Vec::new(),
            area: 0,
            bytes: Vec::new(),
            stored: Vec::new(),
            known: HashMap::new(),
            out: Vec::new(),
        }
    }

    /// What follows belongs to this section and owner.
    pub fn begin(&mut self, section: u16, owner: u32, critical: bool) {
        let home = Some((section, owner, critical));
        if self.home != home {
            self.flush();
            self.home = home;
        }
    }

    fn area_of(&self, address: u64) -> usize {
        match self.home {
            Some((MEMORY, owner, _)) => self.areas.of(owner, address),
            _ => 0,
        }
    }

    /// Adds a run without contents.
    pub fn plain(&mut self, run: Run) {
        self.run(self.area_of(run.start), run);
    }

    /// Adds pages that all have these contents, stored once.
    pub fn stored(&mut self, start: u64, npages: u32, page: &[u8]) {
        let area = self.area_of(start);
        match npages {
            0 => {}
            1 => self.store(area, start, page),
            _ => self.copies(area, start, npages, page),
        }
    }

    /// Adds the pages of one chunk: its runs and the pages of its data runs, in order. Both have been
    /// checked; where they do not agree, what is missing is taken for zero.
    pub fn add(&mut self, section: u16, owner: u32, critical: bool, runs: &[Run], bytes: &[u8]) {
        self.begin(section, owner, critical);
        let mut pages = bytes.chunks_exact(PAGE);
        let mut at: HashMap<u64, &[u8]> = HashMap::new();
        let has_duplicates = runs.iter().any(|r| r.kind == RunKind::Duplicate);
        for run in runs {
            let area = self.area_of(run.start);
            match run.kind {
                RunKind::Zero | RunKind::Parent => {
                    self.run(area, Run::of(run.start, run.npages, run.kind));
                }
                RunKind::Data => {
                    for n in 0..u64::from(run.npages) {
                        let address = run.start.saturating_add(n.saturating_mul(limits::PAGE));
                        let page = pages.next().unwrap_or(&ZERO_PAGE);
                        if has_duplicates {
                            at.insert(address, page);
                        }
                        self.page(area, address, page);
                    }
                }
                RunKind::Duplicate => {
                    let page = at.get(&run.source).copied().unwrap_or(&ZERO_PAGE);
                    self.copies(area, run.start, run.npages, page);
                }
            }
        }
    }

    /// One page with contents.
    fn page(&mut self, area: usize, address: u64, page: &[u8]) {
        if self.shrink.strip_zero && page == ZERO_PAGE {
            return self.run(area, Run::zero(address, 1));
        }
        if self.shrink.dedup {
            if let Some(source) = self.find(page) {
                let run = Run::duplicate(address, 1, source);
                if self.fits(area, &run) {
                    return self.run(area, run);
                }
            }
        }
        self.store(area, address, page);
    }

    /// Pages that all have these contents and were duplicates before.
    fn copies(&mut self, area: usize, start: u64, npages: u32, page: &[u8]) {
        if self.shrink.strip_zero && page == ZERO_PAGE {
            return self.run(area, Run::zero(start, npages));
        }
        if let Some(source) = self.find(page) {
            let run = Run::duplicate(start, npages, source);
            if self.fits(area, &run) {
                return self.run(area, run);
            }
        }
        // The page they equal is in a chunk that has ended: the first one is stored.
        self.store(area, start, page);
        let source = self.stored.last().copied().unwrap_or(start);
        if let (Some(rest @ 1..), Some(next)) =
            (npages.checked_sub(1), start.checked_add(limits::PAGE))
        {
            let run = Run::duplicate(next, rest, source);
            if self.fits(area, &run) {
                self.run(area, run);
            } else {
                self.flush_runs();
                self.copies(area, next, rest, page);
            }
        }
    }

    fn store(&mut self, area: usize, address: u64, page: &[u8]) {
        let full = self.stored.len() >= limits::CHUNK_PAGES as usize;
        let run = Run::data(address, 1);
        if full || !self.fits(area, &run) {
            self.flush_runs();
        }
        self.run(area, run);
        if self.shrink.dedup {
            let n = self.stored.len();
            self.known.entry(crc(0, page)).or_insert(n);
        }
        self.stored.push(address);
        self.bytes.extend_from_slice(page);
    }

    /// Address of a stored page of this chunk with these contents.
    fn find(&self, page: &[u8]) -> Option<u64> {
        let n = if self.shrink.dedup {
            let n = *self.known.get(&crc(0, page))?;
            let from = n.checked_mul(PAGE)?;
            (self.bytes.get(from..from.checked_add(PAGE)?)? == page).then_some(n)?
        } else {
            self.bytes.chunks_exact(PAGE).position(|p| p == page)?
        };
        self.stored.get(n).copied()
    }

    /// Can this run be joined to the last one?
    fn continues(&self, area: usize, run: &Run) -> bool {
        self.runs.last().is_some_and(|last| {
            let same = last.kind == run.kind && last.source == run.source && self.area == area;
            let long = last.npages.checked_add(run.npages).is_none();
            same && !long && last.end() == Ok(run.start)
        })
    }

    /// Can this run be added to this chunk?
    fn fits(&self, area: usize, run: &Run) -> bool {
        self.runs.len() < limits::CHUNK_RUNS as usize || self.continues(area, run)
    }

    /// Adds a run; to a new chunk if it does not fit, which a run of duplicates must.
    fn run(&mut self, area: usize, run: Run) {
        if self.continues(area, &run) {
            if let Some(last) = self.runs.last_mut() {
                last.npages = last.npages.saturating_add(run.npages);
            }
            return;
        }
        if self.runs.len() >= limits::CHUNK_RUNS as usize {
            self.flush_runs();
        }
        self.area = area;
        self.runs.push(run);
    }

    fn flush_runs(&mut self) {
        let home = self.home;
        self.flush();
        self.home = home;
    }

    /// Ends the chunk.
    pub fn flush(&mut self) {
        let home = self.home.take();
        self.known.clear();
        self.stored.clear();
        let (runs, bytes) = (
            std::mem::take(&mut self.runs),
            std::mem::take(&mut self.bytes),
        );
        if let (Some((section, owner, critical)), false) = (home, runs.is_empty()) {
            self.out.push(NewChunk {
                section,
                owner,
                critical,
                runs,
                data: NewData::Raw(bytes),
            });
        }
    }

    /// Takes the chunks that are finished.
    pub fn take(&mut self) -> Vec<NewChunk> {
        std::mem::take(&mut self.out)
    }
}
