// SPDX-License-Identifier: GPL-2.0
//! Restart: the leader makes and sets all timers, when all threads exist.

use cr_format::{ItimerRecord, TimerRecord};
use crkit::{plan::Plan, Restart};
use kernel::prelude::*;

/// The calls.
pub(crate) struct State {
    pub(crate) plan: Plan,
}

/// Makes the plan.
pub(crate) fn prepare(cx: &Restart<'_>) -> Result<KBox<State>> {
    let (mut first, mut second) = (Ok(()), Ok(()));
    let itimers = cx.records::<ItimerRecord>().map_while(|r| r.map_err(|e| first = Err(e)).ok());
    let timers = cx.records::<TimerRecord>().map_while(|r| r.map_err(|e| second = Err(e)).ok());
    let mut plan = Plan::new();
    cr_logic::timers::plan(itimers, timers, &mut plan).map_err(|_| ENOMEM)?;
    first?;
    second?;
    Ok(KBox::new(State { plan }, GFP_KERNEL)?)
}
