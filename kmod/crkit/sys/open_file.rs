// SPDX-License-Identifier: GPL-2.0
//! Open files as descriptors have them: the table, hidden state, contents.
//!
//! Sources: `fs/file.c`, `fs/fcntl.c`, `fs/locks.c`, `fs/read_write.c`.

use crate::{
    bindings as b,
    sys::{file::FileRef, mm::PageBatch, task::TaskRef},
};
use kernel::{error::to_result, prelude::*};

/// What an open file is, without asking its file system.
pub type OpenFile = b::crs_open_file;
/// Whom an open file signals; ids are those of the caller's pid namespace, 0 with `alive` for one outside of it.
pub type Owner = b::crs_owner;

/// `lseek(2)`: from the start.
pub const SEEK_SET: u32 = 0;
/// `lseek(2)`: the next byte that is stored.
pub const SEEK_DATA: u32 = 3;
/// `lseek(2)`: the next hole.
pub const SEEK_HOLE: u32 = 4;

impl FileRef {
    /// What it is.
    pub fn open_file(&self) -> OpenFile {
        let mut out = OpenFile::default();
        // SAFETY: live file, valid out pointer.
        unsafe { b::crs_open_file(self.as_ptr(), &mut out) };
        out
    }

    /// Name of its directory entry, or of its anonymous inode; cut off when `buf` is too small.
    pub fn name<'b>(&self, buf: &'b mut [u8]) -> &'b [u8] {
        let max = u32::try_from(buf.len()).unwrap_or(u32::MAX);
        // SAFETY: live file; `buf` is valid for `max` bytes.
        let len = unsafe { b::crs_file_name(self.as_ptr(), buf.as_mut_ptr(), max) };
        buf.get(..len as usize).unwrap_or(&[])
    }

    /// Is it a file of the anonymous inode with this name (`[eventfd]`)?
    pub fn is_anonymous(&self, name: &[u8]) -> bool {
        let mut buf = [0; 24];
        self.fs_magic() == u64::from(b::ANON_INODE_FS_MAGIC) && self.name(&mut buf) == name
    }

    /// Locks and leases held through it (`CRS_LOCK_*`), with the descriptor table of `t` as the owner.
    pub fn locks(&self, t: &TaskRef<'_>) -> u32 {
        // SAFETY: live file; the table pointer is only compared.
        unsafe { b::crs_file_locks(self.as_ptr(), t.fields().files) as u32 }
    }

    /// What `F_SETOWN` and `F_SETSIG` have left; `None` if neither was used.
    pub fn owner(&self) -> Option<Owner> {
        let mut out = Owner::default();
        // SAFETY: live file, valid out pointer.
        (unsafe { b::crs_file_owner(self.as_ptr(), &mut out) } != 0).then_some(out)
    }

    /// Does anybody watch its inode (dnotify, inotify, fanotify, audit)?
    pub fn is_watched(&self) -> bool {
        // SAFETY: live file.
        unsafe { b::crs_inode_watched(self.as_ptr()) != 0 }
    }

    /// Address of its `file_operations`: what kind of file it is to the kernel. Only to be compared.
    pub fn operations(&self) -> usize {
        // SAFETY: live file; the field is constant after open.
        unsafe { (*self.as_ptr()).f_op as usize }
    }

    /// What the driver keeps with the open file. Its type is known from [`FileRef::operations`] only.
    pub fn private_data(&self) -> *mut kernel::ffi::c_void {
        // SAFETY: live file; drivers set it when the file is opened.
        unsafe { (*self.as_ptr()).private_data }
    }

    /// Sets the flags (`f_flags`), as `F_SETFL` does without its checks. Only for files that nobody uses yet.
    pub fn set_flags(&self, flags: u32) {
        // SAFETY: live file; the shim takes the lock that F_SETFL takes.
        unsafe { b::crs_file_set_flags(self.as_ptr(), flags) };
    }

    /// `lseek(2)`.
    pub fn seek(&self, offset: i64, whence: u32) -> Result<i64> {
        // SAFETY: live file.
        let r = unsafe { b::vfs_llseek(self.as_ptr(), offset, whence as i32) };
        if r < 0 { Err(Error::from_errno(r as i32)) } else { Ok(r) }
    }

    /// Fills pages `from..` of `batch` with the contents from `offset` on; what lies behind the end of
    /// the file becomes zero. Returns the bytes read.
    pub fn read_pages(&self, offset: u64, batch: &PageBatch, from: usize) -> Result<usize> {
        let mut pos = i64::try_from(offset).map_err(|_| EFBIG)?;
        let mut total = 0usize;
        for i in from..batch.len() as usize {
            let n = batch.with_page(i, |page| {
                let mut have = 0usize;
                while have < page.len() {
                    let rest = page.get_mut(have..).ok_or(EINVAL)?;
                    // SAFETY: live file open for reading; valid slice. kernel_read advances `pos`.
                    let n = unsafe { b::kernel_read(self.as_ptr(), rest.as_mut_ptr().cast(), rest.len(), &mut pos) };
                    if n < 0 {
                        return Err(Error::from_errno(n as i32));
                    }
                    if n == 0 {
                        break;
                    }
                    have = have.saturating_add(n as usize);
                }
                page.get_mut(have..).unwrap_or(&mut []).fill(0);
                Ok(have)
            });
            total = total.saturating_add(n.ok_or(EINVAL)??);
        }
        Ok(total)
    }

    /// Writes the pages of `batch` to `offset`, but nothing behind `size`.
    pub fn write_pages(&self, offset: u64, batch: &PageBatch, size: u64) -> Result {
        let mut pos = i64::try_from(offset).map_err(|_| EFBIG)?;
        for i in 0..batch.len() as usize {
            let left = size.saturating_sub(u64::try_from(pos).unwrap_or(u64::MAX));
            batch
                .with_page(i, |page| {
                    let len = usize::try_from(left).unwrap_or(usize::MAX).min(page.len());
                    self.write_all(page.get(..len).unwrap_or(&[]), &mut pos)
                })
                .ok_or(EINVAL)??;
        }
        Ok(())
    }
}

