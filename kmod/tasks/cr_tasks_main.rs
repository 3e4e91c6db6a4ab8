// SPDX-License-Identifier: GPL-2.0
//! `cr_tasks.ko`, resource word `tasks`: the process and its threads.
//!
//! Preserved: process and thread ids, names, general registers, extended processor state (x87, SSE, AVX,
//! AVX-512, protection key rights), thread-local storage, robust futex lists, rseq registrations, interrupted system calls,
//! scheduling policy and priorities, CPU affinity, I/O priority, timer slack, death signal, no_new_privs,
//! time stamp counter and speculation settings, personality, dumpable and child subreaper attributes,
//! OOM score adjustment, membarrier registrations, `PR_SET_MDWE`; relations of the processes of a tree, groups and
//! sessions whose leader has ended, and the status of those that have ended (the core makes them, from the records of this module).
//!
//! Not preserved, and harmless: the parent of the first process (the process that starts the restart is it), a process group and
//! a session that began outside and go on there, CPU time used, accounting.
//! Interrupted system calls: `nanosleep`, `clock_nanosleep`, `poll` and futex waits keep their deadlines on the
//! clocks of the process, `select` and `ppoll` their remaining time; other relative time-outs (`epoll_wait`,
//! `semtimedop`, `rt_sigtimedwait`, `SO_RCVTIMEO`) begin anew.
//! Noted: controlling terminal; by crctl: the nice value of an autogroup.
//!
//! Everything else that would be lost refuses the checkpoint: see `obstacles.rs`.

mod checkpoint;
mod learn;
mod obstacles;
mod relatives;
mod restart;
mod sys;

use crkit::{bindings as b, sys::task::TaskRef, At, Checkpoint, Extension, Next, Registration, Restart};
use kernel::{prelude::*, str::CStr};

module! {
    type: Module,
    name: "cr_tasks",
    authors: ["The crkit authors"],
    description: "Checkpoint and restart of processes: threads, registers, scheduling",
    license: "GPL",
    alias: ["crext-tasks"],
}

/// The resource word, for messages.
const WORD: &str = "tasks";

/// The module: its registration with the core.
struct Module(#[expect(dead_code, reason = "unregisters on drop")] Registration<Tasks>);

impl kernel::Module for Module {
    fn init(module: &'static ThisModule) -> Result<Self> {
        learn::set_owner(module);
        Ok(Self(Registration::new(module, &[])?))
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        // SAFETY: may sleep. Waits for the last instructions of works that have given up their reference.
        unsafe { b::synchronize_rcu_tasks() };
    }
}

/// The extension.
struct Tasks;

impl Extension for Tasks {
    const WORD: &'static CStr = c"tasks";
    const SECTION: u16 = cr_format::TASKS;
    const ORDER: u32 = 40;
    type State = restart::State;

    fn checkpoint(cx: &Checkpoint<'_>) -> Result {
        obstacles::report(cx)?;
        checkpoint::emit(cx)
    }
    fn prepare(cx: &Restart<'_>) -> Result<KBox<Self::State>> {
        restart::prepare(cx)
    }
    fn step(cx: &Restart<'_>, state: &Self::State, at: At) -> Result<Next> {
        state.step(cx, at)
    }
    fn commit_outside(cx: &Restart<'_>, state: &Self::State, task: u32, t: &TaskRef<'_>) -> Result {
        state.commit_outside(cx, task, t)
    }
    fn commit_regs(_cx: &Restart<'_>, state: &Self::State, task: u32, regs: &mut b::pt_regs) {
        state.commit_regs(task, regs);
    }
}
