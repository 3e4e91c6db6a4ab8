// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! The same image with its page data stored in another way.
//!
//! ```text
//! read and decode (threads) → pack: zero, equal, neighbours (one thread) → compress (threads) → write
//! ```
//!
//! A few MiB per thread are in memory, whatever the size of the image. What a process would find in its
//! memory is the same before and after; [`Options::no_pages`] is the exception, and marks the image.

pub mod codec;
pub mod ordered;
pub mod pack;

use crate::{
    error::Failure,
    file::{ImageFile, PageData},
    rewrite::{NewChunk, NewData, PageAction, Rewrite, Target, Written},
};
use codec::Packer;
use cr_format::{
    chunk::{CODEC_RAW, CODEC_ZSTD},
    index::IndexEntry,
    runs::{Run, RunKind},
    sections,
    superblock::{NOT_RESTARTABLE, ZSTD},
};
use ordered::{ordered, Ordered};
use pack::{Areas, Builder, Shrink};
use std::{cell::RefCell, collections::VecDeque};

/// How page data is to be stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Codec {
    /// As it was; what has to be made anew is compressed if it was.
    #[default]
    Keep,
    /// Raw.
    Raw,
    /// Compressed at this level, 1 to 19, where that saves a block.
    Zstd(i32),
}

/// What is to be done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// How page data is stored.
    pub codec: Codec,
    /// Which pages are stored.
    pub shrink: Shrink,
    /// Leave all page data out.
    pub no_pages: bool,
    /// Threads that read and threads that compress; 0: as many as the machine has.
    pub threads: usize,
}

impl Options {
    /// Is the result the image itself?
    pub fn is_identity(&self) -> bool {
        self.codec == Codec::Keep && self.shrink == Shrink::default() && !self.no_pages
    }

    /// For people and section `provenance`.
    pub fn describe(&self) -> String {
        let codec = match self.codec {
            Codec::Keep => None,
            Codec::Raw => Some("decompressed".to_owned()),
            Codec::Zstd(level) => Some(format!("zstd level {level}")),
        };
        let word = |on: bool, text: &str| on.then(|| text.to_owned());
        [
            codec,
            word(self.shrink.strip_zero, "zero pages not stored"),
            word(self.shrink.dedup, "equal pages stored once"),
            word(self.no_pages, "page data left out"),
        ]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(", ")
    }
}

/// Pages and chunks of an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Bytes of the file.
    pub bytes: u64,
    /// Chunks with page data or run tables.
    pub chunks: u64,
    /// Those of them that are compressed.
    pub compressed: u64,
    /// Stored pages.
    pub stored: u64,
    /// Pages that equal a stored one.
    pub duplicate: u64,
    /// Zero pages.
    pub zero: u64,
}

impl Census {
    fn count(&mut self, compressed: bool, runs: &[Run]) {
        self.chunks = self.chunks.saturating_add(1);
        self.compressed = self.compressed.saturating_add(compressed.into());
        for run in runs {
            let n = match run.kind {
                RunKind::Data => &mut self.stored,
                RunKind::Duplicate => &mut self.duplicate,
                RunKind::Zero => &mut self.zero,
                RunKind::Parent => continue,
            };
            *n = n.saturating_add(run.npages.into());
        }
    }
}

/// What was done.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// The old image.
    pub before: Census,
    /// The new image.
    pub after: Census,
    /// What was written.
    pub written: Written,
}

