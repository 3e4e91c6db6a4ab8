// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Limits of the format. Every one is compared before memory is allocated for what it bounds.
//!
//! Source: spec, chapter "Limits".

/// Longest payload of a `META`, `PAD_` or `INDX` chunk, and longest page data of a `PAGE` chunk, bytes.
pub const CHUNK_PAYLOAD: u32 = 1 << 20;
/// All `META` payloads of an image together, bytes.
pub const META_TOTAL: u64 = 64 << 20;
/// Most pages with contents in one `PAGE` chunk.
pub const CHUNK_PAGES: u32 = 256;
/// Most runs in one `PAGE` chunk.
pub const CHUNK_RUNS: u32 = 168;
/// Most `PAD_` chunks of an image.
pub const PAD_CHUNKS: u32 = 16;
/// Most fields of one record.
pub const FIELDS: u16 = 64;
/// Longest path, bytes, without a terminating NUL.
pub const PATH: u64 = 4096;
/// Most processes of an image.
pub const PROCESSES: u64 = 4096;
/// Most threads of a process.
pub const THREADS: u64 = 32_768;
/// Most memory areas of a process.
pub const VMAS: u64 = 1_048_576;
/// Most descriptors, and most open files, of a process.
pub const FDS: u64 = 1_048_576;
/// Largest pid or tid: `PID_MAX_LIMIT` of 64-bit kernels.
pub const PID: u64 = 4_194_304;
/// First address that a process cannot have: 47 bits less the guard page.
pub const TASK_SIZE: u64 = (1 << 47) - 4096;
/// Page size, bytes; release 1 has no other.
pub const PAGE: u64 = 4096;
