// SPDX-License-Identifier: GPL-2.0
//! Records of the address space, and everything that would be lost.

use crate::{
    mapped::{self, Lost},
    scan::{self, Area},
    STORED, WORD,
};
use cr_format::{GuardRecord, HugeRecord, KeysRecord, MappedFileRecord, MappedObjectRecord, MmRecord, PolicyRecord, U64s, VmaRecord, HUGE_2M};
use cr_logic::memory::{
    build,
    judge::{self, Backing},
    layout::{self, Vdso},
    vm,
};
use crkit::{
    bindings as b,
    sys::{
        file::FileRef,
        mapped::Stat,
        mm::{MmRef, Resident, PAGE_SIZE},
        uring, user,
    },
    Checkpoint, Obstacle, RecordBuf,
};
use kernel::{prelude::*, str::CString};

const ODD: &str = "please report this: crkit did not expect that a process can have it";
const NEXT_RELEASE: &str = "not supported in this release; run the program without it";

/// A mapped file, once per inode.
struct Mapped {
    key: usize,
    file: FileRef,
    path: KVec<u8>,
    /// First address at which it is mapped, 0 for an executable that is not mapped.
    address: u64,
    write: bool,
    /// It has no name: `files` keeps its contents.
    object: bool,
}

/// The object behind shared anonymous memory.
struct Shared {
    key: usize,
    size: u64,
    address: u64,
    /// Areas of this process and the references to the file that exist.
    areas: i64,
    references: i64,
    /// Byte ranges that are mapped.
    ranges: KVec<(u64, u64)>,
}

/// Emits all records of section `memory` and reports all obstacles.
pub(crate) fn checkpoint(cx: &Checkpoint<'_>) -> Result {
    let mm = cx.mm();
    let facts = mm.facts()?;
    let mut areas = scan::scan(&mm)?;
    let mut buf = KVec::from_elem(0u8, mapped::PATH_ROOM, GFP_KERNEL)?;

    for a in areas.iter() {
        judge::refusals(a.vm_flags, a.backing, |r| {
            let mut title = KVec::from_elem(0u8, mapped::PATH_ROOM, GFP_KERNEL)?;
            let o = Obstacle::new(WORD, a.title(&mut title), r.reason, r.remedy);
            cx.obstacle(Obstacle { address: a.spec.start, ..o })
        })?;
    }
    if let Some(a) = areas.iter().find(|a| a.spec.end > cr_format::limits::TASK_SIZE) {
        let o = Obstacle::new(
            WORD,
            b"memory above 128 TiB",
            "the program uses addresses that only five-level page tables have",
            NEXT_RELEASE,
        );
        cx.obstacle(Obstacle { address: a.spec.start, ..o })?;
    }
    let mut files = files_of(&mut areas, &mut buf)?;
    let exe = exe(&mm, &mut files, &mut buf)?;
    shared_objects(cx, &mut areas)?;
    rings(cx, &mut areas)?;
    process_obstacles(cx, &mm, &facts, &areas)?;
    let vdso = match layout::vdso(special(&areas), facts.vdso) {
        Ok(v) => v,
        Err(r) => {
            cx.obstacle(Obstacle { address: facts.vdso, ..Obstacle::new(WORD, b"[vdso]", r.reason, r.remedy) })?;
            None
        }
    };
    let vdso_crc = match vdso {
        Some(v) => vdso_crc(cx, &mm, v)?,
        None => 0,
    };

    let record = mm_record(&facts, exe, vdso.map_or(0, |v| v.code), vdso_crc);
    // A restart refuses what no process has; should this one have it, better to hear it now.
    if let Err(what) = build::possible_bounds(&record) {
        cx.obstacle(Obstacle::new(WORD, b"layout of the process", what, ODD))?;
    }
    for a in areas.iter().filter(|a| !matches!(a.backing, Backing::Refused(_))) {
        if let Err(what) = build::possible(&a.spec) {
            let o = Obstacle::new(WORD, a.title(&mut buf), what, ODD);
            cx.obstacle(Obstacle { address: a.spec.start, ..o })?;
        }
    }
    let mut out = RecordBuf::new();
    out.push(&record)?;
    let mut id = 0u32;
    for a in areas.iter() {
        id = id.checked_add(1).ok_or(EFBIG)?;
        out.push(&VmaRecord {
            id,
            start: a.spec.start,
            end: a.spec.end,
            prot: a.spec.prot,
            flags: a.spec.flags,
            kind: a.spec.kind,
            offset: a.spec.offset,
            object: a.spec.object,
            name: &a.name,
            pkey: judge::record_pkey(a.vm_flags),
        })?;
    }
    file_records(cx, &files, &mut out)?;
    guards(&mm, &areas, &mut out)?;
    for (id, a) in (1u32..).zip(areas.iter()) {
        if let (Some(p), true) = (&a.policy, a.backing != Backing::Special) {
            out.push(&PolicyRecord { id, mode: p.mode.into(), nodes: p.nodes(), home: p.home.into() })?;
        }
    }
    transparent(&mm, &areas, &mut out)?;
    // A key can be freed while memory has it.
    if facts.pkeys & !1 != 0 || areas.iter().any(|a| a.vm_flags & vm::PKEY != 0) {
        out.push(&KeysRecord { id: 1, allocated: (facts.pkeys & !1).into(), execute_only: facts.exec_pkey.into() })?;
    }
    cx.emit_bytes(cr_format::MEMORY, out.bytes())
}

