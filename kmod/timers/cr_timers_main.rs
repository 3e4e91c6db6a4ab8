// SPDX-License-Identifier: GPL-2.0
//! `cr_timers.ko`, resource word `timers`: interval timers and POSIX timers.
//!
//! Preserved: `alarm`, `setitimer`, `timer_create` with ids, notification, interval, time left. Not preserved:
//! overruns that were not read, the phase of a periodic timer whose signal is pending. Refused: POSIX timers of
//! CPU clocks.
//!
//! Timers go on while the process is frozen. They are read before the pending signals (`signals` asks for this
//! module first), so that one that expires in between is there twice rather than lost; and looked at again when
//! all records are there: if one has expired that expires only once, the checkpoint is to be tried again.

mod restart;
mod sys;

use crkit::{
    bindings as b,
    context::Run,
    sys::{clock, file::FileRef, task::TaskRef},
    At, Checkpoint, Extension, Next, Obstacle, Phase, Registration, Restart,
};
use kernel::{prelude::*, str::CString};

module! {
    type: Module,
    name: "cr_timers",
    authors: ["The crkit authors"],
    description: "Checkpoint and restart of processes: timers",
    license: "GPL",
    alias: ["crext-timers"],
}

/// Resource word in messages.
const WORD: &str = "timers";
/// Numbering of the timers that expire once (see `object_in`); their own ids do not tell them from interval timers.
const ONCE: u16 = 3;
const REAL: u64 = 1 << 32;

struct Module(#[expect(dead_code, reason = "unregisters on drop")] Registration<Timers>);

impl kernel::Module for Module {
    fn init(module: &'static ThisModule) -> Result<Self> {
        Ok(Self(Registration::new(module, &[])?))
    }
}

/// The extension.
struct Timers;

impl Extension for Timers {
    const WORD: &'static CStr = c"timers";
    const SECTION: u16 = cr_format::TIMERS;
    /// Before `signals` (30) at a checkpoint; a restart sets them last, in [`Phase::Late`].
    const ORDER: u32 = 25;
    type State = restart::State;

    fn checkpoint(cx: &Checkpoint<'_>) -> Result {
        let leader = cx.leader();
        for t in sys::itimers(&leader).into_iter().flatten() {
            if t.which == 0 && t.interval_ns == 0 {
                cx.object_in(ONCE, REAL)?;
            }
            cx.emit(&t)?;
        }
        let now = u64::try_from(clock::realtime()).unwrap_or(0);
        let mut id = 0u32;
        for t in sys::timers(&leader)?.iter() {
            if !cr_logic::timers::keeps(t.clock) {
                let object = CString::try_from_fmt(fmt!("POSIX timer {}", t.facts.record.timer_id))?;
                cx.obstacle(Obstacle::new(
                    WORD,
                    object.to_bytes(),
                    "it runs on a CPU clock, which begins anew at a restart",
                    "have the program delete the timer (timer_delete), or use another clock",
                ))?;
                continue;
            }
            if t.facts.status == 1 && t.facts.interval_ns == 0 {
                cx.object_in(ONCE, t.facts.record.timer_id)?;
            }
            id = id.checked_add(1).ok_or(EOVERFLOW)?;
            let mut record = cr_logic::timers::record(&t.facts, now);
            record.id = id;
            cx.emit(&record)?;
        }
        Ok(())
    }
    fn bulk(cx: &Checkpoint<'_>) -> Result {
        let leader = cx.leader();
        let mut lost = false;
        for t in sys::timers(&leader)?.iter().filter(|t| t.facts.status == 0) {
            // Known: it was armed.
            lost |= !cx.object_in(ONCE, t.facts.record.timer_id)?.1;
        }
        if sys::itimers(&leader).into_iter().flatten().all(|t| t.which != 0) {
            lost |= !cx.object_in(ONCE, REAL)?.1;
        }
        match lost {
            false => Ok(()),
            true => Err(cx.fail(EAGAIN, WORD, "", b"a timer expired during the checkpoint", "try again")),
        }
    }
    fn claims(_: &FileRef) -> bool {
        false
    }
    fn checkpoint_file(_: &Checkpoint<'_>, _: &FileRef, _: u32) -> Result {
        Err(EINVAL)
    }
    fn prepare(cx: &Restart<'_>) -> Result<KBox<Self::State>> {
        restart::prepare(cx)
    }
    fn step(cx: &Restart<'_>, state: &Self::State, at: At) -> Result<Next> {
        match at.phase {
            Phase::Late if at.task == 0 => state.plan.step(cx, WORD, at),
            _ => Ok(Next::Done),
        }
    }
    fn restart_file(_: &Restart<'_>, _: &Self::State, _: u32) -> Result<FileRef> {
        Err(EINVAL)
    }
    fn fill(_: &Restart<'_>, _: &Self::State, _: u32, _: &[Run]) -> Result {
        Err(EINVAL)
    }
    fn commit_outside(_: &Restart<'_>, _: &Self::State, _: u32, _: &TaskRef<'_>) -> Result {
        Ok(())
    }
    fn commit_regs(_: &Restart<'_>, _: &Self::State, _: u32, _: &mut b::pt_regs) {}
}
