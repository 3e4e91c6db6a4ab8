// SPDX-License-Identifier: GPL-2.0
//! Restart: all records are checked and all plans made while the image is loaded; then the leader brings
//! the process into its state and makes the threads, every thread brings itself into its state, and at
//! the commit registers are loaded.
//!
//! Before it makes threads, the leader learns what interrupted calls need to keep their deadlines (`learn.rs`).
//!
//! What is stored directly instead of by a system call, and why:
//! - extended registers and segment bases: by the kernel's own regset code, from outside (`commit_outside`);
//! - death signal, robust list, thread id address: they act when a thread ends, so not before nothing
//!   can fail any more; and a change of credentials, which comes later, would clear the first;
//! - the dumpable attribute: likewise cleared by a change of credentials;
//! - PR_TIMER_CREATE_RESTORE_IDS: timers are made with it and leave it off;
//! - the OOM score adjustment: its only other way leads over a mounted /proc; same rule, checked here.

use crate::{learn::Learned, sys, WORD};
use core::fmt::Write;
use cr_format::{AttributesRecord, ExitedRecord, ImageRecord, ProcessRecord, TaskRecord};
use cr_logic::{
    plan::PlanError,
    tasks::{
        clone_args, clone_call, cpu_ranges, fit_xstate, learn_call, plan_attributes, plan_late, plan_process, plan_thread, resume, sanitize_regs, Function, Regs,
        Resume, XstateFit, ERESTART_RESTARTBLOCK, LEARN_DATA, NO_CPU,
    },
};
use crkit::{
    bindings as b,
    plan::Plan,
    sys::task::{TaskRef, NT_X86_XSTATE},
    At, Next, Phase, Restart, Syscall,
};
use kernel::{prelude::*, sync::Arc};

/// Everything a restart needs, prepared.
pub(crate) struct State {
    tids: KVVec<u32>,
    threads: KVVec<Thread>,
    process: Plan,
    /// Functions that interrupted calls need, to be learned.
    functions: KVec<Function>,
    learned: Arc<Learned>,
    oom_score_adj: i16,
    dumpable: u64,
    stopped: bool,
}

struct Thread {
    regs: Regs,
    xstate: Xstate,
    thread: Plan,
    late: Plan,
    resume: Option<Resume>,
    pdeath_signal: i32,
    robust_list: u64,
    clear_child_tid: u64,
    timer_ids: bool,
    /// It ends again instead of going on.
    ended: bool,
}

/// Where the extended state is.
enum Xstate {
    /// In the section, which lives as long as the session: offset and length.
    Image(usize, usize),
    /// Changed to fit this processor.
    Own(KVVec<u8>),
}

fn plan_error(e: PlanError) -> Error {
    match e {
        PlanError::NoMemory => ENOMEM,
        PlanError::Impossible(_) => EOPNOTSUPP,
    }
}

/// Checks every record and makes every plan.
pub(crate) fn prepare(cx: &Restart<'_>) -> Result<KBox<State>> {
    let p = cx.records::<ProcessRecord<'_>>().next().ok_or(EUCLEAN)??;
    same_processor(cx)?;
    let mut process = Plan::new();
    plan_process(&p, &mut process).map_err(plan_error)?;
    let mut state = State {
        tids: KVVec::new(),
        threads: KVVec::new(),
        process,
        functions: KVec::new(),
        learned: Learned::new()?,
        oom_score_adj: i16::try_from(p.oom_score_adj).map_err(|_| EUCLEAN)?,
        // With 2 the kernel would write core files as root: not without the kernel's own reasons.
        dumpable: u64::from(p.dumpable == 1),
        stopped: p.stopped != 0,
    };
    for t in cx.records::<TaskRecord<'_>>() {
        let t = t?;
        let thread = thread(cx, &p, &t, state.tids.is_empty())?;
        if let Some(f) = thread.resume.map(|r| r.function).filter(|f| !state.functions.contains(f)) {
            state.functions.push(f, GFP_KERNEL)?;
        }
        state.threads.push(thread, GFP_KERNEL)?;
        state.tids.push(u32::try_from(t.tid).map_err(|_| EUCLEAN)?, GFP_KERNEL)?;
    }
    if state.tids.first().copied().map(u64::from) != Some(p.tgid) {
        return Err(cx.fail(EUCLEAN, WORD, "", b"the first thread is not the leader", "list every defect with: crimg verify IMAGE"));
    }
    cx.set_threads(&state.tids)?;
    Ok(KBox::new(state, GFP_KERNEL)?)
}

/// Programs choose their code by what the processor can: it must not be able to do less than before.
fn same_processor(cx: &Restart<'_>) -> Result {
    let image = cx.shared_records::<ImageRecord<'_>>().next().ok_or(EUCLEAN)??;
    let here = sys::xfeatures();
    let missing = image.xfeatures & !here;
    if missing == 0 {
        return Ok(());
    }
    let mut text = Text::<160>::new();
    let _ = write!(text, "this processor lacks features that the process may use: XCR0 was {:#x}, here it is {here:#x}", image.xfeatures);
    Err(cx.fail(ENOEXEC, WORD, "", text.bytes(), "restart on a machine with the same or a newer processor"))
}