/// Writes the image anew.
///
/// # Errors
/// Everything that reading, the rules and writing have; the target is untouched then.
pub fn repack(
    file: &ImageFile,
    options: &Options,
    target: Target,
    progress: bool,
) -> Result<Report, Failure> {
    let counts = RefCell::new((Census::default(), Census::default()));
    if options.is_identity() {
        // Before anything is written: a run table may be damaged.
        let (before, after) = &mut *counts.borrow_mut();
        for entry in file.page_chunks() {
            let (header, runs) = file.runs(entry)?;
            before.count(header.codec == CODEC_ZSTD, &runs);
        }
        *after = *before;
    }
    let written = std::thread::scope(|scope| {
        let mut plan = Rewrite::new(file)?;
        let compressed = file.page_chunks().any(|e| e.codec == CODEC_ZSTD);
        let announce = match options.codec {
            _ if options.no_pages => false,
            Codec::Keep => compressed,
            Codec::Raw => false,
            Codec::Zstd(level) => compresses(file, level, options.shrink)?,
        };
        let features = &mut plan.superblock().feature_incompat;
        *features = if announce {
            *features | ZSTD
        } else {
            *features & !ZSTD
        };
        if options.no_pages {
            plan.superblock().flags |= NOT_RESTARTABLE;
        }
        if options.is_identity() {
            // Not even looked at, and the counts of section `stats` stay as they are.
            plan.keep_uuid();
            return plan.run(target, progress);
        }
        plan.edit("repack", &options.describe());
        let mut next = steps(scope, file, options, &plan);
        let counts = &counts;
        plan.pages(move |entry| {
            let (header, runs) = file.runs(entry)?;
            let mut counts = counts.borrow_mut();
            let (before, after) = &mut *counts;
            before.count(header.codec == CODEC_ZSTD, &runs);
            let action = next(entry)?;
            match &action {
                PageAction::Keep => after.count(header.codec == CODEC_ZSTD, &runs),
                PageAction::Drop => {}
                PageAction::Replace(new) => {
                    for chunk in new {
                        let packed = matches!(chunk.data, NewData::Zstd { .. });
                        after.count(packed, &chunk.runs);
                    }
                }
            }
            Ok(action)
        });
        plan.run(target, progress)
    })?;
    let (mut before, mut after) = *counts.borrow();
    (before.bytes, after.bytes) = (file.len(), written.bytes);
    Ok(Report {
        before,
        after,
        written,
    })
}

type Next<'n> = Box<dyn FnMut(&IndexEntry) -> Result<PageAction, Failure> + 'n>;

/// What becomes of each chunk, in order.
fn steps<'scope>(
    scope: &'scope std::thread::Scope<'scope, '_>,
    file: &'scope ImageFile,
    options: &Options,
    plan: &Rewrite<'_>,
) -> Next<'scope> {
    if options.no_pages {
        return Box::new(|_| Ok(PageAction::Drop));
    }
    let threads = threads(options.threads);
    let entries: Vec<IndexEntry> = file.page_chunks().copied().collect();
    let codec = options.codec;
    if options.shrink == Shrink::default() {
        let mut done = ordered(scope, threads, entries, || {
            let mut packer = packer(codec);
            move |entry| transcode(file, &entry, codec, &mut packer)
        });
        return Box::new(move |_| done.next().unwrap_or(Ok(PageAction::Keep)));
    }
    let areas = Areas::new(plan);
    let last = entries.len();
    let read = ordered(scope, threads, entries, || move |entry| read(file, entry));
    let packing = Packing {
        read,
        left: last,
        builder: Builder::new(options.shrink, areas),
        codec,
        was_compressed: false,
        steps: VecDeque::new(),
    };
    let mut done = ordered(scope, threads, packing, || {
        let mut packer = packer(codec);
        move |step| match step {
            Ok(Step::Chunk(mut chunk, true)) => {
                if let NewData::Raw(bytes) = chunk.data {
                    chunk.data = packer.pack(bytes);
                }
                Ok(Step::Chunk(chunk, true))
            }
            step => step,
        }
    });
    Box::new(move |_| {
        let mut new = Vec::new();
        loop {
            match done.next() {
                Some(Ok(Step::Chunk(chunk, _))) => new.push(chunk),
                Some(Ok(Step::EntryDone)) | None => return Ok(PageAction::Replace(new)),
                Some(Err(e)) => return Err(e),
            }
        }
    })
}

fn packer(codec: Codec) -> Packer {
    Packer::new(match codec {
        Codec::Zstd(level) => level,
        Codec::Keep | Codec::Raw => codec::DEFAULT_LEVEL,
    })
}

/// As many threads as asked for, else as the machine has; at most 64, for each has a few MiB.
pub fn threads(asked: usize) -> usize {
    let n = if asked == 0 {
        std::thread::available_parallelism().map_or(1, usize::from)
    } else {
        asked
    };
    n.min(64)
}

