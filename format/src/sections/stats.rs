// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Section `stats`: counts that are known only when the page data has been written.
//!
//! Ancillary, behind the page data. Source: spec, "Section: stats".

use crate::record::record;

record! {
    /// The checkpoint as a whole; exactly one.
    StatsRecord in STATS, type 1, "stats" {
        /// From the first freeze request until this record, nanoseconds.
        1 frozen_ns: u64 Ns;
        /// Pages with contents, stored or duplicates of stored ones.
        2 pages: u64 Dec;
        /// Pages that are all zero.
        3 zero_pages: u64 Dec;
        /// Bytes of these pages with contents, before compression.
        4 page_bytes: u64 Dec;
    }
}

record! {
    /// One memory area; the record id is that of the area.
    VmaStatsRecord in STATS, type 2, "vma_stats" {
        /// Pages with contents, stored or duplicates of stored ones.
        1 pages: u64 Dec;
        /// Pages that are all zero.
        2 zero: u64 Dec;
    }
}
