// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! A new image from an old one: other records, other page data, everything else byte for byte.
//!
//! ```text
//! Rewrite::new(file) → section(…), edit(…), pages(…) → run(Target)
//! ```
//!
//! The metadata is checked by the rules before anything is written, the file appears only when it is
//! complete, and chunks that are kept are copied inside the kernel, where the file system shares them if
//! it can. A rewritten image has a new id and says in section `provenance` what was done to it.
//! Source: spec, chapter "Editing images".

use crate::{
    atomic::AtomicFile,
    error::Failure,
    file::{chunk_len, ImageFile},
    load::crc,
    progress,
};
use cr_format::{
    chunk::{CODEC_ZSTD, HEADER_LEN},
    index::IndexEntry,
    limits, records_of,
    runs::{Run, RunKind},
    superblock::{self, Superblock, ZSTD},
    validate::{self, MetaSet},
    writer::{cut_index, cut_records, padded, ImageWriter, Stored, PAGE_HEAD_LEN},
    EditRecord, Error, Record, Result as FormatResult, Sink, StatsRecord, VmaRecord,
    VmaStatsRecord, MEMORY, PROVENANCE, STATS,
};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

/// Collects encoded records.
#[derive(Clone, Debug, Default)]
pub struct Bytes(pub Vec<u8>);

impl Sink for Bytes {
    fn put(&mut self, bytes: &[u8]) -> FormatResult {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

/// What becomes of a `PAGE` chunk.
pub enum PageAction {
    /// Copied as it is.
    Keep,
    /// Left out.
    Drop,
    /// These stand at its place; none is like [`PageAction::Drop`]. Runs must go on ascending.
    Replace(Vec<NewChunk>),
}

/// A `PAGE` chunk to be written.
pub struct NewChunk {
    /// Section it belongs to.
    pub section: u16,
    /// Owner within the section.
    pub owner: u32,
    /// For a third party's section.
    pub critical: bool,
    /// Runs, ascending.
    pub runs: Vec<Run>,
    /// Page data of the data runs.
    pub data: NewData,
}

/// Page data of a new chunk.
pub enum NewData {
    /// As it is.
    Raw(Vec<u8>),
    /// Compressed: the frame, without padding, and what it decodes to.
    Zstd {
        /// The frame.
        frame: Vec<u8>,
        /// CRC-32 of the decoded bytes.
        raw_crc: u32,
    },
}

/// Where the new image goes.
pub enum Target {
    /// A new file; with `force` one that exists is replaced.
    File {
        /// Its path.
        path: PathBuf,
        /// Replace what is there?
        force: bool,
    },
    /// At the place of the old image, whole or not at all.
    InPlace,
    /// Standard output.
    Stdout,
}

/// What was written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Written {
    /// Bytes of the new image.
    pub bytes: u64,
    /// Its id.
    pub uuid: [u8; 16],
    /// Bytes of page chunks that were copied as they are.
    pub copied: u64,
    /// Pages with contents, if they were counted.
    pub pages: u64,
    /// Zero pages, if they were counted.
    pub zero_pages: u64,
}

type PageFilter<'p> = Box<dyn FnMut(&IndexEntry) -> Result<PageAction, Failure> + 'p>;

/// The plan of a new image.
pub struct Rewrite<'f> {
    file: &'f ImageFile,
    superblock: Superblock,
    /// Records and critical flag by section and process, which is the order of the image.
    sections: BTreeMap<(u16, u32), (Vec<u8>, bool)>,
    edits: Vec<(String, String)>,
    pages: Option<PageFilter<'f>>,
    keep_uuid: bool,
}

impl MetaSet for Rewrite<'_> {
    fn section(&self, id: u16) -> &[u8] {
        self.of(0, id)
    }
    fn processes(&self) -> u32 {
        let last = self.sections.keys().map(|key| key.1).max();
        last.unwrap_or(0).saturating_add(1)
    }
    fn of(&self, process: u32, id: u16) -> &[u8] {
        let section = self.sections.get(&(id, process));
        section.map_or(&[], |s| s.0.as_slice())
    }
    fn ids(&self, visit: &mut dyn FnMut(u16) -> FormatResult) -> FormatResult {
        let mut ids: Vec<u16> = self.sections.keys().map(|key| key.0).collect();
        ids.dedup();
        ids.into_iter().try_for_each(visit)
    }
}

