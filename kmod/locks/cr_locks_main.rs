// SPDX-License-Identifier: GPL-2.0
//! `cr_locks.ko`, resource word `locks`: locks on files.
//!
//! Preserved: record locks of the process and of open files (`fcntl`), `flock`. A restart takes them again
//! without waiting; if another process holds one of them meanwhile, it fails. Leases are refused by `files`.
//! Threads that wait for a lock go on waiting by themselves, as for every system call.
//!
//! `files` finds the locks and asks for this module, file by file.

mod sys;

use cr_format::{LockRecord, LOCK_POSIX};
use crkit::{
    plan::Plan,
    sys::{file::FileRef, open_file::descriptors},
    At, Checkpoint, Extension, Next, Obstacle, Phase, Restart,
};
use kernel::prelude::*;

crkit::extension_module! {
    extension: Locks,
    name: "cr_locks",
    description: "Checkpoint and restart of processes: locks on files",
    alias: ["crext-locks"],
}

/// Resource word in messages.
const WORD: &str = "locks";
/// Numbering of locks (see `object_in`): a record lock shows with every open file of its inode, and others with every process.
const SEEN: u16 = 4;

/// The extension.
struct Locks;

/// The calls that take the locks again.
struct State(Plan);

impl Extension for Locks {
    const WORD: &'static CStr = c"locks";
    const SECTION: u16 = cr_format::LOCKS;
    const ORDER: u32 = 12;
    type State = State;

    fn checkpoint_file(cx: &Checkpoint<'_>, file: &FileRef, id: u32) -> Result {
        for lock in sys::locks(file, &cx.leader())?.iter() {
            let exclusive = lock.exclusive != 0;
            if lock.kind == LOCK_POSIX as u32 && !cr_logic::locks::suits(file.flags(), exclusive) {
                // Another open file of the inode must do.
                let other = descriptors(cx.leader())
                    .any(|(_, f)| f.inode_key() == file.inode_key() && cr_logic::locks::suits(f.flags(), exclusive));
                if !other {
                    let reason = "no descriptor is left through which the lock could be taken again";
                    cx.obstacle(Obstacle {
                        fd: cx.descriptor_of(file),
                        ..Obstacle::new(WORD, b"record lock", reason, "have the program unlock it first")
                    })?;
                }
                continue;
            }
            // A lock of an open file shows with every process that has it.
            if !cx.object_in(SEEN, lock.key)?.1 {
                continue;
            }
            let number = cx.number(SEEN)?;
            let len = cr_logic::locks::len(lock.start, lock.last).ok_or(EINVAL)?;
            cx.own().emit(&LockRecord {
                id: number,
                file: id.into(),
                kind: lock.kind.into(),
                exclusive: exclusive.into(),
                start: lock.start,
                len,
            })?;
        }
        Ok(())
    }
    fn prepare(cx: &Restart<'_>) -> Result<KBox<State>> {
        let mut plan = Plan::new();
        // The file of the last lock and one of its descriptors: many locks are on one file.
        let mut last = (0u64, 0u32);
        for lock in cx.records::<LockRecord>() {
            let lock = lock?;
            if lock.file != last.0 {
                last = (lock.file, cx.descriptor_of(WORD, lock.file)?);
            }
            cr_logic::locks::plan(&lock, last.1, &mut plan).map_err(|_| ENOMEM)?;
        }
        Ok(KBox::new(State(plan), GFP_KERNEL)?)
    }
    fn step(cx: &Restart<'_>, state: &State, at: At) -> Result<Next> {
        match at.phase {
            Phase::Filled => state.0.step(cx, WORD, at),
            _ => Ok(Next::Done),
        }
    }
}
