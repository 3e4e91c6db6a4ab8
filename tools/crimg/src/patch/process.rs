// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Edits of threads, credentials, limits and the like: one record, a few fields.

use super::{
    draft::{record_of, Draft, Rec},
    edit::{Ids, Thread},
    Refusal,
};
use crate::{error::Failure, syscalls, xsave};
use cr_format::{
    CredRecord, ExitedRecord, FsRecord, ImageRecord, LimitRecord, ProcessRecord, TaskRecord,
    LIMITS, REG_NAMES, RESOURCE_NAMES, TASKS,
};

type Done = Result<Result<(), Refusal>, Failure>;

/// Bit of `xstate_bv` for the SSE registers, and where they are.
const SSE: u64 = 2;
const XMM: usize = 160;
const XMM_END: usize = 416;
const XSTATE_BV: usize = 512;

/// `CAP_FS_SET` of linux/capability.h: what goes with a file system uid of 0.
const FS_CAPS: u64 = 1 | 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 9 | 1 << 27 | 1 << 32;
/// `SECBIT_NO_SETUID_FIXUP`, `SECBIT_KEEP_CAPS`.
const NO_FIXUP: u64 = 1 << 2;
const KEEP_CAPS: u64 = 1 << 4;

fn tid_of(draft: &mut Draft<'_>, thread: Thread) -> Result<Result<u64, Refusal>, Failure> {
    let tasks = draft.records(TASKS)?;
    let mut tids = tasks
        .iter()
        .filter(|r| r.is::<TaskRecord<'_>>())
        .map(|t| t.number("tid"));
    let found = match thread {
        Thread::Main => tids.next(),
        Thread::Tid(tid) => tids.find(|t| *t == tid),
    };
    if let Some(tid) = found {
        return Ok(Ok(tid));
    }
    let mut have: Vec<String> = tasks
        .iter()
        .filter(|r| r.is::<TaskRecord<'_>>())
        .map(|t| t.number("tid").to_string())
        .take(33)
        .collect();
    if have.len() > 32 {
        have.truncate(32);
        have.push("…".to_owned());
    }
    let name = match thread {
        Thread::Main => "main thread".to_owned(),
        Thread::Tid(tid) => format!("thread {tid}"),
    };
    Ok(Err(Refusal::new(
        format!("the process has no {name}"),
        format!("It has {}.", have.join(" ")),
    )))
}

macro_rules! ok_or_refuse {
    ($result:expr) => {
        match $result? {
            Ok(value) => value,
            Err(refusal) => return Ok(Err(refusal)),
        }
    };
}

/// A thread that has registers.
fn running(draft: &mut Draft<'_>, thread: Thread) -> Result<Result<u64, Refusal>, Failure> {
    let tid = ok_or_refuse!(tid_of(draft, thread));
    let tasks = draft.records(TASKS)?;
    let has_ended = |r: &Rec| r.is::<ExitedRecord>() && u64::from(r.id) == tid;
    if !tasks.iter().any(has_ended) {
        return Ok(Ok(tid));
    }
    Ok(Err(Refusal::new(
        format!("thread {tid} has ended and has no registers"),
        "Name another thread of the process.".to_owned(),
    )))
}

/// `--reg TID:NAME=VALUE`.
pub fn reg(draft: &mut Draft<'_>, thread: Thread, register: usize, value: u64) -> Done {
    let tid = ok_or_refuse!(running(draft, thread));
    let name = REG_NAMES.get(register).copied().unwrap_or("?");
    let Some(task) = draft.find::<TaskRecord<'_>>(|t| t.number("tid") == tid)? else {
        return Ok(Ok(()));
    };
    let of = |name| REG_NAMES.iter().position(|r| *r == name);
    let orig = of("orig_rax")
        .and_then(|n| task.get_in("regs", n))
        .unwrap_or(u64::MAX);
    task.set_in("regs", register, value);
    if orig != u64::MAX && matches!(name, "rip" | "rax") {
        draft.note(format!(
            "thread {tid} is inside of the system call {}: when it is interrupted, the kernel still changes rax and rip; \
             set orig_rax=0xffffffffffffffff to prevent that",
            syscalls::name(orig).map_or_else(|| orig.to_string(), str::to_owned)
        ));
    }
    Ok(Ok(()))
}

/// `--xmm TID:xmmN=VALUE`.
pub fn xmm(draft: &mut Draft<'_>, thread: Thread, register: usize, value: u128) -> Done {
    let tid = ok_or_refuse!(running(draft, thread));
    let Some(task) = draft.find::<TaskRecord<'_>>(|t| t.number("tid") == tid)? else {
        return Ok(Ok(()));
    };
    let mut state = task.bytes("xstate").to_vec();
    let in_use = xsave::in_use(&state);
    if in_use & SSE == 0 {
        // Registers in their initial state have no bytes; now all sixteen get some.
        if let Some(all) = state.get_mut(XMM..XMM_END) {
            all.fill(0);
        }
        if let Some(bv) = state.get_mut(XSTATE_BV..XSTATE_BV.saturating_add(8)) {
            bv.copy_from_slice(&(in_use | SSE).to_le_bytes());
        }
    }
    let at = XMM.saturating_add(register.saturating_mul(16));
    if let Some(place) = state.get_mut(at..at.saturating_add(16)) {
        place.copy_from_slice(&value.to_le_bytes());
    }
    task.put("xstate", &state);
    Ok(Ok(()))
}

/// `--comm TID=NAME`.
pub fn comm(draft: &mut Draft<'_>, thread: Thread, name: &[u8]) -> Done {
    let tid = ok_or_refuse!(tid_of(draft, thread));
    for rec in draft.records(TASKS)? {
        let of_leader = rec.is::<ProcessRecord<'_>>() && rec.number("tgid") == tid;
        if of_leader || rec.is::<TaskRecord<'_>>() && rec.number("tid") == tid {
            rec.put("comm", name);
        }
    }
    Ok(Ok(()))
}