fn special(areas: &[Area]) -> impl Iterator<Item = cr_logic::memory::Spec> + '_ {
    areas.iter().filter(|a| a.backing == Backing::Special).map(|a| a.spec)
}

/// Numbers the mapped files.
fn files_of(areas: &mut KVVec<Area>, buf: &mut [u8]) -> Result<KVec<Mapped>> {
    let mut files: KVec<Mapped> = KVec::new();
    for a in areas.iter_mut().filter(|a| matches!(a.backing, Backing::File | Backing::Object)) {
        let Some(file) = &a.file else { continue };
        let write = a.spec.has(cr_format::VMA_SHARED | cr_format::VMA_MAYWRITE);
        let object = a.backing == Backing::Object;
        a.spec.object = add(&mut files, file, a.spec.start, write, object, buf)?;
    }
    Ok(files)
}

/// Adds a file if it is new; returns its record id.
fn add(files: &mut KVec<Mapped>, file: &FileRef, address: u64, write: bool, object: bool, buf: &mut [u8]) -> Result<u64> {
    let key = file.inode_key();
    let known = files.iter().position(|f| f.key == key);
    let at = match known {
        Some(at) => at,
        None => {
            let mut path = KVec::new();
            path.extend_from_slice(file.user_path(buf).unwrap_or(b""), GFP_KERNEL)?;
            files.push(Mapped { key, file: file.clone(), path, address, write: false, object }, GFP_KERNEL)?;
            files.len().saturating_sub(1)
        }
    };
    if let Some(f) = files.get_mut(at) {
        f.write |= write;
    }
    Ok((at as u64).saturating_add(1))
}

/// The executable among the mapped files, added if it is not mapped; 0 if the process has none.
fn exe(mm: &MmRef<'_>, files: &mut KVec<Mapped>, buf: &mut [u8]) -> Result<u64> {
    match mm.exe_file() {
        Some(f) => {
            let object = scan::file_backing(&f, false, false, None, buf) == Backing::Object;
            add(files, &f, 0, false, object, buf)
        }
        None => Ok(0),
    }
}

/// Emits the files; those that cannot be found again are obstacles.
fn file_records(cx: &Checkpoint<'_>, files: &[Mapped], out: &mut RecordBuf) -> Result {
    let mut id = 0u32;
    for f in files {
        id = id.checked_add(1).ok_or(EFBIG)?;
        if f.object {
            match owner(cx, f)? {
                Some(file) => out.push(&MappedObjectRecord { id, file: file.into() })?,
                None => {
                    let reason = "the mapped file has been removed, and is of a kind whose contents cannot be kept";
                    let o = Obstacle::new(WORD, &f.path, reason, "let the program unmap it before the checkpoint");
                    cx.obstacle(Obstacle { address: f.address, ..o })?;
                }
            }
            continue;
        }
        let stat = match mapped::find(&f.file, &f.path) {
            Ok(stat) if stat.mode & b::S_IFMT == b::S_IFREG => stat,
            r => {
                lost(cx, f, r)?;
                continue;
            }
        };
        out.push(&MappedFileRecord {
            id,
            path: &f.path,
            size: stat.size,
            mtime_s: stat.mtime_s,
            mtime_ns: stat.mtime_ns,
            dev: stat.dev.into(),
            ino: stat.ino,
            mode: stat.mode.into(),
            build_id: &[],
            writable: f.write.into(),
        })?;
    }
    Ok(())
}

