// SPDX-License-Identifier: GPL-2.0
//! `cr_eventfd.ko`, resource word `eventfd`: event counters (`eventfd(2)`).
//!
//! Preserved: counter, semaphore mode, flags. Not preserved: the kernel's running number of the instance.
//! The state comes from `fdinfo`; a restart makes the counter anew and adds what it had.

use cr_format::EventfdRecord;
use crkit::{
    bindings as b,
    context::Run,
    objects::{self, Maker, Objects},
    sys::{file::FileRef, task::TaskRef},
    At, Checkpoint, Extension, Next, Phase, Registration, Restart, Syscall,
};
use kernel::prelude::*;

module! {
    type: Module,
    name: "cr_eventfd",
    authors: ["The crkit authors"],
    description: "Checkpoint and restart of processes: event counters",
    license: "GPL",
    alias: ["crext-eventfd", "crext-file-anon-eventfd"],
}

const WORD: &str = "eventfd";
/// `EFD_SEMAPHORE`.
const SEMAPHORE: u64 = 1;

struct Module(#[expect(dead_code, reason = "unregisters on drop")] Registration<Eventfd>);

impl kernel::Module for Module {
    fn init(module: &'static ThisModule) -> Result<Self> {
        Ok(Self(Registration::new(module, &[])?))
    }
}

/// The extension.
struct Eventfd;

/// The counters to be made.
struct State {
    objects: Objects,
    counters: Counters,
}

struct Counters(KVVec<(u64, bool)>);

impl Maker for Counters {
    const WORD: &'static str = WORD;

    fn make(&self, _: &Restart<'_>, n: usize) -> Result<Syscall> {
        let (count, semaphore) = *self.0.get(n).ok_or(EINVAL)?;
        // The initial value has 32 bits; the rest is added by a write.
        let first = count.min(u32::MAX.into());
        Ok(Syscall::new(b::__NR_eventfd2, &[first, if semaphore { SEMAPHORE } else { 0 }]))
    }

    fn next(&self, cx: &Restart<'_>, n: usize, step: u32, fd: u32) -> Result<Option<Syscall>> {
        let (count, _) = *self.0.get(n).ok_or(EINVAL)?;
        let rest = count.saturating_sub(u32::MAX.into());
        if step > 1 || rest == 0 {
            return Ok(None);
        }
        let address = cx.to_scratch(0, 0, &rest.to_ne_bytes())?;
        Ok(Some(Syscall::new(b::__NR_write, &[fd.into(), address, 8])))
    }
}

impl Extension for Eventfd {
    const WORD: &'static CStr = c"eventfd";
    const SECTION: u16 = cr_format::EVENTFD;
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
        file.is_anonymous(b"[eventfd]")
    }
    fn checkpoint_file(cx: &Checkpoint<'_>, file: &FileRef, id: u32) -> Result {
        let text = file.fdinfo()?;
        let (count, semaphore) = cr_logic::eventfd::parse(&text).ok_or_else(|| objects::not_understood(cx, WORD))?;
        cx.emit(&EventfdRecord { id, file: id.into(), count, semaphore: semaphore.into() })
    }
    fn prepare(cx: &Restart<'_>) -> Result<KBox<State>> {
        let files = objects::files(cx, WORD, cx.records::<EventfdRecord>().map(|r| r.map(|r| r.id)))?;
        let mut counters = KVVec::with_capacity(files.len(), GFP_KERNEL)?;
        for r in cx.records::<EventfdRecord>() {
            let r = r?;
            counters.push((r.count, r.semaphore != 0), GFP_KERNEL)?;
        }
        Ok(KBox::new(State { objects: Objects::new(files)?, counters: Counters(counters) }, GFP_KERNEL)?)
    }
    fn step(cx: &Restart<'_>, state: &State, at: At) -> Result<Next> {
        match at.phase {
            Phase::Process => state.objects.step(&state.counters, cx, at),
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
