// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Section `landlock`: the restrictions that threads have put on themselves.
//!
//! Preserved: the layers of domains that allow nothing by name or number. Domains that do are an obstacle. Not preserved:
//! that several processes are in one domain; each has its own.
//! Source: spec, "Section: landlock"; landlock(7), `struct landlock_ruleset_attr`.

use crate::record::record;

/// Bits of [`LayerRecord::log`]: `LANDLOCK_RESTRICT_SELF_LOG_*`.
pub const LANDLOCK_LOG: u64 = 7;

record! {
    /// One layer of a domain: what is denied, since nothing is allowed by name. Ids count from 1.
    LayerRecord in LANDLOCK, type 1, "layer" {
        /// Number of the domain in this section; they count from 1.
        1 domain: u64 Dec;
        /// Place of the layer in its domain, from 1; the first was enforced first.
        2 level: u64 Dec;
        /// Rights to files and directories: `LANDLOCK_ACCESS_FS_*`.
        3 fs: u64 Hex;
        /// Rights to network ports: `LANDLOCK_ACCESS_NET_*`.
        4 net: u64 Hex;
        /// What ends at the domain's border: `LANDLOCK_SCOPE_*`.
        5 scope: u64 Hex;
        /// Rights to files whose denial may be kept from the audit log.
        6 quiet_fs: u64 Hex;
        /// Rights to network ports whose denial may be kept from the audit log.
        7 quiet_net: u64 Hex;
        /// Scopes whose denial is kept from the audit log.
        8 quiet_scope: u64 Hex;
        /// What the audit log is told: `LANDLOCK_RESTRICT_SELF_LOG_*`.
        9 log: u64 Hex;
    }
}

record! {
    /// A thread that is in a domain; id is its thread id.
    SubjectRecord in LANDLOCK, type 2, "subject" {
        /// Number of the domain.
        1 domain: u64 Dec;
        /// 1: the audit log is told nothing of layers to come.
        2 log_off: u64 Dec;
    }
}
