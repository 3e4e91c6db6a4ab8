// SPDX-License-Identifier: GPL-2.0
//! Clocks of the host.

use crate::bindings as b;

/// CLOCK_REALTIME, nanoseconds since 1970 UTC.
pub fn realtime() -> i64 {
    let mut t = b::timespec64::default();
    // SAFETY: valid out pointer.
    unsafe { b::ktime_get_real_ts64(&mut t) };
    (t.tv_sec as i64).saturating_mul(1_000_000_000).saturating_add(t.tv_nsec as i64)
}
