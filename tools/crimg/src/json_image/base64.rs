// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Base64 with padding (RFC 4648, chapter 4). One text per content: what is not canonical is refused.

const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// No letter of the alphabet.
const NONE: u8 = 0xff;

static VALUES: [u8; 256] = {
    let mut table = [NONE; 256];
    let mut n = 0;
    while n < 64 {
        // CAST: an index below 64, and a byte as an index.
        table[LETTERS[n] as usize] = n as u8;
        n += 1;
    }
    table
};

fn letter(n: u32) -> u8 {
    // CAST: masked to 6 bits.
    LETTERS.get((n & 63) as usize).copied().unwrap_or(b'=')
}

/// Appends the text of `bytes`.
pub fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    out.reserve(bytes.len().div_ceil(3).saturating_mul(4));
    let (whole, rest) = bytes.as_chunks::<3>();
    for &[a, b, c] in whole {
        let n = u32::from_be_bytes([0, a, b, c]);
        out.extend([letter(n >> 18), letter(n >> 12), letter(n >> 6), letter(n)]);
    }
    match *rest {
        [a] => {
            let n = u32::from(a) << 16;
            out.extend([letter(n >> 18), letter(n >> 12), b'=', b'=']);
        }
        [a, b] => {
            let n = u32::from_be_bytes([0, a, b, 0]);
            out.extend([letter(n >> 18), letter(n >> 12), letter(n >> 6), b'=']);
        }
        _ => {}
    }
}

/// The bytes of a text; `None` if it is not base64.
pub fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let (quads, []) = text.as_chunks::<4>() else {
        return None;
    };
    let mut out = Vec::with_capacity(quads.len().saturating_mul(3));
    let (last, whole) = match quads.split_last() {
        Some((last, whole)) => (last, whole),
        None => return Some(out),
    };
    // CAST: a byte as an index.
    let value = |b: u8| VALUES.get(b as usize).copied().unwrap_or(NONE);
    for quad in whole {
        let [a, b, c, d] = quad.map(value);
        if a | b | c | d == NONE || a.max(b).max(c).max(d) > 63 {
            return None;
        }
        out.extend(three(a, b, c, d));
    }
    let padding = match last {
        [_, _, b'=', b'='] => 2,
        [_, _, _, b'='] => 1,
        _ => 0,
    };
    let kept = 4_usize.saturating_sub(padding);
    let mut values = [0; 4];
    for (to, from) in values.iter_mut().zip(last).take(kept) {
        *to = value(*from);
        if *to > 63 {
            return None;
        }
    }
    let [a, b, c, d] = values;
    let bytes = three(a, b, c, d);
    let (kept, spare) = bytes.split_at(3_usize.saturating_sub(padding));
    // Bits that no byte has are zero.
    if spare.iter().any(|b| *b != 0) {
        return None;
    }
    out.extend(kept);
    Some(out)
}

fn three(a: u8, b: u8, c: u8, d: u8) -> [u8; 3] {
    let [a, b, c, d] = [a, b, c, d].map(u32::from);
    let [_, x, y, z] = (a << 18 | b << 12 | c << 6 | d).to_be_bytes();
    [x, y, z]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        encode(bytes, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_examples_of_the_rfc() {
        for (bytes, want) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(text(bytes.as_bytes()), want);
            assert_eq!(decode(want.as_bytes()).unwrap(), bytes.as_bytes());
        }
    }

    #[test]
    fn every_byte_comes_back() {
        let all: Vec<u8> = (0..=255).chain((0..=255).rev()).collect();
        for n in 0..all.len() {
            assert_eq!(decode(text(&all[..n]).as_bytes()).unwrap(), all[..n]);
        }
    }

    #[test]
    fn what_is_not_canonical_is_refused() {
        for bad in [
            "Zg",
            "Zg=",
            "Z===",
            "====",
            "Zh==",
            "Zm9=",
            "Zm9v\n",
            "Zm=v",
            "Zg==Zg==",
            "Zm9-",
            "Zm\u{e9}==",
        ] {
            assert_eq!(decode(bad.as_bytes()), None, "{bad}");
        }
    }
}
