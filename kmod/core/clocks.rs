// SPDX-License-Identifier: GPL-2.0
//! Clocks and the identity of this boot.
//!
//! Absolute deadlines of CLOCK_MONOTONIC live in the memory of programs (glibc, Python), so a restarted
//! process must see that clock go on where it was. On the boot of the checkpoint it does by itself; on
//! another boot the process gets a time namespace whose offset makes up the difference.

use crkit::{bindings as b, sys::file::FileRef};
use kernel::prelude::*;

/// Host clocks in nanoseconds.
#[derive(Clone, Copy)]
pub(crate) struct Clocks {
    /// CLOCK_REALTIME.
    pub(crate) realtime: i64,
    /// CLOCK_MONOTONIC without namespace offset.
    pub(crate) monotonic: i64,
    /// CLOCK_BOOTTIME without namespace offset.
    pub(crate) boottime: i64,
}

/// Offsets of a time namespace in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Offsets {
    /// Of CLOCK_MONOTONIC.
    pub(crate) monotonic: i64,
    /// Of CLOCK_BOOTTIME.
    pub(crate) boottime: i64,
}

/// CLOCK_MONOTONIC of the host in nanoseconds.
pub(crate) fn monotonic() -> i64 {
    // SAFETY: no requirements.
    unsafe { b::ktime_get() }
}

impl Clocks {
    /// Reads them now.
    pub(crate) fn now() -> Self {
        let mut real = b::timespec64::default();
        // SAFETY: valid out pointer.
        unsafe { b::ktime_get_real_ts64(&mut real) };
        // SAFETY: no requirements; TK_OFFS_BOOT is a valid offset.
        let boottime = unsafe { b::ktime_get_with_offset(b::tk_offsets_TK_OFFS_BOOT) };
        Self { realtime: nanos(&real), monotonic: monotonic(), boottime }
    }
}

fn nanos(t: &b::timespec64) -> i64 {
    (t.tv_sec as i64).saturating_mul(1_000_000_000).saturating_add(t.tv_nsec as i64)
}

/// The time namespace offsets that `task` (frozen or current) runs with.
///
/// # Errors
/// `ESRCH` when the task has exited.
pub(crate) fn offsets_of(task: *mut b::task_struct) -> Result<Offsets> {
    let mut ns = b::crs_namespaces::default();
    // SAFETY: the caller's task is live; valid out pointer.
    kernel::error::to_result(unsafe { b::crs_namespaces(task, &mut ns) })?;
    Ok(Offsets { monotonic: ns.monotonic_ns, boottime: ns.boottime_ns })
}

/// The random id of this boot, 16 bytes.
///
/// # Errors
/// What opening or reading `/proc/sys/kernel/random/boot_id` gives; `EINVAL` if it is no UUID.
pub(crate) fn boot_id() -> Result<[u8; 16]> {
    let f = FileRef::open(c"/proc/sys/kernel/random/boot_id", b::O_RDONLY, 0)?;
    let mut text = [0u8; 40];
    let mut pos = 0i64;
    // SAFETY: live file; valid buffer.
    let n = unsafe { b::kernel_read(f.as_ptr(), text.as_mut_ptr().cast(), text.len(), &mut pos) };
    let n = usize::try_from(n).map_err(|_| EIO)?;
    cr_logic::clocks::parse_uuid(text.get(..n).unwrap_or(&[])).ok_or(EINVAL)
}
