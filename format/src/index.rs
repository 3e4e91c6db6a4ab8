// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Index entries: a copy of what the chunk headers say, for tools that want to seek.
//!
//! The index is derived data. A reader rebuilds it from the headers it has read and compares; it never
//! believes it. Source: spec, chapter "Index".

use crate::{
    chunk::ChunkHeader,
    wire::{Put, Take},
};

/// Bytes of an entry.
pub const ENTRY_LEN: usize = 48;
/// Entries of every `INDX` chunk but the last.
pub const ENTRIES_PER_CHUNK: u32 = crate::limits::CHUNK_PAYLOAD / 48;

/// One chunk, as the index has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// Four characters of the chunk type.
    pub code: [u8; 4],
    /// Section id.
    pub section: u16,
    /// Codec.
    pub codec: u16,
    /// Owner of the pages.
    pub owner: u32,
    /// Records, runs or entries.
    pub items: u32,
    /// Start of the first run.
    pub key: u64,
    /// Offset of the chunk header in the image.
    pub offset: u64,
    /// Bytes of the payload as stored.
    pub stored_len: u32,
    /// Bytes of the payload decoded.
    pub raw_len: u32,
    /// CRC-32 of the chunk header.
    pub header_crc: u32,
    /// CRC-32 of the payload decoded.
    pub raw_crc: u32,
}

impl IndexEntry {
    /// The entry of the chunk with this header at `offset`.
    pub const fn new(header: &ChunkHeader, offset: u64) -> Self {
        Self {
            code: header.chunk_type.code(),
            section: header.section,
            codec: header.codec,
            owner: header.owner,
            items: header.items,
            key: header.key,
            offset,
            stored_len: header.stored_len,
            raw_len: header.raw_len,
            header_crc: header.header_crc,
            raw_crc: header.raw_crc,
        }
    }

    /// The 48 bytes.
    pub fn encode(&self) -> [u8; ENTRY_LEN] {
        let mut bytes = [0; ENTRY_LEN];
        Put(&mut bytes)
            .bytes(&self.code)
            .u16(self.section)
            .u16(self.codec)
            .u32(self.owner)
            .u32(self.items)
            .u64(self.key)
            .u64(self.offset)
            .u32(self.stored_len)
            .u32(self.raw_len)
            .u32(self.header_crc)
            .u32(self.raw_crc);
        bytes
    }

    /// Decodes an entry; every value is possible.
    pub fn parse(bytes: &[u8; ENTRY_LEN]) -> Self {
        let mut take = Take(bytes);
        Self {
            code: take.array(),
            section: take.u16(),
            codec: take.u16(),
            owner: take.u32(),
            items: take.u32(),
            key: take.u64(),
            offset: take.u64(),
            stored_len: take.u32(),
            raw_len: take.u32(),
            header_crc: take.u32(),
            raw_crc: take.u32(),
        }
    }
}
