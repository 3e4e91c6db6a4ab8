// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Everything of `crimg` but its `main`: a library, so that the fuzz targets and benchmarks reach each part.
//!
//! It reads images only through the crate that the kernel modules use (`cr-format`); it never opens the
//! device. Where to look: [`cli`] the command line · [`cmd`] one file per sub-command · [`view`] one file per resource word ·
//! [`load`] reading forward · [`file`] random access · [`memory`] the address space · [`rewrite`] new
//! images from old ones · [`json`] the machine's view · [`error`] exit codes.
//!
//! The command line is the interface that is kept stable; this library is not.
#![allow(missing_docs)] // Documented where it is not obvious; see above.

pub mod atomic;
pub mod cli;
pub mod cmd;
pub mod contents;
pub mod core_file;
pub mod diff;
pub mod disasm;
pub mod elf;
pub mod error;
pub mod escape;
pub mod file;
pub mod input;
pub mod json;
pub mod json_image;
pub mod load;
pub mod mem;
pub mod memory;
pub mod names;
pub mod number;
pub mod output;
pub mod patch;
pub mod process;
pub mod progress;
pub mod redact;
pub mod repack;
pub mod report;
pub mod rewrite;
pub mod split;
pub mod spool;
pub mod style;
pub mod symbols;
pub mod syscalls;
pub mod unwind;
pub mod verify;
pub mod view;
pub mod xsave;
