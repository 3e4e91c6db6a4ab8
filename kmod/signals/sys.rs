// SPDX-License-Identifier: GPL-2.0
//! Signal state under its lock. The only file of this module that names bindings' functions.
//!
//! The `kernel` crate has no signal state beyond "is one pending".

use core::{marker::PhantomData, ptr::NonNull};
use cr_logic::signals::{siginfo, Action, Masks, SIGINFO};
use crkit::{bindings as b, sys::task::TaskRef};
use kernel::{ffi::c_int, prelude::*, types::NotThreadSafe};

/// The signal state of a thread, locked: neither actions nor queues of its process change.
///
/// # Invariants
/// `sighand` is that of `task`, and this CPU holds its `siglock` with interrupts off until drop. Nothing
/// may sleep meanwhile.
pub(crate) struct Locked<'t> {
    sighand: NonNull<b::sighand_struct>,
    task: &'t TaskRef<'t>,
    _not_send: PhantomData<NotThreadSafe>,
}

impl<'t> Locked<'t> {
    /// Locks it.
    ///
    /// # Errors
    /// `ESRCH` when the task has exited.
    pub(crate) fn new(task: &'t TaskRef<'t>) -> Result<Self> {
        // SAFETY: the task is referenced; we hold no lock that is taken under siglock.
        let s = unsafe { b::crs_lock_task_sighand(task.as_ptr()) };
        // INVARIANT: locked by the shim, unlocked in `drop` only.
        Ok(Self { sighand: NonNull::new(s).ok_or(ESRCH)?, task, _not_send: PhantomData })
    }

    /// The action of signal `signo`, from 1.
    pub(crate) fn action(&self, signo: usize) -> Option<Action> {
        // SAFETY: live and locked by the type invariant.
        let k = unsafe { (*self.sighand.as_ptr()).action.get(signo.checked_sub(1)?) }?;
        Some(Action {
            handler: k.sa.sa_handler.map_or(0, |f| f as usize as u64),
            flags: k.sa.sa_flags as u64,
            restorer: k.sa.sa_restorer.map_or(0, |f| f as usize as u64),
            mask: word(&k.sa.sa_mask),
        })
    }

    /// Replaces the action of signal `signo`, from 1.
    pub(crate) fn set_action(&mut self, signo: usize, a: &Action) {
        // SAFETY: live and locked by the type invariant.
        let actions = unsafe { &mut (*self.sighand.as_ptr()).action };
        let Some(k) = signo.checked_sub(1).and_then(|i| actions.get_mut(i)) else { return };
        k.sa.sa_flags = a.flags as usize;
        k.sa.sa_mask = set(a.mask);
        // SAFETY: handler and restorer are user addresses in fields of function pointer type, which the
        // kernel never calls; an integer of the same size, with 0 for none, is a valid value of them.
        unsafe {
            k.sa.sa_handler = core::mem::transmute::<usize, b::__sighandler_t>(a.handler as usize);
            k.sa.sa_restorer = core::mem::transmute::<usize, b::__sigrestore_t>(a.restorer as usize);
        }
    }

    fn pending(&self, shared: bool) -> *mut b::sigpending {
        let t = self.task.as_ptr();
        // SAFETY: the signal_struct lives as long as the task.
        unsafe {
            if shared {
                &raw mut (*(*t).signal).shared_pending
            } else {
                &raw mut (*t).pending
            }
        }
    }

    /// The set of pending signals, of the process or of the thread.
    pub(crate) fn pending_set(&self, shared: bool) -> u64 {
        // SAFETY: a live queue, locked.
        unsafe { word(&(*self.pending(shared)).signal) }
    }

    /// Appends the queued signals to `out` as far as its capacity goes; returns how many there are.
    pub(crate) fn queue(&self, shared: bool, out: &mut KVVec<b::kernel_siginfo>) -> usize {
        let room = out.spare_capacity_mut();
        let max = c_int::try_from(room.len()).unwrap_or(c_int::MAX);
        // SAFETY: a live queue, locked; room for `max` entries.
        let n = unsafe { b::crs_sigpending_copy(self.pending(shared), room.as_mut_ptr().cast(), max) };
        // SAFETY: the first `min(n, max)` entries were written.
        unsafe { out.inc_len(n.min(max) as usize) };
        n as usize
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        // SAFETY: locked by the type invariant.
        unsafe { b::crs_sigunlock(self.sighand.as_ptr()) };
    }
}

/// 64 signals as a number.
fn word(s: &b::sigset_t) -> u64 {
    s.sig.first().copied().unwrap_or(0) as u64
}

/// A number as 64 signals.
fn set(w: u64) -> b::sigset_t {
    b::sigset_t { sig: [w as usize; 1] }
}

/// `siginfo_t` for user space from the kernel's copy, which is its first part.
pub(crate) fn to_siginfo(k: &b::kernel_siginfo) -> [u8; SIGINFO] {
    // SAFETY: all bytes of a queued siginfo are initialised: the kernel clears it first, because it
    // copies it to user space.
    let bytes = unsafe { core::slice::from_raw_parts(core::ptr::from_ref(k).cast::<u8>(), core::mem::size_of_val(k)) };
    siginfo(bytes)
}

/// The masks of a parked thread.
pub(crate) fn masks(t: &TaskRef<'_>) -> Masks {
    let f = t.fields();
    // SAFETY: live task.
    let saved = unsafe { b::crs_test_restore_sigmask(t.as_ptr()) } != 0;
    Masks { blocked: word(&f.blocked), saved: saved.then(|| word(&f.saved_sigmask)) }
}

/// Alternate stack: address, size, flags.
pub(crate) fn altstack(t: &TaskRef<'_>) -> (u64, u64, u64) {
    let f = t.fields();
    (f.sas_ss_sp as u64, f.sas_ss_size as u64, f.sas_ss_flags.into())
}

/// Puts the masks of the current thread in force.
pub(crate) fn set_masks(m: &Masks) {
    let mut blocked = set(m.blocked);
    // SAFETY: valid set; no old set wanted. SIGKILL and SIGSTOP are not in it: see `cr_logic::signals::masks`.
    unsafe { b::sigprocmask(b::SIG_SETMASK as c_int, &mut blocked, core::ptr::null_mut()) };
    if let Some(saved) = m.saved {
        // SAFETY: current's own field, which only it uses; the flag says that it is valid.
        unsafe {
            (*TaskRef::current().as_ptr()).saved_sigmask = set(saved);
            b::crs_set_restore_sigmask();
        }
    }
}

/// Does the process have timers, armed or not?
pub(crate) fn has_timers(t: &TaskRef<'_>) -> bool {
    // SAFETY: a task's signal_struct lives as long as the task_struct; its users are frozen.
    let s = unsafe { &*t.fields().signal };
    // SAFETY: the timer is initialised as long as the signal_struct lives.
    let real = s.it_real_incr != 0 || unsafe { b::hrtimer_active(&s.real_timer) };
    real || s.it.iter().any(|i| i.expires != 0) || !s.posix_timers.first.is_null()
}
