// SPDX-License-Identifier: GPL-2.0
//! How the processes of a tree come into the world: every one is made by a fork of its parent, with the pid it had,
//! makes or enters its session and process group, and makes its own children.
//!
//! ```text
//! children of the session before → setsid, or setpgid(0, 0) of a group leader → other children → stand-ins → setpgid(0, group)
//! ```
//!
//! `cr_format::validate::tree` has found that this order can be kept. A fork copies no more than a stub, for nothing has been
//! built yet, unless children keep memory of their parents (`inherit.rs`). Processes that had ended and were not waited for end again, with the same status, without a signal to
//! their parent, which has got that one already; it is put in its place afterwards ([`bury`]).
//!
//! A group or session whose leader has ended is made by a *stand-in* with the id of that one. It makes the group, or the
//! session and, as siblings of itself (CLONE_PARENT), the processes that begin in it; it ends when all members are in the
//! group, and whoever made it waits for it. The stand-in of the session that the first process is born into is crctl's.

use crate::{
    freeze::OwnedTask,
    restart::{arm, Process, RestartOp},
    session::Session,
};
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use cr_format::validate::{born_before, maker_of, Ended, Kin, OUTSIDE};
use cr_logic::tasks::{clone_call, fork_args};
use crkit::{
    bindings as b,
    sys::{task::TaskRef, user},
};
use kernel::{new_mutex, prelude::*, str::CString, sync::Arc, sync::Mutex};

/// What a process does to get into its relations.
#[derive(Clone, Copy)]
pub(crate) enum Act {
    /// Makes the process with this number: a child, or a root, which is a sibling of the first process.
    Fork(u32),
    /// The same as a sibling: what a stand-in does.
    Sibling(u32),
    /// Makes a session.
    Session,
    /// Makes a process group.
    Lead,
    /// Goes into the group with this id, or 0 for the one outside.
    Join(u32),
    /// Makes the stand-in with this number.
    StandIn(u32),
    /// Waits for its end; the last of all.
    Reap(u32),
}

/// One that takes the place of a leader that has ended, until all are in its group.
#[pin_data]
pub(crate) struct StandIn {
    pub(crate) leader: Ended,
    acts: KVec<Act>,
    acted: AtomicU32,
    /// Has it made its group?
    grouped: AtomicBool,
    /// Has it done all it is for?
    over: AtomicBool,
    /// The task, once it has entered.
    #[pin]
    task: Mutex<Option<OwnedTask>>,
}

impl StandIn {
    /// Kills it, if it has entered.
    pub(crate) fn kill(&self) {
        if let Some(t) = &*self.task.lock() {
            t.kill();
        }
    }

    /// Has it ended before its time?
    pub(crate) fn is_lost(&self) -> bool {
        !self.over.load(Ordering::Acquire) && self.task.lock().as_ref().is_some_and(OwnedTask::is_dead)
    }
}

/// The session whose stand-in makes process `n`.
fn begins_in(kin: &[Kin], ended: &[Ended], n: usize) -> Option<usize> {
    ended.iter().position(|e| e.made_session() && maker_of(kin, n, e.id).is_some())
}

/// All that process `number` of `kin` does, in order.
pub(crate) fn acts(kin: &[Kin], ended: &[Ended], number: u32) -> Result<KVec<Act>> {
    let me = kin.get(number as usize).ok_or(EINVAL)?;
    let mut acts = KVec::new();
    let forks = |before: bool, acts: &mut KVec<Act>| -> Result {
        for (n, c) in kin.iter().enumerate().skip(1).filter(|(_, c)| c.parent == number) {
            if born_before(me, c) == before && begins_in(kin, ended, n).is_none() {
                acts.push(Act::Fork(n as u32), GFP_KERNEL)?;
            }
        }
        Ok(())
    };
    let stand_ins = || ended.iter().enumerate().filter(|(_, e)| e.maker == number);
    forks(true, &mut acts)?;
    // Who leads a group leads it before its children come: they are born into it.
    if me.sid == me.tgid {
        acts.push(Act::Session, GFP_KERNEL)?;
    } else if me.pgid == me.tgid {
        acts.push(Act::Lead, GFP_KERNEL)?;
    }
    forks(false, &mut acts)?;
    // Orphans come behind the other children, as they did when they lost their parents.
    for (n, _) in stand_ins() {
        acts.push(Act::StandIn(n as u32), GFP_KERNEL)?;
    }
    if me.pgid != me.tgid {
        let inside = kin.iter().any(|k| k.tgid == me.pgid) || ended.iter().any(|e| e.id == me.pgid);
        acts.push(Act::Join(if inside { me.pgid } else { 0 }), GFP_KERNEL)?;
    }
    for (n, _) in stand_ins() {
        acts.push(Act::Reap(n as u32), GFP_KERNEL)?;
    }
    Ok(acts)
}

