// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Cuts the selected memory into jobs, one per chunk of the image, and loads their bytes.
//!
//! A job's memory is a list of segments: bytes that are next to each other in the address space *and* in the
//! buffer, or zeros that exist nowhere. What cannot be had (files, guards) is a gap between segments.

use super::{engine::Engine, select::Part};
use crate::{
    error::Failure,
    file::{ImageFile, PageData},
    input::Got,
    load::crc,
    memory::{Area, Content, Memory},
};
use cr_format::{
    chunk::CODEC_RAW,
    index::IndexEntry,
    limits::PAGE,
    records_of,
    runs::{Run, RunKind},
    validate::MetaSet,
    writer::PAGE_HEAD_LEN,
    Error, ErrorKind, GuardRecord, MEMORY, VMA_ANON, VMA_FILE, VMA_SHARED_ANON,
};
use std::sync::{Mutex, PoisonError};

/// Bytes of a job that is not a chunk.
const READ: u64 = 1 << 20;
/// Bytes that are read and checked at a time.
const SLICE: usize = 128 << 10;
/// Bytes that are kept on each side of a border between segments.
pub const SIDE: usize = PAGE as usize;
/// Most parts of one job that has no chunk.
const GROUP: usize = 1024;

/// Where the bytes of a job come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// From this chunk of [`Memory::chunks`].
    Chunk(usize),
    /// No chunk names them.
    Nothing,
    /// From [`Memory::read`]: mapped files, other views of shared memory.
    Memory,
}

#[derive(Clone, Copy, Debug)]
struct Piece {
    start: u64,
    end: u64,
    source: Source,
    /// Of pages that the chunk does not name.
    rest: Content,
}

/// A stretch of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// First address.
    pub start: u64,
    /// Bytes.
    pub len: u64,
    /// Where they begin in the buffer; `None`: they are zeros.
    pub at: Option<usize>,
    /// May memory that is searched end where it begins? If not, nothing is before it.
    pub joined: bool,
}

/// The memory of one job.
#[derive(Default)]
pub struct Loaded {
    /// Ascending.
    pub segments: Vec<Segment>,
    /// What the segments point into.
    pub bytes: Vec<u8>,
    /// Bytes that are in mapped files or a parent image.
    pub elsewhere: u64,
    /// No segment has a match in itself, and only its ends are here: see [`Pieces::load`].
    pub ends: bool,
}

impl Loaded {
    /// The bytes of a segment, or the first and the last [`SIDE`] of them; `None` for zeros.
    pub fn hay(&self, segment: &Segment) -> Option<&[u8]> {
        let at = segment.at?;
        // CAST: a segment with bytes is at most 1 MiB.
        let mut len = segment.len as usize;
        if self.ends {
            len = len.min(2 * SIDE);
        }
        self.bytes.get(at..at.saturating_add(len))
    }

    fn push(&mut self, start: u64, end: u64, at: Option<usize>, joined: bool) {
        if start >= end {
            return;
        }
        let len = end.saturating_sub(start);
        if let Some(last) = self.segments.last_mut() {
            if last.start.saturating_add(last.len) == start {
                let goes_on = match (last.at, at) {
                    (None, None) => true,
                    (Some(a), Some(b)) => a.saturating_add(last.len as usize) == b,
                    _ => false,
                };
                if goes_on {
                    last.len = last.len.saturating_add(len);
                    return;
                }
            }
        }
        let joined = match self.segments.last() {
            Some(last) => last.start.saturating_add(last.len) == start,
            None => joined,
        };
        self.segments.push(Segment {
            start,
            len,
            at,
            joined,
        });
    }
}

/// The jobs of a search.
pub struct Pieces<'m, 'f> {
    memory: &'m Memory<'f>,
    pieces: Vec<Piece>,
    /// Ranges of `pieces`.
    jobs: Vec<(usize, usize)>,
    stored_only: bool,
    check: bool,
    pool: Mutex<Vec<Vec<u8>>>,
}

