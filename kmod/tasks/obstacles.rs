// SPDX-License-Identifier: GPL-2.0
//! What a restart could not bring back, collected completely before the checkpoint is refused.
//!
//! Two kinds of questions: those about each thread are a table, those about the process are functions.
//! The first thread that has something is named; its fellows usually have the same. What is lost
//! without harm is a note.

use crate::{relatives, sys, sys::Ask, WORD};
use core::fmt::Write;
use crkit::{bindings as b, sys::task::TaskRef, Checkpoint, Obstacle};
use kernel::{ffi::c_int, prelude::*};

/// A question that must be answered with no.
struct Check {
    ask: Ask,
    word: &'static str,
    object: &'static [u8],
    reason: &'static str,
    remedy: &'static str,
}

/// Questions about each thread.
const THREAD: &[Check] = &[
    Check {
        ask: b::crs_shstk_enabled,
        word: WORD,
        object: b"shadow stack",
        reason: "the contents of shadow stacks cannot be written at a restart",
        remedy: "start the program with GLIBC_TUNABLES=glibc.cpu.x86_shstk=off",
    },
    Check {
        ask: b::crs_task_has_io_bitmap,
        word: WORD,
        object: b"I/O port permissions",
        reason: "access to hardware (ioperm, iopl) is not kept",
        remedy: "programs that drive hardware cannot be checkpointed",
    },
    Check {
        ask: b::crs_hw_breakpoints,
        word: WORD,
        object: b"hardware breakpoint",
        reason: "a debugger has set it in the thread",
        remedy: "let the debugger remove its breakpoints and detach",
    },
    Check {
        ask: b::crs_tls_entries,
        word: WORD,
        object: b"segment from set_thread_area(2)",
        reason: "descriptors of the thread are not kept",
        remedy: "programs that use segments of their own cannot be checkpointed",
    },
    Check {
        ask: b::crs_cpuid_faulting,
        word: WORD,
        object: b"cpuid faulting",
        reason: "ARCH_SET_CPUID is not kept",
        remedy: "programs that forbid themselves the cpuid instruction cannot be checkpointed",
    },
    Check {
        ask: b::crs_syscall_user_dispatch,
        word: WORD,
        object: b"system call user dispatch",
        reason: "PR_SET_SYSCALL_USER_DISPATCH is not kept",
        remedy: "emulators that intercept their own system calls cannot be checkpointed",
    },
    Check {
        ask: b::crs_io_uring_restricted,
        word: "uring",
        object: b"io_uring restrictions",
        reason: "the thread has restricted its use of io_uring, and the restrictions are not kept",
        remedy: "start the program without them",
    },
    Check {
        ask: b::crs_perf_events,
        word: WORD,
        object: b"perf events",
        reason: "a measurement of the thread is running and would end",
        remedy: "stop perf and try again",
    },
    Check {
        ask: b::crs_sem_undo,
        word: WORD,
        object: b"System V semaphore undo list",
        reason: "SEM_UNDO adjustments are not kept",
        remedy: "make the program use semaphores without SEM_UNDO",
    },
    Check {
        ask: b::crs_core_sched_cookie,
        word: WORD,
        object: b"core scheduling cookie",
        reason: "PR_SCHED_CORE is not kept",
        remedy: "start the program outside of a core scheduling group",
    },
];

/// A line of text for the report; cut where memory ends.
#[derive(Default)]
struct Line(KVec<u8>);

impl Write for Line {
    fn write_str(&mut self, s: &str) -> core::fmt::Result {
        self.0.extend_from_slice(s.as_bytes(), GFP_KERNEL).map_err(|_| core::fmt::Error)
    }
}

impl Line {
    /// `what` and a list of process ids, of which `total` exist.
    fn with_pids(what: &str, pids: &[c_int], total: usize) -> Self {
        let mut line = Line::default();
        // A line that is cut is better than none: errors are dropped.
        let _ = write!(line, "{what}");
        for pid in pids.iter().take(total) {
            let _ = write!(line, " {pid}");
        }
        if total > pids.len() {
            let _ = write!(line, " and {} more", total.saturating_sub(pids.len()));
        }
        line
    }
}

/// Reports all obstacles and notes of this extension.
pub(crate) fn report(cx: &Checkpoint<'_>) -> Result {
    rings(cx)?;
    for c in THREAD {
        if let Some(t) = cx.tasks().find(|t| sys::ask(t, c.ask)) {
            cx.obstacle(Obstacle { tid: t.pid_vnr(), ..Obstacle::new(c.word, c.object, c.reason, c.remedy) })?;
        }
    }
    compat(cx)?;
    traced(cx)?;
    seccomp(cx)?;
    children(cx)?;
    sharing(cx)?;
    namespaces(cx)?;
    address_space(cx)?;
    terminal(cx)
}

