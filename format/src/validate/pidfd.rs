// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Rules of section `pidfd`.

use super::{each, handled::Handled, ids, is_bool, known_records, MetaSet};
use crate::{
    error::{ensure, Error, Result},
    sections::{PidfdRecord, ProcessRecord, PIDFD},
};

pub(super) fn check(set: &dyn MetaSet) -> Result {
    known_records(set, PIDFD)?;
    let mut files = Handled::new(set, PIDFD, "PIDFD-1");
    each(set, |p: PidfdRecord| {
        files.next(p.id, p.file)?;
        ensure(is_bool(p.thread), "PIDFD-2")
    })?;
    files.end()?;
    let processes = ids::numbers_of_all(set, |p: &ProcessRecord<'_>| Some(p.tgid));
    let named = ids::numbers(set, |p: &PidfdRecord| Some(p.pid));
    match ids::dangling(named, processes) {
        Some(at) => Err(Error::rule("PIDFD-2").placed(PIDFD, at)),
        None => Ok(()),
    }
}
