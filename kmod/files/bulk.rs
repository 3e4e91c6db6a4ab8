// SPDX-License-Identifier: GPL-2.0
//! Contents of removed and memory files: pages with data, and runs of zero for holes.

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
        path::PathRef,
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
            contents(cx, o, id).map_err(|e| match e {
                EINTR => EINTR,
                e => cx.fail(e, WORD, "", b"the contents of a removed or memory file cannot be stored", ""),
            })?;
        }
    }
    Ok(())
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
    let file = place.open(flag::O_RDONLY | flag::O_LARGEFILE | flag::O_NOATIME)?;
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