fn thread(cx: &Restart<'_>, p: &ProcessRecord<'_>, t: &TaskRecord<'_>, leader: bool) -> Result<Thread> {
    let damaged = |what: &str, why: &str| {
        let mut text = Text::<200>::new();
        let _ = write!(text, "thread {}: {what}{why}", t.tid);
        cx.fail(EUCLEAN, WORD, "", text.bytes(), "list every defect with: crimg verify IMAGE")
    };
    let regs = Regs::from_array(t.regs).ok_or(EUCLEAN)?;
    let resume = resume(&regs, t.restart_kind, t.restart_expiry_ns, t.restart_arg);
    let regs = sanitize_regs(regs).map_err(|why| damaged("", why))?;
    let size = TaskRef::current().regset_size(NT_X86_XSTATE);
    let fit = fit_xstate(t.xstate, size, sys::xfeatures()).map_err(|why| {
        let mut text = Text::<200>::new();
        let _ = write!(text, "thread {}: {why}", t.tid);
        cx.fail(ENOEXEC, WORD, "", text.bytes(), "restart on a machine with the same or a newer processor")
    })?;
    let xstate = match fit {
        XstateFit::Same => {
            let section = cx.section(cx.section_id());
            let at = (t.xstate.as_ptr() as usize).checked_sub(section.as_ptr() as usize).ok_or(EINVAL)?;
            Xstate::Image(at, t.xstate.len())
        }
        XstateFit::Common(len) => {
            let mut own = KVVec::new();
            own.extend_from_slice(t.xstate.get(..len).ok_or(EUCLEAN)?, GFP_KERNEL)?;
            own.resize(size, 0, GFP_KERNEL)?;
            Xstate::Own(own)
        }
    };
    if t.pdeath_signal > u64::from(cr_logic::signals::SIGNALS) {
        return Err(damaged("the death signal is ", "out of range"));
    }
    let mut plan = Plan::new();
    plan_thread(t, &mut plan).map_err(plan_error)?;
    let attributes = attributes_of(cx, t.id)?;
    if let Some(a) = &attributes {
        plan_attributes(a, &mut plan).map_err(plan_error)?;
    }
    let mut late = Plan::new();
    plan_late(p, t, leader, &mut late).map_err(plan_error)?;
    Ok(Thread {
        regs,
        xstate,
        thread: plan,
        late,
        resume,
        // CAST: at most 64, checked above.
        pdeath_signal: t.pdeath_signal as i32,
        robust_list: t.robust_list,
        clear_child_tid: t.clear_child_tid,
        timer_ids: attributes.is_some_and(|a| a.timer_ids != 0),
        ended: leader && cx.records::<ExitedRecord>().next().is_some(),
    })
}

/// The rare attributes of a thread; `None` if it has none.
fn attributes_of<'a>(cx: &'a Restart<'_>, tid: u32) -> Result<Option<AttributesRecord<'a>>> {
    for a in cx.records::<AttributesRecord<'_>>() {
        let a = a?;
        if a.id == tid {
            return Ok(Some(a));
        }
    }
    Ok(None)
}

impl State {
    fn thread(&self, task: u32) -> Result<&Thread> {
        self.threads.get(task as usize).ok_or(EINVAL)
    }

    /// One step in the context of a thread.
    pub(crate) fn step(&self, cx: &Restart<'_>, at: At) -> Result<Next> {
        match at.phase {
            Phase::Process => Ok(Next::Done),
            Phase::Filled => self.make(cx, at),
            Phase::Thread => {
                let plan = &self.thread(at.task)?.thread;
                if plan.failed(at) == Some(NO_CPU) && at.prev == EINVAL.to_errno().into() {
                    return Err(no_cpu(cx, at.task));
                }
                plan.step(cx, WORD, at)
            }
            Phase::Late => self.thread(at.task)?.late.step(cx, WORD, at),
        }
    }

    /// The leader: the process first, then one thread after the other.
    fn make(&self, cx: &Restart<'_>, at: At) -> Result<Next> {
        if at.step == 0 {
            self.set_oom_score(cx)?;
        }
        // Steps: the process, then the functions, then thread 1 and so on, as thread 0 exists.
        let step = at.step as usize;
        let functions = self.process.len();
        if step <= functions {
            if let call @ Next::Call(_) = self.process.step(cx, WORD, at)? {
                return Ok(call);
            }
        }
        if let Some(f) = self.functions.get(step.saturating_sub(functions)) {
            self.learned.start(*f)?;
            let (nr, args) = learn_call(*f, cx.to_scratch(at.task, 0, &LEARN_DATA)?);
            return Ok(Next::Call(Syscall::new(nr, &args)));
        }
        let made = step.saturating_sub(functions).saturating_sub(self.functions.len());
        if made > 0 {
            let tid = self.tids.get(made).copied().ok_or(EINVAL)?;
            if at.prev != i64::from(tid) {
                return Err(not_made(cx, tid, at.prev));
            }
        }
        let Some(tid) = self.tids.get(made.saturating_add(1)) else { return Ok(Next::Done) };
        let (address, _) = cx.scratch(at.task);
        let args = cx.to_scratch(at.task, 0, &clone_args(*tid, address))?;
        let (nr, args) = clone_call(args);
        Ok(Next::Call(Syscall::new(nr, &args)))
    }

