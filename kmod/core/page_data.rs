// SPDX-License-Identifier: GPL-2.0
//! Page data that goes through a kernel buffer: compressed chunks in both directions, and chunks whose
//! pages are repeated.
//!
//! Reading: the stored bytes of such a chunk are read once into a buffer of 1 MiB, checked there, decoded
//! into a second one, checked again, and only then copied to pages. Plain chunks never come here.
//! Writing: the pages of a chunk are copied into a buffer, so that what is compressed is what the
//! checksum is about, and encoded into another.
//!
//! The buffers have their full size from the beginning: no number of an image decides about an allocation.

use crate::codec::Worker;
use cr_format::{
    limits,
    runs::{RunKind, Runs},
    writer::padded,
};
use crkit::bindings as b;
use kernel::{alloc::flags::GFP_KERNEL_ACCOUNT, prelude::*};

/// Bytes of a page.
const PAGE: usize = limits::PAGE as usize;
/// Most bytes of page data in a chunk.
const MOST: usize = limits::CHUNK_PAYLOAD as usize;

/// Runs `f` on the bytes of a page.
///
/// # Safety
/// `page` is referenced, and nobody else writes it, or reads it if `f` writes.
pub(crate) unsafe fn with_page<R>(page: *mut b::page, f: impl FnOnce(&mut [u8]) -> R) -> R {
    // SAFETY: by the caller's promise; the mapping is used by this thread only and undone below.
    unsafe {
        let k = b::crs_kmap_local(page).cast::<u8>();
        let r = f(core::slice::from_raw_parts_mut(k, PAGE));
        b::crs_kunmap_local(k.cast());
        r
    }
}

/// Where the contents of a run are in the decoded page data.
struct Place {
    /// Offset of the first page, or of the only one.
    at: usize,
    /// Pages still to be given out.
    left: u32,
    /// Bytes from one page to the next: 0 in a run of duplicates.
    step: usize,
}

/// Page data of a chunk that is read through buffers.
#[derive(Default)]
pub(crate) struct Buffered {
    decoder: Option<Worker>,
    stored: KVVec<u8>,
    decoded: KVVec<u8>,
    is_decoded: bool,
    /// Runs with contents, in order; empty when the chunk is read without buffers.
    places: KVec<Place>,
    next: usize,
}

impl Buffered {
    /// Makes a decoder for compressed chunks; see [`Worker::new`].
    pub(crate) fn with_codec(&mut self, codec: u16) -> Result {
        self.decoder = Some(Worker::new(codec, 0)?);
        self.decoded = KVVec::from_elem(0, MOST, GFP_KERNEL_ACCOUNT)?;
        Ok(())
    }

    /// Does this chunk go through the buffers, because it must or has duplicates? If so, remembers its runs, and
    /// `stored` must follow.
    pub(crate) fn takes(&mut self, runs: &Runs<'_>, must: bool) -> Result<bool> {
        self.places.clear();
        self.next = 0;
        self.is_decoded = false;
        if !must && runs.iter().all(|r| r.kind != RunKind::Duplicate) {
            return Ok(false);
        }
        if self.stored.is_empty() {
            self.stored = KVVec::from_elem(0, MOST, GFP_KERNEL_ACCOUNT)?;
        }
        for r in runs.iter() {
            let (page, step) = match r.kind {
                RunKind::Data => (r.start, PAGE),
                RunKind::Duplicate => (r.source, 0),
                RunKind::Zero | RunKind::Parent => continue,
            };
            let at = runs.position(page).ok_or(EUCLEAN)?;
            let at = usize::try_from(at).map_err(|_| EUCLEAN)?;
            self.places.push(Place { at, left: r.npages, step }, GFP_KERNEL)?;
        }
        Ok(true)
    }

    /// The buffer for the `len` stored bytes.
    pub(crate) fn stored(&mut self, len: usize) -> Result<&mut [u8]> {
        self.stored.get_mut(..len).ok_or(EFBIG)
    }

    /// Decodes the frame of `frame_len` bytes in the buffer to `raw_len` bytes; `None` if it is damaged.
    pub(crate) fn decode(&mut self, frame_len: usize, raw_len: usize) -> Option<&[u8]> {
        let from = self.stored.get(..frame_len)?;
        let to = self.decoded.get_mut(..raw_len)?;
        let n = self.decoder.as_mut()?.decode(to, from)?;
        self.is_decoded = true;
        self.decoded.get(..n)
    }

    /// Fills pages with the next contents of the chunk.
    ///
    /// # Errors
    /// `EINVAL` when the chunk has no more.
    ///
    /// # Safety
    /// The pages are referenced, and nobody else uses them.
    pub(crate) unsafe fn give(&mut self, pages: &[*mut b::page]) -> Result {
        let data: &[u8] = if self.is_decoded { &self.decoded } else { &self.stored };
        for p in pages {
            let place = loop {
                let place = self.places.get_mut(self.next).ok_or(EINVAL)?;
                if place.left > 0 {
                    break place;
                }
                self.next = self.next.saturating_add(1);
            };
            let from = data.get(place.at..).and_then(|d| d.get(..PAGE)).ok_or(EINVAL)?;
            // SAFETY: by the caller's promise.
            unsafe { with_page(*p, |to| to.copy_from_slice(from)) };
            place.at = place.at.saturating_add(place.step);
            place.left = place.left.saturating_sub(1);
        }
        Ok(())
    }
}

/// What became of the page data of one chunk.
pub(crate) struct Packed<'a> {
    /// Frame and zeros, to be written.
    pub(crate) stored: &'a [u8],
    /// Bytes of the frame.
    pub(crate) frame_len: u32,
    /// CRC-32 of the page data.
    pub(crate) raw_crc: u32,
}

/// Compresses page data.
pub(crate) struct Packer {
    encoder: Worker,
    raw: KVVec<u8>,
    frame: KVVec<u8>,
}

impl Packer {
    /// See [`Worker::new`].
    pub(crate) fn new(codec: u16, level: u32) -> Result<Self> {
        Ok(Self {
            encoder: Worker::new(codec, level)?,
            raw: KVVec::from_elem(0, MOST, GFP_KERNEL_ACCOUNT)?,
            frame: KVVec::from_elem(0, MOST, GFP_KERNEL_ACCOUNT)?,
        })
    }

    /// Compresses the pages of a chunk; `None` when that does not save at least one block of 4096 bytes.
    ///
    /// # Safety
    /// The pages are referenced, and nobody writes them.
    pub(crate) unsafe fn pack(&mut self, pages: &[*mut b::page]) -> Option<Packed<'_>> {
        let len = pages.len().checked_mul(PAGE)?;
        // At least one block less; with one page there is nothing to save.
        let most = len.checked_sub(PAGE).filter(|m| *m > 0)?;
        let raw = self.raw.get_mut(..len)?;
        for (to, p) in raw.chunks_exact_mut(PAGE).zip(pages) {
            // SAFETY: by the caller's promise.
            unsafe { with_page(*p, |from| to.copy_from_slice(from)) };
        }
        let n = self.encoder.encode(self.frame.get_mut(..most)?, raw)?;
        let frame_len = u32::try_from(n).ok()?;
        // CAST: at most 1 MiB.
        let stored = self.frame.get_mut(..padded(frame_len) as usize)?;
        stored.get_mut(n..)?.fill(0);
        Some(Packed { stored, frame_len, raw_crc: crate::output::crc(0, raw) })
    }
}
