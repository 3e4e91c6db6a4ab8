// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Rules of section `tasks`.

use super::{each, ids, is_bool, is_path, known_records, only, MetaSet};
use crate::{
    error::{ensure, Error, Result},
    limits::{PATH, PID, TASK_SIZE, THREADS},
    record::{records_of, Record, U64s},
    sections::{
        AttributesRecord, ExitedRecord, ImageRecord, ProcessRecord, TaskRecord, IMAGE, REGS,
        SIGNALS_MAX, TASKS,
    },
    wire::{is_zero, len64, Take},
};

/// Longest name of a task: `TASK_COMM_LEN` less the NUL.
const COMM_MAX: usize = 15;
/// Code and stack segment of 64-bit user space.
const USER_CS: u64 = 0x33;
const USER_SS: u64 = 0x2b;
/// Flags that user space can set: CF PF AF ZF SF TF DF OF NT RF AC ID.
const USER_FLAGS: u64 = 0x25_4dd5;
/// Flags that are always set in user space: bit 1 and IF.
const SET_FLAGS: u64 = 0x202;
/// Legacy area and header of the XSAVE layout.
const XSAVE_MIN: usize = 576;
const XSAVE_MAX: usize = 65536;
/// MXCSR bits that no processor reserves.
const MXCSR_MASK: u32 = 0xffff;
/// Largest mask: 8192 CPUs.
const AFFINITY_MAX: usize = 1024;
/// `SCHED_CAPACITY_SCALE`.
const UTIL_MAX: u64 = 1024;
/// `MPOL_F_STATIC_NODES`, `MPOL_F_RELATIVE_NODES`, `MPOL_F_NUMA_BALANCING`.
pub(super) const POLICY_FLAGS: u64 = 0xe000;
/// `MPOL_WEIGHTED_INTERLEAVE`.
pub(super) const POLICY_MAX: u64 = 6;
/// Largest set of nodes: 1024 of them.
pub(super) const NODES_MAX: usize = 128;
/// Bytes of `struct robust_list_head`.
const ROBUST_LEN: u64 = 24;

pub(super) fn check(set: &dyn MetaSet) -> Result {
    known_records(set, TASKS)?;
    let process: ProcessRecord<'_> = only(set, "TASKS-1")?;
    process_record(&process).map_err(|e| e.placed(TASKS, 0))?;
    let image: ImageRecord<'_> = first_shared(set)?;
    let mut count = 0_u64;
    each(set, |t: TaskRecord<'_>| {
        count = count.saturating_add(1);
        ensure(count > 1 || t.tid == process.tgid, "TASKS-4")?;
        task_record(&t, image.xfeatures)
    })?;
    ensure(count == process.threads, "TASKS-3").map_err(|e| e.placed(TASKS, 0))?;
    if let Some(at) = ids::duplicate(ids::record_ids(TASKS, set.section(TASKS), TaskRecord::TYPE)) {
        return Err(Error::rule("TASKS-4").placed(TASKS, at));
    }
    each(set, |a: AttributesRecord<'_>| attributes(&a, &process))?;
    let mut first = true;
    each(set, |e: ExitedRecord| {
        ensure(core::mem::replace(&mut first, false), "TASKS-16")?;
        exited(&e, &process, set)
    })?;
    let of = |kind| ids::record_ids(TASKS, set.section(TASKS), kind);
    let twice = ids::duplicate(of(AttributesRecord::TYPE));
    match twice.or_else(|| ids::dangling(of(AttributesRecord::TYPE), of(TaskRecord::TYPE))) {
        Some(at) => Err(Error::rule("TASKS-15").placed(TASKS, at)),
        None => Ok(()),
    }
}

/// A main thread that has ended: nothing of it may act once more when it ends again.
fn exited(e: &ExitedRecord, process: &ProcessRecord<'_>, set: &dyn MetaSet) -> Result {
    let is_main = u64::from(e.id) == process.tgid && process.threads > 1;
    ensure(
        is_main && e.status & 0xff == 0 && e.status <= 0xff00,
        "TASKS-16",
    )?;
    let main = records_of::<TaskRecord<'_>>(set.section(TASKS))
        .next()
        .ok_or(Error::rule("TASKS-3"))??;
    let acts = main.clear_child_tid | main.robust_list | main.rseq_registered | main.restart_kind;
    ensure(acts == 0, "TASKS-16")
}

/// Attributes of one thread.
fn attributes(a: &AttributesRecord<'_>, process: &ProcessRecord<'_>) -> Result {
    let small = a.machine_check <= 2 && is_bool(a.io_flusher) && is_bool(a.timer_ids);
    let leads = u64::from(a.id) == process.tgid;
    ensure(small && (leads || a.timer_ids == 0), "TASKS-15")?;
    let clamps = a.util_min <= UTIL_MAX && a.util_max <= UTIL_MAX;
    // Only what is asked for has a value.
    let asked = (a.clamped & 1 != 0 || a.util_min == 0) && (a.clamped & 2 != 0 || a.util_max == 0);
    let ordered = a.clamped != 3 || a.util_min <= a.util_max;
    ensure(a.clamped <= 3 && clamps && asked && ordered, "TASKS-15")?;
    if a.memory_policy & !POLICY_FLAGS > POLICY_MAX {
        return Err(Error::unsupported("NUMA memory policy"));
    }
    let nodes =
        a.memory_nodes.len() <= NODES_MAX && (a.memory_policy != 0 || a.memory_nodes.is_empty());
    ensure(nodes, "TASKS-15")
}

