// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! The reading side: a phase machine that every reader of images drives, in the kernel and in the tools.
//!
//! It sees each byte of an image once, in order, keeps a few counters and never allocates: the caller
//! reads exactly what [`Next`] says, gives it to the method named there, and goes on. Everything about
//! the container is checked here; the rules about complete sections are in [`crate::validate`].
//!
//! ```text
//! superblock → chunk_header → Next::Payload  → payload ───────────────┐
//!                  ▲          Next::RunTable → run_table → page_data ─┤
//!                  │                    codec zstd: → decoded ────────┤
//!                  └──────────────────────────────────────────────────┴─ is_complete → finish
//! ```
//!
//! After an error the machine stays where it is; calling on out of order gives `Unsupported`, never a panic.

use crate::{
    chunk::{ChunkHeader, ChunkType, CODEC_RAW, HEADER_LEN},
    crc::{crc32, Crc},
    end::{self, End},
    error::{ensure, Error, ErrorKind, Result},
    index::{IndexEntry, ENTRIES_PER_CHUNK, ENTRY_LEN},
    limits,
    record::records_in,
    runs::{RunKind, Runs, TABLE_LEN},
    sections,
    superblock::{self, Superblock},
    wire::{is_zero, len64},
    zstd,
};

/// Most sections that have page data.
pub const PAGE_SECTIONS: usize = 16;

/// What the caller must read next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The payload of this length, at most 1 MiB, at once, for [`Validator::payload`].
    Payload(u32),
    /// The 4032 bytes of run table, for [`Validator::run_table`].
    RunTable,
}

/// The caller's mistake, not the image's.
const OUT_OF_ORDER: Error = Error::unsupported("call out of order");

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Meta,
    Pad,
    Page,
    Tail,
    Index,
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaits {
    Superblock,
    Header,
    Payload,
    RunTable,
    PageData,
    Decoded,
    Nothing,
}

/// Checks the container of one image while it is read.
#[derive(Clone, Debug)]
pub struct Validator {
    crc: Crc,
    awaits: Awaits,
    phase: Phase,
    features: u32,
    offset: u64,
    header: Option<ChunkHeader>,
    /// Of the chunk before, in the same phase.
    last_section: u16,
    last_owner: u32,
    next_seq: u32,
    section_len: u64,
    meta_total: u64,
    page_sections: [u16; PAGE_SECTIONS],
    page_end: u64,
    page_bytes: u64,
    pages: u64,
    zero_pages: u64,
    chunks: u64,
    chain: u32,
    entries: u64,
    entries_crc: u32,
    index_offset: u64,
    index_entries: u64,
    index_crc: u32,
    index_full: bool,
}

impl Default for Validator {
    fn default() -> Self {
        Self::new()
    }
}

impl Validator {
    /// A machine before the first byte, with the plain [`crc32`].
    pub const fn new() -> Self {
        Self::with_crc(crc32)
    }

    /// A machine before the first byte, with another implementation of CRC-32.
    pub const fn with_crc(crc: Crc) -> Self {
        Self {
            crc,
            awaits: Awaits::Superblock,
            phase: Phase::Meta,
            features: 0,
            offset: 0,
            header: None,
            last_section: 0,
            last_owner: 0,
            next_seq: 0,
            section_len: 0,
            meta_total: 0,
            page_sections: [0; PAGE_SECTIONS],
            page_end: 0,
            page_bytes: 0,
            pages: 0,
            zero_pages: 0,
            chunks: 0,
            chain: 0,
            entries: 0,
            entries_crc: 0,
            index_offset: 0,
            index_entries: 0,
            index_crc: 0,
            index_full: true,
        }
    }

    /// Offset in the image of what is expected next.
    pub const fn offset(&self) -> u64 {
        self.offset
    }
    /// The header of the chunk being read, or of the last one.
    pub const fn header(&self) -> Option<&ChunkHeader> {
        self.header.as_ref()
    }
    /// Has the end of the image been read and found sound?
    pub fn is_complete(&self) -> bool {
        self.awaits == Awaits::Nothing
    }
    /// Is the metadata in front of the page data complete? True from the header of the first chunk that
    /// is not `META` of such a section: the moment for [`crate::validate::meta`].
    pub fn is_meta_complete(&self) -> bool {
        self.phase > Phase::Meta
    }
    /// Pages with contents (stored or duplicates), and pages that are zero, so far.
    pub const fn page_counts(&self) -> (u64, u64) {
        (self.pages, self.zero_pages)
    }
    /// Bytes of `META` payloads so far.
    pub const fn meta_bytes(&self) -> u64 {
        self.meta_total
    }

