// SPDX-License-Identifier: GPL-2.0
//! Makes pipes, fills them, hands their ends to `files`.
//!
//! The restarted task itself calls `pipe2` and `fcntl(F_SETPIPE_SZ)`, so that its limits apply. The two
//! descriptors exist only meanwhile. An end that `pipe2` does not give (a second reader, one open for
//! both) is opened from the pipe itself, as `/proc/self/fd` does.

use crate::WORD;
use cr_format::{records_of, BufferRecord, EndRecord, PipeRecord, Record, BUFFER_PACKET, PIPES};
use cr_logic::{
    files::flag::{O_DIRECT, O_NONBLOCK, O_RDONLY, O_WRONLY},
    pipes::{capacity, final_flags, impossible_flags, open_flags, reads, writes},
};
use crkit::{
    bindings as b, errno_of,
    sys::{
        file::FileRef,
        open_file,
        path::{PathRef, PathText},
        pipe::LockedPipe,
        user,
    },
    At, Next, Restart, Syscall,
};
use kernel::{fmt, new_mutex, prelude::*, str::{BStr, CString}, sync::Mutex};

/// What the steps need.
pub(crate) struct State {
    /// Where the `pipe` records are in the section; number `i` has id `i + 1`.
    pipes: KVVec<usize>,
    ends: KVVec<End>,
    progress: Pin<KBox<Mutex<Progress>>>,
}

/// One `end` record with the flags of its file.
struct End {
    file: u32,
    pipe: u32,
    flags: u32,
}

struct Progress {
    stage: Stage,
    /// Number of the pipe being made, from 1.
    pipe: u32,
    /// Byte offset in the section behind the last buffer record that was written.
    buffer: usize,
    /// The sides of the pipe being made.
    sides: Sides,
    /// Descriptors that exist only meanwhile.
    temporary: [Option<u32>; 2],
    /// Finished ends by file id.
    made: KVVec<(u32, FileRef)>,
}

#[derive(Default)]
struct Sides {
    read: Option<FileRef>,
    write: Option<FileRef>,
}

#[derive(Clone, Copy)]
enum Stage {
    /// The next pipe is to be begun.
    Next,
    /// `pipe2` was called.
    Created,
    /// `fcntl(F_SETPIPE_SZ)` was called.
    Resized,
}

fn fail(cx: &Restart<'_>, e: Error, text: fmt::Arguments<'_>, remedy: &str) -> Error {
    match CString::try_from_fmt(text) {
        Ok(t) => cx.fail(e, WORD, "", t.to_bytes(), remedy),
        Err(e) => e,
    }
}

/// Checks the records; FIFOs must exist.
pub(crate) fn prepare(cx: &Restart<'_>) -> Result<KBox<State>> {
    let mut ends = KVVec::new();
    let mut files = cx.records::<cr_format::FileRecord<'_>>();
    for e in cx.records::<EndRecord>() {
        let e = e?;
        // Both lists ascend (PIPES-7), so one pass over the files is enough.
        let record = loop {
            let f = files.next().ok_or(EUCLEAN)??;
            if f.id == e.id {
                break f;
            }
        };
        let flags = u32::try_from(record.flags).map_err(|_| EUCLEAN)?;
        if impossible_flags(flags) {
            return Err(fail(cx, EOPNOTSUPP, fmt!("open file {} has flags {flags:#o}, which pipes cannot have", e.id), ""));
        }
        let pipe = u32::try_from(e.pipe).map_err(|_| EUCLEAN)?;
        ends.push(End { file: e.id, pipe, flags }, GFP_KERNEL)?;
    }
    let mut pipes = KVVec::new();
    let mut all = records_of::<PipeRecord<'_>>(cx.section(PIPES));
    while let Some(p) = all.next_placed() {
        let (p, offset) = p.map_err(|e| cx.fail_format(WORD, e))?;
        pipes.push(offset as usize, GFP_KERNEL)?;
        if !p.fifo_path.is_empty() {
            let path = BStr::from_bytes(p.fifo_path);
            let found = || PathRef::lookup(PathText::new(p.fifo_path)?.as_cstr()?, true)?.stat();
            match found() {
                Ok(s) if s.mode & b::S_IFMT == b::S_IFIFO => {}
                Ok(_) => return Err(fail(cx, ESTALE, fmt!("{path} is no FIFO any more"), "mkfifo PATH")),
                Err(e) => return Err(fail(cx, e, fmt!("the FIFO {path} cannot be reached"), "mkfifo PATH")),
            }
        }
    }
    let progress = Progress {
        stage: Stage::Next,
        pipe: 0,
        buffer: 0,
        sides: Sides::default(),
        temporary: [None; 2],
        made: KVVec::with_capacity(ends.len(), GFP_KERNEL)?,
    };
    let progress = KBox::pin_init(new_mutex!(progress), GFP_KERNEL)?;
    Ok(KBox::new(State { pipes, ends, progress }, GFP_KERNEL)?)
}

