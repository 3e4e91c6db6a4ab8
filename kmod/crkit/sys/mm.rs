// SPDX-License-Identifier: GPL-2.0
//! Address spaces: VMAs, residency, page references.

use crate::{bindings as b, sys::file::FileRef};
use core::marker::PhantomData;
use kernel::{error::to_result, prelude::*};

/// Bytes in a page of this architecture.
pub const PAGE_SIZE: u64 = 4096;

/// A borrowed `struct mm_struct`.
///
/// # Invariants
/// Live, with `mm_users` held by somebody for `'a`.
#[derive(Clone, Copy)]
pub struct MmRef<'a> {
    ptr: *mut b::mm_struct,
    _life: PhantomData<&'a b::mm_struct>,
}

/// What is mapped at an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resident {
    /// Nothing.
    Absent,
    /// An anonymous page: private contents.
    Anon,
    /// A page of a file or of shared memory.
    File,
    /// The shared page of zeroes.
    Zero,
    /// Swapped out or migrating: only a fault can tell.
    Swap,
    /// A page without `struct page`.
    Special,
    /// A guard page of `MADV_GUARD_INSTALL`: no contents, every access is fatal.
    Guard,
}

impl<'a> MmRef<'a> {
    /// Borrows an mm.
    ///
    /// # Safety
    /// `ptr` is live for `'a` with `mm_users` held.
    pub unsafe fn borrow(ptr: *mut b::mm_struct) -> Self {
        // INVARIANT: by the caller's promise.
        Self { ptr, _life: PhantomData }
    }

    /// The address space of the current task, which must be a user task.
    pub fn current() -> Result<MmRef<'static>> {
        // SAFETY: current is always valid; its mm stays until it execs or exits, which it cannot while here.
        let ptr = unsafe { (*b::crs_current()).mm };
        if ptr.is_null() {
            return Err(EINVAL);
        }
        Ok(MmRef { ptr, _life: PhantomData })
    }

    /// The raw pointer.
    pub fn as_ptr(&self) -> *mut b::mm_struct {
        self.ptr
    }

    /// Locks the VMA tree for reading.
    ///
    /// Lock order: nothing else is held; no user memory is touched while it is held.
    ///
    /// # Errors
    /// `EINTR` when the caller is being killed.
    pub fn lock(&self) -> Result<LockedMm<'a>> {
        // SAFETY: live mm.
        to_result(unsafe { b::crs_mmap_read_lock_killable(self.ptr) })?;
        Ok(LockedMm { mm: *self })
    }

    /// Takes references to `n` pages from `addr` on into `batch`, faulting them in, even where the
    /// protection forbids access (private mappings only). `write` breaks copy-on-write.
    ///
    /// # Errors
    /// `EFAULT` if one of them cannot be had. Pages taken before stay in the batch.
    pub fn take_pages(&self, addr: u64, n: u32, write: bool, batch: &mut PageBatch) -> Result {
        self.lock()?.take_pages(addr, n, write, batch)
    }

    /// What belongs to the address space as a whole. Its tasks are frozen, or it is the caller's own.
    pub fn facts(&self) -> Result<KBox<b::crs_mm_facts>> {
        let mut facts = KBox::new(b::crs_mm_facts::default(), GFP_KERNEL)?;
        // SAFETY: live mm; valid out pointer; the shim takes the locks it needs.
        unsafe { b::crs_mm_facts(self.ptr, &mut *facts) };
        Ok(facts)
    }

    /// The executable, if it still has one.
    pub fn exe_file(&self) -> Option<FileRef> {
        // SAFETY: live mm; the reference that is returned is ours.
        unsafe { FileRef::from_raw(b::crs_mm_exe_file(self.ptr)) }
    }
}

/// An mm whose VMA tree is locked for reading.
pub struct LockedMm<'a> {
    mm: MmRef<'a>,
}

