// SPDX-License-Identifier: GPL-2.0
//! Freezing every thread of a process at the boundary to user mode, and letting it go again.
//!
//! Each thread gets a task work with `TWA_SIGNAL`: blocking system calls return early, and the work runs
//! in the thread before it would go back to user mode. There it parks until the thaw. At that place it
//! holds no kernel lock, its registers and FPU state are in memory, and system call restart has not been
//! applied yet, so that neither a thawed nor a restarted thread notices anything.
//!
//! Parked threads are killable: SIGKILL ends them at once. A work that comes too late (its thread was in
//! an uninterruptible sleep) finds the `thaw` flag set and passes through, because works cannot be
//! cancelled: they own what they use.
//!
//! A thread that a signal has stopped is at that boundary already; it gets no work, is read as it is, and must
//! not have run in between. One that stops while its work is queued counts the same, and its work parks it
//! should it be continued.
//!
//! Locks: none held while waiting. RCU only inside `crs_threads`.

use core::{
    ptr::NonNull,
    sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering},
};
use crkit::{
    bindings as b,
    sys::{task::TaskRef, wait, wait::WaitQueue},
};
use kernel::{prelude::*, sync::Arc};

/// This module, for the references that queued works hold. Set once in init.
static OWNER: AtomicPtr<b::module> = AtomicPtr::new(core::ptr::null_mut());

/// How long threads may take to reach the user boundary, in milliseconds.
const TIMEOUT_MS: usize = 5000;

/// Remembers the module for works and pump steps.
pub(crate) fn set_owner(module: &'static ThisModule) {
    OWNER.store(module.as_ptr().cast(), Ordering::Relaxed);
}

/// A reference to this module, held by everything that runs its code later.
pub(crate) struct ModuleRef(());

impl ModuleRef {
    /// Takes a reference.
    pub(crate) fn get() -> Result<Self> {
        // SAFETY: our own module, which is running this code and therefore live.
        if unsafe { b::try_module_get(OWNER.load(Ordering::Relaxed)) } { Ok(Self(())) } else { Err(ENODEV) }
    }
}

impl Drop for ModuleRef {
    fn drop(&mut self) {
        // SAFETY: taken in `get`. Code after this is covered by synchronize_rcu_tasks at module exit.
        unsafe { b::module_put(OWNER.load(Ordering::Relaxed)) };
    }
}

/// A task with a reference of our own.
///
/// # Invariants
/// `0` is live; we own one reference.
pub(crate) struct OwnedTask(NonNull<b::task_struct>);

// SAFETY: task references may be used and dropped on any thread.
unsafe impl Send for OwnedTask {}
// SAFETY: as above.
unsafe impl Sync for OwnedTask {}

impl OwnedTask {
    /// Takes over a reference; `None` for null.
    ///
    /// # Safety
    /// The caller gives one reference to a live task away.
    pub(crate) unsafe fn from_raw(t: *mut b::task_struct) -> Option<Self> {
        NonNull::new(t).map(Self)
    }

    /// A reference to the current task.
    pub(crate) fn current() -> Self {
        let t = TaskRef::current().as_ptr();
        // SAFETY: current is live and not null.
        unsafe {
            b::crs_get_task(t);
            Self(NonNull::new_unchecked(t))
        }
    }

    /// The thread group leader of process `pid` in the caller's pid namespace.
    ///
    /// # Errors
    /// `ESRCH` when there is none, `EINVAL` when `pid` is the id of another thread.
    pub(crate) fn leader_of(pid: i32) -> Result<Self> {
        if pid <= 0 {
            return Err(EINVAL);
        }
        // SAFETY: a lookup; a returned reference is put below.
        let p = unsafe { b::find_get_pid(pid) };
        if p.is_null() {
            return Err(ESRCH);
        }
        // SAFETY: `p` is referenced.
        let (leader, any) = unsafe {
            (Self::from_raw(b::get_pid_task(p, b::pid_type_PIDTYPE_TGID)), Self::from_raw(b::get_pid_task(p, b::pid_type_PIDTYPE_PID)))
        };
        // SAFETY: from find_get_pid.
        unsafe { b::put_pid(p) };
        match (leader, any) {
            (Some(l), _) => Ok(l),
            (None, Some(_)) => Err(EINVAL),
            (None, None) => Err(ESRCH),
        }
    }

