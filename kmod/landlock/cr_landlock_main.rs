// SPDX-License-Identifier: GPL-2.0
//! `cr_landlock.ko`, resource word `landlock`: the restrictions that threads have put on themselves.
//!
//! Preserved: the layers of each thread's domain, with the rights that they handle, their scopes and what the audit log
//! is told. Refused: domains that allow single files or ports, which name objects that have no name any more; scoped
//! domains that several processes share, which could not signal each other afterwards. Not preserved: that processes
//! share a domain, which decides who may trace whom (noted); rights that a file lost because it was opened under the domain.
//!
//! `tasks` finds out that a thread has a domain, and asks for this module. The layers are enforced when all files are open,
//! before the caller's privileges go.

mod sys;

use cr_format::{LayerRecord, SubjectRecord};
use cr_logic::landlock::{log_flags, next, reason, Making, Step, ATTR_LEN};
use core::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use crkit::{bindings as b, sys::task::TaskRef, At, Checkpoint, Extension, Next, Obstacle, Phase, Restart, Syscall};
use kernel::{
    ffi::c_int,
    prelude::*,
    str::CString,
};

crkit::extension_module! {
    extension: Landlock,
    name: "cr_landlock",
    description: "Checkpoint and restart of processes: Landlock domains",
    alias: ["crext-landlock"],
}

/// Resource word in messages.
const WORD: &str = "landlock";
/// What helps where nothing else does.
const DROP: &str = "--drop landlock restarts the process without its restrictions";

/// The extension.
struct Landlock;

/// What the calls of a thread have returned so far.
#[derive(Default)]
struct Thread {
    fd: AtomicU64,
    enforced: AtomicI64,
}

/// One for each thread, as in section `tasks`.
struct State(KVVec<Thread>);

impl Extension for Landlock {
    const WORD: &'static CStr = c"landlock";
    const SECTION: u16 = cr_format::LANDLOCK;
    /// Behind `tasks` (40), before `limits` (50), which may leave no descriptor, and `creds` (60), which may leave no right to it.
    const ORDER: u32 = 45;
    type State = State;

    fn checkpoint(cx: &Checkpoint<'_>) -> Result {
        let Some(word) = cx.landlock_word() else { return Ok(()) };
        let mut known = KVVec::new();
        let mut layers = 0u32;
        for t in cx.tasks() {
            let Some(d) = sys::read(&t, word)? else { continue };
            let number = match known.iter().position(|key| *key == d.key()) {
                Some(n) => n,
                None => {
                    known.push(d.key(), GFP_KERNEL)?;
                    domain(cx, word, &t, &d, known.len(), &mut layers)?;
                    known.len().saturating_sub(1)
                }
            };
            let domain = u64::try_from(number).map_err(|_| EOVERFLOW)?.saturating_add(1);
            let log_off = u64::from(d.log_off());
            cx.emit(&SubjectRecord { id: t.pid_vnr(), domain, log_off })?;
        }
        Ok(())
    }
    fn prepare(cx: &Restart<'_>) -> Result<KBox<State>> {
        let mut threads = KVVec::new();
        for t in cx.records::<cr_format::TaskRecord<'_>>() {
            t?;
            threads.push(Thread::default(), GFP_KERNEL)?;
        }
        Ok(KBox::new(State(threads), GFP_KERNEL)?)
    }
    fn step(cx: &Restart<'_>, state: &State, at: At) -> Result<Next> {
        if at.phase != Phase::Late {
            return Ok(Next::Done);
        }
        let Some(layers) = layers(cx, cx.thread_id(at.task))? else { return Ok(Next::Done) };
        let thread = state.0.get(at.task as usize).ok_or(EINVAL)?;
        let mut making = Making {
            fd: thread.fd.load(Ordering::Relaxed),
            enforced: thread.enforced.load(Ordering::Relaxed),
        };
        let attr = cx.scratch(at.task).0;
        let flags = |n: usize| layers.get(n).map_or(0, |l| l.log);
        let step = next(at.step, at.prev, layers.len(), attr, flags, &mut making);
        thread.fd.store(making.fd, Ordering::Relaxed);
        thread.enforced.store(making.enforced, Ordering::Relaxed);
        match step {
            Step::Call(nr, args, n) => {
                let rights = layers.get(n).ok_or(EINVAL)?;
                cx.to_scratch(at.task, 0, &attr_of(rights))?;
                Ok(Next::Call(Syscall::new(nr, &args)))
            }
            Step::Done => Ok(Next::Done),
            Step::Failed(n, e) => {
                let (why, remedy) = reason(e);
                let level = n.saturating_add(1);
                let text = CString::try_from_fmt(fmt!("layer {level} of the Landlock domain cannot be made: {why}"))?;
                let e = c_int::try_from(e).map_or(EINVAL, Error::from_errno);
                Err(cx.fail(e, WORD, "", text.to_bytes(), remedy))
            }
        }
    }
}