impl<'m, 'f> Pieces<'m, 'f> {
    /// Cuts `parts`. With `files`, mapped files are read; without `check`, checksums of raw page data are not
    /// computed.
    ///
    /// # Errors
    /// [`Failure::Read`], [`Failure::Defect`] of run tables.
    pub fn new(
        memory: &'m Memory<'f>,
        parts: &[Part],
        stored_only: bool,
        files: bool,
        check: bool,
    ) -> Result<Self, Failure> {
        let mut this = Self {
            check,
            memory,
            pieces: Vec::new(),
            jobs: Vec::new(),
            stored_only,
            pool: Mutex::default(),
        };
        let section = memory.image().image.sections.section(MEMORY);
        let guards: Vec<(u64, u64)> = records_of::<GuardRecord>(section)
            .map_while(Result::ok)
            .map(|g| (g.start, g.end))
            .collect();
        for part in parts {
            let Some(area) = memory.area_at(part.start) else {
                continue;
            };
            let mut at = part.start;
            let first = guards.partition_point(|g| g.1 <= at);
            for guard in guards.get(first..).unwrap_or(&[]) {
                if guard.0 >= part.end {
                    break;
                }
                this.cut(area, at, guard.0, files)?;
                at = at.max(guard.1);
            }
            this.cut(area, at, part.end, files)?;
        }
        this.group();
        Ok(this)
    }

    fn cut(&mut self, area: &Area, start: u64, end: u64, files: bool) -> Result<(), Failure> {
        if start >= end {
            return Ok(());
        }
        let rest = match area.kind {
            VMA_ANON => Content::Zero,
            VMA_FILE if !files && area.owner.is_none() => Content::File,
            VMA_FILE | VMA_SHARED_ANON => return self.cut_spans(start, end),
            _ => Content::Absent,
        };
        let chunks = self.memory.chunks();
        let mut next = chunks.partition_point(|c| c.key <= start);
        let mut at = start;
        while at < end {
            let stop = chunks.get(next).map_or(end, |c| c.key.min(end));
            let source = next.checked_sub(1).map_or(Source::Nothing, Source::Chunk);
            self.pieces.push(Piece {
                start: at,
                end: stop,
                source,
                rest,
            });
            at = stop;
            next = next.saturating_add(1);
        }
        Ok(())
    }

    fn cut_spans(&mut self, start: u64, end: u64) -> Result<(), Failure> {
        for span in self.memory.spans(start, end)? {
            let read = matches!(
                span.content,
                Content::Stored | Content::Object | Content::File
            );
            let most = if read { READ } else { u64::MAX };
            let mut at = span.start;
            while at < span.end {
                let stop = span.end.min(at.saturating_add(most));
                let source = if read {
                    Source::Memory
                } else {
                    Source::Nothing
                };
                self.pieces.push(Piece {
                    start: at,
                    end: stop,
                    source,
                    rest: span.content,
                });
                at = stop;
            }
        }
        Ok(())
    }

    /// One job per chunk, however many pieces need it.
    fn group(&mut self) {
        for (n, piece) in self.pieces.iter().enumerate() {
            let before = self.jobs.last().and_then(|(from, _)| {
                let first = self.pieces.get(*from)?;
                let few = n.saturating_sub(*from) < GROUP || piece.source != Source::Nothing;
                (first.source == piece.source && piece.source != Source::Memory && few)
                    .then_some(())
            });
            match (before, self.jobs.last_mut()) {
                (Some(()), Some(last)) => last.1 = n.saturating_add(1),
                _ => self.jobs.push((n, n.saturating_add(1))),
            }
        }
    }

    /// Number of jobs.
    pub fn jobs(&self) -> usize {
        self.jobs.len()
    }

    /// Bytes of address space that is looked at.
    pub fn total(&self) -> u64 {
        self.pieces.iter().fold(0, |sum, p| {
            sum.saturating_add(p.end.saturating_sub(p.start))
        })
    }

    /// Loads the memory of a job; at most 1 MiB of bytes. If there is an `engine` that finds nothing in all that was read,
    /// only the ends of the segments are given: what is not kept needs no room in the processor's cache.
    ///
    /// # Errors
    /// [`Failure::Read`], [`Failure::Defect`].
    pub fn load(&self, job: usize, engine: Option<&dyn Engine>) -> Result<Loaded, Failure> {
        let (from, to) = self.jobs.get(job).copied().unwrap_or((0, 0));
        let pieces = self.pieces.get(from..to).unwrap_or(&[]);
        let before = from
            .checked_sub(1)
            .and_then(|n| self.pieces.get(n))
            .map(|p| p.end);
        let mut loaded = Loaded::default();
        let Some(first) = pieces.first() else {
            return Ok(loaded);
        };
        let joined = before == Some(first.start);
        match first.source {
            Source::Chunk(n) => {
                let (data, absent) = self.chunk(n, pieces, engine)?;
                let positions = positions(&data.runs);
                for piece in pieces {
                    let joined = joined && piece.start == first.start;
                    self.chunk_piece(piece, &data.runs, &positions, joined, &mut loaded);
                }
                loaded.bytes = data.bytes;
                if absent {
                    self.keep_ends(&mut loaded);
                }
            }
            Source::Nothing => {
                for piece in pieces {
                    let joined = joined && piece.start == first.start;
                    self.rest(piece, piece.start, piece.end, joined, &mut loaded);
                }
            }
            Source::Memory => self.read(first, joined, &mut loaded)?,
        }
        Ok(loaded)
    }

