// SPDX-License-Identifier: GPL-2.0
//! Freezing every thread of some processes at the boundary to user mode, and letting them go again.
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

use crate::{claim::Claim, go_on};

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

    /// One more reference to the same task.
    pub(crate) fn again(&self) -> Self {
        // SAFETY: live while we own a reference; the new one moves into the result.
        unsafe { b::crs_get_task(self.as_ptr()) };
        Self(self.0)
    }

    /// Is this a thread of the process of `leader`?
    pub(crate) fn is_of(&self, leader: &OwnedTask) -> bool {
        core::ptr::eq(self.as_ref().fields().group_leader, leader.as_ptr())
    }

    /// Does it still run in the memory of its parent, which waits for it (vfork)?
    fn is_in_vfork(&self) -> bool {
        // SAFETY: live.
        unsafe { b::crs_in_vfork(self.as_ptr()) != 0 }
    }

    /// Have both the same parent?
    pub(crate) fn is_sibling_of(&self, other: &OwnedTask) -> bool {
        // SAFETY: live tasks; the results are only compared.
        unsafe { core::ptr::eq(b::crs_parent(self.as_ptr()), b::crs_parent(other.as_ptr())) }
    }

    /// Is its parent one of these processes?
    fn has_parent_among(&self, list: &[Member]) -> bool {
        // SAFETY: live; the result is only compared.
        let parent = unsafe { b::crs_parent(self.as_ptr()) };
        list.iter().any(|m| core::ptr::eq(m.leader.as_ptr(), parent))
    }

    /// Has the process ended, and its parent has not waited for it yet?
    fn is_zombie(&self) -> bool {
        self.as_ref().fields().exit_state == b::CR_EXIT_ZOMBIE as i32
    }

    /// Is this a child of the process of `leader`?
    pub(crate) fn is_child_of(&self, leader: &OwnedTask) -> bool {
        // SAFETY: live; the result is only compared.
        core::ptr::eq(unsafe { b::crs_parent(self.as_ptr()) }, leader.as_ptr())
    }

    /// Has it come to its end, waited for or not?
    pub(crate) fn is_dead(&self) -> bool {
        self.as_ref().fields().exit_state != 0
    }

    /// Id of its session or process group, in the caller's pid namespace.
    pub(crate) fn scope(&self, session: bool) -> u32 {
        // SAFETY: live.
        let id = unsafe {
            if session { b::crs_session_vnr(self.as_ptr()) } else { b::crs_pgrp_vnr(self.as_ptr()) }
        };
        id.unsigned_abs()
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

    /// Threads of the process that have not ended.
    pub(crate) fn live_threads(&self) -> u32 {
        // SAFETY: live; a null list only counts.
        unsafe { b::crs_threads(self.as_ptr(), core::ptr::null_mut(), 0) as u32 }
    }

    /// Sends SIGKILL to its process.
    pub(crate) fn kill(&self) {
        self.signal(b::SIGKILL);
    }

    /// Sends a signal to its process, as the kernel. Not to this thread alone: a main thread that has ended takes none.
    pub(crate) fn signal(&self, sig: u32) {
        // SAFETY: live; a returned reference is put below. Null once the process is gone.
        let pid = unsafe { b::get_task_pid(self.as_ptr(), b::pid_type_PIDTYPE_TGID) };
        if !pid.is_null() {
            // SAFETY: referenced; `1` marks the signal as sent by the kernel.
            unsafe {
                b::kill_pid(pid, sig as i32, 1);
                b::put_pid(pid);
            }
        }
    }

    /// A thread of the process of this leader that has not ended.
    pub(crate) fn live_thread(&self) -> Option<OwnedTask> {
        let mut t = core::ptr::null_mut();
        // SAFETY: live leader; room for one pointer, which carries a reference that moves into the result.
        unsafe {
            b::crs_threads(self.as_ptr(), &mut t, 1);
            OwnedTask::from_raw(t)
        }
    }

    /// Have all threads of the process of this leader come to their end?
    pub(crate) fn is_over(&self) -> bool {
        self.is_dead() && self.live_threads() == 0
    }
}

impl Drop for OwnedTask {
    fn drop(&mut self) {
        // SAFETY: we own one reference.
        unsafe { b::crs_put_task(self.as_ptr()) };
    }
}