/// Tells the layers of a domain, which `t` has, and what is in the way.
fn domain(cx: &Checkpoint<'_>, word: usize, t: &TaskRef<'_>, d: &sys::Domain, number: usize, count: &mut u32) -> Result {
    let obstacle = |reason| {
        let tid = t.pid_vnr();
        cx.obstacle(Obstacle { tid, ..Obstacle::new(WORD, b"Landlock domain", reason, DROP) })
    };
    if d.has_rules() {
        obstacle("it allows single files or ports, and the kernel does not tell which")?;
    }
    match shared(cx, word, d)? {
        Some(true) => obstacle("another process is in it too, and could not be signalled or connected to any more")?,
        Some(false) => {
            cx.note(WORD, b"processes share a Landlock domain; after a restart each has its own and cannot trace the others")?;
        }
        None => {}
    }
    let mut logs = KVec::new();
    for l in d.layers() {
        logs.push(sys::log(l), GFP_KERNEL)?;
    }
    for (n, l) in d.layers().iter().enumerate() {
        *count = count.saturating_add(1);
        cx.emit(&LayerRecord {
            id: *count,
            domain: u64::try_from(number).map_err(|_| EOVERFLOW)?,
            level: u64::try_from(n).map_err(|_| EOVERFLOW)?.saturating_add(1),
            fs: l.fs.into(),
            net: l.net.into(),
            scope: l.scope.into(),
            quiet_fs: l.quiet_fs.into(),
            quiet_net: l.quiet_net.into(),
            quiet_scope: l.quiet_scope.into(),
            log: log_flags(&logs, n, d.log_off()),
        })?;
    }
    Ok(())
}

/// Has another process a layer of this domain? And does one of these confine signals or sockets to those who have it?
fn shared(cx: &Checkpoint<'_>, word: usize, d: &sys::Domain) -> Result<Option<bool>> {
    let mut found = None;
    for other in cx.all_processes().filter(|other| other.process() != cx.process()) {
        for t in other.tasks() {
            let Some(theirs) = sys::read(&t, word)? else { continue };
            let common = |l: &b::crs_landlock_layer| theirs.layers().iter().any(|m| m.key == l.key);
            for l in d.layers().iter().filter(|l| common(l)) {
                found = Some(found.unwrap_or(false) || l.scope != 0);
            }
        }
    }
    Ok(found)
}

/// The layers of the thread `tid`, if it has any.
fn layers<'a>(cx: &Restart<'a>, tid: u32) -> Result<Option<KVec<LayerRecord>>> {
    let mut domain = None;
    for s in cx.records::<SubjectRecord>() {
        let s = s?;
        if s.id == tid {
            domain = Some(s.domain);
        }
    }
    let Some(domain) = domain else { return Ok(None) };
    let mut layers = KVec::new();
    for l in cx.records::<LayerRecord>() {
        let l = l?;
        if l.domain == domain {
            layers.push(l, GFP_KERNEL)?;
        }
    }
    Ok(Some(layers))
}

/// `struct landlock_ruleset_attr`.
fn attr_of(l: &LayerRecord) -> [u8; ATTR_LEN] {
    let mut attr = [0; ATTR_LEN];
    let words = [l.fs, l.net, l.scope, l.quiet_fs, l.quiet_net, l.quiet_scope];
    for (to, word) in attr.chunks_exact_mut(8).zip(words) {
        to.copy_from_slice(&word.to_le_bytes());
    }
    attr
}
