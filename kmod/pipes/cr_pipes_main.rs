// SPDX-License-Identifier: GPL-2.0
//! `cr_pipes.ko`: pipes and FIFOs whose ends are all inside the process or its tree.
//!
//! Preserved: unread bytes, packet boundaries (`O_DIRECT`), capacity, which end belongs to which pipe, the
//! flags of each end, closed ends; FIFOs stay reachable by their path.
//!
//! Not preserved: how full single buffers are (the same bytes may take fewer), inode numbers of pipes, whether the
//! reader of a FIFO without writers has seen one before, pages that were given with `vmsplice(SPLICE_F_GIFT)`
//! (they are copied).
//!
//! Refused: pipes of the kernel's notifications (`O_NOTIFICATION_PIPE`), bytes that cannot be read. An other
//! end outside is judged by `files`.
//!
//! `checkpoint.rs` peeks and makes records, `restart.rs` makes pipes. All decisions are in `cr_logic::pipes`.

mod checkpoint;
mod restart;

use crkit::{bindings as b, sys::file::FileRef, At, Checkpoint, Extension, Next, Phase, Restart};
use kernel::prelude::*;

crkit::extension_module! {
    extension: Pipes,
    name: "cr_pipes",
    description: "Checkpoint and restart of processes: pipes and FIFOs",
    alias: ["crext-pipes", "crext-file-fifo"],
}

/// Resource word in messages.
pub(crate) const WORD: &str = "pipes";

/// The extension.
struct Pipes;

impl Extension for Pipes {
    const WORD: &'static CStr = c"pipes";
    const SECTION: u16 = cr_format::PIPES;
    /// Before `files` (10), which asks for the ends.
    const ORDER: u32 = 9;
    type State = restart::State;

    fn claims(file: &FileRef) -> bool {
        file.mode() & b::S_IFMT == b::S_IFIFO && file.fmode() & b::CR_FMODE_PATH == 0
    }
    fn checkpoint_file(cx: &Checkpoint<'_>, file: &FileRef, id: u32) -> Result {
        checkpoint::file(cx, file, id)
    }
    fn prepare(cx: &Restart<'_>) -> Result<KBox<Self::State>> {
        restart::prepare(cx)
    }
    fn step(cx: &Restart<'_>, state: &Self::State, at: At) -> Result<Next> {
        match at.phase {
            Phase::Process => restart::process(cx, state, at),
            Phase::Filled => {
                // Ends that nobody asked for must not stay open.
                restart::forget(state);
                Ok(Next::Done)
            }
            Phase::Thread | Phase::Late => Ok(Next::Done),
        }
    }
    fn restart_file(cx: &Restart<'_>, state: &Self::State, id: u32) -> Result<FileRef> {
        restart::end(cx, state, id)
    }
}
