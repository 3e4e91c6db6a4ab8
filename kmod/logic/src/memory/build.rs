// SPDX-License-Identifier: GPL-2.0
//! From records to mappings and system calls.

use super::Spec;
use crate::plan::{Arg, Expect, Op, OpSink, PlanError};
use cr_format as f;

/// System call numbers of x86-64.
mod nr {
    pub(super) const CLOSE: u32 = 3;
    pub(super) const MMAP: u32 = 9;
    pub(super) const MPROTECT: u32 = 10;
    pub(super) const MADVISE: u32 = 28;
    pub(super) const MBIND: u32 = 237;
    pub(super) const HOME_NODE: u32 = 450;
    pub(super) const MLOCKALL: u32 = 151;
    pub(super) const PRCTL: u32 = 157;
    pub(super) const ARCH_PRCTL: u32 = 158;
    pub(super) const MLOCK2: u32 = 325;
    pub(super) const PKEY_MPROTECT: u32 = 329;
    pub(super) const PKEY_ALLOC: u32 = 330;
    pub(super) const PKEY_FREE: u32 = 331;
    pub(super) const MSEAL: u32 = 462;
}

const ARCH_MAP_VDSO_64: u64 = 0x2003;
const PR_SET_MM: u64 = 35;
const PR_SET_MM_MAP: u64 = 14;
const PR_SET_THP_DISABLE: u64 = 41;
const PR_SET_MEMORY_MERGE: u64 = 67;
const PR_SET_VMA: u64 = 0x5356_4d41;
const PR_SET_VMA_ANON_NAME: u64 = 0;
const MADV_RANDOM: u64 = 1;
const MADV_SEQUENTIAL: u64 = 2;
const MADV_DONTNEED: u64 = 4;
const MADV_DONTFORK: u64 = 10;
const MADV_MERGEABLE: u64 = 12;
const MADV_HUGEPAGE: u64 = 14;
const MADV_DONTDUMP: u64 = 16;
const MADV_WIPEONFORK: u64 = 18;
const MADV_COLLAPSE: u64 = 25;
const MADV_GUARD_INSTALL: u64 = 102;
const MLOCK_ONFAULT: u64 = 1;
const MCL_FUTURE: u64 = 2;
const MCL_ONFAULT: u64 = 4;

const MAP_SHARED: u32 = 0x01;
const MAP_PRIVATE: u32 = 0x02;
const MAP_DROPPABLE: u32 = 0x08;
const MAP_ANONYMOUS: u32 = 0x20;
const MAP_GROWSDOWN: u32 = 0x100;
const MAP_NORESERVE: u32 = 0x4000;
const MAP_STACK: u32 = 0x2_0000;
const MAP_HUGETLB: u32 = 0x4_0000;
const MAP_FIXED_NOREPLACE: u32 = 0x10_0000;
const MAP_HUGE_SHIFT: u32 = 26;
const PROT_READ_WRITE: u64 = 3;

/// How an area is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// `PROT_*` of mmap.
    pub prot: u32,
    /// `MAP_*`.
    pub flags: u32,
    /// What is mapped.
    pub source: Source,
}

/// What an area maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nothing.
    Anonymous,
    /// The mapped file with this id, opened for writing too if `write`.
    File {
        /// Record id.
        id: u64,
        /// `O_RDWR`.
        write: bool,
    },
    /// The shared anonymous object with this id.
    Shared(u64),
    /// The ring with this number.
    Ring(u64),
}

/// How to create an area; `None` for those that the kernel makes itself, and those of [`map_huge`].
pub fn mapping(a: &Spec) -> Option<Mapping> {
    let source = match a.kind {
        f::VMA_ANON if a.huge() != 0 => return None,
        f::VMA_ANON => Source::Anonymous,
        f::VMA_FILE => Source::File {
            id: a.object,
            write: a.has(f::VMA_SHARED | f::VMA_MAYWRITE),
        },
        f::VMA_SHARED_ANON => Source::Shared(a.object),
        f::VMA_RING => Source::Ring(a.object),
        _ => return None,
    };
    let mut flags = match source {
        Source::Anonymous if a.has(f::VMA_DROPPABLE) => MAP_DROPPABLE | MAP_ANONYMOUS,
        Source::Anonymous => MAP_PRIVATE | MAP_ANONYMOUS,
        _ if a.has(f::VMA_SHARED) => MAP_SHARED,
        _ => MAP_PRIVATE,
    };
    for (flag, map) in [
        (f::VMA_GROWSDOWN, MAP_GROWSDOWN),
        (f::VMA_NORESERVE, MAP_NORESERVE),
        // Spares a madvise: since Linux 6.7 it means just VM_NOHUGEPAGE.
        (f::VMA_NOHUGEPAGE, MAP_STACK),
    ] {
        if a.has(flag) {
            flags |= map;
        }
    }
    // CAST: three bits, equal to PROT_READ, PROT_WRITE and PROT_EXEC of mmap.
    Some(Mapping {
        prot: first_prot(a) as u32,
        flags,
        source,
    })
}

