// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! New chunks for pages that were written: the chunk that holds them is taken apart and put together again,
//! stored as it was, raw or compressed. All other chunks are not touched.

use super::draft::{PAGE, PAGE_LEN};
use crate::{
    error::Failure,
    file::{ImageFile, PageData, ZERO_PAGE},
    memory::Memory,
    repack::codec::{Packer, DEFAULT_LEVEL},
    rewrite::{NewChunk, NewData, PageAction},
};
use cr_format::{
    chunk::CODEC_ZSTD,
    index::IndexEntry,
    limits,
    runs::{Run, RunKind},
    MEMORY,
};
use std::{cell::RefCell, collections::BTreeMap};

/// Pages by where they are stored.
pub type Pages = BTreeMap<u64, Box<[u8; PAGE_LEN]>>;

/// Decides about one chunk after the other: those with pages of `pages` are made anew.
pub struct Writer<'f> {
    file: &'f ImageFile,
    owner: u32,
    areas: Vec<(u64, u64)>,
    /// First address of each chunk of memory.
    keys: Vec<u64>,
    pages: Pages,
    packer: RefCell<Option<Packer>>,
}

impl<'f> Writer<'f> {
    /// Of `file`, with these pages.
    pub fn new(memory: &Memory<'f>, pages: Pages) -> Self {
        Self {
            file: memory.image(),
            owner: memory.owner(),
            areas: memory.areas().iter().map(|a| (a.start, a.end)).collect(),
            keys: memory.chunks().iter().map(|c| c.key).collect(),
            pages,
            packer: RefCell::default(),
        }
    }

    /// Are there chunks that pages can be put into?
    pub fn has_room(&self) -> bool {
        !self.keys.is_empty()
    }

    /// What becomes of a chunk.
    ///
    /// # Errors
    /// Those of reading it.
    pub fn decide(&self, entry: &IndexEntry) -> Result<PageAction, Failure> {
        if entry.section != MEMORY || entry.owner != self.owner {
            return Ok(PageAction::Keep);
        }
        // A page between two chunks goes to the first of them, one before all to the first of all.
        let first = self.keys.first() == Some(&entry.key);
        let from = if first { 0 } else { entry.key };
        let next = self.keys.partition_point(|k| *k <= entry.key);
        let to = self.keys.get(next).copied().unwrap_or(u64::MAX);
        let mut new = self.pages.range(from..to).peekable();
        if new.peek().is_none() {
            return Ok(PageAction::Keep);
        }
        let data = self.file.page_data(entry)?;
        let mut packer = self.packer.borrow_mut();
        let packer = (entry.codec == CODEC_ZSTD)
            .then(|| packer.get_or_insert_with(|| Packer::new(DEFAULT_LEVEL)));
        let new: Vec<(u64, &[u8; PAGE_LEN])> = new.map(|(at, page)| (*at, &**page)).collect();
        let mut chunks = Chunks::new(&data, &self.areas);
        chunks.merge(&new);
        Ok(PageAction::Replace(chunks.finish(entry, packer)))
    }
}

/// Puts runs into chunks.
struct Chunks<'d> {
    old: &'d PageData,
    areas: &'d [(u64, u64)],
    runs: Vec<Run>,
    bytes: Vec<u8>,
    /// Pages of the old chunk that the present new one stores: their place there, and their address here.
    stored: BTreeMap<usize, u64>,
    done: Vec<(Vec<Run>, Vec<u8>)>,
}

impl<'d> Chunks<'d> {
    fn new(old: &'d PageData, areas: &'d [(u64, u64)]) -> Self {
        Self {
            old,
            areas,
            runs: Vec::new(),
            bytes: Vec::new(),
            stored: BTreeMap::new(),
            done: Vec::new(),
        }
    }

    fn merge(&mut self, new: &[(u64, &[u8; PAGE_LEN])]) {
        let mut new = new.iter().copied().peekable();
        let mut position = 0_usize;
        for run in &self.old.runs {
            let end = run.end().unwrap_or(u64::MAX);
            let mut at = run.start;
            while let Some((address, page)) = new.next_if(|n| n.0 < end) {
                // A page before the run, then one within.
                if address >= at {
                    self.part(run, at, address, position);
                    at = address.saturating_add(PAGE);
                }
                self.page(address, page, None);
            }
            self.part(run, at, end, position);
            position = position.saturating_add(usize::try_from(run.stored_bytes()).unwrap_or(0));
        }
        for (address, page) in new {
            self.page(address, page, None);
        }
    }

