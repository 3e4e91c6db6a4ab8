// SPDX-License-Identifier: GPL-2.0
//! Who may checkpoint whom: whoever may attach to it with ptrace.
//!
//! `ptrace_may_access` is not exported, but opening `/proc/PID/task/TID/mem` for writing as the caller performs
//! exactly that check (`PTRACE_MODE_ATTACH_FSCREDS`, security modules and yama included). The open file
//! holds the `mm_struct` that was checked; the freeze later proves that the process still has that one.

use crate::freeze::OwnedTask;
use crkit::{
    bindings as b,
    sys::{file::FileRef, mm::MmRef},
};
use kernel::{prelude::*, str::CString};

/// Proof that the caller may attach to a process.
pub(crate) struct Permission {
    mem: FileRef,
}

impl Permission {
    /// Checks the caller against the process of `leader`, by a thread that lives: the main thread may have ended alone.
    ///
    /// # Errors
    /// `EPERM` or `EACCES` if not allowed; `ENXIO` when `/proc` is not the real procfs; `ESRCH` when the
    /// process has no memory (kernel thread, zombie).
    pub(crate) fn check(leader: &OwnedTask) -> Result<Self> {
        let pid = leader.as_ref().tgid_vnr();
        let tid = match leader.has_ended() {
            true => leader.live_thread().ok_or(ESRCH)?.as_ref().pid_vnr(),
            false => pid,
        };
        let path = CString::try_from_fmt(fmt!("/proc/{pid}/task/{tid}/mem"))?;
        let mem = FileRef::open(&path, b::O_RDWR, 0)?;
        if mem.fs_magic() != b::CR_PROC_SUPER_MAGIC {
            return Err(ENXIO);
        }
        let me = Self { mem };
        if me.mm().is_null() { Err(ESRCH) } else { Ok(me) }
    }

    /// The address space that was checked.
    fn mm(&self) -> *mut b::mm_struct {
        // SAFETY: `mem_open` in fs/proc/base.c stores the mm there; the magic proved it is that file
        // system, and only /proc/PID/task/TID/mem could be opened under that name.
        unsafe { (*self.mem.as_ptr()).private_data.cast() }
    }
}

/// An address space with a reference (`mm_users`) of our own.
///
/// # Invariants
/// `0` is live; we own one `mm_users` reference.
pub(crate) struct OwnedMm(*mut b::mm_struct);

// SAFETY: references may be dropped on any thread.
unsafe impl Send for OwnedMm {}
// SAFETY: as above.
unsafe impl Sync for OwnedMm {}

impl OwnedMm {
    /// The address space of `task`, if it is the one that `permission` was given for.
    ///
    /// # Errors
    /// `ESRCH` when the task has none, `EAGAIN` when it has executed another program since the check.
    pub(crate) fn of(task: &OwnedTask, permission: &Permission) -> Result<Self> {
        // SAFETY: live task.
        let mm = unsafe { b::get_task_mm(task.as_ptr()) };
        if mm.is_null() {
            return Err(ESRCH);
        }
        // INVARIANT: get_task_mm gave us the reference.
        let me = Self(mm);
        if mm == permission.mm() { Ok(me) } else { Err(EAGAIN) }
    }

    /// Borrowed view.
    pub(crate) fn as_ref(&self) -> MmRef<'_> {
        // SAFETY: live while we own a reference.
        unsafe { MmRef::borrow(self.0) }
    }
}

impl Drop for OwnedMm {
    fn drop(&mut self) {
        // SAFETY: we own one reference; may sleep here.
        unsafe { b::mmput(self.0) };
    }
}
