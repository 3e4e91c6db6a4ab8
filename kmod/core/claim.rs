// SPDX-License-Identifier: GPL-2.0
//! Which processes are being frozen: each by one checkpoint at a time.
//!
//! Two freezes of the same threads would each park some of them and wait for the others for ever: a parked
//! thread does not run the work of the other freeze. So a freeze claims a process before it queues the first
//! work to it, and keeps the claim until it has thawed it.
//!
//! A freeze may wait for a claim while it has others, because claims are taken from parents to children: of
//! two that meet, one has the lower process only and waits for nothing.

use crkit::bindings as b;
use kernel::prelude::*;

use crate::freeze::OwnedTask;

kernel::sync::global_lock! {
    // SAFETY: `init` runs in module init, before anybody can freeze anything.
    unsafe(uninit) static CLAIMS: Mutex<KVVec<usize>> = KVVec::new();
}

/// Initialises the list.
///
/// # Safety
/// Called once, in module init.
pub(crate) unsafe fn init() {
    // SAFETY: by the caller's promise.
    unsafe { CLAIMS.init() };
}

/// The right to freeze one process; given back on drop.
///
/// The process is known by its signal struct, which stays the same when a thread other than the leader
/// executes a program. Whoever has a claim also has a reference to a task of the process, so that the struct
/// is not freed and its address not used again.
pub(crate) struct Claim(usize);

impl Claim {
    /// Claims the process of `leader`; `None` if another checkpoint has it.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(crate) fn take(leader: &OwnedTask) -> Result<Option<Self>> {
        let signal: *const b::signal_struct = leader.as_ref().fields().signal;
        let id = signal as usize;
        let mut claims = CLAIMS.lock();
        if claims.contains(&id) {
            return Ok(None);
        }
        claims.push(id, GFP_KERNEL)?;
        Ok(Some(Self(id)))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        CLAIMS.lock().retain(|id| *id != self.0);
    }
}
