// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Reads an image for `show`: everything but the page data, as far as it goes.
//!
//! A chunk whose payload is damaged is left out and reading goes on behind it, for its length is covered
//! by the checksum of its header. A damaged header ends the reading. Nothing is interpreted before its
//! checksum has matched; whether the image obeys the rules is the business of `verify`.

use crate::{
    error::Failure,
    input::{Got, Input},
};
use cr_format::{
    chunk::{ChunkHeader, ChunkType, HEADER_LEN},
    end::End,
    limits, records_in, records_of,
    runs::{RunKind, Runs, TABLE_LEN},
    sections,
    superblock::{self, Superblock},
    validate::{self, Kin, MetaSet},
    BufferRecord, DescriptorRecord, EndRecord, Error, ErrorKind, FileRecord, FsRecord, KinRecord,
    MappedObjectRecord, MemfdRecord, NotifyRecord, PipeRecord, PlaceRecord, ProcessRecord,
    RawRecord, Record, TaskRecord, EVENTFD, FILES, INOTIFY, MEMORY, PIDFD, PIPES, PROC, SIGNALFD,
    TASKS, TIMERFD,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// CRC-32 with the processor's help.
pub fn crc(crc: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(crc);
    hasher.update(bytes);
    hasher.finalize()
}

/// The metadata of one section: its payloads joined, and where each piece was in the image.
#[derive(Clone, Default)]
pub struct SectionData {
    pub bytes: Vec<u8>,
    /// Offset in `bytes`, offset in the image; ascending.
    pieces: Vec<(u64, u64)>,
    pub critical: bool,
}

/// Is a record of section `files` about one process? Else it is about an open file, which several may share.
pub fn is_own_file_record(record_type: u16) -> bool {
    matches!(record_type, FsRecord::TYPE | DescriptorRecord::TYPE)
}

impl SectionData {
    /// Leaves only the records that `wanted` says; what cannot be read goes.
    fn keep(&mut self, id: u16, wanted: impl Fn(&RawRecord<'_>) -> bool) {
        let old = std::mem::take(self);
        for raw in records_in(id, &old.bytes).map_while(Result::ok) {
            if wanted(&raw) {
                self.push(raw.bytes(), old.file_offset(raw.offset), old.critical);
            }
        }
    }

    /// Adds a payload that was at `offset` in the image.
    pub fn push(&mut self, payload: &[u8], offset: u64, critical: bool) {
        self.pieces.push((self.bytes.len() as u64, offset));
        self.bytes.extend_from_slice(payload);
        self.critical |= critical;
    }
    /// Where byte `at` of the section was in the image.
    pub fn file_offset(&self, at: u64) -> u64 {
        let piece = self.pieces.iter().rev().find(|(start, _)| *start <= at);
        piece.map_or(at, |(start, offset)| offset + (at - start))
    }
}

/// Sections by id: those of the first process and what all share, and those of the others by number and id.
#[derive(Clone, Default)]
pub struct Sections(
    pub BTreeMap<u16, SectionData>,
    pub BTreeMap<(u32, u16), SectionData>,
);

impl MetaSet for Sections {
    fn section(&self, id: u16) -> &[u8] {
        self.0.get(&id).map_or(&[], |s| s.bytes.as_slice())
    }

    fn processes(&self) -> u32 {
        self.1
            .last_key_value()
            .map_or(1, |(key, _)| key.0.saturating_add(1))
    }

    fn of(&self, process: u32, id: u16) -> &[u8] {
        match process {
            0 => self.section(id),
            _ => self
                .1
                .get(&(process, id))
                .map_or(&[], |s| s.bytes.as_slice()),
        }
    }

    fn ids(&self, visit: &mut dyn FnMut(u16) -> cr_format::Result) -> cr_format::Result {
        let others = self.1.keys().map(|key| key.1);
        let all: BTreeSet<u16> = self.0.keys().copied().chain(others).collect();
        all.into_iter().try_for_each(visit)
    }
}

impl Sections {
    /// All of them, with the number of their process and their id.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u16, &SectionData)> {
        let first = self.0.iter().map(|(id, data)| (0, *id, data));
        first.chain(self.1.iter().map(|((n, id), data)| (*n, *id, data)))
    }

    /// Adds the records behind this header, which were at `offset` in the image.
    ///
    /// # Errors
    /// `OverLimit` for the records of a process that no image can have.
    pub fn add(&mut self, h: &ChunkHeader, records: &[u8], offset: u64) -> cr_format::Result {
        let number = u64::from(h.owner);
        if number >= limits::PROCESSES {
            let e = Error::over_limit(number.saturating_add(1), limits::PROCESSES);
            return Err(e.placed(0, offset));
        }
        let section = match h.owner {
            0 => self.0.entry(h.section).or_default(),
            process => self.1.entry((process, h.section)).or_default(),
        };
        section.push(records, offset, h.is_critical());
        Ok(())
    }

    /// The relations of all processes, checked.
    ///
    /// # Errors
    /// The rule that they break, or what decoding says.
    pub fn tree(&self) -> cr_format::Result<Vec<Kin>> {
        let kin = |n| validate::kin_of(&validate::Process::new(self, n));
        let mut all = (0..self.processes())
            .map(kin)
            .collect::<Result<Vec<_>, _>>()?;
        let mut ended = validate::leaders_of(self).collect::<cr_format::Result<Vec<_>>>()?;
        validate::tree(&mut all, &mut ended)?;
        Ok(all)
    }

    /// Number of the process with this id, or that has this thread.
    pub fn number_of(&self, pid: u64) -> Option<u32> {
        let has = |bytes: &[u8]| {
            records_of::<TaskRecord<'_>>(bytes).any(|t| t.is_ok_and(|t| t.tid == pid))
                || records_of::<ProcessRecord<'_>>(bytes).any(|p| p.is_ok_and(|p| p.tgid == pid))
        };
        (0..self.processes()).find(|n| has(self.of(*n, TASKS)))
    }

    /// The process with this number, as far as its record can be read.
    pub fn process(&self, number: u32) -> Option<ProcessRecord<'_>> {
        let mut records = records_of::<ProcessRecord<'_>>(self.of(number, TASKS));
        records.find_map(Result::ok)
    }

    /// Has the process with this number ended, and its parent has not waited for it yet?
    pub fn has_ended(&self, number: u32) -> bool {
        let mut kin = records_of::<KinRecord>(self.of(number, TASKS)).map_while(Result::ok);
        kin.any(|k| k.zombie == 1)
    }

    /// What is about one process: its own sections, and of the open files of all those that it has, with what handles
    /// them; open files that no process has are with the first one.
    pub fn view(&self, number: u32) -> Self {
        let mut view = Self::default();
        for (&id, data) in &self.0 {
            if number == 0 || !sections::is_of_process(id) {
                view.0.insert(id, data.clone());
            }
        }
        if number != 0 {
            let own = self.1.range((number, 0)..=(number, u16::MAX));
            view.0
                .extend(own.map(|((_, id), data)| (*id, data.clone())));
        }
        if self.1.is_empty() {
            return view;
        }
        let wanted = self.open_files(number);
        let pipes: BTreeSet<u64> = records_of::<EndRecord>(self.section(PIPES))
            .map_while(Result::ok)
            .filter(|e| wanted.contains(&e.file))
            .map(|e| e.pipe)
            .collect();
        let shared = self.0.get(&FILES).into_iter();
        let mut files = view.0.remove(&FILES).unwrap_or_default();
        files.keep(FILES, |r| is_own_file_record(r.record_type));
        for section in shared {
            for raw in records_in(FILES, &section.bytes).map_while(Result::ok) {
                if !is_own_file_record(raw.record_type) && wanted.contains(&raw.id.into()) {
                    let at = section.file_offset(raw.offset);
                    files.push(raw.bytes(), at, section.critical);
                }
            }
        }
        if !files.bytes.is_empty() {
            view.0.insert(FILES, files);
        }
        for id in [PIPES, EVENTFD, TIMERFD, SIGNALFD, INOTIFY, PIDFD, PROC] {
            let Some(section) = view.0.get_mut(&id) else {
                continue;
            };
            section.keep(id, |r| match (id, r.record_type) {
                (PIPES, PipeRecord::TYPE) => pipes.contains(&r.id.into()),
                (PIPES, BufferRecord::TYPE) => {
                    BufferRecord::parse(*r).is_ok_and(|b| pipes.contains(&b.pipe))
                }
                (INOTIFY, PlaceRecord::TYPE) => {
                    PlaceRecord::parse(*r).is_ok_and(|p| wanted.contains(&p.inotify))
                }
                (INOTIFY, NotifyRecord::TYPE) => {
                    NotifyRecord::parse(*r).is_ok_and(|e| wanted.contains(&e.inotify))
                }
                _ => wanted.contains(&r.id.into()),
            });
            if section.bytes.is_empty() {
                view.0.remove(&id);
            }
        }
        view
    }

    /// The open files that a process has by a descriptor or a mapping; with the first process those that none has.
    fn open_files(&self, number: u32) -> BTreeSet<u64> {
        let of = |n: u32| {
            let fds = records_of::<DescriptorRecord>(self.of(n, FILES)).map_while(Result::ok);
            let maps = records_of::<MappedObjectRecord>(self.of(n, MEMORY)).map_while(Result::ok);
            fds.map(|d| d.file).chain(maps.map(|m| m.file))
        };
        let mut wanted: BTreeSet<u64> = of(number).collect();
        if number == 0 {
            let others: BTreeSet<u64> = (1..self.processes()).flat_map(of).collect();
            let all = records_of::<FileRecord<'_>>(self.section(FILES)).map_while(Result::ok);
            wanted.extend(all.map(|f| f.id.into()).filter(|id| !others.contains(id)));
        }
        // A memory file is described by the first of its open files.
        let memfds = records_of::<MemfdRecord<'_>>(self.section(FILES)).map_while(Result::ok);
        let first: Vec<u64> = memfds
            .filter(|m| wanted.contains(&m.id.into()))
            .map(|m| m.contents)
            .collect();
        wanted.extend(first);
        wanted
    }

    /// Offset in the image of an error, which is in a section or in the container.
    pub fn file_offset(&self, e: &Error) -> u64 {
        match self.0.get(&e.section) {
            Some(section) if e.section != 0 => section.file_offset(e.offset),
            _ => e.offset,
        }
    }
}

