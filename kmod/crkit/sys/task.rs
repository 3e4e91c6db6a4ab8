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

    /// `comm`, without the terminating zeroes.
    pub fn comm(&self) -> [u8; 16] {
        let mut c = [0u8; 16];
        for (to, from) in c.iter_mut().zip(self.fields().comm.iter()) {
            *to = *from as u8;
        }
        c
    }

    /// The user registers as they were at the entry to the kernel.
    pub fn regs(&self) -> &b::pt_regs {
        // SAFETY: a live task's stack holds its pt_regs; a frozen one's do not change.
        unsafe { &*b::crs_pt_regs(self.as_ptr()) }
    }

    /// Size in bytes of the regset with ELF note type `note`, 0 when there is none.
    pub fn regset_size(&self, note: u32) -> usize {
        self.regset(note).map_or(0, |rs| (rs.n as usize).saturating_mul(rs.size as usize))
    }

    /// Reads the regset with ELF note type `note`; returns the bytes written into `out`.
    ///
    /// The task must be frozen (and therefore its FPU state in memory).
    pub fn regset_get(&self, note: u32, out: &mut [u8]) -> Result<usize> {
        let rs = self.regset(note).ok_or(ENODEV)?;
        let len = u32::try_from(out.len()).map_err(|_| EINVAL)?;
        // SAFETY: live, frozen task; `out` is valid for `len` bytes; regset_get zeroes what it does not fill.
        let n = unsafe { b::regset_get(self.as_ptr(), rs, len, out.as_mut_ptr().cast()) };
        if n < 0 { Err(Error::from_errno(n)) } else { Ok(n as usize) }
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

/// `NT_PRSTATUS`: general registers.
pub const NT_PRSTATUS: u32 = 1;
/// `NT_X86_XSTATE`: everything XSAVE knows.
pub const NT_X86_XSTATE: u32 = 0x202;
