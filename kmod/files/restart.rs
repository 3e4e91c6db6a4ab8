// SPDX-License-Identifier: GPL-2.0
//! Opens everything again and puts it at its descriptors.
//!
//! Descriptors are made in ascending order: the table is empty but for the device, which lies above all
//! of them, so the lowest free number is the wanted one or, behind a gap, below it. Then `dup3` moves it.

use crate::{
    external,
    records::{fs, Descriptor, Records},
    verify, WORD,
};
use cr_format::{FileRecord, FILE_DELETED, FILE_EXTERNAL, FILE_HANDLED};
use cr_logic::{
    files::{self, flag, Placement},
    plan::{Arg, Expect, Op, OpSink, PlanError},
};
use crkit::{
    bindings as b,
    context::{batches, Run, BATCH, RUN_ZERO},
    errno_of,
    plan::Plan,
    sys::{
        file::FileRef,
        mm::PageBatch,
        once::Once,
        open_file::{self, SEEK_SET},
        path::{PathRef, PathText},
        task::TaskRef,
        wait,
    },
    At, Next, Restart, Syscall,
};
use kernel::{fmt, new_mutex, prelude::*, str::{BStr, CString}, sync::Mutex};

/// What the steps need.
pub(crate) struct State {
    records: Records,
    progress: Pin<KBox<Mutex<Progress>>>,
    late: Once<Plan>,
}

/// How far [`process`] is.
struct Progress {
    stage: Stage,
    /// Next descriptor.
    next: usize,
    /// Opened files that have more descriptors to come.
    open: KVVec<Option<FileRef>>,
    /// New inodes of removed files, by the index of the file with the contents.
    bases: KVVec<(usize, FileRef)>,
    /// What must be cut back.
    cuts: KVVec<(usize, u64)>,
}

#[derive(Clone, Copy)]
enum Stage {
    Begin,
    /// The limit is being raised.
    Limit,
    Place,
    /// A descriptor is being moved up.
    Move { got: u32, want: u32 },
}

/// Checks records and files, tells what is to be connected.
pub(crate) fn prepare(cx: &Restart<'_>) -> Result<KBox<State>> {
    let records = Records::read(cx)?;
    cx.set_min_fd(records.min_fd().max(3))?;
    verify::existence(cx, &records)?;
    external::report(cx, &records)?;
    let mut open = KVVec::with_capacity(records.files.len(), GFP_KERNEL)?;
    for _ in 0..records.files.len() {
        open.push(None, GFP_KERNEL)?;
    }
    let progress = Progress { stage: Stage::Begin, next: 0, open, bases: KVVec::new(), cuts: KVVec::new() };
    let progress = KBox::pin_init(new_mutex!(progress), GFP_KERNEL)?;
    Ok(KBox::new(State { records, progress, late: Once::new() }, GFP_KERNEL)?)
}

