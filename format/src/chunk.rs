// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! The 64-byte chunk header, before every chunk of the image.
//!
//! Source: spec, chapter "Chunks".

use crate::{
    crc::Crc,
    error::{ensure, Error, ErrorKind, Result},
    limits,
    wire::{Put, Take},
};

/// Bytes of a chunk header.
pub const HEADER_LEN: usize = 64;
/// First four bytes of every chunk header, `CHNK`.
pub const MAGIC: [u8; 4] = *b"CHNK";
/// Version of every chunk type in this release.
pub const TYPE_VERSION: u16 = 1;
/// Flag: a reader that does not know the section must refuse to restart the image.
pub const CRITICAL: u16 = 1;
/// Codec: stored as it is.
pub const CODEC_RAW: u16 = 0;
/// Codec of page data: one zstd frame, then zeros up to a multiple of 4096; see [`crate::zstd`].
pub const CODEC_ZSTD: u16 = 1;

/// What a chunk holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkType {
    /// Whole records of one section.
    Meta,
    /// Zeros, to align what follows.
    Pad,
    /// Run table and page data.
    Page,
    /// Index entries.
    Index,
    /// The end of the image.
    End,
}

impl ChunkType {
    /// The four characters in the image.
    pub const fn code(self) -> [u8; 4] {
        *match self {
            Self::Meta => b"META",
            Self::Pad => b"PAD_",
            Self::Page => b"PAGE",
            Self::Index => b"INDX",
            Self::End => b"END_",
        }
    }
    /// The type with these four characters.
    pub const fn from_code(code: [u8; 4]) -> Option<Self> {
        Some(match &code {
            b"META" => Self::Meta,
            b"PAD_" => Self::Pad,
            b"PAGE" => Self::Page,
            b"INDX" => Self::Index,
            b"END_" => Self::End,
            _ => return None,
        })
    }
}

/// A chunk header; its layout is the order of the fields in the spec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkHeader {
    /// What the chunk holds.
    pub chunk_type: ChunkType,
    /// [`CRITICAL`] or 0.
    pub flags: u16,
    /// [`CODEC_RAW`] or, in `PAGE`, [`CODEC_ZSTD`].
    pub codec: u16,
    /// Section id of `META` and `PAGE`, else 0.
    pub section: u16,
    /// 0, 1, 2 … among the chunks of the same type, section and owner.
    pub seq: u32,
    /// `PAGE`: object that the pages belong to. `META`: number of the process that the records are about. Else 0.
    pub owner: u32,
    /// Start of the first run; 0 except in `PAGE`.
    pub key: u64,
    /// Bytes of the payload as stored. `PAGE`: of the page data, without the run table.
    pub stored_len: u32,
    /// Bytes of the payload decoded.
    pub raw_len: u32,
    /// Records, runs or index entries.
    pub items: u32,
    /// CRC-32 of the 4032 bytes of run table; 0 except in `PAGE`.
    pub table_crc: u32,
    /// CRC-32 of the payload as stored.
    pub payload_crc: u32,
    /// CRC-32 of the payload decoded.
    pub raw_crc: u32,
    /// Bytes of the zstd frame, without the zeros behind it; 0 in a raw chunk.
    pub frame_len: u32,
    /// CRC-32 of bytes 0 to 59 of the header.
    pub header_crc: u32,
}