/// A thread that has used a ring is for `uring` to judge, also when no descriptor shows the ring.
fn rings(cx: &Checkpoint<'_>) -> Result {
    match cx.tasks().find(|t| sys::ask(t, b::crs_io_uring_active)) {
        Some(t) if cx.require(c"uring")?.is_none() => cx.obstacle(Obstacle {
            tid: t.pid_vnr(),
            ..Obstacle::new(
                "uring",
                b"io_uring",
                "the thread uses an io_uring, and no loaded module keeps rings",
                "install the module cr_uring where modprobe finds it (see README)",
            )
        }),
        _ => Ok(()),
    }
}

fn compat(cx: &Checkpoint<'_>) -> Result {
    for t in cx.tasks() {
        if t.hold()?.is_compat() {
            return cx.obstacle(Obstacle {
                tid: t.pid_vnr(),
                ..Obstacle::new(WORD, b"32-bit or x32 program", "only 64-bit programs can be restarted", "run a 64-bit build")
            });
        }
    }
    Ok(())
}

fn traced(cx: &Checkpoint<'_>) -> Result {
    if let Some(t) = cx.tasks().find(|t| t.fields().ptrace != 0) {
        cx.obstacle(Obstacle {
            tid: t.pid_vnr(),
            ..Obstacle::new("ptrace", b"debugger", "the thread is being traced", "detach the debugger")
        })?;
    }
    let traces = |t: &TaskRef<'_>| {
        let list = &t.fields().ptraced;
        !core::ptr::eq(list.next, list)
    };
    if let Some(t) = cx.tasks().find(traces) {
        cx.obstacle(Obstacle {
            tid: t.pid_vnr(),
            ..Obstacle::new("ptrace", b"traced processes", "the process traces others", "let it detach from them")
        })?;
    }
    Ok(())
}

/// A thread that has confined itself is for `seccomp` to keep.
fn seccomp(cx: &Checkpoint<'_>) -> Result {
    match cx.tasks().find(|t| t.fields().seccomp.mode != 0) {
        Some(t) if cx.require(c"seccomp")?.is_none() => cx.obstacle(Obstacle {
            tid: t.pid_vnr(),
            ..Obstacle::new(
                "seccomp",
                b"seccomp",
                "the system calls that the process has left itself need the module cr_seccomp, which is not there",
                "install it where modprobe finds it (see README)",
            )
        }),
        _ => Ok(()),
    }
}

fn children(cx: &Checkpoint<'_>) -> Result {
    // Children of all others are in the checkpoint: they were frozen with their parents.
    if cx.flags() & cr_uapi::CHECKPOINT_SINGLE == 0 {
        return relations(cx);
    }
    let mut pids = [0; 16];
    let n = sys::children(&cx.leader(), &mut pids);
    if n > 0 {
        let line = Line::with_pids("child processes are left out; after a restart the process has none:", &pids, n);
        cx.note(WORD, &line.0)?;
    }
    Ok(())
}

/// Sessions and process groups that a restart could not make again, of all processes.
fn relations(cx: &Checkpoint<'_>) -> Result {
    if cx.process() > 0 || cx.process_count() == 1 {
        return Ok(());
    }
    let mut kin = relatives::all(cx)?;
    let mut ended = relatives::ended(&kin, cx)?;
    let Err(e) = cr_format::validate::tree(&mut kin, &mut ended) else { return Ok(()) };
    let (object, reason, remedy): (&[u8], _, _) = match e.rule_id() {
        Some("TREE-5") => (
            b"session",
            "a process is in a session that neither it nor its parent has made, or whose leader has ended and that goes on elsewhere",
            "checkpoint a part of the tree that is in one session",
        ),
        Some("TREE-6") => (
            b"process group",
            "a process is in a group whose leader, or another process if the leader has ended, is outside of the tree",
            "wait until the group (a pipeline of a shell, for instance) has ended, or checkpoint from its leader on",
        ),
        _ => (b"parent", "a process has lost its parent while the tree was frozen", "try again"),
    };
    cx.obstacle(Obstacle::new("tasks", object, reason, remedy))
}

