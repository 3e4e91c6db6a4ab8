// SPDX-License-Identifier: GPL-2.0
//! Making files without a name again: removed ones and memory files (memfd).
//!
//! [`removed`] and [`make`] give each inode a new one, its *base*, before any descriptor or mapping of it is made; both
//! are opened through it. [`fill`] writes the contents, [`finish`] sets owner, mode, time and seals: seals forbid
//! what has come before.

use crate::{
    records::Records,
    restart::{fail, push, Progress, State},
    WORD,
};
use cr_format::{FileRecord, MemfdRecord, FILE_DELETED, FILE_MEMFD};
use cr_logic::{
    files::{self, flag, memfd},
    plan::{Arg, Op},
};
use crkit::{
    bindings as b,
    context::{batches, Run, BATCH, RUN_ZERO},
    errno_of,
    plan::Plan,
    sys::{
        file::FileRef,
        mapped::{self, SharedAnon},
        mm::{PageBatch, PAGE_SIZE},
        open_file,
        path::{PathRef, PathText},
        task::TaskRef,
        wait,
    },
    At, Next, Restart, Syscall,
};
use kernel::{prelude::*, str::{BStr, CString}};

/// The inode that is being finished.
pub(crate) struct Finishing {
    fd: u32,
    plan: Plan,
    /// Number of the step at which its plan began.
    first: u32,
}

/// Makes new, nameless inodes for the removed files.
pub(crate) fn removed(cx: &Restart<'_>, records: &Records, p: &mut Progress) -> Result {
    for (i, f) in records.with_contents().filter(|(_, f)| f.kind == FILE_DELETED) {
        let r = records.file(cx, i)?;
        let linkable = f.flags & flag::O_TMPFILE_BIT != 0;
        let base = nameless(cx, &r, linkable, f.mapped).map_err(|e| {
            let path = BStr::from_bytes(r.path);
            fail(cx, e, fmt!("the removed file {path} cannot be made again"), "make room in its folder or in /tmp")
        })?;
        p.bases.push((i, base), GFP_KERNEL)?;
    }
    Ok(())
}