impl<'f> Rewrite<'f> {
    /// A plan that keeps everything.
    ///
    /// # Errors
    /// [`Failure::Defect`] for a damaged image: what is not known to be sound is not rewritten.
    pub fn new(file: &'f ImageFile) -> Result<Self, Failure> {
        if let Some(e) = file.image.damage.first() {
            return Err(file.defect(*e, e.offset));
        }
        let Some(superblock) = file.image.superblock.filter(|_| file.image.end.is_some()) else {
            return Err(file.defect(Error::truncated(superblock::LEN as u64, file.len()), 0));
        };
        if superblock.feature_ro_compat != 0 {
            let e = Error::unsupported("feature of the image that an editor must know");
            return Err(file.defect(e, 0));
        }
        let sections = file.image.all_sections().iter();
        Ok(Self {
            file,
            superblock,
            sections: sections
                .map(|(process, id, s)| ((id, process), (s.bytes.clone(), s.critical)))
                .collect(),
            edits: Vec::new(),
            pages: None,
            keep_uuid: false,
        })
    }

    /// The superblock, to change flags and features. The id is made anew by [`Rewrite::run`].
    pub fn superblock(&mut self) -> &mut Superblock {
        &mut self.superblock
    }

    /// Replaces the records of a section that processes share, or of the first process; empty ones remove it. A new third
    /// party's section is ancillary.
    pub fn section(&mut self, id: u16, records: Vec<u8>) {
        self.section_of(0, id, records);
    }

    /// The same for the process with this number.
    pub fn section_of(&mut self, process: u32, id: u16, records: Vec<u8>) {
        let key = (id, process);
        let critical = self.sections.get(&key).is_some_and(|s| s.1);
        if records.is_empty() {
            self.sections.remove(&key);
        } else {
            self.sections.insert(key, (records, critical));
        }
    }

    /// The records of a section.
    pub fn records(&self, id: u16) -> &[u8] {
        MetaSet::section(self, id)
    }

    /// Notes an edit for section `provenance`: the operation is a word, the description for people.
    pub fn edit(&mut self, operation: &str, description: &str) {
        // A text of the format has no NUL, and a record has an end.
        let clean: String = description.chars().filter(|c| *c != '\0').collect();
        let cut = clean.char_indices().nth(1000).map_or(clean.len(), |c| c.0);
        let text = clean.get(..cut).unwrap_or("").to_owned();
        self.edits.push((operation.to_owned(), text));
    }

    /// Decides about each `PAGE` chunk, in order. Without, all are kept and not even looked at.
    ///
    /// The caller sets feature `ZSTD` in the superblock if it makes compressed chunks.
    pub fn pages(&mut self, f: impl FnMut(&IndexEntry) -> Result<PageAction, Failure> + 'f) {
        self.pages = Some(Box::new(f));
    }

    /// Keeps the id, for an undo that gives back the very image.
    pub fn keep_uuid(&mut self) {
        self.keep_uuid = true;
    }

    /// Checks the metadata by the rules of the format.
    ///
    /// # Errors
    /// [`Failure::Defect`], with the offset in the section as it will be.
    pub fn check(&self) -> Result<(), Failure> {
        validate::meta(self).map_err(|e| self.file.defect(e, e.offset))
    }

    /// Writes the new image.
    ///
    /// # Errors
    /// Everything; what was at the target is untouched then.
    pub fn run(self, target: Target, show_progress: bool) -> Result<Written, Failure> {
        self.run_checked(target, show_progress, |_| Ok(()))
    }

