// SPDX-License-Identifier: GPL-2.0
//! `cr_memory.ko`: the address space of a process – its areas, their contents, the files mapped into it.
//!
//! Preserved: every area with its place, protection, advice, locks and seals · contents of private and
//! shared anonymous memory, and privately written pages of file mappings · guard regions · file
//! mappings, by reference to the file, those of files without a name (removed, memfd) to what `files` keeps · rings of `io_uring`, which `uring` makes · the vDSO's place · heap, stack, argument and environment
//! bounds, auxiliary vector, executable · which private memory is in transparent huge pages · huge page, core dump and merging settings of the process.
//!
//! Not preserved: which pages are swapped out or on which NUMA node · contents of `MAP_DROPPABLE`
//! memory (the kernel may drop them at any time, and `getrandom` must not repeat itself) · where
//! the kernel places later mappings.
//!
//! Refused, each by name: devices, System V shared memory, secret memory, shared
//! memory that a process outside of the checkpoint has too, userfaultfd, shadow stacks, asynchronous I/O
//! rings, anything unknown.
//!
//! Files: `scan.rs` looks at the areas, `checkpoint.rs` makes records of them, `bulk.rs` stores pages;
//! `restart.rs` builds the areas, `fill.rs` places pages, `verify.rs` compares the result; `mapped.rs` is
//! about files. All decisions are in `cr_logic::memory`.

mod bulk;
mod checkpoint;
mod fill;
mod mapped;
mod restart;
mod scan;
mod verify;

use crkit::{context::Run, At, Checkpoint, Extension, Next, Restart};
use kernel::prelude::*;

crkit::extension_module! {
    extension: Memory,
    name: "cr_memory",
    description: "Checkpoint and restart of processes: memory",
    alias: ["crext-memory"],
}

/// Resource word in messages.
pub(crate) const WORD: &str = "memory";
/// Numbering of shared objects (see `object_in`) by the process that their contents are stored with.
pub(crate) const STORED: u16 = 6;

/// Owner of the page data of process number `process`.
pub(crate) fn owner(process: u32) -> u32 {
    // CAST-free: processes are at most 4096.
    process.saturating_add(1)
}

/// The extension.
struct Memory;

impl Extension for Memory {
    const WORD: &'static CStr = c"memory";
    const SECTION: u16 = cr_format::MEMORY;
    const ORDER: u32 = 20;
    type State = restart::State;

    fn checkpoint(cx: &Checkpoint<'_>) -> Result {
        checkpoint::checkpoint(cx)
    }
    fn bulk(cx: &Checkpoint<'_>) -> Result {
        bulk::bulk(cx)
    }
    fn prepare(cx: &Restart<'_>) -> Result<KBox<Self::State>> {
        restart::prepare(cx)
    }
    fn step(cx: &Restart<'_>, state: &Self::State, at: At) -> Result<Next> {
        restart::step(cx, state, at)
    }
    fn fill(cx: &Restart<'_>, state: &Self::State, owner: u32, runs: &[Run]) -> Result {
        fill::fill(cx, state, owner, runs)
    }
}
