// SPDX-License-Identifier: GPL-2.0
//! What a thread is made of, judged: registers that may go to user mode, interrupted system calls, the
//! extended state of another processor, and the system calls that make threads and give them their state.
//!
//! Numbers are those of x86-64 (`arch/x86/entry/syscalls/syscall_64.tbl`).

use crate::plan::{Arg, Expect, Op, OpSink, PlanError};
use cr_format::{AttributesRecord, ProcessRecord, TaskRecord, U64s};

/// First address that user space can never have (four-level page tables).
pub const TASK_SIZE_MAX: u64 = 0x7fff_ffff_f000;
/// Numbers in `struct user_regs_struct`.
pub const REGS: usize = 27;

/// Interrupted; restarts unless a handler with `SA_RESTART` missing runs.
pub const ERESTARTSYS: i64 = -512;
/// Interrupted; restarts unless a handler runs.
pub const ERESTARTNOHAND: i64 = -514;
/// Interrupted; goes on through `restart_syscall(2)` and kernel state that an image cannot carry.
pub const ERESTART_RESTARTBLOCK: i64 = -516;

/// `restart_syscall(2)`: what user mode executes to go on with an interrupted call.
const RESTART_SYSCALL: u64 = 219;
const POLL: u64 = 7;
const NANOSLEEP: u64 = 35;
const FUTEX: u64 = 202;
const CLOCK_NANOSLEEP: u64 = 230;

/// The user registers of a thread, in the order of `struct user_regs_struct`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Regs {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub bp: u64,
    pub bx: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub ax: u64,
    pub cx: u64,
    pub dx: u64,
    pub si: u64,
    pub di: u64,
    pub orig_ax: u64,
    pub ip: u64,
    pub cs: u64,
    pub flags: u64,
    pub sp: u64,
    pub ss: u64,
    pub fs_base: u64,
    pub gs_base: u64,
    pub ds: u64,
    pub es: u64,
    pub fs: u64,
    pub gs: u64,
}

impl Regs {
    /// Those of a thread that does nothing and never will: what the record of one that has ended has.
    pub fn initial() -> Self {
        Self {
            orig_ax: u64::MAX,
            cs: 0x33,
            flags: 0x202,
            ss: 0x2b,
            ..Self::default()
        }
    }

    /// From the array of an image; `None` if it has another length.
    pub fn from_array(a: U64s<'_>) -> Option<Self> {
        if a.len() != REGS {
            return None;
        }
        let mut out = [0u64; REGS];
        for (to, from) in out.iter_mut().zip(a.iter()) {
            *to = from;
        }
        Some(Self::from(out))
    }

    /// The array for an image.
    pub fn to_array(self) -> [u64; REGS] {
        [
            self.r15,
            self.r14,
            self.r13,
            self.r12,
            self.bp,
            self.bx,
            self.r11,
            self.r10,
            self.r9,
            self.r8,
            self.ax,
            self.cx,
            self.dx,
            self.si,
            self.di,
            self.orig_ax,
            self.ip,
            self.cs,
            self.flags,
            self.sp,
            self.ss,
            self.fs_base,
            self.gs_base,
            self.ds,
            self.es,
            self.fs,
            self.gs,
        ]
    }
}

impl From<[u64; REGS]> for Regs {
    fn from(a: [u64; REGS]) -> Self {
        let [r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di, orig_ax, ip, cs, flags, sp, ss, fs_base, gs_base, ds, es, fs, gs] =
            a;
        Self {
            r15,
            r14,
            r13,
            r12,
            bp,
            bx,
            r11,
            r10,
            r9,
            r8,
            ax,
            cx,
            dx,
            si,
            di,
            orig_ax,
            ip,
            cs,
            flags,
            sp,
            ss,
            fs_base,
            gs_base,
            ds,
            es,
            fs,
            gs,
        }
    }
}

/// Code selector of 64-bit user mode.
pub const USER_CS: u64 = 0x33;
/// Data selector of user mode.
pub const USER_DS: u64 = 0x2b;
/// Flags that user mode may set: those of `ptrace(2)` (arch/x86/kernel/ptrace.c, `FLAG_MASK`: CF PF AF ZF
/// SF TF DF OF NT RF AC), and ID.
const USER_FLAGS: u64 = 0x0025_4dd5;
/// Interrupts enabled, and the bit that is always one.
const FIXED_FLAGS: u64 = 0x202;

/// Makes registers fit to be loaded: exactly what `ptrace(2)` and `rt_sigreturn(2)` accept.
///
/// # Errors
/// What is wrong, for people. The program of such registers could only be killed.
pub fn sanitize_regs(mut r: Regs) -> Result<Regs, &'static str> {
    if r.ip >= TASK_SIZE_MAX {
        return Err("the instruction pointer is outside user space");
    }
    if r.sp >= TASK_SIZE_MAX {
        return Err("the stack pointer is outside user space");
    }
    if r.fs_base >= TASK_SIZE_MAX || r.gs_base >= TASK_SIZE_MAX {
        return Err("a segment base is outside user space");
    }
    if r.cs != USER_CS || r.ss != USER_DS {
        return Err("the code or stack selector is not that of 64-bit user mode");
    }
    if [r.ds, r.es, r.fs, r.gs]
        .iter()
        .any(|s| *s > 0xffff || (*s != 0 && s & 3 != 3))
    {
        return Err("a data selector is not a user selector");
    }
    r.flags = (r.flags & USER_FLAGS) | FIXED_FLAGS;
    // CAST: sign changes only. The kernel code behind this result does not outlive the kernel; the
    // arguments do.
    if r.ax as i64 == ERESTART_RESTARTBLOCK {
        r.ax = ERESTARTNOHAND as u64;
    }
    Ok(r)
}