/// The record about the image, which all processes have in common.
fn first_shared(set: &dyn MetaSet) -> Result<ImageRecord<'_>> {
    records_of(set.shared(IMAGE))
        .next()
        .ok_or(Error::rule("IMAGE-1").placed(IMAGE, 0))?
}

fn process_record(p: &ProcessRecord<'_>) -> Result {
    ensure(
        u64::from(p.id) == p.tgid && (1..=PID).contains(&p.tgid),
        "TASKS-1",
    )?;
    ensure(p.ppid <= PID && p.pgid <= PID && p.sid <= PID, "TASKS-2")?;
    if p.threads > THREADS {
        return Err(Error::over_limit(p.threads, THREADS));
    }
    ensure(p.comm.len() <= COMM_MAX, "TASKS-5")?;
    ensure(
        is_bool(p.child_subreaper) && is_bool(p.stopped) && p.dumpable <= 2,
        "TASKS-13",
    )?;
    ensure(
        (-1000..=1000).contains(&p.oom_score_adj) && u32::try_from(p.personality).is_ok(),
        "TASKS-13",
    )?;
    ensure(
        p.membarrier <= 0x3fff && matches!(p.mdwe, 0 | 1 | 3),
        "TASKS-13",
    )?;
    ensure(
        (p.exe.is_empty() || is_path(p.exe)) && len64(p.args) <= PATH,
        "TASKS-14",
    )
}

fn task_record(t: &TaskRecord<'_>, xfeatures: u64) -> Result {
    ensure(
        u64::from(t.id) == t.tid && (1..=PID).contains(&t.tid),
        "TASKS-4",
    )?;
    ensure(t.comm.len() <= COMM_MAX, "TASKS-5")?;
    registers(t.regs)?;
    xstate(t.xstate, xfeatures)?;
    ensure(t.robust_len == 0 || t.robust_len == ROBUST_LEN, "TASKS-10")?;
    let rseq_end = t.rseq_ptr.checked_add(t.rseq_len);
    let rseq = t.rseq_ptr != 0 && t.rseq_len >= 20 && rseq_end.is_some_and(|end| end <= TASK_SIZE);
    ensure(
        is_bool(t.rseq_registered) && (t.rseq_registered == 0 || rseq),
        "TASKS-10",
    )?;
    if t.restart_kind > 4 {
        return Err(Error::unsupported("kind of interrupted system call"));
    }
    scheduling(t)?;
    ensure(
        t.affinity.len() <= AFFINITY_MAX && !is_zero(t.affinity),
        "TASKS-12",
    )?;
    ensure(
        is_bool(t.pinned) && t.ioprio <= 0xffff && t.speculation <= 31,
        "TASKS-13",
    )?;
    ensure(
        is_bool(t.no_new_privs) && t.pdeath_signal <= SIGNALS_MAX && t.tsc_mode <= 2,
        "TASKS-13",
    )
}

fn registers(regs: U64s<'_>) -> Result {
    ensure(regs.len() == REGS, "TASKS-6")?;
    // The order of `REG_NAMES`; the length was checked above.
    let reg = |i| regs.get(i).unwrap_or(0);
    // ds, es, fs, gs: 0 or with the rights of user space.
    let selectors = (23..=26).all(|i| reg(i) <= 0xffff && (reg(i) == 0 || reg(i) & 3 == 3));
    ensure(
        reg(17) == USER_CS && reg(20) == USER_SS && selectors,
        "TASKS-7",
    )?;
    let flags = reg(18);
    ensure(
        flags & SET_FLAGS == SET_FLAGS && flags & !(USER_FLAGS | SET_FLAGS) == 0,
        "TASKS-7",
    )?;
    ensure([16, 21, 22].iter().all(|&i| reg(i) < TASK_SIZE), "TASKS-8")
}

/// The checks of the kernel on an XSAVE image from user space (`validate_user_xstate_header`).
fn xstate(bytes: &[u8], xfeatures: u64) -> Result {
    ensure((XSAVE_MIN..=XSAVE_MAX).contains(&bytes.len()), "TASKS-9")?;
    let mxcsr = Take(bytes.get(24..).unwrap_or(&[])).u32();
    let mut header = Take(bytes.get(512..XSAVE_MIN).unwrap_or(&[]));
    let xstate_bv = header.u64();
    ensure(
        mxcsr & !MXCSR_MASK == 0 && xstate_bv & !xfeatures == 0 && is_zero(header.rest()),
        "TASKS-9",
    )
}

fn scheduling(t: &TaskRecord<'_>) -> Result {
    // SCHED_OTHER, FIFO, RR, BATCH, IDLE, DEADLINE.
    if !matches!(t.policy, 0..=3 | 5 | 6) {
        return Err(Error::unsupported("scheduling policy"));
    }
    let real_time = matches!(t.policy, 1 | 2);
    let priority = if real_time {
        (1..=99).contains(&t.rt_priority)
    } else {
        t.rt_priority == 0
    };
    ensure((-20..=19).contains(&t.nice) && priority, "TASKS-11")
}