/// All stand-ins that processes of `kin` make; those of others do nothing.
pub(crate) fn stand_ins(kin: &[Kin], ended: &[Ended]) -> Result<KVVec<Arc<StandIn>>> {
    let mut all = KVVec::with_capacity(ended.len(), GFP_KERNEL)?;
    for (number, leader) in ended.iter().enumerate() {
        let mut acts = KVec::new();
        acts.push(if leader.made_session() { Act::Session } else { Act::Lead }, GFP_KERNEL)?;
        for n in (1..kin.len()).filter(|n| begins_in(kin, ended, *n) == Some(number)) {
            acts.push(Act::Sibling(n as u32), GFP_KERNEL)?;
        }
        let s = Arc::pin_init(
            pin_init!(StandIn {
                leader: *leader,
                acts,
                acted: AtomicU32::new(0),
                // One that crctl has made is there already.
                grouped: AtomicBool::new(leader.maker == OUTSIDE),
                over: AtomicBool::new(leader.maker == OUTSIDE),
                task <- new_mutex!(None),
            }),
            GFP_KERNEL,
        )?;
        all.push(s.into(), GFP_KERNEL)?;
    }
    Ok(all)
}

/// Somebody who acts: a process or a stand-in.
struct Actor<'a> {
    /// Its id.
    id: u32,
    acts: &'a [Act],
    acted: &'a AtomicU32,
    grouped: &'a AtomicBool,
    /// The process whose stub it runs: its own, or that of the one it is a copy of.
    home: u32,
}

impl<'a> Actor<'a> {
    fn of(p: &'a Process, number: u32) -> Self {
        let home = if p.is_zombie() { p.kin.parent } else { number };
        Self { id: p.kin.tgid, acts: &p.acts, acted: &p.acted, grouped: &p.grouped, home }
    }

    /// The next system call, after the result of the last one; `None` when there is nothing left.
    fn next(&self, s: &Session, op: &RestartOp, prev: i64) -> Result<Option<b::cr_syscall>> {
        let mut at = self.acted.load(Ordering::Relaxed);
        if let Some(act) = (at as usize).checked_sub(1).and_then(|i| self.acts.get(i)) {
            if is_in_use(*act, prev) && op.may_retry() {
                op.pause()?;
                return self.call(op, *act);
            }
            self.done(s, op, *act, prev)?;
        }
        while let Some(act) = self.acts.get(at as usize) {
            at = at.saturating_add(1);
            self.acted.store(at, Ordering::Relaxed);
            if let Some(call) = self.call(op, *act)? {
                return Ok(Some(call));
            }
        }
        Ok(None)
    }

    /// It is in its group.
    fn is_grouped(&self, op: &RestartOp) {
        self.grouped.store(true, Ordering::Release);
        op.wake();
    }

