// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! One step up the stack.

use super::{cfi, How, Registers, RBP, RIP, RSP};
use crate::symbols::Symbolizer;

/// `mov rax, 15; syscall`: how signal handlers return.
const SIGRETURN: [u8; 9] = [0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05];
/// Registers in `struct sigcontext`, by their number in DWARF: r8…r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip.
const SIGCONTEXT: [usize; 17] = [8, 9, 10, 11, 12, 13, 14, 15, 5, 4, 6, 3, 1, 0, 2, 7, 16];
/// Where they are in `struct ucontext`.
const SIGCONTEXT_AT: u64 = 40;

/// What a step gives.
pub enum Step {
    /// The registers of the caller.
    Caller(Box<Registers>, How),
    /// There is no caller.
    Outermost,
    /// It cannot be known.
    Unknown,
}

/// Is this the code by which a signal handler returns?
pub fn is_signal(symbols: &Symbolizer<'_, '_>, address: u64) -> bool {
    let mut code = [0; SIGRETURN.len()];
    symbols.is_code(address) && symbols.code(address, &mut code).is_some() && code == SIGRETURN
}

/// The caller. `inside` is an address in the function; `first`: is it the innermost frame?
pub fn step(
    symbols: &Symbolizer<'_, '_>,
    regs: &Registers,
    inside: u64,
    signal: bool,
    first: bool,
) -> Step {
    if signal {
        return match from_signal(symbols, regs) {
            Some(next) => Step::Caller(Box::new(next), How::Signal),
            None => Step::Unknown,
        };
    }
    match cfi::step(symbols, regs, inside) {
        cfi::Found::Caller(next) => return Step::Caller(next, How::Tables),
        cfi::Found::Outermost => return Step::Outermost,
        cfi::Found::Nothing => {}
    }
    let next = if first && !symbols.is_code(inside) {
        // A call of what is no function: the return address is on top.
        from_top(symbols, regs).map(|r| (r, How::Top))
    } else {
        from_frame_pointer(symbols, regs).map(|r| (r, How::FramePointer))
    };
    match next {
        Some((next, how)) => Step::Caller(Box::new(next), how),
        None => Step::Unknown,
    }
}

fn word(symbols: &Symbolizer<'_, '_>, address: u64) -> Option<u64> {
    symbols.memory().word(address).ok()?
}

fn from_signal(symbols: &Symbolizer<'_, '_>, regs: &Registers) -> Option<Registers> {
    let at = regs[RSP]?.checked_add(SIGCONTEXT_AT)?;
    let mut next = *regs;
    for (n, register) in SIGCONTEXT.iter().enumerate() {
        let value = word(symbols, at.checked_add((n as u64).checked_mul(8)?)?)?;
        *next.get_mut(*register)? = Some(value);
    }
    Some(next)
}

fn from_top(symbols: &Symbolizer<'_, '_>, regs: &Registers) -> Option<Registers> {
    let sp = regs[RSP]?;
    let address = word(symbols, sp)?;
    let mut next = *regs;
    next[RIP] = Some(address).filter(|a| symbols.is_code(*a));
    next[RIP]?;
    next[RSP] = sp.checked_add(8);
    Some(next)
}

fn from_frame_pointer(symbols: &Symbolizer<'_, '_>, regs: &Registers) -> Option<Registers> {
    let (frame, sp) = (regs[RBP]?, regs[RSP]?);
    // In the stack, and not far: everything else is no frame pointer.
    let stack = symbols.memory().area_at(sp)?;
    if frame < sp || frame >= stack.end || frame % 8 != 0 {
        return None;
    }
    let address = word(symbols, frame.checked_add(8)?)?;
    let mut next: Registers = [None; 17];
    next[RBP] = word(symbols, frame);
    next[RSP] = frame.checked_add(16);
    next[RIP] = Some(address).filter(|a| *a == 0 || symbols.is_code(*a));
    next[RIP]?;
    Some(next)
}
