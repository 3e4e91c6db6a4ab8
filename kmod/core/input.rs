// SPDX-License-Identifier: GPL-2.0
//! Reading the image from the caller's descriptor: file, pipe or socket, strictly forward.
//!
//! Each byte is read once: metadata into kernel buffers that are checked there and used from there,
//! plain page data straight into the pages of the half-built process, its checksum taken over what arrived,
//! compressed or repeated page data through a buffer in which it is checked first (`page_data.rs`).
//! `cr_format::stream::Validator` decides; buffers grow only with bytes that were really read.

use crate::{
    output::crc,
    page_data::{with_page, Buffered},
    session::Session,
};
use cr_format::{
    chunk::{ChunkHeader, CODEC_RAW, CODEC_ZSTD},
    runs::RunKind,
    sections as words,
    stream::{Next, Validator},
    superblock,
    validate::MetaSet,
};
use crkit::{bindings as b, sys::file::FileRef};
use kernel::{alloc::flags::GFP_KERNEL_ACCOUNT, prelude::*};

/// Records of all sections of one image.
pub(crate) struct Sections {
    /// Ascending by section and process, as the image has them.
    list: KVVec<((u16, u32), KVVec<u8>)>,
    processes: u32,
}

impl Sections {
    /// The records of section `id` of process number `process`, empty if there are none.
    pub(crate) fn get(&self, process: u32, id: u16) -> &[u8] {
        let at = self.list.binary_search_by_key(&(id, process), |s| s.0).ok();
        at.and_then(|i| self.list.get(i)).map_or(&[], |s| &s.1)
    }

    /// Takes the next piece; the stream has checked the order.
    fn append(&mut self, process: u32, id: u16, bytes: &[u8]) -> Result {
        self.processes = self.processes.max(process.saturating_add(1));
        if let Some(s) = self.list.as_mut_slice().last_mut().filter(|s| s.0 == (id, process)) {
            return Ok(s.1.extend_from_slice(bytes, GFP_KERNEL_ACCOUNT)?);
        }
        let mut v = KVVec::new();
        v.extend_from_slice(bytes, GFP_KERNEL_ACCOUNT)?;
        Ok(self.list.push(((id, process), v), GFP_KERNEL)?)
    }
}

impl MetaSet for Sections {
    fn section(&self, id: u16) -> &[u8] {
        self.get(0, id)
    }
    fn processes(&self) -> u32 {
        self.processes
    }
    fn of(&self, process: u32, id: u16) -> &[u8] {
        self.get(process, id)
    }
    fn ids(&self, visit: &mut dyn FnMut(u16) -> cr_format::Result) -> cr_format::Result {
        let mut last = 0;
        for ((id, _), _) in self.list.iter() {
            if core::mem::replace(&mut last, *id) != *id {
                visit(*id)?;
            }
        }
        Ok(())
    }
}

/// All metadata, with the section that comes behind the page data.
struct WithStats<'a> {
    meta: &'a Sections,
    stats: &'a [u8],
}

impl MetaSet for WithStats<'_> {
    fn section(&self, id: u16) -> &[u8] {
        if id == words::STATS { self.stats } else { self.meta.get(0, id) }
    }
}

/// One PAGE chunk whose data comes next.
pub(crate) struct PageChunk {
    /// Section it belongs to.
    pub(crate) section: u16,
    /// Owner within the section.
    pub(crate) owner: u32,
    /// Its runs.
    pub(crate) runs: KVec<b::cr_run>,
}

/// What the reader has got ahead of its user.
enum Ahead {
    /// Nothing: the next header is to be read.
    Nothing,
    /// A header has been taken; this must be read for it.
    Header(Next),
}

/// An image being read.
pub(crate) struct Input {
    file: FileRef,
    pos: i64,
    validator: Validator,
    ahead: Ahead,
    restartable: bool,
    /// Payload of the chunk being read.
    buffer: KVVec<u8>,
    /// Pages with contents of the current chunk that nobody has taken yet.
    left: u64,
    /// Checksum of its page data so far, if it goes straight into pages.
    sum: u32,
    vec: KVec<b::bio_vec>,
    /// Page data that does not.
    buffered: Buffered,
    is_buffered: bool,
    buffers_all: bool,
}