/// Leader, before anything else: all pipes.
pub(crate) fn process(cx: &Restart<'_>, state: &State, at: At) -> Result<Next> {
    let mut p = state.progress.lock();
    loop {
        match p.stage {
            Stage::Next => {
                if p.pipe as usize >= state.pipes.len() {
                    return Ok(Next::Done);
                }
                p.pipe = p.pipe.saturating_add(1);
                let record = pipe_record(cx, state, p.pipe)?;
                if record.fifo_path.is_empty() {
                    p.stage = Stage::Created;
                    let (address, _) = cx.scratch(0);
                    return Ok(Next::Call(Syscall::new(b::__NR_pipe2, &[address, O_NONBLOCK.into()])));
                }
                open_fifo(cx, state, &mut p, &record)?;
                if let Some(call) = resize(&mut p, &record)? {
                    p.stage = Stage::Resized;
                    return Ok(Next::Call(call));
                }
            }
            Stage::Created => {
                let record = pipe_record(cx, state, p.pipe)?;
                if at.prev < 0 {
                    let e = i32::try_from(at.prev).map_or(EPROTO, Error::from_errno);
                    return Err(fail(cx, e, fmt!("pipe {} cannot be made", p.pipe), "see ulimit -n and /proc/sys/fs/pipe-user-pages-hard"));
                }
                take_pair(cx, &mut p)?;
                if let Some(call) = resize(&mut p, &record)? {
                    p.stage = Stage::Resized;
                    return Ok(Next::Call(call));
                }
            }
            Stage::Resized => {
                let record = pipe_record(cx, state, p.pipe)?;
                if at.prev < 0 || at.prev as u64 != record.capacity {
                    let e = i32::try_from(at.prev).map_or(EPROTO, Error::from_errno);
                    return Err(fail(
                        cx,
                        if at.prev < 0 { e } else { EPROTO },
                        fmt!("pipe {}: its capacity of {} bytes cannot be set", p.pipe, record.capacity),
                        "raise /proc/sys/fs/pipe-max-size, or restart as root",
                    ));
                }
            }
        }
        for fd in core::mem::take(&mut p.temporary).into_iter().flatten() {
            open_file::close(fd)?;
        }
        finish(cx, state, &mut p)?;
        p.stage = Stage::Next;
    }
}

fn pipe_record<'a>(cx: &Restart<'a>, state: &State, id: u32) -> Result<PipeRecord<'a>> {
    let offset = (id as usize).checked_sub(1).and_then(|i| state.pipes.get(i)).ok_or(EUCLEAN)?;
    let rest = cx.section(PIPES).get(*offset..).ok_or(EUCLEAN)?;
    records_of::<PipeRecord<'a>>(rest).next().ok_or(EUCLEAN)?.map_err(errno_of)
}

/// The two descriptors that `pipe2` has put into the scratch memory.
fn take_pair(cx: &Restart<'_>, p: &mut Progress) -> Result {
    let mut raw = [0u8; 8];
    user::read(cx.scratch(0).0, &mut raw)?;
    let number = |i: usize| raw.get(i..).and_then(|r| r.first_chunk::<4>()).map(|n| u32::from_ne_bytes(*n));
    let (read, write) = (number(0).ok_or(EINVAL)?, number(4).ok_or(EINVAL)?);
    p.temporary = [Some(read), Some(write)];
    p.sides = Sides { read: Some(FileRef::fget(read)?), write: Some(FileRef::fget(write)?) };
    Ok(())
}

/// Opens a FIFO by its path, reader first: neither open can block then, and a reader that has not seen
/// a writer yet does not see one.
fn open_fifo(cx: &Restart<'_>, state: &State, p: &mut Progress, record: &PipeRecord<'_>) -> Result {
    let path = BStr::from_bytes(record.fifo_path);
    let text = PathText::new(record.fifo_path)?;
    let read = FileRef::open(text.as_cstr()?, O_RDONLY | O_NONBLOCK, 0)
        .map_err(|e| fail(cx, e, fmt!("the FIFO {path} cannot be opened"), "check its permissions"))?;
    let own = LockedPipe::lock(&read).map(|l| (l.files(), l.is_empty()));
    match own {
        Some((1, true)) => {}
        Some(_) => {
            return Err(fail(
                cx,
                ESTALE,
                fmt!("the FIFO {path} is in use by another process"),
                "both ends belonged to the process: end the other one first",
            ))
        }
        None => return Err(fail(cx, ESTALE, fmt!("{path} is no FIFO any more"), "mkfifo PATH")),
    }
    let needed = record.queued > 0 || state.ends.iter().any(|e| e.pipe == record.id && writes(e.flags));
    let write = match needed {
        true => Some(PathRef::of(&read).open(O_WRONLY | O_NONBLOCK)?),
        false => None,
    };
    p.sides = Sides { read: Some(read), write };
    Ok(())
}

