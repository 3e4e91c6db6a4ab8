// SPDX-License-Identifier: GPL-2.0
//! Checkpoint: actions that are not the default, each thread's masks and stack, pending signals.

use crate::{
    sys::{self, Locked},
    WORD,
};
use cr_format::{ActionRecord, PendingRecord, TaskSignalsRecord};
use cr_logic::signals::{bare_siginfo, is_unblockable, Action, SIGNALS};
use crkit::{bindings as b, sys::task::TaskRef, Checkpoint, Obstacle};
use kernel::prelude::*;

/// Emits all records.
pub(crate) fn emit(cx: &Checkpoint<'_>) -> Result {
    timers(cx)?;
    actions(cx)?;
    for t in Iterator::chain(cx.ended_main().into_iter(), cx.tasks()) {
        let m = sys::masks(&t);
        let (altstack_sp, altstack_size, altstack_flags) = sys::altstack(&t);
        cx.emit(&TaskSignalsRecord {
            id: t.pid_vnr(),
            tid: t.pid_vnr().into(),
            blocked: m.blocked,
            saved_blocked: m.saved.unwrap_or(0),
            has_saved: m.saved.is_some().into(),
            altstack_sp,
            altstack_size,
            altstack_flags,
        })?;
    }
    let mut id = 0;
    pending(cx, &cx.leader(), true, &mut id)?;
    for t in cx.tasks() {
        pending(cx, &t, false, &mut id)?;
    }
    Ok(())
}

/// Timers must be read before the pending signals: see `cr_timers_main.rs`.
fn timers(cx: &Checkpoint<'_>) -> Result {
    if !sys::has_timers(&cx.leader()) || cx.require(c"timers")?.is_some() {
        return Ok(());
    }
    cx.obstacle(Obstacle::new(
        "timers",
        b"timers of the process",
        "no loaded module keeps timers",
        "install the module cr_timers where modprobe finds it (see README)",
    ))
}

fn actions(cx: &Checkpoint<'_>) -> Result {
    let leader = cx.leader();
    let mut all = [Action::default(); SIGNALS as usize];
    {
        let locked = Locked::new(&leader)?;
        for (signo, a) in (1usize..).zip(all.iter_mut()) {
            *a = locked.action(signo).unwrap_or_default();
        }
    }
    for (signo, a) in (1u32..).zip(all) {
        // The kernel's own flags are not the program's.
        if a == Action::default() {
            continue;
        }
        let (handler, flags, restorer, mask) = (a.handler, a.flags, a.restorer, a.mask);
        cx.emit(&ActionRecord { id: signo, signo: signo.into(), handler, flags, restorer, mask })?;
    }
    Ok(())
}

/// Emits one queue. Signals may still arrive while the process is frozen: those that come after the copy
/// belong to the original alone.
fn pending(cx: &Checkpoint<'_>, t: &TaskRef<'_>, shared: bool, id: &mut u32) -> Result {
    let mut queued: KVVec<b::kernel_siginfo> = KVVec::new();
    let set = loop {
        let locked = Locked::new(t)?;
        let set = locked.pending_set(shared);
        let n = locked.queue(shared, &mut queued);
        drop(locked);
        if n <= queued.len() {
            break set;
        }
        // Allocate without the lock, with some room for what arrives meanwhile, and copy again.
        queued.clear();
        queued.reserve(n.saturating_add(8), GFP_KERNEL)?;
    };
    let tid = if shared { 0 } else { t.pid_vnr() };
    let mut left = set;
    let mut put = |signo: u32, info: &[u8]| -> Result {
        if is_unblockable(signo.into()) {
            return match signo {
                b::SIGKILL => Err(cx.fail(ESRCH, WORD, "", b"the process is being killed", "")),
                _ => cx.note(WORD, b"a SIGSTOP that arrived during the checkpoint is not part of the image"),
            };
        }
        *id = id.checked_add(1).ok_or(EOVERFLOW)?;
        cx.emit(&PendingRecord { id: *id, tid: tid.into(), signo: signo.into(), info })
    };
    for k in queued.iter() {
        let info = sys::to_siginfo(k);
        let signo = info.first_chunk::<4>().map_or(0, |x| u32::from_le_bytes(*x));
        if let Some(bit) = signo.checked_sub(1).filter(|bit| *bit < SIGNALS) {
            left &= !(1u64 << bit);
        }
        put(signo, &info)?;
    }
    // Pending without an entry: the queue was full.
    for signo in (1..=SIGNALS).filter(|s| left & (1u64 << (s - 1)) != 0) {
        put(signo, &bare_siginfo(signo))?;
    }
    Ok(())
}
