// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Rules of section `memory`.

use super::tasks::{NODES_MAX, POLICY_FLAGS, POLICY_MAX};
use super::{
    each, files, ids, is_bool, is_nanosecond, is_offset, is_path, known_records, only, MetaSet,
};
use crate::{
    error::{ensure, Error, Result},
    limits::{PAGE, TASK_SIZE, VMAS},
    record::{records_of, Record},
    sections::{
        huge_page, GuardRecord, HugeRecord, KeysRecord, MappedFileRecord, MappedObjectRecord,
        MmRecord, PolicyRecord, VmaRecord, HUGE_2M, MEMORY, PROT_EXEC, PROT_READ, PROT_WRITE,
        VMA_ANON, VMA_DROPPABLE, VMA_FILE, VMA_FLAGS, VMA_GROWSDOWN, VMA_HUGEPAGE, VMA_HUGETLB_1G,
        VMA_HUGETLB_2M, VMA_LOCKED, VMA_LOCKONFAULT, VMA_MAYWRITE, VMA_NOHUGEPAGE, VMA_RAND_READ,
        VMA_RING, VMA_SEQ_READ, VMA_SHARED, VMA_SHARED_ANON, VMA_SPECIAL, VMA_WIPEONFORK,
    },
};

/// Most numbers in the auxiliary vector.
/// Above the largest number of a node.
const HOME_MAX: i64 = 1024;
const AUXV_MAX: usize = 128;
/// Longest name of an area.
const NAME_MAX: usize = 255;
/// Protection of the vDSO's code.
const PROT_CODE: u64 = PROT_READ | PROT_EXEC;
/// Longest build id.
const BUILD_ID_MAX: usize = 64;

pub(super) fn check(set: &dyn MetaSet) -> Result {
    known_records(set, MEMORY)?;
    let mm: MmRecord<'_> = only(set, "MEMORY-1")?;
    mm_record(&mm).map_err(|e| e.placed(MEMORY, 0))?;
    let (mut count, mut last_end) = (0_u64, 0);
    let mut specials = Specials::default();
    each(set, |v: VmaRecord<'_>| {
        count = count.saturating_add(1);
        if count > VMAS {
            return Err(Error::over_limit(count, VMAS));
        }
        ensure(u64::from(v.id) == count, "MEMORY-2")?;
        vma_record(&v)?;
        ensure(v.start >= last_end, "MEMORY-4")?;
        last_end = v.end;
        specials.add(&v)
    })?;
    ensure(specials.code == mm.vdso, "MEMORY-18").map_err(|e| e.placed(MEMORY, 0))?;
    each(set, |f: MappedFileRecord<'_>| mapped_file_record(&f))?;
    each(set, |o: MappedObjectRecord| ensure(o.id != 0, "MEMORY-8"))?;
    guards(set)?;
    policies(set)?;
    transparent(set)?;
    keys(set)?;
    references(set, mm.exe_object)
}

fn mm_record(mm: &MmRecord<'_>) -> Result {
    ensure(mm.id == 1, "MEMORY-1")?;
    let ordered = mm.start_code < mm.end_code
        && mm.start_data <= mm.end_data
        && mm.start_brk <= mm.brk
        && mm.arg_start <= mm.arg_end
        && mm.env_start <= mm.env_end;
    let starts = [
        mm.start_code,
        mm.start_data,
        mm.start_brk,
        mm.arg_start,
        mm.env_start,
    ];
    let ends = [
        mm.end_code,
        mm.end_data,
        mm.brk,
        mm.start_stack,
        mm.arg_end,
        mm.env_end,
    ];
    let possible = starts
        .iter()
        .chain(&ends)
        .all(|a| (1..TASK_SIZE).contains(a));
    ensure(
        ordered && possible && mm.vdso < TASK_SIZE && mm.vdso % PAGE == 0,
        "MEMORY-11",
    )?;
    ensure(
        mm.auxv.len() % 2 == 0 && mm.auxv.len() <= AUXV_MAX,
        "MEMORY-12",
    )?;
    let switches = mm.thp_disable <= 3 && mm.lock_future <= 2 && is_bool(mm.memory_merge);
    let words = u32::try_from(mm.coredump_filter).is_ok() && u32::try_from(mm.vdso_crc).is_ok();
    ensure(switches && words, "MEMORY-13")
}