impl Drop for LockedMm<'_> {
    fn drop(&mut self) {
        // SAFETY: locked in `lock`.
        unsafe { b::crs_mmap_read_unlock(self.mm.ptr) };
    }
}

impl LockedMm<'_> {
    /// Takes references to `n` pages from `addr` on into `batch`; see [`MmRef::take_pages`].
    ///
    /// # Errors
    /// `EFAULT` if one of them cannot be had, `E2BIG` if the batch has no room. Pages taken before stay.
    pub fn take_pages(&self, addr: u64, n: u32, write: bool, batch: &mut PageBatch) -> Result {
        let mut addr = addr;
        let mut left = n;
        while left > 0 {
            if batch.pages.len().saturating_add(left as usize) > batch.pages.capacity() {
                return Err(E2BIG);
            }
            let flags = b::FOLL_FORCE | if write { b::FOLL_WRITE } else { 0 };
            let spare = batch.pages.spare_capacity_mut();
            // SAFETY: mmap lock held for reading, which GUP demands and keeps (`locked` is null);
            // `spare` has room for `left` pointers.
            let got = unsafe {
                b::get_user_pages_remote(
                    self.mm.ptr,
                    addr as usize,
                    left as usize,
                    flags,
                    spare.as_mut_ptr().cast(),
                    core::ptr::null_mut(),
                )
            };
            if got <= 0 {
                return Err(if got < 0 { Error::from_errno(got as i32) } else { EFAULT });
            }
            // SAFETY: GUP initialised `got` pointers, each with a reference that is now ours.
            unsafe { batch.pages.inc_len(got as usize) };
            left = left.saturating_sub(got as u32);
            addr = addr.checked_add((got as u64).saturating_mul(PAGE_SIZE)).ok_or(EOVERFLOW)?;
        }
        Ok(())
    }

    /// The first VMA that ends above `addr`; iterate with `addr = vma.end()`.
    pub fn find(&self, addr: u64) -> Option<VmaRef<'_>> {
        // SAFETY: locked for reading.
        let v = unsafe { b::find_vma(self.mm.ptr, addr as usize) };
        if v.is_null() { None } else { Some(VmaRef { ptr: v, _life: PhantomData }) }
    }

    /// What is mapped at `addr`, and the next address worth asking about.
    pub fn resident(&self, addr: u64) -> (Resident, u64) {
        let mut next = 0usize;
        // SAFETY: locked for reading; all threads of this mm are frozen.
        let r = unsafe { b::crs_walk(self.mm.ptr, addr as usize, &mut next) };
        let r = match r as u32 {
            b::CRS_ABSENT => Resident::Absent,
            b::CRS_ANON => Resident::Anon,
            b::CRS_FILE => Resident::File,
            b::CRS_ZERO => Resident::Zero,
            b::CRS_SWAP => Resident::Swap,
            b::CRS_GUARD => Resident::Guard,
            _ => Resident::Special,
        };
        (r, next as u64)
    }

    /// Is `addr` in a transparent huge page of anonymous memory?
    pub fn is_huge(&self, addr: u64) -> bool {
        // SAFETY: as in `resident`.
        unsafe { b::crs_walk_huge(self.mm.ptr, addr as usize) != 0 }
    }
}

/// Lets faults of the current task make transparent huge pages, or not: `PR_SET_THP_DISABLE`, which must be set anew at the end.
pub fn allow_huge(allow: bool) {
    // SAFETY: acts on the current task's own address space; a user task has one.
    unsafe { b::crs_thp_disable(i32::from(!allow)) }
}

/// A VMA under the mmap lock.
#[derive(Clone, Copy)]
pub struct VmaRef<'l> {
    ptr: *mut b::vm_area_struct,
    _life: PhantomData<&'l ()>,
}

/// A NUMA policy.
pub struct Policy {
    /// Mode with its flags.
    pub mode: u32,
    /// Nodes: bit n of the bytes is node n.
    pub nodes: [u8; 128],
    /// Home node, -1 none.
    pub home: i32,
}

