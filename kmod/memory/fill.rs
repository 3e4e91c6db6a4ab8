// SPDX-License-Identifier: GPL-2.0
//! Placing page data into the areas that `restart.rs` has made.
//!
//! Private pages are taken by forced write faults, which make fresh pages even where the process may not
//! write; shared ones come from their object. The pages of a chunk are then filled by one read from
//! the image, those of long runs of duplicates by several. The bytes are untrusted: only pages of the half-built process are ever written.
//!
//! Memory that the process keeps of what the fork of its parent gave it is compared first: a page that is alike stays, shared
//! with the parent until one of them writes. What the process did not have is listed, and dropped behind.

use crate::{owner as owner_of, restart::State, WORD};
use cr_logic::memory::{
    build::{self, Contents},
    holder, Spec, PAGE,
};
use crkit::{
    context::{batches, Run, BATCH, RUN_ZERO},
    sys::{
        mapped::{self, SharedAnon},
        mm::{self, MmRef, PageBatch, Resident},
        wait,
    },
    Restart,
};
use kernel::{prelude::*, str::CString};

/// Steps of a page table walk before the lock is let go for a moment.
const WALK_STEPS: u32 = 1 << 14;

/// Places one chunk.
pub(crate) fn fill(cx: &Restart<'_>, st: &State, owner: u32, runs: &[Run]) -> Result {
    if owner != owner_of(cx.process()) {
        return Err(cx.fail(EUCLEAN, WORD, "PAGE-9", b"page data of an address space that does not exist", ""));
    }
    let mm = MmRef::current()?;
    let mut pages = PageBatch::new(BATCH as usize, true)?;
    for r in runs {
        let area = u64::from(r.npages)
            .checked_mul(PAGE)
            .and_then(|len| r.start.checked_add(len))
            .and_then(|end| holder(&st.areas, r.start, end));
        let Some(area) = area else {
            return Err(refuse(cx, r, "PAGE-10", "page data outside of all areas"));
        };
        let contents = build::contents(area);
        // Zeros in front of nothing are what is there when a page is dropped.
        let is_over = r.kind != RUN_ZERO || contents == Contents::OverFile;
        if is_over && st.is_kept(area) {
            leftovers(st, &mm, r.start)?;
            st.leftovers.lock().at = u64::from(r.npages).saturating_mul(PAGE).saturating_add(r.start);
            if r.kind != RUN_ZERO {
                cx.bulk_read(&pages)?;
                pages.clear();
                compare(cx, &mm, r)?;
                continue;
            }
        }
        match (contents, r.kind == RUN_ZERO) {
            (Contents::None, _) => return Err(refuse(cx, r, "PAGE-10", "page data for an area that can have none")),
            // Fresh memory is zero.
            (Contents::Private | Contents::Shared, true) => {}
            (Contents::OverFile | Contents::Made, true) => clear(cx, &mm, r)?,
            (contents, false) => {
                for (start, n) in batches(r).flat_map(|(start, n)| pieces(&st.huge, start, n)) {
                    if pages.len().saturating_add(n) > BATCH {
                        cx.bulk_read(&pages)?;
                        pages.clear();
                        wait::resched()?;
                    }
                    match contents {
                        Contents::Shared => shared(st, area, start, n, &mut pages),
                        _ => {
                            mm::allow_huge(build::is_huge(&st.huge, start).0);
                            let taken = mm.take_pages(start, n, true, &mut pages);
                            mm::allow_huge(false);
                            taken
                        }
                    }
                    .map_err(|e| cannot(cx, r, e))?;
                }
            }
        }
    }
    cx.bulk_read(&pages)
}

/// Places a run over kept memory: only pages that differ are written.
fn compare(cx: &Restart<'_>, mm: &MmRef<'_>, r: &Run) -> Result {
    let (mut there, mut new) = (PageBatch::new(1, false)?, PageBatch::new(1, true)?);
    for (start, n) in batches(r) {
        let mut wanted = PageBatch::new(n as usize, false)?;
        wanted.add_fresh(n)?;
        cx.bulk_read(&wanted)?;
        for i in 0..n as usize {
            let at = (i as u64).saturating_mul(PAGE).saturating_add(start);
            let locked = mm.lock()?;
            // Anything else, a page of the file for example, is not the process's own.
            let mut is_alike = false;
            if locked.resident(at).0 == Resident::Anon {
                locked.take_pages(at, 1, false, &mut there).map_err(|e| cannot(cx, r, e))?;
                is_alike = wanted.is_alike(i, &there, 0);
            }
            drop(locked);
            there.clear();
            if !is_alike {
                mm.take_pages(at, 1, true, &mut new).map_err(|e| cannot(cx, r, e))?;
                wanted.copy_page(i, &new, 0).ok_or(EINVAL)?;
                new.clear();
            }
        }
        wait::resched()?;
    }
    Ok(())
}

