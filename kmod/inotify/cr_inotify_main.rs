// SPDX-License-Identifier: GPL-2.0
//! `cr_inotify.ko`, resource word `inotify`: instances of `inotify(7)`.
//!
//! Preserved: watches with their numbers, masks and flags, the number of the next watch, unread events in their
//! order, overflows, flags. Not preserved: what happens between checkpoint and restart is told to nobody; that a path
//! was to lead to a folder only, or not to be followed, has done its work. Refused: watches on objects to which no path
//! is known and which the process has not open.
//!
//! `checkpoint.rs` reads the watches from `fdinfo`, finds paths to the watched inodes and copies the queue; `restart.rs`
//! puts both back.

mod checkpoint;
mod lent;
mod restart;
mod sys;

use crkit::{sys::file::FileRef, At, Checkpoint, Extension, Next, Phase, Restart};
use kernel::prelude::*;

crkit::extension_module! {
    extension: Inotify,
    name: "cr_inotify",
    description: "Checkpoint and restart of processes: instances of inotify",
    alias: ["crext-inotify", "crext-file-anon-inotify"],
}

/// Resource word in messages.
const WORD: &str = "inotify";

/// The extension.
struct Inotify;

impl Extension for Inotify {
    const WORD: &'static CStr = c"inotify";
    const SECTION: u16 = cr_format::INOTIFY;
    const ORDER: u32 = crkit::objects::ORDER;
    type State = restart::State;

    fn claims(file: &FileRef) -> bool {
        file.is_anonymous(b"inotify")
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
            Phase::Filled => {
                state.forget();
                Ok(Next::Done)
            }
            Phase::Thread if at.task == 0 => state.fill(cx, at),
            // With the caller's credentials, and before `files` cuts back what has grown: that is news to the program.
            Phase::Late if at.task == 0 => state.watch(cx, at),
            Phase::Thread | Phase::Late => Ok(Next::Done),
        }
    }
    fn restart_file(_: &Restart<'_>, state: &Self::State, id: u32) -> Result<FileRef> {
        state.take(id)
    }
}
