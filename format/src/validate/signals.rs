// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Rules of section `signals`.

use super::{each, ids, is_bool, known_records, MetaSet};
use crate::{
    error::{ensure, Error, Result},
    limits::TASK_SIZE,
    record::{records_in, Record},
    sections::{
        ActionRecord, PendingRecord, TaskRecord, TaskSignalsRecord, SIGINFO_LEN, SIGNALS,
        SIGNALS_MAX, TASKS,
    },
    wire::Take,
};

const SIGKILL: u64 = 9;
const SIGSTOP: u64 = 19;
/// SIGKILL and SIGSTOP, which cannot be blocked.
const UNBLOCKABLE: u64 = (1 << (SIGKILL - 1)) | (1 << (SIGSTOP - 1));
/// `SS_DISABLE` and `SS_AUTODISARM`.
const ALTSTACK_FLAGS: u64 = (1 << 1) | (1 << 31);

pub(super) fn check(set: &dyn MetaSet) -> Result {
    known_records(set, SIGNALS)?;
    let mut last = 0;
    each(set, |a: ActionRecord| {
        let possible =
            (1..=SIGNALS_MAX).contains(&a.signo) && a.signo != SIGKILL && a.signo != SIGSTOP;
        ensure(
            possible && u64::from(a.id) == a.signo && a.id > last,
            "SIGNALS-1",
        )?;
        last = a.id;
        ensure(a.mask & UNBLOCKABLE == 0, "SIGNALS-2")?;
        ensure(a.handler < TASK_SIZE && a.restorer < TASK_SIZE, "SIGNALS-7")
    })?;
    let mut tasks = ids::record_ids(TASKS, set.section(TASKS), TaskRecord::TYPE);
    each(set, |t: TaskSignalsRecord| {
        ensure(
            u64::from(t.id) == t.tid && tasks.next().map(|(id, _)| id) == Some(t.tid),
            "SIGNALS-3",
        )?;
        ensure(
            (t.blocked | t.saved_blocked) & UNBLOCKABLE == 0,
            "SIGNALS-2",
        )?;
        ensure(
            is_bool(t.has_saved) && t.altstack_flags & !ALTSTACK_FLAGS == 0,
            "SIGNALS-4",
        )
    })?;
    ensure(tasks.next().is_none(), "SIGNALS-3").map_err(|e| e.placed(SIGNALS, 0))?;
    pending(set)
}

fn pending(set: &dyn MetaSet) -> Result {
    let mut running = 0_u32;
    each(set, |p: PendingRecord<'_>| {
        running = running.saturating_add(1);
        ensure(
            p.id == running && (1..=SIGNALS_MAX).contains(&p.signo),
            "SIGNALS-5",
        )?;
        let signo = u64::from(Take(p.info).u32());
        ensure(p.info.len() == SIGINFO_LEN && signo == p.signo, "SIGNALS-6")
    })?;
    let bytes = set.section(SIGNALS);
    let directed = records_in(SIGNALS, bytes)
        .map_while(Result::ok)
        .filter(|r| r.record_type == PendingRecord::TYPE)
        .filter_map(|r| PendingRecord::parse(r).ok().map(|p| (p.tid, r.offset)))
        .filter(|(tid, _)| *tid != 0);
    match ids::dangling(
        directed,
        ids::record_ids(TASKS, set.section(TASKS), TaskRecord::TYPE),
    ) {
        Some(at) => Err(Error::rule("SIGNALS-5").placed(SIGNALS, at)),
        None => Ok(()),
    }
}