    /// The system call of an act; `None` if there is nothing to do.
    fn call(&self, op: &RestartOp, act: Act) -> Result<Option<b::cr_syscall>> {
        Ok(Some(match act {
            Act::Session => syscall(b::__NR_setsid, 0, 0),
            Act::Lead => syscall(b::__NR_setpgid, 0, 0),
            Act::Join(group) => {
                let group = if group == 0 { op.outside_group() } else { group };
                if group == present_group() {
                    self.is_grouped(op);
                    return Ok(None);
                }
                // A group exists from the moment its leader is in it.
                if let Some(leader) = op.processes().iter().find(|l| l.kin.tgid == group) {
                    op.wait_for(|| leader.grouped.load(Ordering::Acquire))?;
                } else if let Some(leader) = op.stand_ins().iter().find(|l| l.leader.id == group) {
                    op.wait_for(|| leader.grouped.load(Ordering::Acquire))?;
                }
                syscall(b::__NR_setpgid, 0, group as usize)
            }
            Act::Fork(n) => {
                let child = op.process(n)?;
                match child.kin.root {
                    // A sibling has the signal of this process, as its parent wants it.
                    true => self.fork(op, b::CLONE_PARENT, child.kin.tgid, 0)?,
                    false => self.fork(op, 0, child.kin.tgid, child.signal_at_birth())?,
                }
            }
            Act::Sibling(n) => {
                let child = op.process(n)?;
                // A sibling gets the signal of the one that makes it.
                // SAFETY: current; a word that only its parent reads, when current ends.
                unsafe { b::crs_set_exit_signal(TaskRef::current().as_ptr(), child.signal_at_birth() as i32) };
                self.fork(op, b::CLONE_PARENT, child.kin.tgid, 0)?
            }
            Act::StandIn(n) => self.fork(op, 0, op.stand_in(n)?.leader.id, 0)?,
            Act::Reap(n) => {
                // A child without a signal at its end is waited for with __WALL only.
                let id = op.stand_in(n)?.leader.id;
                b::cr_syscall { nr: b::__NR_wait4 as _, args: [id as usize, 0, WALL, 0, 0, 0] }
            }
        }))
    }

    fn fork(&self, op: &RestartOp, flags: u32, id: u32, signal: u32) -> Result<b::cr_syscall> {
        let (scratch, _) = op.scratch(self.home, 0);
        user::write(scratch, &fork_args(id, flags.into(), signal, scratch))?;
        let (nr, [at, len]) = clone_call(scratch);
        Ok(syscall(nr, at as usize, len as usize))
    }

    /// Judges the result of an act.
    fn done(&self, s: &Session, op: &RestartOp, act: Act, result: i64) -> Result {
        let (what, good) = match act {
            // Whoever made the first process may have made it a session leader already; what counts is that it is one.
            Act::Session => ("its session cannot be made", present_session() == self.id),
            Act::Lead | Act::Join(_) => ("it cannot enter its process group", result == 0),
            Act::Fork(n) | Act::Sibling(n) => return made(s, op.process(n)?.kin.tgid, result),
            Act::StandIn(n) => return made(s, op.stand_in(n)?.leader.id, result),
            Act::Reap(n) => {
                let stand_in = op.stand_in(n)?;
                let over = stand_in.over.load(Ordering::Acquire);
                ("the one that made its process group was killed", over && result == i64::from(stand_in.leader.id))
            }
        };
        if good {
            if !matches!(act, Act::Reap(_)) {
                self.is_grouped(op);
            }
            return Ok(());
        }
        let text = CString::try_from_fmt(fmt!("process {}: {what}", self.id))?;
        Err(s.fail(errno(result), "tasks", text.to_bytes(), "report it with the image"))
    }
}

/// Was an act in vain because the id of the one to be made is in use? The last processes of a tree that has been killed
/// give theirs back a moment after they have died.
fn is_in_use(act: Act, result: i64) -> bool {
    matches!(act, Act::Fork(_) | Act::Sibling(_) | Act::StandIn(_)) && errno(result) == EEXIST
}

/// `__WALL` of wait4(2).
const WALL: usize = 0x4000_0000;

fn made(s: &Session, id: u32, result: i64) -> Result {
    if result == i64::from(id) { Ok(()) } else { Err(not_made(s, id, result)) }
}

/// The next system call of the leader of process `number`; `None` when it has all relations. `prev` is the result of
/// the call before.
pub(crate) fn step(s: &Session, op: &RestartOp, number: u32, prev: i64) -> Result<Option<b::cr_syscall>> {
    Actor::of(&**op.process(number)?, number).next(s, op, prev)
}

