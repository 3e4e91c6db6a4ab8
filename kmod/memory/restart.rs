// SPDX-License-Identifier: GPL-2.0
//! Building the address space again.
//!
//! `prepare` reads the records into tables, opens and compares all mapped files and finds a hole for the
//! restart stub, in the process that called the restart: nothing has been touched yet. In `Process` the
//! leader maps the vDSO at its place, then every area with its final protection, but for those that it keeps
//! of what the fork of its parent gave it; `fill.rs` then writes through that protection. `Filled` gives the areas their advice, locks and seals, the process its
//! executable and bounds, and compares everything with the records.

use crate::{
    fill,
    mapped::{self, Held, HeldObject},
    verify, WORD,
};
use cr_format::{
    GuardRecord, HugeRecord, KeysRecord, MappedFileRecord, MappedObjectRecord, MmRecord, PolicyRecord, RingRecord, TaskRecord, VmaRecord, HUGE_2M,
};
use cr_logic::{
    memory::{
        build::{self, Source},
        holder,
        layout::{self, Vdso},
        Spec,
    },
    plan::PlanError,
};
use crkit::{
    errno_of,
    plan::Plan,
    sys::{
        file::FileRef,
        mapped::SharedAnon,
        mm::{self, MmRef, PAGE_SIZE},
        once::Once,
        wait,
    },
    At, Next, Phase, Restart, Syscall,
};
use kernel::{new_mutex, prelude::*, str::CString, sync::Mutex};

/// One shared anonymous object of the image.
pub(crate) struct Object {
    id: u64,
    size: u64,
    noreserve: bool,
    /// Does this process make it, or another one?
    is_ours: bool,
    /// Bytes of its huge pages of hugetlbfs, 0 for normal ones.
    huge: u64,
    ranges: KVec<(u64, u64)>,
    made: Once<FileRef>,
}

impl Object {
    fn id(&self) -> Result<u32> {
        u32::try_from(self.id).map_err(|_| EUCLEAN)
    }
}

/// What a restart keeps.
pub(crate) struct State {
    /// The areas, sorted.
    pub(crate) areas: KVVec<Spec>,
    /// The range that the stub and the scratch memory are in.
    pub(crate) hole: (u64, u64),
    pub(crate) vdso: Option<Vdso>,
    /// What is to be in transparent huge pages, ascending.
    pub(crate) huge: KVVec<(u64, u64)>,
    files: KVec<Held>,
    nameless: KVec<HeldObject>,
    objects: KVec<Object>,
    /// What the process keeps of the memory that it was born with: numbers of areas, ascending. Set when it begins.
    kept: Once<KVVec<usize>>,
    /// How far the page data for that has come, and what is to be dropped of it.
    pub(crate) leftovers: Pin<KBox<Mutex<Leftovers>>>,
    before: Once<Plan>,
    after: Once<Plan>,
}

/// Pages of kept memory that the process had not: they are dropped when all is filled.
#[derive(Default)]
pub(crate) struct Leftovers {
    /// Address behind the page data so far.
    pub(crate) at: u64,
    /// Ranges with pages that are not the process's.
    pub(crate) ranges: KVVec<(u64, u64)>,
}

impl State {
    /// Areas that the process keeps of what it was born with, those with addresses between two.
    pub(crate) fn kept_between(&self, from: u64, to: u64) -> impl Iterator<Item = &Spec> {
        let numbers = self.kept.get().map_or(&[][..], |k| k);
        let first = self.areas.partition_point(|a| a.end <= from);
        let skip = numbers.partition_point(|n| *n < first);
        numbers.iter().skip(skip).filter_map(|n| self.areas.get(*n)).take_while(move |a| a.start < to)
    }

    /// Is area number `n` one of them?
    fn keeps(&self, n: usize) -> bool {
        self.kept.get().is_some_and(|k| k.binary_search(&n).is_ok())
    }

    /// Is this one of them?
    pub(crate) fn is_kept(&self, a: &Spec) -> bool {
        let n = self.areas.partition_point(|other| other.start < a.start);
        self.keeps(n)
    }

    /// The file of the shared object behind an area.
    pub(crate) fn object(&self, a: &Spec) -> Option<&FileRef> {
        self.objects.iter().find(|o| o.id == a.object)?.made.get()
    }

    /// The shared objects with huge pages that this process makes.
    fn huge_objects(&self) -> impl Iterator<Item = &Object> {
        self.objects.iter().filter(|o| o.is_ours && o.huge != 0)
    }