    /// Borrowed view.
    pub(crate) fn as_ref(&self) -> TaskRef<'_> {
        // SAFETY: live while we own a reference.
        unsafe { TaskRef::borrow(self.0) }
    }

    /// Raw pointer.
    pub(crate) fn as_ptr(&self) -> *mut b::task_struct {
        self.0.as_ptr()
    }

    /// `__state`.
    fn state(&self) -> u32 {
        // SAFETY: live.
        unsafe { b::crs_task_state(self.as_ptr()) }
    }

    /// Is the thread stopped by a signal?
    fn is_stopped(&self) -> bool {
        self.state() & b::CR_TASK_STOPPED != 0
    }

    /// Voluntary context switches so far: a stopped thread that has not run has the same number.
    fn switches(&self) -> usize {
        // SAFETY: live; a word read.
        unsafe { core::ptr::addr_of!((*self.as_ptr()).nvcsw).read_volatile() }
    }

    /// Is this a kernel thread?
    pub(crate) fn is_kernel_thread(&self) -> bool {
        self.as_ref().fields().flags & b::CR_PF_KTHREAD != 0
    }

    /// Has the thread ended although others of its process may live?
    pub(crate) fn has_ended(&self) -> bool {
        let f = self.as_ref();
        f.fields().exit_state != 0 || f.fields().flags & b::CR_PF_EXITING != 0
    }

    /// Is the whole process on its way out, by exit_group or a fatal signal?
    pub(crate) fn is_dying(&self) -> bool {
        let signal = self.as_ref().fields().signal;
        // SAFETY: a task's signal struct lives as long as the task; a word read.
        !signal.is_null() && unsafe { (*signal).flags } & b::CR_SIGNAL_GROUP_EXIT != 0
    }

    /// Threads of the process that have not ended.
    pub(crate) fn live_threads(&self) -> u32 {
        // SAFETY: live; a null list only counts.
        unsafe { b::crs_threads(self.as_ptr(), core::ptr::null_mut(), 0) as u32 }
    }

    /// Sends SIGKILL to its process.
    pub(crate) fn kill(&self) {
        self.signal(b::SIGKILL);
    }

    /// Sends a signal to its process, as the kernel.
    pub(crate) fn signal(&self, sig: u32) {
        // SAFETY: live; `1` marks the signal as sent by the kernel.
        unsafe { b::send_sig(sig as i32, self.as_ptr(), 1) };
    }
}

impl Drop for OwnedTask {
    fn drop(&mut self) {
        // SAFETY: we own one reference.
        unsafe { b::crs_put_task(self.as_ptr()) };
    }
}

const QUEUED: u32 = 0;
const PARKED: u32 = 1;
const GONE: u32 = 2;
const LEFT: u32 = 3;

/// What the coordinator and the works of one freeze share.
#[pin_data]
struct Shared {
    #[pin]
    wq: WaitQueue,
    thaw: AtomicBool,
}

/// Where one thread is.
struct Slot(AtomicU32);

/// The work of one thread; owns itself from queueing until it has run.
#[repr(C)]
struct Work {
    cb: b::callback_head,
    shared: Arc<Shared>,
    slot: Arc<Slot>,
    _module: ModuleRef,
}

/// One frozen thread.
pub(crate) struct Frozen {
    /// The thread.
    pub(crate) task: OwnedTask,
    slot: Arc<Slot>,
    /// Voluntary context switches when it was found stopped by a signal.
    stopped_at: Option<usize>,
}

impl Frozen {
    /// Has the thread no work waiting to run, or will that work park it before anything else?
    fn is_settled(&self) -> bool {
        self.stopped_at.is_some() || self.slot.0.load(Ordering::Acquire) != QUEUED || self.task.is_stopped()
    }

    /// Is the thread at the user boundary, and has been since it was found there?
    fn is_held(&self) -> bool {
        match (self.stopped_at, self.slot.0.load(Ordering::Acquire)) {
            (Some(n), _) => self.task.is_stopped() && self.task.switches() == n,
            (None, PARKED) => true,
            (None, QUEUED) => self.task.is_stopped(),
            _ => false,
        }
    }
}