impl PageBatch {
    /// Adds `n` fresh pages; their contents are undefined.
    pub fn add_fresh(&mut self, n: u32) -> Result {
        for _ in 0..n {
            // SAFETY: no requirements.
            let page = unsafe { b::crs_alloc_page() };
            if page.is_null() {
                return Err(ENOMEM);
            }
            // SAFETY: a fresh page whose one reference is ours to give away.
            unsafe { self.push(page)? };
        }
        Ok(())
    }
}

/// The descriptors of a frozen task, in ascending order.
pub struct Descriptors<'a> {
    task: TaskRef<'a>,
    next: u32,
}

/// Lists the descriptors of `task`.
pub fn descriptors<'a>(task: TaskRef<'a>) -> Descriptors<'a> {
    Descriptors { task, next: 0 }
}

impl Iterator for Descriptors<'_> {
    type Item = (u32, FileRef);

    fn next(&mut self) -> Option<(u32, FileRef)> {
        let mut fd = self.next;
        // SAFETY: live task; a returned reference is ours, and `fd` its number.
        let file = unsafe { FileRef::from_raw(b::fget_task_next(self.task.as_ptr(), &mut fd)) }?;
        self.next = fd.checked_add(1)?;
        Some((fd, file))
    }
}

/// Is descriptor `fd` of the frozen task `t` closed on exec?
pub fn is_close_on_exec(t: &TaskRef<'_>, fd: u32) -> bool {
    let files = t.fields().files;
    // SAFETY: a frozen task keeps its descriptor table; the shim reads it under RCU.
    !files.is_null() && unsafe { b::crs_close_on_exec(files, fd) != 0 }
}

/// Closes a descriptor of the current task. Its result is that of flush, as for `close(2)`.
pub fn close(fd: u32) -> Result {
    // SAFETY: acts on the current task's own table.
    to_result(unsafe { b::close_fd(fd) })
}