    fn file(&self, id: u64, write: bool) -> Option<&FileRef> {
        match self.files.iter().find(|f| f.id == id) {
            Some(f) => f.get(write),
            None => self.nameless.iter().find(|f| f.id == id)?.get(write),
        }
    }
}

fn invalid(cx: &Restart<'_>, rule: &str, what: &str) -> Error {
    cx.fail(EUCLEAN, WORD, rule, what.as_bytes(), "list every defect with: crimg verify IMAGE")
}

/// The record of the address space.
fn mm_record<'a>(cx: &Restart<'a>) -> Result<MmRecord<'a>> {
    cx.records::<MmRecord<'_>>().next().unwrap_or(Err(EUCLEAN))
}

/// Checks the records, opens the files, declares the hole.
pub(crate) fn prepare(cx: &Restart<'_>) -> Result<KBox<State>> {
    let mm = mm_record(cx)?;
    build::possible_bounds(&mm).map_err(|what| invalid(cx, "", what))?;
    let mut areas = KVVec::new();
    for r in cx.records::<VmaRecord<'_>>() {
        let r = r?;
        let a = Spec::of(&r);
        build::possible(&a).map_err(|what| invalid(cx, "", what))?;
        areas.push(a, GFP_KERNEL)?;
    }
    let mut huge = KVVec::new();
    for r in cx.records::<HugeRecord>() {
        let r = r?;
        huge.push((r.start, r.end), GFP_KERNEL)?;
    }
    let specials = areas.iter().filter(|a| a.kind == cr_format::VMA_SPECIAL).copied();
    let vdso = layout::vdso(specials, mm.vdso).map_err(|_| invalid(cx, "", "the areas of the vDSO do not fit together"))?;
    if vdso.is_none() && mm.vdso != 0 {
        return Err(invalid(cx, "", "the image names a vDSO but has no area for it"));
    }

    let threads = cx.records::<TaskRecord<'_>>().count() as u64;
    let Some(hole) = layout::hole(areas.iter().copied(), layout::hole_pages(threads)) else {
        return Err(cx.fail(ENOMEM, WORD, "", b"the address space of the process leaves no hole for the restart", "this process cannot be restarted"));
    };
    cx.set_hole(hole.0, hole.1)?;

    let mut objects = KVec::new();
    for a in areas.iter().filter(|a| a.kind == cr_format::VMA_SHARED_ANON) {
        add_range(&mut objects, a).map_err(|e| match e {
            EUCLEAN => invalid(cx, "", "areas of one shared object do not fit together"),
            e => e,
        })?;
    }
    for o in objects.iter_mut() {
        let extent = |o: &Object| o.ranges.iter().map(|r| r.1).max().unwrap_or(0);
        o.size = extent(o);
        let mut covered = layout::covers(&o.ranges, o.size);
        // The first that has any of it makes it: those behind may not be born yet. The contents come with one that has all of it.
        let mut maker = cx.process();
        for p in (0..cx.process_count()).filter(|p| *p != cx.process()) {
            let mut other = KVec::new();
            for r in cr_format::records_of::<VmaRecord<'_>>(cx.section_of(p, cr_format::MEMORY)) {
                let a = Spec::of(&r.map_err(errno_of)?);
                if a.kind == cr_format::VMA_SHARED_ANON && a.object == o.id {
                    add_range(&mut other, &a)?;
                }
            }
            let Some(theirs) = other.first() else { continue };
            let size = extent(theirs);
            let covers = layout::covers(&theirs.ranges, size);
            if size > o.size {
                (o.size, covered) = (size, covers);
            } else if size == o.size {
                covered |= covers;
            }
            maker = maker.min(p);
            wait::resched()?;
        }
        if !covered {
            return Err(invalid(cx, "", "a shared anonymous object is not mapped completely"));
        }
        o.is_ours = maker == cx.process();
    }

    let mut files = KVec::new();
    for r in cx.records::<MappedFileRecord<'_>>() {
        let r = r?;
        let id = u64::from(r.id);
        let (mut read, mut write) = (id == mm.exe_object, false);
        for a in areas.iter() {
            match build::mapping(a).map(|m| m.source) {
                Some(Source::File { id: i, write: true }) if i == id => write = true,
                Some(Source::File { id: i, write: false }) if i == id => read = true,
                _ => {}
            }
        }
        files.push(mapped::hold(cx, &r, read, write)?, GFP_KERNEL)?;
        wait::resched()?;
    }
    let mut nameless = KVec::new();
    for r in cx.records::<MappedObjectRecord>() {
        nameless.push(HeldObject::new(&r?)?, GFP_KERNEL)?;
    }
    let leftovers = KBox::pin_init(new_mutex!(Leftovers::default()), GFP_KERNEL)?;
    Ok(KBox::new(State { areas, hole, vdso, huge, files, nameless, objects, kept: Once::new(), leftovers, before: Once::new(), after: Once::new() }, GFP_KERNEL)?)
}

