// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Section `creds`: user and group ids, capabilities.
//!
//! Preserved: the values. They are a request: a restart grants at most what its caller may have.
//! Not preserved: keyrings, security labels. Source: spec, "Section: creds".

use crate::record::record;

record! {
    /// Credentials of the process; exactly one, the record id is the tgid.
    CredRecord<'a> in CREDS, type 1, "cred" {
        /// Real user id.
        1 uid: u64 Uid;
        /// Effective user id.
        2 euid: u64 Uid;
        /// Saved user id.
        3 suid: u64 Uid;
        /// User id for file access.
        4 fsuid: u64 Uid;
        /// Real group id.
        5 gid: u64 Uid;
        /// Effective group id.
        6 egid: u64 Uid;
        /// Saved group id.
        7 sgid: u64 Uid;
        /// Group id for file access.
        8 fsgid: u64 Uid;
        /// Supplementary groups, ascending.
        9 groups: array Uid;
        /// Inheritable capabilities, bit n is capability n.
        10 cap_inheritable: u64 Flags;
        /// Permitted.
        11 cap_permitted: u64 Flags;
        /// Effective.
        12 cap_effective: u64 Flags;
        /// Bounding set.
        13 cap_bounding: u64 Flags;
        /// Ambient.
        14 cap_ambient: u64 Flags;
        /// `PR_GET_SECUREBITS`.
        15 securebits: u64 Flags;
    }
}
