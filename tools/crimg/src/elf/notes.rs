// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Notes: typed pieces of data with the name of who defines the type.

use super::u32_at;

/// `NT_GNU_BUILD_ID`.
const NT_GNU_BUILD_ID: u32 = 3;
/// Longest build id that is believed.
const BUILD_ID_MAX: usize = 64;

/// One note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Note<'a> {
    /// Who defines the type, without the NUL.
    pub name: &'a [u8],
    /// Type.
    pub kind: u32,
    /// Contents.
    pub desc: &'a [u8],
}

/// The notes of a segment or section, as far as they are whole. Name and contents are padded to 4 bytes.
pub fn notes(bytes: &[u8]) -> impl Iterator<Item = Note<'_>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let name_len = usize::try_from(u32_at(rest, 0)?).ok()?;
        let desc_len = usize::try_from(u32_at(rest, 4)?).ok()?;
        let kind = u32_at(rest, 8)?;
        let desc_at = 12_usize
            .checked_add(name_len)?
            .checked_next_multiple_of(4)?;
        let name = rest.get(12..12_usize.checked_add(name_len)?)?;
        let end = desc_at.checked_add(desc_len)?;
        let desc = rest.get(desc_at..end)?;
        let next = end.checked_next_multiple_of(4)?;
        // The last one need not be padded. Every round takes at least 12 bytes, so this ends.
        rest = rest.get(next..).unwrap_or(&[]);
        let name = name.split(|b| *b == 0).next().unwrap_or(&[]);
        Some(Note { name, kind, desc })
    })
}

/// The GNU build id among the notes.
pub fn build_id(bytes: &[u8]) -> Option<Vec<u8>> {
    notes(bytes)
        .find(|n| n.name == b"GNU" && n.kind == NT_GNU_BUILD_ID)
        .map(|n| n.desc)
        .filter(|d| !d.is_empty() && d.len() <= BUILD_ID_MAX)
        .map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(name: &[u8], kind: u32, desc: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend((name.len() as u32).to_le_bytes());
        out.extend((desc.len() as u32).to_le_bytes());
        out.extend(kind.to_le_bytes());
        out.extend(name);
        out.resize(out.len().next_multiple_of(4), 0);
        out.extend(desc);
        out.resize(out.len().next_multiple_of(4), 0);
        out
    }

    #[test]
    fn a_build_id_is_found_behind_other_notes() {
        let mut bytes = note(b"GNU\0", 1, &[1, 2, 3]);
        bytes.extend(note(b"GNU\0", 3, &[0xab; 20]));
        assert_eq!(notes(&bytes).count(), 2);
        assert_eq!(build_id(&bytes), Some(vec![0xab; 20]));
        assert_eq!(build_id(&note(b"GNU\0", 3, &[])), None);
        assert_eq!(build_id(&note(b"GNU\0", 3, &[1; 65])), None);
    }

    #[test]
    fn broken_notes_end_the_list() {
        let whole = note(b"CORE\0", 1, &[7; 9]);
        for cut in 0..12 + 8 + 9 {
            assert_eq!(notes(&whole[..cut]).count(), 0, "{cut}");
        }
        // Without the padding behind it.
        assert_eq!(notes(&whole[..12 + 8 + 9]).count(), 1);
        let mut huge = whole;
        huge[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(notes(&huge).count(), 0);
    }
}
