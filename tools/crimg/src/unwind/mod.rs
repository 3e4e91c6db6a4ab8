// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Backtraces: from registers and stack bytes of a thread to the functions that called each other.
//!
//! Each step takes the first of these that works: the unwind tables of the program (`.eh_frame`), the frame of a
//! signal handler, the frame pointer. Steps go up the stack only, and their number is limited, so that every
//! image ends.

mod cfi;
mod step;

use crate::{
    process,
    symbols::{Line, Symbolizer},
};
use cr_format::TaskRecord;
use step::Step;

/// Registers by their number in DWARF: rax rdx rcx rbx rsi rdi rbp rsp r8…r15, and the address of the
/// instruction.
pub type Registers = [Option<u64>; 17];

const RBX: usize = 3;
const RBP: usize = 6;
const RSP: usize = 7;
const R12: usize = 12;
const RIP: usize = 16;

/// How a frame was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// The registers of the thread.
    Registers,
    /// Unwind tables.
    Tables,
    /// The frame that the kernel makes for a signal handler.
    Signal,
    /// The frame pointer: frames can be missing.
    FramePointer,
    /// The word on top of the stack, after a jump to where no code is.
    Top,
}

impl How {
    /// The word in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Registers => "registers",
            Self::Tables => "cfi",
            Self::Signal => "signal",
            Self::FramePointer => "frame_pointer",
            Self::Top => "stack_top",
        }
    }
}

/// Why a backtrace ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The outermost function.
    Outermost,
    /// `main`; what called it was not asked for.
    Main,
    /// As many frames as were asked for.
    Limit,
    /// Nothing says how to go on.
    Unknown,
    /// The stack goes on below itself.
    Corrupt,
    /// The thread has ended: it has no frames.
    Ended,
}

impl End {
    /// The word in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Outermost => "outermost",
            Self::Main => "main",
            Self::Limit => "limit",
            Self::Unknown => "unknown",
            Self::Corrupt => "corrupt",
            Self::Ended => "ended",
        }
    }
}

/// One frame of the stack, which can be several functions if some were put into others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Address of the next instruction.
    pub address: u64,
    /// Stack pointer.
    pub sp: u64,
    /// How it was found.
    pub how: How,
    /// Is it the code by which a signal handler returns?
    pub signal: bool,
    /// File that the code is in. Bytes of the image: escape them.
    pub module: Option<Vec<u8>>,
    /// Functions, the innermost first; empty if nothing is known.
    pub lines: Vec<Line>,
}

/// A backtrace, the innermost frame first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backtrace {
    pub frames: Vec<Frame>,
    pub end: End,
}

impl Backtrace {
    /// Of a thread that has ended.
    pub const ENDED: Self = Self {
        frames: Vec::new(),
        end: End::Ended,
    };
}

/// How far to go.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Most frames.
    pub limit: usize,
    /// Go on behind `main`.
    pub past_main: bool,
}

/// The backtrace of a thread.
pub fn backtrace(
    symbols: &Symbolizer<'_, '_>,
    task: &TaskRecord<'_>,
    options: Options,
) -> Backtrace {
    let mut regs = of_task(task);
    let mut frames: Vec<Frame> = Vec::new();
    let (mut how, mut exact) = (How::Registers, true);
    let end = loop {
        let (Some(address), Some(sp)) = (regs[RIP], regs[RSP]) else {
            break End::Unknown;
        };
        if frames.len() >= options.limit {
            break End::Limit;
        }
        // A return address is behind the call, which can be the end of the function or of a line.
        let inside = if exact {
            address
        } else {
            address.wrapping_sub(1)
        };
        let signal = step::is_signal(symbols, address);
        let lines = if signal {
            Vec::new()
        } else {
            symbols.lines(inside)
        };
        let main = lines
            .last()
            .is_some_and(|l| l.function.as_deref() == Some("main"));
        frames.push(Frame {
            address,
            sp,
            how,
            signal,
            module: symbols.module(inside),
            lines,
        });
        if main && !options.past_main {
            break End::Main;
        }
        let first = frames.len() == 1;
        let next = match step::step(symbols, &regs, inside, signal, first) {
            Step::Caller(next, by) => {
                how = by;
                *next
            }
            Step::Outermost => break End::Outermost,
            Step::Unknown => break End::Unknown,
        };
        // A return address of 0 is how threads begin.
        if next[RIP].is_none_or(|a| a == 0) {
            break End::Outermost;
        }
        // A signal handler can have a stack of its own, anywhere; the limit ends that.
        if !signal && next[RSP].is_none_or(|next| next <= sp) {
            break End::Corrupt;
        }
        if !symbols.is_code(next[RIP].unwrap_or(0)) {
            break End::Unknown;
        }
        exact = signal;
        regs = next;
    };
    Backtrace { frames, end }
}

fn of_task(task: &TaskRecord<'_>) -> Registers {
    const ORDER: [&str; 17] = [
        "rax", "rdx", "rcx", "rbx", "rsi", "rdi", "rbp", "rsp", "r8", "r9", "r10", "r11", "r12",
        "r13", "r14", "r15", "rip",
    ];
    ORDER.map(|name| process::register(task, name))
}
