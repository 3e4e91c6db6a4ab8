// SPDX-License-Identifier: GPL-2.0
//! Memory that a restarted process may keep of what a fork gave it, so that it shares pages with its parent again.
//!
//! Which pages those are is not in the image: what is alike is found when the page data is placed.

use super::Spec;
use cr_format as f;

/// Flags that areas get when they are filled, each process for itself: at the fork nobody has them.
const LATER: u64 = f::VMA_LOCKED
    | f::VMA_LOCKONFAULT
    | f::VMA_SEQ_READ
    | f::VMA_RAND_READ
    | f::VMA_DONTFORK
    | f::VMA_DONTDUMP
    | f::VMA_WIPEONFORK
    | f::VMA_MERGEABLE
    | f::VMA_SEALED;

/// May `child` keep its part of `parent`, the area of the other process that holds the same addresses? Files are not
/// compared.
///
/// Only private memory is kept. Not that which grows, for what is near it counts when the vDSO is mapped, and none of
/// hugetlbfs, whose pages could run out at the next write.
pub fn may_keep(parent: &Spec, child: &Spec) -> bool {
    let plain = |a: &Spec| {
        let kind = a.kind == f::VMA_ANON || a.kind == f::VMA_FILE;
        let other = f::VMA_SHARED | f::VMA_GROWSDOWN | f::VMA_DROPPABLE;
        kind && a.flags & other == 0 && a.huge() == 0
    };
    let offset = match child.kind {
        f::VMA_FILE => child
            .start
            .checked_sub(parent.start)
            .and_then(|skip| parent.offset.checked_add(skip)),
        _ => Some(child.offset),
    };
    plain(parent)
        && plain(child)
        && parent.kind == child.kind
        && parent.prot == child.prot
        && (parent.flags ^ child.flags) & !LATER == 0
        && parent.start <= child.start
        && child.end <= parent.end
        && offset == Some(child.offset)
}

/// Do two records say the same of a mapped file?
pub fn same_file(a: &f::MappedFileRecord<'_>, b: &f::MappedFileRecord<'_>) -> bool {
    let facts = |r: &f::MappedFileRecord<'_>| (r.size, r.mtime_s, r.mtime_ns, r.dev, r.ino, r.mode);
    a.path == b.path && facts(a) == facts(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn area(start: u64, end: u64) -> Spec {
        Spec {
            start,
            end,
            prot: 3,
            ..Spec::default()
        }
    }

    #[test]
    fn a_part_of_private_memory_with_the_same_rights_is_kept() {
        let parent = area(0x1000, 0x9000);
        assert!(may_keep(&parent, &parent));
        assert!(may_keep(&parent, &area(0x2000, 0x3000)));
        assert!(!may_keep(&parent, &area(0x8000, 0xa000)));
        assert!(!may_keep(&parent, &area(0, 0x2000)));
        let with = |f: fn(&mut Spec)| {
            let mut child = area(0x2000, 0x3000);
            f(&mut child);
            may_keep(&parent, &child)
        };
        assert!(!with(|a| a.prot = 1));
        assert!(!with(|a| a.kind = f::VMA_FILE));
        assert!(!with(|a| a.flags = f::VMA_NORESERVE));
        assert!(with(|a| a.flags = f::VMA_LOCKED | f::VMA_MERGEABLE));
        for (kind, flags) in [
            (f::VMA_ANON, f::VMA_GROWSDOWN),
            (f::VMA_ANON, f::VMA_DROPPABLE),
            (f::VMA_FILE, f::VMA_SHARED),
            (f::VMA_SHARED_ANON, f::VMA_SHARED),
            (f::VMA_SPECIAL, 0),
        ] {
            let a = Spec {
                kind,
                flags,
                ..parent
            };
            assert!(!may_keep(&a, &a), "{kind} {flags}");
        }
    }

    #[test]
    fn the_same_part_of_a_file_is_kept() {
        let file = |start, end, offset| Spec {
            kind: f::VMA_FILE,
            offset,
            ..area(start, end)
        };
        let parent = file(0x10000, 0x20000, 0x3000);
        assert!(may_keep(&parent, &file(0x11000, 0x12000, 0x4000)));
        assert!(!may_keep(&parent, &file(0x11000, 0x12000, 0x3000)));
    }
}