/// The protection that an area is created with: private huge pages cannot be written through another one, and keys
/// come before memory that may only be executed ([`allocate_keys`]).
fn first_prot(a: &Spec) -> u64 {
    if a.huge() != 0 && !a.has(f::VMA_SHARED) {
        return PROT_READ_WRITE;
    }
    // The kernel would choose a protection key for it at once.
    if a.prot & 7 == f::PROT_EXEC {
        return f::PROT_READ | f::PROT_EXEC;
    }
    a.prot & 7
}

/// Flags of `mmap` for huge pages of this many bytes, a power of two.
fn huge_flags(huge: u64, noreserve: bool) -> u32 {
    let size = huge.checked_ilog2().unwrap_or(0) << MAP_HUGE_SHIFT;
    let noreserve = if noreserve { MAP_NORESERVE } else { 0 };
    MAP_ANONYMOUS | MAP_HUGETLB | noreserve | size
}

/// The call that creates an area of private huge pages; nothing for others.
pub fn map_huge(a: &Spec, out: &mut dyn OpSink) -> Result<(), PlanError> {
    if a.kind != f::VMA_ANON || a.huge() == 0 {
        return Ok(());
    }
    let flags = MAP_PRIVATE | MAP_FIXED_NOREPLACE | huge_flags(a.huge(), a.has(f::VMA_NORESERVE));
    let args = [a.start, a.len(), first_prot(a), flags.into(), u64::MAX, 0];
    let op = Op::values(
        nr::MMAP,
        &args,
        "cannot map huge pages: are there enough (vm.nr_hugepages)?",
    );
    out.push(Op {
        // CAST: an address of user space.
        expect: Expect::Exactly(a.start as i64),
        ..op
    })
}

/// The call, number and arguments, that maps a new shared object of huge pages somewhere.
pub fn make_huge(size: u64, huge: u64, noreserve: bool) -> (u32, [u64; 6]) {
    let flags = MAP_SHARED | huge_flags(huge, noreserve);
    (
        nr::MMAP,
        [0, size, PROT_READ_WRITE, flags.into(), u64::MAX, 0],
    )
}

/// What no process can have, and so no image of one.
///
/// # Errors
/// The text says what is wrong.
pub fn possible(a: &Spec) -> Result<(), &'static str> {
    let both = |x, y| a.has(x) && a.has(y);
    if a.kind != f::VMA_ANON && a.flags & (f::VMA_WIPEONFORK | f::VMA_DROPPABLE) != 0 {
        return Err("an area has flags that only private anonymous memory can have");
    }
    if both(f::VMA_SHARED, f::VMA_GROWSDOWN) {
        return Err("an area has flags that exclude each other");
    }
    if both(f::VMA_HUGEPAGE, f::VMA_NOHUGEPAGE) || both(f::VMA_SEQ_READ, f::VMA_RAND_READ) {
        return Err("an area has flags that exclude each other");
    }
    if a.has(f::VMA_DROPPABLE) && a.flags & (f::VMA_LOCKED | f::VMA_GROWSDOWN) != 0 {
        return Err("an area has flags that exclude each other");
    }
    if a.has(f::VMA_LOCKONFAULT) && !a.has(f::VMA_LOCKED) {
        return Err("an area is locked on fault but not locked");
    }
    if a.kind == f::VMA_FILE
        && a.has(f::VMA_SHARED)
        && a.prot & f::PROT_WRITE != 0
        && !a.has(f::VMA_MAYWRITE)
    {
        return Err("a shared mapping is writable although its file is not");
    }
    Ok(())
}

/// The addresses of `struct prctl_mm_map`, in its order.
const fn bounds(mm: &f::MmRecord<'_>) -> [u64; 11] {
    [
        mm.start_code,
        mm.end_code,
        mm.start_data,
        mm.end_data,
        mm.start_brk,
        mm.brk,
        mm.start_stack,
        mm.arg_start,
        mm.arg_end,
        mm.env_start,
        mm.env_end,
    ]
}

/// Would the kernel take these bounds of the process? See `validate_prctl_map_addr()` in `kernel/sys.c`.
///
/// # Errors
/// The text says what is wrong.
pub fn possible_bounds(mm: &f::MmRecord<'_>) -> Result<(), &'static str> {
    if bounds(mm)
        .iter()
        .any(|&a| a == 0 || a >= f::limits::TASK_SIZE)
    {
        return Err(
            "a bound of the process (code, data, heap, stack, arguments) is outside of user space",
        );
    }
    if mm.start_code >= mm.end_code {
        return Err("the process has no code");
    }
    Ok(())
}

/// May the image have page data for this area, and must zero pages be written into it?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contents {
    /// No page data: it comes from the file, from the kernel, or is never kept.
    None,
    /// Private memory: zero until it is written.
    Private,
    /// Private pages of a file mapping: the file shows until they are written.
    OverFile,
    /// Shared memory of an object of its own: zero until it is written.
    Shared,
    /// Memory that the kernel has written to when it was mapped; all that is there is kept.
    Made,
}

