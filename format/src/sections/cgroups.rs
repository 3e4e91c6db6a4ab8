// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Section `cgroups`: the control group of a process.
//!
//! Preserved: membership in the unified hierarchy (version 2), when the group still exists at the restart. Not
//! preserved: the settings of the group, which are the system's; membership in hierarchies of version 1.
//! Source: spec, "Section: cgroups"; cgroups(7).

use crate::record::record;

record! {
    /// The group of the process; at most one, id 1. None in the root group.
    CgroupRecord<'a> in CGROUPS, type 1, "cgroup" {
        /// Its path below the mount point, as in `/proc/PID/cgroup`.
        1 path: text Path;
    }
}
