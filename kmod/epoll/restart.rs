// SPDX-License-Identifier: GPL-2.0
//! Makes the polls, and adds their entries when all descriptors are in place.

use crate::WORD;
use cr_format::{FileRecord, WatchRecord, EPOLL, FILE_HANDLED};
use cr_logic::epoll::{event, Watch};
use crkit::{
    bindings as b,
    objects::{self, Maker, Objects},
    sys::file::FileRef,
    At, Next, Restart, Syscall,
};
use kernel::{prelude::*, str::CString};

const EPOLL_CTL_ADD: u64 = 1;

/// The polls and their entries.
pub(crate) struct State {
    objects: Objects,
    /// Descriptor of the poll, and the entry.
    watches: KVVec<(u32, Watch)>,
}

struct Polls;

impl Maker for Polls {
    fn word(&self) -> &'static str {
        WORD
    }
    fn make(&self, _: &Restart<'_>, _: usize) -> Result<Syscall> {
        Ok(Syscall::new(b::__NR_epoll_create1, &[0]))
    }
}

/// Checks the records.
pub(crate) fn prepare(cx: &Restart<'_>) -> Result<KBox<State>> {
    // The first process makes all polls; each adds the entries that are with it.
    let own = cx.records::<FileRecord<'_>>().filter(|f| f.as_ref().map_or(true, is_poll));
    let files = objects::files(cx, WORD, own.map(|f| f.map(|f| f.id)))?;
    let mut watches = KVVec::new();
    // The poll of the last entry, and one of its descriptors.
    let mut last = (0u64, 0u32);
    for w in cx.records::<WatchRecord>() {
        let w = w?;
        if last.0 != w.epoll {
            last = (w.epoll, cx.descriptor_of(WORD, w.epoll)?);
        }
        let word = |n: u64| u32::try_from(n).map_err(|_| EUCLEAN);
        watches.push((last.1, Watch { fd: word(w.fd)?, events: word(w.events)?, data: w.data }), GFP_KERNEL)?;
    }
    Ok(KBox::new(State { objects: Objects::new(files)?, watches }, GFP_KERNEL)?)
}

fn is_poll(f: &FileRecord<'_>) -> bool {
    f.kind == FILE_HANDLED && f.handler == u64::from(EPOLL)
}

impl State {
    /// Leader, before `files`: the polls themselves.
    pub(crate) fn make(&self, cx: &Restart<'_>, at: At) -> Result<Next> {
        self.objects.step(&Polls, cx, at)
    }

    /// Leader, behind `files`: entry after entry.
    pub(crate) fn watch(&self, cx: &Restart<'_>, at: At) -> Result<Next> {
        // What nobody asked for must not stay open.
        self.objects.forget();
        if let Some((_, w)) = (at.step as usize).checked_sub(1).and_then(|n| self.watches.get(n)) {
            if at.prev != 0 {
                let e = i32::try_from(at.prev).map_or(EPROTO, Error::from_errno);
                let text = CString::try_from_fmt(fmt!("descriptor {} cannot be watched again", w.fd))?;
                return Err(cx.fail(e, WORD, "", text.to_bytes(), "see /proc/sys/fs/epoll/max_user_watches; a descriptor given with --fd must be one that can be polled"));
            }
        }
        let Some((poll, w)) = self.watches.get(at.step as usize) else { return Ok(Next::Done) };
        let address = cx.to_scratch(0, 0, &event(w))?;
        Ok(Next::Call(Syscall::new(b::__NR_epoll_ctl, &[(*poll).into(), EPOLL_CTL_ADD, w.fd.into(), address])))
    }

    /// Hands out a poll.
    pub(crate) fn take(&self, id: u32) -> Result<FileRef> {
        self.objects.take(id)
    }
}
