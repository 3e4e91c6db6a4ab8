// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Rules of section `locks`.

use super::{each, is_bool, is_offset, known_records, MetaSet};
use crate::{
    error::{ensure, Error, Result},
    record::records_of,
    sections::{DescriptorRecord, LockRecord, FILES, LOCKS, LOCK_FLOCK, LOCK_OFD, LOCK_POSIX},
};

/// Most locks.
const MOST: u32 = 1 << 20;

pub(super) fn check(set: &dyn MetaSet) -> Result {
    known_records(set, LOCKS)?;
    let mut running = 0_u32;
    // The file of the last record, which has been found: many locks are on one file.
    let mut found = 0;
    each(set, |l: LockRecord| {
        running = running.saturating_add(1);
        if running > MOST {
            return Err(Error::over_limit(running.into(), MOST.into()));
        }
        ensure(l.id == running && l.file >= found, "LOCKS-1")?;
        if l.file != found {
            let mut all = records_of::<DescriptorRecord>(set.section(FILES)).map_while(Result::ok);
            ensure(all.any(|d| d.file == l.file), "LOCKS-2")?;
            found = l.file;
        }
        let end = l.start.checked_add(l.len).is_some_and(is_offset);
        match l.kind {
            LOCK_POSIX | LOCK_OFD => ensure(end && is_bool(l.exclusive), "LOCKS-3"),
            LOCK_FLOCK => {
                let whole = l.start == 0 && l.len == 0 && is_bool(l.exclusive);
                ensure(whole, "LOCKS-3")
            }
            _ => Err(Error::unsupported("kind of a lock")),
        }
    })
}