impl Policy {
    /// The bytes of the nodes up to the last that is not zero.
    pub fn nodes(&self) -> &[u8] {
        let used = self.nodes.iter().rposition(|n| *n != 0).map_or(0, |last| last.saturating_add(1));
        self.nodes.get(..used).unwrap_or(&[])
    }
}

impl VmaRef<'_> {
    /// First address.
    pub fn start(&self) -> u64 {
        // SAFETY: the VMA lives while the lock is held.
        unsafe { (*self.ptr).__bindgen_anon_1.__bindgen_anon_1.vm_start as u64 }
    }
    /// First address behind.
    pub fn end(&self) -> u64 {
        // SAFETY: as in `start`.
        unsafe { (*self.ptr).__bindgen_anon_1.__bindgen_anon_1.vm_end as u64 }
    }
    /// `VM_*` flags (`bindings::CR_VM_*`).
    pub fn flags(&self) -> u64 {
        // SAFETY: as in `start`.
        unsafe { b::crs_vma_flags(self.ptr) }
    }
    /// Offset into the file in bytes.
    pub fn offset(&self) -> u64 {
        // SAFETY: as in `start`.
        unsafe { ((*self.ptr).vm_pgoff as u64).wrapping_mul(PAGE_SIZE) }
    }
    /// The mapped file, with a reference of its own.
    pub fn file(&self) -> Option<FileRef> {
        // SAFETY: a VMA keeps its file alive; `with` only borrows, `clone` takes a reference.
        unsafe {
            let f = (*self.ptr).vm_file;
            if f.is_null() { None } else { Some(FileRef::with(f, |f| f.clone())) }
        }
    }
    /// Has no `vm_ops`: anonymous memory.
    pub fn is_anonymous(&self) -> bool {
        // SAFETY: as in `start`.
        unsafe { (*self.ptr).vm_ops.is_null() }
    }
    /// Bytes of its huge pages of hugetlbfs, 0 if it has none.
    pub fn huge(&self) -> u64 {
        // SAFETY: as in `start`.
        unsafe { b::crs_vma_huge(self.ptr) as u64 }
    }
    /// Its own NUMA policy (`mbind(2)`), if it is private memory and has one.
    pub fn policy(&self) -> Option<Policy> {
        let mut p = Policy { mode: 0, nodes: [0; 128], home: -1 };
        // SAFETY: as in `start`; valid out pointers, and `nodes` is as long as it says.
        let mode = unsafe { b::crs_vma_policy(self.ptr, p.nodes.as_mut_ptr().cast(), 128, &mut p.home) };
        p.mode = mode.unsigned_abs();
        (p.mode != 0).then_some(p)
    }
    /// Calls `f` with the name of a special mapping (`[vdso]`, `[vvar]`), if it is one.
    pub fn special_name<R>(&self, f: impl FnOnce(&[u8]) -> R) -> Option<R> {
        // SAFETY: as in `start`.
        let p = unsafe { b::crs_vma_special_name(self.ptr) };
        c_bytes(p.cast()).map(f)
    }
    /// Calls `f` with the name given by `PR_SET_VMA_ANON_NAME`, if any.
    pub fn anon_name<R>(&self, f: impl FnOnce(&[u8]) -> R) -> Option<R> {
        // SAFETY: as in `start`.
        let p = unsafe { b::crs_vma_anon_name(self.ptr) };
        c_bytes(p.cast()).map(f)
    }
}

fn c_bytes<'a>(p: *const u8) -> Option<&'a [u8]> {
    if p.is_null() {
        return None;
    }
    // SAFETY: kernel names are NUL-terminated and outlive the callback they are passed to.
    Some(unsafe { core::ffi::CStr::from_ptr(p.cast()) }.to_bytes())
}

/// Up to a fixed number of referenced pages.
///
/// # Invariants
/// We own one reference to each page.
pub struct PageBatch {
    pages: KVec<*mut b::page>,
    dirty: bool,
}

