// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! The run table of a `PAGE` chunk: which pages the chunk is about, and where their contents are.
//!
//! Source: spec, chapter "Page data".

use crate::{
    error::{ensure, Error, Result},
    limits,
    wire::{is_zero, Put, Take},
};

/// Bytes of the run table, behind the chunk header: together one page.
pub const TABLE_LEN: usize = 4032;
/// Bytes of one entry.
pub const RUN_LEN: usize = 24;

/// Where the contents of the pages of a run are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum RunKind {
    /// Stored in the chunk.
    Data = 0,
    /// Zero, nothing stored.
    Zero = 1,
    /// Each page equals one page that this chunk stores, [`Run::source`]; nothing stored.
    Duplicate = 2,
    /// In the parent image; only in images with feature `PARENT`, which no reader of this release restarts.
    Parent = 3,
}

/// Consecutive pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Address (section `memory`) or byte offset in the object, a multiple of 4096.
    pub start: u64,
    /// Number of pages, from 1.
    pub npages: u32,
    /// Where the contents are.
    pub kind: RunKind,
    /// `Duplicate`: start of the page that all of them equal, in an earlier `Data` run of this chunk; else 0.
    pub source: u64,
}

impl Run {
    /// A run with contents that the chunk stores.
    pub const fn data(start: u64, npages: u32) -> Self {
        Self::of(start, npages, RunKind::Data)
    }
    /// A run of zero pages.
    pub const fn zero(start: u64, npages: u32) -> Self {
        Self::of(start, npages, RunKind::Zero)
    }
    /// A run of a kind that has no source.
    pub const fn of(start: u64, npages: u32, kind: RunKind) -> Self {
        Self {
            start,
            npages,
            kind,
            source: 0,
        }
    }
    /// A run of pages that all equal the page at `source`.
    pub const fn duplicate(start: u64, npages: u32, source: u64) -> Self {
        Self {
            start,
            npages,
            kind: RunKind::Duplicate,
            source,
        }
    }

    /// Address or offset behind the last page.
    ///
    /// # Errors
    /// `PAGE-5` when it does not fit 63 bits.
    pub fn end(&self) -> Result<u64> {
        u64::from(self.npages)
            .checked_mul(limits::PAGE)
            .and_then(|len| self.start.checked_add(len))
            .filter(|&end| end <= i64::MAX as u64)
            .ok_or(Error::rule("PAGE-5"))
    }

    /// Bytes stored for it in the chunk.
    pub fn stored_bytes(&self) -> u64 {
        match self.kind {
            RunKind::Data => u64::from(self.npages).saturating_mul(limits::PAGE),
            RunKind::Zero | RunKind::Duplicate | RunKind::Parent => 0,
        }
    }

    fn check(&self) -> Result<u64> {
        ensure(self.npages > 0 && self.start % limits::PAGE == 0, "PAGE-4")?;
        self.end()
    }
}

/// A run table that has been checked by itself: every run sound, ascending, not overlapping.
#[derive(Clone, Copy, Debug)]
pub struct Runs<'a> {
    table: &'a [u8; TABLE_LEN],
    items: usize,
}

impl<'a> Runs<'a> {
    /// Checks a table of `items` runs.
    ///
    /// # Errors
    /// `OverLimit` for more than 168 runs or 256 stored pages, `PAGE-2` for none or a non-zero rest,
    /// `PAGE-3` for a non-zero spare part, `PAGE-4`, `PAGE-5`, `PAGE-6`, `PAGE-12`; `Unsupported` for an unknown kind.
    pub fn parse(table: &'a [u8; TABLE_LEN], items: u32) -> Result<Self> {
        if items > limits::CHUNK_RUNS {
            return Err(Error::over_limit(items.into(), limits::CHUNK_RUNS.into()));
        }
        ensure(items > 0, "PAGE-2")?;
        // CAST: at most 168.
        let items = items as usize;
        let (used, rest) = table
            .split_at_checked(items.saturating_mul(RUN_LEN))
            .ok_or(Error::rule("PAGE-2"))?;
        ensure(is_zero(rest), "PAGE-2")?;
        let (mut last, mut stored) = (0, 0_u64);
        for entry in used.chunks_exact(RUN_LEN) {
            let run = decode(entry)?;
            let end = run.check()?;
            ensure(run.start >= last, "PAGE-6")?;
            last = end;
            stored = stored.saturating_add(run.stored_bytes());
        }
        if stored > u64::from(limits::CHUNK_PAYLOAD) {
            return Err(Error::over_limit(stored, limits::CHUNK_PAYLOAD.into()));
        }
        let runs = Self { table, items };
        runs.check_sources(used)?;
        Ok(runs)
    }