    fn here(&self, e: Error) -> Error {
        if e.section == 0 {
            e.placed(0, self.offset)
        } else {
            e
        }
    }

    fn in_order(&self, what: Awaits) -> Result {
        if self.awaits == what {
            Ok(())
        } else {
            Err(self.here(OUT_OF_ORDER))
        }
    }

    fn advance(&mut self, by: u64) -> Result {
        self.offset = self
            .offset
            .checked_add(by)
            .ok_or(Error::over_limit(u64::MAX, i64::MAX as u64))?;
        Ok(())
    }

    fn check_crc(&self, stored: u32, computed: u32) -> Result {
        if stored == computed {
            Ok(())
        } else {
            Err(self.here(Error::at(ErrorKind::BadChecksum { stored, computed }, 0)))
        }
    }

    /// Takes the first 4096 bytes.
    ///
    /// # Errors
    /// Those of [`Superblock::parse`].
    pub fn superblock(&mut self, bytes: &[u8; superblock::LEN]) -> Result<Superblock> {
        self.in_order(Awaits::Superblock)?;
        let superblock = Superblock::parse(bytes, self.crc)?;
        if superblock.feature_incompat & superblock::PARENT != 0 {
            return Err(Error::unsupported("image that needs a parent"));
        }
        self.features = superblock.feature_incompat;
        self.chain = (self.crc)(0, &superblock::stored_crc(bytes).to_le_bytes());
        self.advance(superblock::LEN as u64)?;
        self.awaits = Awaits::Header;
        Ok(superblock)
    }

    /// Takes the 64 bytes of a chunk header and says what follows.
    ///
    /// # Errors
    /// Those of [`ChunkHeader::parse`]; `ORDER-*`, `META-*`, `PAD-*`, `PAGE-*`, `INDEX-*`, `END-*`;
    /// `Unsupported` for a critical section that is not known; `OverLimit`.
    pub fn chunk_header(&mut self, bytes: &[u8; HEADER_LEN]) -> Result<Next> {
        self.in_order(Awaits::Header)?;
        let header = ChunkHeader::parse(bytes, self.crc).map_err(|e| self.here(e))?;
        self.enter(&header).map_err(|e| self.here(e))?;
        self.count(&header);
        self.header = Some(header);
        self.advance(HEADER_LEN as u64)?;
        Ok(if header.chunk_type == ChunkType::Page {
            self.awaits = Awaits::RunTable;
            Next::RunTable
        } else {
            self.awaits = Awaits::Payload;
            Next::Payload(header.stored_len)
        })
    }

