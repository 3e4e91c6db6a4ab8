// SPDX-License-Identifier: GPL-2.0
//! Credentials: the system calls that lead from the caller's to the recorded ones.
//!
//! The order works from root to any user: group ids while `CAP_SETGID` is there, user ids with
//! `PR_SET_KEEPCAPS` so that the change does not take the capabilities that the rest needs, then what needs
//! `CAP_SETPCAP` (ambient set before the securebits that may forbid it, bounding set, securebits), and last
//! the capabilities themselves, which only shrink. Every step is checked by the kernel against what the
//! caller may do. Source: `security/commoncap.c`, capabilities(7).

use crate::plan::{Arg, Expect, Op, OpSink, PlanError};
use cr_format::{CredRecord, U64s};

/// Most supplementary groups that fit into the memory for arguments.
pub const GROUPS_MAX: usize = 1000;

const SECBIT_NO_SETUID_FIXUP: u64 = 1 << 2;
const SECBIT_KEEP_CAPS: u64 = 1 << 4;

const PR_SET_KEEPCAPS: u64 = 8;
const PR_CAPBSET_DROP: u64 = 24;
const PR_SET_SECUREBITS: u64 = 28;
const PR_CAP_AMBIENT: u64 = 47;
const PR_CAP_AMBIENT_RAISE: u64 = 2;
const PR_CAP_AMBIENT_LOWER: u64 = 3;

const SYS_SETGROUPS: u32 = 116;
const SYS_SETRESUID: u32 = 117;
const SYS_SETRESGID: u32 = 119;
const SYS_SETFSUID: u32 = 122;
const SYS_SETFSGID: u32 = 123;
const SYS_CAPSET: u32 = 126;
const SYS_PRCTL: u32 = 157;

/// `CAP_FS_SET` of linux/capability.h with `CAP_MKNOD` and `CAP_LINUX_IMMUTABLE`: what changes with a file system uid of 0.
const FS_CAPS: u64 =
    (1 << 0) | (1 << 1) | (1 << 2) | (1 << 3) | (1 << 4) | (1 << 9) | (1 << 27) | (1 << 32);

/// Real, effective, saved and file system id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ids {
    /// Real.
    pub real: u64,
    /// Effective.
    pub effective: u64,
    /// Saved.
    pub saved: u64,
    /// For file access.
    pub fs: u64,
}

impl Ids {
    fn same_triple(&self, o: &Ids) -> bool {
        (self.real, self.effective, self.saved) == (o.real, o.effective, o.saved)
    }
    fn any_zero(&self) -> bool {
        self.real == 0 || self.effective == 0 || self.saved == 0
    }
}

/// Everything a [`CredRecord`] says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cred<'a> {
    /// User ids.
    pub uid: Ids,
    /// Group ids.
    pub gid: Ids,
    /// Supplementary groups, ascending.
    pub groups: U64s<'a>,
    /// Inheritable capabilities.
    pub inheritable: u64,
    /// Permitted.
    pub permitted: u64,
    /// Effective.
    pub effective: u64,
    /// Bounding set.
    pub bounding: u64,
    /// Ambient.
    pub ambient: u64,
    /// `PR_GET_SECUREBITS`.
    pub securebits: u64,
}

impl<'a> Cred<'a> {
    /// Checks a record.
    ///
    /// # Errors
    /// What is wrong, for people.
    pub fn from_record(r: &CredRecord<'a>) -> Result<Self, &'static str> {
        let uid = Ids {
            real: r.uid,
            effective: r.euid,
            saved: r.suid,
            fs: r.fsuid,
        };
        let gid = Ids {
            real: r.gid,
            effective: r.egid,
            saved: r.sgid,
            fs: r.fsgid,
        };
        // The id -1 means "no change" to the kernel.
        let valid = |id: u64| id < 0xffff_ffff;
        for ids in [uid, gid] {
            if ![ids.real, ids.effective, ids.saved, ids.fs]
                .into_iter()
                .all(valid)
                || !r.groups.iter().all(valid)
            {
                return Err("a user or group id is out of range");
            }
        }
        if r.groups.len() > GROUPS_MAX {
            return Err("there are more supplementary groups than a restart can set");
        }
        if r.cap_effective & !r.cap_permitted != 0 {
            return Err("an effective capability is not permitted");
        }
        if r.cap_ambient & !(r.cap_permitted & r.cap_inheritable) != 0 {
            return Err("an ambient capability is not permitted and inheritable");
        }
        Ok(Self {
            uid,
            gid,
            groups: r.groups,
            inheritable: r.cap_inheritable,
            permitted: r.cap_permitted,
            effective: r.cap_effective,
            bounding: r.cap_bounding,
            ambient: r.cap_ambient,
            securebits: r.securebits,
        })
    }

    /// The record for an image.
    pub fn to_record(&self, id: u32) -> CredRecord<'a> {
        CredRecord {
            id,
            uid: self.uid.real,
            euid: self.uid.effective,
            suid: self.uid.saved,
            fsuid: self.uid.fs,
            gid: self.gid.real,
            egid: self.gid.effective,
            sgid: self.gid.saved,
            fsgid: self.gid.fs,
            groups: self.groups,
            cap_inheritable: self.inheritable,
            cap_permitted: self.permitted,
            cap_effective: self.effective,
            cap_bounding: self.bounding,
            cap_ambient: self.ambient,
            securebits: self.securebits,
        }
    }