/// The call that sets the capacity, if it is another one. A FIFO needs a descriptor for it.
fn resize(p: &mut Progress, record: &PipeRecord<'_>) -> Result<Option<Syscall>> {
    let read = p.sides.read.as_ref().ok_or(EINVAL)?;
    let slots = LockedPipe::lock(read).ok_or(EINVAL)?.slots();
    if capacity(slots) == record.capacity {
        return Ok(None);
    }
    let fd = match p.temporary {
        [Some(fd), _] => fd,
        _ => {
            let fd = read.clone().install(true)?;
            p.temporary = [Some(fd), None];
            fd
        }
    };
    Ok(Some(Syscall::new(b::__NR_fcntl, &[fd.into(), b::F_SETPIPE_SZ.into(), record.capacity])))
}

/// Contents, then the ends.
fn finish(cx: &Restart<'_>, state: &State, p: &mut Progress) -> Result {
    let record = pipe_record(cx, state, p.pipe)?;
    let mut sides = core::mem::take(&mut p.sides);
    if record.queued > 0 {
        let write = sides.write.as_ref().ok_or(EINVAL)?;
        refill(cx, write, &record, &mut p.buffer).map_err(|e| {
            fail(cx, e, fmt!("pipe {} does not take its {} unread bytes", record.id, record.queued), "list every defect with: crimg verify IMAGE")
        })?;
    }
    let place = PathRef::of(sides.read.as_ref().ok_or(EINVAL)?);
    let is_fifo = !record.fifo_path.is_empty();
    for e in state.ends.iter().filter(|e| e.pipe == p.pipe) {
        let spare = match (reads(e.flags), writes(e.flags)) {
            // A FIFO's end is opened by its path, with the permission that this needs.
            _ if is_fifo => None,
            (true, false) => sides.read.take(),
            (false, true) => sides.write.take(),
            _ => None,
        };
        let file = match spare {
            Some(f) => f,
            None if is_fifo => FileRef::open(PathText::new(record.fifo_path)?.as_cstr()?, open_flags(e.flags), 0)?,
            None => place.open(open_flags(e.flags))?,
        };
        if !PathRef::of(&file).is_same_object(&place) {
            return Err(fail(cx, ESTALE, fmt!("{} is another FIFO now", BStr::from_bytes(record.fifo_path)), ""));
        }
        file.set_flags(final_flags(e.flags));
        p.made.push((e.file, file), GFP_KERNEL)?;
    }
    Ok(())
}

/// Writes the recorded bytes into the empty pipe; the write side does not block.
fn refill(cx: &Restart<'_>, write: &FileRef, record: &PipeRecord<'_>, done: &mut usize) -> Result {
    // Buffers stand in the order of the pipes (PIPES-4): each pipe goes on where the one before ended.
    let base = *done;
    let mut all = records_of::<BufferRecord<'_>>(cx.section(PIPES).get(base..).ok_or(EUCLEAN)?);
    while let Some(r) = all.next_placed() {
        let (r, offset) = r.map_err(errno_of)?;
        if r.pipe != u64::from(record.id) {
            break;
        }
        let packet = r.flags & BUFFER_PACKET != 0;
        write.set_flags(O_WRONLY | O_NONBLOCK | if packet { O_DIRECT } else { 0 });
        write.write_all(r.data, &mut 0)?;
        *done = base.saturating_add(offset as usize).saturating_add(r.encoded_len());
    }
    Ok(())
}

/// The end for file object `id`, which the caller keeps: no other reference stays here, or readers would
/// never see the end of their pipe.
pub(crate) fn end(cx: &Restart<'_>, state: &State, id: u32) -> Result<FileRef> {
    let mut p = state.progress.lock();
    let at = p.made.iter().position(|m| m.0 == id);
    match at.and_then(|i| p.made.remove(i).ok()) {
        Some((_, file)) => Ok(file),
        None => Err(fail(cx, EUCLEAN, fmt!("open file {id} is an end of no pipe"), "list every defect with: crimg verify IMAGE")),
    }
}

/// Lets go of what is left.
pub(crate) fn forget(state: &State) {
    state.progress.lock().made.clear();
}
