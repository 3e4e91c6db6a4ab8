// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! The first 4096 bytes: what the image is and which reader can take it.
//!
//! Source: spec, chapter "Superblock".

use crate::{
    crc::Crc,
    error::{ensure, Error, ErrorKind, Result},
    wire::{is_zero, Put, Take},
};

/// Bytes of the superblock.
pub const LEN: usize = 4096;
/// `\x89CKPT\r\n\x1a`: damaged by any transfer in text mode.
pub const SIGNATURE: [u8; 8] = *b"\x89CKPT\r\n\x1a";
/// Major version of this crate.
pub const MAJOR: u16 = 1;
/// Minor version of this crate.
pub const MINOR: u16 = 0;
/// ELF machine number of x86-64, the only one in this release.
pub const EM_X86_64: u16 = 62;
/// Flag: made for looking at only; the kernel refuses to restart it.
pub const NOT_RESTARTABLE: u32 = 1;
/// Incompatible feature: page data may be compressed with zstd.
pub const ZSTD: u32 = 1;
/// Incompatible feature: page data may be in a parent image. Defined, but no reader of this release
/// restarts such an image.
pub const PARENT: u32 = 2;
/// Incompatible feature: the image has more than one process.
pub const PROCESSES: u32 = 4;
/// Incompatible features that this crate can read.
pub const KNOWN_INCOMPAT: u32 = ZSTD | PARENT | PROCESSES;

/// The superblock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// Format version, changes that old readers cannot take.
    pub major: u16,
    /// Format version, additions.
    pub minor: u16,
    /// Features that a reader may ignore.
    pub feature_compat: u32,
    /// Features that an editor must know.
    pub feature_ro_compat: u32,
    /// Features that a reader must know.
    pub feature_incompat: u32,
    /// Id of this image.
    pub uuid: [u8; 16],
    /// Id of the image that this one adds to, with feature [`PARENT`]; else zero.
    pub parent_uuid: [u8; 16],
    /// Time of the checkpoint, nanoseconds since 1970 UTC.
    pub created_ns: u64,
    /// Program that wrote the image, NUL-padded.
    pub writer: [u8; 32],
    /// [`NOT_RESTARTABLE`] or 0.
    pub flags: u32,
}

impl Superblock {
    /// A superblock of this release. `writer` is cut to 32 bytes.
    pub fn new(uuid: [u8; 16], created_ns: u64, writer: &[u8]) -> Self {
        let mut name = [0; 32];
        for (to, from) in name.iter_mut().zip(writer.iter().take_while(|&&b| b != 0)) {
            *to = *from;
        }
        Self {
            major: MAJOR,
            minor: MINOR,
            feature_compat: 0,
            feature_ro_compat: 0,
            feature_incompat: 0,
            uuid,
            parent_uuid: [0; 16],
            created_ns,
            writer: name,
            flags: 0,
        }
    }

    /// Decodes and checks a superblock.
    ///
    /// # Errors
    /// `SUPER-1` when it is no image at all, `BadChecksum`, `Unsupported` for a newer major version, an
    /// unknown incompatible feature, another machine, page size or alignment; `SUPER-2` to `SUPER-5`.
    pub fn parse(bytes: &[u8; LEN], crc: Crc) -> Result<Self> {
        let mut take = Take(bytes);
        ensure(take.array() == SIGNATURE, "SUPER-1")?;
        let body = bytes.get(..4092).unwrap_or(&[]);
        let stored = Take(bytes.get(4092..).unwrap_or(&[])).u32();
        let computed = crc(0, body);
        if stored != computed {
            return Err(Error::at(ErrorKind::BadChecksum { stored, computed }, 0));
        }
        let header_len = take.u32();
        let (major, minor) = (take.u16(), take.u16());
        if major != MAJOR {
            return Err(Error::unsupported("major version of the image"));
        }
        ensure(header_len == LEN as u32, "SUPER-2")?;
        let (feature_compat, feature_ro_compat, feature_incompat) =
            (take.u32(), take.u32(), take.u32());
        if feature_incompat & !KNOWN_INCOMPAT != 0 {
            return Err(Error::unsupported("incompatible feature of the image"));
        }
        let (machine, class, data) = (take.u16(), take.u8(), take.u8());
        if (machine, class, data) != (EM_X86_64, 2, 1) {
            return Err(Error::unsupported("machine other than x86-64"));
        }
        let (page_shift, align_shift) = (take.u8(), take.u8());
        if (page_shift, align_shift) != (12, 12) {
            return Err(Error::unsupported("page size or alignment other than 4096"));
        }
        ensure(is_zero(&take.array::<6>()), "SUPER-3")?;
        let (uuid, parent_uuid, created_ns) = (take.array(), take.array(), take.u64());
        let writer: [u8; 32] = take.array();
        let flags = take.u32();
        ensure(
            is_zero(&parent_uuid) == (feature_incompat & PARENT == 0),
            "SUPER-5",
        )?;
        if flags & !NOT_RESTARTABLE != 0 {
            return Err(Error::unsupported("superblock flag"));
        }
        ensure(
            writer.iter().skip_while(|&&b| b != 0).all(|&b| b == 0),
            "SUPER-4",
        )?;
        ensure(is_zero(bytes.get(116..4092).unwrap_or(&[])), "SUPER-3")?;
        Ok(Self {
            major,
            minor,
            feature_compat,
            feature_ro_compat,
            feature_incompat,
            uuid,
            parent_uuid,
            created_ns,
            writer,
            flags,
        })
    }

    /// Writes the 4096 bytes.
    pub fn write(&self, out: &mut [u8; LEN], crc: Crc) {
        out.fill(0);
        Put(out)
            .bytes(&SIGNATURE)
            .u32(LEN as u32)
            .u16(self.major)
            .u16(self.minor)
            .u32(self.feature_compat)
            .u32(self.feature_ro_compat)
            .u32(self.feature_incompat)
            .u16(EM_X86_64)
            .bytes(&[2, 1, 12, 12])
            .bytes(&[0; 6])
            .bytes(&self.uuid)
            .bytes(&self.parent_uuid)
            .u64(self.created_ns)
            .bytes(&self.writer)
            .u32(self.flags);
        let sum = crc(0, out.get(..4092).unwrap_or(&[]));
        if let Some(tail) = out.last_chunk_mut::<4>() {
            *tail = sum.to_le_bytes();
        }
    }

    /// The writer without its padding.
    pub fn writer_name(&self) -> &[u8] {
        self.writer.split(|&b| b == 0).next().unwrap_or(&[])
    }

    /// May the kernel restart this image, as far as the superblock says?
    pub const fn is_restartable(&self) -> bool {
        self.flags & NOT_RESTARTABLE == 0
    }
}

/// The checksum at the end of an encoded superblock.
pub(crate) fn stored_crc(bytes: &[u8; LEN]) -> u32 {
    Take(bytes.get(4092..).unwrap_or(&[])).u32()
}