    /// The first thing in which `self` is not `wanted`, for people.
    pub fn differs_in(&self, wanted: &Cred<'_>) -> Option<&'static str> {
        let pairs = [
            (self.uid == wanted.uid, "user ids"),
            (self.gid == wanted.gid, "group ids"),
            (self.groups == wanted.groups, "supplementary groups"),
            (self.permitted == wanted.permitted, "permitted capabilities"),
            (self.effective == wanted.effective, "effective capabilities"),
            (
                self.inheritable == wanted.inheritable,
                "inheritable capabilities",
            ),
            (self.ambient == wanted.ambient, "ambient capabilities"),
            (self.bounding == wanted.bounding, "capability bounding set"),
            (self.securebits == wanted.securebits, "securebits"),
        ];
        pairs
            .into_iter()
            .find(|(same, _)| !same)
            .map(|(_, what)| what)
    }
}

/// Bits of a set, as capability numbers.
fn bits(set: u64) -> impl Iterator<Item = u64> {
    (0..64).filter(move |i| set & (1 << i) != 0)
}

/// `capset(2)` with header and data in one block.
fn capset(
    effective: u64,
    permitted: u64,
    inheritable: u64,
    sink: &mut dyn OpSink,
) -> Result<(), PlanError> {
    let low = |w: u64| w & 0xffff_ffff;
    let high = |w: u64| w >> 32;
    // _LINUX_CAPABILITY_VERSION_3 and pid 0, then two times effective, permitted, inheritable.
    let words = [
        0x2008_0522,
        0,
        low(effective),
        low(permitted),
        low(inheritable),
        high(effective),
        high(permitted),
        high(inheritable),
    ];
    let mut data = [0u8; 32];
    for (to, w) in data.chunks_exact_mut(4).zip(words) {
        // CAST: 32 bits each, see above.
        to.copy_from_slice(&(w as u32).to_le_bytes());
    }
    sink.push(Op::with_data(
        SYS_CAPSET,
        &[Arg::Data(0), Arg::Data(8)],
        &data,
        "cannot set the capabilities of the process",
    ))
}

/// `setfsuid(2)` and `setfsgid(2)` never fail: they return the id before. A second call with an invalid id asks.
fn setfs(nr: u32, id: u64, what: &'static str, sink: &mut dyn OpSink) -> Result<(), PlanError> {
    sink.push(Op {
        expect: Expect::Any,
        ..Op::values(nr, &[id], what)
    })?;
    // CAST: ids have 32 bits.
    sink.push(Op {
        expect: Expect::Exactly(id as i64),
        ..Op::values(nr, &[0xffff_ffff], what)
    })
}

/// The way from `current` to `wanted`; nothing when they are equal. `groups` are `wanted.groups` as an array
/// of `gid_t`.
///
/// # Errors
/// `NoMemory` of the sink; `Impossible` when the caller's bounding set lacks what the process had.
pub fn plan(
    current: &Cred<'_>,
    wanted: &Cred<'_>,
    groups: &[u8],
    sink: &mut dyn OpSink,
) -> Result<(), PlanError> {
    if current == wanted {
        return Ok(());
    }
    if wanted.bounding & !current.bounding != 0 {
        return Err(PlanError::Impossible("the process may gain capabilities that the caller of the restart may not: its bounding set is larger"));
    }
    let mut s = *current;
    // 1. Group ids.
    let ids_change = s.uid != wanted.uid || s.gid != wanted.gid || s.groups != wanted.groups;
    if ids_change && s.effective != s.permitted {
        capset(s.permitted, s.permitted, s.inheritable, sink)?;
        s.effective = s.permitted;
    }
    if s.groups != wanted.groups {
        let args = [Arg::Value(wanted.groups.len() as u64), Arg::Data(0)];
        sink.push(Op::with_data(
            SYS_SETGROUPS,
            &args,
            groups,
            "cannot set the supplementary groups of the process",
        ))?;
    }
    if !s.gid.same_triple(&wanted.gid) {
        let args = [wanted.gid.real, wanted.gid.effective, wanted.gid.saved];
        sink.push(Op::values(
            SYS_SETRESGID,
            &args,
            "cannot take the group ids of the process",
        ))?;
        s.gid.fs = wanted.gid.effective;
    }
    if s.gid.fs != wanted.gid.fs {
        setfs(
            SYS_SETFSGID,
            wanted.gid.fs,
            "cannot take the file system group id of the process",
            sink,
        )?;
    }
    // 2. User ids. What comes after them and needs capabilities:
    let set = |c: &Cred<'_>| c.securebits & !SECBIT_KEEP_CAPS;
    let fs_differs = if s.uid.same_triple(&wanted.uid) {
        s.uid.fs != wanted.uid.fs
    } else {
        wanted.uid.fs != wanted.uid.effective
    };
    let work = s.bounding != wanted.bounding
        || set(&s) != set(wanted)
        || s.inheritable != wanted.inheritable
        || wanted.ambient != 0
        || fs_differs;
    if !s.uid.same_triple(&wanted.uid) {
        let fixup = s.securebits & SECBIT_NO_SETUID_FIXUP == 0;
        let leaves_root = s.uid.any_zero() && !wanted.uid.any_zero();
        if fixup
            && leaves_root
            && s.securebits & SECBIT_KEEP_CAPS == 0
            && (work || wanted.permitted != 0)
        {
            sink.push(Op::values(
                SYS_PRCTL,
                &[PR_SET_KEEPCAPS, 1, 0, 0, 0],
                "cannot keep capabilities over the change of user",
            ))?;
            s.securebits |= SECBIT_KEEP_CAPS;
        }
        let args = [wanted.uid.real, wanted.uid.effective, wanted.uid.saved];
        sink.push(Op::values(
            SYS_SETRESUID,
            &args,
            "cannot become the user of the process",
        ))?;
        if fixup {
            after_setresuid(&mut s, &wanted.uid, leaves_root);
        }
        s.uid = Ids {
            fs: wanted.uid.effective,
            ..wanted.uid
        };
    }
    // 3. With all capabilities there are.
    if work && (s.effective != s.permitted || s.inheritable != wanted.inheritable) {
        capset(s.permitted, s.permitted, wanted.inheritable, sink)?;
        s.effective = s.permitted;
        s.inheritable = wanted.inheritable;
        s.ambient &= s.permitted & s.inheritable;
    }
    if s.uid.fs != wanted.uid.fs {
        setfs(
            SYS_SETFSUID,
            wanted.uid.fs,
            "cannot take the file system user id of the process",
            sink,
        )?;
        if s.securebits & SECBIT_NO_SETUID_FIXUP == 0 {
            if s.uid.fs == 0 {
                s.effective &= !FS_CAPS;
            } else if wanted.uid.fs == 0 {
                s.effective |= FS_CAPS & s.permitted;
            }
        }
    }
    for (set, how) in [
        (s.ambient & !wanted.ambient, PR_CAP_AMBIENT_LOWER),
        (wanted.ambient & !s.ambient, PR_CAP_AMBIENT_RAISE),
    ] {
        for cap in bits(set) {
            sink.push(Op::values(
                SYS_PRCTL,
                &[PR_CAP_AMBIENT, how, cap, 0, 0],
                "cannot set the ambient capabilities of the process",
            ))?;
        }
    }
    for cap in bits(s.bounding & !wanted.bounding) {
        sink.push(Op::values(
            SYS_PRCTL,
            &[PR_CAPBSET_DROP, cap, 0, 0, 0],
            "cannot drop capabilities from the bounding set",
        ))?;
    }
    if set(&s) != set(wanted) {
        sink.push(Op::values(
            SYS_PRCTL,
            &[PR_SET_SECUREBITS, wanted.securebits, 0, 0, 0],
            "cannot set the securebits of the process",
        ))?;
    } else if s.securebits != wanted.securebits {
        let keep = u64::from(wanted.securebits & SECBIT_KEEP_CAPS != 0);
        sink.push(Op::values(
            SYS_PRCTL,
            &[PR_SET_KEEPCAPS, keep, 0, 0, 0],
            "cannot set the securebits of the process",
        ))?;
    }
    // 4. The capabilities themselves.
    if (s.effective, s.permitted, s.inheritable)
        != (wanted.effective, wanted.permitted, wanted.inheritable)
    {
        capset(wanted.effective, wanted.permitted, wanted.inheritable, sink)?;
    }
    Ok(())
}

/// What `cap_emulate_setxuid()` does to the capabilities.
fn after_setresuid(s: &mut Cred<'_>, new: &Ids, leaves_root: bool) {
    if leaves_root {
        if s.securebits & SECBIT_KEEP_CAPS == 0 {
            s.permitted = 0;
            s.effective = 0;
        }
        s.ambient = 0;
    }
    if s.uid.effective == 0 && new.effective != 0 {
        s.effective = 0;
    }
    if s.uid.effective != 0 && new.effective == 0 {
        s.effective = s.permitted;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::{Collect, Collected};
    use std::{vec, vec::Vec};

    const ALL: u64 = (1 << 41) - 1;
    const SETGID: u64 = 1 << 6;
    const SETUID: u64 = 1 << 7;
    const SETPCAP: u64 = 1 << 8;

    fn root() -> Cred<'static> {
        Cred {
            permitted: ALL,
            effective: ALL,
            bounding: ALL,
            ..Cred::default()
        }
    }

    fn ids(id: u64) -> Ids {
        Ids {
            real: id,
            effective: id,
            saved: id,
            fs: id,
        }
    }

    fn user(id: u64) -> Cred<'static> {
        Cred {
            uid: ids(id),
            gid: ids(id),
            bounding: ALL,
            ..Cred::default()
        }
    }

