// SPDX-License-Identifier: GPL-2.0
//! Comparing the finished address space with the records, before any of the program runs.
//!
//! Some calls that build it only try (a lock whose pages cannot be faulted in, a limit that is too low),
//! and kernels differ; what counts is the result.

use crate::{restart::State, WORD};
use cr_format::KeysRecord;
use cr_logic::memory::{
    judge::{self, Backing},
    Spec,
};
use crkit::{
    sys::{
        mm::{MmRef, VmaRef},
        user,
    },
    Restart,
};
use kernel::{prelude::*, str::CString};

/// The vDSO must be the code that the process has been using.
pub(crate) fn vdso(cx: &Restart<'_>, st: &State, crc: u64) -> Result {
    let Some(v) = st.vdso else { return Ok(()) };
    let mut code = KVec::from_elem(0u8, v.end.saturating_sub(v.code) as usize, GFP_KERNEL)?;
    user::read(v.code, &mut code)?;
    if u64::from(cr_format::crc::crc32(0, &code)) == crc {
        return Ok(());
    }
    Err(cx.fail(
        ENOEXEC,
        WORD,
        "",
        b"the vDSO of this kernel differs from the image's",
        "boot the kernel build of the checkpoint, on a processor of the same kind",
    ))
}

/// Every area of the image is there as recorded, and nothing else but the restart's own.
pub(crate) fn areas(cx: &Restart<'_>, st: &State, merge_any: bool) -> Result {
    let mm = MmRef::current()?;
    let locked = mm.lock()?;
    let mask = judge::compared_flags(merge_any);
    // Without keys in the image the kernel may give some to execute-only memory.
    let keyed = cx.records::<KeysRecord>().next().is_some();
    let mut wanted = st.areas.iter().peekable();
    let mut at = 0;
    // Where the rest of an area of the image must begin that is split here.
    let mut rest = None;
    while let Some(v) = locked.find(at) {
        at = v.end();
        match rest.take() {
            Some(r) if r != v.start() => return Err(differs(cx, r, "a part of the area is missing")),
            _ => {}
        }
        if v.start() >= st.hole.0 && v.end() <= st.hole.1 {
            continue;
        }
        // The kernel joins neighbours that are alike, so one area here may be several of the image.
        let mut covered = v.start();
        while covered < v.end() {
            let Some(a) = wanted.next_if(|a| a.start <= covered && covered < a.end && a.end <= v.end()) else {
                match wanted.peek() {
                    Some(a) if a.start <= covered && v.end() < a.end => {
                        same(cx, &v, a, mask, keyed)?;
                        rest = Some(v.end());
                        break;
                    }
                    _ => return Err(differs(cx, covered, "memory that the image does not have")),
                }
            };
            same(cx, &v, a, mask, keyed)?;
            covered = a.end;
        }
    }
    match wanted.next() {
        Some(a) => Err(differs(cx, a.start, "the area is missing")),
        None => Ok(()),
    }
}

fn same(cx: &Restart<'_>, v: &VmaRef<'_>, a: &Spec, mask: u64, keyed: bool) -> Result {
    let flags = v.flags();
    let backing = match a.kind {
        cr_format::VMA_ANON => Backing::Anonymous,
        cr_format::VMA_SHARED_ANON => Backing::SharedAnonymous,
        cr_format::VMA_SPECIAL => Backing::Special,
        cr_format::VMA_RING => Backing::Ring,
        _ => Backing::File,
    };
    if judge::record_prot(flags) != a.prot {
        return Err(differs(cx, a.start, "the protection differs"));
    }
    if keyed && judge::record_pkey(flags) != a.pkey {
        return Err(differs(cx, a.start, "the protection key differs"));
    }
    let (is, want) = (judge::record_flags(flags, backing, v.huge()) & mask, a.flags & mask);
    if is == want {
        return Ok(());
    }
    if (is ^ want) & cr_format::VMA_LOCKED != 0 {
        return Err(differs(cx, a.start, "the memory is not locked as it was: run as root, or raise the limit (ulimit -l)"));
    }
    let diff = is ^ want;
    match CString::try_from_fmt(fmt!("the flags differ by {diff:#x}")) {
        Ok(text) => Err(differs(cx, a.start, core::str::from_utf8(text.to_bytes()).unwrap_or("the flags differ"))),
        Err(_) => Err(ENOMEM),
    }
}

fn differs(cx: &Restart<'_>, address: u64, what: &str) -> Error {
    match CString::try_from_fmt(fmt!("the restarted memory at {address:#x} is not as recorded: {what}")) {
        Ok(text) => cx.fail(ENOEXEC, WORD, "", text.to_bytes(), "this kernel cannot give the process what it had; boot the kernel of the checkpoint"),
        Err(_) => ENOMEM,
    }
}
