// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! The extended processor state of a thread, by component.
//!
//! Images have the standard layout of XSAVE: 512 bytes of legacy area (x87, SSE), 64 bytes of header with
//! `xstate_bv`, then one area per component at an offset that CPUID leaf 13 of that processor gives. The offsets
//! are not in the image; Intel's and AMD's differ, and are told apart by the length of the whole area, as gdb
//! does. Source: Intel SDM volume 1 chapter 13, AMD APM volume 2 section 11.5.

/// Bit and name of each component that is known.
pub const COMPONENTS: [(u32, &str); 11] = [
    (0, "x87"),
    (1, "sse"),
    (2, "avx"),
    (3, "bndregs"),
    (4, "bndcsr"),
    (5, "avx512_opmask"),
    (6, "avx512_zmm_hi256"),
    (7, "avx512_hi16_zmm"),
    (9, "pkru"),
    (17, "amx_tilecfg"),
    (18, "amx_tiledata"),
];

/// Bit, offset at Intel, length of the components behind the header.
const INTEL: [(u32, usize, usize); 9] = [
    (2, 576, 256),
    (3, 960, 64),
    (4, 1024, 64),
    (5, 1088, 64),
    (6, 1152, 512),
    (7, 1664, 1024),
    (9, 2688, 8),
    (17, 2752, 64),
    (18, 2816, 8192),
];

/// Which components are not in their initial state (`xstate_bv`).
pub fn in_use(area: &[u8]) -> u64 {
    word(area, 512).unwrap_or(0)
}

/// Where a component is in an area that has `features` and is `size` bytes long; `None` if that cannot be known.
pub fn offset(bit: u32, features: u64, size: usize) -> Option<usize> {
    if bit == 2 {
        // The first component behind the header is the same everywhere.
        return Some(576);
    }
    let has = |bit: u32| features & (1_u64 << bit) != 0;
    let there = INTEL.iter().filter(|(bit, ..)| has(*bit));
    let intel_end = there
        .clone()
        .map(|(_, offset, len)| offset.saturating_add(*len))
        .max();
    if intel_end == Some(size) {
        return INTEL.iter().find(|c| c.0 == bit).map(|c| c.1);
    }
    // AMD: without gaps.
    let (mut at, mut found) = (576_usize, None);
    for (b, _, len) in there {
        if *b == bit {
            found = Some(at);
        }
        at = at.saturating_add(*len);
    }
    found.filter(|_| at == size)
}

/// The x87 and SSE control part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Legacy {
    /// Control word.
    pub fcw: u16,
    /// Status word.
    pub fsw: u16,
    /// Tag byte, one bit per register: 1 in use.
    pub ftw: u8,
    /// Last opcode.
    pub fop: u16,
    /// Last instruction.
    pub fip: u64,
    /// Last operand.
    pub fdp: u64,
    /// SSE control and status.
    pub mxcsr: u32,
}

/// The registers of one thread, as far as the state has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// `xstate_bv`.
    pub in_use: u64,
    /// Control words.
    pub legacy: Legacy,
    /// x87 registers, ten bytes each, `st0` first; empty if the component is not in use.
    pub st: Vec<[u8; 10]>,
    /// Vector registers, least significant byte first: 16 bytes (SSE), 32 (AVX) or 64 (AVX-512), 16 or 32 of
    /// them; empty if no component of them is in use.
    pub vectors: Vec<Vec<u8>>,
    /// Mask registers k0 to k7; empty if not in use.
    pub masks: Vec<u64>,
    /// Protection keys' rights, if in use.
    pub pkru: Option<u32>,
    /// Components in use whose registers are not decoded, by name.
    pub others: Vec<String>,
}

impl State {
    /// Decodes an area; `features` are those of the image.
    pub fn new(area: &[u8], features: u64) -> Self {
        let used = in_use(area);
        let has = |bit: u32| used & (1_u64 << bit) != 0;
        let mut state = Self {
            in_use: used,
            legacy: legacy(area),
            ..Self::default()
        };
        let part = |bit: u32, len: usize| -> Option<&[u8]> {
            let at = offset(bit, features, area.len()).filter(|_| has(bit))?;
            area.get(at..at.checked_add(len)?)
        };
        if has(0) {
            state.st = slices(area, 32, 16, 8)
                .filter_map(|r| r.first_chunk().copied())
                .collect();
        }
        let (avx, hi256, hi16) = (part(2, 256), part(6, 512), part(7, 1024));
        if has(1) || avx.is_some() || hi256.is_some() || hi16.is_some() {
            // Registers of a component that is not in use are zero.
            let zero = [0; 512];
            let xmm = if has(1) {
                area.get(160..416).unwrap_or(&zero)
            } else {
                &zero
            };
            let wide = hi256.is_some() || hi16.is_some();
            for n in 0..16 {
                let mut v = nth(xmm, n, 16);
                if avx.is_some() || wide {
                    v.extend(nth(avx.unwrap_or(&zero), n, 16));
                }
                if wide {
                    v.extend(nth(hi256.unwrap_or(&zero), n, 32));
                }
                state.vectors.push(v);
            }
            if let Some(hi16) = hi16 {
                state.vectors.extend((0..16).map(|n| nth(hi16, n, 64)));
            }
        }
        if let Some(k) = part(5, 64) {
            state.masks = (0..8)
                .filter_map(|n: usize| word(k, n.saturating_mul(8)))
                .collect();
        }
        state.pkru = part(9, 8).and_then(|p| p.first_chunk().map(|b| u32::from_le_bytes(*b)));
        let decoded = |bit: u32| {
            matches!(bit, 0 | 1)
                || matches!(bit, 2 | 5 | 6 | 7 | 9) && offset(bit, features, area.len()).is_some()
        };
        state.others = (0..64)
            .filter(|bit| has(*bit) && !decoded(*bit))
            .map(name)
            .collect();
        state
    }

