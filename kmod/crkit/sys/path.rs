// SPDX-License-Identifier: GPL-2.0
//! Places in the file system: looking paths up, comparing what they lead to, opening them.
//!
//! Sources: `struct path` in `include/linux/path.h`, `kern_path()` in `fs/namei.c`, `vfs_getattr()` in
//! `fs/stat.c`.

use crate::{
    bindings as b,
    sys::{
        file::{path_result, FileRef},
        task::TaskRef,
    },
};
use kernel::{error::to_result, prelude::*};

/// What `stat(2)` says; device numbers in its encoding.
pub type Stat = b::crs_stat;

/// A `struct path`: an object and the mount it was reached through.
///
/// # Invariants
/// Both pointers are live and we own one reference to each.
pub struct PathRef(b::path);

// SAFETY: references to paths may be used and dropped on any thread.
unsafe impl Send for PathRef {}
// SAFETY: all methods only read, or use functions that lock.
unsafe impl Sync for PathRef {}

impl Drop for PathRef {
    fn drop(&mut self) {
        // SAFETY: we own the references.
        unsafe { b::crs_path_put(&mut self.0) };
    }
}

impl PathRef {
    /// Where `file` was opened, as the user knows it.
    pub fn of(file: &FileRef) -> Self {
        let mut path = b::path::default();
        // SAFETY: live file, valid out pointer; the shim takes the references.
        unsafe { b::crs_file_path(file.as_ptr(), &mut path) };
        // INVARIANT: references just taken.
        Self(path)
    }

    /// Resolves an absolute path like the current task would. `follow`: also a symbolic link at the end.
    ///
    /// # Errors
    /// `ENOENT`, `EACCES` and the like.
    pub fn lookup(path: &CStr, follow: bool) -> Result<Self> {
        let mut out = b::path::default();
        let flags = if follow { b::CR_LOOKUP_FOLLOW } else { 0 };
        // SAFETY: NUL-terminated path, valid out pointer.
        to_result(unsafe { b::kern_path(path.as_ptr().cast(), flags, &mut out) })?;
        // INVARIANT: on success the references are ours.
        Ok(Self(out))
    }

    /// Its text as the current task sees it, into `buf`. Removed objects end in " (deleted)".
    ///
    /// # Errors
    /// `ENAMETOOLONG` if `buf` is too small.
    pub fn text<'b>(&self, buf: &'b mut [u8]) -> Result<&'b [u8]> {
        let len = i32::try_from(buf.len()).map_err(|_| EINVAL)?;
        // SAFETY: live path; `buf` is valid for `len` bytes.
        let p = unsafe { b::d_path(&self.0, buf.as_mut_ptr().cast(), len) };
        path_result(p.cast(), buf)
    }

    /// Asks the file system what the object is now. May sleep for long.
    pub fn stat(&self) -> Result<Stat> {
        let mut out = Stat::default();
        // SAFETY: live path, valid out pointer.
        to_result(unsafe { b::crs_stat(&self.0, &mut out) })?;
        Ok(out)
    }

    /// A number that is unique to the object while it is referenced; that of an open file of it. Never for an image.
    pub fn inode_key(&self) -> usize {
        // SAFETY: live path; the address is only compared.
        unsafe { b::crs_path_inode(&self.0) as usize }
    }

    /// Do both lead to the same object, possibly through different mounts?
    pub fn is_same_object(&self, other: &PathRef) -> bool {
        // SAFETY: live paths; the pointers are only compared.
        unsafe { b::crs_path_inode(&self.0) == b::crs_path_inode(&other.0) }
    }

    /// Are both the same place: same object, same mount?
    pub fn is_same_place(&self, other: &PathRef) -> bool {
        self.0.mnt == other.0.mnt && self.0.dentry == other.0.dentry
    }

    /// Has its name been removed?
    pub fn is_unlinked(&self) -> bool {
        // SAFETY: live path.
        unsafe { b::crs_path_unlinked(&self.0) != 0 }
    }

    /// Is it on a mount that programs cannot be run from?
    pub fn is_noexec(&self) -> bool {
        // SAFETY: live path.
        unsafe { b::crs_path_noexec(&self.0) != 0 }
    }

    /// `s_magic` of its file system.
    pub fn magic(&self) -> u64 {
        // SAFETY: live path.
        unsafe { b::crs_path_magic(&self.0) }
    }

    /// Sets the length, with the rights of the current task.
    pub fn truncate(&self, size: u64) -> Result {
        let size = i64::try_from(size).map_err(|_| EFBIG)?;
        // SAFETY: live path.
        to_result(unsafe { b::vfs_truncate(&self.0, size) as i32 })
    }

    /// Opens the object itself, by no name. Permission bits are not checked, security modules are asked.
    pub fn open(&self, flags: u32) -> Result<FileRef> {
        // SAFETY: live path; the current task's credentials live as long as it runs this.
        FileRef::from_err_ptr(unsafe { b::dentry_open(&self.0, flags as i32, (*b::crs_current()).cred) })
    }
}

/// What a task has in `fs_struct`.
pub struct FsPaths {
    /// Working directory.
    pub cwd: PathRef,
    /// Root directory.
    pub root: PathRef,
    /// File mode creation mask.
    pub umask: u32,
}

impl FsPaths {
    /// Those of `t`.
    ///
    /// # Errors
    /// `ESRCH` when it has exited.
    pub fn of(t: &TaskRef<'_>) -> Result<Self> {
        let (mut cwd, mut root, mut umask) = (b::path::default(), b::path::default(), 0);
        // SAFETY: live task, valid out pointers.
        to_result(unsafe { b::crs_fs_paths(t.as_ptr(), &mut cwd, &mut root, &mut umask) })?;
        // INVARIANT: on success the references are ours.
        Ok(Self { cwd: PathRef(cwd), root: PathRef(root), umask: umask as u32 })
    }
}

/// A path with its terminating NUL, for functions that want one.
pub struct PathText(KVec<u8>);

impl PathText {
    /// Copies `path`.
    ///
    /// # Errors
    /// `EINVAL` if it has a NUL byte, `ENOMEM`.
    pub fn new(path: &[u8]) -> Result<Self> {
        if path.contains(&0) {
            return Err(EINVAL);
        }
        let mut text = KVec::with_capacity(path.len().saturating_add(1), GFP_KERNEL)?;
        text.extend_from_slice(path, GFP_KERNEL)?;
        text.push(0, GFP_KERNEL)?;
        Ok(Self(text))
    }

    /// The text.
    pub fn as_cstr(&self) -> Result<&CStr> {
        CStr::from_bytes_with_nul(&self.0).map_err(|_| EINVAL)
    }

    /// The bytes without the NUL.
    pub fn bytes(&self) -> &[u8] {
        self.0.split_last().map_or(&[], |(_, text)| text)
    }

    /// The bytes with the NUL, to be copied to user memory.
    pub fn bytes_with_nul(&self) -> &[u8] {
        &self.0
    }
}