    /// The kernel's side of the calls, written down from `kernel/sys.c` and `security/commoncap.c`.
    struct Kernel {
        c: Cred<'static>,
        groups: Vec<u64>,
    }

    impl Kernel {
        fn has(&self, cap: u64) -> bool {
            self.c.effective & cap != 0
        }

        fn setres(old: &Ids, a: [u64; 3], privileged: bool) -> Result<Ids, i64> {
            let known = [old.real, old.effective, old.saved];
            if !privileged && a.iter().any(|x| !known.contains(x)) {
                return Err(-1);
            }
            Ok(Ids {
                real: a[0],
                effective: a[1],
                saved: a[2],
                fs: a[1],
            })
        }

        fn prctl(&mut self, a: [u64; 6]) -> i64 {
            let c = &mut self.c;
            match a[0] {
                PR_SET_KEEPCAPS => {
                    if c.securebits & (1 << 5) != 0 {
                        return -1;
                    }
                    c.securebits = (c.securebits & !SECBIT_KEEP_CAPS)
                        | if a[1] == 1 { SECBIT_KEEP_CAPS } else { 0 };
                }
                PR_CAPBSET_DROP => {
                    if c.effective & SETPCAP == 0 {
                        return -1;
                    }
                    c.bounding &= !(1 << a[1]);
                }
                PR_SET_SECUREBITS => {
                    let locks = 0xaaaa & c.securebits;
                    if c.effective & SETPCAP == 0
                        || (locks >> 1) & (c.securebits ^ a[1]) != 0
                        || locks & !a[1] != 0
                    {
                        return -1;
                    }
                    c.securebits = a[1];
                }
                PR_CAP_AMBIENT => {
                    let bit = 1 << a[2];
                    if a[1] == PR_CAP_AMBIENT_RAISE {
                        if c.permitted & c.inheritable & bit == 0 || c.securebits & (1 << 6) != 0 {
                            return -1;
                        }
                        c.ambient |= bit;
                    } else {
                        c.ambient &= !bit;
                    }
                }
                _ => return -22,
            }
            0
        }

