// SPDX-License-Identifier: GPL-2.0
//! Sleeps of confined threads go on without a system call.
//!
//! A freeze interrupts a sleep, and a restart is a sleep that was interrupted; user mode then goes on with it by
//! `restart_syscall(2)`. A seccomp filter judges that call like any other, and one that does not know it may kill the
//! program, for nothing but a checkpoint. So for a thread whose filters do not allow it, the kernel function behind that call is
//! called here, in the thread's last work before user mode, and the call that was interrupted gets its result.
//!
//! As long as such a thread sleeps, this module cannot be unloaded.

use crate::freeze::ModuleRef;
use cr_logic::tasks::ERESTART_RESTARTBLOCK;
use crkit::{bindings as b, sys::task::TaskRef};
use kernel::prelude::*;

/// `SECCOMP_MODE_FILTER`. Strict mode allows no call that sleeps this way.
const FILTER: u32 = 2;

/// How often a work lets others go first. They run each time; what is left then is another one of these, from another
/// freeze, and both would let each other go first for ever.
const COURTESY: u32 = 4;

/// The work.
#[repr(C)]
struct Work {
    cb: b::callback_head,
    /// How often it has let others go first.
    waited: u32,
    _module: ModuleRef,
}

/// Is current on its way to a `restart_syscall(2)` that its filters may refuse?
fn is_due() -> bool {
    let me = TaskRef::current();
    // SAFETY: current's own registers and mode.
    let (ax, mode) = unsafe { ((*b::crs_pt_regs(me.as_ptr())).ax, b::crs_seccomp_mode(me.as_ptr())) };
    // CAST: a sign only.
    // SAFETY: no requirements.
    ax as i64 == ERESTART_RESTARTBLOCK && mode == FILTER && unsafe { b::crs_seccomp_may_restart() } == 0
}

/// Lets current, in a work that is about to end, go on with the sleep it was in, if its filters are in the way.
///
/// Without memory for a work it goes the usual way.
pub(crate) fn queue() {
    if !is_due() {
        return;
    }
    let Ok(_module) = ModuleRef::get() else { return };
    let cb = b::callback_head { func: Some(go_on), ..Default::default() };
    if let Ok(work) = KBox::new(Work { cb, waited: 0, _module }, GFP_KERNEL) {
        add(work);
    }
}

fn add(work: KBox<Work>) {
    let raw = KBox::into_raw(work);
    // SAFETY: current; `cb` is the first field; the work frees itself when it runs.
    if unsafe { b::task_work_add(TaskRef::current().as_ptr(), raw.cast(), b::task_work_notify_mode_TWA_RESUME) } != 0 {
        // SAFETY: not queued, still ours.
        drop(unsafe { KBox::from_raw(raw) });
    }
}

unsafe extern "C" fn go_on(cb: *mut b::callback_head) {
    // SAFETY: the works of a batch are linked until they have run.
    let is_last = unsafe { (*cb).next.is_null() };
    // SAFETY: from `add`; runs once.
    let mut work = unsafe { KBox::from_raw(cb.cast::<Work>()) };
    let me = TaskRef::current();
    if me.fields().flags & b::CR_PF_EXITING != 0 || !is_due() {
        return;
    }
    // Works tell of themselves by what interrupts a sleep, and it stays so when they have run: a freeze of this sleep, and its thaw.
    // SAFETY: no requirements. A work that comes later sets it again.
    let is_alone = unsafe {
        b::crs_clear_notify_signal_current();
        b::crs_task_work_pending_current() == 0
    };
    if (!is_last || !is_alone) && work.waited < COURTESY {
        // The others would wait as long as this one sleeps.
        work.waited = work.waited.saturating_add(1);
        return add(work);
    }
    // SAFETY: current's own, as `restart_syscall(2)` takes it: nobody else touches it.
    let block = unsafe { core::ptr::addr_of_mut!((*me.as_ptr()).restart_block) };
    // SAFETY: current's own.
    let Some(f) = (unsafe { (*block).fn_ }) else { return };
    // SAFETY: what `restart_syscall(2)` does (kernel/signal.c): set together with the code in the registers. No lock is held.
    let result = unsafe { f(block) };
    // SAFETY: current's own registers. Interrupted again, it is the same code again, for a freeze to find.
    unsafe { (*b::crs_pt_regs(me.as_ptr())).ax = result as usize };
    drop(work);
}
