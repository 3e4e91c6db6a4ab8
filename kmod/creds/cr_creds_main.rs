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

use crkit::{
    bindings as b, context::Run,
    sys::{file::FileRef, task::TaskRef},
    At, Checkpoint, Extension, Next, Registration, Restart,
};
use kernel::{prelude::*, str::CStr};

module! {
    type: Module,
    name: "cr_creds",
    authors: ["The crkit authors"],
    description: "Checkpoint and restart of processes: credentials",
    license: "GPL",
    alias: ["crext-creds"],
}

/// The resource word, for messages.
const WORD: &str = "creds";

/// The module: its registration with the core.
struct Module(#[expect(dead_code, reason = "unregisters on drop")] Registration<Creds>);

impl kernel::Module for Module {
    fn init(module: &'static ThisModule) -> Result<Self> {
        Ok(Self(Registration::new(module, &[])?))
    }
}

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
    fn bulk(_cx: &Checkpoint<'_>) -> Result {
        Ok(())
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
        state.step(cx, at)
    }
    fn restart_file(_cx: &Restart<'_>, _state: &Self::State, _id: u32) -> Result<FileRef> {
        Err(EINVAL)
    }
    fn fill(_cx: &Restart<'_>, _state: &Self::State, _owner: u32, _runs: &[Run]) -> Result {
        Err(EINVAL)
    }
    fn commit_outside(_cx: &Restart<'_>, _state: &Self::State, _task: u32, _t: &TaskRef<'_>) -> Result {
        Ok(())
    }
    fn commit_regs(_cx: &Restart<'_>, _state: &Self::State, _task: u32, _regs: &mut b::pt_regs) {}
}
