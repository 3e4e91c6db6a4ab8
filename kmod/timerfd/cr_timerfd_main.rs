// SPDX-License-Identifier: GPL-2.0
//! `cr_timerfd.ko`, resource word `timerfd`: timers behind descriptors (`timerfd_create(2)`).
//!
//! Preserved: clock, mode, time left (of an absolute wall time: the time), interval, unread expirations, flags.
//! Not preserved: the phase of a periodic timer that has expired and was not read since; a pending
//! cancellation by a change of the clock. The state comes from `fdinfo`.

use cr_format::TimerfdRecord;
use cr_logic::timerfd;
use crkit::{
    anonymous::{Anonymous, AnonymousFiles},
    bindings as b,
    sys::clock,
    Restart, Syscall,
};
use kernel::prelude::*;

crkit::extension_module! {
    extension: AnonymousFiles<Timerfd>,
    name: "cr_timerfd",
    description: "Checkpoint and restart of processes: timer descriptors",
    alias: ["crext-timerfd", "crext-file-anon-timerfd"],
}

/// `TFD_IOC_SET_TICKS`: `_IOW('T', 0, u64)`.
const SET_TICKS: u64 = 0x4008_5400;

/// What the extension is about.
struct Timerfd;

impl Anonymous for Timerfd {
    const WORD: &'static CStr = c"timerfd";
    const INODE: &'static [u8] = b"[timerfd]";
    type Record = TimerfdRecord;

    fn record(id: u32, fdinfo: &[u8]) -> Option<TimerfdRecord> {
        let now = u64::try_from(clock::realtime()).unwrap_or(0);
        timerfd::parse(id, fdinfo, now)
    }
    fn make(_: &Restart<'_>, t: &TimerfdRecord) -> Result<Syscall> {
        Ok(Syscall::new(b::__NR_timerfd_create, &[t.clock, 0]))
    }
    fn next(cx: &Restart<'_>, t: &TimerfdRecord, step: u32, fd: u32) -> Result<Option<Syscall>> {
        // Setting the time clears the expirations, so they come last.
        if step == 1 && t.value_ns != 0 {
            let address = cx.to_scratch(0, 0, &timerfd::itimerspec(t))?;
            let args = [fd.into(), timerfd::settime_flags(t), address, 0];
            return Ok(Some(Syscall::new(b::__NR_timerfd_settime, &args)));
        }
        let last = if t.value_ns != 0 { 2 } else { 1 };
        if step == last && t.ticks != 0 {
            let address = cx.to_scratch(0, 0, &t.ticks.to_ne_bytes())?;
            return Ok(Some(Syscall::new(b::__NR_ioctl, &[fd.into(), SET_TICKS, address])));
        }
        Ok(None)
    }
}
