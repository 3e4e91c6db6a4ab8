// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Rules that tie page data to the metadata: whose pages, and where they may lie.

use super::{files, MetaSet};
use crate::{
    error::{ensure, Result},
    limits::PAGE,
    runs::Run,
    sections::{
        VmaRecord, FILES, MEMORY, VMA_ANON, VMA_DROPPABLE, VMA_FILE, VMA_RING, VMA_SHARED,
        VMA_SHARED_ANON,
    },
};

/// Does `owner` exist in the section? In section `memory` it is one more than the number of the process, in section
/// `files` a deleted file, the open file that a memory file has its contents from, or one with a contents record; third-party sections know themselves.
///
/// # Errors
/// `PAGE-9`.
pub fn page_owner(set: &dyn MetaSet, section: u16, owner: u32) -> Result {
    match section {
        MEMORY => {
            let process = owner.checked_sub(1).filter(|&p| p < set.processes().max(1));
            let mapped = process.is_some_and(|p| !set.of(p, MEMORY).is_empty());
            ensure(mapped, "PAGE-9")
        }
        FILES => ensure(
            files::owners(set).any(|id| id == u64::from(owner)),
            "PAGE-9",
        ),
        _ => Ok(()),
    }
}

/// Does the area have contents of its own, so that there can be page data for it? Others are those of a file, of
/// the kernel, or never kept.
pub fn has_contents(v: &VmaRecord<'_>) -> bool {
    match v.kind {
        VMA_ANON => v.flags & VMA_DROPPABLE == 0,
        VMA_FILE => v.flags & VMA_SHARED == 0,
        kind => kind == VMA_SHARED_ANON || kind == VMA_RING,
    }
}

/// Does the run lie in one of the areas? `areas` are pairs of start and end, ascending, of the areas that
/// [`has_contents`], as [`super::meta`] has found them.
///
/// # Errors
/// `PAGE-10`.
pub fn run_in_vmas(areas: &[(u64, u64)], run: &Run) -> Result {
    let end = run.end()?;
    let behind = areas.partition_point(|&(start, _)| start <= run.start);
    let area = behind.checked_sub(1).and_then(|i| areas.get(i));
    ensure(
        area.is_some_and(|&(_, area_end)| end <= area_end),
        "PAGE-10",
    )
}

/// Does the run lie in a file of this size, its last page included?
///
/// # Errors
/// `PAGE-11`.
pub fn run_in_file(size: u64, run: &Run) -> Result {
    let end = run.end()?;
    ensure(
        size.checked_next_multiple_of(PAGE)
            .is_some_and(|limit| end <= limit),
        "PAGE-11",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    fn run(start: u64, npages: u32) -> Run {
        Run::zero(start, npages)
    }

    #[test]
    fn a_run_lies_in_one_area_and_not_across_two() {
        let areas = [(0x1000, 0x3000), (0x3000, 0x4000), (0x9000, 0xa000)];
        assert_eq!(run_in_vmas(&areas, &run(0x1000, 2)), Ok(()));
        assert_eq!(run_in_vmas(&areas, &run(0x9000, 1)), Ok(()));
        for bad in [
            run(0, 1),
            run(0x2000, 2),
            run(0x4000, 1),
            run(0x9000, 2),
            run(u64::MAX - 4095, 1),
        ] {
            assert!(run_in_vmas(&areas, &bad).is_err(), "{bad:?}");
        }
        assert_eq!(
            run_in_vmas(&[], &run(0x1000, 1)),
            Err(Error::rule("PAGE-10"))
        );
    }

    #[test]
    fn a_run_ends_with_the_last_page_of_the_file() {
        assert_eq!(run_in_file(1, &run(0, 1)), Ok(()));
        assert_eq!(run_in_file(4096, &run(0, 1)), Ok(()));
        assert!(run_in_file(4096, &run(0, 2)).is_err());
        assert!(run_in_file(0, &run(0, 1)).is_err());
        assert_eq!(run_in_file(4097, &run(0, 2)), Ok(()));
        assert!(run_in_file(u64::MAX, &run(0, 1)).is_err());
    }
}
