// SPDX-License-Identifier: GPL-2.0
//! Open files, with the internals that the `kernel` crate does not show.

use crate::bindings as b;
use core::{mem::ManuallyDrop, ptr::NonNull};
use kernel::{error::to_result, prelude::*};

/// A reference to a `struct file`.
///
/// # Invariants
/// `ptr` is live and we own one reference.
pub struct FileRef(NonNull<b::file>);

// SAFETY: references to files may be used and dropped on any thread.
unsafe impl Send for FileRef {}
// SAFETY: all methods only read fields that are stable or use functions that lock.
unsafe impl Sync for FileRef {}

impl Clone for FileRef {
    fn clone(&self) -> Self {
        // SAFETY: live by the type invariant.
        unsafe { b::crs_get_file(self.0.as_ptr()) };
        Self(self.0)
    }
}

impl Drop for FileRef {
    fn drop(&mut self) {
        // SAFETY: we own one reference.
        unsafe { b::fput(self.0.as_ptr()) };
    }
}

impl FileRef {
    /// Takes over a reference; `None` for null.
    ///
    /// # Safety
    /// `ptr` is null or a live file of which the caller gives one reference away.
    pub unsafe fn from_raw(ptr: *mut b::file) -> Option<Self> {
        NonNull::new(ptr).map(Self)
    }

    /// Gives the reference away.
    pub fn into_raw(self) -> *mut b::file {
        ManuallyDrop::new(self).0.as_ptr()
    }

    /// Runs `f` on a file that somebody else keeps alive.
    ///
    /// # Safety
    /// `ptr` is a live file for the duration of the call.
    pub unsafe fn with<R>(ptr: *mut b::file, f: impl FnOnce(&FileRef) -> R) -> R {
        // SAFETY: live and therefore not null.
        let me = ManuallyDrop::new(Self(unsafe { NonNull::new_unchecked(ptr) }));
        f(&me)
    }

    /// The descriptor `fd` of the current task.
    ///
    /// # Errors
    /// `EBADF` if it is not open (or is `O_PATH`).
    pub fn fget(fd: u32) -> Result<Self> {
        // SAFETY: plain lookup; a returned reference is ours.
        unsafe { Self::from_raw(b::fget(fd)) }.ok_or(EBADF)
    }

    /// Opens a path with the credentials, root and umask of the current task.
    pub fn open(path: &CStr, flags: u32, mode: u16) -> Result<Self> {
        // SAFETY: NUL-terminated path; the result is a reference or an error pointer.
        let f = unsafe { b::filp_open(path.as_ptr().cast(), (flags | b::O_LARGEFILE) as i32, mode) };
        Self::from_err_ptr(f)
    }

    /// Takes over what a function returned that gives a file or an error pointer.
    pub fn from_err_ptr(f: *mut b::file) -> Result<Self> {
        // SAFETY: inspects the pointer value only.
        if unsafe { b::crs_is_err(f.cast()) } != 0 {
            // SAFETY: as above.
            return Err(Error::from_errno(unsafe { b::crs_ptr_err(f.cast()) } as i32));
        }
        // SAFETY: the reference is ours.
        unsafe { Self::from_raw(f) }.ok_or(EINVAL)
    }

    /// The raw pointer.
    pub fn as_ptr(&self) -> *mut b::file {
        self.0.as_ptr()
    }

    /// Raw `struct inode`; lives as long as the file.
    pub fn inode(&self) -> &b::inode {
        // SAFETY: an open file keeps its inode alive; callers read fields that only change under locks
        // we do not need while every user of the file is frozen.
        unsafe { &*b::crs_file_inode(self.as_ptr()) }
    }

    /// `st_mode`: file type and permission bits.
    pub fn mode(&self) -> u32 {
        self.inode().i_mode.into()
    }

    /// `f_flags`: the `O_*` flags as `F_GETFL` shows them, plus those it hides.
    pub fn flags(&self) -> u32 {
        // SAFETY: live; a word read.
        unsafe { (*self.as_ptr()).f_flags }
    }

    /// `f_mode`: `FMODE_*`.
    pub fn fmode(&self) -> u32 {
        // SAFETY: live; constant after open but for bits we do not use.
        unsafe { (*self.as_ptr()).f_mode }
    }

    /// File position in bytes.
    pub fn pos(&self) -> i64 {
        // SAFETY: live; the users are frozen.
        unsafe { (*self.as_ptr()).f_pos }
    }

