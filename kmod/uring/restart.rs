// SPDX-License-Identifier: GPL-2.0
//! Makes the rings anew.
//!
//! The first process makes them before `files` asks for them; `memory` maps them and puts their contents into the areas. Then
//! the kernel's positions are set, and each thread registers its indices and enables the rings that are its own.

use crate::WORD;
use cr_format::{RegisteredRingRecord, RingEventfdRecord, RingRecord, TaskRecord};
use cr_logic::{plan::PlanError, uring as logic};
use crkit::{
    bindings as b,
    objects::{self, Maker, Objects},
    plan::Plan,
    sys::{file::FileRef, uring::Ring},
    At, Next, Phase, Restart, Syscall,
};
use kernel::{new_mutex, prelude::*, sync::Mutex};

/// The rings.
pub(crate) struct State {
    objects: Objects,
    rings: Rings,
    /// Those that have been made: the place of their record, and their open file.
    made: Pin<KBox<Mutex<KVVec<(usize, FileRef)>>>>,
    /// What threads do, by thread id.
    plans: KVVec<(u32, Plan)>,
    /// What they do behind that, when all rings stand where they did.
    last: KVVec<(u32, Plan)>,
}

struct Rings(KVVec<RingRecord>);

impl Maker for Rings {
    fn word(&self) -> &'static str {
        WORD
    }
    fn make(&self, cx: &Restart<'_>, n: usize) -> Result<Syscall> {
        let r = self.0.get(n).ok_or(EINVAL)?;
        let address = cx.to_scratch(0, 0, &logic::params(r))?;
        Ok(Syscall::new(b::__NR_io_uring_setup, &[r.sq_entries, address]))
    }
}

/// Checks the records.
pub(crate) fn prepare(cx: &Restart<'_>) -> Result<KBox<State>> {
    let files = objects::files(cx, WORD, cx.records::<RingRecord>().map(|r| r.map(|r| r.id)))?;
    let mut rings = KVVec::with_capacity(files.len(), GFP_KERNEL)?;
    let mut plans = KVVec::new();
    for r in cx.records::<RegisteredRingRecord>() {
        let r = r?;
        planned(logic::register(&r, cx.descriptor_of(WORD, r.file)?, plan_of(&mut plans, r.tid)?))?;
    }
    for r in cx.shared_records::<RingRecord>().filter(|r| r.as_ref().map_or(true, |r| r.submitter != 0)) {
        let r = r?;
        if cx.records::<TaskRecord<'_>>().map_while(Result::ok).any(|t| t.tid == r.submitter) {
            // Behind the indices: until then everybody may register the ring.
            planned(logic::enable(cx.descriptor_of(WORD, r.file)?, plan_of(&mut plans, r.submitter)?))?;
        }
    }
    let mut last = KVVec::new();
    for r in cx.records::<RingEventfdRecord>() {
        let r = r?;
        planned(logic::tell(&r, cx.descriptor_of(WORD, r.ring)?, plan_of(&mut last, r.tid)?))?;
    }
    // The first process makes all rings.
    for r in cx.records::<RingRecord>() {
        rings.push(r?, GFP_KERNEL)?;
    }
    let made = KVVec::with_capacity(rings.len(), GFP_KERNEL)?;
    let made = KBox::pin_init(new_mutex!(made), GFP_KERNEL)?;
    Ok(KBox::new(State { objects: Objects::new(files)?, rings: Rings(rings), made, plans, last }, GFP_KERNEL)?)
}

fn planned(r: core::result::Result<(), PlanError>) -> Result {
    r.map_err(|_| ENOMEM)
}

/// The plan of a thread.
fn plan_of(plans: &mut KVVec<(u32, Plan)>, tid: u64) -> Result<&mut Plan> {
    let tid = u32::try_from(tid).map_err(|_| EUCLEAN)?;
    let at = match plans.iter().position(|p| p.0 == tid) {
        Some(at) => at,
        None => {
            plans.push((tid, Plan::new()), GFP_KERNEL)?;
            plans.len().saturating_sub(1)
        }
    };
    plans.get_mut(at).map(|p| &mut p.1).ok_or(EINVAL)
}

impl State {
    /// Leader, before `files`: the rings themselves.
    pub(crate) fn make(&self, cx: &Restart<'_>, at: At) -> Result<Next> {
        self.objects.step(&self.rings, cx, at)
    }

    /// Hands out a ring.
    pub(crate) fn take(&self, id: u32) -> Result<FileRef> {
        let file = self.objects.take(id)?;
        let at = self.rings.0.iter().position(|r| r.id == id).ok_or(EUCLEAN)?;
        self.made.lock().push((at, file.clone()), GFP_KERNEL)?;
        Ok(file)
    }

    /// Leader, when the contents are there.
    pub(crate) fn position(&self) -> Result<Next> {
        self.objects.forget();
        let made = core::mem::take(&mut *self.made.lock());
        for (at, file) in made.iter() {
            let r = self.rings.0.get(*at).ok_or(EINVAL)?;
            let word = |n: u64| u32::try_from(n).map_err(|_| EUCLEAN);
            Ring::of(file).ok_or(EINVAL)?.set_positions(word(r.sq_head)?, word(r.cq_tail)?);
        }
        // Dropped outside of the lock.
        Ok(Next::Done)
    }

    /// Each thread: what is its own.
    pub(crate) fn thread(&self, cx: &Restart<'_>, at: At) -> Result<Next> {
        let tid = cx.thread_id(at.task);
        let plans = if at.phase == Phase::Late { &self.last } else { &self.plans };
        match plans.iter().find(|p| p.0 == tid) {
            Some((_, plan)) => plan.step(cx, WORD, at),
            None => Ok(Next::Done),
        }
    }
}
