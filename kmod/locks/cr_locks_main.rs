// SPDX-License-Identifier: GPL-2.0
//! `cr_locks.ko`, resource word `locks`: locks on files.
//!
//! Preserved: record locks of the process and of open files (`fcntl`), `flock`. A restart takes them again
//! without waiting; if another process holds one of them meanwhile, it fails. Leases are refused by `files`.
//! Threads that wait for a lock go on waiting by themselves, as for every system call.
//!
//! `files` finds the locks and asks for this module, file by file.

mod sys;

use cr_format::{DescriptorRecord, LockRecord, LOCK_POSIX};
use crkit::{
    bindings as b,
    context::Run,
    plan::Plan,
    sys::{file::FileRef, open_file::descriptors, task::TaskRef},
    At, Checkpoint, Extension, Next, Obstacle, Phase, Registration, Restart,
};
use kernel::prelude::*;

module! {
    type: Module,
    name: "cr_locks",
    authors: ["The crkit authors"],
    description: "Checkpoint and restart of processes: locks on files",
    license: "GPL",
    alias: ["crext-locks"],
}

/// Resource word in messages.
const WORD: &str = "locks";
/// Numbering of locks (see `object_in`): a record lock shows with every open file of its inode.
const NUMBERS: u16 = 4;

struct Module(#[expect(dead_code, reason = "unregisters on drop")] Registration<Locks>);

impl kernel::Module for Module {
    fn init(module: &'static ThisModule) -> Result<Self> {
        Ok(Self(Registration::new(module, &[])?))
    }
}

/// The extension.
struct Locks;

/// The calls that take the locks again.
struct State(Plan);

impl Extension for Locks {
    const WORD: &'static CStr = c"locks";
    const SECTION: u16 = cr_format::LOCKS;
    const ORDER: u32 = 12;
    type State = State;

    fn checkpoint(_: &Checkpoint<'_>) -> Result {
        // Everything is done file by file.
        Ok(())
    }
    fn bulk(_: &Checkpoint<'_>) -> Result {
        Ok(())
    }
    fn claims(_: &FileRef) -> bool {
        false
    }
    fn checkpoint_file(cx: &Checkpoint<'_>, file: &FileRef, id: u32) -> Result {
        for lock in sys::locks(file, &cx.leader())?.iter() {
            let exclusive = lock.exclusive != 0;
            if lock.kind == LOCK_POSIX as u32 && !cr_logic::locks::suits(file.flags(), exclusive) {
                // Another open file of the inode must do.
                let other = descriptors(cx.leader())
                    .any(|(_, f)| f.inode_key() == file.inode_key() && cr_logic::locks::suits(f.flags(), exclusive));
                if !other {
                    let fd = descriptors(cx.leader()).find(|(_, f)| f.as_ptr() == file.as_ptr()).map_or(-1, |(fd, _)| fd.into());
                    let reason = "no descriptor is left through which the lock could be taken again";
                    cx.obstacle(Obstacle { fd, ..Obstacle::new(WORD, b"record lock", reason, "have the program unlock it first") })?;
                }
                continue;
            }
            let (number, new) = cx.object_in(NUMBERS, lock.key)?;
            if !new {
                continue;
            }
            let len = cr_logic::locks::len(lock.start, lock.last).ok_or(EINVAL)?;
            cx.emit(&LockRecord {
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
                last = (lock.file, descriptor_of(cx, lock.file)?);
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
    fn restart_file(_: &Restart<'_>, _: &State, _: u32) -> Result<FileRef> {
        Err(EINVAL)
    }
    fn fill(_: &Restart<'_>, _: &State, _: u32, _: &[Run]) -> Result {
        Err(EINVAL)
    }
    fn commit_outside(_: &Restart<'_>, _: &State, _: u32, _: &TaskRef<'_>) -> Result {
        Ok(())
    }
    fn commit_regs(_: &Restart<'_>, _: &State, _: u32, _: &mut b::pt_regs) {}
}

/// A descriptor of open file `file`.
fn descriptor_of(cx: &Restart<'_>, file: u64) -> Result<u32> {
    for d in cx.records::<DescriptorRecord>() {
        let d = d?;
        if d.file == file {
            return u32::try_from(d.fd).map_err(|_| EUCLEAN);
        }
    }
    Err(cx.fail(EUCLEAN, WORD, "", b"a lock on a file that has no descriptor", "list every defect with: crimg verify IMAGE"))
}
