// SPDX-License-Identifier: GPL-2.0
//! Opens everything again and puts it at its descriptors.
//!
//! The first process opens all files, also those that only others have; they ask it for them ([`shared`]).
//! Descriptors are made in ascending order: the table is empty but for the device, which lies above all
//! of them, so the lowest free number is the wanted one or, behind a gap, below it. Then `dup3` moves it.

use crate::{
    contents::{self, Finishing},
    external,
    records::{fs, Descriptor, Records},
    verify, WORD,
};
use cr_format::{FileRecord, FILE_DELETED, FILE_EXTERNAL, FILE_HANDLED, FILE_MEMFD};
use cr_logic::{
    files::{self, flag, Placement},
    plan::{Arg, Expect, Op, OpSink, PlanError},
};
use crkit::{
    bindings as b,
    plan::Plan,
    sys::{
        file::FileRef,
        once::Once,
        open_file::{self, SEEK_SET},
        path::{PathRef, PathText},
        task::TaskRef,
    },
    At, Next, Restart, Syscall,
};
use kernel::{fmt, new_mutex, prelude::*, str::{BStr, CString}, sync::Mutex};

/// What the steps need.
pub(crate) struct State {
    pub(crate) records: Records,
    pub(crate) progress: Pin<KBox<Mutex<Progress>>>,
    late: Once<Plan>,
}

impl State {
    /// The new inode of the removed or memory file with this index, if it is there yet; open for reading and writing.
    pub(crate) fn base(&self, index: usize) -> Option<FileRef> {
        self.progress.lock().bases.iter().find(|x| x.0 == index).map(|x| x.1.clone())
    }
}

/// Descriptors that are needed for moments, beside those of the image.
const SPARE_FDS: u32 = 4;

/// How far [`process`] is.
pub(crate) struct Progress {
    stage: Stage,
    /// Next descriptor.
    next: usize,
    /// Opened files that have more descriptors to come.
    open: KVVec<Option<FileRef>>,
    /// New inodes of removed and memory files, by the index of the file with the contents; open for reading and writing.
    pub(crate) bases: KVVec<(usize, FileRef)>,
    /// The inode being finished.
    pub(crate) finishing: Option<Finishing>,
    /// What must be cut back.
    cuts: KVVec<(usize, u64)>,
}

#[derive(Clone, Copy)]
enum Stage {
    Begin,
    /// The limit is being raised.
    Limit,
    /// Memory files are being made, from this index on.
    Memory { next: usize },
    /// The memory file with this index is being made.
    Made { index: usize },
    Place,
    /// A descriptor is being moved up.
    Move { got: u32, want: u32 },
}

/// Checks records and files, tells what is to be connected.
pub(crate) fn prepare(cx: &Restart<'_>) -> Result<KBox<State>> {
    let records = Records::read(cx)?;
    cx.set_min_fd(records.min_fd().max(3))?;
    verify::existence(cx, &records)?;
    if cx.flags() & cr_uapi::RESTART_DRY_RUN != 0 {
        // A restart does so shortly before it takes the files; now is the only time.
        verify::changes(cx, &records)?;
    }
    match cx.process() {
        0 => external::report(cx, &records)?,
        _ => external::report_others(cx, &records)?,
    }
    let mut open = KVVec::with_capacity(records.files.len(), GFP_KERNEL)?;
    for _ in 0..records.files.len() {
        open.push(None, GFP_KERNEL)?;
    }
    let progress = Progress { stage: Stage::Begin, next: 0, open, bases: KVVec::new(), finishing: None, cuts: KVVec::new() };
    let progress = KBox::pin_init(new_mutex!(progress), GFP_KERNEL)?;
    Ok(KBox::new(State { records, progress, late: Once::new() }, GFP_KERNEL)?)
}

pub(crate) fn fail(cx: &Restart<'_>, e: Error, text: fmt::Arguments<'_>, remedy: &str) -> Error {
    match CString::try_from_fmt(text) {
        Ok(t) => cx.fail(e, WORD, "", t.to_bytes(), remedy),
        Err(e) => e,
    }
}

fn errno(result: i64) -> Error {
    i32::try_from(result).map_or(EPROTO, Error::from_errno)
}

