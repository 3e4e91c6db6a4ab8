// SPDX-License-Identifier: GPL-2.0
//! `cr_limits.ko`, resource word `limits`: resource limits.
//!
//! Preserved: soft and hard limits of all resources. A restart sets those that differ from its caller's,
//! after everything else has been built and before privileges are dropped (module `creds`).
//! Not preserved: what counts against them, for example CPU time used so far.

mod restart;
mod sys;

use cr_format::LimitRecord;
use crkit::{At, Checkpoint, Extension, Next, Restart};
use kernel::{prelude::*, str::CStr};

crkit::extension_module! {
    extension: Limits,
    name: "cr_limits",
    description: "Checkpoint and restart of processes: resource limits",
    alias: ["crext-limits"],
}

/// The resource word, for messages.
const WORD: &str = "limits";

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
    fn prepare(cx: &Restart<'_>) -> Result<KBox<Self::State>> {
        restart::prepare(cx)
    }
    fn step(cx: &Restart<'_>, state: &Self::State, at: At) -> Result<Next> {
        state.step(cx, at)
    }
}
