// SPDX-License-Identifier: GPL-2.0
//! Reading the limits of a process. The only file of this module that names bindings' functions.

use cr_logic::limits::{Limit, RESOURCES};
use crkit::{bindings as b, sys::task::TaskRef};

/// The limits of the process of `t`.
pub(crate) fn limits(t: &TaskRef<'_>) -> [Limit; RESOURCES] {
    let mut raw = [b::rlimit::default(); RESOURCES];
    // SAFETY: live task; there are exactly RLIM_NLIMITS = 16 limits.
    unsafe { b::crs_rlimits(t.as_ptr(), raw.as_mut_ptr()) };
    raw.map(|l| Limit { soft: l.rlim_cur as u64, hard: l.rlim_max as u64 })
}

const _: () = assert!(RESOURCES == b::CR_RLIM_NLIMITS as usize, "room for all limits");