/// `ip` of a thread inside the critical section `start..start+len` of its rseq area: it must go on at
/// `abort`, because a restart counts as a preemption. `None`: not inside, or not a valid section.
pub fn rseq_abort(ip: u64, start: u64, len: u64, abort: u64) -> Option<u64> {
    let inside = ip.checked_sub(start).is_some_and(|offset| offset < len);
    let valid = (4..TASK_SIZE_MAX).contains(&abort)
        && abort.checked_sub(start).is_none_or(|offset| offset >= len);
    (inside && valid).then_some(abort)
}

/// The part of the kernel's `restart_block` that an image can use: two words of its union and what the
/// kinds keep as their time.
#[derive(Clone, Copy, Debug, Default)]
pub struct RestartBlock {
    /// First eight bytes of the union: `uaddr`, `ufds`, or `clockid` and `type`.
    pub word0: u64,
    /// Second eight bytes: `val` and `flags`, `nfds` and `has_timeout`, or `rmtp`.
    pub word1: u64,
    /// `nanosleep.expires`: nanoseconds of the kernel's clock.
    pub sleep_expires: i64,
    /// `poll.end_time` in nanoseconds.
    pub poll_end: i64,
    /// `futex.time`.
    pub futex_time: i64,
}

/// How an interrupted system call goes on, as [`TaskRecord::restart_kind`] and its companions say it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interrupted {
    /// 0 none, 1 original arguments, 2 nanosleep, 3 poll, 4 futex.
    pub kind: u64,
    /// Number of the system call that was interrupted first.
    pub nr: u64,
    /// When its time is over, nanoseconds on the kernel's clock `arg`; 0 none.
    pub expiry_ns: i64,
    /// Clock id.
    pub arg: u64,
}

/// Identifies the system call behind `-ERESTART_RESTARTBLOCK`.
///
/// The number is in `orig_ax`, unless the call has been interrupted before: then user mode was executing
/// `restart_syscall(2)`. The arguments are in their registers still, and the restart block repeats some
/// of them: their agreement identifies the call. The kernel's function pointer is not needed.
///
/// `None`: not one of those known to use the block; its original number is lost.
pub fn identify_restart(r: &Regs, b: &RestartBlock) -> Option<Interrupted> {
    if r.ax as i64 != ERESTART_RESTARTBLOCK {
        return Some(Interrupted::default());
    }
    let (clock, kind) = halves(b.word0);
    let (first, second) = halves(b.word1);
    let arg = |reg: u64| halves(reg).0;
    // Clock ids are small, or negative for CPU clocks; addresses are neither. 0 is poll(NULL, 0, ..): sleeping
    // by CLOCK_REALTIME is by CLOCK_MONOTONIC inside.
    let sleep = kind <= 2 && ((1..=16).contains(&clock) || clock >= 0xffff_0000);
    let nr = if r.orig_ax != RESTART_SYSCALL {
        r.orig_ax
    } else if sleep {
        let asked = if arg(r.di) == 0 { 1 } else { arg(r.di) };
        if asked == clock && b.word1 == r.r10 && arg(r.si) & 1 == 0 {
            CLOCK_NANOSLEEP
        } else if clock == 1 && b.word1 == r.si {
            NANOSLEEP
        } else {
            return None;
        }
    } else if b.word0 != r.di {
        return None;
    } else if first == arg(r.si) && second == u32::from(arg(r.dx) >> 31 == 0) {
        POLL
    } else if first == arg(r.dx) {
        FUTEX
    } else {
        return None;
    };
    Some(match nr {
        NANOSLEEP | CLOCK_NANOSLEEP => Interrupted {
            kind: 2,
            nr,
            expiry_ns: b.sleep_expires,
            arg: clock.into(),
        },
        POLL => Interrupted {
            kind: 3,
            nr,
            expiry_ns: if second == 1 { b.poll_end } else { 0 },
            arg: 1,
        },
        FUTEX => Interrupted {
            kind: 4,
            nr,
            expiry_ns: b.futex_time,
            arg: 1,
        },
        _ => Interrupted {
            kind: 1,
            nr,
            expiry_ns: 0,
            arg: 0,
        },
    })
}

/// A function of the kernel that goes on with an interrupted call; its address is learned anew in each boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// `nanosleep` and relative `clock_nanosleep`.
    Sleep,
    /// `poll`.
    Poll,
    /// `FUTEX_WAIT` with `FUTEX_PRIVATE_FLAG`.
    FutexPrivate,
    /// `FUTEX_WAIT` without.
    FutexShared,
}

impl Function {
    /// All of them; the order is that of [`Function::index`].
    pub const ALL: [Function; 4] = [
        Function::Sleep,
        Function::Poll,
        Function::FutexPrivate,
        Function::FutexShared,
    ];

    /// Its place in [`Function::ALL`].
    pub fn index(self) -> usize {
        match self {
            Function::Sleep => 0,
            Function::Poll => 1,
            Function::FutexPrivate => 2,
            Function::FutexShared => 3,
        }
    }
}

/// Bytes in user memory that [`learn_call`] refers to: one second, and a futex with value 0.
pub const LEARN_DATA: [u8; 24] = [
    1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
];

/// A system call that, when it is interrupted within its second, leaves the function in the restart
/// block: number and arguments. `at` is the user address of [`LEARN_DATA`].
pub fn learn_call(f: Function, at: u64) -> (u32, [u64; 4]) {
    let word = at.wrapping_add(16);
    match f {
        Function::Sleep => (NANOSLEEP as u32, [at, 0, 0, 0]),
        Function::Poll => (POLL as u32, [0, 0, 1000, 0]),
        Function::FutexPrivate => (FUTEX as u32, [word, FUTEX_PRIVATE, 0, at]),
        Function::FutexShared => (FUTEX as u32, [word, 0, 0, at]),
    }
}

