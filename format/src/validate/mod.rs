// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Rules that need complete sections: values, uniqueness, references between records.
//!
//! Run [`meta`] when the metadata in front of the page data is complete and its container is sound
//! ([`crate::stream::Validator::is_meta_complete`]). Nothing here allocates; what needs a set of ids
//! uses a small window of bits and goes over the records again ([`ids`]).

mod cgroups;
mod creds;
mod epoll;
mod eventfd;
mod files;
mod handled;
mod ids;
mod image;
mod inotify;
mod landlock;
mod limits;
mod locks;
mod memory;
mod owners;
mod pages;
mod pidfd;
mod pipes;
mod proc;
mod seccomp;
mod signalfd;
mod signals;
mod stats;
mod tasks;
mod timerfd;
mod timers;
mod tree;
mod uring;

pub use pages::{has_contents, page_owner, run_in_file, run_in_vmas};
pub use stats::stats;
pub use tree::{born_before, kin_of, leaders_of, maker_of, tree, Ended, Kin, OUTSIDE};

use crate::{
    error::{ensure, Error, Result},
    limits as limit,
    record::{records_in, records_of, Record},
    sections::{self, SECTIONS},
};

/// The metadata of an image: per process and section, all its `META` payloads joined.
pub trait MetaSet {
    /// The section's records of the first process, and what processes share; empty if the image has none.
    fn section(&self, id: u16) -> &[u8];

    /// Number of processes: one more than the largest number of a process in a `META` chunk.
    fn processes(&self) -> u32 {
        1
    }

    /// The section's records of process number `process`.
    fn of(&self, process: u32, id: u16) -> &[u8] {
        if process == 0 {
            self.section(id)
        } else {
            &[]
        }
    }

    /// [`MetaSet::section`] of the image, for a set that is about one of its processes ([`Process`]).
    fn shared(&self, id: u16) -> &[u8] {
        self.section(id)
    }

    /// Number of open files of the image, for a set that is about another process than the first.
    fn files_before(&self) -> Option<u64> {
        None
    }

    /// Calls `visit` with the id of every section that has records, whatever the process. A set that knows its ids
    /// does better than to try all.
    fn ids(&self, visit: &mut dyn FnMut(u16) -> Result) -> Result {
        (1..=u16::MAX)
            .filter(|id| !self.section(*id).is_empty())
            .try_for_each(visit)
    }
}

/// One process of an image, as a set of its own.
pub struct Process<'s> {
    set: &'s dyn MetaSet,
    number: u32,
    files: u64,
}

impl<'s> Process<'s> {
    /// Process `number` of `set`.
    pub fn new(set: &'s dyn MetaSet, number: u32) -> Self {
        Self {
            set,
            number,
            files: files::count(set),
        }
    }
}

impl MetaSet for Process<'_> {
    fn section(&self, id: u16) -> &[u8] {
        self.set.of(self.number, id)
    }
    fn shared(&self, id: u16) -> &[u8] {
        self.set.section(id)
    }
    fn files_before(&self) -> Option<u64> {
        (self.number > 0).then_some(self.files)
    }
}

/// The check of one section.
pub type Check = fn(&dyn MetaSet) -> Result;

/// The checks of [`meta`], one per section, for a tool that wants every section's first defect.
pub const CHECKS: &[(u16, Check)] = &[
    (sections::IMAGE, image::check),
    (sections::TASKS, tasks::check),
    (sections::MEMORY, memory::check),
    (sections::FILES, files::check),
    (sections::PIPES, pipes::check),
    (sections::SIGNALS, signals::check),
    (sections::CREDS, creds::check),
    (sections::LIMITS, limits::check),
    (sections::EVENTFD, eventfd::check),
    (sections::TIMERFD, timerfd::check),
    (sections::SIGNALFD, signalfd::check),
    (sections::EPOLL, epoll::check),
    (sections::TIMERS, timers::check),
    (sections::LOCKS, locks::check),
    (sections::INOTIFY, inotify::check),
    (sections::PIDFD, pidfd::check),
    (sections::OWNERS, owners::check),
    (sections::SECCOMP, seccomp::check),
    (sections::LANDLOCK, landlock::check),
    (sections::URING, uring::check),
    (sections::PROC, proc::check),
    (sections::CGROUPS, cgroups::check),
];

