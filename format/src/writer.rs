// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! The writing side: makes superblock, headers, tables, index and end, in the order of the image.
//!
//! The mirror of [`crate::stream::Validator`]: it does no I/O. The caller writes the bytes it gets, then
//! the payload; index entries go to a [`Sink`] that the caller keeps until the end.

use crate::{
    chunk::{ChunkHeader, ChunkType, CODEC_RAW, CODEC_ZSTD, CRITICAL, HEADER_LEN},
    crc::{crc32, Crc},
    end::{self, End},
    error::{Error, Result},
    index::{IndexEntry, ENTRIES_PER_CHUNK, ENTRY_LEN},
    limits,
    record::{records, Sink},
    runs::{self, Run, Runs, TABLE_LEN},
    sections,
    superblock::{self, Superblock},
    wire::len64,
};

static ZEROS: [u8; 4096] = [0; 4096];

/// Bytes of a `PAGE` chunk in front of its page data.
pub const PAGE_HEAD_LEN: usize = 4096;
/// Bytes of a whole `END_` chunk.
pub const END_CHUNK_LEN: usize = HEADER_LEN + end::LEN;

/// How the page data of a chunk is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// As it is.
    Raw {
        /// CRC-32 of the page data, 0 if there is none.
        crc: u32,
    },
    /// One zstd frame and zeros behind it, [`padded`] bytes together.
    Zstd {
        /// Bytes of the frame.
        frame_len: u32,
        /// CRC-32 of frame and zeros.
        crc: u32,
        /// CRC-32 of the page data.
        raw_crc: u32,
    },
}

/// Bytes that a frame of this length takes in a chunk. It saves something only if that is less than the
/// page data; otherwise store it raw.
pub fn padded(frame_len: u32) -> u32 {
    // CAST: 4096.
    frame_len
        .checked_next_multiple_of(limits::PAGE as u32)
        .unwrap_or(u32::MAX)
}

/// Keeps offset, sequence numbers, chain and totals of one image being written.
#[derive(Clone, Debug)]
pub struct ImageWriter {
    crc: Crc,
    offset: u64,
    chain: u32,
    chunks: u64,
    index_offset: u64,
    last: (Option<ChunkType>, u16, u32),
    next_seq: u32,
}

impl Default for ImageWriter {
    fn default() -> Self {
        Self::new()
    }
}

impl ImageWriter {
    /// A writer before the first byte, with the plain [`crc32`].
    pub const fn new() -> Self {
        Self::with_crc(crc32)
    }

    /// A writer before the first byte, with another implementation of CRC-32.
    pub const fn with_crc(crc: Crc) -> Self {
        Self {
            crc,
            offset: 0,
            chain: 0,
            chunks: 0,
            index_offset: 0,
            last: (None, 0, 0),
            next_seq: 0,
        }
    }

    /// Bytes of image so far, including payloads of headers already given out.
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// Makes the first 4096 bytes.
    pub fn superblock(&mut self, superblock: &Superblock, out: &mut [u8; superblock::LEN]) {
        superblock.write(out, self.crc);
        self.chain = (self.crc)(0, &superblock::stored_crc(out).to_le_bytes());
        self.offset = superblock::LEN as u64;
    }

    fn emit(
        &mut self,
        mut h: ChunkHeader,
        index: Option<&mut dyn Sink>,
    ) -> Result<[u8; HEADER_LEN]> {
        if h.stored_len > limits::CHUNK_PAYLOAD {
            return Err(Error::over_limit(
                h.stored_len.into(),
                limits::CHUNK_PAYLOAD.into(),
            ));
        }
        let this = (Some(h.chunk_type), h.section, h.owner);
        h.seq = if self.last == this { self.next_seq } else { 0 };
        self.last = this;
        self.next_seq = h.seq.saturating_add(1);
        let bytes = h.encode(self.crc);
        if let Some(tail) = bytes.last_chunk::<4>() {
            h.header_crc = u32::from_le_bytes(*tail);
        }
        if let Some(index) = index {
            index.put(&IndexEntry::new(&h, self.offset).encode())?;
        }
        if h.chunk_type != ChunkType::End {
            self.chain = (self.crc)(self.chain, &h.header_crc.to_le_bytes());
            self.chunks = self.chunks.saturating_add(1);
        }
        self.offset = self.offset.saturating_add(h.chunk_len());
        Ok(bytes)
    }

