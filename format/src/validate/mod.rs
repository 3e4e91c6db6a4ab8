// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Rules that need complete sections: values, uniqueness, references between records.
//!
//! Run [`meta`] when the metadata in front of the page data is complete and its container is sound
//! ([`crate::stream::Validator::is_meta_complete`]). Nothing here allocates; what needs a set of ids
//! uses a small window of bits and goes over the records again ([`ids`]).

mod creds;
mod epoll;
mod eventfd;
mod files;
mod handled;
mod ids;
mod image;
mod limits;
mod locks;
mod memory;
mod pages;
mod pipes;
mod signalfd;
mod signals;
mod stats;
mod tasks;
mod timerfd;
mod timers;

pub use pages::{has_contents, page_owner, run_in_file, run_in_vmas};
pub use stats::stats;

use crate::{
    error::{ensure, Error, Result},
    limits as limit,
    record::{records_in, records_of, Record},
    sections::{self, SECTIONS},
};

/// The metadata of an image: per section, all its `META` payloads joined.
pub trait MetaSet {
    /// The section's records; empty if the image has none.
    fn section(&self, id: u16) -> &[u8];

    /// Calls `visit` with the id of every section that has records. A set that knows its ids does better
    /// than to try all.
    fn ids(&self, visit: &mut dyn FnMut(u16) -> Result) -> Result {
        (1..=u16::MAX)
            .filter(|id| !self.section(*id).is_empty())
            .try_for_each(visit)
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
];

/// Checks everything in front of the page data.
///
/// # Errors
/// The first broken rule with its section and the offset of the record in it; `Unsupported` for a
/// record type, field or value of a critical section that this release does not know; `OverLimit`.
pub fn meta(set: &dyn MetaSet) -> Result {
    CHECKS.iter().try_for_each(|(_, check)| check(set))
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