    /// Order of chunks, sections, owners and sequence numbers.
    fn enter(&mut self, h: &ChunkHeader) -> Result {
        let (mut phase, mut seq) = (self.phase, 0);
        let first = h.chunk_type == ChunkType::Meta && h.section == sections::IMAGE;
        ensure(self.chunks > 0 || first, "ORDER-1")?;
        match h.chunk_type {
            ChunkType::Meta if h.section == sections::STATS => {
                ensure(phase <= Phase::Tail, "ORDER-2")?;
                ensure(h.owner == 0, "ORDER-7")?;
                if phase == Phase::Tail {
                    seq = self.next_seq;
                }
                phase = Phase::Tail;
                self.limit_meta(h)?;
            }
            ChunkType::Meta => {
                ensure(phase == Phase::Meta, "ORDER-2")?;
                ensure(h.section != sections::REPORT, "ORDER-3")?;
                if !sections::belongs_in_images(h.section) && h.is_critical() {
                    return Err(Error::unsupported("critical section"));
                }
                ensure(h.section >= self.last_section, "ORDER-3")?;
                if h.section == self.last_section {
                    ensure(h.owner >= self.last_owner, "ORDER-6")?;
                }
                if (h.section, h.owner) == (self.last_section, self.last_owner) {
                    seq = self.next_seq;
                }
                self.process_of(h)?;
                self.limit_meta(h)?;
            }
            ChunkType::Pad => {
                ensure(phase <= Phase::Pad, "ORDER-2")?;
                if phase == Phase::Pad {
                    seq = self.next_seq;
                }
                phase = Phase::Pad;
                if h.seq >= limits::PAD_CHUNKS {
                    return Err(Error::over_limit(
                        u64::from(h.seq).saturating_add(1),
                        limits::PAD_CHUNKS.into(),
                    ));
                }
                let end = self.offset.saturating_add(h.chunk_len());
                ensure(end % limits::PAGE == 0 && h.items == 0, "PAD-1")?;
            }
            ChunkType::Page => {
                ensure(phase <= Phase::Page, "ORDER-2")?;
                ensure(self.offset % limits::PAGE == 0, "PAGE-1")?;
                let announced = self.features & superblock::ZSTD != 0;
                ensure(h.codec == CODEC_RAW || announced, "ZSTD-2")?;
                if phase == Phase::Page && h.section == self.last_section {
                    ensure(h.owner >= self.last_owner, "ORDER-4")?;
                    if h.owner == self.last_owner {
                        seq = self.next_seq;
                    } else {
                        self.page_end = 0;
                    }
                } else {
                    self.enter_pages(h.section)?;
                }
                phase = Phase::Page;
            }
            ChunkType::Index => {
                ensure(phase <= Phase::Index, "ORDER-2")?;
                if phase == Phase::Index {
                    ensure(self.index_full, "INDEX-1")?;
                    seq = self.next_seq;
                } else {
                    self.index_offset = self.offset;
                }
                phase = Phase::Index;
                let bytes = u64::from(h.items).saturating_mul(ENTRY_LEN as u64);
                ensure(h.items > 0 && bytes == h.stored_len.into(), "INDEX-1")?;
                self.index_full = h.items == ENTRIES_PER_CHUNK;
            }
            ChunkType::End => {
                ensure(phase == Phase::Index, "ORDER-2")?;
                phase = Phase::End;
                ensure(h.stored_len as usize == end::LEN && h.items == 0, "END-1")?;
            }
        }
        ensure(h.seq == seq, "ORDER-5")?;
        self.next_seq = seq.saturating_add(1);
        if (phase, h.section, h.owner) != (self.phase, self.last_section, self.last_owner) {
            self.section_len = 0;
        }
        (self.phase, self.last_section, self.last_owner) = (phase, h.section, h.owner);
        Ok(())
    }

    /// A section's page data begins; each section has its `PAGE` chunks in one row.
    fn enter_pages(&mut self, section: u16) -> Result {
        let known = section == sections::MEMORY || section == sections::FILES;
        ensure(known || section >= sections::THIRD_PARTY, "PAGE-7")?;
        ensure(!self.page_sections.contains(&section), "ORDER-4")?;
        let free = self.page_sections.iter_mut().find(|s| **s == 0);
        let limit = PAGE_SECTIONS as u64;
        *free.ok_or(Error::over_limit(limit.saturating_add(1), limit))? = section;
        self.page_end = 0;
        Ok(())
    }

    /// Which process the records are about.
    fn process_of(&self, h: &ChunkHeader) -> Result {
        if u64::from(h.owner) >= limits::PROCESSES {
            return Err(Error::over_limit(
                u64::from(h.owner).saturating_add(1),
                limits::PROCESSES,
            ));
        }
        let announced = self.features & superblock::PROCESSES != 0;
        ensure(h.owner == 0 || announced, "ORDER-7")?;
        ensure(
            h.owner == 0 || sections::is_of_process(h.section),
            "ORDER-7",
        )
    }

    fn limit_meta(&mut self, h: &ChunkHeader) -> Result {
        ensure(h.items > 0, "META-1")?;
        let total = self.meta_total.saturating_add(h.stored_len.into());
        if total > limits::META_TOTAL {
            return Err(Error::over_limit(total, limits::META_TOTAL));
        }
        self.meta_total = total;
        Ok(())
    }

    /// Chain and derived index.
    fn count(&mut self, h: &ChunkHeader) {
        if h.chunk_type == ChunkType::End {
            return;
        }
        self.chunks = self.chunks.saturating_add(1);
        self.chain = (self.crc)(self.chain, &h.header_crc.to_le_bytes());
        if h.chunk_type != ChunkType::Index {
            let entry = IndexEntry::new(h, self.offset).encode();
            self.entries = self.entries.saturating_add(1);
            self.entries_crc = (self.crc)(self.entries_crc, &entry);
        }
    }

    fn current(&self) -> Result<ChunkHeader> {
        self.header.ok_or(self.here(OUT_OF_ORDER))
    }

