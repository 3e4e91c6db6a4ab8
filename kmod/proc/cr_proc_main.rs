// SPDX-License-Identifier: GPL-2.0
//! `cr_proc.ko`, resource word `proc`: open files and folders of `/proc`.
//!
//! Preserved: path, position, flags. Not preserved: contents, which are those of the moment they are read in.
//! What has more than a position, is open for writing, or is of a process outside is an obstacle; `cr_logic::proc` judges.
//!
//! A restart opens them when all processes exist, and sees to it that `/proc` is that of its pid namespace: else the number in a
//! path would be that of somebody else.

use cr_format::{FileRecord, ProcRecord};
use cr_logic::{
    files::flag::{O_ACCMODE, O_CLOEXEC, O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK},
    proc::place,
};
use crkit::{
    bindings as b,
    objects::{self, Maker, Objects},
    sys::{
        file::FileRef,
        path::{PathRef, PathText},
    },
    At, Checkpoint, Extension, Next, Obstacle, Phase, Restart, Syscall,
};
use kernel::prelude::*;

crkit::extension_module! {
    extension: Proc,
    name: "cr_proc",
    description: "Checkpoint and restart of processes: open files of /proc",
    alias: ["crext-proc", "crext-file-proc"],
}

/// The resource word, for messages.
const WORD: &str = "proc";
/// Longest path, bytes.
const PATH_MAX: usize = 4096;

/// What the extension is about.
struct Proc;

/// One to be opened.
struct Entry {
    path: PathText,
    pid: u64,
    flags: u32,
    pos: i64,
}

/// In the order of their file ids.
struct Entries(KVVec<Entry>);

/// The files to be made.
struct State {
    objects: Objects,
    entries: Entries,
}

/// Is it of the file system that shows the pid namespace of the current task?
fn is_of_here(file: &FileRef) -> bool {
    // SAFETY: live file, of a proc file system as the first test has shown.
    file.fs_magic() == b::CR_PROC_SUPER_MAGIC && unsafe { b::crs_proc_is_of_current(file.as_ptr()) != 0 }
}

/// Paths of processes would lead to others.
fn not_ours(cx: &Restart<'_>) -> Error {
    let text = b"what is mounted at /proc does not show this pid namespace: paths of processes would lead to others";
    cx.fail(ENXIO, WORD, "", text, "mount a proc file system there, or restart without --new-pidns")
}

impl Maker for Entries {
    fn word(&self) -> &'static str {
        WORD
    }
    fn make(&self, cx: &Restart<'_>, n: usize) -> Result<Syscall> {
        let e = self.0.get(n).ok_or(EINVAL)?;
        let is_other = |root: FileRef| !is_of_here(&root);
        if e.pid != 0 && FileRef::open(c"/proc", b::O_RDONLY, 0).map_or(true, is_other) {
            return Err(not_ours(cx));
        }
        let path = cx.to_scratch(0, 0, e.path.bytes_with_nul())?;
        // What it is opened with; `files` keeps the rest.
        let flags = e.flags & (O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK);
        Ok(Syscall::new(b::__NR_open, &[path, u64::from(flags), 0]))
    }
    fn next(&self, cx: &Restart<'_>, n: usize, step: u32, fd: u32) -> Result<Option<Syscall>> {
        let e = self.0.get(n).ok_or(EINVAL)?;
        if step > 1 {
            return Ok(None);
        }
        let file = FileRef::fget(fd)?;
        if e.pid != 0 && !is_of_here(&file) {
            return Err(not_ours(cx));
        }
        // Not by lseek(2), which makes the text up to there, of a process that is not complete yet, and keeps what is left of it
        // for the next read. That one finds the position changed and makes the text of its own moment (fs/seq_file.c).
        file.set_pos(e.pos);
        Ok(None)
    }
}

impl Extension for Proc {
    const WORD: &'static CStr = c"proc";
    const SECTION: u16 = cr_format::PROC;
    const ORDER: u32 = objects::ORDER;
    type State = State;

    fn claims(file: &FileRef) -> bool {
        file.fs_magic() == b::CR_PROC_SUPER_MAGIC
    }
    fn checkpoint_file(cx: &Checkpoint<'_>, file: &FileRef, id: u32) -> Result {
        let mut buf = KVec::from_elem(0u8, PATH_MAX, GFP_KERNEL)?;
        let place_of = PathRef::of(file);
        let path = place_of.text(&mut buf)?;
        let remedy = "have the program close it first";
        let trouble = |reason| cx.obstacle(Obstacle { fd: cx.descriptor_of(file), ..Obstacle::new(WORD, path, reason, remedy) });
        if file.flags() & O_ACCMODE != 0 {
            return trouble("it is open for writing, which can have had effects that are not known");
        }
        let pid = match place(path) {
            Ok(pid) => pid,
            Err(reason) => return trouble(reason),
        };
        if pid != 0 && !is_of_here(file) {
            return trouble("it is of a /proc that shows another pid namespace than that of crctl");
        }
        if pid != 0 && !cx.all_processes().any(|p| p.leader().tgid_vnr() == pid) {
            return trouble("it is of a process that is not in the checkpoint");
        }
        let again = PathRef::lookup(PathText::new(path)?.as_cstr()?, false);
        if !again.is_ok_and(|p| p.is_same_object(&place_of)) {
            return trouble("its path does not lead to it any more");
        }
        cx.emit(&ProcRecord { id, file: id.into(), path, pid: pid.into() })
    }
    fn prepare(cx: &Restart<'_>) -> Result<KBox<State>> {
        let files = objects::files(cx, WORD, cx.records::<ProcRecord<'_>>().map(|r| r.map(|r| r.id)))?;
        let mut entries = KVVec::with_capacity(files.len(), GFP_KERNEL)?;
        for r in cx.records::<ProcRecord<'_>>() {
            let r = r?;
            let f: FileRecord<'_> = cx.file_record(r.id)?;
            let flags = u32::try_from(f.flags).map_err(|_| EUCLEAN)? & !O_CLOEXEC;
            entries.push(Entry { path: PathText::new(r.path)?, pid: r.pid, flags, pos: f.pos.max(0) }, GFP_KERNEL)?;
        }
        Ok(KBox::new(State { objects: Objects::new(files)?, entries: Entries(entries) }, GFP_KERNEL)?)
    }
    fn step(cx: &Restart<'_>, state: &State, at: At) -> Result<Next> {
        match at.phase {
            Phase::Process => state.objects.step(&state.entries, cx, at),
            Phase::Filled => {
                // What nobody asked for must not stay open.
                state.objects.forget();
                Ok(Next::Done)
            }
            Phase::Thread | Phase::Late => Ok(Next::Done),
        }
    }
    fn restart_file(_: &Restart<'_>, state: &State, id: u32) -> Result<FileRef> {
        state.objects.take(id)
    }
}
