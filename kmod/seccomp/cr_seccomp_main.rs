// SPDX-License-Identifier: GPL-2.0
//! `cr_seccomp.ko`, resource word `seccomp`: which system calls threads have left themselves.
//!
//! Preserved: strict mode; filters with their programs and their order, whether they log; which of them all threads of a
//! process have in common, so that `SECCOMP_FILTER_FLAG_TSYNC` works as before. Refused: filters with a listener. Not
//! preserved: that some but not all threads share a filter (noted).
//!
//! `tasks` finds out that a thread is confined, and asks for this module. Filters are installed by the threads' own calls: those in common by
//! the main thread before it makes the others, the rest by each. The core sees to it that they do not judge what is still
//! to be done (`core/confine.rs`); the mode comes back at the very end.

mod checkpoint;
mod sys;

use cr_format::{ConfinedRecord, ExitedRecord, FilterRecord, TaskRecord, SECCOMP_INSTRUCTION, SECCOMP_INSTRUCTIONS};
use cr_logic::seccomp::{common, flags, head, reason, HEAD};
use core::sync::atomic::{AtomicU64, Ordering};
use crkit::{
    bindings as b,
    sys::{task::TaskRef, user},
    At, Checkpoint, Extension, Next, Phase, Restart, Syscall,
};
use kernel::{ffi::c_int, prelude::*, str::CString};

crkit::extension_module! {
    extension: Seccomp,
    name: "cr_seccomp",
    description: "Checkpoint and restart of processes: system calls that threads have left themselves",
    alias: ["crext-seccomp"],
}

/// Resource word in messages.
const WORD: &str = "seccomp";
/// `SECCOMP_SET_MODE_FILTER`.
const SET_MODE_FILTER: u64 = 1;
/// Bytes that the largest program takes in user memory.
const ROOM: u64 = (HEAD + SECCOMP_INSTRUCTIONS * SECCOMP_INSTRUCTION) as u64;

/// The extension.
struct Seccomp;

/// What a thread has to do.
struct Thread {
    /// 0 if it is not confined.
    mode: u64,
    /// Ids of its filters, the first one first.
    filters: KVVec<u32>,
    /// Where it has memory for programs.
    room: AtomicU64,
}

/// What all threads have to do.
struct State {
    /// How many filters the threads have in common: the main thread installs them for all.
    common: usize,
    /// As in section `tasks`.
    threads: KVVec<Thread>,
}

impl Extension for Seccomp {
    const WORD: &'static CStr = c"seccomp";
    const SECTION: u16 = cr_format::SECCOMP;
    /// Before `tasks` (40), which makes the threads.
    const ORDER: u32 = 39;
    type State = State;

    fn checkpoint(cx: &Checkpoint<'_>) -> Result {
        checkpoint::emit(cx)
    }
    fn prepare(cx: &Restart<'_>) -> Result<KBox<State>> {
        let main_has_ended = cx.records::<ExitedRecord>().next().is_some();
        let mut threads: KVVec<Thread> = KVVec::new();
        let mut shared: Option<usize> = None;
        for (n, t) in cx.records::<TaskRecord<'_>>().enumerate() {
            let thread = thread(cx, t?.id)?;
            // One that ends again at once has no say in it.
            if n > 0 || !main_has_ended {
                let first = threads.get(usize::from(main_has_ended)).unwrap_or(&thread);
                let same = common(&first.filters, &thread.filters);
                shared = Some(shared.map_or(same, |s| s.min(same)));
            }
            threads.push(thread, GFP_KERNEL)?;
        }
        Ok(KBox::new(State { common: shared.unwrap_or(0), threads }, GFP_KERNEL)?)
    }
    fn step(cx: &Restart<'_>, state: &State, at: At) -> Result<Next> {
        let me = state.threads.get(at.task as usize).ok_or(EINVAL)?;
        match at.phase {
            Phase::Filled => {
                let all = state.threads.iter().find(|t| t.filters.len() >= state.common);
                let filters = all.and_then(|t| t.filters.get(..state.common)).unwrap_or(&[]);
                install(cx, at, at.step, filters, cx.scratch(at.task).0)
            }
            Phase::Thread => me.rest(cx, at, me.filters.get(state.common..).unwrap_or(&[])),
            _ => Ok(Next::Done),
        }
    }
    fn commit_outside(_: &Restart<'_>, state: &State, task: u32, t: &TaskRef<'_>) -> Result {
        let me = state.threads.get(task as usize).ok_or(EINVAL)?;
        if me.mode != 0 {
            sys::confine(t, me.mode);
        }
        Ok(())
    }
}