        fn capset(&mut self, d: &[u8]) -> i64 {
            let w: Vec<u64> = d
                .chunks_exact(4)
                .map(|x| u32::from_le_bytes(x.try_into().unwrap()).into())
                .collect();
            assert_eq!(w[..2], [0x2008_0522, 0]);
            let (e, p, i) = (
                w[2] | (w[5] << 32),
                w[3] | (w[6] << 32),
                w[4] | (w[7] << 32),
            );
            let c = &mut self.c;
            if c.effective & SETPCAP == 0 && i & !(c.inheritable | c.permitted) != 0 {
                return -1;
            }
            if i & !(c.inheritable | c.bounding) != 0 || p & !c.permitted != 0 || e & !p != 0 {
                return -1;
            }
            (c.effective, c.permitted, c.inheritable) = (e, p, i);
            c.ambient &= p & i;
            0
        }

        fn call(&mut self, op: &Collected) -> i64 {
            let a = op.args.map(|x| match x {
                Arg::Value(v) => v,
                Arg::Data(_) => 0,
            });
            let fixup = self.c.securebits & SECBIT_NO_SETUID_FIXUP == 0;
            match op.nr {
                SYS_SETGROUPS => {
                    if !self.has(SETGID) {
                        return -1;
                    }
                    self.groups = op
                        .data
                        .chunks_exact(4)
                        .map(|x| u32::from_le_bytes(x.try_into().unwrap()).into())
                        .collect();
                    assert_eq!(self.groups.len() as u64, a[0]);
                }
                SYS_SETRESGID => {
                    match Self::setres(&self.c.gid, [a[0], a[1], a[2]], self.has(SETGID)) {
                        Ok(n) => self.c.gid = n,
                        Err(e) => return e,
                    }
                }
                SYS_SETRESUID => {
                    match Self::setres(&self.c.uid, [a[0], a[1], a[2]], self.has(SETUID)) {
                        Ok(n) => {
                            let old = self.c.uid;
                            if fixup {
                                let leaves = old.any_zero() && !n.any_zero();
                                after_setresuid(&mut self.c, &n, leaves);
                            }
                            self.c.uid = n;
                        }
                        Err(e) => return e,
                    }
                }
                SYS_SETFSUID => {
                    let old = self.c.uid;
                    let new = a[0];
                    if new == 0xffff_ffff {
                        return old.fs as i64;
                    }
                    if [old.real, old.effective, old.saved, old.fs].contains(&new)
                        || self.has(SETUID)
                    {
                        if fixup && old.fs == 0 && new != 0 {
                            self.c.effective &= !FS_CAPS;
                        }
                        if fixup && old.fs != 0 && new == 0 {
                            self.c.effective |= FS_CAPS & self.c.permitted;
                        }
                        self.c.uid.fs = new;
                    }
                    return old.fs as i64;
                }
                SYS_SETFSGID => {
                    let old = self.c.gid;
                    if a[0] != 0xffff_ffff
                        && ([old.real, old.effective, old.saved, old.fs].contains(&a[0])
                            || self.has(SETGID))
                    {
                        self.c.gid.fs = a[0];
                    }
                    return old.fs as i64;
                }
                SYS_CAPSET => return self.capset(&op.data),
                SYS_PRCTL => return self.prctl(a),
                _ => panic!("unplanned call"),
            }
            0
        }
    }