fn add_range(objects: &mut KVec<Object>, a: &Spec) -> Result {
    let end = a.offset.checked_add(a.len()).ok_or(EUCLEAN)?;
    let noreserve = a.has(cr_format::VMA_NORESERVE);
    if let Some(o) = objects.iter_mut().find(|o| o.id == a.object) {
        if o.huge != a.huge() {
            return Err(EUCLEAN);
        }
        o.noreserve |= noreserve;
        match o.ranges.as_mut_slice().last_mut() {
            Some(r) if r.1 == a.offset => r.1 = end,
            _ => o.ranges.push((a.offset, end), GFP_KERNEL)?,
        }
        return Ok(());
    }
    let mut ranges = KVec::new();
    ranges.push((a.offset, end), GFP_KERNEL)?;
    let object = Object { id: a.object, size: 0, noreserve, is_ours: true, huge: a.huge(), ranges, made: Once::new() };
    Ok(objects.push(object, GFP_KERNEL)?)
}

/// One step of a phase.
pub(crate) fn step(cx: &Restart<'_>, st: &State, at: At) -> Result<Next> {
    match at.phase {
        Phase::Process => process(cx, st, at),
        Phase::Filled => filled(cx, st, at),
        Phase::Thread | Phase::Late => Ok(Next::Done),
    }
}

fn planned(cx: &Restart<'_>, r: core::result::Result<(), PlanError>) -> Result {
    r.map_err(|e| match e {
        PlanError::NoMemory => ENOMEM,
        PlanError::Impossible(what) => invalid(cx, "", what),
    })
}

/// Maps everything. The vDSO is first: the kernel looks for room for it, and takes the place it is told
/// only if nothing is near.
fn process(cx: &Restart<'_>, st: &State, at: At) -> Result<Next> {
    if at.step == 0 {
        st.kept.set(kept(st)?).map_err(|_| EBUSY)?;
    }
    let huge = st.huge_objects().count() as u32;
    if let Some(o) = at.step.checked_sub(1).and_then(|n| st.huge_objects().nth(n as usize)) {
        if o.made.get().is_none() {
            take_huge_object(cx, o, at.prev)?;
        }
    }
    if let Some(o) = st.huge_objects().nth(at.step as usize) {
        // Its own first mapping, which is in the way of nothing yet; the areas of the image come later.
        let (nr, args) = build::make_huge(o.size, o.huge, o.noreserve);
        return Ok(Next::Call(Syscall { nr, args }));
    }
    let at = At { step: at.step.saturating_sub(huge), ..at };
    if at.step == 0 {
        let plan = plan_before(cx, st)?;
        st.before.set(plan).map_err(|_| EBUSY)?;
    }
    let plan = st.before.get().ok_or(EINVAL)?;
    if at.step == u32::from(st.vdso.is_some()) {
        if let Some(v) = st.vdso {
            if at.prev < 0 || MmRef::current()?.facts()?.vdso != v.code {
                return Err(cx.fail(
                    ENOEXEC,
                    WORD,
                    "",
                    b"the kernel does not map its vDSO where the process had it",
                    "boot the kernel of the checkpoint, with the same parameters",
                ));
            }
        }
        // Only what was huge becomes so: see `fill`.
        mm::allow_huge(false);
        map_areas(cx, st)?;
    }
    plan.step(cx, WORD, at)
}

/// Takes the file from the mapping at `made` (or errno), which goes.
fn take_huge_object(cx: &Restart<'_>, o: &Object, made: i64) -> Result {
    let address = u64::try_from(made).map_err(|_| {
        let e = i32::try_from(made).map_or(EPROTO, Error::from_errno);
        cx.fail(e, WORD, "", b"shared huge pages cannot be had", "make more of them: vm.nr_hugepages")
    })?;
    let file = MmRef::current()?.lock()?.find(address).filter(|v| v.start() == address).and_then(|v| v.file());
    mm::unmap(address, o.size)?;
    o.made.set(file.ok_or(EPROTO)?).map_err(|_| EBUSY)
}