/// A stretch of pages; neighbours of the same kind are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRun {
    pub section: u16,
    pub owner: u32,
    pub start: u64,
    pub npages: u64,
    pub kind: RunKind,
}

/// One chunk.
pub struct Chunk {
    pub offset: u64,
    pub header: ChunkHeader,
}

/// What is known of an image.
pub struct Image {
    pub name: String,
    pub superblock: Option<Superblock>,
    /// Number of the process that [`Sections`] 0 is about.
    pub process: u32,
    pub sections: Sections,
    /// The sections of all processes, if `sections` has those of one process only.
    pub whole: Option<Arc<Sections>>,
    pub chunks: Vec<Chunk>,
    pub runs: Vec<PageRun>,
    pub end: Option<End>,
    /// Bytes read or passed over.
    pub len: u64,
    /// What is damaged, with offsets in the image; the reading stopped at the last if there is no `end`.
    pub damage: Vec<Error>,
}

impl Image {
    /// Number of pages with contents (stored, or equal to a stored one) and of zero pages.
    pub fn page_counts(&self) -> (u64, u64) {
        let of = |wanted: fn(RunKind) -> bool| {
            let runs = self.runs.iter().filter(|r| wanted(r.kind));
            runs.fold(0_u64, |n, r| n.saturating_add(r.npages))
        };
        let contents = |k| matches!(k, RunKind::Data | RunKind::Duplicate);
        (of(contents), of(|k| k == RunKind::Zero))
    }
    /// Are these pages of the memory of the process that the image is about?
    pub fn is_own(&self, run: &PageRun) -> bool {
        run.section == MEMORY && run.owner == self.process.saturating_add(1)
    }