/// A file without a name: where the old one was, else in `/tmp`, else in memory. One that is mapped must be where programs may be.
fn nameless(cx: &Restart<'_>, r: &FileRecord<'_>, linkable: bool, mapped: bool) -> Result<FileRef> {
    let exclusive = if linkable { 0 } else { flag::O_EXCL };
    let flags = flag::O_TMPFILE_BIT | flag::O_DIRECTORY | flag::O_RDWR | exclusive;
    let folder = files::folder_of_deleted(r.path);
    for (i, folder) in [folder, b"/tmp"].iter().enumerate() {
        let Ok(file) = FileRef::open(PathText::new(folder)?.as_cstr()?, flags, 0o600) else { continue };
        let place = PathRef::of(&file);
        if mapped && place.is_noexec() || place.truncate(r.size).is_err() {
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

/// The call that makes a memory file of the recorded mode; it can still be written, resized and sealed.
pub(crate) fn make(cx: &Restart<'_>, r: &MemfdRecord<'_>, mode: u32) -> Result<Syscall> {
    let mut name = KVec::with_capacity(r.name.len().saturating_add(1), GFP_KERNEL)?;
    name.extend_from_slice(r.name, GFP_KERNEL)?;
    name.push(0, GFP_KERNEL)?;
    let address = cx.to_scratch(0, 0, &name)?;
    let flags = memfd::flags(r.seals, r.huge, mode);
    Ok(Syscall::new(b::__NR_memfd_create, &[address, flags.into()]))
}

/// Takes the memory file with index `index` from the descriptor `made` (or errno) and gives it its size.
pub(crate) fn made(cx: &Restart<'_>, records: &Records, index: usize, made: i64) -> Result<FileRef> {
    let r = records.file(cx, index)?;
    let path = BStr::from_bytes(r.path);
    let remedy = "see ulimit -n, the sysctl vm.memfd_noexec, and whether this kernel has huge pages of that size";
    let base = match u32::try_from(made) {
        Ok(fd) => {
            let base = FileRef::fget(fd)?;
            open_file::close(fd)?;
            base
        }
        Err(_) => {
            let e = i32::try_from(made).map_or(EPROTO, Error::from_errno);
            return Err(fail(cx, e, fmt!("the memory file {path} cannot be made"), remedy));
        }
    };
    PathRef::of(&base).truncate(r.size).map_err(|e| {
        fail(cx, e, fmt!("the memory file {path} cannot be made as long as it was"), "free some memory; see ulimit -f")
    })?;
    Ok(base)
}

/// Leader: contents of a removed or memory file.
pub(crate) fn fill(cx: &Restart<'_>, state: &State, owner: u32, runs: &[Run]) -> Result {
    let index = (owner as usize).checked_sub(1).ok_or(EUCLEAN)?;
    let Some(base) = state.base(index) else {
        if state.records.files.get(index).is_some_and(|f| f.kind == cr_format::FILE_REGULAR) {
            return pass(cx, runs);
        }
        return Err(cx.fail(EUCLEAN, WORD, "PAGE-9", b"page data of something that is no removed or memory file", "list every defect with: crimg verify IMAGE"));
    };
    let size = state.records.file(cx, index)?.size;
    let huge = base.memory_file().huge;
    let object = SharedAnon::of(base.clone());
    let mut pages = PageBatch::new(BATCH as usize, object.is_some() || huge != 0)?;
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
            match &object {
                Some(object) => in_place(cx, object, start, n, &mut pages),
                None if huge != 0 => in_huge(cx, &base, start, n, huge, &mut pages),
                None => by_writing(cx, &base, start, n, size, &mut pages),
            }?;
            wait::resched()?;
        }
    }
    Ok(())
}

/// Contents of a file that has a path: it was opened by that. They are for tools.
fn pass(cx: &Restart<'_>, runs: &[Run]) -> Result {
    let mut pages = PageBatch::new(BATCH as usize, false)?;
    for (_, n) in runs.iter().filter(|r| r.kind != RUN_ZERO).flat_map(batches) {
        pages.truncate(n as usize);
        let missing = n.saturating_sub(pages.len());
        pages.add_fresh(missing)?;
        cx.bulk_read(&pages)?;
        wait::resched()?;
    }
    Ok(())
}

/// Shared memory: straight into its pages.
fn in_place(cx: &Restart<'_>, object: &SharedAnon, start: u64, n: u32, pages: &mut PageBatch) -> Result {
    pages.clear();
    for i in 0..u64::from(n) {
        object.take_page((start / PAGE_SIZE).saturating_add(i), pages).map_err(|e| no_room(cx, e))?;
    }
    cx.bulk_read(pages)?;
    pages.clear();
    Ok(())
}

/// Huge pages, in place as well.
fn in_huge(cx: &Restart<'_>, base: &FileRef, start: u64, n: u32, huge: u64, pages: &mut PageBatch) -> Result {
    pages.clear();
    mapped::take_huge(base, start, n, huge, pages).map_err(|e| {
        cx.fail(e, WORD, "", b"there are not enough huge pages for a memory file", "raise vm.nr_hugepages")
    })?;
    cx.bulk_read(pages)?;
    pages.clear();
    Ok(())
}

fn by_writing(cx: &Restart<'_>, base: &FileRef, start: u64, n: u32, size: u64, pages: &mut PageBatch) -> Result {
    // The same pages for every piece but the last, which may be shorter.
    pages.truncate(n as usize);
    let missing = n.saturating_sub(pages.len());
    pages.add_fresh(missing)?;
    cx.bulk_read(pages)?;
    base.write_pages(start, pages, size).map_err(|e| no_room(cx, e))
}

fn no_room(cx: &Restart<'_>, e: Error) -> Error {
    cx.fail(e, WORD, "", b"the contents of a removed or memory file cannot be written", "make room in its file system, or free some memory")
}

/// Leader, when all contents are there: owner, mode, time and seals of each inode, through a descriptor that exists for that only.
pub(crate) fn finish(cx: &Restart<'_>, state: &State, at: At) -> Result<Next> {
    let mut p = state.progress.lock();
    loop {
        if let Some(f) = p.finishing.as_ref() {
            let step = at.step.checked_sub(f.first).ok_or(EPROTO)?;
            match f.plan.step(cx, WORD, At { step, ..at })? {
                Next::Done => open_file::close(f.fd)?,
                call => return Ok(call),
            }
            p.finishing = None;
        }
        let Some((index, base)) = p.bases.pop() else { return Ok(Next::Done) };
        let fd = base.install(true).map_err(|e| {
            fail(cx, e, fmt!("no descriptor is left for finishing a file without a name"), "raise the limit of open files: ulimit -n")
        })?;
        let plan = plan(cx, &state.records, index, fd)?;
        p.finishing = Some(Finishing { fd, plan, first: at.step });
    }
}

fn plan(cx: &Restart<'_>, records: &Records, index: usize, fd: u32) -> Result<Plan> {
    let mut plan = Plan::new();
    let r = records.file(cx, index)?;
    let fd = u64::from(fd);
    // Before the mode: a change of owner takes set-id bits away.
    if let Some(owner) = other_owner(cx)? {
        push(cx, &mut plan, Op::values(b::__NR_fchown, &[fd, owner.0, owner.1], "the owner of a removed or memory file cannot be set"))?;
    }
    push(cx, &mut plan, Op::values(b::__NR_fchmod, &[fd, r.mode & 0o7777], "the mode of a removed or memory file cannot be set"))?;
    let args = [Arg::Value(fd), Arg::Value(0), Arg::Data(0), Arg::Value(0)];
    let times = times(&r);
    push(cx, &mut plan, Op::with_data(b::__NR_utimensat, &args, &times, "the time of a removed or memory file cannot be set"))?;
    if r.kind == FILE_MEMFD {
        let seals = records.memfd(cx, index)?.seals;
        let args = [fd, b::F_ADD_SEALS.into(), seals];
        push(cx, &mut plan, Op::values(b::__NR_fcntl, &args, "the seals of a memory file cannot be set"))?;
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
    crate::restart::bytes_of([0, UTIME_OMIT, r.mtime_s as u64, r.mtime_ns])
}
