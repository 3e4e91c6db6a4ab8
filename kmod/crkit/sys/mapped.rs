// SPDX-License-Identifier: GPL-2.0
//! Files as mappings see them, and the objects behind shared anonymous memory.
//!
//! An overlay file system maps a file of a lower one; what users know is the overlay's path and inode.
//! Sources: `file_user_path()` in `include/linux/fs.h`, `shmem_zero_setup()` in `mm/shmem.c`.

use crate::{
    bindings as b,
    sys::{
        file::{path_result, FileRef},
        mm::{self, MmRef, PageBatch, PAGE_SIZE},
    },
};
use kernel::prelude::*;

/// What `stat(2)` says, as far as it identifies a version of a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// Type and permissions.
    pub mode: u32,
    /// Device number as the kernel packs it.
    pub dev: u32,
    /// Inode number.
    pub ino: u64,
    /// Length, bytes.
    pub size: u64,
    /// Last modification: seconds.
    pub mtime_s: i64,
    /// Last modification: nanoseconds of the second.
    pub mtime_ns: u64,
}

impl FileRef {
    /// What the file is, without asking its file system.
    pub fn facts(&self) -> b::crs_file_facts {
        let mut facts = b::crs_file_facts::default();
        // SAFETY: live file, valid out pointer.
        unsafe { b::crs_file_facts(self.as_ptr(), &mut facts) };
        facts
    }

    /// What a memory file has that others have not.
    pub fn memory_file(&self) -> b::crs_memory_file {
        let mut out = b::crs_memory_file::default();
        // SAFETY: live file, valid out pointer.
        unsafe { b::crs_memory_file(self.as_ptr(), &mut out) };
        out
    }

    /// Number of the first page from `index` up to `last` that the page cache has, or has swapped out: for files that are
    /// nowhere else.
    pub fn next_page(&self, index: u64, last: u64) -> Option<u64> {
        let mut at = usize::try_from(index).ok()?;
        // SAFETY: live file with a page cache; the shim takes the lock it needs.
        (unsafe { b::crs_shmem_next(self.as_ptr(), &mut at, last as usize) } != 0).then_some(at as u64)
    }

    /// The path that the user knows the file by, as the current task sees it. Deleted files end in
    /// " (deleted)".
    ///
    /// # Errors
    /// `ENAMETOOLONG` if `buf` is too small.
    pub fn user_path<'b>(&self, buf: &'b mut [u8]) -> Result<&'b [u8]> {
        let len = i32::try_from(buf.len()).map_err(|_| EINVAL)?;
        // SAFETY: the file keeps its paths alive; `buf` is valid for `len` bytes.
        let p = unsafe { b::crs_file_user_path(self.as_ptr(), buf.as_mut_ptr().cast(), len) };
        path_result(p.cast(), buf)
    }

    /// Do users know both as the same file?
    pub fn is_same_file(&self, other: &FileRef) -> bool {
        self.inode_key() == other.inode_key()
    }

    /// A number that is unique to the inode users know, while the file is open. Never for an image.
    pub fn inode_key(&self) -> usize {
        // SAFETY: live file; the address is only compared.
        unsafe { b::crs_file_user_inode(self.as_ptr()) as usize }
    }

    /// Asks the file system what the file is now. May sleep for long.
    pub fn stat(&self) -> Result<Stat> {
        let mut st = KBox::new(b::kstat::default(), GFP_KERNEL)?;
        // SAFETY: live file, valid out pointer.
        kernel::error::to_result(unsafe { b::crs_vfs_stat(self.as_ptr(), &mut *st) })?;
        Ok(Stat {
            mode: st.mode.into(),
            dev: st.dev,
            ino: st.ino,
            size: u64::try_from(st.size).unwrap_or(0),
            mtime_s: st.mtime.tv_sec,
            mtime_ns: u64::try_from(st.mtime.tv_nsec).unwrap_or(0),
        })
    }
}

/// Takes references to `n` pages from byte `start` on of a file of huge pages (of `huge` bytes), making them as needed.
///
/// Nobody can write such a file, so a piece of it is mapped into the current task for a moment, wherever there is room.
///
/// # Errors
/// `EFAULT` or `ENOMEM` when there are not enough huge pages, and those of `mmap(2)`.
pub fn take_huge(file: &FileRef, start: u64, n: u32, huge: u64, batch: &mut PageBatch) -> Result {
    let end = u64::from(n).saturating_mul(PAGE_SIZE).saturating_add(start).checked_next_multiple_of(huge).ok_or(EFBIG)?;
    let first = start.checked_rem(huge).and_then(|rest| start.checked_sub(rest)).ok_or(EINVAL)?;
    let len = end.saturating_sub(first);
    let at = mm::map_shared(file, len, first)?;
    let address = at.saturating_add(start.saturating_sub(first));
    let taken = MmRef::current().and_then(|m| m.take_pages(address, n, true, batch));
    mm::unmap(at, len)?;
    taken
}

/// An object of shared memory (shmem) that is only reached through mappings.
///
/// # Invariants
/// The file belongs to shmem.
#[derive(Clone)]
pub struct SharedAnon(FileRef);

impl SharedAnon {
    /// A new object of `size` bytes, as `mmap(MAP_SHARED | MAP_ANONYMOUS)` makes it.
    pub fn new(size: u64, noreserve: bool) -> Result<Self> {
        // SAFETY: no requirements; the result is a reference or an error pointer.
        let f = FileRef::from_err_ptr(unsafe { b::crs_shared_anon_file(size, noreserve.into()) })?;
        // INVARIANT: made by shmem.
        Ok(Self(f))
    }

    /// The object that `file` is, if it is one of shmem.
    pub fn of(file: FileRef) -> Option<Self> {
        // SAFETY: live file.
        // INVARIANT: checked by the kernel's own test.
        (unsafe { b::crs_is_shmem(file.as_ptr()) } != 0).then(|| Self(file))
    }

    /// The file, to be mapped.
    pub fn file(&self) -> &FileRef {
        &self.0
    }

    /// Number of the first page from `index` up to `last` that the object has, resident or swapped out.
    pub fn next_page(&self, index: u64, last: u64) -> Option<u64> {
        self.0.next_page(index, last)
    }

    /// Takes a reference to page `index`, reading it from swap or making it (zero) as needed.
    pub fn take_page(&self, index: u64, batch: &mut PageBatch) -> Result {
        // SAFETY: a live file of shmem by the type invariant.
        let p = unsafe { b::crs_shmem_page(self.0.as_ptr(), index as usize) };
        // SAFETY: inspects the pointer value only.
        if unsafe { b::crs_is_err(p.cast()) } != 0 {
            // SAFETY: as above.
            return Err(Error::from_errno(unsafe { b::crs_ptr_err(p.cast()) } as i32));
        }
        // SAFETY: a live page whose reference is ours to give away.
        unsafe { batch.push(p) }
    }
}