impl PageBatch {
    /// Room for `n` pages. `dirty` marks them dirty when they are let go, for pages that we fill.
    pub fn new(n: usize, dirty: bool) -> Result<Self> {
        Ok(Self { pages: KVec::with_capacity(n, GFP_KERNEL)?, dirty })
    }
    /// Number of pages held.
    pub fn len(&self) -> u32 {
        self.pages.len() as u32
    }
    /// No page held?
    pub fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }
    /// Array of `len` page pointers.
    pub fn as_ptr(&self) -> *mut *mut b::page {
        self.pages.as_ptr().cast_mut()
    }
    /// Adds a page whose reference moves into the batch, or is given back if there is no room.
    ///
    /// # Safety
    /// `page` is live and the caller gives one reference away.
    pub unsafe fn push(&mut self, page: *mut b::page) -> Result {
        if self.pages.push(page, GFP_KERNEL).is_err() {
            // SAFETY: the reference has become ours.
            unsafe { b::crs_put_page(page) };
            return Err(ENOMEM);
        }
        Ok(())
    }
    /// Lets all pages go.
    pub fn clear(&mut self) {
        for p in self.pages.iter() {
            // SAFETY: we own a reference to each page.
            unsafe {
                if self.dirty {
                    b::set_page_dirty_lock(*p);
                }
                b::crs_put_page(*p);
            }
        }
        self.pages.clear();
    }
    /// Lets the pages from number `n` on go.
    pub fn truncate(&mut self, n: usize) {
        while self.pages.len() > n {
            if let Some(p) = self.pages.pop() {
                // SAFETY: we owned its reference.
                unsafe { b::crs_put_page(p) };
            }
        }
    }
    /// Keeps the pages whose number `f` says true to, in order; lets the others go.
    pub fn keep(&mut self, mut f: impl FnMut(usize) -> bool) {
        let (mut kept, n) = (0, self.pages.len());
        let pages = self.pages.as_mut_slice();
        for i in 0..n {
            if f(i) {
                pages.swap(kept, i);
                kept = kept.saturating_add(1);
            }
        }
        // The ones behind are those that were not kept.
        self.truncate(kept);
    }
    /// Is page `i` anonymous memory (rather than a page of a file)?
    pub fn is_anon(&self, i: usize) -> bool {
        // SAFETY: a referenced page.
        self.pages.get(i).is_some_and(|p| unsafe { b::crs_page_anon(*p) } != 0)
    }
    /// Runs `f` on the bytes of page `i`.
    pub fn with_page<R>(&self, i: usize, f: impl FnOnce(&mut [u8]) -> R) -> Option<R> {
        let p = *self.pages.get(i)?;
        // SAFETY: a referenced page of 4096 bytes; unmapped right after `f`, which cannot keep the slice.
        unsafe {
            let k = b::crs_kmap_local(p).cast::<u8>();
            let r = f(core::slice::from_raw_parts_mut(k, PAGE_SIZE as usize));
            b::crs_kunmap_local(k.cast());
            Some(r)
        }
    }
    /// Has page `i` the same bytes as page `j` of another batch?
    pub fn is_alike(&self, i: usize, other: &Self, j: usize) -> bool {
        self.with_page(i, |a| other.with_page(j, |b| a == b)).flatten().unwrap_or(false)
    }
    /// Copies page `i` to page `j` of another batch; `None` if one of them is not there.
    pub fn copy_page(&self, i: usize, other: &Self, j: usize) -> Option<()> {
        self.with_page(i, |a| other.with_page(j, |b| b.copy_from_slice(a))).flatten()
    }
    /// Is page `i` full of zeroes?
    pub fn is_zero(&self, i: usize) -> bool {
        self.with_page(i, |p| {
            // SAFETY: valid slice.
            unsafe { b::memchr_inv(p.as_ptr().cast(), 0, p.len()).is_null() }
        })
        .unwrap_or(false)
    }
}

