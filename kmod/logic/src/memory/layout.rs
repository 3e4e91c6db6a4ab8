// SPDX-License-Identifier: GPL-2.0
//! Where things are: the vDSO group, a hole for the restart stub, pages of shared objects, runs.

use super::{judge::Reason, Spec, PAGE};
use cr_format as f;

/// The group of areas that the kernel maps for its vDSO: vvar pages, then the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vdso {
    /// First address of the group: what `ARCH_MAP_VDSO_64` is told.
    pub start: u64,
    /// First address of the code: `AT_SYSINFO_EHDR`.
    pub code: u64,
    /// Address behind the code.
    pub end: u64,
}

const ODD_VDSO: Reason = Reason {
    reason: "the program has moved, changed or partly removed its vDSO",
    remedy: "run the program without what does that (a tracer, a tool that fakes time)",
};

/// The vDSO group, given all special areas in order; `None` if the process has none.
///
/// # Errors
/// The group is not as the kernel made it: one block, the code last and at `vdso`, nothing writable.
pub fn vdso(specials: impl Iterator<Item = Spec>, vdso: u64) -> Result<Option<Vdso>, Reason> {
    let mut group: Option<Vdso> = None;
    let mut last_prot = 0;
    for s in specials {
        let start = match group {
            None => s.start,
            // Behind the code nothing may follow, and there may be no gap.
            Some(g) if g.end == s.start && last_prot == f::PROT_READ => g.start,
            Some(_) => return Err(ODD_VDSO),
        };
        last_prot = s.prot;
        group = Some(Vdso {
            start,
            code: s.start,
            end: s.end,
        });
    }
    let Some(g) = group else { return Ok(None) };
    if last_prot != f::PROT_READ | f::PROT_EXEC || g.code != vdso || g.code == g.start {
        return Err(ODD_VDSO);
    }
    Ok(Some(g))
}

/// Lowest address of the hole: `vm.mmap_min_addr` of every distribution.
pub const HOLE_LOWEST: u64 = 0x1_0000;
/// Kept free around the hole, so that it merges with nothing.
const HOLE_GUARD: u64 = 16 * PAGE;
/// Kept free below an area that grows down.
const STACK_GUARD: u64 = 2 << 20;
/// `TASK_SIZE_MAX` with four-level page tables.
pub const TASK_SIZE: u64 = f::limits::TASK_SIZE;

/// Pages that the restart needs: the stub, 64 KiB for the leader, one page per thread.
pub fn hole_pages(threads: u64) -> u64 {
    threads.saturating_add(17)
}

/// The lowest hole of `pages` pages that leaves all areas (sorted, disjoint) alone.
pub fn hole(areas: impl Iterator<Item = Spec>, pages: u64) -> Option<(u64, u64)> {
    let len = pages.checked_mul(PAGE)?;
    let mut from = HOLE_LOWEST;
    for a in areas {
        let guard = if a.has(f::VMA_GROWSDOWN) {
            STACK_GUARD
        } else {
            HOLE_GUARD
        };
        let end = from.checked_add(len)?;
        if end.checked_add(guard)? <= a.start {
            return Some((from, end));
        }
        from = from.max(a.end.checked_add(HOLE_GUARD)?);
    }
    let end = from.checked_add(len)?;
    (end.checked_add(HOLE_GUARD)? <= TASK_SIZE).then_some((from, end))
}

/// Do the ranges (start, end) together cover exactly `0..size`? One pass if they ascend, as they mostly do.
pub fn covers(ranges: &[(u64, u64)], size: u64) -> bool {
    let mut at = 0;
    loop {
        let before = at;
        for &(start, end) in ranges {
            if start <= at && at < end {
                at = end;
            }
        }
        if at == before {
            return at == size && ranges.iter().all(|r| r.1 <= size);
        }
    }
}

/// The first number from `at` on that lies in none of the ranges (start, end).
pub fn uncovered(ranges: &[(u64, u64)], at: u64) -> u64 {
    let mut at = at;
    while let Some(r) = ranges.iter().find(|r| r.0 <= at && at < r.1) {
        at = r.1;
    }
    at
}

/// Does a page at `addr` continue the run (`start`, `npages`, `zero`)?
pub fn continues(run: (u64, u32, u32), addr: u64, zero: bool) -> bool {
    let (start, npages, is_zero) = run;
    let end = u64::from(npages)
        .checked_mul(PAGE)
        .and_then(|len| start.checked_add(len));
    end == Some(addr) && (is_zero != 0) == zero && npages < u32::MAX
}

