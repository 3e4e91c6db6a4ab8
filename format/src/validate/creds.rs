// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Rules of section `creds`.

use super::{each, known_records, only, MetaSet};
use crate::{
    error::{ensure, Error, Result},
    sections::{CredRecord, ProcessRecord, CREDS},
};

/// Most supplementary groups (`NGROUPS_MAX`).
const GROUPS_MAX: usize = 65536;
/// All capabilities up to `CAP_CHECKPOINT_RESTORE`.
const CAPABILITIES: u64 = (1 << 41) - 1;
/// All `SECBIT_*`.
const SECUREBITS: u64 = 0xfff;

pub(super) fn check(set: &dyn MetaSet) -> Result {
    known_records(set, CREDS)?;
    only::<CredRecord<'_>>(set, "CREDS-1")?;
    let process: ProcessRecord<'_> = only(set, "TASKS-1")?;
    each(set, |c: CredRecord<'_>| {
        ensure(u64::from(c.id) == process.tgid, "CREDS-1")?;
        let ids = [
            c.uid, c.euid, c.suid, c.fsuid, c.gid, c.egid, c.sgid, c.fsgid,
        ];
        ensure(ids.iter().all(|&id| is_id(id)), "CREDS-2")?;
        let mut last = 0;
        let ascending = c
            .groups
            .iter()
            .all(|g| core::mem::replace(&mut last, g) <= g && is_id(g));
        ensure(ascending && c.groups.len() <= GROUPS_MAX, "CREDS-3")?;
        capabilities(&c)?;
        ensure(c.securebits & !SECUREBITS == 0, "CREDS-5")
    })
}

/// A 32-bit id; all ones means "none" in the kernel.
fn is_id(id: u64) -> bool {
    id < u64::from(u32::MAX)
}

fn capabilities(c: &CredRecord<'_>) -> Result {
    let all =
        c.cap_inheritable | c.cap_permitted | c.cap_effective | c.cap_bounding | c.cap_ambient;
    if all & !CAPABILITIES != 0 {
        return Err(Error::unsupported("capability"));
    }
    let effective = c.cap_effective & !c.cap_permitted == 0;
    let ambient = c.cap_ambient & !(c.cap_permitted & c.cap_inheritable) == 0;
    ensure(effective && ambient, "CREDS-4")
}