    /// Takes the whole payload of a `META`, `PAD_`, `INDX` or `END_` chunk.
    ///
    /// # Errors
    /// `Truncated` when `bytes` is shorter than announced; `BadChecksum`; `META-2` and record structure
    /// (with the section and the offset in it), `PAD-2`, `INDEX-*`, `END-*`.
    pub fn payload(&mut self, bytes: &[u8]) -> Result {
        self.in_order(Awaits::Payload)?;
        let h = self.current()?;
        if len64(bytes) != u64::from(h.stored_len) {
            return Err(self.here(Error::truncated(h.stored_len.into(), len64(bytes))));
        }
        self.check_crc(h.payload_crc, (self.crc)(0, bytes))?;
        match h.chunk_type {
            ChunkType::Meta => self.meta_payload(&h, bytes)?,
            ChunkType::Pad => ensure(is_zero(bytes), "PAD-2").map_err(|e| self.here(e))?,
            ChunkType::Index => {
                self.index_entries = self.index_entries.saturating_add(h.items.into());
                self.index_crc = (self.crc)(self.index_crc, bytes);
            }
            ChunkType::End => {
                self.end(bytes).map_err(|e| self.here(e))?;
                self.advance(len64(bytes))?;
                self.awaits = Awaits::Nothing;
                return Ok(());
            }
            ChunkType::Page => return Err(self.here(OUT_OF_ORDER)),
        }
        self.advance(len64(bytes))?;
        self.awaits = Awaits::Header;
        Ok(())
    }

    /// Whole records, as many as the header says, with sound fields.
    fn meta_payload(&mut self, h: &ChunkHeader, bytes: &[u8]) -> Result {
        let base = self.section_len;
        let place = |e: Error| e.placed(h.section, base.saturating_add(e.offset));
        let mut count = 0_u32;
        for record in records_in(h.section, bytes) {
            for field in record.map_err(place)?.fields() {
                field.map_err(place)?;
            }
            count = count.saturating_add(1);
        }
        ensure(count == h.items, "META-2").map_err(|e| e.placed(h.section, base))?;
        self.section_len = base.saturating_add(len64(bytes));
        Ok(())
    }

