// SPDX-License-Identifier: GPL-2.0
//! Where the kernel goes on with an interrupted sleep, learned by interrupting one.
//!
//! A relative `nanosleep`, `poll` or `FUTEX_WAIT` that is interrupted leaves its absolute deadline and the address
//! of a kernel function in `restart_block`; `restart_syscall(2)` calls it. An image has the deadline but must
//! not have the address, which is another one in each boot, and none of these functions is exported. So
//! the half-built leader makes such a call itself, with a second of patience; as soon as it sleeps, a work
//! item makes it look up (task work with `TWA_SIGNAL`, as in a freeze), and at that moment its own restart
//! block has the address. Takes well below a millisecond per function, and only those are learned that a
//! thread of the image needs. If it fails, the call is made again with its original arguments.
//!
//! Lifetimes: the work item and the task work own what they use, a reference to this module included;
//! `synchronize_rcu_tasks` at module exit covers their last instructions.

use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering};
use cr_logic::tasks::{Function, Resume, ERESTART_RESTARTBLOCK};
use crkit::{bindings as b, sys::task::TaskRef};
use kernel::{prelude::*, sync::Arc, workqueue};

/// How often the work item looks whether the task sleeps, and how long it pauses, microseconds.
const LOOKS: u32 = 5000;
const PAUSE_US: usize = 50;

/// What has been learned in this restart.
pub(crate) struct Learned {
    functions: [AtomicUsize; Function::ALL.len()],
    futex_flags: [AtomicU32; Function::ALL.len()],
}

/// This module, for the references that works hold. Set once in init.
static OWNER: AtomicPtr<b::module> = AtomicPtr::new(core::ptr::null_mut());

/// Remembers the module.
pub(crate) fn set_owner(module: &'static ThisModule) {
    OWNER.store(module.as_ptr().cast(), Ordering::Relaxed);
}

/// A reference to this module.
struct ModuleRef(());

impl ModuleRef {
    fn get() -> Result<Self> {
        // SAFETY: our own module, which is running this code and therefore live.
        if unsafe { b::try_module_get(OWNER.load(Ordering::Relaxed)) } { Ok(Self(())) } else { Err(ENODEV) }
    }
}

impl Drop for ModuleRef {
    fn drop(&mut self) {
        // SAFETY: taken in `get`.
        unsafe { b::module_put(OWNER.load(Ordering::Relaxed)) };
    }
}

/// A task with a reference of our own.
struct OwnedTask(*mut b::task_struct);

// SAFETY: task references may be used and dropped on any thread.
unsafe impl Send for OwnedTask {}

impl OwnedTask {
    fn current() -> Self {
        let t = TaskRef::current().as_ptr();
        // SAFETY: current is live.
        unsafe { b::crs_get_task(t) };
        Self(t)
    }
}

impl Drop for OwnedTask {
    fn drop(&mut self) {
        // SAFETY: we own one reference.
        unsafe { b::crs_put_task(self.0) };
    }
}

/// The task work; owns itself once it is queued.
#[repr(C)]
struct Look {
    cb: b::callback_head,
    learned: Arc<Learned>,
    function: Function,
    _module: ModuleRef,
}

// SAFETY: `cb` is not linked anywhere until the work is queued.
unsafe impl Send for Look {}

impl Learned {
    /// Nothing yet.
    pub(crate) fn new() -> Result<Arc<Self>> {
        let me = Self { functions: [const { AtomicUsize::new(0) }; 4], futex_flags: [const { AtomicU32::new(0) }; 4] };
        Ok(Arc::new(me, GFP_KERNEL)?)
    }

    /// Arranges that the current task is interrupted as soon as it sleeps in its next system call.
    pub(crate) fn start(self: &Arc<Self>, function: Function) -> Result {
        let look = KBox::new(
            Look {
                cb: b::callback_head { func: Some(look), ..Default::default() },
                learned: self.clone(),
                function,
                _module: ModuleRef::get()?,
            },
            GFP_KERNEL,
        )?;
        let task = OwnedTask::current();
        workqueue::system_long().try_spawn(GFP_KERNEL, move || interrupt(task, look))?;
        Ok(())
    }

