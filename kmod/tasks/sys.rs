// SPDX-License-Identifier: GPL-2.0
//! What the kernel keeps about tasks and only its own macros can read, as safe functions; and the few
//! fields that a restart stores itself. The only file of this module that names bindings' functions.
//!
//! None of it is in the `kernel` crate: it is state that no driver has any business with.

use cr_format::AttributesRecord;
use cr_logic::tasks::{Regs, RestartBlock};
use crkit::{
    bindings as b,
    sys::{file::FileRef, mm::MmRef, task::TaskRef},
};
use kernel::ffi::c_int;

/// A question about a task, answered by one of the shims.
pub(crate) type Ask = unsafe extern "C" fn(*mut b::task_struct) -> c_int;

/// Asks it.
///
/// `ask` is one of the `crs_*` functions that take any live task.
pub(crate) fn ask(t: &TaskRef<'_>, ask: Ask) -> bool {
    // SAFETY: the task is referenced; the shims in question demand no more.
    unsafe { ask(t.as_ptr()) != 0 }
}

/// `signal_struct` of a task.
pub(crate) fn signal<'t>(t: &'t TaskRef<'_>) -> &'t b::signal_struct {
    // SAFETY: a task's signal_struct lives as long as the task_struct; its users are frozen.
    unsafe { &*t.fields().signal }
}

/// `PR_GET_DUMPABLE`.
pub(crate) fn dumpable(t: &TaskRef<'_>) -> u64 {
    // SAFETY: live task.
    u64::from(unsafe { b::crs_task_dumpable(t.as_ptr()) }.unsigned_abs())
}

/// Parent, process group and session of a task, as the caller's pid namespace sees them; 0: outside.
pub(crate) fn relatives(t: &TaskRef<'_>) -> (u64, u64, u64) {
    // SAFETY: live task.
    let ids = unsafe { [b::crs_ppid_vnr(t.as_ptr()), b::crs_pgrp_vnr(t.as_ptr()), b::crs_session_vnr(t.as_ptr())] };
    let [p, g, s] = ids.map(|i| u64::from(i.unsigned_abs()));
    (p, g, s)
}

/// Number of processes in its session, or its group, if the leader of that has ended; else 0.
pub(crate) fn leaderless(t: &TaskRef<'_>, session: bool) -> usize {
    // SAFETY: live task.
    unsafe { b::crs_leaderless(t.as_ptr(), session.into()) }.unsigned_abs() as usize
}

/// Signal that the parent gets when the process ends, 0 none.
pub(crate) fn exit_signal(t: &TaskRef<'_>) -> u64 {
    u64::try_from(t.fields().exit_signal).unwrap_or(0)
}

/// What `wait` says of a process that has ended.
pub(crate) fn wait_status(t: &TaskRef<'_>) -> u64 {
    // SAFETY: a referenced task that has ended.
    unsafe { b::crs_wait_status(t.as_ptr()) }.unsigned_abs().into()
}

/// What a thread that has ended gave to `_exit(2)`, as `wait` says it.
pub(crate) fn exit_status(t: &TaskRef<'_>) -> u64 {
    // CAST: the code and nothing else: a signal would have ended the whole process.
    u64::from(t.fields().exit_code as u32 & 0xff00)
}

/// Thread group ids of children.
pub(crate) fn children(t: &TaskRef<'_>, out: &mut [c_int]) -> usize {
    let max = c_int::try_from(out.len()).unwrap_or(0);
    // SAFETY: live task; room for `max` ids.
    unsafe { b::crs_children(t.as_ptr(), out.as_mut_ptr(), max) as usize }
}

/// Thread group ids of others that share a structure (`CRS_SHARE_*`).
pub(crate) fn sharers(t: &TaskRef<'_>, what: u32, out: &mut [c_int]) -> usize {
    let max = c_int::try_from(out.len()).unwrap_or(0);
    // SAFETY: live task; room for `max` ids.
    unsafe { b::crs_sharers(t.as_ptr(), what as c_int, out.as_mut_ptr(), max) as usize }
}

