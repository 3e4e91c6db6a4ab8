// SPDX-License-Identifier: GPL-2.0
//! `cr_eventfd.ko`, resource word `eventfd`: event counters (`eventfd(2)`).
//!
//! Preserved: counter, semaphore mode, flags. Not preserved: the kernel's running number of the instance.
//! The state comes from `fdinfo`; a restart makes the counter anew and adds what it had.

use cr_format::EventfdRecord;
use crkit::{
    anonymous::{Anonymous, AnonymousFiles},
    bindings as b, Restart, Syscall,
};
use kernel::prelude::*;

crkit::extension_module! {
    extension: AnonymousFiles<Eventfd>,
    name: "cr_eventfd",
    description: "Checkpoint and restart of processes: event counters",
    alias: ["crext-eventfd", "crext-file-anon-eventfd"],
}

/// `EFD_SEMAPHORE`.
const SEMAPHORE: u64 = 1;

/// What the extension is about.
struct Eventfd;

impl Anonymous for Eventfd {
    const WORD: &'static CStr = c"eventfd";
    const INODE: &'static [u8] = b"[eventfd]";
    type Record = EventfdRecord;

    fn record(id: u32, fdinfo: &[u8]) -> Option<EventfdRecord> {
        let (count, semaphore) = cr_logic::eventfd::parse(fdinfo)?;
        Some(EventfdRecord { id, file: id.into(), count, semaphore: semaphore.into() })
    }
    fn make(_: &Restart<'_>, r: &EventfdRecord) -> Result<Syscall> {
        // The initial value has 32 bits; the rest is added by a write.
        let first = r.count.min(u32::MAX.into());
        Ok(Syscall::new(b::__NR_eventfd2, &[first, if r.semaphore != 0 { SEMAPHORE } else { 0 }]))
    }
    fn next(cx: &Restart<'_>, r: &EventfdRecord, step: u32, fd: u32) -> Result<Option<Syscall>> {
        let rest = r.count.saturating_sub(u32::MAX.into());
        if step > 1 || rest == 0 {
            return Ok(None);
        }
        let address = cx.to_scratch(0, 0, &rest.to_ne_bytes())?;
        Ok(Some(Syscall::new(b::__NR_write, &[fd.into(), address, 8])))
    }
}
