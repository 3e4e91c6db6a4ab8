// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! CRC-32 (IEEE 802.3, as in zlib, PNG and the kernel's `crc32_le` with both inversions).
//!
//! The function is a parameter everywhere ([`Crc`]), so that the kernel and the tools plug in fast
//! ones; [`crc32`] is the plain table version. A CRC finds damage, not malice.

/// A CRC-32 function: continues `crc` (0 to start) over `bytes`, with inversion before and after.
///
/// `crc32(crc32(0, a), b)` is the CRC of `a` and `b` joined. In the kernel: `|c, b| !crc32_le(!c, b)`.
pub type Crc = fn(crc: u32, bytes: &[u8]) -> u32;

const POLYNOMIAL: u32 = 0xedb8_8320;

// The loops are bounded by the array; evaluated at compile time only.
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        // CAST: below 256.
        let mut c = i as u32;
        let mut bit = 0;
        while bit < 8 {
            c = if c & 1 == 1 {
                POLYNOMIAL ^ (c >> 1)
            } else {
                c >> 1
            };
            bit += 1;
        }
        table[i] = c;
        i += 1;
    }
    table
}

static TABLE: [u32; 256] = table();

/// Continues `crc` (0 to start) over `bytes`.
pub fn crc32(crc: u32, bytes: &[u8]) -> u32 {
    let mut c = !crc;
    for &b in bytes {
        let [low, ..] = c.to_le_bytes();
        let entry = TABLE.get(usize::from(low ^ b)).copied().unwrap_or(0);
        c = entry ^ (c >> 8);
    }
    !c
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_of_the_catalogue() {
        assert_eq!(crc32(0, b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn joined_parts_equal_the_whole() {
        assert_eq!(crc32(crc32(0, b"1234"), b"56789"), crc32(0, b"123456789"));
        assert_eq!(crc32(7, b""), 7);
    }
}
