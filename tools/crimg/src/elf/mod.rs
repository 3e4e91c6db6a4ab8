// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! ELF files of 64 bits and little-endian, read piece by piece: programs and libraries that a process has
//! mapped, and cores.
//!
//! Untrusted like images: every offset is checked, every count has a limit, nothing is allocated that the
//! source has not got, and nothing is mapped (a truncation would be a signal). Structures: `elf(5)`.

mod modules;
mod notes;
mod object;
mod source;
pub mod vdso;

pub use modules::{modules, Module, Origin};
pub use notes::{build_id, notes, Note};
pub use object::{Object, Section, Segment, ET_CORE};
pub use source::{Slice, Source};

/// `PT_LOAD`: mapped.
pub const PT_LOAD: u32 = 1;
/// `PT_DYNAMIC`: for the dynamic linker.
pub const PT_DYNAMIC: u32 = 2;
/// `PT_NOTE`: notes.
pub const PT_NOTE: u32 = 4;
/// `PT_GNU_EH_FRAME`: where the unwind tables are.
pub const PT_GNU_EH_FRAME: u32 = 0x6474_e550;
/// `EM_X86_64`.
pub const EM_X86_64: u16 = 62;

/// The little-endian number at `at`; `None` behind the end.
pub fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let end = at.checked_add(2)?;
    Some(u16::from_le_bytes(bytes.get(at..end)?.try_into().ok()?))
}

/// The little-endian number at `at`; `None` behind the end.
pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let end = at.checked_add(4)?;
    Some(u32::from_le_bytes(bytes.get(at..end)?.try_into().ok()?))
}

/// The little-endian number at `at`; `None` behind the end.
pub fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let end = at.checked_add(8)?;
    Some(u64::from_le_bytes(bytes.get(at..end)?.try_into().ok()?))
}