fn vma_record(v: &VmaRecord<'_>) -> Result {
    let aligned = v.start % PAGE == 0 && v.end % PAGE == 0;
    ensure(aligned && v.start < v.end && v.end <= TASK_SIZE, "MEMORY-3")?;
    if v.flags & !VMA_FLAGS != 0 {
        return Err(Error::unsupported("flag of a memory area"));
    }
    ensure(v.prot <= 7 && v.pkey <= 15, "MEMORY-5")?;
    let shared = v.flags & VMA_SHARED != 0;
    let sound = match v.kind {
        VMA_ANON | VMA_SPECIAL => v.object == 0 && !shared,
        VMA_FILE => v.object != 0,
        VMA_SHARED_ANON | VMA_RING => v.object != 0 && shared,
        _ => return Err(Error::unsupported("kind of a memory area")),
    };
    ensure(sound, "MEMORY-6")?;
    let len = v.end.saturating_sub(v.start);
    ensure(
        v.offset % PAGE == 0 && v.offset.checked_add(len).is_some_and(is_offset),
        "MEMORY-9",
    )?;
    huge_pages(v)?;
    ensure(v.name.len() <= NAME_MAX, "MEMORY-14")?;
    ensure(flags_fit(v), "MEMORY-17")
}

/// Huge pages of hugetlbfs: whole ones, of one size.
fn huge_pages(v: &VmaRecord<'_>) -> Result {
    let huge = huge_page(v.flags);
    if huge == 0 {
        return Ok(());
    }
    let whole = [v.start, v.end, v.offset]
        .iter()
        .all(|n| n.checked_rem(huge) == Some(0));
    let never = VMA_GROWSDOWN | VMA_DROPPABLE | VMA_WIPEONFORK;
    let both = VMA_HUGETLB_2M | VMA_HUGETLB_1G;
    ensure(
        whole && v.kind != VMA_SPECIAL && v.flags & never == 0 && v.flags & both != both,
        "MEMORY-21",
    )
}

/// Can the kernel give an area these flags?
fn flags_fit(v: &VmaRecord<'_>) -> bool {
    let has = |flag| v.flags & flag != 0;
    let both = |a, b| has(a) && has(b);
    let private_only = VMA_WIPEONFORK | VMA_DROPPABLE;
    let read_only = v.kind == VMA_FILE && has(VMA_SHARED) && !has(VMA_MAYWRITE);
    (v.kind == VMA_ANON || !has(private_only))
        && !both(VMA_SHARED, VMA_GROWSDOWN)
        && !both(VMA_HUGEPAGE, VMA_NOHUGEPAGE)
        && !both(VMA_SEQ_READ, VMA_RAND_READ)
        && !both(VMA_DROPPABLE, VMA_LOCKED | VMA_GROWSDOWN)
        && (!has(VMA_LOCKONFAULT) || has(VMA_LOCKED))
        && !(read_only && v.prot & PROT_WRITE != 0)
}

/// The areas that the kernel maps for its vDSO: one block, the code last.
#[derive(Default)]
struct Specials {
    /// Behind the last one; 0: none so far.
    end: u64,
    /// Start of the last one, 0: none.
    code: u64,
    prot: u64,
}

impl Specials {
    fn add(&mut self, v: &VmaRecord<'_>) -> Result {
        if v.kind != VMA_SPECIAL {
            return Ok(());
        }
        let follows = self.end == 0 || (self.end == v.start && self.prot == PROT_READ);
        ensure(
            follows && matches!(v.prot, PROT_READ | PROT_CODE),
            "MEMORY-18",
        )?;
        (self.end, self.prot) = (v.end, v.prot);
        self.code = if v.prot == PROT_CODE { v.start } else { 0 };
        Ok(())
    }
}

fn mapped_file_record(f: &MappedFileRecord<'_>) -> Result {
    ensure(f.id != 0, "MEMORY-8")?;
    ensure(
        is_path(f.path) && is_offset(f.size) && is_nanosecond(f.mtime_ns),
        "MEMORY-10",
    )?;
    ensure(
        is_bool(f.writable) && f.build_id.len() <= BUILD_ID_MAX && f.mode <= 0o177_777,
        "MEMORY-10",
    )
}

/// Guard ranges ascend, and so do the areas they lie in: one pass over both.
fn guards(set: &dyn MetaSet) -> Result {
    let mut areas = records_of::<VmaRecord<'_>>(set.section(MEMORY));
    let mut area: Option<VmaRecord<'_>> = None;
    let (mut count, mut last_end) = (0_u64, 0);
    each(set, |g: GuardRecord| {
        count = count.saturating_add(1);
        let aligned = g.start % PAGE == 0 && g.end % PAGE == 0 && g.start < g.end;
        ensure(
            u64::from(g.id) == count && aligned && g.start >= last_end,
            "MEMORY-15",
        )?;
        last_end = g.end;
        while area.is_none_or(|a| a.end <= g.start) {
            area = Some(areas.next().ok_or(Error::rule("MEMORY-16"))??);
        }
        ensure(
            area.is_some_and(|a| a.start <= g.start && g.end <= a.end),
            "MEMORY-16",
        )
    })
}