/// A process whose threads are all parked. Thaws on drop.
pub(crate) struct Freeze {
    shared: Arc<Shared>,
    tasks: KVec<Frozen>,
}

/// Why a freeze did not succeed.
pub(crate) enum FreezeError {
    /// Plain errno: out of memory, interrupted.
    Errno(Error),
    /// Thread `tid` did not reach the user boundary in time; its state for the message.
    Stuck { tid: u32, comm: [u8; 16], state: u32 },
    /// A thread is traced.
    Traced { tid: u32 },
}

impl From<Error> for FreezeError {
    fn from(e: Error) -> Self {
        FreezeError::Errno(e)
    }
}

impl From<kernel::alloc::AllocError> for FreezeError {
    fn from(e: kernel::alloc::AllocError) -> Self {
        FreezeError::Errno(e.into())
    }
}

impl Freeze {
    /// Freezes all threads of the process of `leader`.
    ///
    /// Repeats until a pass over the thread list finds no thread it does not know, so that threads
    /// created meanwhile are caught. Sleeps; interruptible.
    pub(crate) fn new(leader: &OwnedTask) -> core::result::Result<Self, FreezeError> {
        let shared = Arc::pin_init(
            pin_init!(Shared {
                wq <- WaitQueue::new(c"cr_freeze", kernel::static_lock_class!()),
                thaw: AtomicBool::new(false),
            }),
            GFP_KERNEL,
        )?;
        // Dropped on every way out, thawing what is parked already.
        let mut me = Freeze { shared: shared.into(), tasks: KVec::new() };
        let deadline = now_ms().saturating_add(TIMEOUT_MS as u64);
        loop {
            let added = me.add_new(leader)?;
            let left = deadline.saturating_sub(now_ms()) as usize;
            let jiffies = left.saturating_mul(b::CR_HZ as usize).div_ceil(1000);
            let all = me.shared.wq.wait(wait::INTERRUPTIBLE, Some(jiffies), || me.settled())?;
            if !all {
                for t in me.tasks.iter() {
                    if !t.is_settled() {
                        let r = t.task.as_ref();
                        return Err(FreezeError::Stuck { tid: r.pid_vnr(), comm: r.comm(), state: t.task.state() });
                    }
                }
            }
            if !added {
                break;
            }
        }
        me.tasks.retain(|t| t.is_held());
        // The leader first; then in the order of creation, as the thread list has them.
        if let Some(i) = me.tasks.iter().position(|t| t.task.as_ptr() == leader.as_ptr()) {
            if let Some(head) = me.tasks.as_mut_slice().get_mut(..=i) {
                head.rotate_right(1);
            }
        } else {
            return Err(FreezeError::Errno(ESRCH));
        }
        Ok(me)
    }

    fn settled(&self) -> bool {
        self.tasks.iter().all(Frozen::is_settled)
    }

    /// Queues a work to every thread that has none; says whether there was any.
    fn add_new(&mut self, leader: &OwnedTask) -> core::result::Result<bool, FreezeError> {
        // The list may grow between counting and listing: room to spare, and another pass later.
        // SAFETY: live leader; a null list only counts.
        let n = unsafe { b::crs_threads(leader.as_ptr(), core::ptr::null_mut(), 0) } as usize;
        let room = n.saturating_add(16);
        let mut list: KVVec<*mut b::task_struct> = KVVec::with_capacity(room, GFP_KERNEL)?;
        // SAFETY: `list` has room for `room` pointers; each returned one carries a reference.
        let got = unsafe { b::crs_threads(leader.as_ptr(), list.as_mut_ptr(), room as i32) } as usize;
        let got = got.min(room);
        // SAFETY: `got` pointers were written.
        unsafe { list.inc_len(got) };
        let mut fresh: KVVec<OwnedTask> = KVVec::with_capacity(got, GFP_KERNEL).inspect_err(|_| {
            for t in list.iter() {
                // SAFETY: each carries a reference.
                unsafe { b::crs_put_task(*t) };
            }
        })?;
        for t in list.iter() {
            // SAFETY: the reference from crs_threads moves into the guard.
            if let Some(t) = unsafe { OwnedTask::from_raw(*t) } {
                // Room was reserved: cannot fail.
                let _ = fresh.push(t, GFP_KERNEL);
            }
        }
        // Taken from the end: the order of the thread list is kept.
        fresh.as_mut_slice().reverse();
        let mut added = false;
        while let Some(t) = fresh.pop() {
            if self.tasks.iter().any(|k| k.task.as_ptr() == t.as_ptr()) {
                continue;
            }
            if t.as_ref().fields().ptrace != 0 {
                return Err(FreezeError::Traced { tid: t.as_ref().pid_vnr() });
            }
            if t.is_stopped() {
                let stopped_at = Some(t.switches());
                let slot = Arc::new(Slot(AtomicU32::new(PARKED)), GFP_KERNEL)?;
                self.tasks.push(Frozen { task: t, slot, stopped_at }, GFP_KERNEL)?;
            } else {
                self.queue(t)?;
            }
            added = true;
        }
        Ok(added)
    }