/// Where the contents of an area come from.
pub fn contents(a: &Spec) -> Contents {
    match a.kind {
        f::VMA_ANON if a.has(f::VMA_DROPPABLE) => Contents::None,
        f::VMA_ANON => Contents::Private,
        f::VMA_FILE if !a.has(f::VMA_SHARED) => Contents::OverFile,
        f::VMA_SHARED_ANON => Contents::Shared,
        f::VMA_RING => Contents::Made,
        _ => Contents::None,
    }
}

/// The call that maps the vDSO group at `start`.
pub fn map_vdso(start: u64, out: &mut dyn OpSink) -> Result<(), PlanError> {
    out.push(Op::values(
        nr::ARCH_PRCTL,
        &[ARCH_MAP_VDSO_64, start],
        "cannot map the vDSO at its place",
    ))
}

/// Calls that must come before the pages are filled: huge pages. (None at all is part of [`mapping`].)
pub fn before_fill(a: &Spec, out: &mut dyn OpSink) -> Result<(), PlanError> {
    if a.has(f::VMA_HUGEPAGE) && a.kind != f::VMA_SPECIAL {
        out.push(Op::values(
            nr::MADVISE,
            &[a.start, a.len(), MADV_HUGEPAGE],
            "cannot ask for huge pages",
        ))?;
    }
    Ok(())
}

/// The calls that give an area its NUMA policy, before pages are put into it.
///
/// On a machine without these nodes they fail, and that is left at it: where memory is does not change what a
/// program computes.
pub fn policy(a: &Spec, p: &f::PolicyRecord<'_>, out: &mut dyn OpSink) -> Result<(), PlanError> {
    let mut nodes = [0u8; 128];
    for (to, from) in nodes.iter_mut().zip(p.nodes) {
        *to = *from;
    }
    // The kernel reads one bit less than it is told, in whole words.
    let (mask, bits) = match p.nodes.len() {
        0 => (Arg::Value(0), 0),
        _ => (Arg::Data(0), 8 * 128 + 1),
    };
    let args = [
        Arg::Value(a.start),
        Arg::Value(a.len()),
        Arg::Value(p.mode),
        mask,
        Arg::Value(bits),
        Arg::Value(0),
    ];
    let what = "cannot set the NUMA policy of an area";
    out.push(Op {
        expect: Expect::SuccessOr(crate::tasks::EINVAL),
        ..Op::with_data(nr::MBIND, &args, &nodes, what)
    })?;
    if let Ok(home) = u64::try_from(p.home) {
        out.push(Op {
            expect: Expect::SuccessOr(crate::tasks::EINVAL),
            ..Op::values(nr::HOME_NODE, &[a.start, a.len(), home, 0], what)
        })?;
    }
    Ok(())
}

/// Can the kernel put memory of this area into transparent huge pages that a checkpoint records?
pub fn may_be_huge(a: &Spec) -> bool {
    a.kind == f::VMA_ANON && a.huge() == 0 && a.len() >= f::HUGE_2M
}

/// How far from `at` on all pages are in ranges of huge pages, or none are: `ranges` ascend. The answer is that and the end.
pub fn is_huge(ranges: &[(u64, u64)], at: u64) -> (bool, u64) {
    let next = ranges.partition_point(|r| r.1 <= at);
    match ranges.get(next) {
        Some(r) if r.0 <= at => (true, r.1),
        Some(r) => (false, r.0),
        None => (false, u64::MAX),
    }
}

/// The call that makes a range huge that is not yet; it may fail, for huge pages can run out.
pub fn collapse(start: u64, end: u64, out: &mut dyn OpSink) -> Result<(), PlanError> {
    let len = end.saturating_sub(start);
    let op = Op::values(
        nr::MADVISE,
        &[start, len, MADV_COLLAPSE],
        "cannot make huge pages",
    );
    out.push(Op {
        expect: Expect::Any,
        ..op
    })
}

/// The call that lets the process have transparent huge pages, whatever was set before.
pub fn thp_enable(out: &mut dyn OpSink) -> Result<(), PlanError> {
    out.push(Op::values(
        nr::PRCTL,
        &[PR_SET_THP_DISABLE, 0, 0, 0, 0],
        "cannot allow huge pages",
    ))
}