/// Namespaces, to compare; `None` for an exiting task.
pub(crate) fn namespaces(t: &TaskRef<'_>) -> Option<b::crs_namespaces> {
    let mut ns = b::crs_namespaces::default();
    // SAFETY: live task, valid out pointer.
    (unsafe { b::crs_namespaces(t.as_ptr(), &mut ns) } == 0).then_some(ns)
}

/// What the current process's clock is ahead of the kernel's, nanoseconds.
pub(crate) fn clock_offset(clock: u32) -> i64 {
    let ns = namespaces(&TaskRef::current());
    match clock {
        1 => ns.map_or(0, |n| n.monotonic_ns),
        7 => ns.map_or(0, |n| n.boottime_ns),
        _ => 0,
    }
}

/// State of the address space that belongs to the process as a whole.
pub(crate) struct MmFacts {
    pub(crate) ldt: bool,
    pub(crate) lam: bool,
    pub(crate) uprobes: bool,
    pub(crate) membarrier: u64,
    pub(crate) mdwe: u64,
}

/// Reads them.
pub(crate) fn mm_facts(mm: &MmRef<'_>) -> MmFacts {
    let p = mm.as_ptr();
    // SAFETY: live mm; the flag numbers are the kernel's own.
    unsafe {
        let flag = |bit: u32| b::crs_mm_flag(p, bit as c_int) != 0;
        MmFacts {
            ldt: b::crs_mm_has_ldt(p) != 0,
            lam: b::crs_mm_lam(p) != 0,
            uprobes: flag(b::CR_MMF_HAS_UPROBES),
            membarrier: b::crs_mm_membarrier(p).into(),
            mdwe: u64::from(flag(b::CR_MMF_HAS_MDWE)) | (u64::from(flag(b::CR_MMF_HAS_MDWE_NO_INHERIT)) << 1),
        }
    }
}

/// The program file.
pub(crate) fn exe_file(mm: &MmRef<'_>) -> Option<FileRef> {
    // SAFETY: live mm; the returned reference is ours.
    unsafe { FileRef::from_raw(b::crs_mm_exe_file(mm.as_ptr())) }
}

/// Start and end of the argument area.
pub(crate) fn arg_area(mm: &MmRef<'_>) -> (u64, u64) {
    // SAFETY: live mm; its users are frozen, so the fields do not change.
    unsafe {
        let m = &(*mm.as_ptr()).__bindgen_anon_1;
        (m.arg_start as u64, m.arg_end as u64)
    }
}

/// A registered rseq area.
pub(crate) struct Rseq {
    pub(crate) ptr: u64,
    pub(crate) len: u32,
    pub(crate) sig: u32,
}

/// The rseq registration of a thread.
pub(crate) fn rseq(t: &TaskRef<'_>) -> Option<Rseq> {
    let (mut ptr, mut len, mut sig) = (0usize, 0u32, 0u32);
    // SAFETY: live task, valid out pointers.
    let on = unsafe { b::crs_rseq(t.as_ptr(), &mut ptr, &mut len, &mut sig) } != 0;
    on.then_some(Rseq { ptr: ptr as u64, len, sig })
}

/// The part of the restart block that identifies a system call.
pub(crate) fn restart_block(t: &TaskRef<'_>) -> RestartBlock {
    let u = &t.fields().restart_block.__bindgen_anon_1;
    let words = core::ptr::from_ref(u).cast::<u64>();
    // SAFETY: the union has at least 16 bytes aligned to 8, and all memory of a task_struct is
    // initialised; any bit pattern is a number. The task is frozen, so nobody writes it.
    unsafe {
        RestartBlock {
            word0: words.read(),
            word1: words.add(1).read(),
            sleep_expires: u.nanosleep.expires,
            poll_end: u.poll.end_time.tv_sec.saturating_mul(1_000_000_000).saturating_add(u.poll.end_time.tv_nsec as i64),
            futex_time: u.futex.time,
        }
    }
}

/// A word of the security blob of the task's credentials; 0 behind its end.
pub(crate) fn security_word(t: &TaskRef<'_>, word: usize) -> u64 {
    // SAFETY: live task; the function checks `word` against the size of the blob.
    unsafe { b::crs_security_word(t.as_ptr(), word) }
}