/// How many pages to take next, when a chunk has `data` pages and `runs` runs: never more than fit,
/// however they are scattered. 0: write the chunk first.
pub fn next_batch(data: u32, runs: u32) -> u32 {
    // Small rests are not worth a round.
    const LEAST: u32 = 16;
    let room = f::limits::CHUNK_PAGES
        .saturating_sub(data)
        .min(f::limits::CHUNK_RUNS.saturating_sub(runs));
    if room < LEAST {
        0
    } else {
        room
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{vec, vec::Vec};

    fn spec(start: u64, end: u64, prot: u64) -> Spec {
        Spec {
            start,
            end,
            prot,
            kind: f::VMA_SPECIAL,
            ..Spec::default()
        }
    }

    #[test]
    fn the_vdso_group_is_one_block_with_the_code_last() {
        let ok = [
            spec(0x1000, 0x5000, 1),
            spec(0x5000, 0x7000, 1),
            spec(0x7000, 0x9000, 5),
        ];
        assert_eq!(
            vdso(ok.into_iter(), 0x7000),
            Ok(Some(Vdso {
                start: 0x1000,
                code: 0x7000,
                end: 0x9000
            }))
        );
        assert_eq!(vdso([].into_iter(), 0), Ok(None));
        assert_eq!(
            vdso([].into_iter(), 0x7000),
            Ok(None),
            "unmapped by the program"
        );
        assert!(vdso(ok.into_iter(), 0x8000).is_err(), "moved");
        let gap = [spec(0x1000, 0x5000, 1), spec(0x6000, 0x8000, 5)];
        assert!(vdso(gap.into_iter(), 0x6000).is_err());
        let writable = [spec(0x1000, 0x5000, 1), spec(0x5000, 0x7000, 7)];
        assert!(vdso(writable.into_iter(), 0x5000).is_err());
        assert!(
            vdso([spec(0x1000, 0x5000, 5)].into_iter(), 0x1000).is_err(),
            "vvar removed"
        );
        let behind = [
            spec(0x1000, 0x2000, 1),
            spec(0x2000, 0x3000, 5),
            spec(0x3000, 0x4000, 1),
        ];
        assert!(vdso(behind.into_iter(), 0x2000).is_err());
    }

    #[test]
    fn the_hole_keeps_away_from_areas_and_stacks() {
        let pages = hole_pages(1);
        let len = pages * PAGE;
        assert_eq!(pages, 18);
        assert_eq!(
            hole([].into_iter(), pages),
            Some((HOLE_LOWEST, HOLE_LOWEST + len))
        );
        let low = [spec(0x20000, 0x21000, 3), spec(0x40_0000, 0x50_0000, 5)];
        let (start, end) = hole(low.into_iter(), pages).unwrap();
        assert!(start >= 0x21000 + HOLE_GUARD && end + HOLE_GUARD <= 0x40_0000);
        let stack = Spec {
            flags: f::VMA_GROWSDOWN,
            ..spec(0x10_0000, 0x20_0000, 3)
        };
        let (start, _) = hole([stack].into_iter(), pages).unwrap();
        assert!(
            start > 0x20_0000,
            "the first megabyte is not 2 MiB away from the stack"
        );
        let full = [spec(0x11000, TASK_SIZE, 0)];
        assert_eq!(hole(full.into_iter(), pages), None);
        let nearly = [spec(0x11000, TASK_SIZE - len - 2 * HOLE_GUARD, 0)];
        let (_, end) = hole(nearly.into_iter(), pages).unwrap();
        assert_eq!(end + HOLE_GUARD, TASK_SIZE);
        assert_eq!(hole([].into_iter(), u64::MAX), None);
    }

    #[test]
    fn holes_never_overlap_any_area() {
        // All ways to place three areas on a small board.
        for mask in 0..1_u32 << 9 {
            let mut areas: Vec<Spec> = vec![];
            for i in 0..9_u64 {
                if mask >> i & 1 != 0 {
                    let start = 0x1_0000 + i * 0x2_4000;
                    areas.push(spec(start, start + 0x2_0000, 3));
                }
            }
            let (start, end) = hole(areas.iter().copied(), 18).unwrap();
            assert!(
                areas.iter().all(|a| a.end <= start || end <= a.start),
                "{mask:b}"
            );
        }
    }

    #[test]
    fn coverage_needs_every_byte_and_no_more() {
        assert!(covers(&[(0x1000, 0x3000), (0, 0x2000)], 0x3000));
        assert!(!covers(&[(0, 0x1000), (0x2000, 0x3000)], 0x3000));
        assert!(!covers(&[(0, 0x1000)], 0x2000));
        assert!(!covers(&[(0, 0x3000)], 0x2000));
        assert!(covers(&[], 0));
        assert_eq!(uncovered(&[(0, 4), (8, 9), (4, 6)], 1), 6);
        assert_eq!(uncovered(&[(0, 4)], 4), 4);
        assert_eq!(uncovered(&[], 7), 7);
    }

    #[test]
    fn runs_continue_only_with_the_next_page_of_their_kind() {
        assert!(continues((0x1000, 2, 0), 0x3000, false));
        assert!(!continues((0x1000, 2, 0), 0x3000, true));
        assert!(!continues((0x1000, 2, 0), 0x4000, false));
        assert!(!continues((u64::MAX - PAGE + 1, 1, 0), 0, false));
        assert_eq!(next_batch(0, 0), 168);
        assert_eq!(next_batch(168, 1), 88);
        assert_eq!(next_batch(0, 160), 0);
        assert_eq!(next_batch(256, 3), 0);
    }
}