    /// Takes the buffer of a job back.
    pub fn recycle(&self, loaded: Loaded) {
        if !loaded.ends {
            self.put_back(loaded.bytes);
        }
    }

    fn put_back(&self, bytes: Vec<u8>) {
        if bytes.capacity() > 0 {
            let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
            pool.push(bytes);
        }
    }

    /// Keeps the ends of the segments: matches may reach over them. The buffer is free for the next job.
    fn keep_ends(&self, loaded: &mut Loaded) {
        let mut kept = Vec::new();
        for segment in &mut loaded.segments {
            let Some(at) = segment.at else { continue };
            // CAST: a segment with bytes is at most 1 MiB.
            let end = at.saturating_add(segment.len as usize);
            let hay = loaded.bytes.get(at..end).unwrap_or(&[]);
            segment.at = Some(kept.len());
            match hay.len().checked_sub(2 * SIDE) {
                None | Some(0) => kept.extend_from_slice(hay),
                Some(between) => {
                    let behind = SIDE.saturating_add(between);
                    kept.extend_from_slice(hay.get(..SIDE).unwrap_or(hay));
                    kept.extend_from_slice(hay.get(behind..).unwrap_or(&[]));
                }
            }
        }
        loaded.ends = true;
        self.put_back(std::mem::replace(&mut loaded.bytes, kept));
    }

    fn buffer(&self) -> Vec<u8> {
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        pool.pop().unwrap_or_default()
    }

    /// The page data of a chunk, and whether `engine` finds nothing in it.
    fn chunk(
        &self,
        n: usize,
        pieces: &[Piece],
        engine: Option<&dyn Engine>,
    ) -> Result<(PageData, bool), Failure> {
        let file: &ImageFile = self.memory.image();
        let empty = PageData {
            runs: Vec::new(),
            bytes: Vec::new(),
        };
        let Some(entry) = self.memory.chunks().get(n) else {
            return Ok((empty, false));
        };
        if pieces.first().is_some_and(|p| p.start != entry.key) {
            // A part of the chunk, perhaps nothing of it: look before reading everything.
            let (_, runs) = file.runs(entry)?;
            let needs = |run: &Run| {
                let end = run.end().unwrap_or(u64::MAX);
                matches!(run.kind, RunKind::Data | RunKind::Duplicate)
                    && pieces.iter().any(|p| run.start < p.end && p.start < end)
            };
            if !runs.iter().any(needs) {
                let bytes = Vec::new();
                return Ok((PageData { runs, bytes }, false));
            }
        }
        if entry.codec != CODEC_RAW {
            return Ok((file.page_data(entry)?, false));
        }
        self.raw(file, entry, engine)
    }

    /// Page data that is stored as it is. Like [`ImageFile::page_data`], but the checksum of each slice is
    /// taken while it is in the cache of the processor.
    fn raw(
        &self,
        file: &ImageFile,
        entry: &IndexEntry,
        engine: Option<&dyn Engine>,
    ) -> Result<(PageData, bool), Failure> {
        let (header, runs) = file.runs(entry)?;
        let begin = entry.offset.saturating_add(PAGE_HEAD_LEN as u64);
        let mut bytes = self.buffer();
        // At most 1 MiB: the header has been checked.
        bytes.resize(header.stored_len as usize, 0);
        let (mut from, mut computed, mut absent) = (0_usize, 0, engine.is_some());
        while from < bytes.len() {
            let to = from.saturating_add(SLICE).min(bytes.len());
            let at = begin.saturating_add(from as u64);
            let slice = bytes.get_mut(from..to).unwrap_or(&mut []);
            if let Got::Short(have) = file.read_at(at, slice)? {
                let e = Error::truncated(slice.len() as u64, have as u64);
                return Err(file.defect(e, at));
            }
            if self.check {
                computed = crc(computed, slice);
            }
            if let (true, Some(engine)) = (absent, engine) {
                // What begins in the slice before may end in this one.
                let overlap = engine.longest().saturating_sub(1);
                let seen = bytes.get(from.saturating_sub(overlap)..to);
                absent = engine.absent(seen.unwrap_or(&[]));
            }
            from = to;
        }
        let stored = header.payload_crc;
        if self.check && computed != stored {
            let kind = ErrorKind::BadChecksum { stored, computed };
            return Err(file.defect(Error::at(kind, 0), begin));
        }
        Ok((PageData { runs, bytes }, absent))
    }