impl Thread {
    /// Installs the filters that this thread has for itself. Programs are longer than its scratch memory.
    fn rest(&self, cx: &Restart<'_>, at: At, filters: &[u32]) -> Result<Next> {
        if filters.is_empty() {
            return Ok(Next::Done);
        }
        if at.step == 0 {
            let access = u64::from(b::PROT_READ | b::PROT_WRITE);
            let kind = u64::from(b::MAP_PRIVATE | b::MAP_ANONYMOUS);
            return Ok(Next::Call(Syscall::new(b::__NR_mmap, &[0, ROOM, access, kind, u64::MAX, 0])));
        }
        if at.step == 1 {
            let Ok(room) = u64::try_from(at.prev) else {
                return Err(cx.fail(errno(at.prev), WORD, "", b"there is no memory for the filters of a thread", "free memory"));
            };
            self.room.store(room, Ordering::Relaxed);
        }
        let room = self.room.load(Ordering::Relaxed);
        let step = at.step.saturating_sub(1);
        let made = (step as usize) > filters.len();
        match install(cx, at, step, filters, room)? {
            Next::Done if !made => Ok(Next::Call(Syscall::new(b::__NR_munmap, &[room, ROOM]))),
            next => Ok(next),
        }
    }
}

/// Step `step` of installing these filters with user memory at `room`; `at.prev` is the result of the step before.
fn install(cx: &Restart<'_>, at: At, step: u32, filters: &[u32], room: u64) -> Result<Next> {
    let before = (step as usize).checked_sub(1).and_then(|n| filters.get(n));
    if let (Some(id), true) = (before, at.prev != 0) {
        let (why, remedy) = reason(at.prev);
        let text = CString::try_from_fmt(fmt!("filter {id} cannot be installed: {why}"))?;
        return Err(cx.fail(errno(at.prev), WORD, "", text.to_bytes(), remedy));
    }
    let Some(id) = filters.get(step as usize) else { return Ok(Next::Done) };
    let f = filter(cx, *id)?;
    let len = u16::try_from(f.program.len() / SECCOMP_INSTRUCTION).map_err(|_| EUCLEAN)?;
    user::write(room, &head(len, room))?;
    user::write(room.checked_add(HEAD as u64).ok_or(EOVERFLOW)?, f.program)?;
    Ok(Next::Call(Syscall::new(b::__NR_seccomp, &[SET_MODE_FILTER, flags(f.log != 0), room])))
}

fn errno(result: i64) -> Error {
    c_int::try_from(result).ok().filter(|e| (-4095..0).contains(e)).map_or(EPROTO, Error::from_errno)
}

/// The filter with this id.
fn filter<'a>(cx: &Restart<'a>, id: u32) -> Result<FilterRecord<'a>> {
    for f in cx.records::<FilterRecord<'a>>() {
        let f = f?;
        if f.id == id {
            return Ok(f);
        }
    }
    Err(EUCLEAN)
}

/// Mode and filters of the thread `tid`.
fn thread(cx: &Restart<'_>, tid: u32) -> Result<Thread> {
    let mut thread = Thread { mode: 0, filters: KVVec::new(), room: AtomicU64::new(0) };
    for c in cx.records::<ConfinedRecord>() {
        let c = c?;
        if c.id != tid {
            continue;
        }
        thread.mode = c.mode;
        let mut at = u32::try_from(c.filter).map_err(|_| EUCLEAN)?;
        while at != 0 {
            thread.filters.push(at, GFP_KERNEL)?;
            // It has a lower number, as has been checked: this ends.
            at = u32::try_from(filter(cx, at)?.under).map_err(|_| EUCLEAN)?;
        }
        thread.filters.as_mut_slice().reverse();
    }
    Ok(thread)
}