/// The areas that are there already: nothing is mapped yet but what the core has left from the fork of the parent.
fn kept(st: &State) -> Result<KVVec<usize>> {
    let mut kept = KVVec::new();
    let mm = MmRef::current()?;
    for (n, a) in st.areas.iter().enumerate() {
        let locked = mm.lock()?;
        let is_there = locked.find(a.start).is_some_and(|v| v.start() <= a.start && a.end <= v.end());
        drop(locked);
        if is_there {
            kept.push(n, GFP_KERNEL)?;
        }
    }
    Ok(kept)
}

fn plan_before(cx: &Restart<'_>, st: &State) -> Result<Plan> {
    let mut plan = Plan::new();
    if let Some(v) = st.vdso {
        planned(cx, build::map_vdso(v.start, &mut plan))?;
    }
    for (n, a) in st.areas.iter().enumerate() {
        if st.keeps(n) {
            continue;
        }
        planned(cx, build::map_huge(a, &mut plan))?;
        planned(cx, build::before_fill(a, &mut plan))?;
    }
    for p in cx.records::<PolicyRecord<'_>>() {
        let p = p?;
        let a = (p.id as usize).checked_sub(1).and_then(|i| st.areas.get(i)).ok_or(EUCLEAN)?;
        planned(cx, build::policy(a, &p, &mut plan))?;
    }
    Ok(plan)
}

fn map_areas(cx: &Restart<'_>, st: &State) -> Result {
    for o in st.nameless.iter() {
        let source = |a| build::mapping(a).map(|m| m.source);
        o.open(cx, st.areas.iter().any(|a| source(a) == Some(Source::File { id: o.id, write: true })))?;
    }
    // All that are ours before any of the others.
    for o in st.objects.iter().filter(|o| o.is_ours) {
        if o.huge == 0 {
            let object = SharedAnon::new(o.size, o.noreserve).map_err(|e| {
                cx.fail(e, WORD, "", b"shared anonymous memory cannot be created", "free some memory or raise vm.overcommit_ratio")
            })?;
            o.made.set(object.file().clone()).map_err(|_| EBUSY)?;
        }
        if cx.process_count() > 1 {
            cx.put_file(o.id()?, o.made.get().ok_or(EINVAL)?)?;
        }
    }
    for o in st.objects.iter().filter(|o| !o.is_ours) {
        o.made.set(cx.get_file(o.id()?)?).map_err(|_| EBUSY)?;
    }
    for (n, a) in st.areas.iter().enumerate() {
        let Some(m) = build::mapping(a).filter(|_| !st.keeps(n)) else { continue };
        let ring;
        let file = match m.source {
            Source::Anonymous => None,
            Source::File { id, write } => Some(st.file(id, write).ok_or(EINVAL)?),
            Source::Shared(_) => Some(st.object(a).ok_or(EINVAL)?),
            Source::Ring(n) => {
                ring = ring_file(cx, n)?;
                Some(&ring)
            }
        };
        let offset = if file.is_some() { a.offset } else { 0 };
        let mapped = match (m.source, file) {
            (Source::Ring(_), Some(file)) => mm::map_chosen(file, a.start, a.len(), m.prot, m.flags, offset),
            _ => mm::map_fixed(file, a.start, a.len(), m.prot, m.flags, offset),
        };
        mapped.map_err(|e| {
            let (start, end, errno) = (a.start, a.end, e.to_errno().unsigned_abs());
            match CString::try_from_fmt(fmt!("the area {start:#x}-{end:#x} cannot be mapped (errno {errno})")) {
                Ok(text) => cx.fail(e, WORD, "", text.to_bytes(), "check limits (ulimit -v, vm.max_map_count, vm.overcommit_memory) and free memory"),
                Err(_) => ENOMEM,
            }
        })?;
        wait::resched()?;
    }
    Ok(())
}

/// Ring number `n`, which `uring` has made and `files` has put at its descriptors.
fn ring_file(cx: &Restart<'_>, n: u64) -> Result<FileRef> {
    let at = usize::try_from(n).ok().and_then(|n| n.checked_sub(1)).ok_or(EUCLEAN)?;
    let record = cx.shared_records::<RingRecord>().nth(at).ok_or(EUCLEAN)??;
    FileRef::fget(cx.descriptor_of(WORD, record.file)?)
}

/// Gives the filled areas and the process everything that is not contents.
fn filled(cx: &Restart<'_>, st: &State, at: At) -> Result<Next> {
    if at.step == 0 {
        let plan = plan_after(cx, st, at)?;
        st.after.set(plan).map_err(|_| EBUSY)?;
    }
    let next = st.after.get().ok_or(EINVAL)?.step(cx, WORD, at)?;
    if matches!(next, Next::Done) {
        let mm = mm_record(cx)?;
        mm::set_coredump_filter(mm.coredump_filter as u32);
        verify::vdso(cx, st, mm.vdso_crc)?;
        verify::areas(cx, st, mm.memory_merge != 0)?;
    }
    Ok(next)
}