    /// Every duplicate has its source in an earlier data run. Quadratic in at most 168 runs.
    fn check_sources(&self, used: &[u8]) -> Result {
        for (n, entry) in used.chunks_exact(RUN_LEN).enumerate() {
            let run = decode(entry)?;
            if run.kind != RunKind::Duplicate {
                ensure(run.source == 0, "PAGE-12")?;
                continue;
            }
            ensure(run.source % limits::PAGE == 0, "PAGE-12")?;
            let holds = |r: Run| {
                r.kind == RunKind::Data
                    && r.start <= run.source
                    && r.end().is_ok_and(|end| run.source < end)
            };
            ensure(self.iter().take(n).any(holds), "PAGE-12")?;
        }
        Ok(())
    }

    /// Offset in the decoded page data of the page at `address`, if a data run of this chunk holds it.
    pub fn position(&self, address: u64) -> Option<u64> {
        let mut before = 0_u64;
        for run in self.iter() {
            if run.kind == RunKind::Data && run.start <= address && address < run.end().ok()? {
                return before.checked_add(address.checked_sub(run.start)?);
            }
            before = before.checked_add(run.stored_bytes())?;
        }
        None
    }

    /// The runs, ascending.
    pub fn iter(&self) -> impl Iterator<Item = Run> + Clone + 'a {
        // Every entry decoded when the table was parsed.
        self.table
            .chunks_exact(RUN_LEN)
            .take(self.items)
            .filter_map(|e| decode(e).ok())
    }

    /// Number of runs.
    pub const fn len(&self) -> usize {
        self.items
    }

    /// Never: a table has at least one run.
    pub const fn is_empty(&self) -> bool {
        self.items == 0
    }

    /// Bytes of page data that the chunk stores.
    pub fn stored_bytes(&self) -> u64 {
        self.iter()
            .fold(0, |sum, run| sum.saturating_add(run.stored_bytes()))
    }
}

fn decode(entry: &[u8]) -> Result<Run> {
    let mut take = Take(entry);
    let (start, npages, kind, spare) = (take.u64(), take.u32(), take.u16(), take.u16());
    let source = take.u64();
    ensure(spare == 0, "PAGE-3")?;
    let kind = match kind {
        0 => RunKind::Data,
        1 => RunKind::Zero,
        2 => RunKind::Duplicate,
        3 => RunKind::Parent,
        _ => return Err(Error::unsupported("kind of a run")),
    };
    Ok(Run {
        start,
        npages,
        kind,
        source,
    })
}

/// Writes a run table; the caller has cut the runs so that they fit one chunk.
///
/// # Errors
/// Those of [`Runs::parse`].
pub fn encode(runs: &[Run], out: &mut [u8; TABLE_LEN]) -> Result {
    let items = u32::try_from(runs.len()).unwrap_or(u32::MAX);
    if items > limits::CHUNK_RUNS {
        return Err(Error::over_limit(items.into(), limits::CHUNK_RUNS.into()));
    }
    out.fill(0);
    for (entry, run) in out.chunks_exact_mut(RUN_LEN).zip(runs) {
        Put(entry)
            .u64(run.start)
            .u32(run.npages)
            .u16(run.kind as u16)
            .u16(0)
            .u64(run.source);
    }
    Runs::parse(out, items).map(|_| ())
}
