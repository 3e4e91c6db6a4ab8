// SPDX-License-Identifier: GPL-2.0
//! `cr_creds.ko`, resource word `creds`: user and group ids, capabilities.
//!
//! Preserved: real, effective, saved and file system ids, up to 1000 supplementary groups, the five capability sets,
//! securebits. A restart takes them by ordinary system calls, last of all: nobody becomes more than the caller
//! of the restart may become.
//! Not preserved, with a note: keyrings of the thread and of the process (the session keyring is the caller's).
//! Refuses the checkpoint: threads with different credentials, a security label (AppArmor, SELinux, Smack)
//! other than the caller's.

mod checkpoint;
mod restart;
mod sys;

use crkit::{At, Checkpoint, Extension, Next, Restart};
use kernel::{prelude::*, str::CStr};

crkit::extension_module! {
    extension: Creds,
    name: "cr_creds",
    description: "Checkpoint and restart of processes: credentials",
    alias: ["crext-creds"],
}

/// The resource word, for messages.
const WORD: &str = "creds";

/// The extension.
struct Creds;

impl Extension for Creds {
    const WORD: &'static CStr = c"creds";
    const SECTION: u16 = cr_format::CREDS;
    const ORDER: u32 = 60;
    type State = restart::State;

    fn checkpoint(cx: &Checkpoint<'_>) -> Result {
        checkpoint::emit(cx)
    }
    fn prepare(cx: &Restart<'_>) -> Result<KBox<Self::State>> {
        restart::prepare(cx)
    }
    fn step(cx: &Restart<'_>, state: &Self::State, at: At) -> Result<Next> {
        state.step(cx, at)
    }
}