/// The open file of section `files` that owns the contents. `files` has gone before and has numbered it; `None` if not.
fn owner(cx: &Checkpoint<'_>, f: &Mapped) -> Result<Option<u32>> {
    let (id, new) = cx.object_in(cr_format::FILES, f.key as u64)?;
    Ok((!new).then_some(id))
}

fn lost(cx: &Checkpoint<'_>, f: &Mapped, r: core::result::Result<Stat, Lost>) -> Result {
    let path: &[u8] = if f.path.is_empty() { b"a file whose path is too long" } else { &f.path };
    let o = match r {
        Ok(_) => Obstacle::new(WORD, path, "what is mapped is not a regular file", "let the program unmap it before the checkpoint"),
        Err(Lost::Other) => Obstacle::new(
            WORD,
            path,
            "the path of this mapped file leads to another file as crctl sees it",
            "run crctl in the mount namespace of the process (nsenter --mount), without anything mounted over the file",
        ),
        Err(Lost::Unreachable) => Obstacle::new(
            WORD,
            path,
            "this mapped file cannot be found by its path as crctl sees it",
            "run crctl in the mount namespace of the process (nsenter --mount), with rights to reach the file",
        ),
    };
    cx.obstacle(Obstacle { address: f.address, ..o })
}

/// Numbers the objects of shared anonymous memory; those that cannot be kept whole are obstacles.
fn shared_objects(cx: &Checkpoint<'_>, areas: &mut KVVec<Area>) -> Result {
    let mut objects: KVec<Shared> = KVec::new();
    for a in areas.iter_mut().filter(|a| a.backing == Backing::SharedAnonymous) {
        let Some(file) = &a.file else { continue };
        let key = file.inode_key();
        let known = objects.iter().position(|o| o.key == key);
        let at = match known {
            Some(at) => at,
            None => {
                let size = file.facts().size.next_multiple_of(PAGE_SIZE);
                let o = Shared { key, size, address: a.spec.start, areas: 0, references: file.count(), ranges: KVec::new() };
                objects.push(o, GFP_KERNEL)?;
                objects.len().saturating_sub(1)
            }
        };
        // The same memory has the same number in all processes.
        a.spec.object = cx.object(key as u64)?.0.into();
        let Some(o) = objects.get_mut(at) else { continue };
        o.areas = o.areas.saturating_add(1);
        let end = a.spec.offset.checked_add(a.spec.len()).ok_or(EOVERFLOW)?;
        match o.ranges.as_mut_slice().last_mut() {
            Some(r) if r.1 == a.spec.offset => r.1 = end,
            _ => o.ranges.push((a.spec.offset, end), GFP_KERNEL)?,
        }
    }
    for o in objects.iter() {
        let object = b"shared anonymous memory";
        // Each area holds one reference, and each of our own list one more.
        let own = o.areas.saturating_mul(2);
        let others = if o.references > own { elsewhere(cx, o)? } else { Elsewhere::default() };
        if o.references > own.saturating_add(others.areas) {
            let ob = Obstacle::new(
                WORD,
                object,
                "another process shares this memory, for example the parent",
                "checkpoint the tree from its root, or after the others have ended",
            );
            cx.obstacle(Obstacle { address: o.address, ..ob })?;
        }
        if layout::covers(&o.ranges, o.size) {
            // The first process that has all of it stores it.
            cx.object_in(STORED, o.key as u64)?;
        } else if !others.covers {
            let ob = Obstacle::new(
                WORD,
                object,
                "only a part of this shared memory is still mapped; the rest exists and would be lost",
                "let the program unmap all of it or none",
            );
            cx.obstacle(Obstacle { address: o.address, ..ob })?;
        }
    }
    Ok(())
}

/// What the other processes of the checkpoint have of a shared object.
#[derive(Default)]
struct Elsewhere {
    areas: i64,
    /// Has one of them all of it?
    covers: bool,
}

fn elsewhere(cx: &Checkpoint<'_>, o: &Shared) -> Result<Elsewhere> {
    let mut found = Elsewhere::default();
    for p in cx.all_processes().filter(|p| !p.is_zombie() && p.process() != cx.process()) {
        let mm = p.mm();
        let mut ranges: KVec<(u64, u64)> = KVec::new();
        let locked = mm.lock()?;
        let mut at = 0;
        while let Some(vma) = locked.find(at) {
            at = vma.end();
            if !vma.file().is_some_and(|f| f.inode_key() == o.key) {
                continue;
            }
            found.areas = found.areas.saturating_add(1);
            let end = vma.offset().saturating_add(vma.end().saturating_sub(vma.start()));
            match ranges.as_mut_slice().last_mut() {
                Some(r) if r.1 == vma.offset() => r.1 = end,
                _ => ranges.push((vma.offset(), end), GFP_KERNEL)?,
            }
        }
        found.covers |= layout::covers(&ranges, o.size);
    }
    Ok(found)
}