/// Is the task in the root of the control groups, as the caller sees them?
pub(crate) fn in_root_cgroup(t: &TaskRef<'_>) -> bool {
    let mut path = [0u8; 4];
    // SAFETY: live task; room for four bytes. A longer path is an error here.
    let n = unsafe { b::crs_cgroup_path(t.as_ptr(), path.as_mut_ptr().cast(), 4) };
    n == 1 && path.first() == Some(&b'/')
}

/// Scheduling parameters.
pub(crate) fn sched_attr(t: &TaskRef<'_>) -> b::sched_attr {
    let mut a = b::sched_attr::default();
    // SAFETY: live task, valid out pointer.
    unsafe { b::crs_sched_attr(t.as_ptr(), &mut a) };
    a
}

/// Attributes that few threads have. `nodes` has room for those of the memory policy.
pub(crate) fn attributes<'n>(t: &TaskRef<'_>, nodes: &'n mut [u8]) -> AttributesRecord<'n> {
    let len = c_int::try_from(nodes.len()).unwrap_or(0);
    let (mut least, mut most) = (0, 0);
    // SAFETY: live task, valid out pointers; `nodes` is valid for `len` bytes.
    let (memory_policy, clamped, timer_ids) = unsafe {
        (
            b::crs_mempolicy(t.as_ptr(), nodes.as_mut_ptr().cast(), len),
            b::crs_uclamp(t.as_ptr(), &mut least, &mut most),
            b::crs_timer_ids(t.as_ptr()) != 0,
        )
    };
    let used = nodes.iter().rposition(|n| *n != 0).map_or(0, |last| last.saturating_add(1));
    let flags = t.fields().flags;
    let machine_check = match (flags & b::CR_PF_MCE_PROCESS != 0, flags & b::CR_PF_MCE_EARLY != 0) {
        (false, _) => 0,
        (true, true) => 1,
        (true, false) => 2,
    };
    AttributesRecord {
        id: t.pid_vnr(),
        machine_check,
        io_flusher: u64::from(flags & b::CR_PF_LOCAL_THROTTLE != 0),
        clamped: u64::from(clamped.unsigned_abs()),
        util_min: least.into(),
        util_max: most.into(),
        memory_policy: u64::from(memory_policy.unsigned_abs()),
        memory_nodes: nodes.get(..used).unwrap_or(&[]),
        // Of the process: with its leader.
        timer_ids: u64::from(timer_ids && t.pid_vnr() == t.tgid_vnr()),
    }
}

/// Lets the current process choose the ids of timers that it makes, or not.
pub(crate) fn set_timer_ids(on: bool) {
    // SAFETY: current's own process, which runs no other thread yet.
    unsafe { b::crs_set_current_timer_ids(c_int::from(on)) };
}

/// Bytes that a CPU mask of this kernel needs.
pub(crate) fn cpumask_bytes() -> usize {
    // SAFETY: no requirements.
    (unsafe { b::crs_nr_cpu_ids() } as usize).div_ceil(8)
}

/// The CPUs of a task into `out`, and whether it asked for them itself.
pub(crate) fn affinity(t: &TaskRef<'_>, out: &mut [u8]) -> bool {
    let (len, mut pinned) = (c_int::try_from(out.len()).unwrap_or(0), 0);
    // SAFETY: live task; `out` is valid for `len` bytes.
    unsafe { b::crs_affinity(t.as_ptr(), out.as_mut_ptr().cast(), len, &mut pinned) };
    pinned != 0
}

/// `ioprio_get(2)`, 0 if never set.
pub(crate) fn io_priority(t: &TaskRef<'_>) -> u64 {
    // SAFETY: live task.
    u64::from(unsafe { b::crs_io_priority(t.as_ptr()) }.unsigned_abs())
}

/// Is a signal waiting that the thread does not block?
pub(crate) fn signal_pending(t: &TaskRef<'_>) -> bool {
    ask(t, b::crs_task_sigpending)
}