    /// The sections of all processes, whether `sections` has them or not.
    pub fn all_sections(&self) -> &Sections {
        self.whole.as_deref().unwrap_or(&self.sections)
    }

    /// Makes the image that of the process that `pid` is the id of, or that of a thread of: what the others have is not
    /// seen any more. False if there is none.
    pub fn select(&mut self, pid: u64) -> bool {
        let Some(number) = self.sections.number_of(pid) else {
            return false;
        };
        if number != 0 {
            self.take(number);
        }
        true
    }

    /// Makes the image that of the process with this number.
    pub fn take(&mut self, number: u32) {
        let whole = self
            .whole
            .take()
            .unwrap_or_else(|| Arc::new(std::mem::take(&mut self.sections)));
        self.process = number;
        self.runs
            .retain(|r| r.section != MEMORY || r.owner == number.saturating_add(1));
        self.sections = whole.view(number);
        self.whole = Some(whole);
    }

    /// Has everything been there and undamaged, as far as `show` looks?
    pub fn is_complete(&self) -> bool {
        self.damage.is_empty() && self.end.is_some()
    }
}

/// Reads an image as far as it goes.
///
/// # Errors
/// [`Failure::Read`] only; damage is in the result.
pub fn load(input: &mut Input) -> Result<Image, Failure> {
    let mut reader = Reader {
        image: Image {
            name: input.name.clone(),
            superblock: None,
            process: 0,
            sections: Sections::default(),
            whole: None,
            chunks: Vec::new(),
            runs: Vec::new(),
            end: None,
            len: 0,
            damage: Vec::new(),
        },
        meta_total: 0,
        input,
    };
    if let Some(stop) = reader.run()? {
        reader.image.damage.push(stop);
    }
    Ok(reader.image)
}

struct Reader<'i> {
    image: Image,
    meta_total: u64,
    input: &'i mut Input,
}

/// Nothing more can be read, for this reason.
type Stop = Option<Error>;

macro_rules! stop_on {
    ($result:expr, $offset:expr) => {
        match $result {
            Ok(value) => value,
            Err(e) => {
                let e: Error = e;
                return Ok(Some(e.placed(0, $offset)));
            }
        }
    };
}