/// Numbers the rings, which `uring` has done before; those that it does not know are obstacles.
fn rings(cx: &Checkpoint<'_>, areas: &mut KVVec<Area>) -> Result {
    const OFFSETS: [u64; 3] = [cr_format::RING_OFFSET_SQ, cr_format::RING_OFFSET_CQ, cr_format::RING_OFFSET_SQES];
    for a in areas.iter_mut().filter(|a| a.backing == Backing::Ring) {
        let Some(file) = &a.file else { continue };
        let (number, new) = cx.object_in(uring::NUMBERS, file.as_ptr() as u64)?;
        a.spec.object = number.into();
        let (reason, remedy) = match (new, OFFSETS.contains(&a.spec.offset)) {
            (false, true) if cx.descriptor_of(file) >= 0 => continue,
            (false, true) => ("the process maps the ring, and has no descriptor of it any more", "have the process unmap it, or keep its descriptor open"),
            (true, _) => ("the ring is mapped, but it has no descriptor any more", "have the program keep its descriptor open"),
            (false, false) => ("only a part of the ring is still mapped", "have the program unmap all of it or none"),
        };
        cx.obstacle(Obstacle { address: a.spec.start, ..Obstacle::new("uring", b"io_uring", reason, remedy) })?;
    }
    Ok(())
}

/// Obstacles that are no area.
fn process_obstacles(cx: &Checkpoint<'_>, mm: &MmRef<'_>, facts: &b::crs_mm_facts, areas: &[Area]) -> Result {
    const ROOM: usize = 8;
    let mut tgids = [0i32; ROOM];
    // SAFETY: live task and mm; room for as many numbers as is said.
    let n = unsafe { b::crs_mm_sharers(cx.leader().as_ptr(), mm.as_ptr(), tgids.as_mut_ptr(), ROOM as i32) };
    for tgid in tgids.iter().take(usize::try_from(n).unwrap_or(0)) {
        let object = CString::try_from_fmt(fmt!("process {tgid}"))?;
        cx.obstacle(Obstacle::new(
            WORD,
            object.to_bytes(),
            "another process runs in the same address space (vfork, or clone with CLONE_VM)",
            "wait until it has ended or executed its program",
        ))?;
    }
    for a in areas.iter().filter(|a| a.backing == Backing::Special && a.vm_flags & vm::PKEY != 0) {
        let o = Obstacle::new(WORD, b"[vdso]", "the program has given it a memory protection key", "run the program without that");
        cx.obstacle(Obstacle { address: a.spec.start, ..o })?;
    }
    let aio_area = areas.iter().any(|a| a.file.as_ref().is_some_and(|f| f.facts().magic == judge::AIO_RING));
    if facts.aio != 0 && !aio_area {
        cx.obstacle(Obstacle::new(
            WORD,
            b"asynchronous I/O",
            "asynchronous I/O (io_setup) is in use",
            "let the program call io_destroy before the checkpoint",
        ))?;
    }
    Ok(())
}

/// CRC-32 of the vDSO code as the process has it. Code that is not this kernel's is an obstacle: the
/// restart maps the kernel's.
fn vdso_crc(cx: &Checkpoint<'_>, mm: &MmRef<'_>, v: Vdso) -> Result<u64> {
    let len = usize::try_from(v.end.saturating_sub(v.code)).map_err(|_| EFBIG)?;
    if len > 64 << 10 {
        return Err(EFBIG);
    }
    let mut code = KVec::from_elem(0u8, len, GFP_KERNEL)?;
    user::read_task(&cx.leader(), mm, v.code, &mut code)?;
    let crc = cr_format::crc::crc32(0, &code);
    // The caller's own vDSO is a clean copy to compare with, if the caller has one.
    let own = MmRef::current()?.facts()?.vdso;
    if own != 0 && user::read(own, &mut code).is_ok() && cr_format::crc::crc32(0, &code) != crc {
        cx.obstacle(Obstacle {
            address: v.code,
            ..Obstacle::new(
                WORD,
                b"[vdso]",
                "the code of the vDSO has been changed in this process",
                "run the program without what does that (a tracer, a tool that fakes time)",
            )
        })?;
    }
    Ok(crc.into())
}

