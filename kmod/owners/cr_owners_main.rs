// SPDX-License-Identifier: GPL-2.0
//! `cr_owners.ko`, resource word `owners`: whom open files tell by signal that they are ready.
//!
//! Preserved: `F_SETOWN`, `F_SETOWN_EX`, `F_SETSIG`, `O_ASYNC`, of every kind of open file. Not preserved: which of
//! several descriptors of one open file the signal names; it is the lowest. Refused: owners that are not part of the
//! process, owners that another user than the process's or root has set.
//!
//! The kernel remembers who has set an owner and signals with these rights, so it is set again before or behind
//! the change of credentials, whichever fits. `files` finds the owners and asks for this module, file by file.

use cr_format::{DescriptorRecord, FileRecord, OwnerRecord, ProcessRecord, FILE_EXTERNAL, OWNER_GROUP, OWNER_THREAD};
use cr_logic::{
    files::flag::O_ASYNC,
    owners::{when, User, When},
    plan::PlanError,
};
use crkit::{
    context::Member,
    plan::Plan,
    sys::{file::FileRef, once::Once, task::TaskRef},
    At, Checkpoint, Extension, Next, Obstacle, Phase, Restart,
};
use kernel::{prelude::*, str::CString};

crkit::extension_module! {
    extension: Owners,
    name: "cr_owners",
    description: "Checkpoint and restart of processes: owners of open files",
    alias: ["crext-owners"],
}

/// Resource word in messages.
const WORD: &str = "owners";
/// Numbering of owners in a process.
const NUMBERS: u16 = 7;

/// The extension.
struct Owners;

/// The calls, made when the process still has the caller's credentials, and when it has its own.
struct State {
    before: Once<Plan>,
    after: Once<Plan>,
}

fn user(ids: (u32, u32)) -> User {
    (ids.0.into(), ids.1.into())
}

impl Extension for Owners {
    const WORD: &'static CStr = c"owners";
    const SECTION: u16 = cr_format::OWNERS;
    /// Behind `creds`: see [`When::After`].
    const ORDER: u32 = 70;
    type State = State;

    fn checkpoint_file(cx: &Checkpoint<'_>, file: &FileRef, id: u32) -> Result {
        let o = file.owner().unwrap_or_default();
        let kind = u64::from(o.kind);
        let (member, name) = match kind {
            OWNER_THREAD => (Member::Thread, "thread"),
            OWNER_GROUP => (Member::Group, "process group"),
            _ => (Member::Process, "process"),
        };
        let pid = u32::try_from(o.pid).map_err(|_| EINVAL)?;
        let known = o.alive == 0 || (pid != 0 && cx.has(member, pid));
        let process = user(cx.leader().user_ids()?);
        // With whose rights nobody is signalled does not matter.
        let set_by = if o.alive == 0 { process } else { user((o.uid, o.euid)) };
        if let Some(t) = cr_logic::owners::trouble(known, set_by, process) {
            let object = CString::try_from_fmt(fmt!("owner, {name} {pid}"))?;
            let fd = cx.descriptor_of(file);
            return cx.obstacle(Obstacle { fd, ..Obstacle::new(WORD, object.to_bytes(), t.reason, t.remedy) });
        }
        let number = cx.number(NUMBERS)?;
        cx.own().emit(&OwnerRecord {
            id: number,
            file: id.into(),
            kind,
            pid: pid.into(),
            signo: u64::try_from(o.signo).map_err(|_| EINVAL)?,
            enabled: u64::from(file.flags() & O_ASYNC != 0),
            uid: set_by.0,
            euid: set_by.1,
        })
    }
    fn prepare(_: &Restart<'_>) -> Result<KBox<State>> {
        Ok(KBox::new(State { before: Once::new(), after: Once::new() }, GFP_KERNEL)?)
    }
    fn step(cx: &Restart<'_>, state: &State, at: At) -> Result<Next> {
        let (plan, now) = match at.phase {
            // The threads are there, which can be owners.
            Phase::Thread if at.task == 0 => (&state.before, When::Before),
            Phase::Late if at.task == 0 => (&state.after, When::After),
            _ => return Ok(Next::Done),
        };
        if at.step == 0 {
            plan.set(make(cx, now)?).map_err(|_| EBUSY)?;
        }
        plan.get().ok_or(EINVAL)?.step(cx, WORD, at)
    }
}

fn errno(e: PlanError) -> Error {
    match e {
        PlanError::NoMemory => ENOMEM,
        PlanError::Impossible(_) => EUCLEAN,
    }
}

/// The descriptors of the image by open file: (file, descriptor), ascending.
fn descriptors(cx: &Restart<'_>) -> Result<KVVec<(u64, u32)>> {
    let mut all = KVVec::new();
    for d in cx.records::<DescriptorRecord>() {
        let d = d?;
        all.push((d.file, u32::try_from(d.fd).map_err(|_| EUCLEAN)?), GFP_KERNEL)?;
    }
    all.sort_unstable();
    Ok(all)
}

/// The calls that are made now.
fn make(cx: &Restart<'_>, now: When) -> Result<Plan> {
    let mut plan = Plan::new();
    let process = cx.records::<ProcessRecord<'_>>().next().ok_or(EUCLEAN)??;
    let cred = cx.records::<cr_format::CredRecord<'_>>().next().ok_or(EUCLEAN)??;
    let own = (cred.uid, cred.euid);
    let me = user(TaskRef::current().user_ids()?);
    let all = descriptors(cx)?;
    let mut files = cx.shared_records::<FileRecord<'_>>();
    for o in cx.records::<OwnerRecord>() {
        let o = o?;
        // Both ascend, so one pass over the files is enough.
        let file = loop {
            let f = files.next().ok_or(EUCLEAN)??;
            if u64::from(f.id) == o.file {
                break f;
            }
        };
        let set_by = (o.uid, o.euid);
        // Behind the change of credentials the caller's are the process's, and what is left is set by them.
        let time = match now {
            When::Before => when(set_by, me, own),
            When::After => Some(if set_by == own { When::After } else { When::Before }),
        };
        let Some(time) = time else {
            let text = CString::try_from_fmt(fmt!("the owner of open file {} was set by user {}", o.file, o.uid))?;
            return Err(cx.fail(EPERM, WORD, "", text.to_bytes(), "restart as root"));
        };
        // The process may have become part of another group than the recorded one.
        let pid = match o.kind == OWNER_GROUP && o.pid == process.pgid && o.pid != 0 {
            true => TaskRef::current().pgrp_vnr(),
            false => u32::try_from(o.pid).map_err(|_| EUCLEAN)?,
        };
        // What the user connects are as many open files as descriptors; otherwise they are one.
        let most = if file.kind == FILE_EXTERNAL { usize::MAX } else { 1 };
        let first = all.partition_point(|d| d.0 < o.file);
        let own = all.get(first..).unwrap_or(&[]).iter().take_while(|d| d.0 == o.file);
        for (_, fd) in own.take(most) {
            if time == now {
                cr_logic::owners::set(&o, pid, *fd, &mut plan).map_err(errno)?;
            }
            // Last of all: what was unread is in place, and signals nobody.
            if o.enabled != 0 && now == When::After {
                let flags = FileRef::fget(*fd)?.flags();
                cr_logic::owners::enable(*fd, flags, &mut plan).map_err(errno)?;
            }
        }
    }
    Ok(plan)
}
