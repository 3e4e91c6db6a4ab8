// SPDX-License-Identifier: GPL-2.0
//! Rings of `io_uring`: what the kernel keeps of them beside the memory that the program sees.
//!
//! Source: `include/linux/io_uring_types.h` (`struct io_ring_ctx`, `struct io_uring_task`).

use crate::{
    bindings as b,
    sys::{file::FileRef, task::TaskRef},
};
use kernel::{error::to_result, ffi::c_int, prelude::*};

/// Numbering of rings (see [`crate::Checkpoint::object_in`]), by address of their open file: the place of their record in
/// section `uring`.
pub const NUMBERS: u16 = 12;
/// Registered rings of one thread.
pub const INDICES: usize = b::CRS_RING_INDICES as usize;

/// An open file that is a ring.
pub struct Ring<'f>(&'f FileRef);

impl<'f> Ring<'f> {
    /// `None` for a file of another kind.
    pub fn of(file: &'f FileRef) -> Option<Self> {
        // INVARIANT: only io_uring makes files of this name, and their `private_data` is the ring.
        file.is_anonymous(b"[io_uring]").then_some(Self(file))
    }

    /// What it is and has.
    ///
    /// # Errors
    /// `EBUSY` when something is at work in it.
    pub fn facts(&self) -> Result<b::crs_uring> {
        let mut out = b::crs_uring::default();
        // SAFETY: a live ring by the type's invariant; valid out pointer.
        to_result(unsafe { b::crs_uring(self.0.as_ptr(), &mut out) })?;
        Ok(out)
    }

    /// Address of its context; only to be compared.
    pub fn context(&self) -> usize {
        self.0.private_data() as usize
    }

    /// Sets where the kernel stands in a ring that has never been used.
    ///
    /// Any values are safe: both are only used modulo the number of entries, and in differences to positions that
    /// the program can write at any time.
    pub fn set_positions(&self, sq_head: u32, cq_tail: u32) {
        // SAFETY: a live ring by the type's invariant; the shim takes its locks.
        unsafe { b::crs_uring_set(self.0.as_ptr(), sq_head, cq_tail) };
    }
}

/// Contexts of the rings that a frozen thread has used and that still exist.
///
/// # Errors
/// `ENOMEM`.
pub fn used(t: &TaskRef<'_>) -> Result<KVVec<usize>> {
    let mut out: KVVec<usize> = KVVec::new();
    loop {
        let room = c_int::try_from(out.len()).map_err(|_| E2BIG)?;
        // SAFETY: live task; room for that many.
        let n = unsafe { b::crs_uring_used(t.as_ptr(), out.as_mut_ptr(), room) } as usize;
        if n <= out.len() {
            out.truncate(n);
            return Ok(out);
        }
        out.resize(n, 0, GFP_KERNEL)?;
    }
}

/// The rings that a frozen thread has registered, by index: addresses of open files, 0 where there is none.
pub fn registered(t: &TaskRef<'_>) -> [usize; INDICES] {
    let mut out = [0; INDICES];
    // SAFETY: live task; room for all.
    unsafe { b::crs_uring_registered(t.as_ptr(), out.as_mut_ptr()) };
    out
}

/// Requests of a frozen thread that have not ended; `None` when that cannot be told now.
pub fn in_flight(t: &TaskRef<'_>) -> Option<u64> {
    // SAFETY: live task of which a reference is held.
    u64::try_from(unsafe { b::crs_uring_in_flight(t.as_ptr()) }).ok()
}
