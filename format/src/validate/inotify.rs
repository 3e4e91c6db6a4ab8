// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Rules of section `inotify`.

use super::{each, handled::Handled, ids, is_path, known_records, MetaSet};
use crate::{
    error::{ensure, Error, Result},
    record::{records_of, Record},
    sections::{
        DescriptorRecord, InotifyRecord, NotifyRecord, PlaceRecord, INOTIFY, IN_Q_OVERFLOW,
    },
};

/// Most watches of all instances, and most unread events.
const MOST: u64 = 1 << 20;
/// Watch descriptors are signed and positive.
const WD_MAX: u64 = i32::MAX as u64;
/// `IN_ALL_EVENTS`, `IN_EXCL_UNLINK`, `IN_ONESHOT`.
const WATCHED: u64 = 0xfff | 0x0400_0000 | 0x8000_0000;
/// What only the kernel sees: opened to be executed, event of a child.
const UNTOLD: u64 = 0x1000 | 0x0800_0000;
/// `IN_ALL_EVENTS`, `IN_UNMOUNT`, `IN_IGNORED`, `IN_ISDIR`.
const TOLD: u64 = 0xfff | 0x2000 | 0x8000 | 0x4000_0000;
/// `NAME_MAX`.
const NAME_MAX: usize = 255;

pub(super) fn check(set: &dyn MetaSet) -> Result {
    known_records(set, INOTIFY)?;
    let mut files = Handled::new(set, INOTIFY, "INOTIFY-1");
    let (mut places, mut events) = (0_u64, 0_u64);
    each(set, |i: InotifyRecord| {
        files.next(i.id, i.file)?;
        places = places.saturating_add(i.watches);
        events = events.saturating_add(i.events);
        let most = places.max(events);
        if most > MOST {
            return Err(Error::over_limit(most, MOST));
        }
        ensure((1..=WD_MAX).contains(&i.next_wd), "INOTIFY-3")
    })?;
    files.end()?;
    let mut last = (0, 0);
    in_order(
        set,
        |p: &PlaceRecord<'_>| p.inotify,
        |i| i.watches,
        |p| {
            let next = (p.inotify, p.wd);
            let ascends = last < next && (1..=WD_MAX).contains(&p.wd);
            last = next;
            ensure(ascends, "INOTIFY-3")?;
            if p.mask & !WATCHED != 0 {
                return Err(Error::unsupported("mask of a watch"));
            }
            let by_path = p.target == 0 && is_path(p.path);
            ensure(by_path || (p.target != 0 && p.path.is_empty()), "INOTIFY-4")
        },
    )?;
    let targets = ids::numbers(set, |p: &PlaceRecord<'_>| {
        (p.target != 0).then_some(p.target)
    });
    let opened = ids::numbers_of_all(set, |d: &DescriptorRecord| Some(d.file));
    if let Some(at) = ids::dangling(targets, opened) {
        return Err(Error::rule("INOTIFY-4").placed(INOTIFY, at));
    }
    in_order(
        set,
        |e: &NotifyRecord<'_>| e.inotify,
        |i| i.events,
        |e| event(&e),
    )
}

fn event(e: &NotifyRecord<'_>) -> Result {
    if e.mask & !(TOLD | UNTOLD | IN_Q_OVERFLOW) != 0 {
        return Err(Error::unsupported("mask of an event"));
    }
    let overflow = e.mask & IN_Q_OVERFLOW != 0;
    let wd = match u64::try_from(e.wd) {
        Ok(wd) => !overflow && (1..=WD_MAX).contains(&wd) && e.mask & TOLD != 0,
        Err(_) => e.wd == -1 && e.mask == IN_Q_OVERFLOW && e.name.is_empty() && e.cookie == 0,
    };
    let name = e.name.len() <= NAME_MAX && !e.name.contains(&b'/');
    let cookie = u32::try_from(e.cookie).is_ok();
    ensure(wd && name && cookie, "INOTIFY-5")
}

/// The records of type `R` are numbered from 1 and stand in the order of the instances, as many as each says.
fn in_order<'a, R: Record<'a>>(
    set: &'a dyn MetaSet,
    of: impl Fn(&R) -> u64,
    count: impl Fn(&InotifyRecord) -> u64,
    mut f: impl FnMut(R) -> Result,
) -> Result {
    let rule = "INOTIFY-2";
    let mut instances = records_of::<InotifyRecord>(set.section(INOTIFY));
    let (mut current, mut left) = (0_u64, 0_u64);
    let mut running = 0_u32;
    each(set, |r: R| {
        running = running.saturating_add(1);
        ensure(r.id() == running, rule)?;
        while left == 0 {
            let i = instances.next().ok_or(Error::rule(rule))??;
            (current, left) = (i.id.into(), count(&i));
        }
        ensure(of(&r) == current, rule)?;
        left = left.saturating_sub(1);
        f(r)
    })?;
    ensure(left == 0, rule).map_err(|e| e.placed(INOTIFY, 0))?;
    for i in instances {
        ensure(count(&i?) == 0, rule).map_err(|e| e.placed(INOTIFY, 0))?;
    }
    Ok(())
}
