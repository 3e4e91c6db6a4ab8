// SPDX-License-Identifier: GPL-2.0
//! Checkpoint: every filter once, and which one each thread has.

use crate::{sys, WORD};
use cr_format::{ConfinedRecord, FilterRecord, SECCOMP_FILTER, SECCOMP_STRICT};
use crkit::{sys::task::TaskRef, Checkpoint, Obstacle};
use kernel::prelude::*;

/// A filter that is in the image.
struct Known {
    key: u64,
    /// How many threads have it as one of theirs.
    threads: u32,
    /// The one under it, 0 if there is none.
    under: u32,
}

/// Emits all records.
pub(crate) fn emit(cx: &Checkpoint<'_>) -> Result {
    let mut room = sys::Room::new()?;
    let mut known: KVVec<Known> = KVVec::new();
    let mut threads = 0u32;
    for t in cx.tasks() {
        threads = threads.saturating_add(1);
        let mode = u64::try_from(t.fields().seccomp.mode).unwrap_or(u64::MAX);
        let filter = match mode {
            0 => continue,
            SECCOMP_STRICT => 0,
            SECCOMP_FILTER => filters(cx, &t, &mut room, &mut known)?,
            _ => {
                let reason = "the thread has made a system call that its filter answers with death";
                return cx.obstacle(Obstacle { tid: t.pid_vnr(), ..Obstacle::new(WORD, b"seccomp", reason, "try again") });
            }
        };
        cx.emit(&ConfinedRecord { id: t.pid_vnr(), mode, filter: filter.into() })?;
        let mut at = filter;
        while let Some(k) = number(at).and_then(|n| known.as_mut_slice().get_mut(n)) {
            k.threads = k.threads.saturating_add(1);
            at = k.under;
        }
    }
    if known.iter().any(|k| k.threads > 1 && k.threads < threads) {
        let text = b"some threads, not all, share a seccomp filter; after a restart each has its own, which cannot be imposed on the others (SECCOMP_FILTER_FLAG_TSYNC)";
        cx.note(WORD, text)?;
    }
    Ok(())
}

/// Place of the filter with this id in the list of those that are known.
fn number(id: u32) -> Option<usize> {
    usize::try_from(id).ok()?.checked_sub(1)
}

/// Emits the filters of a thread that are not known yet; the id of the one that came last.
fn filters(cx: &Checkpoint<'_>, t: &TaskRef<'_>, room: &mut sys::Room, known: &mut KVVec<Known>) -> Result<u32> {
    let mut unknown = 0u32;
    let mut under = 0u32;
    while let Some(f) = room.read(t, unknown)? {
        if let Some(n) = known.iter().position(|k| k.key == f.key) {
            under = u32::try_from(n).map_err(|_| EOVERFLOW)?.saturating_add(1);
            break;
        }
        unknown = unknown.saturating_add(1);
    }
    for level in (0..unknown).rev() {
        let f = room.read(t, level)?.ok_or(ESRCH)?;
        let obstacle = |reason, remedy| {
            cx.obstacle(Obstacle { tid: t.pid_vnr(), ..Obstacle::new(WORD, b"seccomp filter", reason, remedy) })
        };
        let id = u32::try_from(known.len()).map_err(|_| EOVERFLOW)?.saturating_add(1);
        known.push(Known { key: f.key, threads: 0, under }, GFP_KERNEL)?;
        if f.has_listener {
            obstacle(
                "another program answers for it (SECCOMP_FILTER_FLAG_NEW_LISTENER), and could not be connected again",
                "start the program without such a supervisor",
            )?;
        } else if f.program.is_empty() {
            obstacle("the kernel does not have its program in a form that can be kept", "start the program without it")?;
        } else {
            cx.emit(&FilterRecord { id, under: under.into(), log: f.log.into(), program: f.program })?;
        }
        under = id;
    }
    Ok(under)
}