    /// Name of the vector registers by their width.
    pub fn vector_name(&self) -> &'static str {
        match self.vectors.first().map_or(0, Vec::len) {
            64 => "zmm",
            32 => "ymm",
            _ => "xmm",
        }
    }
}

/// Name of a component.
pub fn name(bit: u32) -> String {
    COMPONENTS
        .iter()
        .find(|(b, _)| *b == bit)
        .map_or(format!("bit {bit}"), |(_, name)| (*name).to_owned())
}

fn legacy(area: &[u8]) -> Legacy {
    let half = |at: usize| {
        let bytes = area.get(at..).and_then(|b| b.first_chunk());
        bytes.map_or(0, |b| u16::from_le_bytes(*b))
    };
    let mxcsr = area.get(24..).and_then(|b| b.first_chunk());
    Legacy {
        fcw: half(0),
        fsw: half(2),
        ftw: area.get(4).copied().unwrap_or(0),
        fop: half(6),
        fip: word(area, 8).unwrap_or(0),
        fdp: word(area, 16).unwrap_or(0),
        mxcsr: mxcsr.map_or(0, |b| u32::from_le_bytes(*b)),
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn slices(bytes: &[u8], at: usize, each: usize, n: usize) -> impl Iterator<Item = &[u8]> {
    bytes.get(at..).unwrap_or(&[]).chunks_exact(each).take(n)
}

fn nth(bytes: &[u8], n: usize, each: usize) -> Vec<u8> {
    slices(bytes, 0, each, usize::MAX)
        .nth(n)
        .map_or(vec![0; each], <[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_follow_the_maker_of_the_processor() {
        // Intel with AVX-512 and PKRU; AMD with the same; AMD without AVX-512.
        assert_eq!(offset(9, 0x2e7, 2696), Some(2688));
        assert_eq!(offset(5, 0x2e7, 2696), Some(1088));
        assert_eq!(offset(9, 0x2e7, 2440), Some(2432));
        assert_eq!(offset(5, 0x2e7, 2440), Some(832));
        assert_eq!(offset(9, 0x207, 840), Some(832));
        assert_eq!(offset(9, 0x207, 2696), Some(2688));
        assert_eq!(offset(6, 0xe7, 9999), None);
        assert_eq!(offset(2, 7, 9999), Some(576));
    }

    #[test]
    fn registers_are_put_together_from_their_components() {
        let mut area = vec![0; 2696];
        area[0..2].copy_from_slice(&0x37f_u16.to_le_bytes());
        area[24..28].copy_from_slice(&0x1f80_u32.to_le_bytes());
        area[512..520].copy_from_slice(&0x2e7_u64.to_le_bytes());
        area[160] = 1; // xmm0
        area[576] = 2; // ymm0, upper half
        area[1152] = 3; // zmm0, upper half
        area[1664] = 4; // zmm16
        area[1088 + 8] = 5; // k1
        area[2688] = 6;
        let s = State::new(&area, 0x2e7);
        assert_eq!((s.legacy.fcw, s.legacy.mxcsr), (0x37f, 0x1f80));
        assert_eq!((s.vectors.len(), s.vector_name()), (32, "zmm"));
        let v = &s.vectors[0];
        assert_eq!((v[0], v[16], v[32]), (1, 2, 3));
        assert_eq!(s.vectors[16][0], 4);
        assert_eq!((s.masks[1], s.pkru), (5, Some(6)));
        assert_eq!(s.st.len(), 8);
        assert!(s.others.is_empty());
    }

    #[test]
    fn a_state_that_is_short_or_strange_is_taken_as_far_as_it_goes() {
        assert_eq!(State::new(&[], 7), State::default());
        let mut area = vec![0; 576];
        area[512..520].copy_from_slice(&u64::MAX.to_le_bytes());
        let s = State::new(&area, u64::MAX);
        assert_eq!((s.vectors.len(), s.vector_name()), (16, "xmm"));
        assert!(s.others.contains(&"avx512_opmask".to_owned()));
    }
}
