// SPDX-License-Identifier: GPL-2.0
//! `cr_memory.ko`: the address space of a process – its areas, their contents, the files mapped into it.
//!
//! Preserved: every area with its place, protection, advice, locks and seals · contents of private and
//! shared anonymous memory, and privately written pages of file mappings · guard regions · file
//! mappings, by reference to the file · the vDSO's place · heap, stack, argument and environment
//! bounds, auxiliary vector, executable · huge page, core dump and merging settings of the process.
//!
//! Not preserved: which pages are swapped out, on which NUMA node or huge · contents of `MAP_DROPPABLE`
//! memory (the kernel may drop them at any time, and `getrandom` must not repeat itself) · where
//! the kernel places later mappings.
//!
//! Refused, each by name: devices, hugetlbfs, memfd and System V shared memory, secret memory, shared
//! memory that another process has too, protection keys, userfaultfd, shadow stacks, asynchronous I/O
//! rings, deleted mapped files, anything unknown.
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

use crkit::{
    bindings as b,
    context::Run,
    sys::{file::FileRef, task::TaskRef},
    At, Checkpoint, Extension, Next, Registration, Restart,
};
use kernel::prelude::*;

module! {
    type: Module,
    name: "cr_memory",
    authors: ["The crkit authors"],
    description: "Checkpoint and restart of processes: memory",
    license: "GPL",
    alias: ["crext-memory"],
}

/// Resource word in messages.
pub(crate) const WORD: &str = "memory";
/// Owner of all page data: the record id of the one address space.
pub(crate) const OWNER: u32 = 1;

/// The module: its registration with the core.
struct Module {
    _registration: Registration<Memory>,
}

impl kernel::Module for Module {
    fn init(module: &'static ThisModule) -> Result<Self> {
        Ok(Self { _registration: Registration::new(module, &[])? })
    }
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
    fn claims(_file: &FileRef) -> bool {
        false
    }
    fn checkpoint_file(_cx: &Checkpoint<'_>, _file: &FileRef, _id: u32) -> Result {
        Err(EINVAL)
    }
    fn prepare(cx: &Restart<'_>) -> Result<KBox<Self::State>> {
        restart::prepare(cx)
    }
    fn step(cx: &Restart<'_>, state: &Self::State, at: At) -> Result<Next> {
        restart::step(cx, state, at)
    }
    fn restart_file(_cx: &Restart<'_>, _state: &Self::State, _id: u32) -> Result<FileRef> {
        Err(EINVAL)
    }
    fn fill(cx: &Restart<'_>, state: &Self::State, owner: u32, runs: &[Run]) -> Result {
        fill::fill(cx, state, owner, runs)
    }
    fn commit_outside(_cx: &Restart<'_>, _state: &Self::State, _task: u32, _t: &TaskRef<'_>) -> Result {
        Ok(())
    }
    fn commit_regs(_cx: &Restart<'_>, _state: &Self::State, _task: u32, _regs: &mut b::pt_regs) {}
}
