// SPDX-License-Identifier: GPL-2.0
//! Placing page data into the areas that `restart.rs` has made.
//!
//! Private pages are taken by forced write faults, which make fresh pages even where the process may not
//! write; shared ones come from their object. The pages of a chunk are then filled by one read from
//! the image, those of long runs of duplicates by several. The bytes are untrusted: only pages of the half-built process are ever written.

use crate::{restart::State, OWNER, WORD};
use cr_logic::memory::{
    build::{self, Contents},
    holder, Spec, PAGE,
};
use crkit::{
    context::{batches, Run, BATCH, RUN_ZERO},
    sys::{
        mm::{MmRef, PageBatch},
        wait,
    },
    Restart,
};
use kernel::{prelude::*, str::CString};

/// Places one chunk.
pub(crate) fn fill(cx: &Restart<'_>, st: &State, owner: u32, runs: &[Run]) -> Result {
    if owner != OWNER {
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
        match (build::contents(area), r.kind == RUN_ZERO) {
            (Contents::None, _) => return Err(refuse(cx, r, "PAGE-10", "page data for an area that can have none")),
            // Fresh memory is zero.
            (Contents::Private | Contents::Shared, true) => {}
            (Contents::OverFile, true) => clear(cx, &mm, r)?,
            (contents, false) => {
                for (start, n) in batches(r) {
                    if pages.len().saturating_add(n) > BATCH {
                        cx.bulk_read(&pages)?;
                        pages.clear();
                        wait::resched()?;
                    }
                    match contents {
                        Contents::Shared => shared(st, area, start, n, &mut pages),
                        _ => mm.take_pages(start, n, true, &mut pages),
                    }
                    .map_err(|e| cannot(cx, r, e))?;
                }
            }
        }
    }
    cx.bulk_read(&pages)
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
    let object = st.object(a).ok_or(EINVAL)?;
    let first = (a.offset / PAGE).saturating_add(start.saturating_sub(a.start) / PAGE);
    for i in 0..u64::from(n) {
        object.take_page(first.saturating_add(i), pages)?;
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
