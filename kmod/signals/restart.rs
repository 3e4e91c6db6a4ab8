// SPDX-License-Identifier: GPL-2.0
//! Restart: the leader sets all actions before there are threads; every thread sets its stack and queues
//! its signals, which stay blocked; the masks come into force at the commit.

use crate::{
    sys::{self, Locked},
    WORD,
};
use cr_format::{ActionRecord, PendingRecord, ProcessRecord, TaskSignalsRecord};
use cr_logic::{
    plan::PlanError,
    signals::{action, check_pending, masks, plan_altstack, plan_pending, Action, Masks, SIGNALS},
};
use crkit::{plan::Plan, sys::task::TaskRef, At, Next, Phase, Restart};
use kernel::prelude::*;

/// Everything a restart needs, prepared.
pub(crate) struct State {
    actions: KVVec<Action>,
    threads: KVVec<Thread>,
    /// Signals for the process, queued by the leader.
    shared: Plan,
}

struct Thread {
    tid: u64,
    masks: Masks,
    plan: Plan,
}

fn plan_error(e: PlanError) -> Error {
    match e {
        PlanError::NoMemory => ENOMEM,
        PlanError::Impossible(_) => EOPNOTSUPP,
    }
}

/// Checks every record and makes every plan.
pub(crate) fn prepare(cx: &Restart<'_>) -> Result<KBox<State>> {
    let damaged = |why: &'static str| cx.fail(EUCLEAN, WORD, "", why.as_bytes(), "list every defect with: crimg verify IMAGE");
    let tgid = cx.records::<ProcessRecord<'_>>().next().ok_or(EUCLEAN)??.tgid;
    let tgid = u32::try_from(tgid).map_err(|_| EUCLEAN)?;

    let mut actions = KVVec::new();
    actions.resize(SIGNALS as usize, Action::default(), GFP_KERNEL)?;
    for r in cx.records::<ActionRecord>() {
        let r = r?;
        let a = action(&r).map_err(damaged)?;
        let place = r.signo.checked_sub(1).and_then(|i| actions.get_mut(i as usize)).ok_or(EUCLEAN)?;
        *place = a;
    }
    let mut threads: KVVec<Thread> = KVVec::new();
    for r in cx.records::<TaskSignalsRecord>() {
        let r = r?;
        let mut plan = Plan::new();
        plan_altstack(&r, threads.is_empty(), &mut plan).map_err(plan_error)?;
        threads.push(Thread { tid: r.tid, masks: masks(&r), plan }, GFP_KERNEL)?;
    }
    let mut shared = Plan::new();
    for r in cx.records::<PendingRecord<'_>>() {
        let r = r?;
        check_pending(&r).map_err(damaged)?;
        let plan = if r.tid == 0 {
            &mut shared
        } else {
            let t = threads.iter_mut().find(|t| t.tid == r.tid);
            &mut t.ok_or_else(|| damaged("a pending signal is for a thread that does not exist"))?.plan
        };
        plan_pending(&r, tgid, plan).map_err(plan_error)?;
    }
    Ok(KBox::new(State { actions, threads, shared }, GFP_KERNEL)?)
}

impl State {
    /// The thread with this number: records stand in the order of the threads, but the id decides.
    fn thread(&self, cx: &Restart<'_>, task: u32) -> Result<&Thread> {
        let tid = u64::from(cx.thread_id(task));
        self.threads.get(task as usize).filter(|t| t.tid == tid).ok_or_else(|| {
            cx.fail(EUCLEAN, WORD, "", b"a thread has no signal record", "list every defect with: crimg verify IMAGE")
        })
    }

    /// One step in the context of a thread.
    pub(crate) fn step(&self, cx: &Restart<'_>, at: At) -> Result<Next> {
        match at.phase {
            Phase::Filled => {
                let me = TaskRef::current();
                let mut locked = Locked::new(&me)?;
                for (signo, a) in (1usize..).zip(self.actions.iter()) {
                    locked.set_action(signo, a);
                }
                Ok(Next::Done)
            }
            Phase::Thread => self.thread(cx, at.task)?.plan.step(cx, WORD, at),
            Phase::Late if at.task == 0 => self.shared.step(cx, WORD, at),
            Phase::Process | Phase::Late => Ok(Next::Done),
        }
    }

    /// The thread itself, last of all: from here on it can receive signals.
    pub(crate) fn commit(&self, task: u32) {
        // The order of the records was checked in the THREAD phase.
        if let Some(t) = self.threads.get(task as usize) {
            sys::set_masks(&t.masks);
        }
    }
}
