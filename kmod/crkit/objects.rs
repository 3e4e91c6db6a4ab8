// SPDX-License-Identifier: GPL-2.0
//! Open files that a restart makes with a few system calls each: eventfd, timerfd, signalfd and the like.
//!
//! The leader makes them one after the other in [`Phase::Process`], before `files` asks for them, so
//! that its own limits and rights apply. The descriptor that the first call gives exists only until the
//! object is finished; then the open file waits here until `files` puts it where it belongs.

use crate::{
    context::Restart,
    extension::{At, Next, Syscall},
    sys::{file::FileRef, open_file},
};
use kernel::{new_mutex, prelude::*, str::CString, sync::Mutex};

/// [`crate::Extension::ORDER`] of extensions that make such objects: before `files` (10), which asks for them.
pub const ORDER: u32 = 8;

/// How one kind of object is made. `n` counts the objects from 0, in the order of their file ids.
pub trait Maker {
    /// Resource word, for messages.
    fn word(&self) -> &'static str;
    /// Step 0: the system call that makes the object and returns its descriptor.
    fn make(&self, cx: &Restart<'_>, n: usize) -> Result<Syscall>;
    /// Flags of object `n` beside those that section `files` keeps. Default: none.
    fn flags(&self, _n: usize) -> u32 {
        0
    }
    /// Step 1, 2 …: the next system call on descriptor `fd`; `None` when the object is finished. An error
    /// of the call before ends the restart. Default: it is finished when it is made.
    fn next(&self, _cx: &Restart<'_>, _n: usize, _step: u32, _fd: u32) -> Result<Option<Syscall>> {
        Ok(None)
    }
}

struct Progress {
    object: usize,
    /// Descriptor of the object being made, and the number of its calls so far.
    current: Option<u32>,
    calls: u32,
    made: KVVec<(u32, FileRef)>,
}

/// The objects of one section.
pub struct Objects {
    /// File id and flags (`f_flags`) of each.
    files: KVVec<(u32, u32)>,
    progress: Pin<KBox<Mutex<Progress>>>,
}

impl Objects {
    /// Objects for these open files: file id and flags.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn new(files: KVVec<(u32, u32)>) -> Result<Self> {
        let progress = Progress { object: 0, current: None, calls: 0, made: KVVec::with_capacity(files.len(), GFP_KERNEL)? };
        Ok(Self { files, progress: KBox::pin_init(new_mutex!(progress), GFP_KERNEL)? })
    }

    /// The step function of [`Phase::Process`].
    ///
    /// # Errors
    /// Those of the system calls, explained.
    pub fn step<M: Maker>(&self, maker: &M, cx: &Restart<'_>, at: At) -> Result<Next> {
        let mut p = self.progress.lock();
        loop {
            let Some(&(id, flags)) = self.files.get(p.object) else { return Ok(Next::Done) };
            if p.calls == 0 {
                p.calls = 1;
                return Ok(Next::Call(maker.make(cx, p.object)?));
            }
            if at.prev < 0 {
                let e = i32::try_from(at.prev).map_or(EPROTO, Error::from_errno);
                let text = CString::try_from_fmt(fmt!("open file {id} cannot be made (call {})", p.calls))?;
                return Err(cx.fail(e, maker.word(), "", text.to_bytes(), "see ulimit -n and the limits of the user"));
            }
            let fd = match p.current {
                Some(fd) => fd,
                None => {
                    let fd = u32::try_from(at.prev).map_err(|_| EPROTO)?;
                    p.current = Some(fd);
                    fd
                }
            };
            if let Some(call) = maker.next(cx, p.object, p.calls, fd)? {
                p.calls = p.calls.saturating_add(1);
                return Ok(Next::Call(call));
            }
            let file = FileRef::fget(fd)?;
            open_file::close(fd)?;
            file.set_flags(flags | maker.flags(p.object));
            p.made.push((id, file), GFP_KERNEL)?;
            p.object = p.object.saturating_add(1);
            (p.current, p.calls) = (None, 0);
        }
    }

    /// Hands out the open file `id`, once.
    ///
    /// # Errors
    /// `EUCLEAN` when there is none.
    pub fn take(&self, id: u32) -> Result<FileRef> {
        let mut p = self.progress.lock();
        let at = p.made.iter().position(|m| m.0 == id).ok_or(EUCLEAN)?;
        let (_, file) = p.made.remove(at).map_err(|_| EUCLEAN)?;
        Ok(file)
    }

    /// Closes what nobody asked for.
    pub fn forget(&self) {
        let mut made = KVVec::new();
        core::mem::swap(&mut self.progress.lock().made, &mut made);
        // Dropped outside of the lock: closing may sleep.
        drop(made);
    }
}

/// The open files of records whose ids, ascending, are those of their files: id and flags of each.
///
/// # Errors
/// `EUCLEAN` for a record without a file, `EOPNOTSUPP` for flags such a file cannot have, both explained.
pub fn files(cx: &Restart<'_>, word: &str, ids: impl Iterator<Item = Result<u32>>) -> Result<KVVec<(u32, u32)>> {
    let mut files = cx.records::<cr_format::FileRecord<'_>>();
    let mut out = KVVec::new();
    for id in ids {
        let id = id?;
        // Both lists ascend, so one pass over the files is enough.
        let file = loop {
            let f = files.next().ok_or(EUCLEAN)??;
            if f.id == id {
                break f;
            }
        };
        out.push((id, flags(cx, word, id, file.flags)?), GFP_KERNEL)?;
    }
    Ok(out)
}

/// The failure of a `fdinfo` that is not understood.
pub fn not_understood(cx: &crate::Checkpoint<'_>, word: &str) -> Error {
    cx.fail(EPROTO, word, "", b"this kernel describes such a descriptor in another way", "report it with the kernel's version")
}

/// Flags that such a file can have: those of [`cr_logic::anon::flags`].
///
/// # Errors
/// `EOPNOTSUPP`, explained.
fn flags(cx: &Restart<'_>, word: &str, id: u32, flags: u64) -> Result<u32> {
    let known = u32::try_from(flags).ok().filter(|f| cr_logic::anon::unknown_flags(*f) == 0);
    match known {
        Some(f) => Ok(f & !cr_logic::files::flag::O_CLOEXEC),
        None => {
            let text = CString::try_from_fmt(fmt!("open file {id} has flags {flags:#o}, which it cannot have"))?;
            Err(cx.fail(EOPNOTSUPP, word, "", text.to_bytes(), ""))
        }
    }
}
