// SPDX-License-Identifier: GPL-2.0
//! Instances of inotify beyond their `fdinfo`. The only file of this module that names bindings' functions.
//!
//! Source: `queue.c`, which knows the private structures of `fs/notify/inotify/`.

use crkit::{
    bindings as b,
    sys::{file::FileRef, inode::InodeRef},
};
use kernel::{error::to_result, prelude::*};

/// Most bytes of one queue.
const MOST: usize = 16 << 20;

/// An open instance of inotify.
///
/// # Invariants
/// The file is one of inotify.
pub(crate) struct Instance<'f>(&'f FileRef);

impl<'f> Instance<'f> {
    /// `None` if the file is another one.
    pub(crate) fn of(file: &'f FileRef) -> Option<Self> {
        // INVARIANT: nothing else has an anonymous inode of this name.
        file.is_anonymous(b"inotify").then_some(Self(file))
    }

    /// The cursor of the allocator of watch descriptors.
    pub(crate) fn cursor(&self) -> u32 {
        // SAFETY: by the type invariant.
        unsafe { b::crs_inotify_cursor(self.0.as_ptr()) }
    }

    /// What watch `wd` is about; `None` when it is gone.
    pub(crate) fn inode(&self, wd: u32) -> Option<InodeRef> {
        let wd = i32::try_from(wd).ok()?;
        // SAFETY: by the type invariant; a returned reference is ours.
        unsafe { InodeRef::from_raw(b::crs_inotify_inode(self.0.as_ptr(), wd)) }
    }

    /// A copy of its queue, for [`cr_logic::inotify::events`].
    ///
    /// # Errors
    /// `ENOMEM`; `EFBIG` for more than 16 MiB.
    pub(crate) fn queue(&self) -> Result<KVVec<u8>> {
        let mut bytes = KVVec::new();
        loop {
            // SAFETY: by the type invariant; the buffer is as long as said.
            let n = unsafe { b::crs_inotify_events(self.0.as_ptr(), bytes.as_mut_ptr(), bytes.len()) };
            if n <= bytes.len() {
                bytes.truncate(n);
                return Ok(bytes);
            }
            if n > MOST {
                return Err(EFBIG);
            }
            bytes.resize(n, 0, GFP_KERNEL)?;
        }
    }

    /// Appends an event of a watch that exists; `name` is terminated by NUL.
    pub(crate) fn push(&self, wd: u32, mask: u32, cookie: u32, name: &CStr) -> Result {
        let wd = i32::try_from(wd).map_err(|_| EUCLEAN)?;
        let len = u32::try_from(name.to_bytes().len()).map_err(|_| EUCLEAN)?;
        // SAFETY: by the type invariant; the name has `len` bytes and a NUL.
        to_result(unsafe { b::crs_inotify_queue(self.0.as_ptr(), wd, mask, cookie, name.as_ptr().cast(), len) })
    }

    /// Appends an overflow.
    pub(crate) fn push_overflow(&self) -> Result {
        // SAFETY: by the type invariant.
        to_result(unsafe { b::crs_inotify_overflow(self.0.as_ptr()) })
    }

    /// Sets the most events that the queue takes, and returns what it was.
    pub(crate) fn limit(&self, events: u32) -> u32 {
        // SAFETY: by the type invariant.
        unsafe { b::crs_inotify_limit(self.0.as_ptr(), events) }
    }
}
