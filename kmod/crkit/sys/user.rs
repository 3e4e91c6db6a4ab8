// SPDX-License-Identifier: GPL-2.0
//! User memory of the current task, and of a frozen one.

use crate::{bindings as b, sys::mm::MmRef, sys::task::TaskRef};
use kernel::{ffi::c_void, prelude::*};

/// Copies `bytes` to the user address `to` of the current task.
///
/// # Errors
/// `EFAULT` if any byte could not be written.
pub fn write(to: u64, bytes: &[u8]) -> Result {
    // SAFETY: copy_to_user checks the user range; the source is a valid slice.
    let left = unsafe { b::crs_copy_to_user(to as *mut c_void, bytes.as_ptr().cast(), bytes.len()) };
    if left == 0 { Ok(()) } else { Err(EFAULT) }
}

/// Fills `out` from the user address `from` of the current task.
///
/// # Errors
/// `EFAULT` if any byte could not be read.
pub fn read(from: u64, out: &mut [u8]) -> Result {
    // SAFETY: copy_from_user checks the user range; the destination is a valid slice.
    let left = unsafe { b::crs_copy_from_user(out.as_mut_ptr().cast(), from as *const c_void, out.len()) };
    if left == 0 { Ok(()) } else { Err(EFAULT) }
}

/// Fills `out` from address `from` of another (frozen) task.
///
/// # Errors
/// `EFAULT` if any byte could not be read.
pub fn read_task(t: &TaskRef<'_>, _mm: &MmRef<'_>, from: u64, out: &mut [u8]) -> Result {
    let len = i32::try_from(out.len()).map_err(|_| EINVAL)?;
    // SAFETY: the task is referenced; access_process_vm takes its own mm reference and checks the range.
    let n = unsafe { b::access_process_vm(t.as_ptr(), from as usize, out.as_mut_ptr().cast(), len, b::FOLL_FORCE) };
    if n == len { Ok(()) } else { Err(EFAULT) }
}
