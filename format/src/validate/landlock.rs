// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Rules of section `landlock`.

use super::{each, ids, is_bool, known_records, MetaSet};
use crate::{
    error::{ensure, Error, Result},
    record::Record,
    sections::{LayerRecord, SubjectRecord, TaskRecord, LANDLOCK, LANDLOCK_LOG, TASKS},
};

/// Most layers of a domain: `LANDLOCK_MAX_NUM_LAYERS`.
const LAYERS: u64 = 16;

pub(super) fn check(set: &dyn MetaSet) -> Result {
    known_records(set, LANDLOCK)?;
    let (mut running, mut domain, mut level) = (0_u32, 0_u64, 0_u64);
    each(set, |l: LayerRecord| {
        running = running.saturating_add(1);
        let is_next = l.domain == domain && l.level == level.saturating_add(1);
        let is_first = l.domain == domain.saturating_add(1) && l.level == 1;
        let counts = l.id == running && (is_first || (domain > 0 && is_next));
        ensure(counts && l.level <= LAYERS, "LANDLOCK-1")?;
        (domain, level) = (l.domain, l.level);
        let rights = [l.fs, l.net, l.scope];
        let quiet = [l.quiet_fs, l.quiet_net, l.quiet_scope];
        // The kernel has 32 bits for each, and takes no layer that handles nothing.
        let some = rights.iter().any(|r| *r != 0);
        let small = rights.iter().all(|r| *r <= u64::from(u32::MAX));
        let within = rights.iter().zip(quiet).all(|(r, q)| q & !r == 0);
        ensure(some && small && within, "LANDLOCK-2")?;
        ensure(l.log & !LANDLOCK_LOG == 0, "LANDLOCK-2")
    })?;
    each(set, |s: SubjectRecord| {
        let exists = (1..=domain).contains(&s.domain);
        ensure(exists && is_bool(s.log_off), "LANDLOCK-3")
    })?;
    let subjects = ids::record_ids(LANDLOCK, set.section(LANDLOCK), SubjectRecord::TYPE);
    let threads = ids::record_ids(TASKS, set.section(TASKS), TaskRecord::TYPE);
    let twice = ids::duplicate(subjects.clone());
    match twice.or_else(|| ids::dangling(subjects, threads)) {
        Some(at) => Err(Error::rule("LANDLOCK-3").placed(LANDLOCK, at)),
        None => Ok(()),
    }
}
