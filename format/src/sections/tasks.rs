// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Section `tasks`: the process and its threads.
//!
//! Preserved: ids, names, registers, extended processor state, robust futex list, rseq, interrupted
//! system calls that restart themselves, scheduling, affinity, timer slack, death signal, no_new_privs.
//! Not preserved: CPU time used, accounting, the parent (the process that starts the restart is it).
//! Source: spec, "Section: tasks".

use crate::record::record;

/// Numbers in [`TaskRecord::regs`].
pub const REGS: usize = 27;

/// Names of the registers in [`TaskRecord::regs`], in order (`struct user_regs_struct`).
pub const REG_NAMES: [&str; REGS] = [
    "r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx", "rsi", "rdi",
    "orig_rax", "rip", "cs", "rflags", "rsp", "ss", "fs_base", "gs_base", "ds", "es", "fs", "gs",
];

record! {
    /// The process; exactly one, its record id is the tgid.
    ProcessRecord<'a> in TASKS, type 1, "process" {
        /// Process id in the pid namespace of the process.
        1 tgid: u64 Dec;
        /// Parent at the time of the checkpoint, 0 if outside the namespace; for people only.
        2 ppid: u64 Dec;
        /// Process group, 0 if outside.
        3 pgid: u64 Dec;
        /// Session, 0 if outside.
        4 sid: u64 Dec;
        /// Name of the leader.
        5 comm: text None;
        /// Path of the program.
        6 exe: text Path;
        /// The argument vector as in `/proc/PID/cmdline`, NUL behind each; cut at 4096 bytes; for people only.
        7 args: bytes None;
        /// `personality(2)`.
        8 personality: u64 Hex;
        /// `PR_GET_DUMPABLE`.
        9 dumpable: u64 Dec;
        /// `PR_GET_CHILD_SUBREAPER`.
        10 child_subreaper: u64 Dec;
        /// `/proc/PID/oom_score_adj`.
        11 oom_score_adj: i64 Dec;
        /// Number of threads.
        12 threads: u64 Dec;
        /// 1 if the process was stopped by a signal.
        13 stopped: u64 Dec;
        /// `MEMBARRIER_CMD_GET_REGISTRATIONS`.
        14 membarrier: u64 Flags;
        /// `PR_GET_MDWE`.
        15 mdwe: u64 Flags;
    }
}

record! {
    /// The place of a process in its tree: one for every process but the first.
    KinRecord in TASKS, type 3, "kin" {
        /// Signal that its parent gets when it ends, 0 none.
        1 exit_signal: u64 Dec;
        /// 1 if it has ended and its parent has not waited for it yet: then it has nothing but its process record.
        2 zombie: u64 Dec;
        /// Of a zombie: the status that `wait(2)` gives, 16 bits; else 0.
        3 wait_status: u64 Hex;
        /// 1 if its parent is not in the image: it is a sibling of the first process.
        4 root: u64 Dec;
    }
}

record! {
    /// A process that has ended, and whose process group or session goes on: its record id is the process id, which is that
    /// of the group or session. With the first process.
    LeaderRecord in TASKS, type 5, "leader" {
        /// The session that its group is in; its own id if it has made a session.
        1 sid: u64 Dec;
    }
}

record! {
    /// The main thread has ended while others of the process go on: its record id is the tid, which is the process id. Its task
    /// record has what remains of it.
    ExitedRecord in TASKS, type 6, "exited" {
        /// What it gave to `_exit(2)`, as `wait(2)` would say it: 16 bits.
        1 status: u64 Hex;
    }
}

record! {
    /// Attributes that few threads have: one for a thread with any of them, its record id is the tid.
    AttributesRecord<'a> in TASKS, type 4, "attributes" {
        /// `PR_MCE_KILL_GET`: 0 as the system does, 1 early, 2 late.
        1 machine_check: u64 Dec;
        /// `PR_GET_IO_FLUSHER`.
        2 io_flusher: u64 Dec;
        /// Which clamps of its utilisation the thread has asked for: 1 the least, 2 the most.
        3 clamped: u64 Flags;
        /// `sched_getattr(2)`: least utilisation, 0 to 1024.
        4 util_min: u64 Dec;
        /// Most utilisation.
        5 util_max: u64 Dec;
        /// `get_mempolicy(2)`: mode with its flags, 0 the default.
        6 memory_policy: u64 Hex;
        /// Nodes as the thread gave them: bit n of the little-endian bytes is node n.
        7 memory_nodes: bytes None;
        /// `PR_TIMER_CREATE_RESTORE_IDS`; of the leader only.
        8 timer_ids: u64 Dec;
    }
}

record! {
    /// One thread; its record id is the tid. The leader is the first.
    TaskRecord<'a> in TASKS, type 2, "task" {
        /// Thread id.
        1 tid: u64 Dec;
        /// Name.
        2 comm: text None;
        /// General registers, [`REGS`] numbers.
        3 regs: array Registers;
        /// Extended state in the standard (not compacted) XSAVE layout.
        4 xstate: bytes Xsave;
        /// `set_tid_address(2)`.
        5 clear_child_tid: u64 Hex;
        /// `set_robust_list(2)`.
        6 robust_list: u64 Hex;
        /// Its length argument.
        7 robust_len: u64 Dec;
        /// `rseq(2)`: address of the area.
        8 rseq_ptr: u64 Hex;
        /// Its length.
        9 rseq_len: u64 Dec;
        /// Its signature.
        10 rseq_sig: u64 Hex;
        /// 1 if an area is registered.
        11 rseq_registered: u64 Dec;
        /// Interrupted system call that needs kernel state to go on: 0 none, 1 original arguments,
        /// 2 nanosleep, 3 poll, 4 futex.
        12 restart_kind: u64 Dec;
        /// When its time is over, nanoseconds on its clock; 0 none.
        13 restart_expiry_ns: i64 Ns;
        /// Which clock (nanosleep), or another argument of the kind.
        14 restart_arg: u64 Dec;
        /// `sched_getattr(2)`: policy.
        15 policy: u64 Dec;
        /// Nice value.
        16 nice: i64 Dec;
        /// Real-time priority.
        17 rt_priority: u64 Dec;
        /// Flags.
        18 sched_flags: u64 Flags;
        /// Deadline scheduling: runtime.
        19 sched_runtime: u64 Ns;
        /// Deadline scheduling: deadline.
        20 sched_deadline: u64 Ns;
        /// Deadline scheduling: period.
        21 sched_period: u64 Ns;
        /// CPUs it may run on: bit n of the little-endian bytes is CPU n.
        22 affinity: bytes None;
        /// `PR_GET_TIMERSLACK`.
        23 timerslack_ns: u64 Ns;
        /// `PR_GET_PDEATHSIG`.
        24 pdeath_signal: u64 Dec;
        /// `PR_GET_NO_NEW_PRIVS`.
        25 no_new_privs: u64 Dec;
        /// `PR_GET_TSC`: 1 allowed, 2 SIGSEGV.
        26 tsc_mode: u64 Dec;
        /// 1: the program asked for `affinity`; 0: it is what its cpuset allowed, and is not set at restart.
        27 pinned: u64 Dec;
        /// `ioprio_get(2)`, 0 none.
        28 ioprio: u64 Hex;
        /// `PR_GET_SPECULATION_CTRL`: 1 store bypass disabled, 2 for ever, 4 until exec; 8 indirect
        /// branches disabled, 16 for ever.
        29 speculation: u64 Flags;
    }
}
