// SPDX-License-Identifier: GPL-2.0
//! `cr_timers.ko`, resource word `timers`: interval timers and POSIX timers.
//!
//! Preserved: `alarm`, `setitimer`, `timer_create` with ids, notification, interval, time left. Not preserved:
//! overruns that were not read, the phase of a periodic timer whose signal is pending. CPU clocks begin anew at a restart;
//! what is kept of their timers is the time left. Refused: timers of the CPU time of other processes or ended threads.
//!
//! Timers go on while the process is frozen. They are read before the pending signals (`signals` asks for this
//! module first), so that one that expires in between is there twice rather than lost; and looked at again when
//! all records are there: if one has expired that expires only once, the checkpoint is to be tried again.

mod restart;
mod sys;

use crkit::{sys::clock, At, Checkpoint, Extension, Next, Obstacle, Phase, Restart};
use kernel::{prelude::*, str::CString};

crkit::extension_module! {
    extension: Timers,
    name: "cr_timers",
    description: "Checkpoint and restart of processes: timers",
    alias: ["crext-timers"],
}

/// Resource word in messages.
const WORD: &str = "timers";
/// Numbering of the timers that expire once (see `object_in`); their own ids do not tell them from interval timers.
const ONCE: u16 = 3;
const REAL: u64 = 1 << 32;

/// The key of a timer among those of all processes: `timer` is [`REAL`] or an id, which has 31 bits.
fn key(cx: &Checkpoint<'_>, timer: u64) -> u64 {
    timer | u64::from(cx.process()) << 33
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
                cx.object_in(ONCE, key(cx, REAL))?;
            }
            cx.emit(&t)?;
        }
        let now = u64::try_from(clock::realtime()).unwrap_or(0);
        let mut id = 0u32;
        for t in sys::timers(&leader)?.iter() {
            if t.dead || !cr_logic::timers::keeps(t.facts.record.clock) {
                let object = CString::try_from_fmt(fmt!("POSIX timer {}", t.facts.record.timer_id))?;
                cx.obstacle(Obstacle::new(
                    WORD,
                    object.to_bytes(),
                    "it measures the CPU time of another process, or of a thread that has ended",
                    "have the program delete the timer (timer_delete)",
                ))?;
                continue;
            }
            if t.facts.status == 1 && t.facts.interval_ns == 0 {
                cx.object_in(ONCE, key(cx, t.facts.record.timer_id))?;
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
            lost |= !cx.object_in(ONCE, key(cx, t.facts.record.timer_id))?.1;
        }
        if sys::itimers(&leader).into_iter().flatten().all(|t| t.which != 0) {
            lost |= !cx.object_in(ONCE, key(cx, REAL))?.1;
        }
        match lost {
            false => Ok(()),
            true => Err(cx.fail(EAGAIN, WORD, "", b"a timer expired during the checkpoint", "try again")),
        }
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
}