/// Features of the extended state that this processor has and the kernel uses (XCR0).
pub(crate) fn xfeatures() -> u64 {
    // SAFETY: no requirements.
    unsafe { b::crs_xfeatures_user() }
}

/// May the current task do what needs `CAP_SYS_RESOURCE`?
pub(crate) fn has_sys_resource() -> bool {
    // SAFETY: no requirements.
    unsafe { b::capable(b::CAP_SYS_RESOURCE as c_int) }
}

/// OOM score adjustment of the current process and the least one it may choose by itself.
pub(crate) fn oom_score() -> (i16, i16) {
    let me = TaskRef::current();
    let s = signal(&me);
    (s.oom_score_adj, s.oom_score_adj_min)
}

/// Stores them, as `/proc/self/oom_score_adj` would.
pub(crate) fn set_oom_score(adj: i16, min: i16) {
    let me = TaskRef::current();
    // SAFETY: current's own signal_struct; both are single words that readers take without a lock. The
    // process is half-built and has one thread, so nobody else writes them but an administrator.
    unsafe {
        let s = me.fields().signal;
        core::ptr::addr_of_mut!((*s).oom_score_adj).write_volatile(adj);
        core::ptr::addr_of_mut!((*s).oom_score_adj_min).write_volatile(min);
    }
}

/// Stores segment registers and bases of a switched-out thread.
pub(crate) fn set_segments(t: &TaskRef<'_>, r: &Regs) {
    // CAST: checked to be 16 bits wide by `sanitize_regs`.
    let selectors = [r.ds as u16, r.es as u16, r.fs as u16, r.gs as u16];
    // SAFETY: the caller's contract is that of commit_outside: the thread is switched out, so that these
    // fields are what its next switch-in loads; the bases are user addresses.
    unsafe { b::crs_set_segments(t.as_ptr(), r.fs_base as usize, r.gs_base as usize, selectors.as_ptr()) };
}

/// Stores what acts at the end of the current thread: its death signal, robust futex list, thread id address.
pub(crate) fn set_exit_state(pdeath_signal: i32, robust_list: u64, clear_child_tid: u64) {
    let t = TaskRef::current().as_ptr();
    // SAFETY: current's own fields, which only it writes; the addresses are checked where they are used.
    unsafe {
        (*t).pdeath_signal = pdeath_signal;
        (*t).futex.robust_list = robust_list as *mut b::robust_list_head;
        (*t).clear_child_tid = clear_child_tid as *mut c_int;
    }
}

/// Stores the dumpable attribute of the current process.
pub(crate) fn set_dumpable(value: u64) {
    // SAFETY: current; 0 and 1 are what prctl(2) accepts as well.
    unsafe { b::crs_set_current_dumpable(c_int::from(value != 0)) };
}

/// Makes the current thread stop before it goes back to user mode.
pub(crate) fn stop_current() {
    // SAFETY: current is live; SIGSTOP to oneself.
    unsafe { b::send_sig(b::SIGSTOP as c_int, TaskRef::current().as_ptr(), 0) };
}

/// Loads sanitised registers into the frame that the thread returns to user mode with.
pub(crate) fn load_regs(to: &mut b::pt_regs, r: &Regs) {
    let word = |v: u64| v as usize;
    *to = b::pt_regs::default();
    (to.r15, to.r14, to.r13, to.r12) = (word(r.r15), word(r.r14), word(r.r13), word(r.r12));
    (to.bp, to.bx, to.r11, to.r10) = (word(r.bp), word(r.bx), word(r.r11), word(r.r10));
    (to.r9, to.r8, to.ax, to.cx) = (word(r.r9), word(r.r8), word(r.ax), word(r.cx));
    (to.dx, to.si, to.di, to.orig_ax) = (word(r.dx), word(r.si), word(r.di), word(r.orig_ax));
    (to.ip, to.flags, to.sp) = (word(r.ip), word(r.flags), word(r.sp));
    // The whole slots: with FRED the upper parts describe the event that was entered by, and must be zero.
    to.__bindgen_anon_1.csx = r.cs;
    to.__bindgen_anon_2.ssx = r.ss;
}
