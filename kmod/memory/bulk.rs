// SPDX-License-Identifier: GPL-2.0
//! Page data of a checkpoint.
//!
//! Which pages exist is read from the page tables (private memory) or from the object (shared memory),
//! so reserved address space costs nothing. Pages are referenced in batches and handed to the image
//! writer as they are, without a copy; those that are all zero are only counted. The mmap lock
//! is held while a batch is collected, never while it is written.

use crate::{
    scan::{self, Area},
    owner, STORED, WORD,
};
use cr_logic::memory::{
    build::{self, Contents},
    layout,
};
use crkit::{
    context::{Run, RUN_DATA, RUN_ZERO},
    sys::{
        mapped::SharedAnon,
        mm::{LockedMm, MmRef, PageBatch, Resident, PAGE_SIZE},
        wait,
    },
    Checkpoint,
};
use kernel::{prelude::*, str::CString};

/// Steps of a page table walk before the lock is let go for a moment.
const WALK_STEPS: u32 = 1 << 14;

/// The chunk that is being filled.
struct Chunk<'a> {
    cx: &'a Checkpoint<'a>,
    runs: KVec<Run>,
    pages: PageBatch,
    /// Addresses of the pages that were taken in this round.
    taken: KVec<u64>,
    /// The next page begins a new area, and so a new run.
    fresh: bool,
}

/// Writes the contents of all areas.
pub(crate) fn bulk(cx: &Checkpoint<'_>) -> Result {
    let mm = cx.mm();
    let areas = scan::scan(&mm)?;
    let mut chunk = Chunk {
        cx,
        runs: KVec::with_capacity(cr_format::limits::CHUNK_RUNS as usize, GFP_KERNEL)?,
        pages: PageBatch::new(cr_format::limits::CHUNK_PAGES as usize, false)?,
        taken: KVec::with_capacity(cr_format::limits::CHUNK_PAGES as usize, GFP_KERNEL)?,
        fresh: true,
    };
    let mut before = 0usize;
    for a in areas.iter() {
        chunk.fresh = true;
        match build::contents(&a.spec) {
            Contents::None => {}
            Contents::Shared if !is_stored_here(cx, a) => {}
            Contents::Shared => chunk.shared(&mm, areas.get(..before).unwrap_or(&[]), a)?,
            c => chunk.private(&mm, a, c)?,
        }
        before = before.saturating_add(1);
        wait::resched()?;
    }
    chunk.flush()
}

/// Are the contents of a shared object stored with this process?
fn is_stored_here(cx: &Checkpoint<'_>, a: &Area) -> bool {
    let key = a.file.as_ref().map_or(0, |f| f.inode_key() as u64);
    cx.object_process(STORED, key) == Some(cx.process())
}