    fn run(from: &Cred<'static>, to: &Cred<'_>) -> Result<usize, &'static str> {
        let mut c = Collect::default();
        let groups: Vec<u8> = to
            .groups
            .iter()
            .flat_map(|g| (g as u32).to_le_bytes())
            .collect();
        plan(from, to, &groups, &mut c).map_err(|_| "no plan")?;
        let mut k = Kernel {
            c: *from,
            groups: from.groups.iter().collect(),
        };
        for op in &c.ops {
            if !op.expect.is_met(k.call(op)) {
                return Err("refused");
            }
        }
        let reached = Cred {
            groups: U64s::Native(&k.groups),
            ..k.c
        };
        match reached.differs_in(to) {
            None => Ok(c.ops.len()),
            Some(what) => Err(what),
        }
    }

    #[test]
    fn equal_credentials_need_no_call() {
        assert_eq!(run(&user(1000), &user(1000)), Ok(0));
        assert_eq!(run(&root(), &root()), Ok(0));
    }

    #[test]
    fn root_becomes_an_ordinary_user_in_three_calls() {
        let groups = [24, 27, 1000];
        let to = Cred {
            groups: U64s::Native(&groups),
            ..user(1000)
        };
        assert_eq!(run(&root(), &to), Ok(3));
    }

    #[test]
    fn root_reaches_unusual_credentials() {
        let base = user(1000);
        for (to, what) in [
            (
                Cred {
                    permitted: 1 << 10,
                    effective: 1 << 10,
                    ..base
                },
                "one capability",
            ),
            (
                Cred {
                    permitted: ALL,
                    ..base
                },
                "permitted but not effective",
            ),
            (
                Cred {
                    bounding: 0,
                    ..base
                },
                "empty bounding set",
            ),
            (
                Cred {
                    bounding: 1 << 10,
                    inheritable: 1 << 12,
                    ..base
                },
                "inheritable outside the bounding set",
            ),
            (
                Cred {
                    inheritable: 1 << 10,
                    permitted: 1 << 10,
                    ambient: 1 << 10,
                    effective: 1 << 10,
                    ..base
                },
                "ambient",
            ),
            (
                Cred {
                    inheritable: 2,
                    permitted: 2,
                    ambient: 2,
                    securebits: 0xc0,
                    ..base
                },
                "ambient raise forbidden and locked",
            ),
            (
                Cred {
                    securebits: 0x2f,
                    ..base
                },
                "all locked",
            ),
            (
                Cred {
                    securebits: SECBIT_KEEP_CAPS,
                    ..base
                },
                "keepcaps left on",
            ),
            (
                Cred {
                    uid: Ids {
                        real: 1000,
                        effective: 0,
                        saved: 0,
                        fs: 0,
                    },
                    ..root()
                },
                "setuid root program",
            ),
            (
                Cred {
                    uid: Ids {
                        real: 0,
                        effective: 1000,
                        saved: 0,
                        fs: 1000,
                    },
                    permitted: ALL,
                    ..base
                },
                "temporarily a user",
            ),
            (
                Cred {
                    uid: Ids {
                        fs: 65534,
                        ..ids(0)
                    },
                    effective: ALL & !FS_CAPS,
                    ..root()
                },
                "file server",
            ),
            (
                Cred {
                    uid: Ids { fs: 7, ..ids(1000) },
                    gid: Ids { fs: 8, ..ids(1000) },
                    ..base
                },
                "file system ids apart",
            ),
            (
                Cred {
                    permitted: 0,
                    effective: 0,
                    ..root()
                },
                "root without capabilities",
            ),
            (
                Cred {
                    uid: ids(0),
                    bounding: 0xff,
                    permitted: 0xff,
                    effective: 0xff,
                    ..Cred::default()
                },
                "container root",
            ),
        ] {
            assert!(run(&root(), &to).is_ok(), "{what}: {:?}", run(&root(), &to));
        }
    }

    #[test]
    fn nobody_gains_anything() {
        assert_eq!(run(&user(1000), &root()), Err("refused"));
        assert_eq!(run(&user(1000), &user(1001)), Err("refused"));
        assert_eq!(
            run(
                &user(1000),
                &Cred {
                    permitted: 1,
                    ..user(1000)
                }
            ),
            Err("refused")
        );
        let small = Cred {
            bounding: 1,
            ..user(1000)
        };
        assert_eq!(
            run(&small, &user(1000)),
            Err("no plan"),
            "the bounding set cannot grow"
        );
        let to = Cred {
            groups: U64s::Native(&[0]),
            ..user(1000)
        };
        assert_eq!(run(&user(1000), &to), Err("refused"), "another group");
    }

    #[test]
    fn any_mixture_is_reached_from_root() {
        // A fixed generator: the same cases in every run.
        let mut x = 0x2545_f491_4f6c_dd1du64;
        let mut next = move || {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            x
        };
        let groups = vec![5u64, 6];
        for _ in 0..2000 {
            let mut ids = || {
                let mut id = || [0, 0, 1000, 1001, 33][(next() % 5) as usize];
                Ids {
                    real: id(),
                    effective: id(),
                    saved: id(),
                    fs: id(),
                }
            };
            let (uid, gid) = (ids(), ids());
            let mut caps = || [0, ALL, next() & ALL, next() & next() & ALL][(next() % 4) as usize];
            let (permitted, inheritable, bounding) = (caps(), caps(), caps());
            let (effective, ambient) = (permitted & caps(), permitted & inheritable & caps());
            let to = Cred {
                uid,
                gid,
                groups: U64s::Native(if next() & 1 == 0 { &[] } else { &groups }),
                permitted,
                effective,
                inheritable,
                bounding,
                ambient: if next() & 1 == 0 { 0 } else { ambient },
                securebits: next() & 0xff,
            };
            assert_eq!(run(&root(), &to).err(), None, "{to:?}");
        }
    }
}