    /// The same; a new file takes its name, or the place of the old one, only if `check` has nothing against it.
    ///
    /// # Errors
    /// Those of [`Rewrite::run`] and of `check`; the target is untouched then.
    pub fn run_checked(
        mut self,
        target: Target,
        show_progress: bool,
        check: impl FnOnce(&Path) -> Result<(), Failure>,
    ) -> Result<Written, Failure> {
        if !self.keep_uuid {
            self.superblock.uuid = new_uuid().map_err(Failure::Write)?;
        }
        self.provenance()?;
        self.check()?;
        let mut out = match target {
            Target::File { path, force } => Out::File(AtomicFile::create(&path, force)?),
            Target::InPlace => Out::File(AtomicFile::create(self.file.place()?, true)?),
            Target::Stdout => Out::Stdout(Box::new(io::stdout().lock())),
        };
        let label = if show_progress { "writing" } else { "" };
        let total = if show_progress { self.file.len() } else { 0 };
        let bar = progress::bar(total, label);
        let mut job = Job {
            writer: ImageWriter::with_crc(crc),
            index: Bytes::default(),
            out: &mut out,
            pending: None,
            file: self.file,
            written: Written {
                uuid: self.superblock.uuid,
                ..Written::default()
            },
            counts: Counts::new(&self),
        };
        self.write(&mut job, &bar)?;
        let written = job.written;
        bar.finish_and_clear();
        match out {
            Out::File(f) => {
                check(f.temporary())?;
                f.commit()?;
            }
            Out::Stdout(mut w) => w.flush().map_err(Failure::Write)?,
        }
        Ok(written)
    }

    fn write(
        &mut self,
        job: &mut Job<'_, '_>,
        bar: &indicatif::ProgressBar,
    ) -> Result<(), Failure> {
        if self.pages.is_none() && self.file.page_chunks().any(|e| e.codec == CODEC_ZSTD) {
            self.superblock.feature_incompat |= ZSTD;
        }
        let mut block = [0; superblock::LEN];
        job.writer.superblock(&self.superblock, &mut block);
        job.put(&block)?;
        for ((id, process), (records, critical)) in self.sections.iter().filter(|s| s.0 .0 != STATS)
        {
            job.meta(*process, *id, *critical, records)?;
        }
        let mut filter = self.pages.take();
        let mut first = true;
        let counted = filter.is_some();
        for entry in self.file.page_chunks() {
            let action = match &mut filter {
                Some(f) => f(entry)?,
                None => PageAction::Keep,
            };
            let some = !matches!(&action, PageAction::Drop)
                && !matches!(&action, PageAction::Replace(new) if new.is_empty());
            if some && std::mem::take(&mut first) {
                job.pad()?;
            }
            match action {
                PageAction::Keep => job.keep(entry, counted)?,
                PageAction::Drop => {}
                PageAction::Replace(new) => {
                    for chunk in new {
                        job.page(&chunk)?;
                    }
                }
            }
            bar.inc(chunk_len(entry));
        }
        job.copy_pending()?;
        if counted {
            let stats = job.counts.stats(self.records(STATS))?;
            self.section(STATS, stats);
            (job.written.pages, job.written.zero_pages) = (job.counts.pages, job.counts.zero);
        }
        if let Some((records, critical)) = self.sections.get(&(STATS, 0)) {
            job.meta(0, STATS, *critical, records)?;
        }
        job.end()
    }

    fn provenance(&mut self) -> Result<(), Failure> {
        let old = self.records(PROVENANCE);
        let mut id = records_of::<EditRecord<'_>>(old)
            .map_while(Result::ok)
            .map(|e| e.id)
            .max()
            .unwrap_or(0);
        let mut records = Bytes(old.to_vec());
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let time_ns = now.map_or(0, |d| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX));
        let source = self.file.image.superblock.map_or([0; 16], |s| s.uuid);
        for (operation, description) in &self.edits {
            id = id.saturating_add(1);
            EditRecord {
                id,
                time_ns,
                tool: concat!("crimg ", env!("CARGO_PKG_VERSION")).as_bytes(),
                source_uuid: &source,
                operation: operation.as_bytes(),
                description: description.as_bytes(),
            }
            .write(&mut records)
            .map_err(|e| self.file.defect(e, 0))?;
        }
        self.section(PROVENANCE, records.0);
        Ok(())
    }
}

/// A new image id.
///
/// # Errors
/// Those of `/dev/urandom`.
pub fn new_uuid() -> io::Result<[u8; 16]> {
    let mut id = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut id)?;
    // Version 4, variant 1: RFC 9562.
    let [_, _, _, _, _, _, version, _, variant, ..] = &mut id;
    *version = *version & 0x0f | 0x40;
    *variant = *variant & 0x3f | 0x80;
    Ok(id)
}

enum Out {
    File(AtomicFile),
    Stdout(Box<dyn Write>),
}

/// Page counts of the new image, as section `stats` has them. Those by area are of images of one process only, for
/// areas of several have the same numbers.
struct Counts {
    areas: Vec<(u64, u64, u32)>,
    by_area: BTreeMap<u32, (u64, u64)>,
    pages: u64,
    zero: u64,
}

