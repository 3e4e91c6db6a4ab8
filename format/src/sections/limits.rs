// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Section `limits`: resource limits (`getrlimit(2)`).
//!
//! Preserved: all soft and hard limits. Not preserved: nothing. Source: spec, "Section: limits".

use crate::record::record;

/// Number of resources of the kernel (`RLIM_NLIMITS`).
pub const RESOURCES: u64 = 16;

/// Names of the resources, by number.
pub const RESOURCE_NAMES: [&str; 16] = [
    "cpu", "fsize", "data", "stack", "core", "rss", "nproc", "nofile", "memlock", "as", "locks", "sigpending",
    "msgqueue", "nice", "rtprio", "rttime",
];

record! {
    /// One limit; the record id is the resource number plus 1.
    LimitRecord in LIMITS, type 1, "limit" {
        /// Resource number, `RLIMIT_*`.
        1 resource: u64 Dec;
        /// Soft limit; all ones: none.
        2 soft: u64 Dec;
        /// Hard limit; all ones: none.
        3 hard: u64 Dec;
    }
}