/// What the restart block of a thread must say so that its interrupted call keeps its deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resume {
    /// The function that goes on.
    pub function: Function,
    /// Original system call.
    pub nr: u64,
    /// Clock of the deadline.
    pub clock: u32,
    /// The deadline as the process sees the clock, nanoseconds.
    pub expiry_ns: i64,
    /// `rmtp`, `ufds` or `uaddr`.
    pub address: u64,
    /// `nfds` or `val`.
    pub value: u32,
}

const FUTEX_PRIVATE: u64 = 128;
/// Command and clock bits of a futex operation.
const FUTEX_KIND: u64 = 0x17f;

/// Can this thread's interrupted call go on with its deadline? `r` are the registers as recorded.
///
/// `None`: nothing was interrupted, or the call has no deadline, an absolute one, or one on a clock that
/// does not run across a restart; then it is made again with its original arguments.
pub fn resume(r: &Regs, kind: u64, expiry_ns: i64, clock: u64) -> Option<Resume> {
    if r.ax as i64 != ERESTART_RESTARTBLOCK || expiry_ns <= 0 {
        return None;
    }
    let monotonic = Resume {
        function: Function::Sleep,
        nr: r.orig_ax,
        clock: 1,
        expiry_ns,
        address: 0,
        value: 0,
    };
    match (kind, r.orig_ax) {
        (2, NANOSLEEP) if clock == 1 => Some(Resume {
            address: r.si,
            ..monotonic
        }),
        // CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_TAI: those that hrtimers run on. CPU clocks and alarms do not.
        (2, CLOCK_NANOSLEEP) if matches!(clock, 1 | 7 | 11) => Some(Resume {
            address: r.r10,
            clock: halves(clock).0,
            ..monotonic
        }),
        (3, POLL) => Some(Resume {
            function: Function::Poll,
            address: r.di,
            value: halves(r.si).0,
            ..monotonic
        }),
        (4, FUTEX) if r.si & FUTEX_KIND == 0 => {
            let function = if r.si & FUTEX_PRIVATE != 0 {
                Function::FutexPrivate
            } else {
                Function::FutexShared
            };
            Some(Resume {
                function,
                address: r.di,
                value: halves(r.dx).0,
                ..monotonic
            })
        }
        _ => None,
    }
}

/// Low and high half. CAST: 32 bits each.
fn halves(w: u64) -> (u32, u32) {
    (w as u32, (w >> 32) as u32)
}

/// Length of the part of the XSAVE layout that is the same on every processor: x87, SSE, AVX.
const XSAVE_COMMON: usize = 832;
/// Feature bits of that part.
const XSAVE_COMMON_FEATURES: u64 = 7;
/// Where the header is, which begins with the features in use.
const XSAVE_HEADER: usize = 512;

/// How the recorded extended state fits this processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XstateFit {
    /// As it is.
    Same,
    /// Take this many bytes and fill up with zeros: only state with the same place everywhere is in use.
    Common(usize),
}

/// Does an extended state of an image fit a processor whose state has `size` bytes and `features`?
///
/// # Errors
/// Why not, for people.
pub fn fit_xstate(state: &[u8], size: usize, features: u64) -> Result<XstateFit, &'static str> {
    let used = state
        .get(XSAVE_HEADER..)
        .and_then(|h| h.first_chunk::<8>())
        .map(|b| u64::from_le_bytes(*b))
        .ok_or("the extended processor state is too short")?;
    if used & !features != 0 {
        return Err(
            "the process uses processor features that this processor or kernel does not have",
        );
    }
    if state.len() == size {
        return Ok(XstateFit::Same);
    }
    if used & !XSAVE_COMMON_FEATURES == 0 {
        return Ok(XstateFit::Common(state.len().min(size).min(XSAVE_COMMON)));
    }
    Err("this processor keeps its extended registers in another layout")
}

/// `MEMBARRIER_CMD_GET_REGISTRATIONS` as computed from the state of an address space: pairs of a state mask and
/// the command that registers it.
const MEMBARRIER: [(u64, u64); 4] = [
    (0x0c, 1 << 2),
    (0x03, 1 << 4),
    (0x30, 1 << 6),
    (0xc0, 1 << 8),
];

/// The registration commands behind `MEMBARRIER_STATE_*` bits.
pub fn membarrier_registrations(state: u64) -> u64 {
    MEMBARRIER
        .iter()
        .filter(|(s, _)| state & s != 0)
        .map(|(_, c)| c)
        .sum()
}

const SYS_CLONE3: u32 = 435;
const SYS_PERSONALITY: u32 = 135;
const SYS_PRCTL: u32 = 157;
const SYS_MEMBARRIER: u32 = 324;
const SYS_RSEQ: u32 = 334;
const SYS_SCHED_SETATTR: u32 = 314;
const SYS_SETPRIORITY: u32 = 141;
const SYS_SCHED_SETAFFINITY: u32 = 203;
const SYS_IOPRIO_SET: u32 = 251;
const SYS_SET_MEMPOLICY: u32 = 238;

const PR_SET_NAME: u64 = 15;
const PR_SET_TSC: u64 = 26;
const PR_MCE_KILL: u64 = 33;
const PR_SET_TIMERSLACK: u64 = 29;
const PR_SET_CHILD_SUBREAPER: u64 = 36;
const PR_SET_NO_NEW_PRIVS: u64 = 38;
const PR_SET_SPECULATION_CTRL: u64 = 53;
const PR_SET_IO_FLUSHER: u64 = 57;
const PR_SET_MDWE: u64 = 65;