fn syscall(nr: u32, a: usize, b: usize) -> b::cr_syscall {
    b::cr_syscall { nr: nr as _, args: [a, b, 0, 0, 0, 0] }
}

/// The group that the current process is in.
fn present_group() -> u32 {
    // SAFETY: current.
    unsafe { b::crs_pgrp_vnr(TaskRef::current().as_ptr()) }.unsigned_abs()
}

/// The session that the current process is in.
fn present_session() -> u32 {
    // SAFETY: current.
    unsafe { b::crs_session_vnr(TaskRef::current().as_ptr()) }.unsigned_abs()
}

fn errno(result: i64) -> Error {
    if (-4095..0).contains(&result) { Error::from_errno(result as i32) } else { EPROTO }
}

fn not_made(s: &Session, tgid: u32, result: i64) -> Error {
    let e = errno(result);
    let (why, remedy) = match e {
        EEXIST => ("is taken by another process", "end the other one, or restart in a new pid namespace: --new-pidns"),
        EPERM => ("may not be chosen by you", "restart with CAP_CHECKPOINT_RESTORE or as root"),
        EAGAIN => ("is one process too many", "raise the limit on processes (ulimit -u, pids.max of the cgroup)"),
        EINVAL => ("is outside the range of this pid namespace", "raise sysctl kernel.pid_max"),
        _ => ("cannot be created", ""),
    };
    match CString::try_from_fmt(fmt!("process id {tgid} {why}")) {
        Ok(text) => s.fail(e, "tasks", text.to_bytes(), remedy),
        Err(_) => ENOMEM,
    }
}

/// A process that had ended, in its own context: into its session and group, then it ends again.
pub(crate) fn zombie(s: &Session, op: &Arc<RestartOp>, number: u32, me: &OwnedTask, prev: i64) -> Result {
    let p = op.process(number)?;
    p.enter(me);
    op.wake();
    op.check()?;
    let actor = Actor::of(p, number);
    let next = match actor.next(s, op, prev)? {
        Some(call) => call,
        None => {
            // SAFETY: current, which is about to end with this status: exit_group finds it.
            unsafe { b::crs_set_exit_code(me.as_ptr(), p.wait_status as i32) };
            syscall(b::__NR_exit_group, 0, 0)
        }
    };
    // Its memory is a copy of its parent's, and so is the stub that it runs.
    arm(op, actor.home, 0, next)
}

/// A stand-in, in its own context: makes what its leader had made, waits until all are in, and ends.
pub(crate) fn stand_in(s: &Session, op: &Arc<RestartOp>, number: u32, me: &OwnedTask, prev: i64) -> Result {
    let stand_in = op.stand_in(number)?;
    *stand_in.task.lock() = Some(me.again());
    op.check()?;
    let maker = op.process(stand_in.leader.maker)?;
    let home = Actor::of(maker, stand_in.leader.maker).home;
    let (acted, grouped) = (&stand_in.acted, &stand_in.grouped);
    let actor = Actor { id: stand_in.leader.id, acts: &stand_in.acts, acted, grouped, home };
    let next = match actor.next(s, op, prev)? {
        Some(call) => call,
        None => {
            let id = stand_in.leader.id;
            let out = |p: &Arc<Process>| p.kin.pgid == id && !p.grouped.load(Ordering::Acquire);
            op.wait_for(|| !op.processes().iter().any(out))?;
            // SAFETY: current; its end is for nobody to know but the one who waits for it.
            unsafe { b::crs_set_exit_signal(me.as_ptr(), 0) };
            stand_in.over.store(true, Ordering::Release);
            syscall(b::__NR_exit_group, 0, 0)
        }
    };
    arm(op, home, 0, next)
}

/// Waits until the dead children of process `number` are dead again, and gives them the signal that `wait` looks at.
pub(crate) fn bury(op: &RestartOp, number: u32) -> Result {
    for child in op.processes().iter().skip(1) {
        if child.kin.parent == number && !child.kin.root && child.is_zombie() {
            while !child.has_ended() {
                op.pause()?;
            }
            child.set_exit_signal();
        }
    }
    Ok(())
}
