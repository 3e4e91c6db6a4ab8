// SPDX-License-Identifier: GPL-2.0
//! Checkpoint: one record for the process, one for each thread. All threads are parked at the user boundary.

use crate::{relatives, sys};
use cr_format::{ExitedRecord, KinRecord, LeaderRecord, ProcessRecord, TaskRecord, U64s};
use cr_logic::{
    freeze::{restart_interrupted, ERESTARTNOHAND},
    tasks::{
        identify_restart, membarrier_registrations, rseq_abort, Interrupted, Regs, REGS, SPEC_INDIRECT, SPEC_INDIRECT_FORCE,
        SPEC_STORE_BYPASS, SPEC_STORE_BYPASS_FORCE, SPEC_STORE_BYPASS_NOEXEC,
    },
    uring::{place, Place, IN_FLIGHT},
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

/// Bytes of the largest set of nodes.
const NODES_BYTES: usize = 128;

/// Emits all records.
pub(crate) fn emit(cx: &Checkpoint<'_>) -> Result {
    process(cx)?;
    cgroup(cx)?;
    landlock(cx)?;
    if cx.process() > 0 {
        kin(cx)?;
    } else {
        // Nobody is asked about those that have ended.
        for z in cx.all_processes().filter(Checkpoint::is_zombie) {
            zombie(&z)?;
        }
        for leader in relatives::ended(&relatives::all(cx)?, cx)? {
            cx.emit(&LeaderRecord { id: leader.id, sid: leader.sid.into() })?;
        }
    }
    let mut xstate: KVVec<u8> = KVVec::new();
    xstate.resize(cx.leader().regset_size(NT_X86_XSTATE), 0, GFP_KERNEL)?;
    let mut cpus: KVec<u8> = KVec::new();
    cpus.resize(sys::cpumask_bytes(), 0, GFP_KERNEL)?;
    if let Some(main) = cx.ended_main() {
        let xstate = initial_xstate(&mut xstate);
        cx.emit(&TaskRecord { regs: U64s::Native(&Regs::initial().to_array()), xstate, ..lasting(&main, &main.comm(), &mut cpus) })?;
        cx.emit(&ExitedRecord { id: main.pid_vnr(), status: sys::exit_status(&main) })?;
    }
    for t in cx.tasks() {
        task(cx, &t, &mut xstate, &mut cpus)?;
    }
    for t in cx.tasks() {
        let mut nodes = [0; NODES_BYTES];
        let a = sys::attributes(&t, &mut nodes);
        if cr_logic::tasks::has_attributes(&a) {
            cx.emit(&a)?;
        }
    }
    Ok(())
}

/// The module for Landlock domains, if a thread has one.
fn landlock(cx: &Checkpoint<'_>) -> Result {
    let Some(word) = cx.landlock_word() else { return Ok(()) };
    let Some(t) = cx.tasks().find(|t| sys::security_word(t, word) != 0) else { return Ok(()) };
    if cx.require(c"landlock")?.is_some() {
        return Ok(());
    }
    let tid = t.pid_vnr();
    let reason = "the restrictions that the process has put on itself need the module cr_landlock, which is not there";
    let remedy = "install it, or restart the process without them: --drop landlock";
    cx.obstacle(Obstacle { tid, ..Obstacle::new("landlock", b"Landlock domain", reason, remedy) })
}

/// The module for control groups, unless the process is in the root group.
fn cgroup(cx: &Checkpoint<'_>) -> Result {
    if sys::in_root_cgroup(&cx.leader()) || cx.require(c"cgroups")?.is_some() {
        return Ok(());
    }
    cx.note(crate::WORD, b"the control group is not kept: there is no module cr_cgroups")
}

/// `comm` up to its first zero.
fn name(comm: &[u8; 16]) -> &[u8] {
    let len = comm.iter().position(|c| *c == 0).unwrap_or(15);
    comm.get(..len).unwrap_or(&[])
}

/// The place of the process in its tree.
fn kin(cx: &Checkpoint<'_>) -> Result {
    let leader = cx.ended_main().unwrap_or_else(|| cx.leader());
    let zombie = cx.is_zombie();
    cx.emit(&KinRecord {
        id: leader.tgid_vnr(),
        exit_signal: sys::exit_signal(&leader),
        zombie: zombie.into(),
        wait_status: if zombie { sys::wait_status(&leader) } else { 0 },
        root: relatives::is_root(cx).into(),
    })
}

/// A process that has ended, and its parent has not waited for it yet.
fn zombie(cx: &Checkpoint<'_>) -> Result {
    let leader = cx.leader();
    let tgid = leader.tgid_vnr();
    let (ppid, pgid, sid) = sys::relatives(&leader);
    cx.emit(&ProcessRecord { id: tgid, tgid: tgid.into(), ppid, pgid, sid, comm: name(&leader.comm()), ..ProcessRecord::default() })?;
    kin(cx)
}

fn process(cx: &Checkpoint<'_>) -> Result {
    let leader = cx.leader();
    let main = cx.ended_main();
    let name_giver = main.as_ref().unwrap_or(&leader);
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
        comm: name(&name_giver.comm()),
        exe,
        args: &args,
        personality: leader.fields().personality.into(),
        dumpable: sys::dumpable(&leader),
        child_subreaper: signal.is_child_subreaper.into(),
        oom_score_adj: signal.oom_score_adj.into(),
        threads: u64::from(cx.task_count()).saturating_add(main.is_some().into()),
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
    match place(regs.orig_ax as i64, regs.ax as i64, regs.si) {
        Place::Boundary => {}
        // CAST: a small negative number.
        Place::Waits => regs.ax = ERESTARTNOHAND as u64,
        Place::Busy => cx.obstacle(Obstacle {
            tid,
            ..Obstacle::new(
                "uring",
                IN_FLIGHT,
                "the thread is inside of a call that submits requests or waits for them",
                "let the program wait for them, and try again",
            )
        })?,
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
    cx.emit(&TaskRecord {
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
        ..lasting(t, &t.comm(), cpus)
    })
}

/// What a thread has for its whole life, and keeps when it has ended: its name, scheduling and attributes.
fn lasting<'c>(t: &TaskRef<'_>, comm: &'c [u8; 16], cpus: &'c mut [u8]) -> TaskRecord<'c> {
    let f = t.fields();
    let tid = t.pid_vnr();
    let sched = sys::sched_attr(t);
    let pinned = sys::affinity(t, cpus);
    TaskRecord {
        id: tid,
        tid: tid.into(),
        comm: name(comm),
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
        ..TaskRecord::default()
    }
}

/// The extended state that a thread begins with.
fn initial_xstate(xstate: &mut [u8]) -> &[u8] {
    xstate.fill(0);
    // MXCSR is read from the image even if no feature is in use.
    if let Some(mxcsr) = xstate.get_mut(24..).and_then(|x| x.first_chunk_mut::<4>()) {
        *mxcsr = 0x1f80_u32.to_le_bytes();
    }
    xstate
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