impl ChunkHeader {
    /// Decodes and checks a header by itself: magic, checksum, known values, limits. What depends on the
    /// chunks before it is checked by [`crate::stream::Validator`].
    ///
    /// # Errors
    /// `CHUNK-1` for the magic, `BadChecksum`, `Unsupported` for an unknown type, version, flag or codec,
    /// `OverLimit` for a longer payload, `CHUNK-2` to `CHUNK-6`, `ZSTD-1`. The offset of the error is 0.
    pub fn parse(bytes: &[u8; HEADER_LEN], crc: Crc) -> Result<Self> {
        let mut take = Take(bytes);
        ensure(take.array() == MAGIC, "CHUNK-1")?;
        let (code, version, flags) = (take.array(), take.u16(), take.u16());
        let (codec, section) = (take.u16(), take.u16());
        let (seq, owner, key) = (take.u32(), take.u32(), take.u64());
        let (stored_len, raw_len, items) = (take.u32(), take.u32(), take.u32());
        let (table_crc, payload_crc, raw_crc) = (take.u32(), take.u32(), take.u32());
        let (frame_len, header_crc) = (take.u32(), take.u32());
        let computed = crc(0, bytes.get(..60).unwrap_or(&[]));
        if computed != header_crc {
            return Err(Error::at(
                ErrorKind::BadChecksum {
                    stored: header_crc,
                    computed,
                },
                0,
            ));
        }
        let chunk_type = ChunkType::from_code(code).ok_or(Error::unsupported("chunk type"))?;
        if version != TYPE_VERSION {
            return Err(Error::unsupported("version of a chunk type"));
        }
        if flags & !CRITICAL != 0 {
            return Err(Error::unsupported("chunk flag"));
        }
        if codec != CODEC_RAW && codec != CODEC_ZSTD {
            return Err(Error::unsupported("codec of a chunk"));
        }
        let header = Self {
            chunk_type,
            flags,
            codec,
            section,
            seq,
            owner,
            key,
            stored_len,
            raw_len,
            items,
            table_crc,
            payload_crc,
            raw_crc,
            frame_len,
            header_crc,
        };
        header.check()?;
        Ok(header)
    }

    fn check(&self) -> Result {
        let longest = self.stored_len.max(self.raw_len);
        if longest > limits::CHUNK_PAYLOAD {
            return Err(Error::over_limit(
                longest.into(),
                limits::CHUNK_PAYLOAD.into(),
            ));
        }
        let pages = self.chunk_type == ChunkType::Page;
        if self.codec == CODEC_RAW {
            ensure(self.frame_len == 0, "CHUNK-2")?;
            ensure(
                self.raw_len == self.stored_len && self.raw_crc == self.payload_crc,
                "CHUNK-3",
            )?;
        } else {
            ensure(pages, "CHUNK-6")?;
            let padding = self.stored_len.checked_sub(self.frame_len);
            let sound = self.frame_len > 0
                && padding.is_some_and(|n| u64::from(n) < limits::PAGE)
                && u64::from(self.stored_len) % limits::PAGE == 0
                && self.stored_len < self.raw_len;
            ensure(sound, "ZSTD-1")?;
        }
        let sectioned = pages || self.chunk_type == ChunkType::Meta;
        ensure(sectioned || self.owner == 0, "CHUNK-4")?;
        ensure(pages || (self.key == 0 && self.table_crc == 0), "CHUNK-4")?;
        ensure(sectioned == (self.section != 0), "CHUNK-4")?;
        let critical = self.flags & CRITICAL != 0;
        let sound = match self.chunk_type {
            ChunkType::Meta | ChunkType::Page => match crate::sections::by_id(self.section) {
                Some(known) => known.critical == critical,
                None => true,
            },
            ChunkType::End => critical,
            ChunkType::Pad | ChunkType::Index => !critical,
        };
        ensure(sound, "CHUNK-5")
    }

    /// The 64 bytes, with the checksum over them; `header_crc` of `self` is ignored.
    pub fn encode(&self, crc: Crc) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        Put(&mut bytes)
            .bytes(&MAGIC)
            .bytes(&self.chunk_type.code())
            .u16(TYPE_VERSION)
            .u16(self.flags)
            .u16(self.codec)
            .u16(self.section)
            .u32(self.seq)
            .u32(self.owner)
            .u64(self.key)
            .u32(self.stored_len)
            .u32(self.raw_len)
            .u32(self.items)
            .u32(self.table_crc)
            .u32(self.payload_crc)
            .u32(self.raw_crc)
            .u32(self.frame_len)
            .u32(0);
        let sum = crc(0, bytes.get(..60).unwrap_or(&[]));
        if let Some(tail) = bytes.last_chunk_mut::<4>() {
            *tail = sum.to_le_bytes();
        }
        bytes
    }

    /// Bytes of the whole chunk: header, run table of a `PAGE` chunk, payload.
    pub fn chunk_len(&self) -> u64 {
        let table = if self.chunk_type == ChunkType::Page {
            crate::runs::TABLE_LEN as u64
        } else {
            0
        };
        (HEADER_LEN as u64)
            .saturating_add(table)
            .saturating_add(self.stored_len.into())
    }

    /// Must a reader that does not know the section refuse the image?
    pub const fn is_critical(&self) -> bool {
        self.flags & CRITICAL != 0
    }
}
