// SPDX-License-Identifier: GPL-2.0
//! `cr_pidfd.ko`, resource word `pidfd`: descriptors of processes (`pidfd_open(2)`, `CLONE_PIDFD`).
//!
//! Preserved: the process, which is in the checkpoint, alive or not waited for yet; `PIDFD_THREAD` of a main thread;
//! flags. Not preserved: the inode number. One of a process outside, of a thread that is no main thread, of a process that has
//! been waited for, or one that kills its process when it is closed, is an obstacle.
//!
//! A restart opens them when all processes exist. So these cannot wait for the memory of their parents: memory that processes
//! share since a `fork` is not shared any more.

use cr_format::PidfdRecord;
use crkit::{
    anonymous::{Anonymous, AnonymousFiles},
    bindings as b,
    sys::file::FileRef,
    Checkpoint, Obstacle, Restart, Syscall,
};
use kernel::{prelude::*, str::CString};

crkit::extension_module! {
    extension: AnonymousFiles<Pidfd>,
    name: "cr_pidfd",
    description: "Checkpoint and restart of processes: descriptors of processes",
    alias: ["crext-pidfd", "crext-file-anon-pidfd"],
}

/// `PIDFD_THREAD`, `PIDFD_AUTOKILL` of `include/uapi/linux/pidfd.h`: flags that mean something else for other files.
const THREAD: u32 = 0o200;
const AUTOKILL: u32 = 0o1000;

/// Numbering of the notes.
const NOTES: u16 = cr_format::PIDFD;

/// What the extension is about.
struct Pidfd;

impl Anonymous for Pidfd {
    const WORD: &'static CStr = c"pidfd";
    const INODE: &'static [u8] = b"[pidfd]";
    type Record = PidfdRecord;

    fn claims(file: &FileRef) -> bool {
        file.fs_magic() == u64::from(b::PID_FS_MAGIC)
    }
    // The kernel's own text needs a reader with a proc file system.
    fn record(_: u32, _: &[u8]) -> Option<PidfdRecord> {
        None
    }
    fn read(cx: &Checkpoint<'_>, file: &FileRef, id: u32) -> Result<Option<PidfdRecord>> {
        // SAFETY: a live file of pidfs, as `claims` has seen.
        let pid = unsafe { b::crs_pidfd_pid(file.as_ptr()) }.unsigned_abs();
        let is_ours = |p: &Checkpoint<'_>| p.leader().tgid_vnr() == pid;
        let has_thread = |p: &Checkpoint<'_>| p.tasks().any(|t| t.pid_vnr() == pid);
        let trouble = if file.flags() & AUTOKILL != 0 {
            Some(("it kills its process when it is closed (PIDFD_AUTOKILL), and only clone3(2) makes such a one", "have the program close it first"))
        } else if pid == 0 {
            Some(("its process has ended and was waited for", "have the program close it first"))
        } else if cx.all_processes().any(|p| is_ours(&p)) {
            None
        } else if cx.all_processes().any(|p| has_thread(&p)) {
            Some(("it is of a thread that does not exist yet when descriptors are made again", "have the program close it first"))
        } else {
            Some(("its process is not in the checkpoint", "checkpoint a process that has both as descendants, or have the program close it first"))
        };
        if let Some((reason, remedy)) = trouble {
            let object = CString::try_from_fmt(fmt!("pidfd of {pid}"))?;
            let object = if pid == 0 { b"pidfd".as_slice() } else { object.to_bytes() };
            cx.obstacle(Obstacle { fd: cx.descriptor_of(file), ..Obstacle::new("pidfd", object, reason, remedy) })?;
            return Ok(None);
        }
        if cx.process_count() > 1 && cx.number(NOTES)? == 1 {
            cx.note("pidfd", b"because of pidfds, processes will not share memory that they have in common since a fork after a restart")?;
        }
        Ok(Some(PidfdRecord { id, file: id.into(), pid: pid.into(), thread: u64::from(file.flags() & THREAD != 0) }))
    }
    fn make(_: &Restart<'_>, r: &PidfdRecord) -> Result<Syscall> {
        Ok(Syscall::new(b::__NR_pidfd_open, &[r.pid, u64::from(Self::flags(r))]))
    }
    fn flags(r: &PidfdRecord) -> u32 {
        if r.thread != 0 { THREAD } else { 0 }
    }
}
