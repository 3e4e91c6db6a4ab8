// SPDX-License-Identifier: GPL-2.0
//! `cr_signalfd.ko`, resource word `signalfd`: descriptors that signals are read from (`signalfd(2)`).
//!
//! Preserved: mask, flags. The pending signals themselves are kept by `signals`. The state comes from `fdinfo`.

use cr_format::SignalfdRecord;
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
    name: "cr_signalfd",
    authors: ["The crkit authors"],
    description: "Checkpoint and restart of processes: signal descriptors",
    license: "GPL",
    alias: ["crext-signalfd", "crext-file-anon-signalfd"],
}

const WORD: &str = "signalfd";

struct Module(#[expect(dead_code, reason = "unregisters on drop")] Registration<Signalfd>);

impl kernel::Module for Module {
    fn init(module: &'static ThisModule) -> Result<Self> {
        Ok(Self(Registration::new(module, &[])?))
    }
}

/// The extension.
struct Signalfd;

/// The descriptors to be made.
struct State {
    objects: Objects,
    masks: Masks,
}

struct Masks(KVVec<u64>);

impl Maker for Masks {
    const WORD: &'static str = WORD;

    fn make(&self, cx: &Restart<'_>, n: usize) -> Result<Syscall> {
        let mask = *self.0.get(n).ok_or(EINVAL)?;
        let address = cx.to_scratch(0, 0, &mask.to_ne_bytes())?;
        // -1: a new one.
        Ok(Syscall::new(b::__NR_signalfd4, &[u64::MAX, address, 8, 0]))
    }

    fn next(&self, _: &Restart<'_>, _: usize, _: u32, _: u32) -> Result<Option<Syscall>> {
        Ok(None)
    }
}

impl Extension for Signalfd {
    const WORD: &'static CStr = c"signalfd";
    const SECTION: u16 = cr_format::SIGNALFD;
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
        file.is_anonymous(b"[signalfd]")
    }
    fn checkpoint_file(cx: &Checkpoint<'_>, file: &FileRef, id: u32) -> Result {
        let text = file.fdinfo()?;
        let mask = cr_logic::signalfd::parse(&text).ok_or_else(|| objects::not_understood(cx, WORD))?;
        cx.emit(&SignalfdRecord { id, file: id.into(), mask })
    }
    fn prepare(cx: &Restart<'_>) -> Result<KBox<State>> {
        let files = objects::files(cx, WORD, cx.records::<SignalfdRecord>().map(|r| r.map(|r| r.id)))?;
        let mut masks = KVVec::with_capacity(files.len(), GFP_KERNEL)?;
        for r in cx.records::<SignalfdRecord>() {
            let r = r?;
            masks.push(r.mask, GFP_KERNEL)?;
        }
        Ok(KBox::new(State { objects: Objects::new(files)?, masks: Masks(masks) }, GFP_KERNEL)?)
    }
    fn step(cx: &Restart<'_>, state: &State, at: At) -> Result<Next> {
        match at.phase {
            Phase::Process => state.objects.step(&state.masks, cx, at),
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