/// `--nice [TID=]N`.
pub fn nice(draft: &mut Draft<'_>, thread: Option<Thread>, nice: i64) -> Done {
    let only = match thread {
        Some(thread) => Some(ok_or_refuse!(tid_of(draft, thread))),
        None => None,
    };
    for rec in draft.records(TASKS)? {
        if rec.is::<TaskRecord<'_>>() && only.is_none_or(|tid| rec.number("tid") == tid) {
            rec.set_signed("nice", nice);
        }
    }
    Ok(Ok(()))
}

/// `--umask OCTAL`.
pub fn umask(draft: &mut Draft<'_>, umask: u64) -> Done {
    if let Some(fs) = draft.find::<FsRecord<'_>>(|_| true)? {
        fs.set("umask", umask);
    }
    Ok(Ok(()))
}

/// `--hostname NAME`.
pub fn hostname(draft: &mut Draft<'_>, name: &[u8]) -> Done {
    if let Some(image) = draft.find::<ImageRecord<'_>>(|_| true)? {
        image.put("hostname", name);
    }
    draft.note("the host name is recorded to be shown; a restarted process has that of the host where it is".to_owned());
    Ok(Ok(()))
}

/// `--rlimit NAME=SOFT[:HARD]`.
pub fn rlimit(draft: &mut Draft<'_>, resource: u64, soft: u64, hard: Option<u64>) -> Done {
    if let Some(limit) = draft.find::<LimitRecord>(|r| r.number("resource") == resource)? {
        limit.set("soft", soft);
        if let Some(hard) = hard {
            limit.set("hard", hard);
        }
        return Ok(Ok(()));
    }
    let name = usize::try_from(resource)
        .ok()
        .and_then(|n| RESOURCE_NAMES.get(n))
        .copied();
    let (Some(hard), Some(name)) = (hard, name) else {
        return Ok(Err(Refusal::new(
            format!(
                "the image has no limit {}",
                name.unwrap_or("of this number")
            ),
            "Give soft and hard limit: NAME=SOFT:HARD.".to_owned(),
        )));
    };
    let id = u32::try_from(resource).unwrap_or(0).saturating_add(1);
    let Some(new) = record_of(&LimitRecord {
        id,
        resource,
        soft,
        hard,
    }) else {
        return Ok(Err(Refusal::new(
            format!("the limit {name} cannot be encoded"),
            "Report this.".to_owned(),
        )));
    };
    let limits = draft.records(LIMITS)?;
    let at = limits
        .iter()
        .position(|r| r.id > id)
        .unwrap_or(limits.len());
    limits.insert(at, new);
    Ok(Ok(()))
}

const NAMES_OF_UID: [&str; 4] = ["uid", "euid", "suid", "fsuid"];
const NAMES_OF_GID: [&str; 4] = ["gid", "egid", "sgid", "fsgid"];

fn set_ids(cred: &mut Rec, names: [&str; 4], ids: Ids) -> Ids {
    let old = names.map(|n| cred.number(n));
    for (name, id) in names.iter().zip(ids) {
        cred.set(name, id);
    }
    old
}

/// `--uid R[:E:S:F]`, with what `setresuid` and `setfsuid` do to the capabilities (security/commoncap.c).
pub fn uid(draft: &mut Draft<'_>, ids: Ids) -> Done {
    let mut said = false;
    if let Some(cred) = draft.find::<CredRecord<'_>>(|_| true)? {
        let old = set_ids(cred, NAMES_OF_UID, ids);
        let ([r, e, s, f], [old_r, old_e, old_s, old_f]) = (ids, old);
        let bits = cred.number("securebits");
        if bits & NO_FIXUP != 0 {
            return Ok(Ok(()));
        }
        let before = (
            cred.number("cap_permitted"),
            cred.number("cap_effective"),
            cred.number("cap_ambient"),
        );
        let (mut permitted, mut effective, mut ambient) = before;
        let root = |ids: [u64; 3]| ids.contains(&0);
        if root([old_r, old_e, old_s]) && !root([r, e, s]) {
            if bits & KEEP_CAPS == 0 {
                permitted = 0;
            }
            (effective, ambient) = (0, 0);
        }
        match (old_e, e) {
            (0, 1..) => effective = 0,
            (1.., 0) => effective = permitted,
            _ => {}
        }
        match (old_f, f) {
            (0, 1..) => effective &= !FS_CAPS,
            (1.., 0) => effective |= permitted & FS_CAPS,
            _ => {}
        }
        effective &= permitted;
        ambient &= permitted;
        cred.set("cap_permitted", permitted);
        cred.set("cap_effective", effective);
        cred.set("cap_ambient", ambient);
        said = before != (permitted, effective, ambient);
    }
    if said {
        draft.note("the capabilities have changed as they do in setresuid(2)".to_owned());
    }
    Ok(Ok(()))
}

/// `--gid R[:E:S:F]`.
pub fn gid(draft: &mut Draft<'_>, ids: Ids) -> Done {
    if let Some(cred) = draft.find::<CredRecord<'_>>(|_| true)? {
        set_ids(cred, NAMES_OF_GID, ids);
    }
    Ok(Ok(()))
}

/// `--groups A,B`.
pub fn groups(draft: &mut Draft<'_>, groups: &[u64]) -> Done {
    let bytes: Vec<u8> = groups.iter().flat_map(|g| g.to_le_bytes()).collect();
    if let Some(cred) = draft.find::<CredRecord<'_>>(|_| true)? {
        cred.put("groups", &bytes);
    }
    Ok(Ok(()))
}