fn sharing(cx: &Checkpoint<'_>) -> Result {
    for (what, name) in [
        (b::CRS_SHARE_SIGHAND, "signal handlers shared with"),
        (b::CRS_SHARE_FILES, "descriptor table shared with"),
        (b::CRS_SHARE_FS, "working directory and umask shared with"),
    ] {
        let mut pids = [0; 16];
        let n = sys::sharers(&cx.leader(), what, &mut pids);
        if n > 0 {
            let line = Line::with_pids(name, &pids, n);
            let reason = "processes made by clone(2) that share state must be restarted together";
            cx.obstacle(Obstacle::new("sharing", &line.0, reason, "end the other process first"))?;
        }
    }
    let leader = cx.leader();
    let (files, fs) = (leader.fields().files, leader.fields().fs);
    // A task that has been killed meanwhile has none; the checkpoint ends for that reason, not for this one.
    let alive = |t: &TaskRef<'_>| !t.fields().files.is_null() && !t.fields().fs.is_null();
    let own = |t: &TaskRef<'_>| t.fields().files != files || t.fields().fs != fs;
    if let Some(t) = cx.tasks().find(|t| alive(&leader) && alive(t) && own(t)) {
        cx.obstacle(Obstacle {
            tid: t.pid_vnr(),
            ..Obstacle::new(
                "sharing",
                b"thread with its own descriptors or working directory",
                "the thread has called unshare(CLONE_FILES or CLONE_FS); restarted threads share them",
                "let the thread end first",
            )
        })?;
    }
    Ok(())
}

fn namespaces(cx: &Checkpoint<'_>) -> Result {
    let Some(here) = sys::namespaces(&TaskRef::current()) else { return Err(ESRCH) };
    for t in cx.tasks() {
        let Some(there) = sys::namespaces(&t) else { return Err(ESRCH) };
        let mut line = Line::default();
        for (a, z, name) in [
            (here.uts, there.uts, "uts"),
            (here.ipc, there.ipc, "ipc"),
            (here.mnt, there.mnt, "mnt"),
            (here.pid, there.pid, "pid"),
            (here.net, there.net, "net"),
            (here.cgroup, there.cgroup, "cgroup"),
            (here.user, there.user, "user"),
        ] {
            if a != z {
                let _ = write!(line, "{}{name}", if line.0.is_empty() { "" } else { ", " });
            }
        }
        if there.pid_for_children != there.pid {
            let _ = write!(line, "{}pid (for children)", if line.0.is_empty() { "" } else { ", " });
        }
        if there.time_for_children != there.time {
            let _ = write!(line, "{}time (for children)", if line.0.is_empty() { "" } else { ", " });
        }
        if !line.0.is_empty() {
            return cx.obstacle(Obstacle {
                tid: t.pid_vnr(),
                ..Obstacle::new(
                    "namespaces",
                    &line.0,
                    "the process is in other namespaces than crctl; they would not exist at the restart",
                    "run crctl inside them, for example with nsenter(1) -t PID, for checkpoint and restart",
                )
            });
        }
    }
    Ok(())
}

fn address_space(cx: &Checkpoint<'_>) -> Result {
    let leader = cx.leader();
    if sys::ask(&leader, b::crs_dynamic_xfeatures) {
        cx.obstacle(Obstacle::new(
            WORD,
            b"AMX (ARCH_REQ_XCOMP_PERM)",
            "the permission to use AMX tiles and their contents are not kept",
            "make the program use other instructions",
        ))?;
    }
    let mm = sys::mm_facts(&cx.mm());
    if mm.ldt {
        cx.obstacle(Obstacle::new(
            WORD,
            b"local descriptor table (modify_ldt)",
            "segments of the process are not kept",
            "programs that use segments of their own cannot be checkpointed",
        ))?;
    }
    if mm.lam {
        cx.obstacle(Obstacle::new(
            WORD,
            b"linear address masking (ARCH_ENABLE_TAGGED_ADDR)",
            "tagged addresses are not kept",
            "start the program without address tagging",
        ))?;
    }
    if mm.uprobes {
        cx.obstacle(Obstacle::new(
            WORD,
            b"uprobes",
            "breakpoints of a tracer are in the program's memory and would kill it after a restart",
            "stop the tracer (perf, bpftrace) and let the program run on for a moment",
        ))?;
    }
    Ok(())
}

fn terminal(cx: &Checkpoint<'_>) -> Result {
    let leader = cx.leader();
    let s = sys::signal(&leader);
    if s.leader != 0 && !s.tty.is_null() {
        cx.note(WORD, b"the process controls a terminal; after a restart its session has none")?;
    }
    Ok(())
}