    fn header(
        &self,
        chunk_type: ChunkType,
        payload_crc: u32,
        len: usize,
        items: u32,
    ) -> Result<ChunkHeader> {
        let stored_len = u32::try_from(len)
            .map_err(|_| Error::over_limit(len as u64, limits::CHUNK_PAYLOAD.into()))?;
        Ok(ChunkHeader {
            chunk_type,
            flags: 0,
            codec: CODEC_RAW,
            section: 0,
            seq: 0,
            owner: 0,
            key: 0,
            stored_len,
            raw_len: stored_len,
            items,
            table_crc: 0,
            payload_crc,
            raw_crc: payload_crc,
            frame_len: 0,
            header_crc: 0,
        })
    }

    /// Header of a `META` chunk; write it, then `payload` (whole records, see [`cut_records`]).
    /// `critical` counts for third-party sections only; the others are known.
    ///
    /// # Errors
    /// Record structure, `OverLimit` for more than 1 MiB, and errors of `index`.
    pub fn meta(
        &mut self,
        section: u16,
        critical: bool,
        payload: &[u8],
        index: &mut dyn Sink,
    ) -> Result<[u8; HEADER_LEN]> {
        self.meta_of(0, section, critical, payload, index)
    }

    /// [`ImageWriter::meta`] for records of process number `process`.
    ///
    /// # Errors
    /// The same.
    pub fn meta_of(
        &mut self,
        process: u32,
        section: u16,
        critical: bool,
        payload: &[u8],
        index: &mut dyn Sink,
    ) -> Result<[u8; HEADER_LEN]> {
        let mut items = 0_u32;
        for record in records(payload) {
            record.map_err(|e| e.placed(section, e.offset))?;
            items = items.saturating_add(1);
        }
        let h = self.header(
            ChunkType::Meta,
            (self.crc)(0, payload),
            payload.len(),
            items,
        )?;
        self.emit(
            ChunkHeader {
                section,
                owner: process,
                flags: critical_flag(section, critical),
                ..h
            },
            Some(index),
        )
    }

    /// Header and number of zero bytes (less than 4096) to write before the first `PAGE` chunk; `None`
    /// if the image is aligned already.
    ///
    /// # Errors
    /// Those of `index`.
    pub fn pad(&mut self, index: &mut dyn Sink) -> Result<Option<([u8; HEADER_LEN], usize)>> {
        let over = self.offset.checked_rem(limits::PAGE).unwrap_or(0);
        if over == 0 {
            return Ok(None);
        }
        let gap = limits::PAGE.saturating_sub(over);
        // A header that does not fit takes one page more. CAST: below 4096.
        let len = match gap.checked_sub(HEADER_LEN as u64) {
            Some(rest) => rest as usize,
            None => gap
                .saturating_add(limits::PAGE)
                .saturating_sub(HEADER_LEN as u64) as usize,
        };
        let crc = (self.crc)(0, ZEROS.get(..len).unwrap_or(&[]));
        let h = self.header(ChunkType::Pad, crc, len, 0)?;
        Ok(Some((self.emit(h, Some(index))?, len)))
    }