/// What the leader does for the process before there are threads.
///
/// Its session and process group have been made when it was born.
///
/// # Errors
/// `NoMemory` of the sink.
pub fn plan_process(p: &ProcessRecord<'_>, sink: &mut dyn OpSink) -> Result<(), PlanError> {
    for (_, command) in MEMBARRIER {
        if p.membarrier & command != 0 {
            sink.push(Op::values(
                SYS_MEMBARRIER,
                &[command, 0, 0],
                "cannot register for membarrier",
            ))?;
        }
    }
    sink.push(Op::values(
        SYS_PERSONALITY,
        &[p.personality & 0xffff_ffff],
        "cannot set the personality",
    ))?;
    let reaper = u64::from(p.child_subreaper != 0);
    sink.push(Op::values(
        SYS_PRCTL,
        &[PR_SET_CHILD_SUBREAPER, reaper, 0, 0, 0],
        "cannot set the child subreaper attribute",
    ))
}

/// Length of `struct clone_args`, and where the thread id stands behind it.
pub const CLONE_ARGS: usize = 88;

/// `struct clone_args` of a thread with thread id `tid`, followed by that id; `at` is the user address
/// of the first byte. The new thread begins where the old one is.
pub fn clone_args(tid: u32, at: u64) -> [u8; CLONE_ARGS + 8] {
    // CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM
    const FLAGS: u64 = 0x100 | 0x200 | 0x400 | 0x800 | 0x1_0000 | 0x4_0000;
    args(FLAGS, 0, tid, at)
}

/// The same of a child process, with the signal that its parent gets when it ends; `flags` are those of `clone3(2)`.
pub fn fork_args(tgid: u32, flags: u64, exit_signal: u32, at: u64) -> [u8; CLONE_ARGS + 8] {
    args(flags, exit_signal.into(), tgid, at)
}

fn args(flags: u64, exit_signal: u64, tid: u32, at: u64) -> [u8; CLONE_ARGS + 8] {
    let mut out = [0u8; CLONE_ARGS + 8];
    // flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup, then the id.
    let words = [
        flags,
        0,
        0,
        0,
        exit_signal,
        0,
        0,
        0,
        at.wrapping_add(CLONE_ARGS as u64),
        1,
        0,
        u64::from(tid),
    ];
    for (to, w) in out.chunks_exact_mut(8).zip(words) {
        to.copy_from_slice(&w.to_le_bytes());
    }
    out
}

/// The system call that makes a thread from [`clone_args`] at user address `at`: number and arguments.
pub fn clone_call(at: u64) -> (u32, [u64; 2]) {
    (SYS_CLONE3, [at, CLONE_ARGS as u64])
}

/// `struct sched_attr` (first version).
fn sched_attr(t: &TaskRecord<'_>) -> [u8; 48] {
    let mut out = [0u8; 48];
    // CAST: the fields of the struct have these widths; the format limits the values.
    let words = [
        48 | (t.policy << 32),
        t.sched_flags,
        u64::from(t.nice as i32 as u32) | (t.rt_priority << 32),
        t.sched_runtime,
        t.sched_deadline,
        t.sched_period,
    ];
    for (to, w) in out.chunks_exact_mut(8).zip(words) {
        to.copy_from_slice(&w.to_le_bytes());
    }
    out
}

/// What the plan of a thread says when its CPUs cannot be had.
pub const NO_CPU: &str = "cannot bind a thread to its CPUs";

/// The ranges of a CPU mask, first and last CPU of each.
pub fn cpu_ranges(mask: &[u8]) -> impl Iterator<Item = (usize, usize)> + '_ {
    let end = mask.len().saturating_mul(8);
    let set = |cpu: usize| mask.get(cpu / 8).is_some_and(|b| b & (1 << (cpu % 8)) != 0);
    let mut at = 0;
    core::iter::from_fn(move || {
        let first = (at..end).find(|c| set(*c))?;
        at = (first..end).find(|c| !set(*c)).unwrap_or(end);
        Some((first, at.saturating_sub(1)))
    })
}

/// Policies whose nice value `sched_setattr(2)` sets: normal, batch, ext.
fn takes_nice(policy: u64) -> bool {
    matches!(policy, 0 | 3 | 7)
}

/// What every thread does for itself.
///
/// The robust list, the thread id address and the death signal are not here: they act when a thread ends,
/// and a restart that fails must not reach the shared memory of others. They are stored at the commit.
///
/// # Errors
/// `NoMemory` of the sink.
pub fn plan_thread(t: &TaskRecord<'_>, sink: &mut dyn OpSink) -> Result<(), PlanError> {
    let mut name = [0u8; 16];
    for (to, from) in name.iter_mut().zip(t.comm.iter().take(15)) {
        *to = *from;
    }
    sink.push(Op::with_data(
        SYS_PRCTL,
        &[Arg::Value(PR_SET_NAME), Arg::Data(0)],
        &name,
        "cannot set the name of a thread",
    ))?;
    if t.rseq_registered != 0 {
        let args = [t.rseq_ptr, t.rseq_len, 0, t.rseq_sig];
        sink.push(Op::values(SYS_RSEQ, &args, "cannot register the rseq area"))?;
    }
    // Before the policy: real-time threads have no slack and the call would be ignored.
    if t.timerslack_ns != 0 {
        sink.push(Op::values(
            SYS_PRCTL,
            &[PR_SET_TIMERSLACK, t.timerslack_ns],
            "cannot set the timer slack",
        ))?;
    }
    if t.pinned != 0 {
        let args = [
            Arg::Value(0),
            Arg::Value(t.affinity.len() as u64),
            Arg::Data(0),
        ];
        sink.push(Op::with_data(
            SYS_SCHED_SETAFFINITY,
            &args,
            t.affinity,
            NO_CPU,
        ))?;
    }
    if t.ioprio != 0 {
        sink.push(Op::values(
            SYS_IOPRIO_SET,
            &[1, 0, t.ioprio],
            "cannot set the I/O priority",
        ))?;
    }
    if !takes_nice(t.policy) {
        // CAST: the register takes the sign-extended value.
        sink.push(Op::values(
            SYS_SETPRIORITY,
            &[0, 0, t.nice as u64],
            "cannot set the nice value",
        ))?;
    }
    let attr = sched_attr(t);
    sink.push(Op::with_data(
        SYS_SCHED_SETATTR,
        &[Arg::Value(0), Arg::Data(0), Arg::Value(0)],
        &attr,
        "cannot set the scheduling policy",
    ))
}