impl Counts {
    fn new(set: &dyn MetaSet) -> Self {
        let areas = if set.processes() > 1 {
            &[]
        } else {
            set.section(MEMORY)
        };
        Self {
            areas: records_of::<VmaRecord<'_>>(areas)
                .map_while(Result::ok)
                .map(|v| (v.start, v.end, v.id))
                .collect(),
            by_area: BTreeMap::new(),
            pages: 0,
            zero: 0,
        }
    }

    fn add(&mut self, section: u16, run: &Run) {
        let n = u64::from(run.npages);
        let zero = run.kind == RunKind::Zero;
        let counter = if zero {
            &mut self.zero
        } else {
            &mut self.pages
        };
        *counter = counter.saturating_add(n);
        if section != MEMORY {
            return;
        }
        let after = self.areas.partition_point(|a| a.0 <= run.start);
        let area = after.checked_sub(1).and_then(|n| self.areas.get(n));
        if let Some(&(_, _, id)) = area {
            let (pages, zeros) = self.by_area.entry(id).or_default();
            let counter = if zero { zeros } else { pages };
            *counter = counter.saturating_add(n);
        }
    }

    /// Section `stats` with these counts; what else it said stays.
    fn stats(&self, old: &[u8]) -> Result<Vec<u8>, Failure> {
        let mut out = Bytes::default();
        let cannot = |_| Failure::Write(io::Error::other("the counts cannot be encoded"));
        for stats in records_of::<StatsRecord>(old).map_while(Result::ok) {
            StatsRecord {
                pages: self.pages,
                zero_pages: self.zero,
                page_bytes: self.pages.saturating_mul(limits::PAGE),
                ..stats
            }
            .write(&mut out)
            .map_err(cannot)?;
        }
        if out.0.is_empty() {
            return Ok(out.0);
        }
        for (id, (pages, zero)) in &self.by_area {
            VmaStatsRecord {
                id: *id,
                pages: *pages,
                zero: *zero,
            }
            .write(&mut out)
            .map_err(cannot)?;
        }
        Ok(out.0)
    }
}

struct Job<'j, 'f> {
    writer: ImageWriter,
    index: Bytes,
    out: &'j mut Out,
    /// Bytes of the old file that are to be copied next.
    pending: Option<(u64, u64)>,
    file: &'f ImageFile,
    written: Written,
    counts: Counts,
}

