// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Rules of section `proc`.

use super::{each, handled::Handled, ids, is_path, known_records, MetaSet};
use crate::{
    error::{ensure, Error, Result},
    sections::{ProcRecord, ProcessRecord, PROC},
};

pub(super) fn check(set: &dyn MetaSet) -> Result {
    known_records(set, PROC)?;
    let mut files = Handled::new(set, PROC, "PROC-1");
    each(set, |p: ProcRecord<'_>| {
        files.next(p.id, p.file)?;
        ensure(is_path(p.path) && owner(p.path) == Some(p.pid), "PROC-2")
    })?;
    files.end()?;
    let processes = ids::numbers_of_all(set, |p: &ProcessRecord<'_>| Some(p.tgid));
    let named = ids::numbers(set, |p: &ProcRecord<'_>| (p.pid != 0).then_some(p.pid));
    match ids::dangling(named, processes) {
        Some(at) => Err(Error::rule("PROC-2").placed(PROC, at)),
        None => Ok(()),
    }
}

/// The process whose folder a path below `/proc` is in, 0 if it is in none; `None` for other paths.
fn owner(path: &[u8]) -> Option<u64> {
    let below = path.strip_prefix(b"/proc/".as_slice())?;
    let mut names = below.split(|b| *b == b'/');
    let first = names.next().filter(|n| !n.is_empty())?;
    if names.any(|n| matches!(n, b"" | b"." | b"..")) || matches!(first, b"." | b"..") {
        return None;
    }
    if !first.first().is_some_and(u8::is_ascii_digit) {
        return Some(0);
    }
    let number = core::str::from_utf8(first).ok()?;
    number.parse().ok().filter(|n| *n != 0)
}
