// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! The payload of the `END_` chunk: totals that were not known before, and proof that nothing is missing.
//!
//! Source: spec, chapter "End".

use crate::{
    error::{ensure, Result},
    wire::{is_zero, Put, Take},
};

/// Bytes of the payload.
pub const LEN: usize = 64;

/// Totals of the image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct End {
    /// Offset of the first `INDX` chunk.
    pub index_offset: u64,
    /// Bytes of all `INDX` chunks with their headers.
    pub index_len: u64,
    /// Number of chunks before `END_`.
    pub chunks: u64,
    /// Length of the whole image.
    pub file_len: u64,
    /// CRC-32 over the superblock's CRC and the header CRC of each chunk before `END_`, in order.
    pub chain_crc: u32,
}

impl End {
    /// Decodes the payload.
    ///
    /// # Errors
    /// `END-1` when the spare part is not zero.
    pub fn parse(bytes: &[u8; LEN]) -> Result<Self> {
        let mut take = Take(bytes);
        let end = Self {
            index_offset: take.u64(),
            index_len: take.u64(),
            chunks: take.u64(),
            file_len: take.u64(),
            chain_crc: take.u32(),
        };
        ensure(is_zero(take.rest()), "END-1")?;
        Ok(end)
    }

    /// The 64 bytes.
    pub fn encode(&self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        Put(&mut bytes)
            .u64(self.index_offset)
            .u64(self.index_len)
            .u64(self.chunks)
            .u64(self.file_len)
            .u32(self.chain_crc);
        bytes
    }
}