/// The call that sets `PR_SET_THP_DISABLE` (`value` as `PR_GET_THP_DISABLE` gave it).
pub fn thp_disable(value: u64, out: &mut dyn OpSink) -> Result<(), PlanError> {
    if value == 0 {
        return Ok(());
    }
    out.push(Op::values(
        nr::PRCTL,
        &[PR_SET_THP_DISABLE, 1, value & !1, 0, 0],
        "cannot disable huge pages",
    ))
}

/// The call that drops the pages of a range of private memory: what is behind them shows again.
pub fn drop_pages(start: u64, end: u64, out: &mut dyn OpSink) -> Result<(), PlanError> {
    let len = end.saturating_sub(start);
    out.push(Op::values(
        nr::MADVISE,
        &[start, len, MADV_DONTNEED],
        "cannot drop memory that was the parent's",
    ))
}

/// The call that makes a guard region.
pub fn guard(start: u64, end: u64, out: &mut dyn OpSink) -> Result<(), PlanError> {
    let len = end.saturating_sub(start);
    out.push(Op::values(
        nr::MADVISE,
        &[start, len, MADV_GUARD_INSTALL],
        "cannot install a guard region",
    ))
}

/// Calls that give a protected area its advice, its locks and its name.
pub fn after_fill(a: &Spec, name: &[u8], out: &mut dyn OpSink) -> Result<(), PlanError> {
    if a.kind == f::VMA_SPECIAL {
        return Ok(());
    }
    for (flag, advice) in [
        (f::VMA_SEQ_READ, MADV_SEQUENTIAL),
        (f::VMA_RAND_READ, MADV_RANDOM),
        (f::VMA_DONTFORK, MADV_DONTFORK),
        (f::VMA_DONTDUMP, MADV_DONTDUMP),
        (f::VMA_WIPEONFORK, MADV_WIPEONFORK),
        (f::VMA_MERGEABLE, MADV_MERGEABLE),
    ] {
        // Part of what MAP_DROPPABLE means.
        let implied =
            a.has(f::VMA_DROPPABLE) && (flag == f::VMA_DONTDUMP || flag == f::VMA_WIPEONFORK);
        if a.has(flag) && !implied {
            out.push(Op::values(
                nr::MADVISE,
                &[a.start, a.len(), advice],
                "cannot set the advice of an area",
            ))?;
        }
    }
    if a.has(f::VMA_LOCKED) {
        let flags = if a.has(f::VMA_LOCKONFAULT) {
            MLOCK_ONFAULT
        } else {
            0
        };
        let op = Op::values(nr::MLOCK2, &[a.start, a.len(), flags], "cannot lock memory");
        // It locks, then faults everything in, and says ENOMEM if some page cannot be (no access, a guard,
        // behind the end of the file). The flags are compared at the end.
        out.push(Op {
            expect: Expect::Any,
            ..op
        })?;
    }
    if !name.is_empty() && a.kind != f::VMA_FILE {
        let mut buf = [0; 256];
        for (to, from) in buf.iter_mut().zip(name.iter().take(255)) {
            *to = *from;
        }
        let data = buf
            .get(..name.len().min(255).saturating_add(1))
            .unwrap_or(&[0]);
        let args = [
            Arg::Value(PR_SET_VMA),
            Arg::Value(PR_SET_VMA_ANON_NAME),
            Arg::Value(a.start),
            Arg::Value(a.len()),
            Arg::Data(0),
        ];
        // A kernel without CONFIG_ANON_VMA_NAME cannot; the name means nothing to the program.
        let op = Op::with_data(nr::PRCTL, &args, data, "cannot name an area");
        out.push(Op {
            expect: Expect::Any,
            ..op
        })?;
    }
    Ok(())
}

/// The highest protection key of a process: one that is allocated, or that an area has although it has been freed.
pub fn highest_key<'a>(keys: &f::KeysRecord, areas: impl Iterator<Item = &'a Spec>) -> u64 {
    let allocated = u64::from(63_u32.saturating_sub((keys.allocated | 1).leading_zeros()));
    areas
        .fold(allocated, |highest, a| highest.max(a.pkey))
        .min(15)
}

/// The calls that allocate protection keys, before any area gets its protection. Keys are given out from 1 on, so those
/// up to the highest that are not wanted are freed behind ([`free_keys`]).
///
/// The key of execute-only memory is allocated by the kernel when the first such area is protected, `execute_only`.
pub fn allocate_keys(
    keys: &f::KeysRecord,
    highest: u64,
    execute_only: Option<&Spec>,
    out: &mut dyn OpSink,
) -> Result<(), PlanError> {
    for key in 1..=highest {
        match execute_only.filter(|_| key == keys.execute_only) {
            Some(a) => out.push(Op::values(
                nr::MPROTECT,
                &[a.start, a.len(), f::PROT_EXEC],
                "cannot protect an area",
            ))?,
            None => {
                let what =
                    "cannot allocate memory protection keys: has this processor got them (pku)?";
                let op = Op::values(nr::PKEY_ALLOC, &[0, 0], what);
                out.push(Op {
                    // CAST: at most 63.
                    expect: Expect::Exactly(key as i64),
                    ..op
                })?;
            }
        }
    }
    Ok(())
}

