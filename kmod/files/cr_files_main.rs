// SPDX-License-Identifier: GPL-2.0
//! `cr_files.ko`: descriptors, open files, working directory.
//!
//! Preserved: which descriptors share an open file, close-on-exec, positions, flags · regular files,
//! directories and stateless devices, opened again by path · `O_PATH` descriptors · files that have been
//! removed (unlinked, `O_TMPFILE`), with contents, holes, size, mode and time, also if they are only mapped ·
//! memory files (`memfd_create`), with contents, holes, size, mode, seals and huge pages · working directory, umask ·
//! what other extensions keep (pipes, third parties) · with `--with-files` also the contents of regular files that have paths.
//!
//! Connected by the user at restart: terminals, pipes and sockets on descriptors 0 to 2 whose other end
//! is outside, and whatever was promised with `--fd`.
//!
//! Not preserved: readahead advice, owner of removed and memory files (they become those of the process's user),
//! credentials the files were opened with (they become those of whoever makes the restart), a position
//! shared with another process (a note says so).
//!
//! Refused, each by name: leases, `F_NOTIFY` · sockets, other kernel objects without a module that
//! keeps them · removed folders, files whose name leads elsewhere now · another root directory, threads
//! with tables of their own.
//!
//! Files: `table.rs` lists the open files and decides, `checkpoint.rs` makes records, `bulk.rs` stores the
//! contents of files without a name, `contents.rs` makes them again; `records.rs` reads the records at restart, `verify.rs` compares files with
//! them, `external.rs` is about what the user connects, `restart.rs` opens everything. All decisions
//! are in `cr_logic::files`.

mod bulk;
mod checkpoint;
mod contents;
mod external;
mod records;
mod restart;
mod table;
mod verify;

use crkit::{context::Run, sys::file::FileRef, At, Checkpoint, Extension, Next, Phase, Restart};
use kernel::prelude::*;

crkit::extension_module! {
    extension: Files,
    name: "cr_files",
    description: "Checkpoint and restart of processes: open files",
    alias: ["crext-files"],
}

/// Resource word in messages.
pub(crate) const WORD: &str = "files";

/// The extension.
struct Files;

impl Extension for Files {
    const WORD: &'static CStr = c"files";
    const SECTION: u16 = cr_format::FILES;
    const ORDER: u32 = 10;
    type State = restart::State;

    fn checkpoint(cx: &Checkpoint<'_>) -> Result {
        checkpoint::checkpoint(cx)
    }
    fn bulk(cx: &Checkpoint<'_>) -> Result {
        bulk::bulk(cx)
    }
    fn prepare(cx: &Restart<'_>) -> Result<KBox<Self::State>> {
        restart::prepare(cx)
    }
    fn step(cx: &Restart<'_>, state: &Self::State, at: At) -> Result<Next> {
        match at.phase {
            Phase::Process => restart::process(cx, state, at),
            Phase::Late if at.task == 0 => restart::late(cx, state, at),
            Phase::Filled => contents::finish(cx, state, at),
            Phase::Thread | Phase::Late => Ok(Next::Done),
        }
    }
    fn restart_file(cx: &Restart<'_>, state: &Self::State, id: u32) -> Result<FileRef> {
        restart::shared(cx, state, id)
    }
    fn fill(cx: &Restart<'_>, state: &Self::State, owner: u32, runs: &[Run]) -> Result {
        contents::fill(cx, state, owner, runs)
    }
}
