// SPDX-License-Identifier: GPL-2.0
//! Writing the image to the caller's descriptor: file, pipe or socket, strictly forward.
//!
//! Metadata goes out from kernel buffers; page data straight from the pages of the frozen process in one
//! vectored write per chunk, so that it is copied once, by the file system, or compressed (`page_data.rs`).
//! Every write is checked for its length; a short one ends the checkpoint.
//!
//! Source of the layout: spec/IMAGE_FORMAT.md; `cr_format::writer` makes the headers.

use crate::{
    clocks,
    page_data::{with_page, Packer},
};
use cr_format::{
    runs::{Run, RunKind},
    superblock::{self, Superblock},
    writer::{cut_index, cut_records, ImageWriter, Stored, PAGE_HEAD_LEN},
};
use crkit::{bindings as b, errno_of, sys::file::FileRef, RecordBuf};
use kernel::prelude::*;

/// CRC-32 by the kernel's own, accelerated function.
pub(crate) fn crc(c: u32, bytes: &[u8]) -> u32 {
    // SAFETY: valid slice.
    !unsafe { b::crc32_le(!c, bytes.as_ptr().cast(), bytes.len()) }
}

/// An image being written.
pub(crate) struct Output {
    file: FileRef,
    pos: i64,
    writer: ImageWriter,
    index: RecordBuf,
    /// Superblock, headers and run tables are made here.
    head: KBox<[u8; 4096]>,
    /// Two more than the pages of a chunk: head, and room for rounding.
    vec: KVec<b::bio_vec>,
    runs: KVec<Run>,
    pages: u64,
    zero_pages: u64,
    /// Bytes of page data as stored.
    stored_bytes: u64,
    /// Compresses it, if that is wanted.
    packer: Option<Packer>,
    is_tree: bool,
}

// SAFETY: the page pointers in `vec` are only used inside one call that holds references to the pages.
unsafe impl Send for Output {}

impl Output {
    /// Prepares writing to `file` from its current position on, compressed if there is a packer.
    ///
    /// # Errors
    /// `EBADF` when it is not open for writing, `EINVAL` when it cannot be written by the kernel.
    pub(crate) fn new(file: FileRef, packer: Option<Packer>, is_tree: bool) -> Result<Self> {
        if file.fmode() & b::CR_FMODE_WRITE == 0 {
            return Err(EBADF);
        }
        let pages = b::CR_PAGES_PER_CHUNK as usize;
        Ok(Self {
            pos: file.pos(),
            file,
            writer: ImageWriter::with_crc(crc),
            index: RecordBuf::new(),
            head: KBox::new([0; 4096], GFP_KERNEL)?,
            vec: KVec::with_capacity(pages.saturating_add(1), GFP_KERNEL)?,
            runs: KVec::with_capacity(b::CR_RUNS_PER_CHUNK as usize, GFP_KERNEL)?,
            pages: 0,
            zero_pages: 0,
            stored_bytes: 0,
            packer,
            is_tree,
        })
    }

    /// Writes the superblock.
    pub(crate) fn start(&mut self) -> Result {
        let mut uuid = [0u8; 16];
        // SAFETY: valid buffer of 16 bytes.
        unsafe { b::generate_random_uuid(uuid.as_mut_ptr()) };
        let created = clocks::Clocks::now().realtime as u64;
        let mut sb = Superblock::new(uuid, created, concat!("cr_core ", env!("CRKIT_VERSION")).as_bytes());
        if self.packer.is_some() {
            sb.feature_incompat |= superblock::ZSTD;
        }
        if self.is_tree {
            sb.feature_incompat |= superblock::PROCESSES;
        }
        let mut page = KBox::new([0u8; superblock::LEN], GFP_KERNEL)?;
        self.writer.superblock(&sb, &mut page);
        self.write(&*page)
    }

