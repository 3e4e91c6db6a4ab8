// SPDX-License-Identifier: GPL-2.0
//! Tasks: identity, registers, regsets.

use crate::bindings as b;
use core::{marker::PhantomData, ptr::NonNull};
use kernel::prelude::*;

/// A borrowed `struct task_struct`.
///
/// # Invariants
/// Live, with a reference held by somebody for `'a`.
#[derive(Clone, Copy)]
pub struct TaskRef<'a> {
    ptr: NonNull<b::task_struct>,
    _life: PhantomData<&'a b::task_struct>,
}

impl TaskRef<'_> {
    /// Borrows a task.
    ///
    /// # Safety
    /// `ptr` is live for the lifetime that the caller gives the result.
    pub unsafe fn borrow<'a>(ptr: NonNull<b::task_struct>) -> TaskRef<'a> {
        // INVARIANT: by the caller's promise.
        TaskRef { ptr, _life: PhantomData }
    }

    /// The current task.
    pub fn current() -> TaskRef<'static> {
        // SAFETY: current is valid for as long as it runs this code; callers do not pass it on.
        unsafe { TaskRef::borrow(NonNull::new_unchecked(b::crs_current())) }
    }

    /// The raw pointer.
    pub fn as_ptr(&self) -> *mut b::task_struct {
        self.ptr.as_ptr()
    }

    /// The fields. The task must be frozen, or the field one that only the task itself changes.
    pub fn fields(&self) -> &b::task_struct {
        // SAFETY: live by the type invariant; see the contract above for races.
        unsafe { self.ptr.as_ref() }
    }

    /// Thread id in the caller's pid namespace.
    pub fn pid_vnr(&self) -> u32 {
        // SAFETY: live.
        unsafe { b::crs_pid_vnr(self.as_ptr()) as u32 }
    }

    /// Process id (thread group id) in the caller's pid namespace.
    pub fn tgid_vnr(&self) -> u32 {
        // SAFETY: live.
        unsafe { b::crs_tgid_vnr(self.as_ptr()) as u32 }
    }

    /// Process group in the caller's pid namespace, 0 if outside.
    pub fn pgrp_vnr(&self) -> u32 {
        // SAFETY: live.
        unsafe { b::crs_pgrp_vnr(self.as_ptr()) as u32 }
    }

    /// Real and effective user id, as the caller's user namespace sees them.
    ///
    /// # Errors
    /// `ESRCH` when it has exited.
    pub fn user_ids(&self) -> Result<(u32, u32)> {
        // SAFETY: live; a returned reference is ours.
        let cred = NonNull::new(unsafe { b::crs_task_cred_get(self.as_ptr()) }.cast_mut()).ok_or(ESRCH)?;
        // SAFETY: live by our reference; credentials in use do not change.
        let ids = unsafe { (b::crs_from_kuid(cred.as_ref().uid), b::crs_from_kuid(cred.as_ref().euid)) };
        // SAFETY: the reference is ours.
        unsafe { b::crs_put_cred(cred.as_ptr()) };
        Ok(ids)
    }

    /// `comm`, without the terminating zeroes.
    pub fn comm(&self) -> [u8; 16] {
        let mut c = [0u8; 16];
        for (to, from) in c.iter_mut().zip(self.fields().comm.iter()) {
            *to = *from as u8;
        }
        c
    }

    /// Size in bytes of the regset with ELF note type `note`, 0 when there is none: the same for all
    /// 64-bit tasks, so it is asked of the current one.
    pub fn regset_size(&self, note: u32) -> usize {
        TaskRef::current().regset(note).map_or(0, |rs| (rs.n as usize).saturating_mul(rs.size as usize))
    }

    /// Waits until a parked task has been switched out: its FPU registers and segment bases are then in
    /// memory, and stay there until it goes back to user mode.
    ///
    /// # Errors
    /// `EINTR` when the caller is being killed.
    pub fn settle(&self) -> Result {
        // SAFETY: live task; the caller may sleep.
        while unsafe { b::crs_task_on_cpu_acquire(self.as_ptr()) } != 0 {
            // SAFETY: no requirements.
            if unsafe { b::crs_fatal_signal_pending_current() } != 0 {
                return Err(EINTR);
            }
            // SAFETY: may sleep.
            unsafe { b::crs_cond_resched() };
        }
        Ok(())
    }

    /// Keeps a parked or stopped task from dying while its registers are read. Nothing may sleep meanwhile.
    ///
    /// # Errors
    /// `ESRCH` when it is dying or dead: its kernel stack, where its registers are, may be gone.
    pub fn hold(&self) -> Result<Held<'_>> {
        // SAFETY: live task; we hold no lock that is taken under siglock.
        let sighand = NonNull::new(unsafe { b::crs_hold_task(self.as_ptr()) }).ok_or(ESRCH)?;
        // INVARIANT: locked by the shim, which has looked that the task is not dying.
        Ok(Held { task: self, sighand })
    }

    /// Writes the regset with ELF note type `note`. Validated by the kernel's own code.
    ///
    /// The task must be switched out in the kernel, and must not be the current one.
    pub fn regset_set(&self, note: u32, data: &[u8]) -> Result {
        let rs = self.regset(note).ok_or(ENODEV)?;
        let set = rs.set.ok_or(ENODEV)?;
        let len = u32::try_from(data.len()).map_err(|_| EINVAL)?;
        // SAFETY: `rs` belongs to this task's view; `data` is valid for `len` bytes; the kernel buffer is
        // passed, the user one is null.
        let r = unsafe { set(self.as_ptr(), rs, 0, len, data.as_ptr().cast(), core::ptr::null()) };
        if r < 0 { Err(Error::from_errno(r)) } else { Ok(()) }
    }

    fn regset(&self, note: u32) -> Option<&'static b::user_regset> {
        // SAFETY: views are static tables.
        unsafe {
            let view = &*b::task_user_regset_view(self.as_ptr());
            core::slice::from_raw_parts(view.regsets, view.n as usize).iter().find(|r| r.core_note_type == note)
        }
    }
}

