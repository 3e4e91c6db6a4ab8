// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! The outside of a zstd frame: what must hold before a decoder sees the bytes.
//!
//! A frame may declare a window of gigabytes, a dictionary, or no length at all. Those of an image may
//! not: the decoded length is stated and known, the window is the contents, and the blocks end where the
//! frame must end. So a decoder needs a bounded workspace and writes into a buffer of known size. The
//! contents themselves are proven by the checksum over the decoded bytes.
//!
//! Source: RFC 8878, chapters 3.1.1 and 3.1.1.2; spec, chapter "Compressed page data".

use crate::{
    error::{ensure, Result},
    wire::{is_zero, Take},
};

/// First four bytes of a frame, little-endian.
const MAGIC: u32 = 0xfd2f_b528;
/// Frame header descriptor: the window is the whole contents, no window descriptor follows.
const SINGLE_SEGMENT: u8 = 0x20;
/// Frame header descriptor: bits that an image must not set: reserved, unused, checksum, dictionary.
const FORBIDDEN: u8 = 0x1f;
/// Largest block, bytes: `Block_Maximum_Size`.
const BLOCK_MAX: u32 = 128 << 10;

/// Checks the stored bytes of a compressed chunk: one frame of `frame_len` bytes that says it decodes to
/// `raw_len` bytes, then zeros.
///
/// # Errors
/// `ZSTD-3` for a frame header of another form, `ZSTD-4` when the blocks do not end with the frame,
/// `ZSTD-5` for anything behind the frame but zeros.
pub fn check_frame(stored: &[u8], frame_len: u32, raw_len: u32) -> Result {
    // CAST: u32 to usize on a 64-bit machine.
    let (frame, padding) = stored
        .split_at_checked(frame_len as usize)
        .ok_or(crate::Error::rule("ZSTD-4"))?;
    let mut take = Take(frame);
    ensure(take.u32() == MAGIC, "ZSTD-3")?;
    let descriptor = take.u8();
    ensure(
        descriptor & SINGLE_SEGMENT != 0 && descriptor & FORBIDDEN == 0,
        "ZSTD-3",
    )?;
    // Frame_Content_Size_Flag.
    let content = match descriptor >> 6 {
        0 => u64::from(take.u8()),
        1 => u64::from(take.u16()).saturating_add(256),
        2 => take.u32().into(),
        _ => take.u64(),
    };
    ensure(content == u64::from(raw_len), "ZSTD-3")?;
    blocks(take.rest())?;
    ensure(is_zero(padding), "ZSTD-5")
}

/// Walks the blocks: the last one ends at the end.
fn blocks(mut rest: &[u8]) -> Result {
    loop {
        let mut take = Take(rest);
        ensure(rest.len() >= 3, "ZSTD-4")?;
        let [a, b, c] = take.array::<3>();
        let header = u32::from_le_bytes([a, b, c, 0]);
        let (last, kind, size) = (header & 1 != 0, header >> 1 & 3, header >> 3);
        ensure(kind != 3 && size <= BLOCK_MAX, "ZSTD-4")?;
        // Block_Type RLE stores one byte.
        let stored = if kind == 1 { 1 } else { size as usize };
        rest = take
            .rest()
            .get(stored..)
            .ok_or(crate::Error::rule("ZSTD-4"))?;
        if last {
            return ensure(rest.is_empty(), "ZSTD-4");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// A frame of one RLE block.
    fn rle(len: u32) -> Vec<u8> {
        let mut f = MAGIC.to_le_bytes().to_vec();
        f.push(0x80 | SINGLE_SEGMENT);
        f.extend(len.to_le_bytes());
        f.extend(&(1 | 1 << 1 | len << 3).to_le_bytes()[..3]);
        f.push(7);
        f
    }

    fn check(f: &[u8], raw_len: u32) -> Result {
        check_frame(f, f.len() as u32, raw_len)
    }

    #[test]
    fn a_frame_of_known_length_passes_and_every_other_form_does_not() {
        let good = rle(8192);
        assert_eq!(check(&good, 8192), Ok(()));
        assert!(check(&good, 4096).is_err());
        for at in 0..8 {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                assert!(check(&bad, 8192).is_err(), "byte {at} bit {bit}");
            }
        }
        for len in 0..good.len() {
            assert!(check(&good[..len], 8192).is_err(), "{len}");
        }
        let mut padded = good.clone();
        padded.extend([0; 9]);
        assert!(check(&padded, 8192).is_err());
        assert_eq!(check_frame(&padded, good.len() as u32, 8192), Ok(()));
        padded.push(1);
        assert!(check_frame(&padded, good.len() as u32, 8192).is_err());
        assert!(check_frame(&good, u32::MAX, 8192).is_err());
    }
}