    /// Writes the records of one section and process as META chunks.
    pub(crate) fn meta(&mut self, process: u32, section: u16, records: &[u8]) -> Result {
        let mut rest = records;
        while let Some(piece) = cut_records(&mut rest) {
            let piece = piece.map_err(errno_of)?;
            let head = self.writer.meta_of(process, section, true, piece, &mut self.index).map_err(errno_of)?;
            self.write(&head)?;
            self.write(piece)?;
        }
        Ok(())
    }

    /// Fills up to the alignment of page data.
    pub(crate) fn pad(&mut self) -> Result {
        if let Some((head, mut zeros)) = self.writer.pad(&mut self.index).map_err(errno_of)? {
            self.write(&head)?;
            let block = KBox::new([0u8; 4096], GFP_KERNEL)?;
            while zeros > 0 {
                let n = zeros.min(4096);
                self.write(block.get(..n).ok_or(EINVAL)?)?;
                zeros = zeros.saturating_sub(n);
            }
        }
        Ok(())
    }

    /// Writes one PAGE chunk: head and run table, then the pages.
    ///
    /// # Safety
    /// `pages` are `n` referenced pages.
    pub(crate) unsafe fn page_chunk(
        &mut self,
        section: u16,
        owner: u32,
        runs: &[b::cr_run],
        pages: *const *mut b::page,
        n: u32,
    ) -> Result {
        if n > b::CR_PAGES_PER_CHUNK || runs.len() > b::CR_RUNS_PER_CHUNK as usize {
            return Err(EINVAL);
        }
        self.runs.clear();
        let mut data = 0u64;
        for r in runs {
            let kind = match r.kind {
                b::CR_RUN_DATA => RunKind::Data,
                b::CR_RUN_ZERO => RunKind::Zero,
                // Tools make duplicates, checkpoints do not.
                _ => return Err(EINVAL),
            };
            if kind == RunKind::Data {
                data = data.saturating_add(r.npages.into());
                self.pages = self.pages.saturating_add(r.npages.into());
            } else {
                self.zero_pages = self.zero_pages.saturating_add(r.npages.into());
            }
            self.runs.push(Run::of(r.start, r.npages, kind), GFP_KERNEL)?;
        }
        if data != u64::from(n) {
            return Err(EINVAL);
        }
        let list: &[*mut b::page] = match n {
            0 => &[],
            // SAFETY: `n` pointers by the caller's promise.
            _ => unsafe { core::slice::from_raw_parts(pages, n as usize) },
        };
        let mut packer = self.packer.take();
        // SAFETY: referenced pages of a frozen process.
        let packed = packer.as_mut().and_then(|p| unsafe { p.pack(list) });
        let r = match packed {
            Some(p) => {
                let crc = crc(0, p.stored);
                self.packed_chunk(section, owner, p.stored, Stored::Zstd { frame_len: p.frame_len, crc, raw_crc: p.raw_crc })
            }
            None => self.raw_chunk(section, owner, list),
        };
        self.packer = packer;
        r
    }