impl Chunk<'_> {
    /// Pages of an area that only this process has.
    fn private(&mut self, mm: &MmRef<'_>, a: &Area, contents: Contents) -> Result {
        let mut at = a.spec.start;
        while at < a.spec.end {
            let room = layout::next_batch(self.pages.len(), self.runs.len() as u32);
            if room == 0 {
                self.flush()?;
                continue;
            }
            let locked = mm.lock()?;
            let same = locked.find(at).is_some_and(|v| v.start() == a.spec.start && v.end() == a.spec.end);
            if !same {
                return Err(self.fail(EBUSY, at, "the areas of the process changed during the checkpoint"));
            }
            at = self.collect(&locked, at, a.spec.end, room, contents)?;
            drop(locked);
            self.settle()?;
            wait::resched()?;
        }
        Ok(())
    }

    /// Takes up to `room` pages from `at` on; returns where to go on.
    fn collect(&mut self, locked: &LockedMm<'_>, at: u64, end: u64, room: u32, contents: Contents) -> Result<u64> {
        let over_file = contents == Contents::OverFile;
        let (mut at, mut steps) = (at, 0u32);
        // Pages that will be taken in one go.
        let (mut start, mut n) = (at, 0u32);
        while at < end && (self.taken.len() as u32).saturating_add(n) < room && steps < WALK_STEPS {
            let (what, next) = locked.resident(at);
            steps = steps.saturating_add(1);
            let (wanted, sure) = match what {
                Resident::Absent | Resident::Guard => (false, true),
                Resident::Anon => (true, true),
                Resident::File if contents == Contents::Made => (true, true),
                // In anonymous memory this is a zero page, large or small: as good as absent.
                Resident::File | Resident::Zero => (over_file && what == Resident::Zero, true),
                // A fault tells what it is; in a file mapping it may be a page of the file.
                Resident::Swap | Resident::Special => (true, !over_file),
            };
            if wanted && sure {
                if n == 0 {
                    start = at;
                }
                n = n.saturating_add(1);
            }
            if n > 0 && !(wanted && sure) {
                self.take(locked, start, n)?;
                n = 0;
            }
            if wanted && !sure {
                self.take(locked, at, 1)?;
                let last = self.pages.len().saturating_sub(1) as usize;
                if !self.pages.is_anon(last) {
                    self.pages.truncate(last);
                    self.taken.pop();
                }
            }
            at = next.min(end);
        }
        if n > 0 {
            self.take(locked, start, n)?;
        }
        Ok(at)
    }

    fn take(&mut self, locked: &LockedMm<'_>, start: u64, n: u32) -> Result {
        locked.take_pages(start, n, false, &mut self.pages).map_err(|e| match e {
            EINTR => EINTR,
            e => self.fail(e, start, "a page cannot be read (damaged memory, or swap that is gone)"),
        })?;
        for i in 0..u64::from(n) {
            self.taken.push(start.saturating_add(i.saturating_mul(PAGE_SIZE)), GFP_KERNEL)?;
        }
        Ok(())
    }

    /// Pages of a shared anonymous object, each once: in the first area that shows it.
    fn shared(&mut self, mm: &MmRef<'_>, before: &[Area], a: &Area) -> Result {
        let Some(file) = a.file.clone() else { return Err(EINVAL) };
        let object = SharedAnon::of(file.clone());
        let key = file.inode_key();
        let first = a.spec.offset / PAGE_SIZE;
        let Some(last) = first.checked_add(a.spec.len() / PAGE_SIZE).and_then(|e| e.checked_sub(1)) else { return Ok(()) };
        let mut earlier = KVec::new();
        for b in before.iter().filter(|b| b.spec.kind == a.spec.kind) {
            let from = b.spec.offset / PAGE_SIZE;
            let to = from.saturating_add(b.spec.len() / PAGE_SIZE);
            if from <= last && first < to && b.file.as_ref().is_some_and(|f| f.inode_key() == key) {
                earlier.push((from, to), GFP_KERNEL)?;
            }
        }
        let mut index = first;
        loop {
            let room = layout::next_batch(self.pages.len(), self.runs.len() as u32);
            if room == 0 {
                self.flush()?;
                continue;
            }
            let mut done = false;
            while (self.taken.len() as u32) < room {
                index = layout::uncovered(&earlier, index);
                let next = if index <= last { file.next_page(index, last) } else { None };
                let Some(next) = next else {
                    done = true;
                    break;
                };
                if layout::uncovered(&earlier, next) != next {
                    index = next;
                    continue;
                }
                let address = a.spec.start.saturating_add(next.saturating_sub(first).saturating_mul(PAGE_SIZE));
                let taken = match &object {
                    Some(object) => object.take_page(next, &mut self.pages),
                    // Huge pages are taken through the area: what the object has, a fault only finds.
                    None => mm.take_pages(address, 1, false, &mut self.pages),
                };
                taken
                    .map_err(|e| self.fail(e, address, "a page of shared memory cannot be read"))?;
                self.taken.push(address, GFP_KERNEL)?;
                index = next.saturating_add(1);
            }
            self.settle()?;
            wait::resched()?;
            if done {
                return Ok(());
            }
        }
    }

    /// Turns the pages that were taken into runs, and lets those go that are all zero.
    fn settle(&mut self) -> Result {
        let old = (self.pages.len() as usize).saturating_sub(self.taken.len());
        // One bit per page of the round; a batch has at most 256.
        let mut zeros = [0u64; 4];
        for (i, addr) in self.taken.iter().enumerate() {
            let zero = self.pages.is_zero(old.saturating_add(i));
            if let (true, Some(word)) = (zero, zeros.get_mut(i / 64)) {
                *word |= 1 << (i % 64);
            }
            let last = self.runs.as_mut_slice().last_mut();
            match last {
                Some(r) if !self.fresh && layout::continues((r.start, r.npages, u32::from(r.kind == RUN_ZERO)), *addr, zero) => {
                    r.npages = r.npages.saturating_add(1);
                }
                _ => {
                    let kind = if zero { RUN_ZERO } else { RUN_DATA };
                    self.runs.push(Run { start: *addr, npages: 1, kind, source: 0 }, GFP_KERNEL)?;
                }
            }
            self.fresh = false;
        }
        self.pages.keep(|i| match i.checked_sub(old) {
            Some(j) => zeros.get(j / 64).is_none_or(|w| w >> (j % 64) & 1 == 0),
            None => true,
        });
        self.taken.clear();
        Ok(())
    }

    /// Writes what has been collected.
    fn flush(&mut self) -> Result {
        if !self.runs.is_empty() {
            self.cx.bulk_write(owner(self.cx.process()), &self.runs, &self.pages)?;
        }
        self.runs.clear();
        self.pages.clear();
        self.fresh = true;
        Ok(())
    }

    fn fail(&self, e: Error, address: u64, what: &str) -> Error {
        match CString::try_from_fmt(fmt!("{what}: address {address:#x}")) {
            Ok(text) => self.cx.fail(e, WORD, "", text.to_bytes(), "try again; if it repeats, see the kernel log"),
            Err(_) => ENOMEM,
        }
    }
}
