// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Rules of section `uring`.

use super::{each, handled::Handled, ids, is_bool, known_records, MetaSet};
use crate::{
    error::{ensure, Error, Result},
    record::{records_in, records_of, Record},
    sections::{
        DescriptorRecord, RegisteredRingRecord, RingEventfdRecord, RingRecord, TaskRecord,
        VmaRecord, RING_DISABLED, RING_FLAGS, RING_OFFSET_CQ, RING_OFFSET_SQ, RING_OFFSET_SQES,
        RING_SINGLE_ISSUER, TASKS, URING, VMA_RING,
    },
};

/// `IORING_MAX_ENTRIES`.
const SQ_ENTRIES: u64 = 32768;
/// `IORING_MAX_CQ_ENTRIES`.
const CQ_ENTRIES: u64 = 65536;
/// Registered rings of one task.
const INDICES: u64 = 16;

pub(super) fn check(set: &dyn MetaSet) -> Result {
    known_records(set, URING)?;
    // All rings are with the first process.
    if set.files_before().is_none() {
        let mut files = Handled::new(set, URING, "URING-1");
        each(set, |r: RingRecord| {
            files.next(r.id, r.file)?;
            ring(&r)
        })?;
        files.end()?;
        if set.processes() == 1 {
            whole(set)?;
        }
    } else {
        each(set, |_: RingRecord| Err(Error::rule("URING-1")))?;
    }
    registered(set)?;
    eventfds(set)?;
    areas(set)
}

fn ring(r: &RingRecord) -> Result {
    if r.flags & !RING_FLAGS != 0 {
        return Err(Error::unsupported("flag of a ring"));
    }
    let fits = r.sq_entries.is_power_of_two()
        && r.cq_entries.is_power_of_two()
        && r.sq_entries <= SQ_ENTRIES
        && (r.sq_entries..=CQ_ENTRIES).contains(&r.cq_entries);
    ensure(fits, "URING-2")?;
    let words = u32::try_from(r.sq_head).is_ok() && u32::try_from(r.cq_tail).is_ok();
    ensure(words, "URING-3")?;
    let single = r.flags & (RING_SINGLE_ISSUER | RING_DISABLED) == RING_SINGLE_ISSUER;
    ensure(single == (r.submitter != 0), "URING-4")
}

/// The submitters of rings are threads of the processes, and no ring tells two event counters.
pub(super) fn whole(set: &dyn MetaSet) -> Result {
    let of = |p| ids::record_ids(TASKS, set.of(p, TASKS), TaskRecord::TYPE);
    let tasks = (0..set.processes()).flat_map(of);
    let used = ids::numbers(set, |r: &RingRecord| {
        (r.submitter != 0).then_some(r.submitter)
    });
    none(ids::dangling(used, tasks), "URING-4")?;
    let told = |p| {
        records_in(URING, set.of(p, URING))
            .map_while(Result::ok)
            .filter(|r| r.record_type == RingEventfdRecord::TYPE)
            .filter_map(|r| Some((RingEventfdRecord::parse(r).ok()?.ring, r.offset)))
    };
    none(
        ids::duplicate((0..set.processes()).flat_map(told)),
        "URING-8",
    )
}

fn registered(set: &dyn MetaSet) -> Result {
    let mut running = 0_u32;
    each(set, |r: RegisteredRingRecord| {
        running = running.saturating_add(1);
        ensure(r.id == running && r.index < INDICES, "URING-5")
    })?;
    let threads = ids::record_ids(TASKS, set.section(TASKS), TaskRecord::TYPE);
    let used = ids::numbers(set, |r: &RegisteredRingRecord| Some(r.tid));
    none(ids::dangling(used, threads), "URING-5")?;
    let indices = ids::numbers(set, |r: &RegisteredRingRecord| {
        r.tid.checked_mul(INDICES)?.checked_add(r.index)
    });
    none(ids::duplicate(indices), "URING-5")?;
    let files = || ids::numbers(set, |r: &RegisteredRingRecord| Some(r.file));
    let rings = ids::record_ids(URING, set.shared(URING), RingRecord::TYPE);
    none(ids::dangling(files(), rings), "URING-6")?;
    let open = ids::numbers(set, |d: &DescriptorRecord| Some(d.file));
    none(ids::dangling(files(), open), "URING-6")
}

fn eventfds(set: &dyn MetaSet) -> Result {
    let mut running = 0_u32;
    each(set, |r: RingEventfdRecord| {
        running = running.saturating_add(1);
        ensure(r.id == running && is_bool(r.asynchronous), "URING-8")
    })?;
    let threads = ids::record_ids(TASKS, set.section(TASKS), TaskRecord::TYPE);
    let used = ids::numbers(set, |r: &RingEventfdRecord| Some(r.tid));
    none(ids::dangling(used, threads), "URING-8")?;
    let files = || ids::numbers(set, |r: &RingEventfdRecord| Some(r.ring));
    let rings = ids::record_ids(URING, set.shared(URING), RingRecord::TYPE);
    none(ids::dangling(files(), rings), "URING-8")?;
    let open = ids::numbers(set, |d: &DescriptorRecord| Some(d.file));
    none(ids::dangling(files(), open), "URING-8")?;
    let fds = ids::numbers(set, |d: &DescriptorRecord| Some(d.fd));
    let used = ids::numbers(set, |r: &RingEventfdRecord| Some(r.fd));
    none(ids::dangling(used, fds), "URING-8")
}

fn none(defect: Option<u64>, rule: &'static str) -> Result {
    match defect {
        Some(at) => Err(Error::rule(rule).placed(URING, at)),
        None => Ok(()),
    }
}

fn areas(set: &dyn MetaSet) -> Result {
    let rings = records_of::<RingRecord>(set.shared(URING)).count() as u64;
    each(set, |v: VmaRecord<'_>| {
        let offsets = [RING_OFFSET_SQ, RING_OFFSET_CQ, RING_OFFSET_SQES];
        let fits = (1..=rings).contains(&v.object) && offsets.contains(&v.offset);
        ensure(v.kind != VMA_RING || fits, "URING-7")
    })
}