/// Leader, before page data: all descriptors.
pub(crate) fn process(cx: &Restart<'_>, state: &State, at: At) -> Result<Next> {
    let mut p = state.progress.lock();
    match p.stage {
        Stage::Begin => {
            if cx.process() == 0 {
                // Nothing is opened before every file has been compared.
                p.cuts = verify::changes(cx, &state.records)?;
                contents::removed(cx, &state.records, &mut p)?;
            }
            p.stage = Stage::Memory { next: 0 };
            if let Some(call) = raise_limit(cx, state.records.min_fd().saturating_add(SPARE_FDS))? {
                p.stage = Stage::Limit;
                return Ok(Next::Call(call));
            }
        }
        Stage::Limit if at.prev < 0 => {
            let n = state.records.min_fd();
            return Err(fail(
                cx,
                errno(at.prev),
                fmt!("the limit of open files cannot be raised to {n}, which the descriptors of the process need"),
                "raise it before the restart: ulimit -n",
            ));
        }
        Stage::Limit => p.stage = Stage::Memory { next: 0 },
        Stage::Made { index } => {
            let base = contents::made(cx, &state.records, index, at.prev)?;
            p.bases.push((index, base), GFP_KERNEL)?;
            p.stage = Stage::Memory { next: index.saturating_add(1) };
        }
        Stage::Memory { .. } => {}
        Stage::Move { got, want } => {
            if at.prev != i64::from(want) {
                return Err(fail(cx, errno(at.prev), fmt!("descriptor {want} cannot be made"), "see ulimit -n"));
            }
            open_file::close(got)?;
            p.stage = Stage::Place;
        }
        Stage::Place => {}
    }
    if let Stage::Memory { next } = p.stage {
        let memory = |&(i, f): &(usize, &crate::records::File)| i >= next && f.kind == FILE_MEMFD;
        if let Some((index, f)) = state.records.with_contents().find(memory) {
            p.stage = Stage::Made { index };
            return Ok(Next::Call(contents::make(cx, &state.records.memfd(cx, index)?, f.mode)?));
        }
        p.stage = Stage::Place;
    }
    while let Some(d) = state.records.descriptors.get(p.next).copied() {
        p.next = p.next.saturating_add(1);
        let got = obtain(cx, state, &mut p, d)?.install(d.cloexec)?;
        match files::placement(got, d.fd).ok_or(EBADF)? {
            Placement::Done => {}
            Placement::Move => {
                p.stage = Stage::Move { got, want: d.fd };
                let cloexec = if d.cloexec { flag::O_CLOEXEC } else { 0 };
                return Ok(Next::Call(Syscall::new(b::__NR_dup3, &[got.into(), d.fd.into(), cloexec.into()])));
            }
        }
    }
    if cx.process_count() == 1 {
        p.open.clear();
    }
    Ok(Next::Done)
}

/// An open file for another process, or for `memory` to map it; the current task is one of that process.
pub(crate) fn shared(cx: &Restart<'_>, state: &State, id: u32) -> Result<FileRef> {
    let index = (id as usize).checked_sub(1).ok_or(EUCLEAN)?;
    let f = *state.records.files.get(index).ok_or(EUCLEAN)?;
    if f.kind == FILE_EXTERNAL {
        return external::connected(cx, &state.records, index, None);
    }
    if cx.process_count() == 1 {
        // For a mapping, which opens it again.
        return state.base(index).ok_or(EUCLEAN);
    }
    let mut p = state.progress.lock();
    if let Some(file) = p.open.get(index).and_then(Option::as_ref) {
        return Ok(file.clone());
    }
    let file = open(cx, state, &mut p, index, None)?;
    *p.open.get_mut(index).ok_or(EUCLEAN)? = Some(file.clone());
    Ok(file)
}