/// Those of them that each process must pass by itself.
const OF_PROCESS: &[Check] = &[
    tasks::check,
    memory::check,
    files::check,
    signals::check,
    creds::check,
    limits::check,
    epoll::check,
    timers::check,
    locks::check,
    owners::check,
    seccomp::check,
    landlock::check,
    uring::check,
    cgroups::check,
];

/// Checks the other processes of an image: every one by itself, and that each has what it needs. What there is between
/// them is left to [`tree`].
///
/// # Errors
/// As [`meta`].
pub fn processes(set: &dyn MetaSet) -> Result {
    let count = set.processes();
    if count <= 1 {
        return tree::ids(set);
    }
    let files = files::count(set);
    for number in 1..count {
        let process = Process { set, number, files };
        if tree::lives(&process)? {
            OF_PROCESS.iter().try_for_each(|check| check(&process))?;
        } else {
            tasks::check(&process)?;
        }
    }
    epoll::whole(set)?;
    uring::whole(set)?;
    tree::ids(set)
}

/// Checks everything in front of the page data.
///
/// # Errors
/// The first broken rule with its section and the offset of the record in it; `Unsupported` for a
/// record type, field or value of a critical section that this release does not know; `OverLimit`.
pub fn meta(set: &dyn MetaSet) -> Result {
    CHECKS.iter().try_for_each(|(_, check)| check(set))?;
    processes(set)
}

/// Every record of section `id` is of a known type.
fn known_records(set: &dyn MetaSet, id: u16) -> Result {
    let Some(section) = SECTIONS.iter().find(|s| s.id == id) else {
        return Ok(());
    };
    for raw in records_in(id, set.section(id)) {
        let raw = raw?;
        if !section.records.iter().any(|r| r.number == raw.record_type) {
            return Err(Error::unsupported("record type").placed(id, raw.offset));
        }
    }
    Ok(())
}

/// Calls `f` for every record of type `R`; errors get the place of the record.
fn each<'a, R: Record<'a>>(set: &'a dyn MetaSet, mut f: impl FnMut(R) -> Result) -> Result {
    let mut records = records_of::<R>(set.section(R::SECTION));
    while let Some(item) = records.next_placed() {
        let (record, at) = item?;
        f(record).map_err(|e| {
            if e.section == 0 {
                e.placed(R::SECTION, at)
            } else {
                e
            }
        })?;
    }
    Ok(())
}

/// The one record of type `R`.
fn only<'a, R: Record<'a>>(set: &'a dyn MetaSet, rule: &'static str) -> Result<R> {
    let mut found = None;
    for raw in records_in(R::SECTION, set.section(R::SECTION)) {
        let raw = raw?;
        if raw.record_type == R::TYPE {
            ensure(found.is_none(), rule).map_err(|e| e.placed(R::SECTION, raw.offset))?;
            found = Some(raw);
        }
    }
    R::parse(found.ok_or(Error::rule(rule).placed(R::SECTION, 0))?)
}

/// `value` is 0 or 1.
fn is_bool(value: u64) -> bool {
    value <= 1
}

/// An absolute path of a length that the kernel takes. Texts have no NUL by their encoding.
fn is_path(path: &[u8]) -> bool {
    path.first() == Some(&b'/') && crate::wire::len64(path) < limit::PATH
}

/// Nanoseconds of a second.
fn is_nanosecond(ns: u64) -> bool {
    ns < 1_000_000_000
}

/// A length or offset that the kernel's signed type can hold.
fn is_offset(n: u64) -> bool {
    n <= i64::MAX as u64
}