/// Has the thread any of its rare attributes?
pub fn has_attributes(a: &AttributesRecord<'_>) -> bool {
    a.machine_check | a.io_flusher | a.clamped | a.memory_policy | a.timer_ids != 0
}

/// The rare attributes of a thread, but `timer_ids`: timers are made with it and leave it off.
///
/// # Errors
/// `NoMemory` of the sink.
pub fn plan_attributes(a: &AttributesRecord<'_>, sink: &mut dyn OpSink) -> Result<(), PlanError> {
    // PR_MCE_KILL_SET with PR_MCE_KILL_EARLY or PR_MCE_KILL_LATE.
    if let Some(how) = [1u64, 0].get((a.machine_check as usize).wrapping_sub(1)) {
        sink.push(Op::values(
            SYS_PRCTL,
            &[PR_MCE_KILL, 1, *how, 0, 0],
            "cannot set what memory errors do (PR_MCE_KILL)",
        ))?;
    }
    if a.io_flusher != 0 {
        sink.push(Op::values(
            SYS_PRCTL,
            &[PR_SET_IO_FLUSHER, 1, 0, 0, 0],
            "cannot set PR_SET_IO_FLUSHER (it needs CAP_SYS_RESOURCE)",
        ))?;
    }
    if a.clamped != 0 {
        sink.push(Op::with_data(
            SYS_SCHED_SETATTR,
            &[Arg::Value(0), Arg::Data(0), Arg::Value(0)],
            &clamp_attr(a),
            "cannot clamp the utilisation of a thread",
        ))?;
    }
    if a.memory_policy != 0 {
        // The kernel reads one bit less than it is told, in whole words.
        let mut nodes = [0u8; 128];
        for (to, from) in nodes.iter_mut().zip(a.memory_nodes) {
            *to = *from;
        }
        let args = match a.memory_nodes.len() {
            0 => [Arg::Value(a.memory_policy), Arg::Value(0), Arg::Value(0)],
            _ => [
                Arg::Value(a.memory_policy),
                Arg::Data(0),
                Arg::Value(8 * 128 + 1),
            ],
        };
        let what = "cannot set the NUMA memory policy of a thread";
        let op = Op::with_data(SYS_SET_MEMPOLICY, &args, &nodes, what);
        // Without these nodes: where memory is does not change what a program computes.
        sink.push(Op {
            expect: Expect::SuccessOr(EINVAL),
            ..op
        })?;
    }
    Ok(())
}

/// `struct sched_attr` (second version) that changes clamps only.
fn clamp_attr(a: &AttributesRecord<'_>) -> [u8; 56] {
    let mut out = [0u8; 56];
    // SCHED_FLAG_KEEP_POLICY | SCHED_FLAG_KEEP_PARAMS, and those of the clamps: 0x20 and 0x40.
    let flags = 0x18 | ((a.clamped & 3) << 5);
    let words = [
        56,
        flags,
        0,
        0,
        0,
        0,
        // CAST and shift: at most 1024 each.
        a.util_min | (a.util_max << 32),
    ];
    for (to, w) in out.chunks_exact_mut(8).zip(words) {
        to.copy_from_slice(&w.to_le_bytes());
    }
    out
}

/// What a thread must not have before everything else is done: each of these takes a possibility away.
///
/// # Errors
/// `NoMemory` of the sink.
pub fn plan_late(
    p: &ProcessRecord<'_>,
    t: &TaskRecord<'_>,
    leader: bool,
    sink: &mut dyn OpSink,
) -> Result<(), PlanError> {
    if leader && p.mdwe != 0 {
        sink.push(Op::values(
            SYS_PRCTL,
            &[PR_SET_MDWE, p.mdwe, 0, 0, 0],
            "cannot deny writable code again (PR_SET_MDWE)",
        ))?;
    }
    for (bit, which, how) in SPECULATION {
        if t.speculation & bit != 0 {
            let what = "cannot restrict speculation as before (PR_SET_SPECULATION_CTRL)";
            let op = Op::values(
                SYS_PRCTL,
                &[PR_SET_SPECULATION_CTRL, which, how, 0, 0],
                what,
            );
            // Processors that are not affected, or always protected, have no such control.
            sink.push(Op {
                expect: Expect::SuccessOr(ENXIO),
                ..op
            })?;
        }
    }
    if t.tsc_mode == 2 {
        sink.push(Op::values(
            SYS_PRCTL,
            &[PR_SET_TSC, 2],
            "cannot forbid the time stamp counter again",
        ))?;
    }
    if t.no_new_privs != 0 {
        sink.push(Op::values(
            SYS_PRCTL,
            &[PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0],
            "cannot set no_new_privs",
        ))?;
    }
    Ok(())
}

/// `-ENXIO`.
const ENXIO: i64 = -6;
/// `-EINVAL`.
pub(crate) const EINVAL: i64 = -22;

