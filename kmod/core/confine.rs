// SPDX-License-Identifier: GPL-2.0
//! Half-built threads that install seccomp filters.
//!
//! From a successful `seccomp(2)` on the kernel judges every system call of the thread, so that it could not even tell its result. It
//! makes that call at a place of its stub behind which it waits instead (`cr_logic::stub`). The coordinator
//! looks at its mode, which only the success changes, and gives it a task work: that takes the mode away, in the thread's
//! own context, and lets it tell. The filters stay and are inherited by the threads that it makes, but do not judge
//! until extension `seccomp` puts the mode back, from outside, when nothing but user mode is to come.

use crate::{
    freeze::{ModuleRef, OwnedTask},
    restart::RestartOp,
};
use core::sync::atomic::{AtomicBool, Ordering};
use cr_logic::stub;
use crkit::{bindings as b, sys::task::TaskRef};
use kernel::{new_mutex, prelude::*, sync::Mutex};

/// `SECCOMP_SET_MODE_FILTER` of seccomp(2).
const SET_MODE_FILTER: usize = 1;

/// Does this call, if it succeeds, have those behind it judged?
pub(crate) fn confines(call: &b::cr_syscall) -> bool {
    call.nr == b::__NR_seccomp as _ && call.args.first() == Some(&SET_MODE_FILTER)
}

/// Threads that wait behind such a call.
#[pin_data]
pub(crate) struct Waiting {
    any: AtomicBool,
    #[pin]
    list: Mutex<KVec<Waiter>>,
}

struct Waiter {
    task: OwnedTask,
    /// Where its stub is.
    stub: u64,
}

impl Waiting {
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Waiting { any: AtomicBool::new(false), list <- new_mutex!(KVec::new()) })
    }

    /// Is there any?
    pub(crate) fn is_some(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    /// Current is about to make such a call.
    pub(crate) fn add(&self, stub: u64) -> Result {
        let mut list = self.list.lock();
        list.push(Waiter { task: OwnedTask::current(), stub }, GFP_KERNEL)?;
        self.any.store(true, Ordering::Release);
        Ok(())
    }

    /// Current has told its result.
    pub(crate) fn remove(&self) {
        if self.is_some() {
            let me = TaskRef::current().as_ptr();
            let mut list = self.list.lock();
            list.retain(|w| w.task.as_ptr() != me);
            self.any.store(!list.is_empty(), Ordering::Release);
        }
    }

    /// Sends those on whose call has succeeded.
    pub(crate) fn send_on(&self) -> Result {
        if !self.is_some() {
            return Ok(());
        }
        let mut list = self.list.lock();
        let mut at = 0;
        while let Some(w) = list.get(at) {
            // SAFETY: a referenced task.
            if unsafe { b::crs_seccomp_mode(w.task.as_ptr()) } == 0 {
                at = at.saturating_add(1);
                continue;
            }
            let work = Work {
                cb: b::callback_head { func: Some(unjudge), ..Default::default() },
                tell: w.stub.wrapping_add(stub::TELL),
                _module: ModuleRef::get()?,
            };
            let raw = KBox::into_raw(KBox::new(work, GFP_KERNEL)?);
            // SAFETY: a referenced task; `cb` is the first field; the work frees itself when it runs.
            if unsafe { b::task_work_add(w.task.as_ptr(), raw.cast(), b::task_work_notify_mode_TWA_RESUME) } != 0 {
                // It has been killed.
                // SAFETY: not queued, still ours.
                drop(unsafe { KBox::from_raw(raw) });
            }
            let _ = list.remove(at);
        }
        self.any.store(!list.is_empty(), Ordering::Release);
        Ok(())
    }
}

/// The work of a thread that waits behind its call.
#[repr(C)]
struct Work {
    cb: b::callback_head,
    tell: u64,
    _module: ModuleRef,
}

unsafe extern "C" fn unjudge(cb: *mut b::callback_head) {
    // SAFETY: from `send_on`; runs once.
    let w = unsafe { KBox::from_raw(cb.cast::<Work>()) };
    if TaskRef::current().fields().flags & b::CR_PF_EXITING != 0 {
        return;
    }
    // SAFETY: current is on its way to user mode, so its seccomp(2) is over.
    unsafe { b::crs_seccomp_suspend() };
    // SAFETY: current's own registers.
    let regs = unsafe { &mut *b::crs_pt_regs(TaskRef::current().as_ptr()) };
    regs.ip = w.tell as usize;
    // The result of the call: at the return from it, or from the wait behind it.
    regs.ax = 0;
    regs.orig_ax = usize::MAX;
}

/// Arranges that `call` of current is made where `op` expects it.
pub(crate) fn entry(op: &RestartOp, call: &b::cr_syscall, stub: u64) -> Result<u64> {
    if !confines(call) {
        return Ok(stub::ENTRY);
    }
    op.waiting().add(stub)?;
    op.call_coordinator();
    Ok(stub::CONFINE)
}