    /// The rule of `/proc/PID/oom_score_adj`: below the least value so far only with `CAP_SYS_RESOURCE`.
    fn set_oom_score(&self, cx: &Restart<'_>) -> Result {
        let (now, min) = sys::oom_score();
        if now == self.oom_score_adj {
            return Ok(());
        }
        let may = sys::has_sys_resource();
        if self.oom_score_adj < min && !may {
            let text = b"cannot lower the OOM score adjustment to that of the process";
            return Err(cx.fail(EACCES, WORD, "", text, "restart with CAP_SYS_RESOURCE"));
        }
        sys::set_oom_score(self.oom_score_adj, if may { self.oom_score_adj } else { min });
        Ok(())
    }

    /// From outside, on a switched-out thread.
    pub(crate) fn commit_outside(&self, cx: &Restart<'_>, task: u32, t: &TaskRef<'_>) -> Result {
        let me = self.thread(task)?;
        let bytes = match &me.xstate {
            Xstate::Image(at, len) => {
                let end = at.checked_add(*len).ok_or(EINVAL)?;
                cx.section(cx.section_id()).get(*at..end).ok_or(EINVAL)?
            }
            Xstate::Own(own) => own,
        };
        t.regset_set(NT_X86_XSTATE, bytes).map_err(|e| {
            let text = b"the kernel refuses the extended processor state";
            cx.fail(e, WORD, "", text, "list every defect with: crimg verify IMAGE")
        })?;
        sys::set_segments(t, &me.regs);
        Ok(())
    }

    /// The thread itself, last of all. Restart codes in `ax` are acted upon by the caller of the task work:
    /// the interrupted system call is made again as after a freeze.
    pub(crate) fn commit_regs(&self, task: u32, regs: &mut b::pt_regs) {
        let Ok(me) = self.thread(task) else { return };
        sys::set_exit_state(me.pdeath_signal, me.robust_list, me.clear_child_tid);
        if task == 0 {
            sys::set_dumpable(self.dumpable);
            sys::set_timer_ids(me.timer_ids);
        }
        sys::load_regs(regs, &me.regs);
        if let Some(r) = &me.resume {
            if self.learned.resume(r, sys::clock_offset(r.clock)) {
                // CAST: a sign only.
                regs.ax = ERESTART_RESTARTBLOCK as usize;
            }
        }
        if self.stopped && !me.ended {
            sys::stop_current();
        }
    }
}

/// None of the CPUs of a thread can be had.
fn no_cpu(cx: &Restart<'_>, task: u32) -> Error {
    let tid = cx.thread_id(task);
    let mut text = Text::<200>::new();
    let _ = write!(text, "thread {tid} is bound to CPUs that cannot be used here:");
    let t = cx.records::<TaskRecord<'_>>().filter_map(Result::ok).find(|t| t.tid == u64::from(tid));
    for (first, last) in cpu_ranges(t.map_or(&[], |t| t.affinity)) {
        let _ = if first == last { write!(text, " {first}") } else { write!(text, " {first}-{last}") };
    }
    cx.fail(ENXIO, WORD, "", text.bytes(), "bring one of them online, or allow it in the cpuset of crctl")
}

fn not_made(cx: &Restart<'_>, tid: u32, result: i64) -> Error {
    let e = if (-4095..0).contains(&result) { Error::from_errno(result as i32) } else { EPROTO };
    let mut text = Text::<160>::new();
    let (why, remedy) = match e {
        EEXIST => ("is taken by another thread or process", "end the other one, or restart in a new pid namespace: --new-pidns"),
        EPERM => ("may not be chosen by you", "restart with CAP_CHECKPOINT_RESTORE or as root"),
        EAGAIN => ("is one thread too many", "raise the limit on processes (ulimit -u, pids.max of the cgroup)"),
        EINVAL => ("is outside the range of this pid namespace", "raise sysctl kernel.pid_max"),
        _ => ("cannot be created", ""),
    };
    let _ = write!(text, "thread id {tid} {why}");
    cx.fail(e, WORD, "", text.bytes(), remedy)
}

/// A short text without allocation; cut at `N` bytes.
struct Text<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Text<N> {
    fn new() -> Self {
        Self { bytes: [0; N], len: 0 }
    }
    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }
}

impl<const N: usize> Write for Text<N> {
    fn write_str(&mut self, s: &str) -> core::fmt::Result {
        for (to, from) in self.bytes.iter_mut().skip(self.len).zip(s.bytes()) {
            *to = from;
            self.len = self.len.saturating_add(1);
        }
        Ok(())
    }
}
