// SPDX-License-Identifier: GPL-2.0
//! Reading a thread's filters. The only file of this module that names bindings' functions.

use cr_format::{SECCOMP_INSTRUCTION, SECCOMP_INSTRUCTIONS};
use crkit::{bindings as b, sys::task::TaskRef};
use kernel::{error::to_result, prelude::*};

/// A filter of a thread.
pub(crate) struct Filter<'a> {
    /// Two that have the same are one.
    pub(crate) key: u64,
    /// What it does not allow is logged.
    pub(crate) log: bool,
    /// Somebody is asked about system calls.
    pub(crate) has_listener: bool,
    /// Its instructions; empty if the kernel does not have them in this form.
    pub(crate) program: &'a [u8],
}

/// Room for a program.
pub(crate) struct Room(KVVec<u8>);

impl Room {
    /// Enough for any.
    pub(crate) fn new() -> Result<Self> {
        let mut room = KVVec::new();
        room.resize(SECCOMP_INSTRUCTIONS.saturating_mul(SECCOMP_INSTRUCTION), 0, GFP_KERNEL)?;
        Ok(Self(room))
    }

    /// Filter number `level` of a thread, 0 being the one that came last; `None` behind the first.
    ///
    /// # Errors
    /// `ESRCH` when the thread has ended.
    pub(crate) fn read(&mut self, t: &TaskRef<'_>, level: u32) -> Result<Option<Filter<'_>>> {
        let mut raw = b::crs_seccomp::default();
        let room = SECCOMP_INSTRUCTIONS as u32;
        // SAFETY: live task, valid out pointer, and there is room for so many instructions of eight bytes.
        let r = unsafe { b::crs_seccomp_filter(t.as_ptr(), level, &mut raw, self.0.as_mut_ptr().cast(), room) };
        if r < 0 {
            to_result(r)?;
        }
        let len = (raw.len as usize).saturating_mul(SECCOMP_INSTRUCTION);
        let program = self.0.get(..len).ok_or(EINVAL)?;
        Ok((r == 1).then_some(Filter { key: raw.key, log: raw.log != 0, has_listener: raw.listener != 0, program }))
    }
}

/// Lets the filters of a thread that is switched out, or its strict mode, judge.
pub(crate) fn confine(t: &TaskRef<'_>, mode: u64) {
    // CAST: 1 or 2, as has been checked.
    // SAFETY: live task that is switched out and has its filters.
    unsafe { b::crs_seccomp_resume(t.as_ptr(), mode as u32) };
}