/// NUMA policies, by the ids of their areas.
fn policies(set: &dyn MetaSet) -> Result {
    each(set, |p: PolicyRecord<'_>| {
        policy(p.mode, p.nodes)?;
        ensure(p.mode != 0 && (-1..HOME_MAX).contains(&p.home), "MEMORY-19")
    })?;
    let of = |kind| ids::record_ids(MEMORY, set.section(MEMORY), kind);
    let twice = ids::duplicate(of(PolicyRecord::TYPE));
    match twice.or_else(|| ids::dangling(of(PolicyRecord::TYPE), of(VmaRecord::TYPE))) {
        Some(at) => Err(Error::rule("MEMORY-19").placed(MEMORY, at)),
        None => Ok(()),
    }
}

/// Mode and nodes of a policy.
fn policy(mode: u64, nodes: &[u8]) -> Result {
    if mode & !POLICY_FLAGS > POLICY_MAX {
        return Err(Error::unsupported("NUMA memory policy"));
    }
    ensure(nodes.len() <= NODES_MAX, "MEMORY-19")
}

/// Ranges of transparent huge pages.
fn transparent(set: &dyn MetaSet) -> Result {
    let mut areas = records_of::<VmaRecord<'_>>(set.section(MEMORY));
    let mut area: Option<VmaRecord<'_>> = None;
    let (mut count, mut last_end) = (0_u64, 0);
    each(set, |h: HugeRecord| {
        count = count.saturating_add(1);
        let whole = h.start % HUGE_2M == 0 && h.end % HUGE_2M == 0 && h.start < h.end;
        ensure(
            u64::from(h.id) == count && whole && h.start >= last_end,
            "MEMORY-22",
        )?;
        last_end = h.end;
        while area.is_none_or(|a| a.end <= h.start) {
            area = Some(areas.next().ok_or(Error::rule("MEMORY-22"))??);
        }
        let fits = area.is_some_and(|a| {
            let normal = a.kind == VMA_ANON && huge_page(a.flags) == 0;
            normal && a.start <= h.start && h.end <= a.end
        });
        ensure(fits, "MEMORY-22")
    })
}

/// Protection keys. Areas can have one that has been freed.
fn keys(set: &dyn MetaSet) -> Result {
    let mut told = false;
    each(set, |k: KeysRecord| {
        let possible = k.allocated & !0xfffe == 0;
        let is_one = |key: u64| key == 0 || key <= 15 && k.allocated >> key & 1 == 1;
        ensure(
            !told && k.id == 1 && possible && is_one(k.execute_only),
            "MEMORY-23",
        )?;
        told = true;
        Ok(())
    })?;
    each(set, |v: VmaRecord<'_>| {
        ensure(v.pkey == 0 || told && v.kind != VMA_SPECIAL, "MEMORY-23")
    })
}

fn references(set: &dyn MetaSet, exe: u64) -> Result {
    let bytes = set.section(MEMORY);
    let files = ids::record_ids(MEMORY, bytes, MappedFileRecord::TYPE);
    let objects = ids::record_ids(MEMORY, bytes, MappedObjectRecord::TYPE);
    let mapped = files.chain(objects);
    if let Some(at) = ids::duplicate(mapped.clone()) {
        return Err(Error::rule("MEMORY-8").placed(MEMORY, at));
    }
    let used = Placed(records_of::<VmaRecord<'_>>(bytes))
        .filter(|(v, _)| v.kind == VMA_FILE)
        .map(|(v, at)| (v.object, at))
        .chain((exe != 0).then_some((exe, 0)));
    if let Some(at) = ids::dangling(used, mapped) {
        return Err(Error::rule("MEMORY-7").placed(MEMORY, at));
    }
    let used = Placed(records_of::<MappedObjectRecord>(bytes)).map(|(o, at)| (o.file, at));
    match ids::dangling(used, files::nameless(set).map(|id| (id, 0))) {
        Some(at) => Err(Error::rule("MEMORY-20").placed(MEMORY, at)),
        None => Ok(()),
    }
}

/// Records with their places, of a section that has been decoded before.
#[derive(Clone)]
struct Placed<'a, R>(crate::record::RecordsOf<'a, R>);

impl<'a, R: Record<'a>> Iterator for Placed<'a, R> {
    type Item = (R, u64);
    fn next(&mut self) -> Option<Self::Item> {
        self.0.next_placed()?.ok()
    }
}
