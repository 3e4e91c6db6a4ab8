// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Where the bytes of an ELF file come from: a file, or memory of the process.

use std::{fs::File, os::unix::fs::FileExt};

/// Bytes that can be read at any offset.
pub trait Source {
    /// Reads the whole of `buf` at `offset`; `None` if a byte of it is missing or cannot be read.
    fn read(&self, offset: u64, buf: &mut [u8]) -> Option<()>;
    /// Bytes that there are at most.
    fn len(&self) -> u64;
    /// Is there nothing?
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// `len` bytes at `offset`. Nothing is allocated if there are fewer, or if they are more than `most`.
    fn bytes(&self, offset: u64, len: u64, most: u64) -> Option<Vec<u8>> {
        if len > most || offset.checked_add(len)? > self.len() {
            return None;
        }
        let mut buf = vec![0; usize::try_from(len).ok()?];
        self.read(offset, &mut buf)?;
        Some(buf)
    }
}

impl Source for File {
    fn read(&self, offset: u64, buf: &mut [u8]) -> Option<()> {
        self.read_exact_at(buf, offset).ok()
    }
    fn len(&self) -> u64 {
        self.metadata().map_or(0, |m| m.len())
    }
}

/// Bytes in memory.
pub struct Slice(pub Vec<u8>);

impl Source for Slice {
    fn read(&self, offset: u64, buf: &mut [u8]) -> Option<()> {
        let start = usize::try_from(offset).ok()?;
        let end = start.checked_add(buf.len())?;
        buf.copy_from_slice(self.0.get(start..end)?);
        Some(())
    }
    fn len(&self) -> u64 {
        self.0.len() as u64
    }
}
