// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Redaction of page data: where the texts are, and chunks with them overwritten.

use super::{
    search::{Search, Stretch},
    spans::Spans,
};
use crate::{
    error::Failure,
    file::{ImageFile, PageData, ZERO_PAGE},
    repack::{
        codec::{Packer, DEFAULT_LEVEL},
        critical,
        ordered::ordered,
        pack::{Areas, Builder, Shrink},
        threads,
    },
    rewrite::{NewChunk, NewData, PageAction},
};
use cr_format::{
    chunk::CODEC_ZSTD,
    index::IndexEntry,
    limits::PAGE,
    runs::{Run, RunKind},
    MEMORY,
};
use std::collections::BTreeMap;

/// Copies of a page that a long run of duplicates is searched through, at either end. All others of the
/// run get what these get.
const COPIES: u64 = 16;

/// Places in memory that the user named, by the owner of the pages.
pub type Fixed = BTreeMap<u32, Spans>;

/// Places by section and owner.
pub type Places = BTreeMap<(u16, u32), Spans>;

/// Searches all page data, in the order of addresses: texts are found across pages and chunks.
///
/// # Errors
/// [`Failure::Read`], [`Failure::Defect`].
pub fn search(file: &ImageFile, search: &Search) -> Result<Places, Failure> {
    let mut places = Places::new();
    if search.is_empty() {
        return Ok(places);
    }
    let entries: Vec<IndexEntry> = file.page_chunks().copied().collect();
    let bar = crate::progress::bar(file.len(), "searching");
    std::thread::scope(|scope| {
        let read = ordered(scope, threads(0), entries, || {
            move |entry: IndexEntry| (entry, file.page_data(&entry))
        });
        let mut stretch = Stretch::new(search);
        let mut home = None;
        for (entry, data) in read {
            let here = (entry.section, entry.owner);
            if home != Some(here) {
                finish(&mut stretch, home, &mut places);
                home = Some(here);
            }
            chunk(&data?, &mut stretch);
            bar.inc(crate::file::chunk_len(&entry));
        }
        finish(&mut stretch, home, &mut places);
        Ok(())
    })?;
    bar.finish_and_clear();
    Ok(places)
}

fn finish(stretch: &mut Stretch<'_>, home: Option<(u16, u32)>, places: &mut Places) {
    stretch.end();
    let mut found = std::mem::take(&mut stretch.found);
    if let (Some(home), false) = (home, found.is_empty()) {
        found.tidy();
        places.insert(home, found);
    }
}

fn chunk(data: &PageData, stretch: &mut Stretch<'_>) {
    let mut at = 0_usize;
    for run in &data.runs {
        match run.kind {
            RunKind::Data => {
                let len = usize::try_from(run.stored_bytes()).unwrap_or(0);
                let end = at.saturating_add(len);
                stretch.push(run.start, data.bytes.get(at..end).unwrap_or(&[]));
                at = end;
            }
            RunKind::Duplicate => {
                let page = source(data, run);
                let n = u64::from(run.npages);
                let mut next = 0;
                while next < n {
                    if next == COPIES {
                        next = next.max(n.saturating_sub(COPIES));
                    }
                    stretch.push(address(run, next), page);
                    next = next.saturating_add(1);
                }
            }
            RunKind::Zero | RunKind::Parent => {}
        }
    }
}

/// The page that a run of duplicates shows.
fn source<'d>(data: &'d PageData, run: &Run) -> &'d [u8] {
    match data.page(run.source) {
        Some(crate::file::Page::Data(page)) => page,
        _ => &ZERO_PAGE,
    }
}

fn address(run: &Run, page: u64) -> u64 {
    run.start.saturating_add(page.saturating_mul(PAGE))
}

/// Overwrites places in page data.
pub struct Eraser {
    /// Addresses of the processes that the user named.
    pub fixed: Fixed,
    /// What was found.
    pub found: Places,
    /// The byte that is put there.
    pub fill: u8,
    /// The memory areas.
    pub areas: Areas,
    /// Bytes that were overwritten, and chunks with some of them.
    pub bytes: u64,
    /// Chunks.
    pub chunks: u64,
    packer: Option<Packer>,
}

impl Eraser {
    /// With nothing done yet.
    pub fn new(fixed: Fixed, found: Places, fill: u8, areas: Areas) -> Self {
        Self {
            fixed,
            found,
            fill,
            areas,
            bytes: 0,
            chunks: 0,
            packer: None,
        }
    }

