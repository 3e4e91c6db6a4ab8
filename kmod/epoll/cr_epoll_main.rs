// SPDX-License-Identifier: GPL-2.0
//! `cr_epoll.ko`, resource word `epoll`: event polls (`epoll_create(2)`) and what they watch.
//!
//! Preserved: entries with events and data, modes, nesting, flags. Not preserved: which entries are ready; what
//! is ready is found ready again, so that an edge-triggered entry may report an event once more.
//!
//! The entries come from `fdinfo`, which names descriptors by number. A descriptor may have been closed and its
//! number reused since; so each entry is confirmed to be about the file that has the number now (`checkpoint.rs`).
//! A restart adds the entries when all descriptors exist (`restart.rs`).

mod checkpoint;
mod restart;

use crkit::{
    bindings as b,
    context::Run,
    sys::{file::FileRef, task::TaskRef},
    At, Checkpoint, Extension, Next, Phase, Registration, Restart,
};
use kernel::prelude::*;

module! {
    type: Module,
    name: "cr_epoll",
    authors: ["The crkit authors"],
    description: "Checkpoint and restart of processes: event polls",
    license: "GPL",
    alias: ["crext-epoll", "crext-file-anon-eventpoll"],
}

/// Resource word in messages.
const WORD: &str = "epoll";

struct Module(#[expect(dead_code, reason = "unregisters on drop")] Registration<Epoll>);

impl kernel::Module for Module {
    fn init(module: &'static ThisModule) -> Result<Self> {
        Ok(Self(Registration::new(module, &[])?))
    }
}

/// The extension.
struct Epoll;

impl Extension for Epoll {
    const WORD: &'static CStr = c"epoll";
    const SECTION: u16 = cr_format::EPOLL;
    /// Before `files` (10), which asks for the open files.
    const ORDER: u32 = 8;
    type State = restart::State;

    fn checkpoint(_: &Checkpoint<'_>) -> Result {
        // Everything is done file by file.
        Ok(())
    }
    fn bulk(_: &Checkpoint<'_>) -> Result {
        Ok(())
    }
    fn claims(file: &FileRef) -> bool {
        file.is_anonymous(b"[eventpoll]")
    }
    fn checkpoint_file(cx: &Checkpoint<'_>, file: &FileRef, id: u32) -> Result {
        checkpoint::file(cx, file, id)
    }
    fn prepare(cx: &Restart<'_>) -> Result<KBox<Self::State>> {
        restart::prepare(cx)
    }
    fn step(cx: &Restart<'_>, state: &Self::State, at: At) -> Result<Next> {
        match at.phase {
            Phase::Process => state.make(cx, at),
            Phase::Filled => state.watch(cx, at),
            Phase::Thread | Phase::Late => Ok(Next::Done),
        }
    }
    fn restart_file(_: &Restart<'_>, state: &Self::State, id: u32) -> Result<FileRef> {
        state.take(id)
    }
    fn fill(_: &Restart<'_>, _: &Self::State, _: u32, _: &[Run]) -> Result {
        Err(EINVAL)
    }
    fn commit_outside(_: &Restart<'_>, _: &Self::State, _: u32, _: &TaskRef<'_>) -> Result {
        Ok(())
    }
    fn commit_regs(_: &Restart<'_>, _: &Self::State, _: u32, _: &mut b::pt_regs) {}
}