    /// The rest of [`Output::page_chunk`] for compressed page data.
    fn packed_chunk(&mut self, section: u16, owner: u32, bytes: &[u8], stored: Stored) -> Result {
        let head: &mut [u8; PAGE_HEAD_LEN] = &mut self.head;
        self.writer.page_stored(section, owner, true, &self.runs, stored, head, &mut self.index).map_err(errno_of)?;
        let vec = [
            b::kvec { iov_base: self.head.as_mut_ptr().cast(), iov_len: PAGE_HEAD_LEN },
            b::kvec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() },
        ];
        let len = PAGE_HEAD_LEN.saturating_add(bytes.len());
        self.stored_bytes = self.stored_bytes.saturating_add(bytes.len() as u64);
        let mut iter = b::iov_iter::default();
        // SAFETY: `vec` and what it points to outlive the use of `iter`.
        unsafe { b::iov_iter_kvec(&mut iter, b::CR_ITER_SOURCE, vec.as_ptr(), vec.len(), len) };
        self.write_iter(&mut iter, len)
    }

    /// The rest of [`Output::page_chunk`] for page data that is stored as it is: `list` are referenced pages.
    fn raw_chunk(&mut self, section: u16, owner: u32, list: &[*mut b::page]) -> Result {
        let mut sum = 0u32;
        for p in list {
            // SAFETY: a referenced page of a frozen process.
            sum = unsafe { with_page(*p, |bytes| crc(sum, bytes)) };
        }
        let head: &mut [u8; PAGE_HEAD_LEN] = &mut self.head;
        self.writer.page(section, owner, true, &self.runs, sum, head, &mut self.index).map_err(errno_of)?;
        self.vec.clear();
        let mut entry = b::bio_vec::default();
        // SAFETY: the box is one kmalloc'ed block of 4096 bytes, which does not cross a page because
        // kmalloc aligns powers of two to their size; it stays until the write is over.
        unsafe { b::crs_bvec_set(&mut entry, b::crs_virt_to_page(self.head.as_ptr().cast()), 4096, self.head_offset()) };
        self.vec.push(entry, GFP_KERNEL)?;
        for p in list {
            let mut entry = b::bio_vec::default();
            // SAFETY: a referenced page.
            unsafe { b::crs_bvec_set(&mut entry, *p, 4096, 0) };
            self.vec.push(entry, GFP_KERNEL)?;
        }
        let len = self.vec.len().saturating_mul(4096);
        self.stored_bytes = self.stored_bytes.saturating_add((list.len() as u64).saturating_mul(4096));
        let mut iter = b::iov_iter::default();
        // SAFETY: `vec` holds that many entries of referenced pages and is not changed while in use.
        unsafe { b::iov_iter_bvec(&mut iter, b::CR_ITER_SOURCE, self.vec.as_ptr(), self.vec.len(), len) };
        self.write_iter(&mut iter, len)
    }

    fn head_offset(&self) -> u32 {
        (self.head.as_ptr() as usize & 4095) as u32
    }

    /// Writes the index and the end: after this the image is valid.
    pub(crate) fn end(&mut self) -> Result {
        let index = core::mem::take(&mut self.index);
        let mut rest = index.bytes();
        while let Some(piece) = cut_index(&mut rest) {
            let head = self.writer.index(piece).map_err(errno_of)?;
            self.write(&head)?;
            self.write(piece)?;
        }
        let end = self.writer.end().map_err(errno_of)?;
        self.write(&end)?;
        // The caller's descriptor stands behind what was written, as after write(2).
        self.file.set_pos(self.pos);
        Ok(())
    }

    /// Bytes of image so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.writer.offset()
    }
    /// Pages stored with contents.
    pub(crate) fn pages(&self) -> u64 {
        self.pages
    }
    /// Pages stored as zero.
    pub(crate) fn zero_pages(&self) -> u64 {
        self.zero_pages
    }

    /// Bytes of page data as stored, compressed or not.
    pub(crate) fn stored_bytes(&self) -> u64 {
        self.stored_bytes
    }

    fn write(&mut self, bytes: &[u8]) -> Result {
        let vec = b::kvec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        let mut iter = b::iov_iter::default();
        // SAFETY: `vec` and `bytes` outlive the use of `iter`.
        unsafe { b::iov_iter_kvec(&mut iter, b::CR_ITER_SOURCE, &vec, 1, bytes.len()) };
        self.write_iter(&mut iter, bytes.len())
    }

    fn write_iter(&mut self, iter: &mut b::iov_iter, len: usize) -> Result {
        let mut left = len;
        while left > 0 {
            // SAFETY: live file; the iterator's memory is valid; it remembers how far it is.
            let n = unsafe { b::vfs_iter_write(self.file.as_ptr(), iter, &mut self.pos, 0) };
            if n < 0 {
                let e = Error::from_errno(n as i32);
                // Signals are for the caller: -ERESTARTSYS must not leave this ioctl.
                return Err(if e == ERESTARTSYS { EINTR } else { e });
            }
            if n == 0 {
                return Err(ENOSPC);
            }
            left = left.checked_sub(n as usize).ok_or(EIO)?;
        }
        Ok(())
    }
}