    /// Header and run table of a raw `PAGE` chunk: fills `out`; write it, then the pages of the `Data`
    /// runs. `data_crc` is the CRC-32 of those pages in order, 0 if there are none.
    ///
    /// # Errors
    /// Those of [`runs::encode`] and of `index`.
    #[expect(
        clippy::too_many_arguments,
        reason = "a struct for one call would only move the names"
    )]
    pub fn page(
        &mut self,
        section: u16,
        owner: u32,
        critical: bool,
        runs: &[Run],
        data_crc: u32,
        out: &mut [u8; PAGE_HEAD_LEN],
        index: &mut dyn Sink,
    ) -> Result {
        let stored = Stored::Raw { crc: data_crc };
        self.page_stored(section, owner, critical, runs, stored, out, index)
    }

    /// The same for page data that is stored as `stored` says; write `out`, then the stored bytes.
    ///
    /// # Errors
    /// Those of [`runs::encode`] and of `index`; `ZSTD-1` for a frame that does not save a block.
    #[expect(
        clippy::too_many_arguments,
        reason = "a struct for one call would only move the names"
    )]
    pub fn page_stored(
        &mut self,
        section: u16,
        owner: u32,
        critical: bool,
        runs: &[Run],
        stored: Stored,
        out: &mut [u8; PAGE_HEAD_LEN],
        index: &mut dyn Sink,
    ) -> Result {
        let Some((head, table)) = out.split_first_chunk_mut::<HEADER_LEN>() else {
            return Err(Error::no_space());
        };
        let Some(table) = table.first_chunk_mut::<TABLE_LEN>() else {
            return Err(Error::no_space());
        };
        runs::encode(runs, table)?;
        let items = u32::try_from(runs.len()).unwrap_or(u32::MAX);
        let bytes = Runs::parse(table, items)?.stored_bytes();
        // CAST: at most 1 MiB, as `Runs::parse` has checked.
        let raw = match stored {
            Stored::Raw { crc } => crc,
            Stored::Zstd { raw_crc, .. } => raw_crc,
        };
        let mut h = ChunkHeader {
            section,
            owner,
            flags: critical_flag(section, critical),
            key: runs.first().map_or(0, |r| r.start),
            table_crc: (self.crc)(0, table),
            ..self.header(ChunkType::Page, raw, bytes as usize, items)?
        };
        if let Stored::Zstd { frame_len, crc, .. } = stored {
            (h.codec, h.frame_len, h.payload_crc) = (CODEC_ZSTD, frame_len, crc);
            h.stored_len = padded(frame_len);
            if h.stored_len >= h.raw_len || frame_len == 0 {
                return Err(Error::rule("ZSTD-1"));
            }
        }
        *head = self.emit(h, Some(index))?;
        Ok(())
    }

    /// Header of a chunk that is taken over from another image with its payload as it is: equal to the old
    /// one but for the sequence number. Write it, and behind it everything that followed the old one.
    ///
    /// # Errors
    /// Those of `index`.
    pub fn keep(&mut self, header: &ChunkHeader, index: &mut dyn Sink) -> Result<[u8; HEADER_LEN]> {
        self.emit(*header, Some(index))
    }

    /// Header of an `INDX` chunk; write it, then `entries`: the next piece of what the sink has got, cut
    /// with [`cut_index`].
    ///
    /// # Errors
    /// `OverLimit` for more entries than a chunk can have.
    pub fn index(&mut self, entries: &[u8]) -> Result<[u8; HEADER_LEN]> {
        if self.last.0 != Some(ChunkType::Index) {
            self.index_offset = self.offset;
        }
        let items =
            u32::try_from(entries.len().checked_div(ENTRY_LEN).unwrap_or(0)).unwrap_or(u32::MAX);
        if items > ENTRIES_PER_CHUNK {
            return Err(Error::over_limit(items.into(), ENTRIES_PER_CHUNK.into()));
        }
        let h = self.header(
            ChunkType::Index,
            (self.crc)(0, entries),
            entries.len(),
            items,
        )?;
        self.emit(h, None)
    }

    /// The last 128 bytes of the image.
    ///
    /// # Errors
    /// None in practice.
    pub fn end(&mut self) -> Result<[u8; END_CHUNK_LEN]> {
        let end = End {
            index_offset: self.index_offset,
            index_len: self.offset.saturating_sub(self.index_offset),
            chunks: self.chunks,
            file_len: self.offset.saturating_add(END_CHUNK_LEN as u64),
            chain_crc: self.chain,
        }
        .encode();
        let h = self.header(ChunkType::End, (self.crc)(0, &end), end.len(), 0)?;
        let header = self.emit(
            ChunkHeader {
                flags: CRITICAL,
                ..h
            },
            None,
        )?;
        let mut out = [0; END_CHUNK_LEN];
        crate::wire::Put(&mut out).bytes(&header).bytes(&end);
        Ok(out)
    }
}

fn critical_flag(section: u16, critical: bool) -> u16 {
    if sections::by_id(section).map_or(critical, |s| s.critical) {
        CRITICAL
    } else {
        0
    }
}

/// Cuts the next chunk's worth of whole records off `rest`; `None` when it is empty.
///
/// # Errors
/// Record structure, with the offset in `rest`.
pub fn cut_records<'a>(rest: &mut &'a [u8]) -> Option<Result<&'a [u8]>> {
    let mut len = 0_u64;
    for record in records(rest) {
        match record {
            Err(e) => {
                *rest = &[];
                return Some(Err(e));
            }
            Ok(r) => {
                let end = r.offset.saturating_add(len64(r.bytes()));
                if end > limits::CHUNK_PAYLOAD.into() {
                    break;
                }
                len = end;
            }
        }
    }
    if len == 0 {
        return None;
    }
    // CAST: at most 1 MiB.
    let (head, tail) = rest.split_at_checked(len as usize)?;
    *rest = tail;
    Some(Ok(head))
}

/// Cuts the next chunk's worth of index entries off `rest`; `None` when it is empty.
pub fn cut_index<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    if rest.is_empty() {
        return None;
    }
    let most = (ENTRIES_PER_CHUNK as usize).saturating_mul(ENTRY_LEN);
    let (head, tail) = rest.split_at_checked(most.min(rest.len()))?;
    *rest = tail;
    Some(head)
}
