// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Rules of section `limits`.

use super::{each, known_records, MetaSet};
use crate::{
    error::{ensure, Result},
    sections::{LimitRecord, LIMITS, RESOURCES},
};

pub(super) fn check(set: &dyn MetaSet) -> Result {
    known_records(set, LIMITS)?;
    let mut last = 0;
    each(set, |l: LimitRecord| {
        let named = l.resource < RESOURCES && u64::from(l.id) == l.resource.saturating_add(1);
        ensure(named && l.id > last, "LIMITS-1")?;
        last = l.id;
        ensure(l.soft <= l.hard, "LIMITS-2")
    })
}