/// The processes of a session or process group, the first some thousands of them.
pub(crate) fn in_scope(session: bool, id: u32) -> Result<KVVec<OwnedTask>> {
    let room = cr_format::limits::PROCESSES as usize;
    let mut list: KVVec<*mut b::task_struct> = KVVec::with_capacity(room, GFP_KERNEL)?;
    let mut found: KVVec<OwnedTask> = KVVec::with_capacity(room, GFP_KERNEL)?;
    // SAFETY: `list` has room for `room` pointers, each returned one carries a reference.
    let got = unsafe { b::crs_in_scope(session.into(), id as i32, list.as_mut_ptr(), room as i32) } as usize;
    // SAFETY: as many pointers were written, at most `room`.
    unsafe { list.inc_len(got.min(room)) };
    for t in list.iter() {
        // SAFETY: the reference from crs_in_scope moves into the guard.
        if let Some(t) = unsafe { OwnedTask::from_raw(*t) } {
            // Room was reserved: cannot fail.
            let _ = found.push(t, GFP_KERNEL);
        }
    }
    Ok(found)
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

    /// Is its work still waiting to run?
    fn is_queued(&self) -> bool {
        self.stopped_at.is_none() && self.slot.0.load(Ordering::Acquire) == QUEUED
    }

    /// Has the thread ended, or is it ending?
    fn is_gone(&self) -> bool {
        self.slot.0.load(Ordering::Acquire) == GONE || self.task.has_ended()
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

/// One process of a freeze.
pub(crate) struct Member {
    /// Keeps other checkpoints away. Given back before the reference to the leader.
    _claim: Claim,
    /// Its leader.
    pub(crate) leader: OwnedTask,
    /// Its threads in [`Freeze::tasks`], leader first unless that has ended alone; none if the process has ended.
    pub(crate) threads: core::ops::Range<usize>,
}

impl Member {
    /// Has it ended, and its parent has not waited for it yet?
    pub(crate) fn is_zombie(&self) -> bool {
        self.threads.is_empty()
    }
}

/// Processes whose threads are all parked. Thaws on drop.
pub(crate) struct Freeze {
    shared: Arc<Shared>,
    tasks: KVVec<Frozen>,
    members: KVVec<Member>,
}

/// Why a freeze did not succeed.
pub(crate) enum FreezeError {
    /// Plain errno: out of memory, interrupted.
    Errno(Error),
    /// Thread `tid` did not reach the user boundary in time; its state for the message.
    Stuck { tid: u32, comm: [u8; 16], state: u32 },
    /// A thread is traced.
    Traced { pid: u32, tid: u32 },
    /// A process runs in the memory of its parent, which waits for it.
    Vfork { pid: u32 },
    /// Another checkpoint has frozen a process all the time.
    Claimed { pid: u32 },
    /// More processes than an image can have.
    TooMany,
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

/// Which processes belong to a checkpoint.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// The process alone.
    Single,
    /// The process and all its descendants.
    Tree,
    /// The same with all members of a process group, or session, and their descendants.
    Group { session: bool, id: u32 },
}

impl Freeze {
    /// Freezes all threads of the process of `leader`, and of its descendants if `scope` says so.
    ///
    /// Repeats until a pass over threads and children finds none that it does not know, so that those
    /// created meanwhile are caught: the cut is consistent because whoever could make more is parked.
    /// Sleeps; interruptible.
    pub(crate) fn new(leader: &OwnedTask, scope: Scope) -> core::result::Result<Self, FreezeError> {
        let shared = Arc::pin_init(
            pin_init!(Shared {
                wq <- WaitQueue::new(c"cr_freeze", kernel::static_lock_class!()),
                thaw: AtomicBool::new(false),
            }),
            GFP_KERNEL,
        )?;
        // Dropped on every way out, thawing what is parked already.
        let mut me = Freeze { shared: shared.into(), tasks: KVVec::new(), members: KVVec::new() };
        let deadline = now_ms().saturating_add(TIMEOUT_MS as u64);
        me.claim(leader, deadline)?;
        loop {
            let (mut busy, claimed) = match scope {
                Scope::Tree => me.add_children()?,
                Scope::Group { session, id } => {
                    let (members, claimed) = me.add_members(session, id)?;
                    let (children, also) = me.add_children()?;
                    (members || children, claimed.or(also))
                }
                Scope::Single => (false, None),
            };
            let mut vfork = None;
            let mut i = 0;
            while let Some(leader) = me.members.get(i).map(|m| m.leader.again()) {
                if i > 0 && leader.is_in_vfork() {
                    // Its parent cannot be parked before it has executed its program or ended.
                    vfork = Some(leader.as_ref().tgid_vnr());
                } else {
                    busy |= me.add_new(&leader)?;
                }
                i = i.saturating_add(1);
            }
            let left = deadline.saturating_sub(now_ms());
            if left == 0 {
                if let Some(pid) = vfork {
                    return Err(FreezeError::Vfork { pid });
                }
                if let Some(pid) = claimed {
                    return Err(FreezeError::Claimed { pid });
                }
            }
            if vfork.is_some() || claimed.is_some() {
                // Only for a moment: what keeps us from freezing one of them may need another look.
                me.shared.wq.wait(wait::INTERRUPTIBLE, Some(1), || false)?;
                continue;
            }
            // CAST: at most the timeout.
            let jiffies = (left as usize).saturating_mul(b::CR_HZ as usize).div_ceil(1000);
            let all = me.shared.wq.wait(wait::INTERRUPTIBLE, Some(jiffies), || me.settled())?;
            if !all {
                for t in me.tasks.iter() {
                    if !t.is_settled() {
                        let r = t.task.as_ref();
                        return Err(FreezeError::Stuck { tid: r.pid_vnr(), comm: r.comm(), state: t.task.state() });
                    }
                }
            }
            // One that was stopped and has been continued meanwhile runs: it is as good as new, unless its work is
            // still to park it.
            let known = me.tasks.len();
            me.tasks.retain(|t| t.is_held() || t.is_gone() || t.is_queued());
            let quiet = !busy && me.tasks.len() == known && me.tasks.iter().all(|t| t.is_held() || t.is_gone());
            if quiet && me.ended(deadline)? {
                break;
            }
            if left == 0 {
                return Err(FreezeError::Errno(EAGAIN));
            }
        }
        // Whoever is continued from here on stays in the list: `intact` will miss it.
        me.tasks.retain(|t| !t.is_gone());
        me.arrange(scope)?;
        Ok(me)
    }

    /// Makes `leader` the first process, when no other checkpoint has it any more.
    fn claim(&mut self, leader: &OwnedTask, deadline: u64) -> core::result::Result<(), FreezeError> {
        loop {
            if let Some(claim) = Claim::take(leader)? {
                self.members.push(Member { _claim: claim, leader: leader.again(), threads: 0..0 }, GFP_KERNEL)?;
                return Ok(());
            }
            if now_ms() >= deadline {
                return Err(FreezeError::Claimed { pid: leader.as_ref().tgid_vnr() });
            }
            self.shared.wq.wait(wait::INTERRUPTIBLE, Some(1), || false)?;
        }
    }

    /// Has every main thread that is not parked come to its end, alone or with its process? Sleeps a little if not.
    fn ended(&self, deadline: u64) -> core::result::Result<bool, FreezeError> {
        let held = |m: &Member| self.tasks.iter().any(|t| t.is_held() && t.task.as_ptr() == m.leader.as_ptr());
        let Some(m) = self.members.iter().find(|m| !m.leader.is_dead() && !held(m)) else { return Ok(true) };
        if now_ms() >= deadline {
            let r = m.leader.as_ref();
            return Err(FreezeError::Stuck { tid: r.pid_vnr(), comm: r.comm(), state: m.leader.state() });
        }
        self.shared.wq.wait(wait::INTERRUPTIBLE, Some(1), || false)?;
        Ok(false)
    }

    /// Adds the topmost members of a process group or session; as [`Freeze::add_children`].
    fn add_members(&mut self, session: bool, id: u32) -> core::result::Result<(bool, Option<u32>), FreezeError> {
        let list = in_scope(session, id)?;
        let (mut added, mut claimed) = (false, None);
        for t in list.iter() {
            let known = self.members.iter().any(|m| m.leader.as_ptr() == t.as_ptr());
            // What has a parent here comes after it.
            if known || t.has_parent_among(&self.members) || list.iter().any(|l| t.is_child_of(l)) {
                continue;
            }
            if self.members.len() >= cr_format::limits::PROCESSES as usize {
                return Err(FreezeError::TooMany);
            }
            match Claim::take(t)? {
                Some(claim) => self.members.push(Member { _claim: claim, leader: t.again(), threads: 0..0 }, GFP_KERNEL)?,
                None => claimed = Some(t.as_ref().tgid_vnr()),
            }
            added = true;
        }
        Ok((added, claimed))
    }

    /// Adds the children of all processes that are known; says whether there were new ones, and names one that
    /// another checkpoint has.
    fn add_children(&mut self) -> core::result::Result<(bool, Option<u32>), FreezeError> {
        let mut set: KVVec<*mut b::task_struct> = KVVec::with_capacity(self.members.len(), GFP_KERNEL)?;
        for m in self.members.iter() {
            set.push(m.leader.as_ptr(), GFP_KERNEL)?;
        }
        let most = cr_format::limits::PROCESSES as usize;
        let room = self.members.len().saturating_add(64);
        let mut list: KVVec<*mut b::task_struct> = KVVec::with_capacity(room, GFP_KERNEL)?;
        // SAFETY: the leaders are referenced; `list` has room for `room` pointers, each returned one carries a reference.
        let got = unsafe { b::crs_descend(set.as_mut_ptr(), set.len() as i32, list.as_mut_ptr(), room as i32) } as usize;
        let got = got.min(room);
        // SAFETY: `got` pointers were written.
        unsafe { list.inc_len(got) };
        let mut result = self.members.reserve(got, GFP_KERNEL).map_err(FreezeError::from);
        if self.members.len().saturating_add(got) > most {
            result = Err(FreezeError::TooMany);
        }
        let mut claimed = None;
        for t in list.iter() {
            // SAFETY: the reference from crs_descend moves into the guard.
            let (Some(leader), Ok(())) = (unsafe { OwnedTask::from_raw(*t) }, &result) else { continue };
            match Claim::take(&leader) {
                // Room was reserved: cannot fail.
                Ok(Some(claim)) => drop(self.members.push(Member { _claim: claim, leader, threads: 0..0 }, GFP_KERNEL)),
                Ok(None) => claimed = Some(leader.as_ref().tgid_vnr()),
                Err(e) => result = Err(e.into()),
            }
        }
        result.map(|()| (got > 0, claimed))
    }

    /// Puts the threads in the order of their processes and these behind their parents; drops what has gone.
    fn arrange(&mut self, scope: Scope) -> core::result::Result<(), FreezeError> {
        // Found level by level, so that parents stand before their children; but who has lost its parent
        // during the freeze is no descendant any more, and what has been waited for is gone.
        let mut kept: KVVec<Member> = KVVec::with_capacity(self.members.len(), GFP_KERNEL)?;
        for (i, m) in core::mem::take(&mut self.members).into_iter().enumerate() {
            let is_root = match scope {
                Scope::Group { session, id } => m.leader.scope(session) == id,
                _ => kept.is_empty(),
            };
            let has_parent = is_root || m.leader.has_parent_among(&kept);
            let has_threads = self.tasks.iter().any(|t| t.task.is_of(&m.leader));
            if i == 0 && !has_threads {
                return Err(FreezeError::Errno(ESRCH));
            }
            if has_parent && (has_threads || m.leader.is_zombie()) {
                // Room was reserved.
                let _ = kept.push(m, GFP_KERNEL);
            }
        }
        let mut at = 0usize;
        for m in kept.iter_mut() {
            let start = at;
            let mut from = at;
            while let Some(t) = self.tasks.get(from) {
                if t.task.is_of(&m.leader) {
                    // The leader first; the others in the order of creation, as the thread list has them.
                    let to = if t.task.as_ptr() == m.leader.as_ptr() { start } else { at };
                    if let Some(part) = self.tasks.as_mut_slice().get_mut(to..=from) {
                        part.rotate_right(1);
                    }
                    at = at.saturating_add(1);
                }
                from = from.saturating_add(1);
            }
            m.threads = start..at;
        }
        self.members = kept;
        Ok(())
    }

    /// The processes, parents before their children.
    pub(crate) fn members(&self) -> &[Member] {
        &self.members
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
                return Err(FreezeError::Traced { pid: t.as_ref().tgid_vnr(), tid: t.as_ref().pid_vnr() });
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

    /// The frozen threads, process after process, the leader of each first if it lives.
    pub(crate) fn tasks(&self) -> &[Frozen] {
        &self.tasks
    }

    /// Has one of the threads ended?
    pub(crate) fn was_killed(&self) -> bool {
        self.tasks.iter().any(Frozen::is_gone)
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
    drop(work);
    if r.is_ok() {
        go_on::queue();
    }
}
