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

use crkit::{sys::file::FileRef, At, Checkpoint, Extension, Next, Phase, Restart};
use kernel::prelude::*;

crkit::extension_module! {
    extension: Epoll,
    name: "cr_epoll",
    description: "Checkpoint and restart of processes: event polls",
    alias: ["crext-epoll", "crext-file-anon-eventpoll"],
}

/// Resource word in messages.
const WORD: &str = "epoll";

/// The extension.
struct Epoll;

impl Extension for Epoll {
    const WORD: &'static CStr = c"epoll";
    const SECTION: u16 = cr_format::EPOLL;
    const ORDER: u32 = crkit::objects::ORDER;
    type State = restart::State;

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
}
