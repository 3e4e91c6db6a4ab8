// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Registers as cores have them: `NT_FPREGSET` and `NT_X86_XSTATE` from the extended state of the image.

use super::{FXSAVE_LEN, XCR0_AT};
use crate::elf::u64_at;

const XSTATE_BV_AT: usize = 512;
const XSTATE_MIN: usize = 576;
const X87: u64 = 1;
const SSE: u64 = 2;
const MPX: u64 = 0x18;
const AVX512: u64 = 0xe0;
const PKRU: u64 = 0x200;

/// Registers of a thread in the form of notes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extended {
    /// `NT_FPREGSET`, 512 bytes.
    pub fpregset: Vec<u8>,
    /// `NT_X86_XSTATE`.
    pub xstate: Vec<u8>,
    /// Was a part left out that debuggers cannot place (AMX and later)?
    pub cut: bool,
}

/// `xstate` is in the standard layout of XSAVE; the process could use the features of `xcr0`, for which its
/// processor needs `size` bytes.
pub fn extended(xstate: &[u8], xcr0: u64, size: u64) -> Extended {
    let size = usize::try_from(size).unwrap_or(0).clamp(XSTATE_MIN, 65_536);
    let (len, xcr0, cut) = shown(size, xcr0);
    let mut area = xstate.get(..len).unwrap_or(xstate).to_vec();
    area.resize(len, 0);
    let used = u64_at(&area, XSTATE_BV_AT).unwrap_or(0);
    initial(&mut area, used);
    let fpregset = area.get(..FXSAVE_LEN).unwrap_or(&[]).to_vec();
    put(&mut area, XCR0_AT, xcr0);
    put(&mut area, XSTATE_BV_AT, used & xcr0);
    Extended {
        fpregset,
        xstate: area,
        cut,
    }
}

/// What is not in `used` has its initial value: so says the processor, while debuggers look at the bytes.
fn initial(area: &mut [u8], used: u64) {
    if used & X87 == 0 {
        fill(area, 0, 24);
        fill(area, 32, 128);
        if let Some(fcw) = area.get_mut(..2) {
            fcw.copy_from_slice(&0x37f_u16.to_le_bytes());
        }
    }
    if used & SSE == 0 {
        fill(area, 160, 256);
        if used & !(X87 | SSE) == 0 {
            if let Some(mxcsr) = area.get_mut(24..28) {
                mxcsr.copy_from_slice(&0x1f80_u32.to_le_bytes());
            }
        }
    }
    // Reserved for software; nothing of the image's belongs here.
    fill(area, 416, 96);
    let mask = area.get_mut(28..32);
    if let Some(mask) = mask.filter(|m| m.iter().all(|b| *b == 0)) {
        mask.copy_from_slice(&0xffff_u32.to_le_bytes());
    }
}

fn fill(area: &mut [u8], at: usize, len: usize) {
    if let Some(bytes) = area.get_mut(at..at.saturating_add(len)) {
        bytes.fill(0);
    }
}

fn put(area: &mut [u8], at: usize, n: u64) {
    if let Some(bytes) = area.get_mut(at..at.saturating_add(8)) {
        bytes.copy_from_slice(&n.to_le_bytes());
    }
}

/// How much of an area of `size` bytes to show, with which features: gdb knows where the parts are from size
/// and features together (`i387_guess_xsave_layout`), and shows nothing beyond SSE for what it has not met.
/// What lies behind the parts that it knows (AMX) is left out then.
fn shown(size: usize, xcr0: u64) -> (usize, u64, bool) {
    let known = match size {
        2696 | 2440 => xcr0 & PKRU != 0,
        2688 => xcr0 & PKRU == 0 && xcr0 & AVX512 != 0,
        1088 => xcr0 & (PKRU | AVX512) == 0 && xcr0 & MPX != 0,
        _ => size < 2696,
    };
    if known || size <= 2696 {
        return (size, xcr0, false);
    }
    if xcr0 & PKRU != 0 {
        (2696, xcr0 & 0x3ff, true)
    } else {
        (2688, xcr0 & 0xff, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_processor_left_initial_gets_its_value() {
        let mut area = vec![0_u8; 832];
        area[160] = 7; // xmm0
        area[576] = 8; // ymm0, upper half
        area[512] = 4; // AVX alone is in use
        area[24..28].copy_from_slice(&0x1fa0_u32.to_le_bytes());
        let out = extended(&area, 7, 832);
        assert_eq!(out.fpregset.len(), 512);
        assert_eq!(&out.fpregset[..2], &[0x7f, 3]);
        assert_eq!(out.fpregset[160], 0, "SSE is initial");
        assert_eq!(
            &out.fpregset[24..28],
            &0x1fa0_u32.to_le_bytes(),
            "MXCSR goes with AVX"
        );
        assert_eq!(out.xstate[576], 8);
        assert_eq!(out.xstate.len(), 832);
        assert_eq!(out.xstate[464], 7, "XCR0");
        assert_eq!(out.fpregset[464], 0);
        assert!(!out.cut);

        area[512] = 0;
        let out = extended(&area, 7, 832);
        assert_eq!(&out.fpregset[24..28], &0x1f80_u32.to_le_bytes());
        area[512] = 7;
        area[0] = 0x7f;
        let out = extended(&area, 7, 832);
        assert_eq!((out.fpregset[0], out.fpregset[160]), (0x7f, 7));
    }

    #[test]
    fn a_state_with_amx_is_cut_to_what_gdb_can_place() {
        let mut area = vec![0_u8; 11008];
        put(&mut area, 512, 0x60207);
        let out = extended(&area, 0x602e7, 11008);
        assert!(out.cut);
        assert_eq!(out.xstate.len(), 2696);
        assert_eq!(u64_at(&out.xstate, 464), Some(0x2e7));
        assert_eq!(u64_at(&out.xstate, 512), Some(0x207));
    }

    #[test]
    fn any_length_is_taken() {
        for len in [0, 1, 511, 512, 520, 575, 576, 65536] {
            for size in [0, 576, 2696, 2697, u64::MAX] {
                let out = extended(&vec![0xff; len], u64::MAX, size);
                assert_eq!(out.fpregset.len(), 512);
                assert!(out.xstate.len() >= 576);
            }
        }
    }
}
