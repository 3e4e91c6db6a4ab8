// SPDX-License-Identifier: GPL-2.0
//! Reading the timers of a frozen process. The only file of this module that names bindings' functions.

use cr_format::{ItimerRecord, TimerRecord};
use cr_logic::timers::Facts;
use crkit::{bindings as b, sys::task::TaskRef};
use kernel::{ffi::c_int, prelude::*};

/// One POSIX timer.
pub(crate) struct Timer {
    /// What is recorded.
    pub(crate) facts: Facts,
    /// It measures CPU time of a thread that has ended, or of another process.
    pub(crate) dead: bool,
}

/// The interval timers that are armed.
pub(crate) fn itimers(t: &TaskRef<'_>) -> [Option<ItimerRecord>; 3] {
    let mut raw = [b::crs_itimer::default(); 3];
    // SAFETY: live task; room for three.
    unsafe { b::crs_itimers(t.as_ptr(), raw.as_mut_ptr()) };
    let mut id = 0u32;
    raw.map(|i| {
        let which = u64::from(id);
        id = id.saturating_add(1);
        // Expired but not seen yet: at once.
        (i.armed != 0).then(|| ItimerRecord {
            id,
            which,
            value_ns: u64::try_from(i.left_ns).unwrap_or(0).max(1),
            interval_ns: u64::try_from(i.interval_ns).unwrap_or(0),
        })
    })
}

/// The POSIX timers, ascending by id.
pub(crate) fn timers(t: &TaskRef<'_>) -> Result<KVVec<Timer>> {
    let mut raw: KVVec<b::crs_timer> = KVVec::new();
    loop {
        let room = c_int::try_from(raw.len()).map_err(|_| E2BIG)?;
        // SAFETY: live task; `raw` has room for that many.
        let n = unsafe { b::crs_timers(t.as_ptr(), raw.as_mut_ptr(), room) };
        let n = usize::try_from(n).map_err(|_| ESRCH)?;
        if n <= raw.len() {
            raw.truncate(n);
            break;
        }
        raw.resize(n, b::crs_timer::default(), GFP_KERNEL)?;
    }
    raw.sort_unstable_by_key(|r| r.id);
    let mut out = KVVec::with_capacity(raw.len(), GFP_KERNEL)?;
    for r in raw.iter() {
        let record = TimerRecord {
            timer_id: u64::from(r.id),
            // CAST: the 32 bits of a clock id, which is negative for CPU clocks.
            clock: u64::from(r.clock as u32),
            notify: u64::from(r.notify),
            signo: u64::from(r.signo),
            value: r.value,
            tid: u64::from(r.tid),
            ..TimerRecord::default()
        };
        let facts = Facts {
            record,
            left_ns: r.left_ns,
            interval_ns: u64::try_from(r.interval_ns).unwrap_or(0),
            status: r.status,
            wall: r.wall != 0,
        };
        out.push(Timer { facts, dead: r.dead != 0 }, GFP_KERNEL)?;
    }
    Ok(out)
}
