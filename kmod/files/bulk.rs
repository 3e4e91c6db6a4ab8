// SPDX-License-Identifier: GPL-2.0
//! Contents of removed and memory files, and of others if they are wanted: pages with data, and runs of zero for holes.
//!
//! A file that has a path can be written by others while the processes are frozen. What is stored must be what the records
//! say, so such a file must not change until its last byte has been read.

use crate::{
    table::{Object, Table},
    WORD,
};
use cr_logic::files::{flag, ChunkRuns, PageRun, PAGES};
use crkit::{
    context::{Run, RUN_DATA, RUN_ZERO},
    sys::{
        file::FileRef,
        mapped::SharedAnon,
        mm::{PageBatch, PAGE_SIZE},
        open_file::{SEEK_DATA, SEEK_HOLE},
        path::{PathRef, Stat},
        wait,
    },
    Checkpoint,
};
use kernel::prelude::*;

/// Longest run of zero pages, so that joining two never overflows.
const ZERO_PAGES: u64 = 1 << 30;

/// Stores the contents of every file without a name, each inode once.
pub(crate) fn bulk(cx: &Checkpoint<'_>) -> Result {
    if cx.process() > 0 {
        return Ok(());
    }
    let table = Table::scan(cx)?;
    for (i, o) in table.objects.iter().enumerate() {
        if table.stores(o) && table.first_of_inode(o) == Some(i) {
            let id = u32::try_from(i).ok().and_then(|i| i.checked_add(1)).ok_or(EOVERFLOW)?;
            let stored_too = table.is_stored_too(o);
            let same = || Ok(!stored_too || is_remembered(cx, id, &PathRef::of(&o.file).stat()?)?);
            let stored = match same() {
                Ok(true) => contents(cx, o, id).and_then(|()| same()),
                other => other,
            };
            let (e, text, remedy): (_, &[u8], _) = match stored {
                Ok(true) => continue,
                Err(EINTR) => return Err(EINTR),
                Ok(false) => (EBUSY, b"another process writes to a file while its contents are stored", "try again, or without --with-files"),
                Err(e) => (e, b"the contents of a file cannot be stored", ""),
            };
            return Err(cx.fail(e, WORD, "", text, remedy));
        }
    }
    Ok(())
}

/// Numberings of the sizes and times that records have: a number there is all that one step of a checkpoint can tell a later one.
const SIZES: u16 = 13;
const TIMES: u16 = 14;
/// Sizes have so many bits, and ids of files the rest.
const SIZE_BITS: u32 = 44;
/// Files are shorter.
pub(crate) const SIZE_END: u64 = 1 << SIZE_BITS;

fn size_key(id: u32, stat: &Stat) -> Result<u64> {
    match stat.size >> SIZE_BITS {
        0 => Ok(u64::from(id) << SIZE_BITS | stat.size),
        _ => Err(EFBIG),
    }
}

fn time_key(stat: &Stat) -> u64 {
    // CAST: only compared.
    (stat.mtime_s as u64).wrapping_mul(1_000_000_000).wrapping_add(stat.mtime_ns)
}

/// The record of file `id` says this about it.
pub(crate) fn remember(cx: &Checkpoint<'_>, id: u32, stat: &Stat) -> Result {
    cx.object_in(SIZES, size_key(id, stat)?)?;
    cx.object_in(TIMES, time_key(stat)).map(|_| ())
}

/// Is it still as its record says?
fn is_remembered(cx: &Checkpoint<'_>, id: u32, stat: &Stat) -> Result<bool> {
    let known = |space, key| cx.object_in(space, key).map(|(_, new)| !new);
    Ok(known(SIZES, size_key(id, stat)?)? && known(TIMES, time_key(stat))?)
}

/// One chunk being filled.
struct Writer<'c> {
    cx: &'c Checkpoint<'c>,
    owner: u32,
    runs: KBox<ChunkRuns>,
    pages: PageBatch,
}

