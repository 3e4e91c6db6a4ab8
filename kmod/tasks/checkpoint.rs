// SPDX-License-Identifier: GPL-2.0
//! Checkpoint: one record for the process, one for each thread. All threads are parked at the user boundary.

use crate::sys;
use cr_format::{ProcessRecord, TaskRecord, U64s};
use cr_logic::{
    freeze::restart_interrupted,
    tasks::{
        identify_restart, membarrier_registrations, rseq_abort, Interrupted, Regs, REGS, SPEC_INDIRECT, SPEC_INDIRECT_FORCE,
        SPEC_STORE_BYPASS, SPEC_STORE_BYPASS_FORCE, SPEC_STORE_BYPASS_NOEXEC,
    },
};
use crkit::{
    bindings as b,
    sys::{
        task::{TaskRef, NT_PRSTATUS, NT_X86_XSTATE},
        user,
    },
    Checkpoint, Obstacle,
};
use kernel::prelude::*;

/// Most bytes of the argument vector that are kept, for people.
const ARGS_MAX: u64 = 4096;

/// Emits all records.
pub(crate) fn emit(cx: &Checkpoint<'_>) -> Result {
    process(cx)?;
    let mut xstate: KVVec<u8> = KVVec::new();
    xstate.resize(cx.leader().regset_size(NT_X86_XSTATE), 0, GFP_KERNEL)?;
    let mut cpus: KVec<u8> = KVec::new();
    cpus.resize(sys::cpumask_bytes(), 0, GFP_KERNEL)?;
    for t in cx.tasks() {
        task(cx, &t, &mut xstate, &mut cpus)?;
    }
    Ok(())
}

/// `comm` up to its first zero.
fn name(comm: &[u8; 16]) -> &[u8] {
    let len = comm.iter().position(|c| *c == 0).unwrap_or(15);
    comm.get(..len).unwrap_or(&[])
}

fn process(cx: &Checkpoint<'_>) -> Result {
    let leader = cx.leader();
    let (ppid, pgid, sid) = sys::relatives(&leader);
    let signal = sys::signal(&leader);
    let mm = sys::mm_facts(&cx.mm());

    let mut path: KVec<u8> = KVec::new();
    path.resize(4096, 0, GFP_KERNEL)?;
    let exe = sys::exe_file(&cx.mm());
    let exe = exe.as_ref().and_then(|f| f.path(&mut path).ok()).filter(|p| p.first() == Some(&b'/')).unwrap_or(&[]);

    let (start, end) = sys::arg_area(&cx.mm());
    let mut args: KVec<u8> = KVec::new();
    args.resize(end.saturating_sub(start).min(ARGS_MAX) as usize, 0, GFP_KERNEL)?;
    // For people only: an unreadable area is an empty one.
    if user::read_task(&leader, &cx.mm(), start, &mut args).is_err() {
        args.clear();
    }

    let tgid = leader.tgid_vnr();
    cx.emit(&ProcessRecord {
        id: tgid,
        tgid: tgid.into(),
        ppid,
        pgid,
        sid,
        comm: name(&leader.comm()),
        exe,
        args: &args,
        personality: leader.fields().personality.into(),
        dumpable: sys::dumpable(&leader),
        child_subreaper: signal.is_child_subreaper.into(),
        oom_score_adj: signal.oom_score_adj.into(),
        threads: cx.task_count().into(),
        stopped: u64::from(signal.flags & b::CR_SIGNAL_STOP_STOPPED != 0),
        membarrier: membarrier_registrations(mm.membarrier),
        mdwe: mm.mdwe,
    })
}

fn task(cx: &Checkpoint<'_>, t: &TaskRef<'_>, xstate: &mut [u8], cpus: &mut [u8]) -> Result {
    let f = t.fields();
    let tid = t.pid_vnr();
    let (mut regs, got) = registers(t, xstate)?;
    let xstate = xstate.get(..got).ok_or(EINVAL)?;
    let pending = sys::signal_pending(t);
    // CAST: signs only.
    if let Some(ax) = restart_interrupted(regs.orig_ax as i64, regs.ax as i64, pending) {
        regs.ax = ax as u64;
    }
    let interrupted = interrupted(cx, t, &mut regs)?;
    let rseq = sys::rseq(t);
    if let Some(r) = &rseq {
        if let Some(ip) = active_section(cx, t, r, regs.ip) {
            regs.ip = ip;
        }
    }
    if let Err(reason) = cr_logic::tasks::sanitize_regs(regs) {
        let remedy = "let the thread leave this state and try again";
        cx.obstacle(Obstacle { tid, address: regs.ip, ..Obstacle::new(crate::WORD, b"registers", reason, remedy) })?;
    }
    let sched = sys::sched_attr(t);
    let pinned = sys::affinity(t, cpus);
    cx.emit(&TaskRecord {
        id: tid,
        tid: tid.into(),
        comm: name(&t.comm()),
        regs: U64s::Native(&regs.to_array()),
        xstate,
        clear_child_tid: f.clear_child_tid as u64,
        robust_list: f.futex.robust_list as u64,
        robust_len: if f.futex.robust_list.is_null() { 0 } else { 24 },
        rseq_ptr: rseq.as_ref().map_or(0, |r| r.ptr),
        rseq_len: rseq.as_ref().map_or(0, |r| r.len.into()),
        rseq_sig: rseq.as_ref().map_or(0, |r| r.sig.into()),
        rseq_registered: rseq.is_some().into(),
        restart_kind: interrupted.kind,
        restart_expiry_ns: interrupted.expiry_ns,
        restart_arg: interrupted.arg,
        policy: sched.sched_policy.into(),
        nice: sched.sched_nice.into(),
        rt_priority: sched.sched_priority.into(),
        sched_flags: sched.sched_flags,
        sched_runtime: sched.sched_runtime,
        sched_deadline: sched.sched_deadline,
        sched_period: sched.sched_period,
        affinity: cpus,
        timerslack_ns: f.timer_slack_ns,
        pdeath_signal: u64::from(f.pdeath_signal.unsigned_abs()),
        no_new_privs: sys::ask(t, b::crs_no_new_privs).into(),
        tsc_mode: if sys::ask(t, b::crs_tsc_mode_disabled) { 2 } else { 1 },
        pinned: pinned.into(),
        ioprio: sys::io_priority(t),
        speculation: speculation(f.atomic_flags as u64),
    })
}

