// SPDX-License-Identifier: GPL-2.0
//! Memory: what an area of the frozen process is, whether it can be kept, and how it is made again.
//!
//! [`judge`] classifies areas and says what stands in the way · [`layout`] places things: the vDSO, the
//! hole for the restart stub, shared objects · [`inherit`] finds what a child shares with its parent · [`build`] turns
//! records into mappings and system calls.

pub mod build;
pub mod inherit;
pub mod judge;
pub mod layout;

/// Bytes in a page.
pub const PAGE: u64 = 4096;

/// `VM_*` of x86-64 Linux 7.3; the module proves at compile time that its kernel agrees.
#[allow(missing_docs)]
pub mod vm {
    pub const READ: u64 = 1 << 0;
    pub const WRITE: u64 = 1 << 1;
    pub const EXEC: u64 = 1 << 2;
    pub const SHARED: u64 = 1 << 3;
    pub const MAYREAD: u64 = 1 << 4;
    pub const MAYWRITE: u64 = 1 << 5;
    pub const MAYEXEC: u64 = 1 << 6;
    pub const MAYSHARE: u64 = 1 << 7;
    pub const GROWSDOWN: u64 = 1 << 8;
    pub const UFFD_MISSING: u64 = 1 << 9;
    pub const PFNMAP: u64 = 1 << 10;
    pub const MAYBE_GUARD: u64 = 1 << 11;
    pub const UFFD_WP: u64 = 1 << 12;
    pub const LOCKED: u64 = 1 << 13;
    pub const IO: u64 = 1 << 14;
    pub const SEQ_READ: u64 = 1 << 15;
    pub const RAND_READ: u64 = 1 << 16;
    pub const DONTCOPY: u64 = 1 << 17;
    pub const DONTEXPAND: u64 = 1 << 18;
    pub const LOCKONFAULT: u64 = 1 << 19;
    pub const ACCOUNT: u64 = 1 << 20;
    pub const NORESERVE: u64 = 1 << 21;
    pub const HUGETLB: u64 = 1 << 22;
    pub const WIPEONFORK: u64 = 1 << 25;
    pub const DONTDUMP: u64 = 1 << 26;
    pub const SOFTDIRTY: u64 = 1 << 27;
    pub const MIXEDMAP: u64 = 1 << 28;
    pub const HUGEPAGE: u64 = 1 << 29;
    pub const NOHUGEPAGE: u64 = 1 << 30;
    pub const MERGEABLE: u64 = 1 << 31;
    pub const PKEY: u64 = 0xf << 32;
    pub const SHADOW_STACK: u64 = 1 << 37;
    pub const DROPPABLE: u64 = 1 << 40;
    pub const UFFD_MINOR: u64 = 1 << 41;
    pub const SEALED: u64 = 1 << 42;
    pub const UFFD_RWP: u64 = 1 << 43;
}

/// Numbers of the protection key bits in `VM_*` flags.
const PKEY_SHIFT: u32 = 32;

/// One area as the image has it: a [`cr_format::VmaRecord`] without its texts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spec {
    /// First address.
    pub start: u64,
    /// Address behind the last.
    pub end: u64,
    /// `PROT_*` of the format.
    pub prot: u64,
    /// `VMA_*` flags of the format.
    pub flags: u64,
    /// `VMA_ANON` … `VMA_SPECIAL`.
    pub kind: u64,
    /// Byte offset in the object.
    pub offset: u64,
    /// Mapped file or shared object.
    pub object: u64,
    /// Protection key.
    pub pkey: u64,
}

impl Spec {
    /// From a record.
    pub fn of(r: &cr_format::VmaRecord<'_>) -> Self {
        Self {
            start: r.start,
            end: r.end,
            prot: r.prot,
            flags: r.flags,
            kind: r.kind,
            offset: r.offset,
            object: r.object,
            pkey: r.pkey,
        }
    }

    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Bytes of its huge pages of hugetlbfs, 0 if it has none.
    pub fn huge(&self) -> u64 {
        cr_format::huge_page(self.flags)
    }

    /// Never, in an image that has been checked.
    pub fn is_empty(&self) -> bool {
        self.end <= self.start
    }

    /// Has all of these flags?
    pub fn has(&self, flags: u64) -> bool {
        self.flags & flags == flags
    }
}

/// The area that holds all of `start..end`; areas are sorted and disjoint.
pub fn holder(areas: &[Spec], start: u64, end: u64) -> Option<&Spec> {
    let i = areas.partition_point(|a| a.end <= start);
    areas
        .get(i)
        .filter(|a| a.start <= start && start < end && end <= a.end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_has_a_holder_only_if_one_area_contains_all_of_it() {
        let area = |start, end| Spec {
            start,
            end,
            ..Spec::default()
        };
        let areas = [
            area(0x1000, 0x3000),
            area(0x3000, 0x4000),
            area(0x8000, 0x9000),
        ];
        assert_eq!(holder(&areas, 0x1000, 0x3000), Some(&areas[0]));
        assert_eq!(holder(&areas, 0x3000, 0x4000), Some(&areas[1]));
        assert_eq!(holder(&areas, 0x8000, 0x9000), Some(&areas[2]));
        assert_eq!(holder(&areas, 0x2000, 0x4000), None, "across two areas");
        assert_eq!(holder(&areas, 0x4000, 0x5000), None, "in a hole");
        assert_eq!(holder(&areas, 0, 0x1000), None, "below all");
        assert_eq!(holder(&areas, 0x8000, 0xa000), None, "behind the end");
        assert_eq!(holder(&areas, 0x8000, 0x8000), None, "nothing");
        assert_eq!(holder(&[], 0x1000, 0x2000), None);
    }
}