    /// The chunk, or new ones if something in it is to go.
    ///
    /// # Errors
    /// [`Failure::Read`], [`Failure::Defect`].
    pub fn chunk(&mut self, file: &ImageFile, entry: &IndexEntry) -> Result<PageAction, Failure> {
        let home = (entry.section, entry.owner);
        let none = Spans::default();
        let found = self.found.get(&home).unwrap_or(&none);
        let fixed = match entry.section {
            MEMORY => self.fixed.get(&entry.owner).unwrap_or(&none),
            _ => &none,
        };
        let (_, runs) = file.runs(entry)?;
        let touched = runs.iter().any(|r| {
            let stored = matches!(r.kind, RunKind::Data | RunKind::Duplicate);
            let end = r.end().unwrap_or(u64::MAX);
            stored && (found.touches(r.start, end) || fixed.touches(r.start, end))
        });
        if !touched {
            return Ok(PageAction::Keep);
        }
        let data = file.page_data(entry)?;
        let mut builder = Builder::new(Shrink::default(), self.areas.clone());
        builder.begin(entry.section, entry.owner, critical(file, entry)?);
        let mut pen = Pen {
            fixed,
            found,
            fill: self.fill,
            bytes: 0,
        };
        pen.rewrite(&data, &mut builder);
        builder.flush();
        self.bytes = self.bytes.saturating_add(pen.bytes);
        self.chunks = self.chunks.saturating_add(1);
        let mut new = builder.take();
        if entry.codec == CODEC_ZSTD {
            let packer = self
                .packer
                .get_or_insert_with(|| Packer::new(DEFAULT_LEVEL));
            new = new.into_iter().map(|c| pack(c, packer)).collect();
        }
        Ok(PageAction::Replace(new))
    }
}

fn pack(chunk: NewChunk, packer: &mut Packer) -> NewChunk {
    let data = match chunk.data {
        NewData::Raw(bytes) => packer.pack(bytes),
        packed @ NewData::Zstd { .. } => packed,
    };
    NewChunk { data, ..chunk }
}

struct Pen<'p> {
    fixed: &'p Spans,
    found: &'p Spans,
    fill: u8,
    bytes: u64,
}

impl Pen<'_> {
    fn rewrite(&mut self, data: &PageData, builder: &mut Builder) {
        let mut pages = data.bytes.chunks_exact(PAGE as usize);
        for run in &data.runs {
            match run.kind {
                RunKind::Zero | RunKind::Parent => builder.plain(*run),
                RunKind::Data => {
                    for n in 0..u64::from(run.npages) {
                        let at = address(run, n);
                        let mut page = pages.next().unwrap_or(&ZERO_PAGE).to_vec();
                        let end = at.saturating_add(PAGE);
                        let marks: Vec<_> = self
                            .found
                            .within(at, end)
                            .chain(self.fixed.within(at, end))
                            .map(|(a, b)| (a.saturating_sub(at), b.saturating_sub(at)))
                            .collect();
                        self.fill(&mut page, &marks, 1);
                        builder.stored(at, 1, &page);
                    }
                }
                RunKind::Duplicate => self.copies(data, run, builder),
            }
        }
    }

    /// What was found in some of the copies goes from all; what the user named goes where he named it.
    fn copies(&mut self, data: &PageData, run: &Run, builder: &mut Builder) {
        let end = run.end().unwrap_or(u64::MAX);
        let mut common = Vec::new();
        for (a, b) in self.found.within(run.start, end) {
            let within = a.checked_rem(PAGE).unwrap_or(0);
            let len = b.saturating_sub(a);
            // To the end of its page, and from the beginning of the next.
            let stop = within.saturating_add(len);
            common.push((within, stop.min(PAGE)));
            if stop > PAGE {
                common.push((0, stop.saturating_sub(PAGE).min(PAGE)));
            }
        }
        let mut borders = vec![run.start, end];
        for (a, b) in self.fixed.within(run.start, end) {
            for at in [a, b] {
                let floor = at.saturating_sub(at.checked_rem(PAGE).unwrap_or(0));
                borders.push(floor);
                borders.push(at.checked_next_multiple_of(PAGE).unwrap_or(end));
            }
        }
        borders.sort_unstable();
        borders.dedup();
        for pair in borders.windows(2) {
            let [start, stop] = *pair else { continue };
            let npages = stop.saturating_sub(start).checked_div(PAGE).unwrap_or(0);
            let first_end = start.saturating_add(PAGE);
            let mut page = source(data, run).to_vec();
            let mut marks = common.clone();
            let fixed = self.fixed.within(start, first_end);
            marks.extend(fixed.map(|(a, b)| (a.saturating_sub(start), b.saturating_sub(start))));
            self.fill(&mut page, &marks, npages);
            builder.stored(start, u32::try_from(npages).unwrap_or(u32::MAX), &page);
        }
    }

    fn fill(&mut self, page: &mut [u8], marks: &[(u64, u64)], times: u64) {
        let mut spans = Spans::default();
        marks.iter().for_each(|&(start, end)| spans.add(start, end));
        spans.tidy();
        for (start, end) in spans.iter() {
            let (Ok(start), Ok(end)) = (usize::try_from(start), usize::try_from(end)) else {
                continue;
            };
            if let Some(bytes) = page.get_mut(start..end) {
                bytes.fill(self.fill);
                let n = (bytes.len() as u64).saturating_mul(times);
                self.bytes = self.bytes.saturating_add(n);
            }
        }
    }
}
