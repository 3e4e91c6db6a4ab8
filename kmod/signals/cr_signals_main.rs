// SPDX-License-Identifier: GPL-2.0
//! `cr_signals.ko`, resource word `signals`: handlers, masks, alternate stacks, pending signals.
//!
//! Preserved: the action of every signal, each thread's mask (also the one that `sigsuspend`, `ppoll` and
//! `epoll_pwait` put back), alternate signal stacks, signals that wait for a thread or for the process, in
//! their order and with their `siginfo`.
//! Not preserved: a SIGSTOP that arrives while the process is frozen; it stops the original, not the image.
//!
//! Locks: `sighand->siglock`, for copies into memory allocated before; nothing else is taken under it.

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
    name: "cr_signals",
    authors: ["The crkit authors"],
    description: "Checkpoint and restart of processes: signals",
    license: "GPL",
    alias: ["crext-signals"],
}

/// The resource word, for messages.
const WORD: &str = "signals";

/// The module: its registration with the core.
struct Module(#[expect(dead_code, reason = "unregisters on drop")] Registration<Signals>);

impl kernel::Module for Module {
    fn init(module: &'static ThisModule) -> Result<Self> {
        Ok(Self(Registration::new(module, &[])?))
    }
}

/// The extension.
struct Signals;

impl Extension for Signals {
    const WORD: &'static CStr = c"signals";
    const SECTION: u16 = cr_format::SIGNALS;
    const ORDER: u32 = 30;
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
    fn commit_regs(_cx: &Restart<'_>, state: &Self::State, task: u32, _regs: &mut b::pt_regs) {
        state.commit(task);
    }
}