fn plan_after(cx: &Restart<'_>, st: &State, at: At) -> Result<Plan> {
    let mm = mm_record(cx)?;
    let mut plan = Plan::new();
    let keys = cx.records::<KeysRecord>().next().transpose()?;
    let highest = keys.as_ref().map_or(0, |k| build::highest_key(k, st.areas.iter()));
    if let Some(keys) = &keys {
        let only_executed = |a: &&Spec| a.prot == cr_format::PROT_EXEC && a.pkey == keys.execute_only;
        planned(cx, build::allocate_keys(keys, highest, st.areas.iter().find(only_executed), &mut plan))?;
    }
    for a in st.areas.iter() {
        planned(cx, build::protect(a, keys.as_ref(), &mut plan))?;
    }
    if let Some(keys) = &keys {
        planned(cx, build::free_keys(keys, highest, &mut plan))?;
    }
    // Leftovers and guards before locks: locked memory takes neither.
    fill::leftovers(st, &MmRef::current()?, u64::MAX)?;
    for &(start, end) in st.leftovers.lock().ranges.iter() {
        planned(cx, build::drop_pages(start, end, &mut plan))?;
    }
    for r in cx.records::<GuardRecord>() {
        let r = r?;
        planned(cx, build::guard(r.start, r.end, &mut plan))?;
    }
    for r in cx.records::<VmaRecord<'_>>() {
        let r = r?;
        planned(cx, build::after_fill(&Spec::of(&r), r.name, &mut plan))?;
    }
    planned(cx, build::thp_enable(&mut plan))?;
    for &(start, end) in st.huge.iter() {
        // A huge page of its own would end what the process shares with its parent.
        if holder(&st.areas, start, end).is_some_and(|a| st.is_kept(a)) {
            continue;
        }
        not_yet_huge(start, end, |from, to| planned(cx, build::collapse(from, to, &mut plan)))?;
    }
    planned(cx, build::thp_disable(mm.thp_disable, &mut plan))?;
    let exe_fd = match wanted_exe(st, &mm)? {
        Some(f) => Some(f.install(true).map_err(|e| {
            cx.fail(e, WORD, "", b"no descriptor is left for setting the executable", "raise the limit of open files (ulimit -n)")
        })?),
        None => None,
    };
    planned(cx, build::mm_map(&mm, cx.scratch(at.task).0, exe_fd, &mut plan))?;
    if let Some(fd) = exe_fd {
        planned(cx, build::close(fd, &mut plan))?;
    }
    planned(cx, build::process(&mm, &mut plan))?;
    for a in st.areas.iter() {
        planned(cx, build::seal(a, &mut plan))?;
    }
    Ok(plan)
}

/// Calls `f` for the parts of a range that the fill has not made huge: other settings than at the checkpoint, or none was to be had.
fn not_yet_huge(start: u64, end: u64, mut f: impl FnMut(u64, u64) -> Result) -> Result {
    let mm = MmRef::current()?;
    let locked = mm.lock()?;
    let (mut at, mut from) = (start, None);
    while at < end {
        match (locked.is_huge(at), from) {
            (false, None) => from = Some(at),
            (true, Some(s)) => {
                f(s, at)?;
                from = None;
            }
            _ => {}
        }
        at = at.saturating_add(HUGE_2M);
    }
    from.map_or(Ok(()), |s| f(s, end))
}

/// The executable to set; `None` to leave the one that is: the kernel refuses a change while the old one
/// is mapped, which it is when the image is of the restarting program itself.
fn wanted_exe(st: &State, mm: &MmRecord<'_>) -> Result<Option<FileRef>> {
    let Some(wanted) = st.file(mm.exe_object, false) else { return Ok(None) };
    let Some(now) = MmRef::current()?.exe_file() else { return Ok(Some(wanted.clone())) };
    if !now.is_same_file(wanted) {
        return Ok(Some(wanted.clone()));
    }
    let len = PAGE_SIZE as usize;
    let (mut a, mut b) = (KVec::from_elem(0u8, len, GFP_KERNEL)?, KVec::from_elem(0u8, len, GFP_KERNEL)?);
    let same = now.user_path(&mut a)? == wanted.user_path(&mut b)?;
    Ok((!same).then(|| wanted.clone()))
}