impl Reader<'_> {
    fn run(&mut self) -> Result<Stop, Failure> {
        let mut block = [0; superblock::LEN];
        stop_on!(self.fill(&mut block)?, 0);
        match Superblock::parse(&block, crc) {
            Ok(s) => self.image.superblock = Some(s),
            Err(e) if matches!(e.kind, ErrorKind::Unsupported(_)) => {
                self.input.head = block.to_vec();
                return Ok(Some(e));
            }
            // The rest does not depend on the superblock if it is just damaged.
            Err(e) if matches!(e.kind, ErrorKind::BadChecksum { .. }) => self.image.damage.push(e),
            Err(e) => return Ok(Some(e)),
        }
        loop {
            let at = self.image.len;
            let mut head = [0; HEADER_LEN];
            stop_on!(self.fill(&mut head)?, at);
            let header = stop_on!(ChunkHeader::parse(&head, crc), at);
            self.image.chunks.push(Chunk { offset: at, header });
            let stop = match header.chunk_type {
                ChunkType::Page => self.pages(&header)?,
                ChunkType::Pad => self.skip(header.stored_len.into())?,
                ChunkType::Meta | ChunkType::Index | ChunkType::End => self.payload(&header)?,
            };
            if stop.is_some() || header.chunk_type == ChunkType::End {
                return Ok(stop);
            }
        }
    }

    /// Fills `buf`; the inner error says that the input ended.
    fn fill(&mut self, buf: &mut [u8]) -> Result<Result<(), Error>, Failure> {
        Ok(match self.input.fill(buf)? {
            Got::All => {
                self.image.len += buf.len() as u64;
                Ok(())
            }
            Got::Short(have) => {
                let (need, have) = (buf.len() as u64, have as u64);
                let at = self.image.len;
                self.image.len += have;
                Err(Error::truncated(need, have).placed(0, at))
            }
        })
    }

    fn skip(&mut self, n: u64) -> Result<Stop, Failure> {
        let at = self.image.len;
        let missing = self.input.skip(n)?;
        self.image.len += n - missing;
        Ok((missing > 0).then(|| Error::truncated(n, n - missing).placed(0, at)))
    }

    fn damaged(&mut self, stored: u32, computed: u32, at: u64) {
        self.image
            .damage
            .push(Error::at(ErrorKind::BadChecksum { stored, computed }, at));
    }

    fn payload(&mut self, h: &ChunkHeader) -> Result<Stop, Failure> {
        let at = self.image.len;
        // At most 1 MiB: `ChunkHeader::parse` has checked it.
        let mut payload = vec![0; h.stored_len as usize];
        stop_on!(self.fill(&mut payload)?, at);
        let computed = crc(0, &payload);
        if computed != h.payload_crc {
            self.damaged(h.payload_crc, computed, at);
            return Ok(None);
        }
        match h.chunk_type {
            ChunkType::Meta => {
                self.meta_total += u64::from(h.stored_len);
                if self.meta_total > limits::META_TOTAL {
                    return Ok(Some(
                        Error::over_limit(self.meta_total, limits::META_TOTAL).placed(0, at),
                    ));
                }
                if let Err(e) = self.image.sections.add(h, &payload, at) {
                    self.image.damage.push(e);
                }
            }
            ChunkType::End => match payload.first_chunk().map(End::parse) {
                Some(Ok(end)) => self.image.end = Some(end),
                Some(Err(e)) => self.image.damage.push(e.placed(0, at)),
                None => self.image.damage.push(Error::rule("END-1").placed(0, at)),
            },
            ChunkType::Index | ChunkType::Pad | ChunkType::Page => {}
        }
        Ok(None)
    }

    fn pages(&mut self, h: &ChunkHeader) -> Result<Stop, Failure> {
        let at = self.image.len;
        let mut table = [0; TABLE_LEN];
        stop_on!(self.fill(&mut table)?, at);
        let computed = crc(0, &table);
        if computed != h.table_crc {
            self.damaged(h.table_crc, computed, at);
        } else {
            match Runs::parse(&table, h.items) {
                Err(e) => self.image.damage.push(e.placed(0, at)),
                Ok(runs) => {
                    for run in runs.iter() {
                        self.add_run(h, run.start, run.npages.into(), run.kind);
                    }
                }
            }
        }
        self.skip(h.stored_len.into())
    }

    fn add_run(&mut self, h: &ChunkHeader, start: u64, npages: u64, kind: RunKind) {
        if let Some(last) = self.image.runs.last_mut() {
            let same = (last.section, last.owner, last.kind) == (h.section, h.owner, kind);
            let end = last
                .start
                .saturating_add(last.npages.saturating_mul(limits::PAGE));
            if same && end == start {
                last.npages = last.npages.saturating_add(npages);
                return;
            }
        }
        self.image.runs.push(PageRun {
            section: h.section,
            owner: h.owner,
            start,
            npages,
            kind,
        });
    }
}