impl Drop for PageBatch {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Maps memory into the current task, exactly at `start`, never over something else.
///
/// # Errors
/// `EEXIST` when something is there, and those of `mmap(2)`.
pub fn map_fixed(file: Option<&FileRef>, start: u64, len: u64, prot: u32, flags: u32, offset: u64) -> Result {
    let f = file.map_or(core::ptr::null_mut(), |f| f.as_ptr());
    // SAFETY: vm_mmap checks all numbers; it acts on the current task's own address space.
    let r = unsafe {
        b::vm_mmap(
            f,
            start as usize,
            len as usize,
            prot as usize,
            (flags | b::MAP_FIXED_NOREPLACE) as usize,
            offset as usize,
        )
    };
    if r as u64 == start {
        return Ok(());
    }
    let e = r as isize;
    if (-4095..0).contains(&e) { Err(Error::from_errno(e as i32)) } else { Err(ENOMEM) }
}

/// Maps a part of `file` into the current task for reading and writing, shared, wherever there is room.
///
/// # Errors
/// Those of `mmap(2)`.
pub fn map_shared(file: &FileRef, len: u64, offset: u64) -> Result<u64> {
    let (prot, flags) = (b::PROT_READ | b::PROT_WRITE, b::MAP_SHARED | b::MAP_NORESERVE);
    // SAFETY: vm_mmap checks all numbers; it acts on the current task's own address space.
    let r = unsafe { b::vm_mmap(file.as_ptr(), 0, len as usize, prot as usize, flags as usize, offset as usize) };
    if (r as isize) < 0 { Err(Error::from_errno(r as i32)) } else { Ok(r as u64) }
}

/// [`map_fixed`] for a file whose driver chooses the place itself and takes none from others (`io_uring`). The current
/// task must have no other threads.
///
/// The kernel takes the highest gap below `mmap_base`, or in the old layout the lowest above `mmap_legacy_base`; with
/// those at the ends of the free range that is the range itself.
///
/// # Errors
/// `EEXIST` when the range is not free, and those of `mmap(2)`.
pub fn map_chosen(file: &FileRef, start: u64, len: u64, prot: u32, flags: u32, offset: u64) -> Result {
    let end = start.checked_add(len).ok_or(EOVERFLOW)?;
    let mm = MmRef::current()?.as_ptr();
    // SAFETY: current's own mm. Both words are only read when a place is chosen, by this thread, for there is no other;
    // they are put back at once. vm_mmap checks all numbers.
    let r = unsafe {
        let fields = &mut (*mm).__bindgen_anon_1;
        let before = (fields.mmap_base, fields.mmap_legacy_base);
        (fields.mmap_base, fields.mmap_legacy_base) = (end as usize, start as usize);
        let r = b::vm_mmap(file.as_ptr(), 0, len as usize, prot as usize, flags as usize, offset as usize);
        let fields = &mut (*mm).__bindgen_anon_1;
        (fields.mmap_base, fields.mmap_legacy_base) = before;
        r
    };
    let e = r as isize;
    if (-4095..0).contains(&e) {
        return Err(Error::from_errno(e as i32));
    }
    if r as u64 != start {
        unmap(r as u64, len)?;
        return Err(EEXIST);
    }
    Ok(())
}

/// Unmaps a range of the current task.
pub fn unmap(start: u64, len: u64) -> Result {
    // SAFETY: acts on the current task's own address space; vm_munmap checks the range.
    to_result(unsafe { b::vm_munmap(start as usize, len as usize) })
}

/// Sets which kinds of areas a core dump of the current process has (`/proc/PID/coredump_filter`).
///
/// There is no system call for it; the file's own write does the same.
pub fn set_coredump_filter(filter: u32) {
    // SAFETY: current's own mm; atomic.
    unsafe { b::crs_set_coredump_filter(filter) };
}
