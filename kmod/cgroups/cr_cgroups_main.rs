// SPDX-License-Identifier: GPL-2.0
//! `cr_cgroups.ko`, resource word `cgroups`: the control group of a process.
//!
//! Preserved: membership in the unified hierarchy, if the group exists at the restart and may be joined; else the process
//! stays in that of whoever restarts it, and a note says so, or the restart fails if the user wants that. Not
//! preserved: settings of the group, hierarchies of version 1. Noted: threads in groups of their own.
//!
//! `tasks` asks for this module if a process is not in the root group. It is joined before memory is filled, so that
//! the memory is counted there.

use cr_format::CgroupRecord;
use cr_logic::cgroups::{next, reason, required, wanted, State as Calls, Step, JOIN, MOUNT};
use core::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use crkit::{
    bindings as b,
    sys::task::TaskRef,
    At, Checkpoint, Extension, Next, Phase, Restart, Syscall,
};
use kernel::{
    ffi::c_int,
    prelude::*,
    str::{BStr, CString},
};

crkit::extension_module! {
    extension: Cgroups,
    name: "cr_cgroups",
    description: "Checkpoint and restart of processes: control groups",
    alias: ["crext-cgroups"],
}

/// Resource word in messages.
const WORD: &str = "cgroups";
/// Longest path, with its end.
const PATH_MAX: usize = 4096;

/// The extension.
struct Cgroups;

/// What the calls that join a group have returned so far; only the leader uses it.
#[derive(Default)]
struct Joining {
    fd: AtomicU64,
    written: AtomicI64,
}

/// The path of the group of a task into `buf`; `None` in the root group.
fn path<'b>(t: &TaskRef<'_>, buf: &'b mut [u8]) -> Result<Option<&'b [u8]>> {
    let len = c_int::try_from(buf.len()).map_err(|_| EINVAL)?;
    // SAFETY: live task; `buf` is valid for `len` bytes.
    let n = unsafe { b::crs_cgroup_path(t.as_ptr(), buf.as_mut_ptr().cast(), len) };
    let n = usize::try_from(n).map_err(|_| Error::from_errno(n))?;
    let path = buf.get(..n).ok_or(ENAMETOOLONG)?;
    Ok((path != b"/").then_some(path))
}

/// The group of whoever restarts.
fn here<'b>(buf: &'b mut [u8]) -> Result<Option<&'b [u8]>> {
    path(&TaskRef::current(), buf)
}

impl Extension for Cgroups {
    const WORD: &'static CStr = c"cgroups";
    const SECTION: u16 = cr_format::CGROUPS;
    /// Before `memory` (10).
    const ORDER: u32 = 5;
    type State = Joining;

    fn checkpoint(cx: &Checkpoint<'_>) -> Result {
        let mut buf = KVec::from_elem(0u8, PATH_MAX, GFP_KERNEL)?;
        let leader = cx.leader();
        if let Some(path) = path(&leader, &mut buf)? {
            cx.emit(&CgroupRecord { id: 1, path })?;
        }
        let other = |t: &TaskRef<'_>| {
            // SAFETY: live tasks; the groups are only compared.
            unsafe { b::crs_same_cgroup(leader.as_ptr(), t.as_ptr()) == 0 }
        };
        if cx.tasks().any(|t| other(&t)) {
            cx.note(WORD, b"threads are in control groups of their own; after a restart they are in that of the process")?;
        }
        Ok(())
    }
    fn prepare(_: &Restart<'_>) -> Result<KBox<Joining>> {
        Ok(KBox::new(Joining::default(), GFP_KERNEL)?)
    }
    fn step(cx: &Restart<'_>, state: &Joining, at: At) -> Result<Next> {
        if at.phase != Phase::Process || at.task != 0 || !wanted(cx.flags()) {
            return Ok(Next::Done);
        }
        let Some(group) = cx.records::<CgroupRecord<'_>>().next() else { return Ok(Next::Done) };
        let group = group?.path;
        let mut name = 0;
        if at.step == 0 {
            let mut buf = KVec::from_elem(0u8, PATH_MAX, GFP_KERNEL)?;
            if here(&mut buf)? == Some(group) {
                return Ok(Next::Done);
            }
            let mut text = KVec::new();
            for part in [MOUNT, group, JOIN, b"\0"] {
                text.extend_from_slice(part, GFP_KERNEL)?;
            }
            name = cx.to_scratch(at.task, 16, &text)?;
        }
        let zero = cx.to_scratch(at.task, 0, b"0")?;
        let mut calls = Calls { fd: state.fd.load(Ordering::Relaxed), written: state.written.load(Ordering::Relaxed) };
        let step = next(at.step, at.prev, name, zero, &mut calls);
        state.fd.store(calls.fd, Ordering::Relaxed);
        state.written.store(calls.written, Ordering::Relaxed);
        match step {
            Step::Call(nr, args) => Ok(Next::Call(Syscall::new(nr, &args))),
            Step::Joined => Ok(Next::Done),
            Step::Failed(e) => not_joined(cx, group, e).map(|()| Next::Done),
        }
    }
}

/// Says why the process is not in its group; an error if the user wants it there.
fn not_joined(cx: &Restart<'_>, group: &[u8], error: i64) -> Result {
    let why = reason(error);
    let path = BStr::from_bytes(group);
    if required(cx.flags()) {
        let text = CString::try_from_fmt(fmt!("the control group {path} {why}"))?;
        let e = c_int::try_from(error).map_or(EINVAL, Error::from_errno);
        return Err(cx.fail(e, WORD, "", text.to_bytes(), "create it first, or leave --cgroups=require out"));
    }
    let text = CString::try_from_fmt(fmt!("the control group {path} {why}: the process stays in that of crctl"))?;
    cx.note(WORD, text.to_bytes())
}
