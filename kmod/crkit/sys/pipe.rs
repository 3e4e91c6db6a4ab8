// SPDX-License-Identifier: GPL-2.0
//! Pipes and FIFOs. Source: `include/linux/pipe_fs_i.h`, `fs/pipe.c`.

use crate::{
    bindings as b,
    sys::{file::FileRef, mm::PAGE_SIZE},
};
use core::ptr::NonNull;
use kernel::{error::to_result, prelude::*, types::NotThreadSafe};

/// A pipe whose mutex we hold, so its ring cannot change.
///
/// # Invariants
/// - `pipe` points to a live `pipe_inode_info`; the borrowed file keeps it alive.
/// - This task holds `pipe->mutex` until drop.
pub struct LockedPipe<'a> {
    pipe: NonNull<b::pipe_inode_info>,
    state: b::crs_pipe,
    _file: &'a FileRef,
    _not_send: NotThreadSafe,
}

impl Drop for LockedPipe<'_> {
    fn drop(&mut self) {
        // SAFETY: locked by the type invariant.
        unsafe { b::pipe_unlock(self.pipe.as_ptr()) };
    }
}

impl<'a> LockedPipe<'a> {
    /// Locks the pipe behind an open file; `None` when it is no pipe (or an O_PATH descriptor of one). Sleeps.
    pub fn lock(file: &'a FileRef) -> Option<Self> {
        // SAFETY: live file.
        let pipe = NonNull::new(unsafe { b::crs_file_pipe(file.as_ptr()) })?;
        let mut state = b::crs_pipe::default();
        // SAFETY: a live pipe: the file has it open.
        unsafe {
            b::pipe_lock(pipe.as_ptr());
            b::crs_pipe(pipe.as_ptr(), &mut state);
        }
        // INVARIANT: locked just now.
        Some(Self { pipe, state, _file: file, _not_send: NotThreadSafe })
    }

    /// Slots that may be used: the capacity in pages.
    pub fn slots(&self) -> u32 {
        self.state.slots
    }

    /// Number of open files of the pipe, in all processes.
    pub fn files(&self) -> u32 {
        self.state.files
    }

    /// Does the kernel put notifications into it (`O_NOTIFICATION_PIPE`)?
    pub fn is_watch_queue(&self) -> bool {
        self.state.watch != 0
    }

    /// Number of filled buffers.
    pub fn len(&self) -> u32 {
        self.state.head.wrapping_sub(self.state.tail)
    }

    /// Nothing to read?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Buffer number `i`, oldest first.
    pub fn buffer(&self, i: u32) -> Option<Buffer<'_>> {
        if i >= self.len() {
            return None;
        }
        // SAFETY: locked by the type invariant; the index lies between tail and head.
        let ptr = unsafe { b::crs_pipe_buffer(self.pipe.as_ptr(), self.state.tail.wrapping_add(i)) };
        Some(Buffer { pipe: self, ptr: NonNull::new(ptr)? })
    }
}

/// One filled buffer of a locked pipe.
///
/// # Invariants
/// `ptr` lies in the pipe's ring between tail and head.
pub struct Buffer<'l> {
    pipe: &'l LockedPipe<'l>,
    ptr: NonNull<b::pipe_buffer>,
}

impl Buffer<'_> {
    fn fields(&self) -> &b::pipe_buffer {
        // SAFETY: in the ring by the type invariant, which is locked.
        unsafe { self.ptr.as_ref() }
    }

    /// Bytes in it.
    pub fn len(&self) -> usize {
        self.fields().len as usize
    }

    /// No bytes?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Is it a packet (`O_DIRECT`)?
    pub fn is_packet(&self) -> bool {
        self.fields().flags & b::PIPE_BUF_FLAG_PACKET != 0
    }

    /// Makes sure that its contents are there: they may come from a file that is still being read.
    pub fn confirm(&self) -> Result {
        // SAFETY: locked pipe and a buffer of it.
        to_result(unsafe { b::crs_pipe_confirm(self.pipe.pipe.as_ptr(), self.ptr.as_ptr()) })
    }

    /// Appends bytes `from..from + n` of it to `out`, page by page, without consuming them.
    ///
    /// # Errors
    /// `EINVAL` when there are not so many, `ENOMEM`.
    pub fn peek(&self, from: usize, n: usize, out: &mut KVVec<u8>) -> Result {
        let end = from.checked_add(n).filter(|end| *end <= self.len()).ok_or(EINVAL)?;
        let start = self.fields().offset as usize;
        let mut at = from;
        while at < end {
            let place = start.checked_add(at).ok_or(EINVAL)?;
            let (page, offset) = (place / PAGE_SIZE as usize, place % PAGE_SIZE as usize);
            let len = (PAGE_SIZE as usize).saturating_sub(offset).min(end.saturating_sub(at));
            // SAFETY: a confirmed buffer's bytes lie in its page, or in consecutive ones of a compound page;
            // mapped only for the copy.
            unsafe {
                let k = b::crs_kmap_local(self.fields().page.add(page)).cast::<u8>();
                let r = out.extend_from_slice(core::slice::from_raw_parts(k.add(offset), len), GFP_KERNEL);
                b::crs_kunmap_local(k.cast());
                r?;
            }
            at = at.saturating_add(len);
        }
        Ok(())
    }
}