/// The call that gives a filled area its protection and its key, where it has not got them yet.
pub fn protect(
    a: &Spec,
    keys: Option<&f::KeysRecord>,
    out: &mut dyn OpSink,
) -> Result<(), PlanError> {
    if a.kind == f::VMA_SPECIAL {
        return Ok(());
    }
    let prot = a.prot & 7;
    let automatic = match prot {
        f::PROT_EXEC => keys.map_or(0, |k| k.execute_only),
        _ => 0,
    };
    if keys.is_some() && a.pkey != automatic {
        return out.push(Op::values(
            nr::PKEY_MPROTECT,
            &[a.start, a.len(), prot, a.pkey],
            "cannot give an area its protection key",
        ));
    }
    if first_prot(a) != prot {
        out.push(Op::values(
            nr::MPROTECT,
            &[a.start, a.len(), prot],
            "cannot protect an area",
        ))?;
    }
    Ok(())
}

/// The calls that free the keys up to the highest which the process has not allocated, when all areas have theirs.
pub fn free_keys(
    keys: &f::KeysRecord,
    highest: u64,
    out: &mut dyn OpSink,
) -> Result<(), PlanError> {
    for key in 1..=highest {
        if keys.allocated >> (key & 63) & 1 == 0 {
            out.push(Op::values(
                nr::PKEY_FREE,
                &[key],
                "cannot free a protection key",
            ))?;
        }
    }
    Ok(())
}

/// The last calls about an area: after them nothing can be changed.
pub fn seal(a: &Spec, out: &mut dyn OpSink) -> Result<(), PlanError> {
    if a.has(f::VMA_SEALED) && a.kind != f::VMA_SPECIAL {
        out.push(Op::values(
            nr::MSEAL,
            &[a.start, a.len(), 0],
            "cannot seal an area",
        ))?;
    }
    Ok(())
}

/// Bytes of `struct prctl_mm_map`.
const MM_MAP: usize = 104;
/// Most bytes of an auxiliary vector.
const AUXV_MAX: usize = 1024;

/// The call that sets the addresses of the process, its auxiliary vector and its executable.
///
/// `scratch` is the user address at which the call's data will stand; `exe_fd` the descriptor of the
/// executable, `None` to leave it as it is.
///
/// # Errors
/// [`PlanError::Impossible`] for an auxiliary vector that the kernel would not take.
pub fn mm_map(
    mm: &f::MmRecord<'_>,
    scratch: u64,
    exe_fd: Option<u32>,
    out: &mut dyn OpSink,
) -> Result<(), PlanError> {
    let mut data = [0_u8; MM_MAP + AUXV_MAX];
    let auxv_len = mm.auxv.len().saturating_mul(8);
    if auxv_len > AUXV_MAX {
        return Err(PlanError::Impossible("the auxiliary vector is too long"));
    }
    let auxv_at = scratch
        .checked_add(MM_MAP as u64)
        .ok_or(PlanError::Impossible("no scratch memory"))?;
    // CAST: at most 1024; the high half is the descriptor.
    let last = auxv_len as u64 | u64::from(exe_fd.unwrap_or(u32::MAX)) << 32;
    let addresses = bounds(mm).into_iter().chain([auxv_at, last]);
    for (to, from) in data
        .chunks_exact_mut(8)
        .zip(addresses.chain(mm.auxv.iter()))
    {
        for (t, f) in to.iter_mut().zip(from.to_le_bytes()) {
            *t = f;
        }
    }
    let used = data.get(..MM_MAP.saturating_add(auxv_len)).unwrap_or(&[]);
    let args = [
        Arg::Value(PR_SET_MM),
        Arg::Value(PR_SET_MM_MAP),
        Arg::Data(0),
        Arg::Value(MM_MAP as u64),
        Arg::Value(0),
    ];
    out.push(Op::with_data(
        nr::PRCTL,
        &args,
        used,
        "cannot set the executable and the layout of the process",
    ))
}

/// Calls about the process as a whole, after everything else but the seals.
pub fn process(mm: &f::MmRecord<'_>, out: &mut dyn OpSink) -> Result<(), PlanError> {
    if mm.memory_merge != 0 {
        out.push(Op::values(
            nr::PRCTL,
            &[PR_SET_MEMORY_MERGE, 1],
            "cannot enable the merging of equal pages",
        ))?;
    }
    let future = match mm.lock_future {
        0 => return Ok(()),
        1 => MCL_FUTURE,
        _ => MCL_FUTURE | MCL_ONFAULT,
    };
    out.push(Op::values(
        nr::MLOCKALL,
        &[future],
        "cannot lock future memory",
    ))
}

