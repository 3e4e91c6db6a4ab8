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
    limits,
    runs::{RunKind, Runs, TABLE_LEN},
    superblock::{self, Superblock},
    validate::MetaSet,
    Error, ErrorKind,
};
use std::collections::BTreeMap;

/// CRC-32 with the processor's help.
pub fn crc(crc: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(crc);
    hasher.update(bytes);
    hasher.finalize()
}

/// The metadata of one section: its payloads joined, and where each piece was in the image.
#[derive(Default)]
pub struct SectionData {
    pub bytes: Vec<u8>,
    /// Offset in `bytes`, offset in the image; ascending.
    pieces: Vec<(u64, u64)>,
    pub critical: bool,
}

impl SectionData {
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

/// Sections by id.
#[derive(Default)]
pub struct Sections(pub BTreeMap<u16, SectionData>);

impl MetaSet for Sections {
    fn section(&self, id: u16) -> &[u8] {
        self.0.get(&id).map_or(&[], |s| s.bytes.as_slice())
    }

    fn ids(&self, visit: &mut dyn FnMut(u16) -> cr_format::Result) -> cr_format::Result {
        self.0.keys().try_for_each(|id| visit(*id))
    }
}

impl Sections {
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
    pub sections: Sections,
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
            sections: Sections::default(),
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
                self.image.sections.0.entry(h.section).or_default().push(
                    &payload,
                    at,
                    h.is_critical(),
                );
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