/// The call that raises the limit of open files to `n`, if it is lower. `limits` sets the recorded one later.
fn raise_limit(cx: &Restart<'_>, n: u32) -> Result<Option<Syscall>> {
    let signal = TaskRef::current().fields().signal;
    // SAFETY: current's own signal struct; a word read.
    let (soft, hard) = unsafe {
        let l = (*signal).rlim.get(b::RLIMIT_NOFILE as usize).ok_or(EINVAL)?;
        (l.rlim_cur as u64, l.rlim_max as u64)
    };
    if u64::from(n) <= soft {
        return Ok(None);
    }
    let limit: [u8; 16] = bytes_of([u64::from(n), hard.max(n.into())]);
    let address = cx.to_scratch(0, 0, &limit)?;
    Ok(Some(Syscall::new(b::__NR_prlimit64, &[0, b::RLIMIT_NOFILE.into(), address, 0])))
}

/// The open file of a descriptor: opened now, or kept from an earlier descriptor.
fn obtain(cx: &Restart<'_>, state: &State, p: &mut Progress, d: Descriptor) -> Result<FileRef> {
    if cx.process() > 0 {
        let id = u32::try_from(d.file).ok().and_then(|i| i.checked_add(1)).ok_or(EUCLEAN)?;
        // What is connected is so by number.
        if let Some(own) = cx.mapped_file(d.fd).filter(|_| d.fd <= 2) {
            if cx.file_record(id)?.kind == FILE_EXTERNAL {
                return Ok(own);
            }
        }
        return cx.restart_file(cx.section_id(), id);
    }
    let f = *state.records.files.get(d.file).ok_or(EUCLEAN)?;
    if f.kind == FILE_EXTERNAL {
        return external::connected(cx, &state.records, d.file, Some(d.fd));
    }
    let last = f.last_fd == Some(d.fd) && cx.process_count() == 1;
    let slot = p.open.get_mut(d.file).ok_or(EUCLEAN)?;
    let kept = if last { slot.take() } else { slot.clone() };
    if let Some(file) = kept {
        return Ok(file);
    }
    let file = open(cx, state, p, d.file, Some(d.fd))?;
    if !last {
        *p.open.get_mut(d.file).ok_or(EUCLEAN)? = Some(file.clone());
    }
    Ok(file)
}

/// Opens file number `index`; `fd` is for messages.
fn open(cx: &Restart<'_>, state: &State, p: &mut Progress, index: usize, fd: Option<u32>) -> Result<FileRef> {
    let f = *state.records.files.get(index).ok_or(EUCLEAN)?;
    let r = state.records.file(cx, index)?;
    let path = BStr::from_bytes(r.path);
    let fd = fd.map_or(-1, i64::from);
    let file = match f.kind {
        FILE_HANDLED => {
            let section = u16::try_from(r.handler).map_err(|_| EUCLEAN)?;
            return cx.restart_file(section, r.id).map_err(|e| {
                fail(cx, e, fmt!("descriptor {fd} cannot be made by its extension"), "see the messages above")
            });
        }
        FILE_DELETED | FILE_MEMFD => {
            let base = p.bases.iter().find(|x| x.0 == f.contents).map(|x| &x.1).ok_or(EUCLEAN)?;
            PathRef::of(base).open(f.flags & !(flag::O_EXCL | flag::O_CLOEXEC))
        }
        _ => FileRef::open(PathText::new(r.path)?.as_cstr()?, files::reopen_flags(f.kind, f.flags), 0),
    };
    let file = file.map_err(|e| {
        fail(cx, e, fmt!("descriptor {fd}: {path} cannot be opened with its flags {:#o}", f.flags), "check its permissions")
    })?;
    check_type(cx, &f, &file, fd, path)?;
    position(cx, &file, &f, &r, fd)?;
    Ok(file)
}

/// The path was looked up before; it might have been exchanged meanwhile.
fn check_type(cx: &Restart<'_>, f: &crate::records::File, file: &FileRef, fd: i64, path: &BStr) -> Result {
    let now = file.open_file();
    if (now.mode ^ f.mode) & 0o170_000 == 0 && (f.kind != cr_format::FILE_DEVICE || now.rdev == f.rdev) {
        return Ok(());
    }
    Err(fail(cx, ESTALE, fmt!("descriptor {fd}: {path} is something else now"), "put the file back in its place"))
}