    fn queue(&mut self, task: OwnedTask) -> Result {
        let slot = Arc::new(Slot(AtomicU32::new(QUEUED)), GFP_KERNEL)?;
        let work = KBox::new(
            Work {
                cb: b::callback_head { func: Some(park), ..Default::default() },
                shared: self.shared.clone(),
                slot: slot.clone(),
                _module: ModuleRef::get()?,
            },
            GFP_KERNEL,
        )?;
        self.tasks.reserve(1, GFP_KERNEL)?;
        let raw = KBox::into_raw(work);
        // SAFETY: live task; `cb` is the first field of the work, which frees itself when it runs.
        if unsafe { b::task_work_add(task.as_ptr(), raw.cast(), b::task_work_notify_mode_TWA_SIGNAL) } != 0 {
            // The thread is past the point where works run: exiting.
            // SAFETY: not queued, so the box is still ours.
            drop(unsafe { KBox::from_raw(raw) });
            slot.0.store(GONE, Ordering::Release);
        }
        self.tasks.push(Frozen { task, slot, stopped_at: None }, GFP_KERNEL)?;
        Ok(())
    }

    /// The frozen threads, leader first.
    pub(crate) fn tasks(&self) -> &[Frozen] {
        &self.tasks
    }

    /// Are all threads still where they were? False once one of them has been killed or continued.
    pub(crate) fn intact(&self) -> bool {
        self.tasks.iter().all(Frozen::is_held)
    }
}

impl Drop for Freeze {
    fn drop(&mut self) {
        self.shared.thaw.store(true, Ordering::Release);
        self.shared.wq.wake_all();
        // No need to wait: a work owns everything it touches.
    }
}

fn now_ms() -> u64 {
    // SAFETY: no requirements.
    (unsafe { b::ktime_get() } as u64) / 1_000_000
}

/// The work: parks the current thread until the thaw or its death.
unsafe extern "C" fn park(cb: *mut b::callback_head) {
    // SAFETY: `cb` is the first field of a `Work` that `queue` leaked; it runs once.
    let work = unsafe { KBox::from_raw(cb.cast::<Work>()) };
    let me = TaskRef::current();
    let dying = me.fields().flags & (b::CR_PF_EXITING | b::CR_PF_KTHREAD | b::CR_PF_USER_WORKER) != 0;
    if dying || work.shared.thaw.load(Ordering::Acquire) {
        work.slot.0.store(if dying { GONE } else { LEFT }, Ordering::Release);
        work.shared.wq.wake_all();
        return;
    }
    work.slot.0.store(PARKED, Ordering::Release);
    work.shared.wq.wake_all();
    let r = work.shared.wq.wait(wait::PARKED, None, || work.shared.thaw.load(Ordering::Acquire));
    if r.is_ok() {
        // SAFETY: current's own registers.
        let regs = unsafe { &mut *b::crs_pt_regs(me.as_ptr()) };
        // SAFETY: current.
        let pending = unsafe { b::crs_task_sigpending(me.as_ptr()) } != 0;
        if let Some(ax) = cr_logic::freeze::restart_interrupted(regs.orig_ax as i64, regs.ax as i64, pending) {
            regs.ax = ax as usize;
        }
        work.slot.0.store(LEFT, Ordering::Release);
    } else {
        work.slot.0.store(GONE, Ordering::Release);
    }
    work.shared.wq.wake_all();
}