impl Job<'_, '_> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.copy_pending()?;
        self.written.bytes = self.written.bytes.saturating_add(bytes.len() as u64);
        match &mut *self.out {
            Out::File(f) => {
                let result = f.file.write_all(bytes);
                result.map_err(|e| f.failed(e))
            }
            Out::Stdout(w) => w.write_all(bytes).map_err(Failure::Write),
        }
    }

    fn bad(&self, e: Error) -> Failure {
        self.file.defect(e, self.writer.offset())
    }

    fn meta(
        &mut self,
        process: u32,
        id: u16,
        critical: bool,
        records: &[u8],
    ) -> Result<(), Failure> {
        let mut rest = records;
        while let Some(piece) = cut_records(&mut rest) {
            let piece = piece.map_err(|e| self.bad(e.placed(id, e.offset)))?;
            let head = self
                .writer
                .meta_of(process, id, critical, piece, &mut self.index)
                .map_err(|e| self.bad(e))?;
            self.put(&head)?;
            self.put(piece)?;
        }
        Ok(())
    }

    fn pad(&mut self) -> Result<(), Failure> {
        let pad = self.writer.pad(&mut self.index);
        if let Some((head, zeros)) = pad.map_err(|e| self.bad(e))? {
            self.put(&head)?;
            self.put(&vec![0; zeros])?;
        }
        Ok(())
    }

    /// Takes a chunk over. Neighbours whose headers stay the same are copied in one go.
    fn keep(&mut self, entry: &IndexEntry, count: bool) -> Result<(), Failure> {
        let (header, runs) = if count {
            self.file.runs(entry)?
        } else {
            (self.file.header(entry)?, Vec::new())
        };
        for run in &runs {
            self.counts.add(entry.section, run);
        }
        let head = self
            .writer
            .keep(&header, &mut self.index)
            .map_err(|e| self.bad(e))?;
        let (mut from, mut len) = (entry.offset, chunk_len(entry));
        self.written.copied = self.written.copied.saturating_add(len);
        if head != header.encode(crc) {
            // Only its sequence number is new.
            self.put(&head)?;
            from = from.saturating_add(HEADER_LEN as u64);
            len = len.saturating_sub(HEADER_LEN as u64);
        }
        match &mut self.pending {
            Some((start, n)) if start.checked_add(*n) == Some(from) => *n = n.saturating_add(len),
            _ => {
                self.copy_pending()?;
                self.pending = Some((from, len));
            }
        }
        Ok(())
    }

    fn copy_pending(&mut self) -> Result<(), Failure> {
        let Some((mut from, mut left)) = self.pending.take() else {
            return Ok(());
        };
        self.written.bytes = self.written.bytes.saturating_add(left);
        let mut buf = Vec::new();
        let mut in_kernel = true;
        while left > 0 {
            if let (true, Out::File(f)) = (in_kernel, &mut *self.out) {
                // In steps, so that it can be interrupted.
                let step = usize::try_from(left.min(64 << 20)).unwrap_or(1 << 20);
                let old = self.file.file();
                match rustix::fs::copy_file_range(old, Some(&mut from), &f.file, None, step) {
                    Ok(0) => return Err(self.bad(Error::truncated(left, 0))),
                    Ok(n) => {
                        left = left.saturating_sub(n as u64);
                        continue;
                    }
                    Err(rustix::io::Errno::INTR) => continue,
                    // Another file system, or one that cannot.
                    Err(_) => in_kernel = false,
                }
            }
            buf.resize(usize::try_from(left.min(1 << 20)).unwrap_or(0), 0);
            if !matches!(self.file.read_at(from, &mut buf)?, crate::input::Got::All) {
                return Err(self.bad(Error::truncated(left, 0)));
            }
            let result = match &mut *self.out {
                Out::File(f) => f.file.write_all(&buf).map_err(|e| f.failed(e)),
                Out::Stdout(w) => w.write_all(&buf).map_err(Failure::Write),
            };
            result?;
            from = from.saturating_add(buf.len() as u64);
            left = left.saturating_sub(buf.len() as u64);
        }
        Ok(())
    }

    fn page(&mut self, chunk: &NewChunk) -> Result<(), Failure> {
        for run in &chunk.runs {
            self.counts.add(chunk.section, run);
        }
        let (bytes, zeros, stored) = match &chunk.data {
            NewData::Raw(bytes) => (bytes, 0, Stored::Raw { crc: crc(0, bytes) }),
            NewData::Zstd { frame, raw_crc } => {
                let frame_len = u32::try_from(frame.len()).unwrap_or(u32::MAX);
                let zeros = padded(frame_len).saturating_sub(frame_len) as usize;
                let zeros = zeros.min(limits::PAGE as usize);
                let padding = crate::file::ZERO_PAGE.get(..zeros).unwrap_or(&[]);
                let crc = crc(crc(0, frame), padding);
                let stored = Stored::Zstd {
                    frame_len,
                    crc,
                    raw_crc: *raw_crc,
                };
                (frame, zeros, stored)
            }
        };
        let mut head = [0; PAGE_HEAD_LEN];
        self.writer
            .page_stored(
                chunk.section,
                chunk.owner,
                chunk.critical,
                &chunk.runs,
                stored,
                &mut head,
                &mut self.index,
            )
            .map_err(|e| self.bad(e))?;
        self.put(&head)?;
        self.put(bytes)?;
        self.put(crate::file::ZERO_PAGE.get(..zeros).unwrap_or(&[]))
    }

    fn end(&mut self) -> Result<(), Failure> {
        let index = std::mem::take(&mut self.index.0);
        let mut rest = &index[..];
        while let Some(piece) = cut_index(&mut rest) {
            let head = self.writer.index(piece).map_err(|e| self.bad(e))?;
            self.put(&head)?;
            self.put(piece)?;
        }
        let end = self.writer.end().map_err(|e| self.bad(e))?;
        self.put(&end)
    }
}

/// `-` is standard output; else a file, refused if it exists unless `force`.
pub fn target(output: &str, force: bool) -> Target {
    if output == "-" {
        Target::Stdout
    } else {
        Target::File {
            path: Path::new(output).to_owned(),
            force,
        }
    }
}
