// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Rules of section `owners`.

use super::{each, ids, is_bool, known_records, MetaSet};
use crate::{
    error::{ensure, Error, Result},
    limits::FDS,
    sections::{
        DescriptorRecord, OwnerRecord, ProcessRecord, TaskRecord, OWNERS, OWNER_GROUP,
        OWNER_PROCESS, OWNER_THREAD,
    },
};

pub(super) fn check(set: &dyn MetaSet) -> Result {
    known_records(set, OWNERS)?;
    let (mut running, mut last) = (0_u32, 0_u64);
    each(set, |o: OwnerRecord| {
        running = running.saturating_add(1);
        if u64::from(running) > FDS {
            return Err(Error::over_limit(running.into(), FDS));
        }
        ensure(o.id == running && o.file > last, "OWNERS-1")?;
        last = o.file;
        if o.kind > OWNER_GROUP {
            return Err(Error::unsupported("kind of an owner"));
        }
        let ids = [o.uid, o.euid].iter().all(|id| *id < u64::from(u32::MAX));
        ensure(o.signo <= 64 && is_bool(o.enabled) && ids, "OWNERS-3")
    })?;
    let files = ids::numbers(set, |d: &DescriptorRecord| Some(d.file));
    let used = ids::numbers(set, |o: &OwnerRecord| Some(o.file));
    none(ids::dangling(used, files), "OWNERS-1")?;
    let threads = ids::numbers(set, |t: &TaskRecord<'_>| Some(t.tid));
    let processes = ids::numbers(set, |p: &ProcessRecord<'_>| Some(p.tgid));
    let groups = ids::numbers(set, |p: &ProcessRecord<'_>| Some(p.pgid));
    none(
        ids::dangling(owners::<OWNER_THREAD>(set), threads),
        "OWNERS-2",
    )?;
    none(
        ids::dangling(owners::<OWNER_PROCESS>(set), processes),
        "OWNERS-2",
    )?;
    none(
        ids::dangling(owners::<OWNER_GROUP>(set), groups),
        "OWNERS-2",
    )
}

/// Ids of the owners of one kind, but for nobody.
fn owners<const KIND: u64>(set: &dyn MetaSet) -> impl Iterator<Item = (u64, u64)> + Clone + '_ {
    ids::numbers(set, |o: &OwnerRecord| {
        (o.kind == KIND && o.pid != 0).then_some(o.pid)
    })
}

fn none(defect: Option<u64>, rule: &'static str) -> Result {
    match defect {
        Some(at) => Err(Error::rule(rule).placed(OWNERS, at)),
        None => Ok(()),
    }
}