    /// Pages `from..to` of an old run, whose contents begin at `position`.
    fn part(&mut self, run: &Run, from: u64, to: u64, position: usize) {
        if from >= to {
            return;
        }
        let npages = u32::try_from(to.saturating_sub(from) / PAGE).unwrap_or(u32::MAX);
        match run.kind {
            RunKind::Data => {
                let mut at = from;
                while at < to {
                    let within = usize::try_from(at.saturating_sub(run.start)).unwrap_or(0);
                    let place = position.saturating_add(within);
                    let old = self.old;
                    self.page(at, page_at(old, place), Some(place));
                    at = at.saturating_add(PAGE);
                }
            }
            RunKind::Zero | RunKind::Parent => self.run(Run::of(from, npages, run.kind)),
            RunKind::Duplicate => {
                let Some(place) = place_of(self.old, run.source) else {
                    return;
                };
                if !self.has_run() {
                    self.flush();
                }
                if let Some(source) = self.stored.get(&place) {
                    let source = *source;
                    self.run(Run::duplicate(from, npages, source));
                    return;
                }
                // Its source is elsewhere now: the first page stands for it.
                let old = self.old;
                self.page(from, page_at(old, place), Some(place));
                if npages > 1 {
                    self.part(run, from.saturating_add(PAGE), to, position);
                }
            }
        }
    }

    fn has_run(&self) -> bool {
        self.runs.len() < limits::CHUNK_RUNS as usize
    }

    fn run(&mut self, run: Run) {
        if !self.has_run() {
            self.flush();
        }
        self.runs.push(run);
    }

    fn same_area(&self, a: u64, b: u64) -> bool {
        let of = |x: u64| self.areas.partition_point(|area| area.0 <= x);
        of(a) == of(b)
    }

    fn page(&mut self, address: u64, page: &[u8], place: Option<usize>) {
        if self.bytes.len().saturating_add(PAGE_LEN) > limits::CHUNK_PAYLOAD as usize {
            self.flush();
        }
        let joins = self.runs.last().is_some_and(|r| {
            r.kind == RunKind::Data
                && r.end().is_ok_and(|e| e == address)
                && self.same_area(r.start, address)
        });
        if !joins {
            self.run(Run::data(address, 0));
        }
        if let Some(last) = self.runs.last_mut() {
            last.npages = last.npages.saturating_add(1);
        }
        if let Some(place) = place {
            self.stored.entry(place).or_insert(address);
        }
        self.bytes.extend_from_slice(page);
    }

    fn flush(&mut self) {
        if !self.runs.is_empty() {
            self.done.push((
                std::mem::take(&mut self.runs),
                std::mem::take(&mut self.bytes),
            ));
        }
        self.stored.clear();
    }

    fn finish(mut self, entry: &IndexEntry, mut packer: Option<&mut Packer>) -> Vec<NewChunk> {
        self.flush();
        let chunk = |(runs, bytes): (Vec<Run>, Vec<u8>)| NewChunk {
            section: entry.section,
            owner: entry.owner,
            critical: true,
            runs,
            data: match &mut packer {
                Some(packer) => packer.pack(bytes),
                None => NewData::Raw(bytes),
            },
        };
        self.done.into_iter().map(chunk).collect()
    }
}

fn page_at(data: &PageData, place: usize) -> &[u8] {
    data.bytes
        .get(place..place.saturating_add(PAGE_LEN))
        .unwrap_or(&ZERO_PAGE)
}