    fn chunk_piece(
        &self,
        piece: &Piece,
        runs: &[Run],
        positions: &[usize],
        joined: bool,
        to: &mut Loaded,
    ) {
        let mut at = piece.start;
        let is_joined = |start: u64| joined && start == piece.start;
        for (run, position) in runs.iter().zip(positions) {
            let run_end = run.end().unwrap_or(u64::MAX);
            if run_end <= at {
                continue;
            }
            if run.start >= piece.end {
                break;
            }
            let (start, end) = (run.start.max(at), run_end.min(piece.end));
            self.rest(piece, at, start, is_joined(at), to);
            // CAST: within a chunk of at most 1 MiB, for runs of data.
            let within = start.saturating_sub(run.start) as usize;
            match run.kind {
                RunKind::Data => {
                    to.push(
                        start,
                        end,
                        Some(position.saturating_add(within)),
                        is_joined(start),
                    );
                }
                RunKind::Zero => self.zeros(start, end, is_joined(start), to),
                RunKind::Duplicate => {
                    let mut from = start;
                    while from < end {
                        let skip = from % PAGE;
                        let stop = from.saturating_sub(skip).saturating_add(PAGE).min(end);
                        to.push(
                            from,
                            stop,
                            Some(position.saturating_add(skip as usize)),
                            is_joined(from),
                        );
                        from = stop;
                    }
                }
                RunKind::Parent => {
                    to.elsewhere = to.elsewhere.saturating_add(end.saturating_sub(start))
                }
            }
            at = end;
        }
        self.rest(piece, at, piece.end, is_joined(at), to);
    }

    fn zeros(&self, start: u64, end: u64, joined: bool, to: &mut Loaded) {
        if !self.stored_only {
            to.push(start, end, None, joined);
        }
    }

    fn rest(&self, piece: &Piece, start: u64, end: u64, joined: bool, to: &mut Loaded) {
        match piece.rest {
            Content::Zero => self.zeros(start, end, joined, to),
            Content::File | Content::Parent => {
                to.elsewhere = to.elsewhere.saturating_add(end.saturating_sub(start));
            }
            Content::Stored | Content::Object | Content::Absent => {}
        }
    }

    fn read(&self, piece: &Piece, joined: bool, to: &mut Loaded) -> Result<(), Failure> {
        let mut bytes = self.buffer();
        // CAST: at most 1 MiB.
        let len = piece.end.saturating_sub(piece.start) as usize;
        bytes.resize(len, 0);
        let mut at = 0_usize;
        while at < len {
            let start = piece.start.saturating_add(at as u64);
            let n = self
                .memory
                .read(start, bytes.get_mut(at..).unwrap_or(&mut []))?;
            to.push(
                start,
                start.saturating_add(n as u64),
                Some(at),
                joined && at == 0,
            );
            // What cannot be read is passed over page by page.
            let stop = start
                .saturating_add(n as u64)
                .saturating_add(1)
                .next_multiple_of(PAGE);
            let skipped = stop.saturating_sub(piece.start).min(len as u64) as usize;
            let missing = skipped.saturating_sub(at).saturating_sub(n);
            if n < len.saturating_sub(at) {
                to.elsewhere = to.elsewhere.saturating_add(missing as u64);
                at = skipped;
            } else {
                break;
            }
        }
        to.bytes = bytes;
        Ok(())
    }
}

/// For each run where its bytes are: those of a data run, or of the page that a duplicate equals.
fn positions(runs: &[Run]) -> Vec<usize> {
    let mut before = 0_u64;
    let mut data: Vec<(u64, u64, u64)> = Vec::new();
    let mut positions = Vec::with_capacity(runs.len());
    for run in runs {
        let at = match run.kind {
            RunKind::Data => {
                data.push((run.start, run.end().unwrap_or(u64::MAX), before));
                before
            }
            // A checked table has the source.
            RunKind::Duplicate => data
                .iter()
                .find(|(start, end, _)| (*start..*end).contains(&run.source))
                .map_or(0, |(start, _, at)| {
                    at.saturating_add(run.source.saturating_sub(*start))
                }),
            RunKind::Zero | RunKind::Parent => 0,
        };
        // CAST: within a chunk of at most 1 MiB.
        positions.push(at as usize);
        before = before.saturating_add(run.stored_bytes());
    }
    positions
}
