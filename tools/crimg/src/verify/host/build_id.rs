// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! The GNU build id of an ELF file, found through its program headers.
//!
//! The file is as little trusted as an image: everything is bounded and read with `pread`.

use std::{fs::File, os::unix::fs::FileExt};

/// `PT_NOTE`.
const NOTE: u32 = 4;
/// `NT_GNU_BUILD_ID`.
const BUILD_ID: u32 = 3;
/// Program headers that are looked at.
const HEADERS: u16 = 128;
/// Bytes of a note segment that are looked at.
const NOTES: u64 = 64 << 10;

/// The build id, up to 64 bytes.
pub(super) fn of(file: &File) -> Option<Vec<u8>> {
    let mut head = [0; 64];
    file.read_exact_at(&mut head, 0).ok()?;
    // 64 bits, little-endian.
    if head.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let table = word(&head, 32)?;
    let (size, count) = (half(&head, 54)?, half(&head, 56)?);
    if size < 56 {
        return None;
    }
    for n in 0..count.min(HEADERS) {
        let at = table.checked_add(u64::from(n).checked_mul(size.into())?)?;
        let mut header = [0; 56];
        file.read_exact_at(&mut header, at).ok()?;
        if int(&header, 0)? != NOTE {
            continue;
        }
        let (offset, len) = (word(&header, 8)?, word(&header, 32)?);
        let mut notes = vec![0; usize::try_from(len.min(NOTES)).ok()?];
        if file.read_exact_at(&mut notes, offset).is_err() {
            continue;
        }
        if let Some(id) = in_notes(&notes) {
            return Some(id);
        }
    }
    None
}

fn in_notes(notes: &[u8]) -> Option<Vec<u8>> {
    let mut at = 0_usize;
    loop {
        let (name, len, kind) = (
            int(notes, at)?,
            int(notes, at.checked_add(4)?)?,
            int(notes, at.checked_add(8)?)?,
        );
        let padded = |n: u32| usize::try_from(n).ok()?.checked_next_multiple_of(4);
        let name_at = at.checked_add(12)?;
        let at_id = name_at.checked_add(padded(name)?)?;
        let next = at_id.checked_add(padded(len)?)?;
        if kind == BUILD_ID && notes.get(name_at..name_at.checked_add(4)?)? == b"GNU\0" {
            let end = at_id.checked_add(usize::try_from(len.min(64)).ok()?)?;
            return notes.get(at_id..end).map(<[u8]>::to_vec);
        }
        at = next;
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn int(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_id_is_found_behind_other_notes() {
        let mut notes = Vec::new();
        for (kind, desc) in [(5_u32, &b"12345"[..]), (3, b"\xab\xcd\xef\x01")] {
            notes.extend(4_u32.to_le_bytes());
            notes.extend((desc.len() as u32).to_le_bytes());
            notes.extend(kind.to_le_bytes());
            notes.extend(b"GNU\0");
            notes.extend(desc);
            notes.resize(notes.len().next_multiple_of(4), 0);
        }
        assert_eq!(in_notes(&notes).as_deref(), Some(&b"\xab\xcd\xef\x01"[..]));
        assert_eq!(in_notes(&notes[..20]), None);
        assert_eq!(in_notes(&[0xff; 40]), None);
    }
}