/// Lists the pages of kept memory between the page data so far and `to`.
pub(crate) fn leftovers(st: &State, mm: &MmRef<'_>, to: u64) -> Result {
    let from = st.leftovers.lock().at;
    for a in st.kept_between(from, to) {
        let (mut at, end) = (a.start.max(from), a.end.min(to));
        while at < end {
            // The lock is let go for a moment now and then.
            let (mut found, mut steps) = (KVVec::new(), 0u32);
            let locked = mm.lock()?;
            while at < end && steps < WALK_STEPS {
                let (what, next) = locked.resident(at);
                steps = steps.saturating_add(1);
                let next = next.clamp(at.saturating_add(PAGE), end);
                if what != Resident::Absent {
                    found.push((at, at.saturating_add(PAGE).min(next)), GFP_KERNEL)?;
                }
                at = next;
            }
            drop(locked);
            let ranges = &mut st.leftovers.lock().ranges;
            for f in found.iter() {
                match ranges.as_mut_slice().last_mut() {
                    Some(last) if last.1 == f.0 => last.1 = f.1,
                    _ => ranges.push(*f, GFP_KERNEL)?,
                }
            }
            wait::resched()?;
        }
    }
    Ok(())
}

/// Cuts a batch where huge pages begin and end.
fn pieces(huge: &[(u64, u64)], start: u64, n: u32) -> impl Iterator<Item = (u64, u32)> + use<'_> {
    let end = u64::from(n).saturating_mul(PAGE).saturating_add(start);
    let mut at = start;
    core::iter::from_fn(move || {
        let from = at;
        at = build::is_huge(huge, from).1.min(end);
        // CAST: at most the pages of the batch.
        (from < end).then(|| (from, (at.saturating_sub(from) / PAGE) as u32))
    })
}

/// Hides the file behind zero pages.
fn clear(cx: &Restart<'_>, mm: &MmRef<'_>, r: &Run) -> Result {
    let mut pages = PageBatch::new(BATCH as usize, true)?;
    for (start, n) in batches(r) {
        mm.take_pages(start, n, true, &mut pages).map_err(|e| cannot(cx, r, e))?;
        for i in 0..n as usize {
            pages.with_page(i, |p| p.fill(0)).ok_or(EINVAL)?;
        }
        pages.clear();
        wait::resched()?;
    }
    Ok(())
}

/// Takes pages of a shared object: the area itself may be mapped for reading only.
fn shared(st: &State, a: &Spec, start: u64, n: u32, pages: &mut PageBatch) -> Result {
    let file = st.object(a).ok_or(EINVAL)?;
    let offset = a.offset.saturating_add(start.saturating_sub(a.start));
    if a.huge() != 0 {
        return mapped::take_huge(file, offset, n, a.huge(), pages);
    }
    let object = SharedAnon::of(file.clone()).ok_or(EINVAL)?;
    for i in 0..u64::from(n) {
        object.take_page((offset / PAGE).saturating_add(i), pages)?;
    }
    Ok(())
}

fn refuse(cx: &Restart<'_>, r: &Run, rule: &str, what: &str) -> Error {
    let (start, n) = (r.start, r.npages);
    match CString::try_from_fmt(fmt!("{what}: {n} pages from {start:#x}")) {
        Ok(text) => cx.fail(EUCLEAN, WORD, rule, text.to_bytes(), "list every defect with: crimg verify IMAGE"),
        Err(_) => ENOMEM,
    }
}

fn cannot(cx: &Restart<'_>, r: &Run, e: Error) -> Error {
    let (start, n, errno) = (r.start, r.npages, e.to_errno().unsigned_abs());
    match CString::try_from_fmt(fmt!("memory for {n} pages from {start:#x} cannot be had (errno {errno})")) {
        Ok(text) => cx.fail(e, WORD, "", text.to_bytes(), "free some memory; check the memory limit of the control group"),
        Err(_) => ENOMEM,
    }
}