// SAFETY: the page pointers in `vec` are only used inside one call that holds references to the pages.
unsafe impl Send for Input {}

impl Input {
    /// Prepares reading from `file` at its current position.
    ///
    /// # Errors
    /// `EBADF` when it is not open for reading.
    pub(crate) fn new(file: FileRef) -> Result<Self> {
        if file.fmode() & b::CR_FMODE_READ == 0 {
            return Err(EBADF);
        }
        Ok(Self {
            pos: file.pos(),
            file,
            validator: Validator::with_crc(crc),
            ahead: Ahead::Nothing,
            restartable: false,
            buffer: KVVec::new(),
            left: 0,
            sum: 0,
            vec: KVec::with_capacity(b::CR_PAGES_PER_CHUNK as usize, GFP_KERNEL)?,
            buffered: Buffered::default(),
            is_buffered: false,
            buffers_all: false,
        })
    }

    /// Does the superblock allow a restart?
    pub(crate) fn is_restartable(&self) -> bool {
        self.restartable
    }
    /// Lets page data of all kinds end in the buffer, where it is checked: nobody takes it.
    pub(crate) fn buffer_all(&mut self) {
        self.buffers_all = true;
    }
    /// Bytes read so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.validator.offset()
    }
    /// Pages with contents read so far.
    pub(crate) fn pages(&self) -> u64 {
        self.validator.page_counts().0
    }

    /// Reads superblock and metadata, up to the first chunk that is something else.
    pub(crate) fn read_meta(&mut self, s: &Session) -> Result<Sections> {
        let mut page = KBox::new([0u8; 4096], GFP_KERNEL)?;
        self.read(s, &mut *page)?;
        let sb = self.validator.superblock(&page).map_err(|e| s.fail_format(e))?;
        self.restartable = sb.is_restartable();
        if sb.feature_incompat & superblock::ZSTD != 0 {
            // Now, while nothing has been touched, and by the caller itself.
            self.buffered.with_codec(CODEC_ZSTD).map_err(|e| match e {
                ENOPKG => s.fail(ENOPKG, "core", b"the image is compressed, which needs the module cr_zstd", "install the module where modprobe finds it (see README), or store the image raw: crimg repack"),
                e => s.fail(e, "core", b"there is no memory for decompressing the image", "free some memory"),
            })?;
        }
        let mut sections = Sections { list: KVVec::new(), processes: 1 };
        loop {
            let next = self.header(s)?;
            if self.validator.is_meta_complete() {
                self.ahead = Ahead::Header(next);
                return Ok(sections);
            }
            let (process, section) = self.validator.header().map_or((0, 0), |h| (h.owner, h.section));
            let Next::Payload(len) = next else { return Err(EUCLEAN) };
            self.payload(s, len)?;
            sections.append(process, section, &self.buffer)?;
        }
    }

    /// The next PAGE chunk; `None` when no more follow, with the header behind them kept.
    pub(crate) fn next_page_chunk(&mut self, s: &Session) -> Result<Option<PageChunk>> {
        loop {
            let next = match core::mem::replace(&mut self.ahead, Ahead::Nothing) {
                Ahead::Header(n) => n,
                Ahead::Nothing => self.header(s)?,
            };
            match next {
                Next::RunTable => return self.run_table(s).map(Some),
                Next::Payload(len) => {
                    let h = self.validator.header();
                    if h.is_some_and(|h| h.chunk_type == cr_format::chunk::ChunkType::Pad) {
                        self.payload(s, len)?;
                        continue;
                    }
                    self.ahead = Ahead::Header(next);
                    return Ok(None);
                }
            }
        }
    }

    fn run_table(&mut self, s: &Session) -> Result<PageChunk> {
        let mut table = KBox::new([0u8; cr_format::runs::TABLE_LEN], GFP_KERNEL)?;
        self.read(s, &mut *table)?;
        let Some(h) = self.validator.header().copied() else { return Err(EINVAL) };
        let runs = self.validator.run_table(&table).map_err(|e| s.fail_format(e))?;
        let mut list = KVec::with_capacity(runs.len(), GFP_KERNEL)?;
        let mut pages = 0u64;
        for r in runs.iter() {
            // `Parent` has been refused by the validator.
            let kind = match r.kind {
                RunKind::Data => b::CR_RUN_DATA,
                RunKind::Duplicate => b::CR_RUN_DUPLICATE,
                RunKind::Zero | RunKind::Parent => b::CR_RUN_ZERO,
            };
            if kind != b::CR_RUN_ZERO {
                pages = pages.saturating_add(r.npages.into());
            }
            list.push(b::cr_run { start: r.start, npages: r.npages, kind, source: r.source }, GFP_KERNEL)?;
        }
        let is_compressed = h.codec != CODEC_RAW;
        self.is_buffered = self.buffered.takes(&runs, is_compressed || self.buffers_all)?;
        self.left = pages;
        self.sum = 0;
        if self.is_buffered {
            self.buffer_page_data(s, &h, is_compressed)?;
        }
        Ok(PageChunk { section: h.section, owner: h.owner, runs: list })
    }

    /// Reads and checks all page data of a chunk that is compressed or has duplicates.
    fn buffer_page_data(&mut self, s: &Session, h: &ChunkHeader, is_compressed: bool) -> Result {
        let mut buffered = core::mem::take(&mut self.buffered);
        // CAST: lengths of a chunk, at most 1 MiB.
        let stored = buffered.stored(h.stored_len as usize)?;
        self.read(s, stored)?;
        self.validator.page_data(stored).map_err(|e| s.fail_format(e))?;
        if is_compressed {
            let decoded = buffered.decode(h.frame_len as usize, h.raw_len as usize);
            self.validator.decoded(decoded).map_err(|e| s.fail_format(e))?;
        }
        self.buffered = buffered;
        Ok(())
    }

    /// Fills pages with the next page data of the chunk.
    ///
    /// # Safety
    /// `pages` are `n` referenced pages that nobody else writes.
    pub(crate) unsafe fn read_pages(&mut self, pages: *const *mut b::page, n: u32) -> Result {
        if n == 0 {
            return Ok(());
        }
        let bytes = u64::from(n).saturating_mul(4096);
        if n > b::CR_PAGES_PER_CHUNK || u64::from(n) > self.left {
            return Err(EINVAL);
        }
        self.left = self.left.saturating_sub(n.into());
        // SAFETY: `n` pointers by the caller's promise.
        let list = unsafe { core::slice::from_raw_parts(pages, n as usize) };
        if self.is_buffered {
            // SAFETY: by the caller's promise.
            return unsafe { self.buffered.give(list) };
        }
        self.vec.clear();
        for p in list {
            let mut entry = b::bio_vec::default();
            // SAFETY: a referenced page.
            unsafe { b::crs_bvec_set(&mut entry, *p, 4096, 0) };
            self.vec.push(entry, GFP_KERNEL)?;
        }
        let mut iter = b::iov_iter::default();
        // SAFETY: `vec` holds that many entries of referenced pages and is not changed while in use.
        unsafe { b::iov_iter_bvec(&mut iter, b::CR_ITER_DEST, self.vec.as_ptr(), self.vec.len(), bytes as usize) };
        let got = self.read_iter(&mut iter, bytes as usize)?;
        if (got as u64) < bytes {
            return Err(EUCLEAN);
        }
        for p in list {
            // SAFETY: a referenced page that nobody else writes.
            self.sum = unsafe { with_page(*p, |bytes| crc(self.sum, bytes)) };
        }
        Ok(())
    }

    /// Checks the chunk whose page data has been read.
    pub(crate) fn finish_page_chunk(&mut self, s: &Session) -> Result {
        if self.left != 0 {
            return Err(s.fail(EINVAL, "core", b"an extension did not take all page data of a chunk", ""));
        }
        if self.is_buffered {
            // Checked before the extension got any of it.
            return Ok(());
        }
        let sum = self.sum;
        self.validator.page_data_crc(sum).map_err(|e| s.fail_format(e))
    }

    /// Reads the rest of the image behind the page data and checks that it agrees with what has been read, and
    /// that nothing follows.
    pub(crate) fn finish(&mut self, s: &Session, set: &Sections) -> Result {
        let mut stats = KVVec::new();
        loop {
            if self.validator.is_complete() {
                break;
            }
            let next = match core::mem::replace(&mut self.ahead, Ahead::Nothing) {
                Ahead::Header(n) => n,
                Ahead::Nothing => self.header(s)?,
            };
            let Next::Payload(len) = next else { return Err(EUCLEAN) };
            self.payload(s, len)?;
            if self.validator.header().is_some_and(|h| h.section == words::STATS) {
                stats.extend_from_slice(&self.buffer, GFP_KERNEL_ACCOUNT)?;
            }
        }
        let (pages, zero_pages) = self.validator.page_counts();
        let set = WithStats { meta: set, stats: &stats };
        cr_format::validate::stats(&set, pages, zero_pages).map_err(|e| s.fail_format(e))?;
        let mut more = [0u8; 1];
        let got = self.read_some(&mut more)?;
        self.validator.finish(got != 0).map_err(|e| s.fail_format(e))
    }

    fn header(&mut self, s: &Session) -> Result<Next> {
        let mut head = [0u8; cr_format::chunk::HEADER_LEN];
        self.read(s, &mut head)?;
        self.validator.chunk_header(&head).map_err(|e| s.fail_format(e))
    }

    /// Reads a payload (at most 1 MiB, as the validator has checked) and lets it be checked.
    fn payload(&mut self, s: &Session, len: u32) -> Result {
        let mut buffer = core::mem::take(&mut self.buffer);
        buffer.clear();
        buffer.resize(len as usize, 0, GFP_KERNEL_ACCOUNT)?;
        self.read(s, &mut buffer)?;
        self.validator.payload(&buffer).map_err(|e| s.fail_format(e))?;
        self.buffer = buffer;
        Ok(())
    }

    /// Fills `out` completely.
    fn read(&mut self, s: &Session, out: &mut [u8]) -> Result {
        let got = self.read_some(out).map_err(|e| match e {
            EINTR => EINTR,
            e => s.fail(e, "core", b"the image cannot be read", "check the image file"),
        })?;
        if got < out.len() {
            return Err(s.fail_format(self.validator.truncated(got as u64)));
        }
        Ok(())
    }

    /// Fills `out` as far as the file goes; returns the bytes read.
    fn read_some(&mut self, out: &mut [u8]) -> Result<usize> {
        let vec = b::kvec { iov_base: out.as_mut_ptr().cast(), iov_len: out.len() };
        let mut iter = b::iov_iter::default();
        // SAFETY: `vec` and `out` outlive the use of `iter`.
        unsafe { b::iov_iter_kvec(&mut iter, b::CR_ITER_DEST, &vec, 1, out.len()) };
        self.read_iter(&mut iter, out.len())
    }

    fn read_iter(&mut self, iter: &mut b::iov_iter, len: usize) -> Result<usize> {
        let mut got = 0usize;
        while got < len {
            // SAFETY: live file; the iterator's memory is valid; it remembers how far it is.
            let n = unsafe { b::vfs_iter_read(self.file.as_ptr(), iter, &mut self.pos, 0) };
            if n < 0 {
                let e = Error::from_errno(n as i32);
                return Err(if e == ERESTARTSYS { EINTR } else { e });
            }
            if n == 0 {
                break;
            }
            got = got.checked_add(n as usize).ok_or(EIO)?;
        }
        Ok(got)
    }
}
