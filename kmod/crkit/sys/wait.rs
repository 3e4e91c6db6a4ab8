// SPDX-License-Identifier: GPL-2.0
//! Wait queues with a condition, a task state and a timeout.
//!
//! The `kernel` crate's `CondVar` cannot wait killable or with `TASK_NOLOAD`, which parked tasks need
//! (they must die at once on SIGKILL and must neither count as load nor trip the hung-task detector).

use crate::bindings as b;
use core::pin::Pin;
use kernel::{prelude::*, types::Opaque};

/// A `wait_queue_head_t`.
#[pin_data]
pub struct WaitQueue {
    #[pin]
    head: Opaque<b::wait_queue_head>,
}

// SAFETY: wait queue heads are made to be used from any context; all access goes through their lock.
unsafe impl Send for WaitQueue {}
// SAFETY: as above.
unsafe impl Sync for WaitQueue {}

/// Interruptible by any signal.
pub const INTERRUPTIBLE: u32 = b::CR_TASK_INTERRUPTIBLE;
/// Interruptible by fatal signals only.
pub const KILLABLE: u32 = b::CR_TASK_KILLABLE;
/// Not interruptible.
pub const UNINTERRUPTIBLE: u32 = b::CR_TASK_UNINTERRUPTIBLE;
/// How frozen tasks wait: killable, freezable by suspend, no load, invisible to the hung-task detector.
pub const PARKED: u32 = b::CR_PARK_STATE;

impl WaitQueue {
    /// A new queue.
    pub fn new(name: &'static CStr, key: Pin<&'static kernel::sync::LockClassKey>) -> impl PinInit<Self> {
        pin_init!(Self {
            head <- Opaque::ffi_init(|slot| {
                // SAFETY: `slot` is valid and pinned; name and key are static.
                unsafe { b::__init_waitqueue_head(slot, name.as_ptr().cast(), key.as_ptr().cast()) }
            }),
        })
    }

    /// Wakes every waiter, which then test their conditions again.
    pub fn wake_all(&self) {
        // SAFETY: initialised head; TASK_NORMAL (interruptible and uninterruptible, which KILLABLE
        // includes), all waiters.
        unsafe {
            b::__wake_up(self.head.get(), b::CR_TASK_INTERRUPTIBLE | b::CR_TASK_UNINTERRUPTIBLE, 0, core::ptr::null_mut())
        };
    }

    /// Waits until `done` returns true.
    ///
    /// Returns false when `jiffies` have passed first.
    ///
    /// # Errors
    /// `EINTR` when `state` lets a signal interrupt and one came.
    pub fn wait(&self, state: u32, jiffies: Option<usize>, mut done: impl FnMut() -> bool) -> Result<bool> {
        let mut entry = b::wait_queue_entry::default();
        // SAFETY: `entry` stays on this stack frame until finish_wait below.
        unsafe { b::init_wait_entry(&mut entry, 0) };
        // MAX_SCHEDULE_TIMEOUT means for ever.
        let mut left = jiffies.map_or(isize::MAX, |j| isize::try_from(j).unwrap_or(isize::MAX));
        let result = loop {
            // SAFETY: initialised head and entry.
            let interrupted = unsafe { b::prepare_to_wait_event(self.head.get(), &mut entry, state as i32) };
            if done() {
                break Ok(true);
            }
            if interrupted != 0 {
                break Err(EINTR);
            }
            if left == 0 {
                break Ok(false);
            }
            // SAFETY: may sleep here; we hold no lock.
            left = unsafe { b::schedule_timeout(left) };
        };
        // SAFETY: matches prepare_to_wait_event.
        unsafe { b::finish_wait(self.head.get(), &mut entry) };
        result
    }
}

/// Lets others run, in a long loop that holds no lock.
///
/// # Errors
/// `EINTR` when the current task is being killed.
pub fn resched() -> Result {
    // SAFETY: may sleep; the caller holds no spinlock, which no safe code here can.
    unsafe { b::crs_cond_resched() };
    // SAFETY: no requirements.
    if unsafe { b::crs_fatal_signal_pending_current() } != 0 { Err(EINTR) } else { Ok(()) }
}