    /// Sets the file position.
    pub fn set_pos(&self, pos: i64) {
        // SAFETY: live; only called on files that no running task uses yet.
        unsafe { (*self.as_ptr()).f_pos = pos };
    }

    /// Number of references to the open file.
    pub fn count(&self) -> i64 {
        // SAFETY: live.
        unsafe { b::crs_file_count(self.as_ptr()) as i64 }
    }

    /// `s_magic` of the file system.
    pub fn fs_magic(&self) -> u64 {
        // SAFETY: an inode's superblock lives as long as the inode.
        unsafe { (*self.inode().i_sb).s_magic as u64 }
    }

    /// Has the directory entry been unlinked?
    pub fn is_unlinked(&self) -> bool {
        // SAFETY: the file keeps its path alive.
        unsafe { b::crs_d_unlinked((*self.as_ptr()).__bindgen_anon_1.f_path.dentry) != 0 }
    }

    /// The path as the current task sees it, into `buf`. Deleted files end in " (deleted)".
    ///
    /// # Errors
    /// `ENAMETOOLONG` if `buf` is too small.
    pub fn path<'b>(&self, buf: &'b mut [u8]) -> Result<&'b [u8]> {
        let len = i32::try_from(buf.len()).map_err(|_| EINVAL)?;
        // SAFETY: the file keeps its path alive; `buf` is valid for `len` bytes.
        let p = unsafe { b::d_path(&(*self.as_ptr()).__bindgen_anon_1.f_path, buf.as_mut_ptr().cast(), len) };
        path_result(p.cast(), buf)
    }

    /// Writes all of `bytes` at the file position, which advances.
    ///
    /// # Errors
    /// `ENOSPC` for a short write, or what the file system says.
    pub fn write_all(&self, bytes: &[u8], pos: &mut i64) -> Result {
        // SAFETY: live file open for writing; valid slice.
        let n = unsafe { b::kernel_write(self.as_ptr(), bytes.as_ptr().cast(), bytes.len(), pos) };
        if n < 0 {
            return Err(Error::from_errno(n as i32));
        }
        if n as usize == bytes.len() { Ok(()) } else { Err(ENOSPC) }
    }

    /// Reads the file from its beginning to its end.
    ///
    /// # Errors
    /// `EFBIG` for more than `most` bytes, or what the file system says.
    pub fn read_all(&self, most: usize) -> Result<KVVec<u8>> {
        let mut text = KVVec::new();
        let (mut have, mut pos) = (0usize, 0i64);
        loop {
            if have == text.len() {
                if have >= most {
                    return Err(EFBIG);
                }
                text.resize(have.saturating_mul(2).max(4096), 0, GFP_KERNEL)?;
            }
            let rest = text.get_mut(have..).ok_or(EINVAL)?;
            // SAFETY: live file open for reading; valid slice. kernel_read advances `pos`.
            let n = unsafe { b::kernel_read(self.as_ptr(), rest.as_mut_ptr().cast(), rest.len(), &mut pos) };
            match usize::try_from(n) {
                Ok(0) => break,
                Ok(n) => have = have.saturating_add(n),
                Err(_) => return Err(Error::from_errno(n as i32)),
            }
        }
        text.truncate(have);
        Ok(text)
    }

    /// Installs the file at the lowest free descriptor of the current task.
    pub fn install(self, cloexec: bool) -> Result<u32> {
        // SAFETY: allocates in the current task's table.
        let fd = unsafe { b::get_unused_fd_flags(if cloexec { b::O_CLOEXEC } else { 0 }) };
        to_result(fd)?;
        // SAFETY: fresh descriptor; our reference moves into the table.
        unsafe { b::fd_install(fd as u32, self.into_raw()) };
        Ok(fd as u32)
    }
}

/// Turns the result of `d_path` into the part of `buf` that it used.
pub fn path_result<'b>(p: *const u8, buf: &'b [u8]) -> Result<&'b [u8]> {
    // SAFETY: inspects the pointer value only.
    if unsafe { b::crs_is_err(p.cast()) } != 0 {
        // SAFETY: as above.
        return Err(Error::from_errno(unsafe { b::crs_ptr_err(p.cast()) } as i32));
    }
    let start = (p as usize).checked_sub(buf.as_ptr() as usize).ok_or(EINVAL)?;
    let rest = buf.get(start..).ok_or(EINVAL)?;
    let end = rest.iter().position(|c| *c == 0).unwrap_or(rest.len());
    rest.get(..end).ok_or(EINVAL)
}
