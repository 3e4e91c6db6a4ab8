// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Rules of section `eventfd`.

use super::{each, handled::Handled, is_bool, known_records, MetaSet};
use crate::{
    error::{ensure, Result},
    sections::{EventfdRecord, EVENTFD},
};

pub(super) fn check(set: &dyn MetaSet) -> Result {
    known_records(set, EVENTFD)?;
    let mut files = Handled::new(set, EVENTFD, "EVENTFD-1");
    each(set, |e: EventfdRecord| {
        files.next(e.id, e.file)?;
        ensure(is_bool(e.semaphore) && e.count != u64::MAX, "EVENTFD-2")
    })?;
    files.end()
}