fn mm_record<'a>(facts: &'a b::crs_mm_facts, exe_object: u64, vdso: u64, vdso_crc: u64) -> MmRecord<'a> {
    let flag = |bit: u32| facts.flags >> bit & 1 != 0;
    let all = facts.auxv.get(..facts.auxv_len as usize).unwrap_or(&[]);
    // Pairs, up to and with the one of type AT_NULL.
    let pairs = all.chunks_exact(2).position(|p| p.first() == Some(&0)).map_or(all.len() / 2, |i| i.saturating_add(1));
    let filter_mask = (1u64 << b::CR_MMF_DUMP_FILTER_BITS).wrapping_sub(1);
    MmRecord {
        id: 1,
        start_code: facts.start_code,
        end_code: facts.end_code,
        start_data: facts.start_data,
        end_data: facts.end_data,
        start_brk: facts.start_brk,
        brk: facts.brk,
        start_stack: facts.start_stack,
        arg_start: facts.arg_start,
        arg_end: facts.arg_end,
        env_start: facts.env_start,
        env_end: facts.env_end,
        auxv: U64s::Native(all.get(..pairs.saturating_mul(2)).unwrap_or(all)),
        vdso,
        exe_object,
        thp_disable: match (flag(b::CR_MMF_DISABLE_THP_COMPLETELY), flag(b::CR_MMF_DISABLE_THP_EXCEPT_ADVISED)) {
            (true, _) => 1,
            (false, true) => 3,
            (false, false) => 0,
        },
        coredump_filter: facts.flags >> b::CR_MMF_DUMP_FILTER_SHIFT & filter_mask,
        vdso_crc,
        lock_future: match (facts.def_flags & vm::LOCKED != 0, facts.def_flags & vm::LOCKONFAULT != 0) {
            (false, _) => 0,
            (true, false) => 1,
            (true, true) => 2,
        },
        memory_merge: flag(b::CR_MMF_VM_MERGE_ANY).into(),
    }
}

/// Emits the guard regions: only areas that may have some are looked through.
fn guards(mm: &MmRef<'_>, areas: &[Area], out: &mut RecordBuf) -> Result {
    let mut id = 0u32;
    for a in areas.iter().filter(|a| a.vm_flags & vm::MAYBE_GUARD != 0 && a.backing != Backing::Special) {
        let locked = mm.lock()?;
        let (mut at, mut start) = (a.spec.start, None);
        while at < a.spec.end {
            let (what, next) = locked.resident(at);
            match (what, start) {
                (Resident::Guard, None) => start = Some(at),
                (Resident::Guard, Some(_)) | (_, None) => {}
                (_, Some(s)) => {
                    id = id.checked_add(1).ok_or(EFBIG)?;
                    out.push(&GuardRecord { id, start: s, end: at })?;
                    start = None;
                }
            }
            at = next.min(a.spec.end);
        }
        if let Some(start) = start {
            id = id.checked_add(1).ok_or(EFBIG)?;
            out.push(&GuardRecord { id, start, end: a.spec.end })?;
        }
    }
    Ok(())
}

/// Emits the ranges in transparent huge pages.
fn transparent(mm: &MmRef<'_>, areas: &[Area], out: &mut RecordBuf) -> Result {
    let mut id = 0u32;
    let mut emit = |range: Option<(u64, u64)>| -> Result {
        let Some((start, end)) = range else { return Ok(()) };
        id = id.checked_add(1).ok_or(EFBIG)?;
        out.push(&HugeRecord { id, start, end })
    };
    for a in areas.iter().filter(|a| build::may_be_huge(&a.spec)) {
        let locked = mm.lock()?;
        let mut range: Option<(u64, u64)> = None;
        let mut at = a.spec.start.next_multiple_of(HUGE_2M);
        while at.saturating_add(HUGE_2M) <= a.spec.end {
            let behind = at.saturating_add(HUGE_2M);
            if !locked.is_huge(at) {
                let (what, next) = locked.resident(at);
                // Absent ranges are skipped by whole tables.
                at = if what == Resident::Absent { behind.max(next.next_multiple_of(HUGE_2M)) } else { behind };
                continue;
            }
            range = match range {
                Some((start, end)) if end == at => Some((start, behind)),
                other => {
                    emit(other)?;
                    Some((at, behind))
                }
            };
            at = behind;
        }
        emit(range)?;
    }
    Ok(())
}
