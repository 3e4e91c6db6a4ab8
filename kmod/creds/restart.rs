// SPDX-License-Identifier: GPL-2.0
//! Restart: every thread goes the same way from the caller's credentials to the recorded ones, last of all,
//! and the result is compared.

use crate::{sys::CredRef, WORD};
use cr_format::CredRecord;
use cr_logic::{
    creds::{plan, Cred},
    plan::PlanError,
};
use crkit::{
    plan::Plan,
    sys::{once::Once, task::TaskRef},
    At, Next, Phase, Restart,
};
use kernel::prelude::*;

/// The plan, made by the leader while it is the only thread: later ones inherit its credentials.
pub(crate) struct State {
    plan: Once<Plan>,
}

/// Checks the record.
pub(crate) fn prepare(cx: &Restart<'_>) -> Result<KBox<State>> {
    wanted(cx)?;
    Ok(KBox::new(State { plan: Once::new() }, GFP_KERNEL)?)
}

/// The recorded credentials.
fn wanted<'a>(cx: &Restart<'a>) -> Result<Cred<'a>> {
    let r = cx.records::<CredRecord<'a>>().next().ok_or(EUCLEAN)??;
    Cred::from_record(&r).map_err(|why| cx.fail(EUCLEAN, WORD, "", why.as_bytes(), "list every defect with: crimg verify IMAGE"))
}

impl State {
    /// One step in the context of a thread.
    pub(crate) fn step(&self, cx: &Restart<'_>, at: At) -> Result<Next> {
        match at.phase {
            Phase::Process => {
                self.make_plan(cx)?;
                Ok(Next::Done)
            }
            Phase::Filled | Phase::Thread => Ok(Next::Done),
            Phase::Late => match self.plan.get().ok_or(EINVAL)?.step(cx, WORD, at)? {
                Next::Done => {
                    verify(cx)?;
                    Ok(Next::Done)
                }
                call => Ok(call),
            },
        }
    }

    fn make_plan(&self, cx: &Restart<'_>) -> Result {
        let wanted = wanted(cx)?;
        let now = CredRef::of(&TaskRef::current())?;
        let groups = now.groups()?;
        let mut list: KVec<u8> = KVec::new();
        for g in wanted.groups.iter() {
            // CAST: checked to be below 2^32.
            list.extend_from_slice(&(g as u32).to_le_bytes(), GFP_KERNEL)?;
        }
        let mut p = Plan::new();
        plan(&now.read(&groups), &wanted, &list, &mut p).map_err(|e| match e {
            PlanError::NoMemory => ENOMEM,
            PlanError::Impossible(why) => cx.fail(EPERM, WORD, "", why.as_bytes(), "restart as root, or as a user who may do what the process may"),
        })?;
        self.plan.set(p).map_err(|_| EBUSY)
    }
}

/// Compares the current thread's credentials with the recorded ones.
fn verify(cx: &Restart<'_>) -> Result {
    let wanted = wanted(cx)?;
    let now = CredRef::of(&TaskRef::current())?;
    let groups = now.groups()?;
    let Some(what) = now.read(&groups).differs_in(&wanted) else { return Ok(()) };
    let mut text: KVec<u8> = KVec::new();
    text.extend_from_slice(b"the credentials of the process were not reached: other ", GFP_KERNEL)?;
    text.extend_from_slice(what.as_bytes(), GFP_KERNEL)?;
    Err(cx.fail(EPERM, WORD, "", &text, "restart as root, or as a user who may do what the process may"))
}
