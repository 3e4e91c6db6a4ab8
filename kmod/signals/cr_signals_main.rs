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

use crkit::{bindings as b, At, Checkpoint, Extension, Next, Restart};
use kernel::{prelude::*, str::CStr};

crkit::extension_module! {
    extension: Signals,
    name: "cr_signals",
    description: "Checkpoint and restart of processes: signals",
    alias: ["crext-signals"],
}

/// The resource word, for messages.
const WORD: &str = "signals";

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
    fn prepare(cx: &Restart<'_>) -> Result<KBox<Self::State>> {
        restart::prepare(cx)
    }
    fn step(cx: &Restart<'_>, state: &Self::State, at: At) -> Result<Next> {
        state.step(cx, at)
    }
    fn commit_regs(_cx: &Restart<'_>, state: &Self::State, task: u32, _regs: &mut b::pt_regs) {
        state.commit(task);
    }
}
