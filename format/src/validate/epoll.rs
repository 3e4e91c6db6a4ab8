// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Rules of section `epoll`.

use super::{each, handled::Handled, ids, known_records, MetaSet};
use crate::{
    error::{ensure, Error, Result},
    limits::FDS,
    record::{records_of, Record},
    sections::{DescriptorRecord, EpollRecord, WatchRecord, EPOLL, FILES},
};

/// Most entries of all polls.
const WATCHES: u64 = 1 << 20;

pub(super) fn check(set: &dyn MetaSet) -> Result {
    known_records(set, EPOLL)?;
    let mut files = Handled::new(set, EPOLL, "EPOLL-1");
    let mut total = 0_u64;
    each(set, |e: EpollRecord| {
        files.find(e.id, e.file)?;
        total = total.saturating_add(e.entries);
        if total > WATCHES {
            return Err(Error::over_limit(total, WATCHES));
        }
        Ok(())
    })?;
    if set.processes() == 1 && set.files_before().is_none() {
        whole(set)?;
    }
    watches(set)
}

/// Every poll is with exactly one process: as many records as there are polls, no two the same.
pub(super) fn whole(set: &dyn MetaSet) -> Result {
    let of = |p| ids::record_ids(EPOLL, set.of(p, EPOLL), EpollRecord::TYPE);
    let all = (0..set.processes()).flat_map(of);
    if let Some(at) = ids::duplicate(all.clone()) {
        return Err(Error::rule("EPOLL-1").placed(EPOLL, at));
    }
    let polls = Handled::new(set, EPOLL, "EPOLL-1").count()?;
    ensure(all.count() as u64 == polls, "EPOLL-1").map_err(|e| e.placed(EPOLL, 0))
}

/// The entries stand in the order of their polls, as many as each says, ascending by descriptor.
fn watches(set: &dyn MetaSet) -> Result {
    let mut polls = records_of::<EpollRecord>(set.section(EPOLL));
    let mut descriptors = records_of::<DescriptorRecord>(set.section(FILES));
    let (mut current, mut left) = (0_u64, 0_u64);
    let mut running = 0_u32;
    let mut last = None;
    each(set, |w: WatchRecord| {
        running = running.saturating_add(1);
        ensure(w.id == running, "EPOLL-2")?;
        while left == 0 {
            let poll = polls.next().ok_or(Error::rule("EPOLL-2"))??;
            (current, left, last) = (u64::from(poll.id), poll.entries, None);
            descriptors = records_of(set.section(FILES));
        }
        ensure(w.epoll == current, "EPOLL-2")?;
        left = left.saturating_sub(1);
        ensure(last.is_none_or(|fd| fd < w.fd), "EPOLL-3")?;
        last = Some(w.fd);
        // Descriptors ascend (FILES-7), so one pass per poll is enough.
        let exists = descriptors
            .by_ref()
            .map_while(Result::ok)
            .any(|d| d.fd == w.fd);
        ensure(w.fd < FDS && exists, "EPOLL-3")?;
        ensure(u32::try_from(w.events).is_ok(), "EPOLL-4")
    })?;
    ensure(left == 0, "EPOLL-2").map_err(|e| e.placed(EPOLL, 0))?;
    for poll in polls {
        ensure(poll?.entries == 0, "EPOLL-2").map_err(|e| e.placed(EPOLL, 0))?;
    }
    Ok(())
}