/// `struct user_regs_struct` of a parked thread; its extended state into `xstate`, with the length.
fn registers(t: &TaskRef<'_>, xstate: &mut [u8]) -> Result<(Regs, usize)> {
    t.settle()?;
    let mut bytes = [0u8; REGS * 8];
    let held = t.hold()?;
    let got = held.regset_get(NT_PRSTATUS, &mut bytes)?;
    let xgot = held.regset_get(NT_X86_XSTATE, xstate)?;
    drop(held);
    if got != bytes.len() {
        return Err(EINVAL);
    }
    Ok((Regs::from_array(U64s::from_le_bytes(&bytes)).ok_or(EINVAL)?, xgot))
}

/// What the thread was interrupted in; puts the number of the original system call back.
fn interrupted(cx: &Checkpoint<'_>, t: &TaskRef<'_>, regs: &mut Regs) -> Result<Interrupted> {
    let Some(mut i) = identify_restart(regs, &sys::restart_block(t)) else {
        cx.obstacle(Obstacle {
            tid: t.pid_vnr(),
            ..Obstacle::new(
                crate::WORD,
                b"interrupted system call",
                "the thread waits in restart_syscall(2) for a call that cannot be identified",
                "try again when the call has ended",
            )
        })?;
        return Ok(Interrupted::default());
    };
    if i.kind != 0 {
        regs.orig_ax = i.nr;
    }
    // The image has the clocks as the process sees them.
    if let Some(ns) = sys::namespaces(t).filter(|_| i.expiry_ns != 0) {
        i.expiry_ns = i.expiry_ns.saturating_add(match i.arg {
            // CLOCK_MONOTONIC, CLOCK_BOOTTIME and its alarm variant.
            1 => ns.monotonic_ns,
            7 | 9 => ns.boottime_ns,
            _ => 0,
        });
    }
    Ok(i)
}

/// Where a thread inside an rseq critical section goes on.
fn active_section(cx: &Checkpoint<'_>, t: &TaskRef<'_>, r: &sys::Rseq, ip: u64) -> Option<u64> {
    let read = |at: u64| {
        let mut word = [0u8; 8];
        user::read_task(t, &cx.mm(), at, &mut word).ok()?;
        Some(u64::from_le_bytes(word))
    };
    // struct rseq: rseq_cs at 8; struct rseq_cs: version and flags, start_ip, post_commit_offset, abort_ip.
    let section = read(r.ptr.checked_add(8)?)?;
    if section == 0 || read(section)? != 0 {
        return None;
    }
    let at = |offset: u64| section.checked_add(offset).and_then(read);
    let abort = rseq_abort(ip, at(8)?, at(16)?, at(24)?)?;
    let mut sig = [0u8; 4];
    user::read_task(t, &cx.mm(), abort.checked_sub(4)?, &mut sig).ok()?;
    // With a wrong signature the kernel would have killed the thread.
    (u32::from_le_bytes(sig) == r.sig).then_some(abort)
}

/// `PR_GET_SPECULATION_CTRL` from the task's atomic flags.
fn speculation(flags: u64) -> u64 {
    [
        (b::CR_PFA_SPEC_SSB_DISABLE, SPEC_STORE_BYPASS),
        (b::CR_PFA_SPEC_SSB_FORCE_DISABLE, SPEC_STORE_BYPASS_FORCE),
        (b::CR_PFA_SPEC_SSB_NOEXEC, SPEC_STORE_BYPASS_NOEXEC),
        (b::CR_PFA_SPEC_IB_DISABLE, SPEC_INDIRECT),
        (b::CR_PFA_SPEC_IB_FORCE_DISABLE, SPEC_INDIRECT_FORCE),
    ]
    .into_iter()
    .filter(|(bit, _)| flags & (1 << bit) != 0)
    .fold(0, |all, (_, s)| all | s)
}
