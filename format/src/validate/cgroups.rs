// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Rules of section `cgroups`.

use super::{each, is_path, known_records, MetaSet};
use crate::{
    error::{ensure, Result},
    sections::{CgroupRecord, CGROUPS},
};

pub(super) fn check(set: &dyn MetaSet) -> Result {
    known_records(set, CGROUPS)?;
    let mut count = 0_u32;
    each(set, |c: CgroupRecord<'_>| {
        count = count.saturating_add(1);
        ensure(count == 1 && c.id == 1, "CGROUPS-1")?;
        // No name of a part leads back up.
        let parts = c.path.get(1..).unwrap_or(&[]).split(|b| *b == b'/');
        let named = parts.into_iter().all(|p| !matches!(p, b"" | b"." | b".."));
        ensure(
            is_path(c.path) && named && !c.path.contains(&0),
            "CGROUPS-2",
        )
    })
}
