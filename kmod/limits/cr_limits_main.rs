// SPDX-License-Identifier: GPL-2.0
//! `cr_limits.ko`, resource word `limits`: resource limits.
//!
//! Preserved: soft and hard limits of all resources. A restart sets those that differ from its caller's,
//! after everything else has been built and before privileges are dropped (module `creds`).
//! Not preserved: what counts against them, for example CPU time used so far.

mod restart;
mod sys;

use cr_format::LimitRecord;
use crkit::{
    bindings as b, context::Run,
    sys::{file::FileRef, task::TaskRef},
    At, Checkpoint, Extension, Next, Registration, Restart,
};
use kernel::{prelude::*, str::CStr};

module! {
    type: Module,
    name: "cr_limits",
    authors: ["The crkit authors"],
    description: "Checkpoint and restart of processes: resource limits",
    license: "GPL",
    alias: ["crext-limits"],
}

/// The resource word, for messages.
const WORD: &str = "limits";

/// The module: its registration with the core.
struct Module(#[expect(dead_code, reason = "unregisters on drop")] Registration<Limits>);

impl kernel::Module for Module {
    fn init(module: &'static ThisModule) -> Result<Self> {
        Ok(Self(Registration::new(module, &[])?))
    }
}

/// The extension.
struct Limits;

impl Extension for Limits {
    const WORD: &'static CStr = c"limits";
    const SECTION: u16 = cr_format::LIMITS;
    const ORDER: u32 = 50;
    type State = restart::State;

    fn checkpoint(cx: &Checkpoint<'_>) -> Result {
        for (resource, l) in (0u32..).zip(sys::limits(&cx.leader())) {
            let id = resource.saturating_add(1);
            cx.emit(&LimitRecord { id, resource: resource.into(), soft: l.soft, hard: l.hard })?;
        }
        Ok(())
    }
    fn bulk(_cx: &Checkpoint<'_>) -> Result {
        Ok(())
    }
    fn claims(_file: &FileRef) -> bool {
        false
    }
    fn checkpoint_file(_cx: &Checkpoint<'_>, _file: &FileRef, _id: u32) -> Result {
        Err(EINVAL)
    }
    fn prepare(cx: &Restart<'_>) -> Result<KBox<Self::State>> {
        restart::prepare(cx)
    }
    fn step(cx: &Restart<'_>, state: &Self::State, at: At) -> Result<Next> {
        state.step(cx, at)
    }
    fn restart_file(_cx: &Restart<'_>, _state: &Self::State, _id: u32) -> Result<FileRef> {
        Err(EINVAL)
    }
    fn fill(_cx: &Restart<'_>, _state: &Self::State, _owner: u32, _runs: &[Run]) -> Result {
        Err(EINVAL)
    }
    fn commit_outside(_cx: &Restart<'_>, _state: &Self::State, _task: u32, _t: &TaskRef<'_>) -> Result {
        Ok(())
    }
    fn commit_regs(_cx: &Restart<'_>, _state: &Self::State, _task: u32, _regs: &mut b::pt_regs) {}
}