/// Bits of [`TaskRecord::speculation`] with the arguments of `PR_SET_SPECULATION_CTRL` that set them.
const SPECULATION: [(u64, u64, u64); 5] = [
    (SPEC_STORE_BYPASS, 0, 1 << 2),
    (SPEC_STORE_BYPASS_NOEXEC, 0, 1 << 4),
    (SPEC_STORE_BYPASS_FORCE, 0, 1 << 3),
    (SPEC_INDIRECT, 1, 1 << 2),
    (SPEC_INDIRECT_FORCE, 1, 1 << 3),
];
/// Speculative store bypass is disabled.
pub const SPEC_STORE_BYPASS: u64 = 1;
/// For ever.
pub const SPEC_STORE_BYPASS_FORCE: u64 = 2;
/// Until the next exec.
pub const SPEC_STORE_BYPASS_NOEXEC: u64 = 4;
/// Indirect branch speculation is disabled.
pub const SPEC_INDIRECT: u64 = 8;
/// For ever.
pub const SPEC_INDIRECT_FORCE: u64 = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::Collect;
    use std::vec::Vec;

    fn user() -> Regs {
        Regs {
            ip: 0x40_0000,
            sp: 0x7fff_0000,
            cs: USER_CS,
            ss: USER_DS,
            flags: 0x246,
            ..Regs::default()
        }
    }

    #[test]
    fn registers_survive_the_way_through_an_array() {
        let mut a = [0u64; REGS];
        for (i, x) in a.iter_mut().enumerate() {
            *x = i as u64 + 1;
        }
        assert_eq!(Regs::from(a).to_array(), a);
        assert_eq!(Regs::from(a).ip, 17, "place of rip in user_regs_struct");
        assert_eq!(Regs::from_array(U64s::Native(&a[..26])), None);
    }

    #[test]
    fn registers_cannot_leave_user_mode() {
        assert!(sanitize_regs(user()).is_ok());
        for (bad, what) in [
            (
                Regs {
                    ip: TASK_SIZE_MAX,
                    ..user()
                },
                "ip",
            ),
            (
                Regs {
                    ip: u64::MAX,
                    ..user()
                },
                "ip",
            ),
            (
                Regs {
                    sp: TASK_SIZE_MAX,
                    ..user()
                },
                "sp",
            ),
            (
                Regs {
                    fs_base: 1 << 63,
                    ..user()
                },
                "fs_base",
            ),
            (
                Regs {
                    gs_base: TASK_SIZE_MAX,
                    ..user()
                },
                "gs_base",
            ),
            (Regs { cs: 0x10, ..user() }, "kernel code"),
            (Regs { ss: 0x18, ..user() }, "kernel stack"),
            (Regs { ds: 0x18, ..user() }, "kernel data"),
            (
                Regs {
                    es: 0x1_002b,
                    ..user()
                },
                "selector too wide",
            ),
        ] {
            assert!(sanitize_regs(bad).is_err(), "{what}");
        }
        assert!(sanitize_regs(Regs {
            ip: TASK_SIZE_MAX - 1,
            ds: 0x2b,
            ..user()
        })
        .is_ok());
    }

    #[test]
    fn privileged_flags_are_dropped_and_interrupts_stay_on() {
        let r = sanitize_regs(Regs {
            flags: u64::MAX,
            ..user()
        })
        .map(|r| r.flags);
        assert_eq!(r, Ok(0x25_4fd7), "no IOPL, VM, VIF, VIP");
        assert_eq!(
            sanitize_regs(Regs { flags: 0, ..user() }).map(|r| r.flags),
            Ok(0x202)
        );
    }

    #[test]
    fn a_call_that_needs_kernel_state_is_made_again() {
        let r = Regs {
            ax: ERESTART_RESTARTBLOCK as u64,
            orig_ax: 35,
            ..user()
        };
        assert_eq!(sanitize_regs(r).map(|r| r.ax as i64), Ok(ERESTARTNOHAND));
        let r = Regs {
            ax: ERESTARTSYS as u64,
            orig_ax: 0,
            ..user()
        };
        assert_eq!(sanitize_regs(r).map(|r| r.ax as i64), Ok(ERESTARTSYS));
    }

    #[test]
    fn a_critical_section_is_left_at_its_abort_address() {
        assert_eq!(
            rseq_abort(0x1000, 0x1000, 8, 0x2000),
            Some(0x2000),
            "first instruction"
        );
        assert_eq!(rseq_abort(0x1007, 0x1000, 8, 0x2000), Some(0x2000));
        assert_eq!(
            rseq_abort(0x1008, 0x1000, 8, 0x2000),
            None,
            "behind the commit"
        );
        assert_eq!(rseq_abort(0xfff, 0x1000, 8, 0x2000), None);
        assert_eq!(
            rseq_abort(0x1000, 0x1000, 8, 0x1004),
            None,
            "abort address inside"
        );
        assert_eq!(
            rseq_abort(0x1000, 0x1000, 8, 3),
            None,
            "no room for the signature"
        );
        assert_eq!(rseq_abort(0x1000, 0x1000, u64::MAX, TASK_SIZE_MAX), None);
    }

    fn interrupted(nr: u64) -> Regs {
        Regs {
            ax: ERESTART_RESTARTBLOCK as u64,
            orig_ax: nr,
            ..user()
        }
    }

    #[test]
    fn an_interrupted_call_is_known_by_its_number() {
        let b = RestartBlock {
            word0: 1,
            sleep_expires: 77,
            ..Default::default()
        };
        let i = identify_restart(&interrupted(NANOSLEEP), &b);
        assert_eq!(
            i,
            Some(Interrupted {
                kind: 2,
                nr: NANOSLEEP,
                expiry_ns: 77,
                arg: 1
            })
        );
        assert_eq!(
            identify_restart(&interrupted(250), &b).map(|i| (i.kind, i.nr)),
            Some((1, 250)),
            "keyctl"
        );
        let none = identify_restart(
            &Regs {
                ax: 3,
                orig_ax: 35,
                ..user()
            },
            &b,
        );
        assert_eq!(none, Some(Interrupted::default()), "it has ended");
    }

    #[test]
    fn a_call_interrupted_twice_is_known_by_its_arguments() {
        let sleep = Regs {
            di: 0x7fff_1000,
            si: 0x7fff_2000,
            ..interrupted(RESTART_SYSCALL)
        };
        let b = RestartBlock {
            word0: 1 | (1 << 32),
            word1: 0x7fff_2000,
            sleep_expires: 5,
            ..Default::default()
        };
        assert_eq!(identify_restart(&sleep, &b).map(|i| i.nr), Some(NANOSLEEP));

        let clock = Regs {
            di: 7,
            si: 0,
            dx: 0x7fff_1000,
            r10: 0,
            ..interrupted(RESTART_SYSCALL)
        };
        let b = RestartBlock {
            word0: 7,
            word1: 0,
            ..Default::default()
        };
        assert_eq!(
            identify_restart(&clock, &b).map(|i| i.nr),
            Some(CLOCK_NANOSLEEP)
        );

        let realtime = Regs {
            di: 0,
            si: 0,
            dx: 0x7fff_1000,
            r10: 0x7fff_2000,
            ..interrupted(RESTART_SYSCALL)
        };
        let b = RestartBlock {
            word0: 1 | (1 << 32),
            word1: 0x7fff_2000,
            ..Default::default()
        };
        assert_eq!(
            identify_restart(&realtime, &b).map(|i| i.nr),
            Some(CLOCK_NANOSLEEP),
            "of glibc's sleep()"
        );

        let nothing = Regs {
            di: 0,
            si: 0,
            dx: 500,
            ..interrupted(RESTART_SYSCALL)
        };
        let b = RestartBlock {
            word0: 0,
            word1: 1 << 32,
            ..Default::default()
        };
        assert_eq!(
            identify_restart(&nothing, &b).map(|i| i.nr),
            Some(POLL),
            "poll as a sleep"
        );

        let poll = Regs {
            di: 0x7fff_1000,
            si: 2,
            dx: 1000,
            ..interrupted(RESTART_SYSCALL)
        };
        let b = RestartBlock {
            word0: 0x7fff_1000,
            word1: 2 | (1 << 32),
            poll_end: 9,
            ..Default::default()
        };
        assert_eq!(
            identify_restart(&poll, &b).map(|i| (i.nr, i.expiry_ns)),
            Some((POLL, 9))
        );
        let forever = RestartBlock { word1: 2, ..b };
        let poll = Regs {
            dx: u64::MAX,
            ..poll
        };
        assert_eq!(
            identify_restart(&poll, &forever).map(|i| (i.nr, i.expiry_ns)),
            Some((POLL, 0))
        );

        let futex = Regs {
            di: 0x7fff_1000,
            si: 0x80,
            dx: 2,
            r10: 0x7fff_3000,
            ..interrupted(RESTART_SYSCALL)
        };
        let b = RestartBlock {
            word0: 0x7fff_1000,
            word1: 2 | (0x0a << 32),
            futex_time: 4,
            ..Default::default()
        };
        assert_eq!(
            identify_restart(&futex, &b).map(|i| (i.nr, i.expiry_ns)),
            Some((FUTEX, 4))
        );

        let other = Regs {
            di: 1,
            si: 2,
            dx: 3,
            r10: 4,
            ..interrupted(RESTART_SYSCALL)
        };
        let b = RestartBlock {
            word0: 0x1234_5678,
            word1: 0x9999,
            ..Default::default()
        };
        assert_eq!(identify_restart(&other, &b), None);
    }

    #[test]
    fn relative_deadlines_are_resumed() {
        let sleep = Regs {
            si: 0x7000,
            ..interrupted(NANOSLEEP)
        };
        let r = resume(&sleep, 2, 5, 1).map(|r| (r.function, r.address, r.clock));
        assert_eq!(r, Some((Function::Sleep, 0x7000, 1)));
        let clock = Regs {
            r10: 0x7000,
            ..interrupted(CLOCK_NANOSLEEP)
        };
        assert_eq!(
            resume(&clock, 2, 5, 7).map(|r| (r.address, r.clock)),
            Some((0x7000, 7))
        );
        assert_eq!(resume(&clock, 2, 5, 0xffff_fff6), None, "a CPU clock");
        assert_eq!(resume(&clock, 2, 5, 8), None, "an alarm");
        let poll = Regs {
            di: 0x7000,
            si: 3,
            ..interrupted(POLL)
        };
        assert_eq!(
            resume(&poll, 3, 5, 1).map(|r| (r.function, r.address, r.value)),
            Some((Function::Poll, 0x7000, 3))
        );
        assert_eq!(resume(&poll, 3, 0, 1), None, "no time-out");
        let futex = Regs {
            di: 0x7000,
            si: 128,
            dx: 9,
            ..interrupted(FUTEX)
        };
        let r = resume(&futex, 4, 5, 1).map(|r| (r.function, r.address, r.value));
        assert_eq!(r, Some((Function::FutexPrivate, 0x7000, 9)));
        assert_eq!(
            resume(&Regs { si: 0, ..futex }, 4, 5, 1).map(|r| r.function),
            Some(Function::FutexShared)
        );
        assert_eq!(
            resume(
                &Regs {
                    si: 9 | 128,
                    ..futex
                },
                4,
                5,
                1
            ),
            None,
            "FUTEX_WAIT_BITSET is absolute"
        );
        assert_eq!(
            resume(
                &Regs {
                    ax: ERESTARTNOHAND as u64,
                    ..sleep
                },
                2,
                5,
                1
            ),
            None
        );
        assert_eq!(
            resume(
                &Regs {
                    orig_ax: 0,
                    ..sleep
                },
                2,
                5,
                1
            ),
            None,
            "kind and call disagree"
        );
    }

    #[test]
    fn learning_waits_for_a_second_at_most() {
        for (i, f) in Function::ALL.into_iter().enumerate() {
            assert_eq!(f.index(), i);
        }
        assert_eq!(LEARN_DATA[0], 1, "seconds");
        assert_eq!(learn_call(Function::Sleep, 0x1000), (35, [0x1000, 0, 0, 0]));
        assert_eq!(learn_call(Function::Poll, 0x1000), (7, [0, 0, 1000, 0]));
        assert_eq!(
            learn_call(Function::FutexPrivate, 0x1000),
            (202, [0x1010, 128, 0, 0x1000])
        );
        assert_eq!(
            learn_call(Function::FutexShared, 0x1000),
            (202, [0x1010, 0, 0, 0x1000])
        );
    }

    fn xstate(len: usize, used: u64) -> Vec<u8> {
        let mut v = std::vec![0u8; len];
        v[512..520].copy_from_slice(&used.to_le_bytes());
        v
    }

    #[test]
    fn extended_state_must_fit_the_processor() {
        assert_eq!(
            fit_xstate(&xstate(2696, 0x207), 2696, 0x2e7),
            Ok(XstateFit::Same)
        );
        assert_eq!(
            fit_xstate(&xstate(832, 7), 2696, 0x2e7),
            Ok(XstateFit::Common(832)),
            "to a larger processor"
        );
        assert_eq!(
            fit_xstate(&xstate(2696, 7), 832, 7),
            Ok(XstateFit::Common(832)),
            "to a smaller one"
        );
        assert_eq!(
            fit_xstate(&xstate(2696, 3), 576, 3),
            Ok(XstateFit::Common(576)),
            "without AVX"
        );
        assert!(
            fit_xstate(&xstate(2696, 0x207), 2440, 0x2e7).is_err(),
            "protection keys stand elsewhere"
        );
        assert!(
            fit_xstate(&xstate(2696, 0xe7), 832, 7).is_err(),
            "AVX-512 is missing"
        );
        assert!(fit_xstate(&[0; 519], 832, 7).is_err());
    }

    #[test]
    fn membarrier_states_become_commands() {
        assert_eq!(membarrier_registrations(0), 0);
        assert_eq!(membarrier_registrations(0x03), 1 << 4);
        assert_eq!(
            membarrier_registrations(0xff),
            (1 << 2) | (1 << 4) | (1 << 6) | (1 << 8)
        );
    }

    #[test]
    fn clone_args_name_the_thread_id_behind_them() {
        let a = clone_args(4711, 0x10_000);
        let word = |i: usize| u64::from_le_bytes(a[i * 8..i * 8 + 8].try_into().unwrap());
        assert_eq!(word(0), 0x5_0f00, "flags");
        assert_eq!((word(8), word(9)), (0x10_000 + 88, 1), "set_tid");
        assert_eq!(word(11), 4711);
        assert_eq!(clone_call(0x10_000), (435, [0x10_000, 88]));
        let a = fork_args(4711, 0x8000, 17, 0x10_000);
        let word = |i: usize| u64::from_le_bytes(a[i * 8..i * 8 + 8].try_into().unwrap());
        assert_eq!((word(0), word(4), word(11)), (0x8000, 17, 4711));
    }

    #[test]
    fn a_plain_thread_needs_two_calls() {
        let t = TaskRecord {
            tid: 5,
            comm: b"worker",
            timerslack_ns: 0,
            ..Default::default()
        };
        let mut c = Collect::default();
        plan_thread(&t, &mut c).unwrap();
        assert_eq!(c.numbers(), [SYS_PRCTL, SYS_SCHED_SETATTR]);
        assert_eq!(&c.ops[0].data[..7], b"worker\0");
    }

    #[test]
    fn scheduling_is_set_after_what_it_would_hide() {
        let t = TaskRecord {
            policy: 1,
            rt_priority: 10,
            nice: -5,
            timerslack_ns: 50_000,
            pinned: 1,
            affinity: &[3],
            ..Default::default()
        };
        let mut c = Collect::default();
        plan_thread(&t, &mut c).unwrap();
        assert_eq!(
            c.numbers(),
            [
                SYS_PRCTL,
                SYS_PRCTL,
                SYS_SCHED_SETAFFINITY,
                SYS_SETPRIORITY,
                SYS_SCHED_SETATTR
            ]
        );
        let attr = &c.ops[4].data;
        assert_eq!(attr.len(), 48);
        assert_eq!(attr[4], 1, "policy");
        assert_eq!(
            i32::from_le_bytes(attr[16..20].try_into().unwrap()),
            -5,
            "nice"
        );
        assert_eq!(attr[20], 10, "priority");
    }

    #[test]
    fn cpu_masks_become_ranges() {
        let r = |m: &[u8]| cpu_ranges(m).collect::<Vec<_>>();
        assert_eq!(r(&[]), []);
        assert_eq!(r(&[0, 0]), []);
        assert_eq!(r(&[0b0000_0010]), [(1, 1)]);
        assert_eq!(r(&[0b1000_1101, 0b0000_0001]), [(0, 0), (2, 3), (7, 8)]);
        assert_eq!(r(&[0xff]), [(0, 7)]);
    }

    #[test]
    fn what_takes_possibilities_away_comes_late() {
        let t = TaskRecord {
            no_new_privs: 1,
            tsc_mode: 2,
            speculation: 9,
            ..Default::default()
        };
        let p = ProcessRecord {
            mdwe: 1,
            ..Default::default()
        };
        let mut c = Collect::default();
        plan_late(&p, &t, true, &mut c).unwrap();
        let first: Vec<_> = c.ops.iter().map(|o| o.args[0]).collect();
        assert_eq!(first, [65, 53, 53, 26, 38].map(Arg::Value));
        let mut c = Collect::default();
        plan_late(&p, &TaskRecord::default(), false, &mut c).unwrap();
        assert!(c.ops.is_empty());
    }
}
