// SPDX-License-Identifier: GPL-2.0
//! Restart: the leader compares and sets, late.

use crate::{sys, WORD};
use cr_format::LimitRecord;
use cr_logic::limits::{plan, wanted, Limit, RESOURCES};
use crkit::{
    plan::Plan,
    sys::{once::Once, task::TaskRef},
    At, Next, Phase, Restart,
};
use kernel::prelude::*;

/// The wanted limits, and the plan once the present ones are known.
pub(crate) struct State {
    wanted: [Limit; RESOURCES],
    plan: Once<Plan>,
}

/// Checks every record.
pub(crate) fn prepare(cx: &Restart<'_>) -> Result<KBox<State>> {
    let mut failed = Ok(());
    let records = cx.records::<LimitRecord>().map_while(|r| r.map_err(|e| failed = Err(e)).ok());
    let wanted = wanted(records);
    failed?;
    let wanted = wanted.map_err(|why| cx.fail(EUCLEAN, WORD, "", why.as_bytes(), "list every defect with: crimg verify IMAGE"))?;
    Ok(KBox::new(State { wanted, plan: Once::new() }, GFP_KERNEL)?)
}

impl State {
    /// One step in the context of a thread.
    pub(crate) fn step(&self, cx: &Restart<'_>, at: At) -> Result<Next> {
        if at.phase != Phase::Late || at.task != 0 {
            return Ok(Next::Done);
        }
        if at.step == 0 {
            let mut p = Plan::new();
            plan(&sys::limits(&TaskRef::current()), &self.wanted, &mut p).map_err(|_| ENOMEM)?;
            self.plan.set(p).map_err(|_| EBUSY)?;
        }
        self.plan.get().ok_or(EINVAL)?.step(cx, WORD, at)
    }
}