/// Is there a chunk that a frame makes shorter? Usually the first one tells. An image without one stays
/// readable for who does not know the feature.
fn compresses(file: &ImageFile, level: i32, shrink: Shrink) -> Result<bool, Failure> {
    let mut packer = Packer::new(level);
    for entry in file.page_chunks().filter(|e| e.raw_len > 0) {
        let data = file.page_data(entry)?;
        let mut builder = Builder::new(shrink, Areas::default());
        builder.add(entry.section, entry.owner, false, &data.runs, &data.bytes);
        builder.flush();
        for chunk in builder.take() {
            if let NewData::Raw(bytes) = chunk.data {
                if matches!(packer.pack(bytes), NewData::Zstd { .. }) {
                    return Ok(true);
                }
            }
        }
    }
    Ok(false)
}

/// The critical flag of a chunk; known sections have theirs anyway.
pub fn critical(file: &ImageFile, entry: &IndexEntry) -> Result<bool, Failure> {
    match sections::by_id(entry.section) {
        Some(known) => Ok(known.critical),
        None => Ok(file.header(entry)?.is_critical()),
    }
}

/// One chunk in another codec.
fn transcode(
    file: &ImageFile,
    entry: &IndexEntry,
    codec: Codec,
    packer: &mut Packer,
) -> Result<PageAction, Failure> {
    let raw = entry.codec == CODEC_RAW;
    if entry.raw_len == 0 || (raw && codec == Codec::Raw) {
        return Ok(PageAction::Keep);
    }
    let PageData { runs, bytes } = file.page_data(entry)?;
    let data = match codec {
        Codec::Zstd(_) => packer.pack(bytes),
        Codec::Raw | Codec::Keep => NewData::Raw(bytes),
    };
    if raw && matches!(data, NewData::Raw(_)) {
        return Ok(PageAction::Keep);
    }
    Ok(PageAction::Replace(vec![NewChunk {
        section: entry.section,
        owner: entry.owner,
        critical: critical(file, entry)?,
        runs,
        data,
    }]))
}

struct Read {
    entry: IndexEntry,
    critical: bool,
    data: PageData,
}

fn read(file: &ImageFile, entry: IndexEntry) -> Result<Read, Failure> {
    Ok(Read {
        critical: critical(file, &entry)?,
        data: file.page_data(&entry)?,
        entry,
    })
}

enum Step {
    /// A new chunk; is it to be compressed?
    Chunk(NewChunk, bool),
    /// Everything that comes out of one more old chunk by now has come.
    EntryDone,
}

/// Old chunks to new ones, in one thread, for each depends on the one before.
struct Packing {
    read: Ordered<Result<Read, Failure>>,
    /// Old chunks still to come.
    left: usize,
    builder: Builder,
    codec: Codec,
    /// Was the last old chunk compressed?
    was_compressed: bool,
    steps: VecDeque<Result<Step, Failure>>,
}

impl Iterator for Packing {
    type Item = Result<Step, Failure>;
    fn next(&mut self) -> Option<Self::Item> {
        if let Some(step) = self.steps.pop_front() {
            return Some(step);
        }
        match self.read.next()? {
            Ok(read) => self.add(read),
            Err(e) => return Some(Err(e)),
        }
        self.steps.pop_front()
    }
}

impl Packing {
    fn add(&mut self, read: Read) {
        let Read {
            entry,
            critical,
            data,
        } = read;
        let compressed = entry.codec == CODEC_ZSTD;
        let compress = match self.codec {
            Codec::Zstd(_) => true,
            Codec::Raw => false,
            Codec::Keep => compressed || self.was_compressed,
        };
        self.was_compressed = compressed;
        self.left = self.left.saturating_sub(1);
        let third_party = sections::by_id(entry.section).is_none();
        if third_party {
            // What its runs mean, and so whether they may be changed, only its extension knows.
            self.builder.flush();
        } else {
            let home = (entry.section, entry.owner, critical);
            self.builder
                .add(home.0, home.1, home.2, &data.runs, &data.bytes);
            if self.left == 0 {
                self.builder.flush();
            }
        }
        let mut new = self.builder.take();
        if third_party {
            new.push(NewChunk {
                section: entry.section,
                owner: entry.owner,
                critical,
                runs: data.runs,
                data: NewData::Raw(data.bytes),
            });
        }
        let steps = new.into_iter().map(|c| Ok(Step::Chunk(c, compress)));
        self.steps.extend(steps);
        self.steps.push_back(Ok(Step::EntryDone));
    }
}