fn position(cx: &Restart<'_>, file: &FileRef, f: &crate::records::File, r: &FileRecord<'_>, fd: i64) -> Result {
    let seekable = matches!(f.kind, cr_format::FILE_REGULAR | cr_format::FILE_DIRECTORY | FILE_DELETED | FILE_MEMFD);
    if !seekable || r.pos == 0 {
        return Ok(());
    }
    // Not just a number: directories of some file systems keep a cursor.
    match file.seek(r.pos, SEEK_SET) {
        Ok(pos) if pos == r.pos => Ok(()),
        other => {
            let e = other.err().unwrap_or(EIO);
            Err(fail(cx, e, fmt!("descriptor {fd}: position {} cannot be set", r.pos), "the file system may have changed"))
        }
    }
}

/// Leader, last: everything that the image, now known to be sound, asks of the outside world.
pub(crate) fn late(cx: &Restart<'_>, state: &State, at: At) -> Result<Next> {
    if at.step == 0 {
        let mut p = state.progress.lock();
        let plan = plan(cx, &state.records, &mut p)?;
        p.open.clear();
        state.late.set(plan).map_err(|_| EBUSY)?;
    }
    state.late.get().ok_or(EINVAL)?.step(cx, WORD, at)
}

/// Adds a call to a plan.
pub(crate) fn push(cx: &Restart<'_>, plan: &mut Plan, op: Op<'_>) -> Result {
    plan.push(op).map_err(|e| match e {
        PlanError::NoMemory => ENOMEM,
        PlanError::Impossible(text) => cx.fail(EUCLEAN, WORD, "", text.as_bytes(), ""),
    })
}

fn plan(cx: &Restart<'_>, records: &Records, p: &mut Progress) -> Result<Plan> {
    let mut lent = KVVec::new();
    for (i, _) in p.cuts.iter().filter(|c| records.files.get(c.0).is_some_and(|f| f.first_fd.is_none())) {
        // Only others have it: the call needs a descriptor for a moment.
        if let Some(file) = p.open.get(*i).and_then(Option::as_ref) {
            lent.push((*i, file.clone().install(true)?), GFP_KERNEL)?;
        }
    }
    let fd_of = |i: usize| {
        let own = records.files.get(i).and_then(|f| f.first_fd);
        own.or_else(|| lent.iter().find(|l| l.0 == i).map(|l| l.1))
    };
    let mut plan = Plan::new();
    let mut push = |op: Op<'_>| push(cx, &mut plan, op);
    let cwd = PathText::new(fs(cx)?.cwd)?;
    let data = [Arg::Data(0)];
    push(Op::with_data(b::__NR_chdir, &data, cwd.bytes_with_nul(), "the working directory cannot be entered"))?;
    push(Op { expect: Expect::Any, ..Op::values(b::__NR_umask, &[records.umask.into()], "umask") })?;
    for (i, size) in p.cuts.iter() {
        let Some(fd) = fd_of(*i) else { continue };
        push(Op::values(b::__NR_ftruncate, &[fd.into(), *size], "a file that has grown cannot be cut back"))?;
    }
    for (i, f) in records.files.iter().enumerate() {
        if f.kind != FILE_EXTERNAL || f.flags & flag::O_NONBLOCK == 0 {
            continue;
        }
        for d in records.descriptors.iter().filter(|d| d.file == i) {
            let now = FileRef::fget(d.fd).map_or(0, |f| f.flags());
            let args = [d.fd.into(), b::F_SETFL.into(), (now | flag::O_NONBLOCK).into()];
            push(Op::values(b::__NR_fcntl, &args, "O_NONBLOCK cannot be set on a connected descriptor"))?;
        }
    }
    for (_, fd) in lent.iter() {
        push(Op::values(b::__NR_close, &[(*fd).into()], "a descriptor cannot be closed"))?;
    }
    Ok(plan)
}

/// Numbers as the memory of a user program has them.
pub(crate) fn bytes_of<const WORDS: usize, const BYTES: usize>(words: [u64; WORDS]) -> [u8; BYTES] {
    let mut out = [0u8; BYTES];
    for (to, from) in out.iter_mut().zip(words.iter().flat_map(|w| w.to_ne_bytes())) {
        *to = from;
    }
    out
}
