// SPDX-License-Identifier: GPL-2.0
//! Extensions for open files of an anonymous inode whose whole state is in their `fdinfo`: one record for each,
//! and a few system calls that make it again. eventfd, timerfd and signalfd are no more than that.

use crate::{
    context::{Checkpoint, Restart},
    extension::{At, Extension, Next, Phase, Syscall},
    objects::{self, Maker, Objects},
    sys::file::FileRef,
};
use cr_format::Record;
use core::marker::PhantomData;
use kernel::{prelude::*, str::CStr};

/// One kind of such files.
pub trait Anonymous: Sized + 'static {
    /// Resource word, as in [`Extension`].
    const WORD: &'static CStr;
    /// Name of the inode, as `/proc/PID/fd` shows it behind `anon_inode:`.
    const INODE: &'static [u8];
    /// What is kept of one; its id is that of its open file.
    type Record: for<'a> Record<'a> + Send + Sync + 'static;

    /// The record of open file `id`, from its `fdinfo`; `None` when that is not understood.
    fn record(id: u32, fdinfo: &[u8]) -> Option<Self::Record>;
    /// Is this open file of the kind? Default: by the name of its inode.
    fn claims(file: &FileRef) -> bool {
        file.is_anonymous(Self::INODE)
    }
    /// The record of an open file; `None` when it has reported an obstacle. Default: [`Anonymous::record`].
    fn read(cx: &Checkpoint<'_>, file: &FileRef, id: u32) -> Result<Option<Self::Record>> {
        let text = file.fdinfo()?;
        Self::record(id, &text).map(Some).ok_or_else(|| objects::not_understood(cx, word::<Self>()))
    }
    /// Flags of the open file beside those that section `files` keeps. Default: none.
    fn flags(_record: &Self::Record) -> u32 {
        0
    }
    /// The system call that makes it again and returns its descriptor.
    fn make(cx: &Restart<'_>, record: &Self::Record) -> Result<Syscall>;
    /// The further calls on that descriptor, `step` from 1; `None` when nothing is left to do. Default: nothing is.
    fn next(_cx: &Restart<'_>, _record: &Self::Record, _step: u32, _fd: u32) -> Result<Option<Syscall>> {
        Ok(None)
    }
}

/// The [`Extension`] of a kind of files.
pub struct AnonymousFiles<A: Anonymous>(PhantomData<A>);

/// The files to be made.
pub struct State<A: Anonymous> {
    objects: Objects,
    records: Records<A>,
}

/// In the order of their file ids.
struct Records<A: Anonymous>(KVVec<A::Record>);

fn word<A: Anonymous>() -> &'static str {
    // Words are ASCII: they are names of modules.
    A::WORD.to_str().unwrap_or("")
}

impl<A: Anonymous> Maker for Records<A> {
    fn word(&self) -> &'static str {
        word::<A>()
    }
    fn make(&self, cx: &Restart<'_>, n: usize) -> Result<Syscall> {
        A::make(cx, self.0.get(n).ok_or(EINVAL)?)
    }
    fn flags(&self, n: usize) -> u32 {
        self.0.get(n).map_or(0, A::flags)
    }
    fn next(&self, cx: &Restart<'_>, n: usize, step: u32, fd: u32) -> Result<Option<Syscall>> {
        A::next(cx, self.0.get(n).ok_or(EINVAL)?, step, fd)
    }
}

impl<A: Anonymous> Extension for AnonymousFiles<A> {
    const WORD: &'static CStr = A::WORD;
    const SECTION: u16 = <A::Record as Record<'static>>::SECTION;
    const ORDER: u32 = objects::ORDER;
    type State = State<A>;

    fn claims(file: &FileRef) -> bool {
        A::claims(file)
    }
    fn checkpoint_file(cx: &Checkpoint<'_>, file: &FileRef, id: u32) -> Result {
        A::read(cx, file, id)?.map_or(Ok(()), |record| cx.emit(&record))
    }
    fn prepare(cx: &Restart<'_>) -> Result<KBox<State<A>>> {
        let files = objects::files(cx, word::<A>(), cx.records::<A::Record>().map(|r| r.map(|r| r.id())))?;
        let mut records = KVVec::with_capacity(files.len(), GFP_KERNEL)?;
        for r in cx.records::<A::Record>() {
            records.push(r?, GFP_KERNEL)?;
        }
        Ok(KBox::new(State { objects: Objects::new(files)?, records: Records(records) }, GFP_KERNEL)?)
    }
    fn step(cx: &Restart<'_>, state: &State<A>, at: At) -> Result<Next> {
        match at.phase {
            Phase::Process => state.objects.step(&state.records, cx, at),
            Phase::Filled => {
                // What nobody asked for must not stay open.
                state.objects.forget();
                Ok(Next::Done)
            }
            Phase::Thread | Phase::Late => Ok(Next::Done),
        }
    }
    fn restart_file(_: &Restart<'_>, state: &State<A>, id: u32) -> Result<FileRef> {
        state.objects.take(id)
    }
}
