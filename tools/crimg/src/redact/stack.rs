// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Arguments and environment as the kernel has put them on the stack.

use crate::{error::Failure, memory::Memory};

/// Most bytes of arguments or environment that are read: the kernel takes a quarter of the stack limit,
/// usually 2 MiB.
const LONGEST: u64 = 16 << 20;

/// One string of the vector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Address of its first byte.
    pub start: u64,
    /// Its bytes, without the NUL.
    pub bytes: Vec<u8>,
}

impl Entry {
    /// Offset of the value: behind the first `=`; 0 if there is none.
    pub fn value(&self) -> usize {
        let name = self.bytes.iter().position(|b| *b == b'=');
        name.map_or(0, |n| n.saturating_add(1))
    }
    /// What stands in front of the first `=`.
    pub fn name(&self) -> &[u8] {
        let len = self.value().saturating_sub(1);
        self.bytes.get(..len).unwrap_or(&[])
    }
}

/// The strings between two addresses, as far as they can be read.
///
/// # Errors
/// [`Failure::Read`], [`Failure::Defect`].
pub fn strings(memory: &Memory<'_>, start: u64, end: u64) -> Result<Vec<Entry>, Failure> {
    let len = end.saturating_sub(start).min(LONGEST);
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
    let have = memory.read(start, &mut bytes)?;
    bytes.truncate(have);
    let mut entries = Vec::new();
    let mut at = start;
    for part in bytes.split(|b| *b == 0) {
        if !part.is_empty() {
            entries.push(Entry {
                start: at,
                bytes: part.to_vec(),
            });
        }
        at = at.saturating_add(part.len() as u64).saturating_add(1);
    }
    Ok(entries)
}
