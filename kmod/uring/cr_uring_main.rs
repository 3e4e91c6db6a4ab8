// SPDX-License-Identifier: GPL-2.0
//! `cr_uring.ko`, resource word `uring`: rings of `io_uring(7)` with nothing in flight.
//!
//! Preserved: sizes and setup flags, where the program and the kernel stand in the rings, entries that were not
//! submitted, events that were not taken, the thread that alone may submit (`SINGLE_ISSUER`, `DEFER_TASKRUN`), rings
//! that threads have registered by index, the eventfd that is told of events, in which processes a ring is. Threads that wait in `io_uring_enter` without
//! submitting go on waiting; a relative time-out begins anew.
//!
//! Not preserved: CPU affinity of the ring's workers (`IORING_REGISTER_IOWQ_AFF`), idle workers.
//!
//! Refused, each by name: requests in flight (`crctl` waits for them for a moment) · a polling kernel thread (`SQPOLL`),
//! which can be stopped only by functions that are not exported · rings in memory of the program (`NO_MMAP`), which the
//! kernel pins when the ring is made, long before a restart has that memory · registered files, buffers, provided buffers: the kernel's
//! structures for them are private to `io_uring/`, and fdinfo says nothing of their tags, modes and what memory they pin ·
//! registered credentials, restrictions and the like · rings whose descriptor is closed, whose memory is not mapped, or that a
//! process outside has too.
//!
//! The contents of a ring are those of the memory areas that show it: `memory` stores and maps them, so that they
//! can be looked at like all memory. What else a ring has is in `struct io_ring_ctx`, a public structure. The kernel's
//! own positions are set in it at a restart: no call does, and a ring can have taken billions of entries.

mod checkpoint;
mod restart;

use crkit::{sys::file::FileRef, At, Checkpoint, Extension, Next, Phase, Restart};
use kernel::prelude::*;

crkit::extension_module! {
    extension: Uring,
    name: "cr_uring",
    description: "Checkpoint and restart of processes: rings of io_uring",
    alias: ["crext-uring", "crext-file-anon-io-uring"],
}

/// Resource word in messages.
const WORD: &str = "uring";

/// The extension.
struct Uring;

impl Extension for Uring {
    const WORD: &'static CStr = c"uring";
    const SECTION: u16 = cr_format::URING;
    const ORDER: u32 = crkit::objects::ORDER;
    type State = restart::State;

    fn checkpoint(cx: &Checkpoint<'_>) -> Result {
        checkpoint::threads(cx)
    }
    fn claims(file: &FileRef) -> bool {
        crkit::sys::uring::Ring::of(file).is_some()
    }
    fn checkpoint_file(cx: &Checkpoint<'_>, file: &FileRef, id: u32) -> Result {
        checkpoint::file(cx, file, id)
    }
    fn prepare(cx: &Restart<'_>) -> Result<KBox<Self::State>> {
        restart::prepare(cx)
    }
    fn step(cx: &Restart<'_>, state: &Self::State, at: At) -> Result<Next> {
        match at.phase {
            Phase::Process => state.make(cx, at),
            Phase::Filled => state.position(),
            Phase::Thread | Phase::Late => state.thread(cx, at),
        }
    }
    fn restart_file(_: &Restart<'_>, state: &Self::State, id: u32) -> Result<FileRef> {
        state.take(id)
    }
}