/// The call that closes a descriptor which was only needed for another call.
pub fn close(fd: u32, out: &mut dyn OpSink) -> Result<(), PlanError> {
    out.push(Op::values(
        nr::CLOSE,
        &[fd.into()],
        "cannot close a descriptor",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{vec, vec::Vec};

    #[derive(Default)]
    struct List(Vec<(u32, [Arg; 6], Vec<u8>, Expect)>);

    impl OpSink for List {
        fn push(&mut self, op: Op<'_>) -> Result<(), PlanError> {
            assert!(op.data.len() <= 4096);
            self.0.push((op.nr, op.args, op.data.to_vec(), op.expect));
            Ok(())
        }
    }

    impl List {
        fn calls(&self) -> Vec<(u32, u64)> {
            let third = |a: &[Arg; 6]| match a[2] {
                Arg::Value(v) => v,
                Arg::Data(_) => u64::MAX,
            };
            self.0.iter().map(|o| (o.0, third(&o.1))).collect()
        }
    }

    fn anon(flags: u64) -> Spec {
        Spec {
            start: 0x1000,
            end: 0x3000,
            prot: 3,
            flags,
            kind: f::VMA_ANON,
            ..Spec::default()
        }
    }

    #[test]
    fn ranges_of_huge_pages_say_how_far_they_hold() {
        let ranges = [(0x20_0000, 0x60_0000), (0x80_0000, 0xa0_0000)];
        assert_eq!(is_huge(&ranges, 0), (false, 0x20_0000));
        assert_eq!(is_huge(&ranges, 0x20_0000), (true, 0x60_0000));
        assert_eq!(is_huge(&ranges, 0x5f_f000), (true, 0x60_0000));
        assert_eq!(is_huge(&ranges, 0x60_0000), (false, 0x80_0000));
        assert_eq!(is_huge(&ranges, 0xa0_0000), (false, u64::MAX));
        assert_eq!(is_huge(&[], 0), (false, u64::MAX));
    }

    #[test]
    fn private_huge_pages_are_mapped_by_a_call_and_protected_when_they_are_filled() {
        let huge = Spec {
            start: 0x20_0000,
            end: 0x60_0000,
            prot: 1,
            flags: f::VMA_HUGETLB_2M | f::VMA_NORESERVE,
            ..Spec::default()
        };
        assert_eq!(mapping(&huge), None);
        let mut list = List::default();
        map_huge(&huge, &mut list).unwrap();
        map_huge(&anon(0), &mut list).unwrap();
        protect(&huge, None, &mut list).unwrap();
        assert_eq!(list.calls(), [(nr::MMAP, 3), (nr::MPROTECT, 1)]);
        let flags = 0x02 | 0x20 | 0x4000 | 0x4_0000 | 0x10_0000 | 21 << 26;
        assert_eq!(list.0[0].1[3], Arg::Value(flags));
        assert_eq!(list.0[0].3, Expect::Exactly(0x20_0000));
        let file = Spec {
            kind: f::VMA_FILE,
            object: 1,
            ..huge
        };
        assert_eq!(mapping(&file).unwrap().prot, 3);
        let shared = Spec {
            flags: file.flags | f::VMA_SHARED,
            ..file
        };
        assert_eq!(mapping(&shared).unwrap().prot, 1, "written by other means");
        let (nr, args) = make_huge(1 << 30, f::HUGE_1G, false);
        assert_eq!(
            (nr, args[1], args[3]),
            (9, 1 << 30, 0x1 | 0x20 | 0x4_0000 | 30 << 26)
        );
    }

    #[test]
    fn keys_are_allocated_up_to_the_highest_and_those_between_freed() {
        let keys = f::KeysRecord {
            id: 1,
            allocated: 0b11010,
            execute_only: 3,
        };
        let code = Spec {
            prot: f::PROT_EXEC,
            pkey: 3,
            ..anon(0)
        };
        assert_eq!(mapping(&code).unwrap().prot, 5, "no key is chosen yet");
        let numbers = |list: &List| -> Vec<u32> { list.calls().iter().map(|c| c.0).collect() };
        let mut list = List::default();
        allocate_keys(&keys, 4, Some(&code), &mut list).unwrap();
        let alloc = nr::PKEY_ALLOC;
        assert_eq!(numbers(&list), [alloc, alloc, nr::MPROTECT, alloc]);
        assert_eq!(list.0[3].3, Expect::Exactly(4));
        let mut list = List::default();
        allocate_keys(&keys, 4, None, &mut list).unwrap();
        assert_eq!(numbers(&list), [alloc; 4]);
        let mut list = List::default();
        free_keys(&keys, 5, &mut list).unwrap();
        assert_eq!(numbers(&list), [nr::PKEY_FREE; 2]);
        assert_eq!(list.0[0].1[0], Arg::Value(2));
        assert_eq!(list.0[1].1[0], Arg::Value(5));
        let freed = Spec { pkey: 6, ..code };
        assert_eq!(highest_key(&keys, [&code, &freed].into_iter()), 6);
        assert_eq!(highest_key(&keys, [&code].into_iter()), 4);

        let call = |a: &Spec, keys| {
            let mut list = List::default();
            protect(a, keys, &mut list).unwrap();
            numbers(&list)
        };
        let with = |prot, pkey| Spec {
            prot,
            pkey,
            ..anon(0)
        };
        assert_eq!(call(&with(3, 0), Some(&keys)), []);
        assert_eq!(call(&with(3, 1), Some(&keys)), [nr::PKEY_MPROTECT]);
        assert_eq!(call(&code, Some(&keys)), [nr::MPROTECT]);
        assert_eq!(call(&with(4, 1), Some(&keys)), [nr::PKEY_MPROTECT]);
        assert_eq!(call(&with(4, 0), Some(&keys)), [nr::PKEY_MPROTECT]);
        assert_eq!(call(&with(4, 0), None), [nr::MPROTECT]);
    }

    #[test]
    fn an_area_is_created_with_its_final_protection_and_type() {
        let m = mapping(&anon(f::VMA_GROWSDOWN | f::VMA_NORESERVE)).unwrap();
        assert_eq!((m.prot, m.flags, m.source), (3, 0x4122, Source::Anonymous));
        let m = mapping(&anon(
            f::VMA_DROPPABLE | f::VMA_WIPEONFORK | f::VMA_DONTDUMP,
        ))
        .unwrap();
        assert_eq!(m.flags, MAP_DROPPABLE | MAP_ANONYMOUS);
        let file = |flags| Spec {
            kind: f::VMA_FILE,
            object: 7,
            flags,
            ..anon(0)
        };
        assert_eq!(
            mapping(&file(0)).unwrap().source,
            Source::File {
                id: 7,
                write: false
            }
        );
        let m = mapping(&file(f::VMA_SHARED)).unwrap();
        assert_eq!(
            (m.flags, m.source),
            (
                MAP_SHARED,
                Source::File {
                    id: 7,
                    write: false
                }
            )
        );
        assert_eq!(
            mapping(&file(f::VMA_SHARED | f::VMA_MAYWRITE))
                .unwrap()
                .source,
            Source::File { id: 7, write: true }
        );
        // A private mapping never needs to write the file, whatever the record says.
        assert_eq!(
            mapping(&file(f::VMA_MAYWRITE)).unwrap().source,
            Source::File {
                id: 7,
                write: false
            }
        );
        let shared = Spec {
            kind: f::VMA_SHARED_ANON,
            object: 2,
            flags: f::VMA_SHARED,
            ..anon(0)
        };
        assert_eq!(mapping(&shared).unwrap().source, Source::Shared(2));
        assert_eq!(
            mapping(&Spec {
                kind: f::VMA_SPECIAL,
                ..anon(0)
            }),
            None
        );
    }

    #[test]
    fn flags_that_no_area_can_have_are_refused() {
        let file = |flags| Spec {
            kind: f::VMA_FILE,
            object: 7,
            flags,
            ..anon(0)
        };
        for good in [
            anon(f::VMA_GROWSDOWN | f::VMA_LOCKED),
            anon(f::VMA_DROPPABLE | f::VMA_WIPEONFORK | f::VMA_DONTDUMP | f::VMA_NORESERVE),
            file(f::VMA_SHARED | f::VMA_MAYWRITE),
            file(0),
        ] {
            assert_eq!(possible(&good), Ok(()), "{good:?}");
        }
        for bad in [
            file(f::VMA_WIPEONFORK),
            file(f::VMA_SHARED),
            anon(f::VMA_HUGEPAGE | f::VMA_NOHUGEPAGE),
            anon(f::VMA_SEQ_READ | f::VMA_RAND_READ),
            anon(f::VMA_DROPPABLE | f::VMA_LOCKED),
            anon(f::VMA_LOCKONFAULT),
            file(f::VMA_SHARED | f::VMA_MAYWRITE | f::VMA_GROWSDOWN),
        ] {
            assert!(possible(&bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn bounds_must_be_those_of_a_program() {
        let at = 0x40_0000;
        let good = f::MmRecord {
            start_code: at,
            end_code: at + 1,
            start_data: at,
            end_data: at,
            start_brk: at,
            brk: at,
            start_stack: at,
            arg_start: at,
            arg_end: at,
            env_start: at,
            env_end: at,
            ..Default::default()
        };
        assert_eq!(possible_bounds(&good), Ok(()));
        assert!(possible_bounds(&f::MmRecord {
            end_code: at,
            ..good
        })
        .is_err());
        assert!(possible_bounds(&f::MmRecord { brk: 0, ..good }).is_err());
        assert!(possible_bounds(&f::MmRecord {
            env_end: f::limits::TASK_SIZE,
            ..good
        })
        .is_err());
    }

    #[test]
    fn only_memory_of_the_process_has_contents() {
        let of = |kind, flags| {
            contents(&Spec {
                kind,
                flags,
                ..anon(0)
            })
        };
        assert_eq!(of(f::VMA_ANON, 0), Contents::Private);
        assert_eq!(of(f::VMA_ANON, f::VMA_DROPPABLE), Contents::None);
        assert_eq!(of(f::VMA_FILE, 0), Contents::OverFile);
        assert_eq!(of(f::VMA_FILE, f::VMA_SHARED), Contents::None);
        assert_eq!(of(f::VMA_SHARED_ANON, f::VMA_SHARED), Contents::Shared);
        assert_eq!(of(f::VMA_SPECIAL, 0), Contents::None);
    }

    #[test]
    fn huge_page_advice_comes_before_the_fill_and_the_rest_after() {
        let mut before = List::default();
        before_fill(&anon(f::VMA_HUGEPAGE | f::VMA_DONTFORK), &mut before).unwrap();
        assert_eq!(before.calls(), [(nr::MADVISE, MADV_HUGEPAGE)]);
        let mut none = List::default();
        before_fill(&anon(f::VMA_NOHUGEPAGE), &mut none).unwrap();
        thp_disable(0, &mut none).unwrap();
        assert_eq!(none.calls(), [], "done by MAP_STACK");
        let mut after = List::default();
        after_fill(
            &anon(f::VMA_HUGEPAGE | f::VMA_DONTFORK | f::VMA_LOCKED | f::VMA_LOCKONFAULT),
            b"pool",
            &mut after,
        )
        .unwrap();
        assert_eq!(
            after.calls(),
            [
                (nr::MADVISE, MADV_DONTFORK),
                (nr::MLOCK2, MLOCK_ONFAULT),
                (nr::PRCTL, 0x1000)
            ]
        );
        assert_eq!(after.0[2].2, b"pool\0");
        let mut droppable = List::default();
        after_fill(
            &anon(f::VMA_DROPPABLE | f::VMA_WIPEONFORK | f::VMA_DONTDUMP),
            b"",
            &mut droppable,
        )
        .unwrap();
        assert_eq!(droppable.calls(), []);
    }

    #[test]
    fn thp_disable_keeps_its_flags() {
        let mut l = List::default();
        thp_disable(3, &mut l).unwrap();
        assert_eq!(
            l.0[0].1[..3],
            [Arg::Value(PR_SET_THP_DISABLE), Arg::Value(1), Arg::Value(2)]
        );
    }

    #[test]
    fn the_mm_map_has_the_layout_of_the_kernel() {
        let auxv = [33_u64, 0x7fff_0000, 0, 0];
        let mm = f::MmRecord {
            id: 1,
            start_code: 0x1111,
            env_end: 0x2222,
            auxv: f::U64s::Native(&auxv),
            ..Default::default()
        };
        let mut l = List::default();
        mm_map(&mm, 0x5_0000, Some(9), &mut l).unwrap();
        let d = &l.0[0].2;
        let word = |i: usize| u64::from_le_bytes(d[i * 8..i * 8 + 8].try_into().unwrap());
        assert_eq!(d.len(), 104 + 32);
        assert_eq!(
            (word(0), word(10), word(11)),
            (0x1111, 0x2222, 0x5_0000 + 104)
        );
        assert_eq!(word(12), 32 | 9 << 32);
        assert_eq!((word(13), word(14)), (33, 0x7fff_0000));
        assert_eq!(l.0[0].1[3], Arg::Value(104));
        mm_map(&mm, 0, None, &mut l).unwrap();
        assert_eq!(l.0[1].2[100..104], [0xff; 4]);
        let long = vec![1_u64; 129];
        let mm = f::MmRecord {
            auxv: f::U64s::Native(&long),
            ..Default::default()
        };
        assert!(matches!(
            mm_map(&mm, 0, None, &mut l),
            Err(PlanError::Impossible(_))
        ));
    }

    #[test]
    fn seals_skip_what_the_kernel_made() {
        let mut l = List::default();
        seal(&anon(f::VMA_SEALED), &mut l).unwrap();
        seal(
            &Spec {
                kind: f::VMA_SPECIAL,
                ..anon(f::VMA_SEALED)
            },
            &mut l,
        )
        .unwrap();
        assert_eq!(l.0.len(), 1);
    }
}