impl Writer<'_> {
    fn flush(&mut self) -> Result {
        if self.runs.runs().is_empty() {
            return Ok(());
        }
        let mut list = KVec::with_capacity(self.runs.runs().len(), GFP_KERNEL)?;
        for r in self.runs.runs() {
            let kind = if r.zero { RUN_ZERO } else { RUN_DATA };
            list.push(Run { start: r.start, npages: r.npages, kind, source: 0 }, GFP_KERNEL)?;
        }
        self.cx.bulk_write(self.owner, &list, &self.pages)?;
        self.runs.clear();
        self.pages.clear();
        Ok(())
    }

    fn zeroes(&mut self, from: u64, to: u64) -> Result {
        let mut at = from;
        while at < to {
            let n = (to.saturating_sub(at) / PAGE_SIZE).min(ZERO_PAGES);
            // CAST: at most 2^30.
            let run = PageRun { start: at, npages: n as u32, zero: true };
            if !self.runs.push(run) {
                self.flush()?;
                continue;
            }
            at = at.saturating_add(n.saturating_mul(PAGE_SIZE));
        }
        Ok(())
    }

    /// One page of the file, read.
    fn page(&mut self, file: &FileRef, at: u64) -> Result {
        self.one(at, &mut |pages| {
            let index = pages.len() as usize;
            pages.add_fresh(1)?;
            file.read_pages(at, pages, index).map(|_| ())
        })
    }

    /// One page of shared memory, as it is.
    fn object_page(&mut self, object: &SharedAnon, at: u64) -> Result {
        self.one(at, &mut |pages| object.take_page(at / PAGE_SIZE, pages))
    }

    /// The page that `take` adds; a zero page takes no room.
    fn one(&mut self, at: u64, take: &mut dyn FnMut(&mut PageBatch) -> Result) -> Result {
        if self.pages.len() >= PAGES {
            self.flush()?;
        }
        let index = self.pages.len() as usize;
        take(&mut self.pages)?;
        if self.pages.is_zero(index) {
            self.pages.truncate(index);
            return self.zeroes(at, at.saturating_add(PAGE_SIZE));
        }
        let run = PageRun { start: at, npages: 1, zero: false };
        if !self.runs.push(run) {
            // No room for another run: what is there goes out first, and the page is taken again.
            self.pages.truncate(index);
            self.flush()?;
            take(&mut self.pages)?;
            if !self.runs.push(run) {
                return Err(EINVAL);
            }
        }
        Ok(())
    }
}

fn contents(cx: &Checkpoint<'_>, o: &Object, id: u32) -> Result {
    let place = PathRef::of(&o.file);
    // The process may have it open for writing only.
    let flags = flag::O_RDONLY | flag::O_LARGEFILE;
    // Not to be read is for the owner to ask.
    let file = place.open(flags | flag::O_NOATIME).or_else(|_| place.open(flags))?;
    let size = place.stat()?.size;
    let end = size.checked_next_multiple_of(PAGE_SIZE).ok_or(EFBIG)?;
    let mut w = Writer {
        cx,
        owner: id,
        runs: KBox::new(ChunkRuns::new(), GFP_KERNEL)?,
        pages: PageBatch::new(PAGES as usize, false)?,
    };
    let object = SharedAnon::of(file.clone());
    match &object {
        _ if file.memory_file().huge != 0 => in_memory(&mut w, &file, None, end)?,
        Some(object) => in_memory(&mut w, &file, Some(object), end)?,
        None => stored(&mut w, &file, size, end)?,
    }
    w.flush()
}

/// A file that is nowhere but in memory: the pages that it has, which may have been swapped out.
fn in_memory(w: &mut Writer<'_>, file: &FileRef, object: Option<&SharedAnon>, end: u64) -> Result {
    let mut at = 0u64;
    while at < end {
        let last = (end / PAGE_SIZE).saturating_sub(1);
        let page = file.next_page(at / PAGE_SIZE, last).map_or(end, |i| i.saturating_mul(PAGE_SIZE));
        w.zeroes(at, page)?;
        if page >= end {
            break;
        }
        match object {
            Some(object) => w.object_page(object, page)?,
            None => w.page(file, page)?,
        }
        wait::resched()?;
        at = page.saturating_add(PAGE_SIZE);
    }
    Ok(())
}

/// A file of a file system that can tell where its holes are, or not.
fn stored(w: &mut Writer<'_>, file: &FileRef, size: u64, end: u64) -> Result {
    let mut at = 0u64;
    while at < end {
        let (data, hole) = next_data(file, at, size)?;
        let data = (data - data % PAGE_SIZE).clamp(at, end);
        let hole = hole.checked_next_multiple_of(PAGE_SIZE).ok_or(EFBIG)?.clamp(data, end);
        w.zeroes(at, data)?;
        let mut page = data;
        while page < hole {
            w.page(file, page)?;
            page = page.saturating_add(PAGE_SIZE);
        }
        at = hole;
    }
    Ok(())
}

/// The next stretch with data from `at` on: its start and its end; both `size` when there is none.
fn next_data(file: &FileRef, at: u64, size: u64) -> Result<(u64, u64)> {
    let from = i64::try_from(at).map_err(|_| EFBIG)?;
    let data = match file.seek(from, SEEK_DATA) {
        Ok(d) => u64::try_from(d).map_err(|_| EIO)?,
        Err(ENXIO) => return Ok((u64::MAX - u64::MAX % PAGE_SIZE, size)),
        // A file system that cannot tell: everything is data.
        Err(_) => return Ok((at, size)),
    };
    let hole = i64::try_from(data).ok().and_then(|d| file.seek(d, SEEK_HOLE).ok());
    // A stretch is never empty, so there is always progress.
    let hole = hole.and_then(|h| u64::try_from(h).ok()).filter(|h| *h > data).unwrap_or(size);
    Ok((data, hole))
}