    /// Takes the run table of a `PAGE` chunk. The page data of [`ChunkHeader::stored_len`] bytes follows
    /// (perhaps none), then [`Validator::page_data`].
    ///
    /// # Errors
    /// `BadChecksum`, those of [`Runs::parse`], `PAGE-6`, `PAGE-8`, `PAGE-13`.
    pub fn run_table<'t>(&mut self, table: &'t [u8; TABLE_LEN]) -> Result<Runs<'t>> {
        self.in_order(Awaits::RunTable)?;
        let h = self.current()?;
        self.check_crc(h.table_crc, (self.crc)(0, table))?;
        let runs = Runs::parse(table, h.items).map_err(|e| self.here(e))?;
        self.check_runs(&h, &runs).map_err(|e| self.here(e))?;
        self.advance(TABLE_LEN as u64)?;
        self.awaits = Awaits::PageData;
        Ok(runs)
    }

    fn check_runs(&mut self, h: &ChunkHeader, runs: &Runs<'_>) -> Result {
        let first = runs.iter().next().map(|r| r.start);
        ensure(
            first == Some(h.key) && runs.stored_bytes() == h.raw_len.into(),
            "PAGE-8",
        )?;
        ensure(h.key >= self.page_end, "PAGE-6")?;
        for run in runs.iter() {
            self.page_end = run.end()?;
            let n = match run.kind {
                RunKind::Data | RunKind::Duplicate => &mut self.pages,
                RunKind::Zero => &mut self.zero_pages,
                // Images with the feature are refused at the superblock.
                RunKind::Parent => return Err(Error::rule("PAGE-13")),
            };
            *n = n.saturating_add(run.npages.into());
        }
        Ok(())
    }

    /// Takes the page data of a `PAGE` chunk as stored. Behind that of codec zstd the decoded bytes are
    /// expected: [`Validator::decoded`] or [`Validator::skip_decoded`].
    ///
    /// # Errors
    /// `Truncated` when it is shorter than announced, `BadChecksum`, `ZSTD-3` to `ZSTD-5`.
    pub fn page_data(&mut self, bytes: &[u8]) -> Result {
        let h = self.current()?;
        if len64(bytes) != u64::from(h.stored_len) {
            return Err(self.here(Error::truncated(h.stored_len.into(), len64(bytes))));
        }
        self.in_order(Awaits::PageData)?;
        self.check_crc(h.payload_crc, (self.crc)(0, bytes))?;
        if h.codec == CODEC_RAW {
            return self.skip_page_data();
        }
        zstd::check_frame(bytes, h.frame_len, h.raw_len).map_err(|e| self.here(e))?;
        self.awaits = Awaits::Decoded;
        Ok(())
    }

    /// Takes what a decoder made of the frame: `bytes` are the decoded page data, `None` if it failed.
    ///
    /// # Errors
    /// `ZSTD-6` when it failed or gave another length, `BadChecksum`.
    pub fn decoded(&mut self, bytes: Option<&[u8]>) -> Result {
        self.in_order(Awaits::Decoded)?;
        let h = self.current()?;
        let bytes = bytes.filter(|b| len64(b) == u64::from(h.raw_len));
        let bytes = bytes
            .ok_or(Error::rule("ZSTD-6"))
            .map_err(|e| self.here(e))?;
        self.check_crc(h.raw_crc, (self.crc)(0, bytes))?;
        self.skip_decoded()
    }

    /// The same for a reader that does not decode (`crimg verify --level crc`, `crimg show`).
    ///
    /// # Errors
    /// `Unsupported` when no decoded bytes are expected.
    pub fn skip_decoded(&mut self) -> Result {
        self.in_order(Awaits::Decoded)?;
        self.awaits = Awaits::PageData;
        self.skip_page_data()
    }

    /// [`Validator::page_data`] for a reader that put raw page data elsewhere and has only its CRC-32 (0
    /// for no data). The caller has read exactly [`ChunkHeader::stored_len`] bytes.
    ///
    /// # Errors
    /// `BadChecksum`; `Unsupported` for a compressed chunk.
    pub fn page_data_crc(&mut self, crc: u32) -> Result {
        self.in_order(Awaits::PageData)?;
        let h = self.current()?;
        if h.codec != CODEC_RAW {
            return Err(self.here(OUT_OF_ORDER));
        }
        self.check_crc(h.payload_crc, crc)?;
        self.skip_page_data()
    }

    /// The same for a reader that skips the page data and cannot say whether it is sound (`crimg show`).
    ///
    /// # Errors
    /// `Unsupported` when no page data is expected.
    pub fn skip_page_data(&mut self) -> Result {
        self.in_order(Awaits::PageData)?;
        let h = self.current()?;
        self.page_bytes = self.page_bytes.saturating_add(h.stored_len.into());
        self.advance(h.stored_len.into())?;
        self.awaits = Awaits::Header;
        Ok(())
    }

    fn end(&self, bytes: &[u8]) -> Result {
        let end = End::parse(bytes.first_chunk().ok_or(Error::rule("END-1"))?)?;
        let header_at = self.offset.saturating_sub(HEADER_LEN as u64);
        ensure(
            self.index_entries == self.entries && self.index_crc == self.entries_crc,
            "INDEX-2",
        )?;
        let index_len = header_at.saturating_sub(self.index_offset);
        ensure(
            end.index_offset == self.index_offset && end.index_len == index_len,
            "END-2",
        )?;
        ensure(end.chunks == self.chunks, "END-3")?;
        ensure(
            end.file_len == self.offset.saturating_add(end::LEN as u64),
            "END-4",
        )?;
        ensure(end.chain_crc == self.chain, "END-5")
    }

    /// The caller has come to the end of its input: `trailing` if there was still a byte.
    ///
    /// # Errors
    /// `Truncated` before the end of the image, `END-6` for anything behind it.
    pub fn finish(&self, trailing: bool) -> Result {
        if !self.is_complete() {
            return Err(self.truncated(0));
        }
        ensure(!trailing, "END-6").map_err(|e| self.here(e))
    }

    /// The error of a reader whose input ended: only `have` bytes of what is expected next were there.
    pub fn truncated(&self, have: u64) -> Error {
        let need = match (self.awaits, self.header) {
            (Awaits::Superblock, _) => superblock::LEN as u64,
            (Awaits::RunTable, _) => TABLE_LEN as u64,
            (Awaits::Payload | Awaits::PageData, Some(h)) => h.stored_len.into(),
            _ => HEADER_LEN as u64,
        };
        self.here(Error::truncated(need, have))
    }
}
