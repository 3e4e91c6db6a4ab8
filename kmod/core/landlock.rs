// SPDX-License-Identifier: GPL-2.0
//! Finding out whether a task has a Landlock domain.
//!
//! A domain hangs in the credential's security blob at an offset that no header and no symbol tells, and
//! it shows nowhere under `/proc`: without this file it would be lost silently. The offset is learned by
//! experiment: a helper process of `crctl` calls `LANDLOCK_PROBE` before and after it has enforced one
//! more ruleset on itself; the one word of the blob that changed into another kernel pointer is the slot.

use crate::freeze::OwnedTask;
use crkit::bindings as b;
use kernel::{prelude::*, sync::Mutex};

/// What is known about the slot.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slot {
    /// Nothing yet.
    Unknown,
    /// Index of the 8-byte word in the blob.
    Word(usize),
    /// The kernel has no Landlock.
    Absent,
}

kernel::sync::global_lock! {
    // SAFETY: `init` runs in module init before any use.
    unsafe(uninit) static SLOT: Mutex<Slot> = Slot::Unknown;
}

/// Initialises the slot.
///
/// # Safety
/// Called once, in module init.
pub(crate) unsafe fn init() {
    // SAFETY: by the caller's promise.
    unsafe { SLOT.init() };
}

/// What is known.
pub(crate) fn slot() -> Slot {
    *SLOT.lock()
}

/// The blob as it was before the helper restricted itself.
pub(crate) type Before = Mutex<KVec<u64>>;

fn blob(task: &OwnedTask) -> Result<KVec<u64>> {
    let mut words = KVec::new();
    with_blob(task, |w| Ok(words.extend_from_slice(w, GFP_KERNEL)?))?;
    Ok(words)
}

/// Runs `f` on the words of the security blob of the task's credentials.
fn with_blob<R>(task: &OwnedTask, f: impl FnOnce(&[u64]) -> Result<R>) -> Result<R> {
    // SAFETY: live task; returns a referenced cred.
    let cred = unsafe { b::crs_task_cred_get(task.as_ptr()) };
    // SAFETY: referenced cred.
    let blob = unsafe { (*cred).security };
    let r = if blob.is_null() {
        f(&[])
    } else {
        // SAFETY: the blob is one kmalloc'ed object (security/security.c, lsm_cred_alloc), alive as long as the
        // cred; ksize tells how many bytes of it may be read. Words beyond the used part were zeroed with it.
        f(unsafe { core::slice::from_raw_parts(blob.cast::<u64>(), b::ksize(blob) / 8) })
    };
    // SAFETY: from crs_task_cred_get.
    unsafe { b::crs_put_cred(cred) };
    r
}

/// Handles `LANDLOCK_PROBE`.
///
/// # Errors
/// `EINVAL` for an unknown stage, `ENODATA` when the experiment did not single out one word.
pub(crate) fn probe(stage: u32, before: &Before) -> Result {
    let me = OwnedTask::current();
    match stage {
        cr_uapi::LANDLOCK_BEFORE => {
            let words = blob(&me)?;
            *before.lock() = words;
            Ok(())
        }
        cr_uapi::LANDLOCK_AFTER => {
            let after = blob(&me)?;
            let mut slot = cr_logic::landlock::find_slot(&before.lock(), &after).ok_or(ENODATA).map(Slot::Word);
            if let Ok(s) = &mut slot {
                *SLOT.lock() = *s;
            }
            slot.map(|_| ())
        }
        cr_uapi::LANDLOCK_ABSENT => {
            *SLOT.lock() = Slot::Absent;
            Ok(())
        }
        _ => Err(EINVAL),
    }
}
