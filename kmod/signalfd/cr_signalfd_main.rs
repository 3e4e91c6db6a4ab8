// SPDX-License-Identifier: GPL-2.0
//! `cr_signalfd.ko`, resource word `signalfd`: descriptors that signals are read from (`signalfd(2)`).
//!
//! Preserved: mask, flags. The pending signals themselves are kept by `signals`. The state comes from `fdinfo`.

use cr_format::SignalfdRecord;
use crkit::{
    anonymous::{Anonymous, AnonymousFiles},
    bindings as b, Restart, Syscall,
};
use kernel::prelude::*;

crkit::extension_module! {
    extension: AnonymousFiles<Signalfd>,
    name: "cr_signalfd",
    description: "Checkpoint and restart of processes: signal descriptors",
    alias: ["crext-signalfd", "crext-file-anon-signalfd"],
}

/// What the extension is about.
struct Signalfd;

impl Anonymous for Signalfd {
    const WORD: &'static CStr = c"signalfd";
    const INODE: &'static [u8] = b"[signalfd]";
    type Record = SignalfdRecord;

    fn record(id: u32, fdinfo: &[u8]) -> Option<SignalfdRecord> {
        Some(SignalfdRecord { id, file: id.into(), mask: cr_logic::signalfd::parse(fdinfo)? })
    }
    fn make(cx: &Restart<'_>, r: &SignalfdRecord) -> Result<Syscall> {
        let address = cx.to_scratch(0, 0, &r.mask.to_ne_bytes())?;
        // -1: a new one.
        Ok(Syscall::new(b::__NR_signalfd4, &[u64::MAX, address, 8, 0]))
    }
}
