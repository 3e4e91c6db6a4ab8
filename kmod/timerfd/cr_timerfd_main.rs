// SPDX-License-Identifier: GPL-2.0
//! `cr_timerfd.ko`, resource word `timerfd`: timers behind descriptors (`timerfd_create(2)`).
//!
//! Preserved: clock, mode, time left (of an absolute wall time: the time), interval, unread expirations, flags.
//! Not preserved: the phase of a periodic timer that has expired and was not read since; a pending
//! cancellation by a change of the clock. The state comes from `fdinfo`.

use cr_format::TimerfdRecord;
use cr_logic::timerfd;
use crkit::{
    bindings as b,
    context::Run,
    objects::{self, Maker, Objects},
    sys::{clock, file::FileRef, task::TaskRef},
    At, Checkpoint, Extension, Next, Phase, Registration, Restart, Syscall,
};
use kernel::prelude::*;

module! {
    type: Module,
    name: "cr_timerfd",
    authors: ["The crkit authors"],
    description: "Checkpoint and restart of processes: timer descriptors",
    license: "GPL",
    alias: ["crext-timerfd", "crext-file-anon-timerfd"],
}

const WORD: &str = "timerfd";
/// `TFD_IOC_SET_TICKS`: `_IOW('T', 0, u64)`.
const SET_TICKS: u64 = 0x4008_5400;

struct Module(#[expect(dead_code, reason = "unregisters on drop")] Registration<Timerfd>);

impl kernel::Module for Module {
    fn init(module: &'static ThisModule) -> Result<Self> {
        Ok(Self(Registration::new(module, &[])?))
    }
}

/// The extension.
struct Timerfd;

/// The timers to be made.
struct State {
    objects: Objects,
    timers: Timers,
}

struct Timers(KVVec<TimerfdRecord>);

impl Maker for Timers {
    const WORD: &'static str = WORD;

    fn make(&self, _: &Restart<'_>, n: usize) -> Result<Syscall> {
        let t = self.0.get(n).ok_or(EINVAL)?;
        Ok(Syscall::new(b::__NR_timerfd_create, &[t.clock, 0]))
    }

    fn next(&self, cx: &Restart<'_>, n: usize, step: u32, fd: u32) -> Result<Option<Syscall>> {
        let t = self.0.get(n).ok_or(EINVAL)?;
        // Setting the time clears the expirations, so they come last.
        if step == 1 && t.value_ns != 0 {
            let address = cx.to_scratch(0, 0, &timerfd::itimerspec(t))?;
            let args = [fd.into(), timerfd::settime_flags(t), address, 0];
            return Ok(Some(Syscall::new(b::__NR_timerfd_settime, &args)));
        }
        let last = if t.value_ns != 0 { 2 } else { 1 };
        if step == last && t.ticks != 0 {
            let address = cx.to_scratch(0, 0, &t.ticks.to_ne_bytes())?;
            return Ok(Some(Syscall::new(b::__NR_ioctl, &[fd.into(), SET_TICKS, address])));
        }
        Ok(None)
    }
}

impl Extension for Timerfd {
    const WORD: &'static CStr = c"timerfd";
    const SECTION: u16 = cr_format::TIMERFD;
    /// Before `files` (10), which asks for the open files.
    const ORDER: u32 = 8;
    type State = State;

    fn checkpoint(_: &Checkpoint<'_>) -> Result {
        // Everything is done file by file.
        Ok(())
    }
    fn bulk(_: &Checkpoint<'_>) -> Result {
        Ok(())
    }
    fn claims(file: &FileRef) -> bool {
        file.is_anonymous(b"[timerfd]")
    }
    fn checkpoint_file(cx: &Checkpoint<'_>, file: &FileRef, id: u32) -> Result {
        let text = file.fdinfo()?;
        let now = u64::try_from(clock::realtime()).unwrap_or(0);
        let record = timerfd::parse(id, &text, now).ok_or_else(|| objects::not_understood(cx, WORD))?;
        cx.emit(&record)
    }
    fn prepare(cx: &Restart<'_>) -> Result<KBox<State>> {
        let files = objects::files(cx, WORD, cx.records::<TimerfdRecord>().map(|r| r.map(|r| r.id)))?;
        let mut timers = KVVec::with_capacity(files.len(), GFP_KERNEL)?;
        for r in cx.records::<TimerfdRecord>() {
            let r = r?;
            timers.push(r, GFP_KERNEL)?;
        }
        Ok(KBox::new(State { objects: Objects::new(files)?, timers: Timers(timers) }, GFP_KERNEL)?)
    }
    fn step(cx: &Restart<'_>, state: &State, at: At) -> Result<Next> {
        match at.phase {
            Phase::Process => state.objects.step(&state.timers, cx, at),
            Phase::Filled => {
                // What nobody asked for must not stay open.
                state.objects.forget();
                Ok(Next::Done)
            }
            Phase::Thread | Phase::Late => Ok(Next::Done),
        }
    }
    fn restart_file(_: &Restart<'_>, state: &State, id: u32) -> Result<FileRef> {
        state.objects.take(id)
    }
    fn fill(_: &Restart<'_>, _: &State, _: u32, _: &[Run]) -> Result {
        Err(EINVAL)
    }
    fn commit_outside(_: &Restart<'_>, _: &State, _: u32, _: &TaskRef<'_>) -> Result {
        Ok(())
    }
    fn commit_regs(_: &Restart<'_>, _: &State, _: u32, _: &mut b::pt_regs) {}
}