    /// Makes the current task's interrupted call go on until its deadline. `offset` is what the process's
    /// clock is ahead of the kernel's, nanoseconds. False if the function is not known.
    pub(crate) fn resume(&self, r: &Resume, offset: i64) -> bool {
        let i = r.function.index();
        let at = self.functions.get(i).map_or(0, |f| f.load(Ordering::Acquire));
        if at == 0 {
            return false;
        }
        let deadline = r.expiry_ns.saturating_sub(offset).max(0);
        let mut block = b::restart_block::default();
        // SAFETY: the address of the function was found in a restart block of this boot.
        block.fn_ = unsafe { core::mem::transmute::<usize, Fn>(at) };
        let u = &mut block.__bindgen_anon_1;
        match r.function {
            Function::Sleep => {
                u.nanosleep.clockid = r.clock as i32;
                u.nanosleep.type_ = if r.address == 0 { b::timespec_type_TT_NONE } else { b::timespec_type_TT_NATIVE };
                u.nanosleep.__bindgen_anon_1.rmtp = r.address as *mut _;
                u.nanosleep.expires = deadline;
            }
            Function::Poll => {
                u.poll.ufds = r.address as *mut _;
                u.poll.nfds = r.value as i32;
                u.poll.has_timeout = 1;
                u.poll.end_time = b::timespec64 { tv_sec: deadline / 1_000_000_000, tv_nsec: (deadline % 1_000_000_000) as isize };
            }
            Function::FutexPrivate | Function::FutexShared => {
                u.futex.uaddr = r.address as *mut _;
                u.futex.val = r.value;
                u.futex.flags = self.futex_flags.get(i).map_or(0, |f| f.load(Ordering::Acquire));
                // FUTEX_BITSET_MATCH_ANY
                u.futex.bitset = u32::MAX;
                u.futex.time = deadline;
            }
        }
        // SAFETY: current's own field, which only it uses.
        unsafe { (*TaskRef::current().as_ptr()).restart_block = block };
        true
    }
}

/// Type of `restart_block.fn`.
type Fn = Option<unsafe extern "C" fn(*mut b::restart_block) -> kernel::ffi::c_long>;

/// Waits until the task sleeps interruptibly, then gives it the task work, which wakes it.
fn interrupt(task: OwnedTask, look: KBox<Look>) {
    for _ in 0..LOOKS {
        // SAFETY: referenced task.
        let (state, on_cpu, flags) =
            unsafe { (b::crs_task_state(task.0), b::crs_task_on_cpu_acquire(task.0), (*task.0).flags) };
        if flags & b::CR_PF_EXITING != 0 {
            return;
        }
        if on_cpu == 0 && state & b::CR_TASK_INTERRUPTIBLE != 0 {
            let raw = KBox::into_raw(look);
            // SAFETY: referenced task; `cb` is the first field of the work, which frees itself when it runs.
            if unsafe { b::task_work_add(task.0, raw.cast(), b::task_work_notify_mode_TWA_SIGNAL) } != 0 {
                // SAFETY: not queued, still ours.
                drop(unsafe { KBox::from_raw(raw) });
            }
            return;
        }
        // SAFETY: a work item may sleep.
        unsafe { b::usleep_range_state(PAUSE_US, 2 * PAUSE_US, b::CR_TASK_UNINTERRUPTIBLE) };
    }
}

/// In the interrupted task, before system call restart is decided.
unsafe extern "C" fn look(cb: *mut b::callback_head) {
    // SAFETY: `cb` is the first field of a `Look` that `interrupt` leaked; it runs once.
    let look = unsafe { KBox::from_raw(cb.cast::<Look>()) };
    let me = TaskRef::current();
    if me.fields().flags & b::CR_PF_EXITING != 0 {
        return;
    }
    // SAFETY: current's own registers, on its way to user mode.
    let regs = unsafe { &mut *b::crs_pt_regs(me.as_ptr()) };
    if regs.ax as i64 != ERESTART_RESTARTBLOCK {
        return;
    }
    let block = &me.fields().restart_block;
    let i = look.function.index();
    if let (Some(f), Some(flags)) = (look.learned.functions.get(i), look.learned.futex_flags.get(i)) {
        // SAFETY: any bit pattern of the union is a number; only futex calls use it later.
        flags.store(unsafe { block.__bindgen_anon_1.futex.flags }, Ordering::Release);
        f.store(block.fn_.map_or(0, |f| f as usize), Ordering::Release);
    }
    // The stub goes on with its next step instead of sleeping again.
    regs.ax = 0;
}