/// Where the page at `address` is in the bytes of the chunk.
fn place_of(data: &PageData, address: u64) -> Option<usize> {
    let mut before = 0_u64;
    for run in &data.runs {
        if run.kind == RunKind::Data && run.start <= address && address < run.end().ok()? {
            return usize::try_from(before.checked_add(address.checked_sub(run.start)?)?).ok();
        }
        before = before.checked_add(run.stored_bytes())?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: u64 = 0x10000;

    fn fill(n: usize) -> impl Iterator<Item = u8> {
        std::iter::repeat_n(n as u8, PAGE_LEN)
    }

    /// Contents by page, `None` for zero.
    fn contents(runs: &[Run], bytes: &[u8]) -> BTreeMap<u64, Option<u8>> {
        let data = PageData {
            runs: runs.to_vec(),
            bytes: bytes.to_vec(),
        };
        let mut out = BTreeMap::new();
        data.for_each(|at, page| {
            let value = match page {
                crate::file::Page::Data(b) => Some(b[0]),
                _ => None,
            };
            assert!(out.insert(at, value).is_none());
        });
        out
    }

    fn check(runs: Vec<Run>, new: &[u64]) -> Vec<(Vec<Run>, Vec<u8>)> {
        let n: usize = runs
            .iter()
            .map(|r| r.stored_bytes() as usize / PAGE_LEN)
            .sum();
        let old = PageData {
            runs,
            bytes: (1..=n).flat_map(fill).collect(),
        };
        let page = Box::new([0xee; PAGE_LEN]);
        let new: Vec<(u64, &[u8; PAGE_LEN])> = new.iter().map(|at| (*at, &*page)).collect();
        let mut want = contents(&old.runs, &old.bytes);
        want.extend(new.iter().map(|(at, _)| (*at, Some(0xee))));
        let areas = [(A, A + 0x20000), (A + 0x20000, A + (1 << 40))];
        let mut chunks = Chunks::new(&old, &areas);
        chunks.merge(&new);
        chunks.flush();
        let mut got = BTreeMap::new();
        for (runs, bytes) in &chunks.done {
            let mut table = [0; cr_format::runs::TABLE_LEN];
            cr_format::runs::encode(runs, &mut table).unwrap();
            assert_eq!(
                bytes.len() as u64,
                runs.iter().map(Run::stored_bytes).sum::<u64>()
            );
            for r in runs {
                assert!(r.end().unwrap() <= A + 0x20000 || r.start >= A + 0x20000);
            }
            got.extend(contents(runs, bytes));
        }
        assert_eq!(got, want);
        chunks.done
    }

    #[test]
    fn runs_are_split_where_a_page_is_new() {
        check(vec![Run::data(A, 4)], &[A + 0x1000]);
        check(vec![Run::zero(A, 4)], &[A + 0x1000, A + 0x3000]);
        let two = check(
            vec![Run::data(A, 2), Run::data(A + 0x5000, 1)],
            &[A + 0x2000, A + 0x4000, A + 0x9000],
        );
        assert_eq!(
            two[0].0,
            [
                Run::data(A, 3),
                Run::data(A + 0x4000, 2),
                Run::data(A + 0x9000, 1)
            ]
        );
        // Before the first run, and across the border of an area.
        check(vec![Run::data(A + 0x1000, 1)], &[A]);
        check(
            vec![Run::data(A + 0x1f000, 1), Run::data(A + 0x20000, 1)],
            &[A + 0x20000, A + 0x21000],
        );
        check(vec![Run::zero(A, 1)], &[A]);
    }

    #[test]
    fn duplicates_of_a_page_that_changes_keep_their_contents() {
        check(
            vec![Run::data(A, 2), Run::duplicate(A + 0x2000, 5, A)],
            &[A],
        );
        check(
            vec![Run::data(A, 2), Run::duplicate(A + 0x2000, 5, A)],
            &[A, A + 0x4000],
        );
        check(
            vec![
                Run::data(A, 1),
                Run::duplicate(A + 0x1000, 1, A),
                Run::duplicate(A + 0x2000, 1, A),
            ],
            &[A, A + 0x1000],
        );
        check(
            vec![Run::data(A, 1), Run::duplicate(A + 0x1000, 3, A)],
            &[A + 0x2000],
        );
    }

    #[test]
    fn a_full_chunk_becomes_two() {
        let two = check(
            vec![
                Run::data(A + 0x20000, 256),
                Run::duplicate(A + 0x200_0000, 9, A + 0x20000),
            ],
            &[A + 0x1000],
        );
        assert_eq!(two.len(), 2);
        let runs: Vec<Run> = (0..168)
            .map(|n| Run::data(A + 0x20000 + n * 0x2000, 1))
            .collect();
        check(runs, &[A + 0x1000]);
        let runs: Vec<Run> = (0..168)
            .map(|n| Run::zero(A + 0x20000 + n * 0x10000, 9))
            .collect();
        check(runs, &[A + 0x24000, A + 0x28000]);
        let mut runs = vec![Run::data(A, 1)];
        runs.extend((0..167).map(|n| Run::duplicate(A + 0x20000 + n * 0x10000, 9, A)));
        check(runs, &[A, A + 0x24000, A + 0x20000 + 166 * 0x10000]);
    }
}