fn fail(cx: &Restart<'_>, e: Error, text: fmt::Arguments<'_>, remedy: &str) -> Error {
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
            // Nothing is opened before every file has been compared.
            p.cuts = verify::changes(cx, &state.records)?;
            removed(cx, &state.records, &mut p)?;
            p.stage = Stage::Place;
            if let Some(call) = raise_limit(cx, state.records.min_fd())? {
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
        Stage::Limit => p.stage = Stage::Place,
        Stage::Move { got, want } => {
            if at.prev != i64::from(want) {
                return Err(fail(cx, errno(at.prev), fmt!("descriptor {want} cannot be made"), "see ulimit -n"));
            }
            open_file::close(got)?;
            p.stage = Stage::Place;
        }
        Stage::Place => {}
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
    p.open.clear();
    Ok(Next::Done)
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
    let f = *state.records.files.get(d.file).ok_or(EUCLEAN)?;
    if f.kind == FILE_EXTERNAL {
        return external::connected(cx, &state.records, d.file, d.fd);
    }
    let last = f.last_fd == Some(d.fd);
    let slot = p.open.get_mut(d.file).ok_or(EUCLEAN)?;
    let kept = if last { slot.take() } else { slot.clone() };
    if let Some(file) = kept {
        return Ok(file);
    }
    let file = open(cx, state, p, d)?;
    if !last {
        *p.open.get_mut(d.file).ok_or(EUCLEAN)? = Some(file.clone());
    }
    Ok(file)
}

fn open(cx: &Restart<'_>, state: &State, p: &mut Progress, d: Descriptor) -> Result<FileRef> {
    let f = *state.records.files.get(d.file).ok_or(EUCLEAN)?;
    let r = state.records.file(cx, d.file)?;
    let path = BStr::from_bytes(r.path);
    let fd = d.fd;
    let file = match f.kind {
        FILE_HANDLED => {
            let section = u16::try_from(r.handler).map_err(|_| EUCLEAN)?;
            return cx.restart_file(section, r.id).map_err(|e| {
                fail(cx, e, fmt!("descriptor {fd} cannot be made by its extension"), "see the messages above")
            });
        }
        FILE_DELETED => {
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
fn check_type(cx: &Restart<'_>, f: &crate::records::File, file: &FileRef, fd: u32, path: &BStr) -> Result {
    let now = file.open_file();
    if (now.mode ^ f.mode) & 0o170_000 == 0 && (f.kind != cr_format::FILE_DEVICE || now.rdev == f.rdev) {
        return Ok(());
    }
    Err(fail(cx, ESTALE, fmt!("descriptor {fd}: {path} is something else now"), "put the file back in its place"))
}

fn position(cx: &Restart<'_>, file: &FileRef, f: &crate::records::File, r: &FileRecord<'_>, fd: u32) -> Result {
    let seekable = matches!(f.kind, cr_format::FILE_REGULAR | cr_format::FILE_DIRECTORY | FILE_DELETED);
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

/// Makes new, nameless inodes for the removed files.
fn removed(cx: &Restart<'_>, records: &Records, p: &mut Progress) -> Result {
    for (i, f) in records.files.iter().enumerate().filter(|(i, f)| f.kind == FILE_DELETED && f.contents == *i) {
        let r = records.file(cx, i)?;
        let linkable = f.flags & flag::O_TMPFILE_BIT != 0;
        let base = nameless(cx, &r, linkable).map_err(|e| {
            let path = BStr::from_bytes(r.path);
            fail(cx, e, fmt!("the removed file {path} cannot be made again"), "make room in its folder or in /tmp")
        })?;
        p.bases.push((i, base), GFP_KERNEL)?;
    }
    Ok(())
}

/// A file without a name: where the old one was, else in `/tmp`, else in memory.
fn nameless(cx: &Restart<'_>, r: &FileRecord<'_>, linkable: bool) -> Result<FileRef> {
    let exclusive = if linkable { 0 } else { flag::O_EXCL };
    let flags = flag::O_TMPFILE_BIT | flag::O_DIRECTORY | flag::O_RDWR | exclusive;
    let folder = files::folder_of_deleted(r.path);
    for (i, folder) in [folder, b"/tmp"].iter().enumerate() {
        let Ok(file) = FileRef::open(PathText::new(folder)?.as_cstr()?, flags, 0o600) else { continue };
        if PathRef::of(&file).truncate(r.size).is_err() {
            continue;
        }
        if i > 0 {
            moved(cx, r, "/tmp")?;
        }
        return Ok(file);
    }
    let size = i64::try_from(r.size).map_err(|_| EFBIG)?;
    // SAFETY: a static name; the result is a reference or an error pointer.
    let file = FileRef::from_err_ptr(unsafe { b::shmem_file_setup(c"crkit".as_ptr().cast(), size, Default::default()) })?;
    moved(cx, r, "memory")?;
    Ok(file)
}

fn moved(cx: &Restart<'_>, r: &FileRecord<'_>, place: &str) -> Result {
    let path = BStr::from_bytes(r.path);
    let text = CString::try_from_fmt(fmt!("the contents of the removed file {path} are in {place} now"))?;
    cx.note(WORD, text.to_bytes())
}

/// Leader: contents of a removed file.
pub(crate) fn fill(cx: &Restart<'_>, state: &State, owner: u32, runs: &[Run]) -> Result {
    let p = state.progress.lock();
    let index = (owner as usize).checked_sub(1).ok_or(EUCLEAN)?;
    let Some((_, base)) = p.bases.iter().find(|x| x.0 == index) else {
        return Err(cx.fail(EUCLEAN, WORD, "PAGE-9", b"page data of something that is no removed file", "list every defect with: crimg verify IMAGE"));
    };
    let size = state.records.file(cx, index)?.size;
    let mut pages = PageBatch::new(BATCH as usize, false)?;
    for r in runs {
        let run = cr_format::runs::Run::data(r.start, r.npages);
        cr_format::validate::run_in_file(size, &run).map_err(|e| {
            cx.fail_format(WORD, e);
            errno_of(e)
        })?;
        if r.kind == RUN_ZERO {
            // The file is new: all of it is a hole.
            continue;
        }
        for (start, n) in batches(r) {
            // The same pages for every piece but the last, which may be shorter.
            pages.truncate(n as usize);
            let missing = n.saturating_sub(pages.len());
            pages.add_fresh(missing)?;
            cx.bulk_read(&pages)?;
            base.write_pages(start, &pages, size).map_err(|e| {
                cx.fail(e, WORD, "", b"the contents of a removed file cannot be written", "make room in its file system")
            })?;
            wait::resched()?;
        }
    }
    Ok(())
}

/// Leader, last: everything that the image, now known to be sound, asks of the outside world.
pub(crate) fn late(cx: &Restart<'_>, state: &State, at: At) -> Result<Next> {
    if at.step == 0 {
        let mut p = state.progress.lock();
        p.bases.clear();
        let plan = plan(cx, &state.records, &p.cuts)?;
        state.late.set(plan).map_err(|_| EBUSY)?;
    }
    state.late.get().ok_or(EINVAL)?.step(cx, WORD, at)
}

fn plan(cx: &Restart<'_>, records: &Records, cuts: &[(usize, u64)]) -> Result<Plan> {
    let mut plan = Plan::new();
    let mut push = |op: Op<'_>| {
        plan.push(op).map_err(|e| match e {
            PlanError::NoMemory => ENOMEM,
            PlanError::Impossible(text) => cx.fail(EUCLEAN, WORD, "", text.as_bytes(), ""),
        })
    };
    let cwd = PathText::new(fs(cx)?.cwd)?;
    let data = [Arg::Data(0)];
    push(Op::with_data(b::__NR_chdir, &data, cwd.bytes_with_nul(), "the working directory cannot be entered"))?;
    push(Op { expect: Expect::Any, ..Op::values(b::__NR_umask, &[records.umask.into()], "umask") })?;
    for (i, size) in cuts {
        let fd = records.files.get(*i).and_then(|f| f.first_fd).ok_or(EUCLEAN)?;
        push(Op::values(b::__NR_ftruncate, &[fd.into(), *size], "a file that has grown cannot be cut back"))?;
    }
    let owner = other_owner(cx)?;
    for (i, f) in records.files.iter().enumerate() {
        let Some(fd) = f.first_fd else { continue };
        match f.kind {
            FILE_DELETED if f.contents == i => {
                // Before the mode: a change of owner takes set-id bits away.
                if let Some(owner) = owner {
                    let args = [fd.into(), owner.0, owner.1];
                    push(Op::values(b::__NR_fchown, &args, "the owner of a removed file cannot be set"))?;
                }
                let mode = (f.mode & 0o7777).into();
                push(Op::values(b::__NR_fchmod, &[fd.into(), mode], "the mode of a removed file cannot be set"))?;
                let times = times(&records.file(cx, i)?);
                let args = [Arg::Value(fd.into()), Arg::Value(0), Arg::Data(0), Arg::Value(0)];
                push(Op::with_data(b::__NR_utimensat, &args, &times, "the time of a removed file cannot be set"))?;
            }
            FILE_EXTERNAL if f.flags & flag::O_NONBLOCK != 0 => {
                for d in records.descriptors.iter().filter(|d| d.file == i) {
                    let now = FileRef::fget(d.fd).map_or(0, |f| f.flags());
                    let args = [d.fd.into(), b::F_SETFL.into(), (now | flag::O_NONBLOCK).into()];
                    push(Op::values(b::__NR_fcntl, &args, "O_NONBLOCK cannot be set on a connected descriptor"))?;
                }
            }
            _ => {}
        }
    }
    Ok(plan)
}

/// User and group that new files of the process belong to, if they are not those of the restart's caller.
fn other_owner(cx: &Restart<'_>) -> Result<Option<(u64, u64)>> {
    let Some(r) = cx.records::<cr_format::CredRecord<'_>>().next() else { return Ok(None) };
    let r = r?;
    let me = TaskRef::current().fields().cred;
    // SAFETY: current's own credentials, which only it changes.
    let same = unsafe {
        u64::from(b::crs_from_kuid((*me).fsuid)) == r.fsuid && u64::from(b::crs_from_kgid((*me).fsgid)) == r.fsgid
    };
    Ok((!same).then_some((r.fsuid, r.fsgid)))
}

/// `struct timespec[2]`: time of access left as it is, time of modification from the record.
fn times(r: &FileRecord<'_>) -> [u8; 32] {
    /// Source: include/uapi/linux/stat.h.
    const UTIME_OMIT: u64 = (1 << 30) - 2;
    bytes_of([0, UTIME_OMIT, r.mtime_s as u64, r.mtime_ns])
}

/// Numbers as the memory of a user program has them.
fn bytes_of<const WORDS: usize, const BYTES: usize>(words: [u64; WORDS]) -> [u8; BYTES] {
    let mut out = [0u8; BYTES];
    for (to, from) in out.iter_mut().zip(words.iter().flat_map(|w| w.to_ne_bytes())) {
        *to = from;
    }
    out
}