/// A parked task that cannot die.
///
/// # Invariants
/// We hold the task's `siglock` with interrupts off, and since then it has not been dying. A fatal signal is
/// only sent under that lock, so the task has its kernel stack until drop.
pub struct Held<'t> {
    task: &'t TaskRef<'t>,
    sighand: NonNull<b::sighand_struct>,
}

impl Held<'_> {
    /// The user registers as they were at the entry to the kernel.
    pub fn regs(&self) -> &b::pt_regs {
        // SAFETY: by the invariant the stack is there; a parked task's pt_regs do not change.
        unsafe { &*b::crs_pt_regs(self.task.as_ptr()) }
    }

    /// Is it a 32-bit or x32 task?
    pub fn is_compat(&self) -> bool {
        // SAFETY: by the invariant the stack is there.
        unsafe { b::crs_is_compat_task(self.task.as_ptr()) != 0 }
    }

    /// Reads the regset with ELF note type `note`; returns the bytes written into `out`.
    ///
    /// The task must have settled ([`TaskRef::settle`]).
    pub fn regset_get(&self, note: u32, out: &mut [u8]) -> Result<usize> {
        let rs = self.task.regset(note).ok_or(ENODEV)?;
        let len = u32::try_from(out.len()).map_err(|_| EINVAL)?;
        // SAFETY: parked task with a stack, state in memory; `out` is valid for `len` bytes; regset_get
        // zeroes what it does not fill, and copies without sleeping.
        let n = unsafe { b::regset_get(self.task.as_ptr(), rs, len, out.as_mut_ptr().cast()) };
        if n < 0 { Err(Error::from_errno(n)) } else { Ok(n as usize) }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // SAFETY: locked by the type invariant.
        unsafe { b::crs_sigunlock(self.sighand.as_ptr()) };
    }
}

/// `NT_PRSTATUS`: general registers.
pub const NT_PRSTATUS: u32 = 1;
/// `NT_X86_XSTATE`: everything XSAVE knows.
pub const NT_X86_XSTATE: u32 = 0x202;
