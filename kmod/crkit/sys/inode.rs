// SPDX-License-Identifier: GPL-2.0
//! Inodes that are reached by no open file, and the paths that lead to them.
//!
//! Sources: `fs/inode.c`, `fs/dcache.c`, `fs/proc_namespace.c`.

use crate::{
    bindings as b,
    sys::{
        file::{path_result, FileRef},
        path::{PathRef, PathText},
    },
};
use core::ptr::NonNull;
use cr_logic::mounts::{mounts, split};
use kernel::prelude::*;

/// A reference to a `struct inode`.
///
/// # Invariants
/// Live, and we own one reference.
pub struct InodeRef(NonNull<b::inode>);

impl Drop for InodeRef {
    fn drop(&mut self) {
        // SAFETY: we own the reference; may sleep.
        unsafe { b::crs_iput(self.0.as_ptr()) };
    }
}

impl InodeRef {
    /// Takes over a reference; `None` for null.
    ///
    /// # Safety
    /// `ptr` is null or a live inode of which the caller gives one reference away.
    pub unsafe fn from_raw(ptr: *mut b::inode) -> Option<Self> {
        // INVARIANT: by the caller's promise.
        NonNull::new(ptr).map(Self)
    }

    /// Inode number.
    pub fn ino(&self) -> u64 {
        // SAFETY: live.
        unsafe { b::crs_inode_ino(self.0.as_ptr()) }
    }

    /// Device number of its file system as the kernel keeps it, which `fdinfo` and `mountinfo` show.
    pub fn dev(&self) -> u32 {
        // SAFETY: live.
        unsafe { b::crs_inode_dev(self.0.as_ptr()) }
    }

    /// A number that is unique to the inode while it is referenced; that of [`FileRef::inode_key`]. Never for an image.
    pub fn key(&self) -> usize {
        self.0.as_ptr() as usize
    }

    /// Its path in its file system, by a name that the kernel knows now.
    fn inner_path<'b>(&self, buf: &'b mut [u8]) -> Result<&'b [u8]> {
        let len = i32::try_from(buf.len()).map_err(|_| EINVAL)?;
        // SAFETY: live inode; `buf` is valid for `len` bytes.
        let p = unsafe { b::crs_inode_path(self.0.as_ptr(), buf.as_mut_ptr().cast(), len) };
        path_result(p.cast(), buf)
    }
}

/// The mounts that the current task sees, as a text.
pub struct Mounts(KVVec<u8>);

/// Longest text of all mounts that is read, bytes.
const MOST: usize = 64 << 20;
/// Bytes for one path with its NUL.
const PATH: usize = 4096;

impl Mounts {
    /// Reads `/proc/self/mountinfo`.
    ///
    /// # Errors
    /// Those of opening and reading it.
    pub fn read() -> Result<Self> {
        Ok(Self(FileRef::open(c"/proc/self/mountinfo", b::O_RDONLY, 0)?.read_all(MOST)?))
    }

    /// A path by which the current task reaches the object itself; `None` when there is none, or none that the kernel
    /// knows now.
    ///
    /// # Errors
    /// `ENOMEM`; `EPROTO` for a list of mounts that is not understood.
    pub fn path_of(&self, object: &InodeRef) -> Result<Option<PathText>> {
        let mut buf = KBox::new([0u8; PATH], GFP_KERNEL)?;
        let Ok(inner) = object.inner_path(&mut *buf) else { return Ok(None) };
        for m in mounts(&self.0) {
            let m = m.ok_or(EPROTO)?;
            let Some(path) = m.path(inner).filter(|_| m.dev == split(object.dev())) else { continue };
            let mut text = KVec::new();
            for byte in path {
                text.push(byte, GFP_KERNEL)?;
            }
            let text = PathText::new(&text)?;
            // Another mount may cover it.
            if PathRef::lookup(text.as_cstr()?, false).is_ok_and(|p| p.inode_key() == object.key()) {
                return Ok(Some(text));
            }
        }
        Ok(None)
    }
}
