// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Rules of section `stats`, which comes behind the page data.

use super::{each, only, MetaSet};
use crate::{
    error::{ensure, Result},
    limits::PAGE,
    sections::{StatsRecord, VmaStatsRecord, STATS},
};

/// Checks section `stats`, if there is one, against the pages that were counted
/// ([`crate::stream::Validator::page_counts`]).
///
/// # Errors
/// `STATS-1` to `STATS-3`, and what decoding says.
pub fn stats(set: &dyn MetaSet, pages: u64, zero_pages: u64) -> Result {
    if set.section(STATS).is_empty() {
        return Ok(());
    }
    let s: StatsRecord = only(set, "STATS-1")?;
    ensure(s.id == 1, "STATS-1").map_err(|e| e.placed(STATS, 0))?;
    let counted = s.pages == pages
        && s.zero_pages == zero_pages
        && s.page_bytes == pages.saturating_mul(PAGE);
    ensure(counted, "STATS-2").map_err(|e| e.placed(STATS, 0))?;
    let mut last = 0;
    each(set, |v: VmaStatsRecord| {
        ensure(
            v.id > last && v.pages <= pages && v.zero <= zero_pages,
            "STATS-3",
        )?;
        last = v.id;
        Ok(())
    })
}
