// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! ELF cores: made from an image for debuggers, and read into an image.
//!
//! A core is an ELF file of type `ET_CORE`: program headers, notes with what is known about process and
//! threads, and the memory areas. [`export()`] writes one as the kernel and gcore do; [`import()`] reads those
//! of all three. Structures: `elf(5)`, `core(5)`, `include/uapi/linux/elf.h`, `include/linux/elfcore.h`.

mod areas;
mod arguments;
mod export;
mod import;
pub mod import_args;
mod layout;
mod notes;
mod plan;
mod read;
mod records;
mod registers;
mod scattered;
mod sink;

pub use export::{export, Exported, Options};
pub use import::{import, Imported};
pub use sink::Sink;

/// `NT_PRSTATUS`: ids, signals and general registers of a thread; begins its notes.
pub const NT_PRSTATUS: u32 = 1;
/// `NT_PRFPREG`: x87 and SSE registers as FXSAVE writes them.
pub const NT_FPREGSET: u32 = 2;
/// `NT_PRPSINFO`: ids and names of the process.
pub const NT_PRPSINFO: u32 = 3;
/// `NT_AUXV`: the auxiliary vector.
pub const NT_AUXV: u32 = 6;
/// `NT_SIGINFO`: the signal that ended the process.
pub const NT_SIGINFO: u32 = 0x5349_4749;
/// `NT_FILE`: which files are mapped where.
pub const NT_FILE: u32 = 0x4649_4c45;
/// `NT_X86_XSTATE`: extended registers as XSAVE writes them.
pub const NT_X86_XSTATE: u32 = 0x202;

/// Bytes of `struct elf_prstatus`.
pub const PRSTATUS_LEN: usize = 336;
/// Where the general registers are in it.
pub const PRSTATUS_REGS: usize = 112;
/// Bytes of `struct elf_prpsinfo`.
pub const PRPSINFO_LEN: usize = 136;
/// Bytes of the area that FXSAVE writes.
pub const FXSAVE_LEN: usize = 512;
/// Where XCR0 is in `NT_X86_XSTATE`.
pub const XCR0_AT: usize = 464;
