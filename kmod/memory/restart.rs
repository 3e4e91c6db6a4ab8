// SPDX-License-Identifier: GPL-2.0
//! Building the address space again.
//!
//! `prepare` reads the records into tables, opens and compares all mapped files and finds a hole for the
//! restart stub, in the process that called the restart: nothing has been touched yet. In `Process` the
//! leader maps the vDSO at its place, then every area with its final protection; `fill.rs` then writes
//! through that protection. `Filled` gives the areas their advice, locks and seals, the process its
//! executable and bounds, and compares everything with the records.

use crate::{
    mapped::{self, Held},
    verify, WORD,
};
use cr_format::{GuardRecord, MappedFileRecord, MmRecord, TaskRecord, VmaRecord};
use cr_logic::{
    memory::{
        build::{self, Source},
        layout::{self, Vdso},
        Spec,
    },
    plan::PlanError,
};
use crkit::{
    plan::Plan,
    sys::{
        file::FileRef,
        mapped::SharedAnon,
        mm::{self, MmRef, PAGE_SIZE},
        once::Once,
        wait,
    },
    At, Next, Phase, Restart,
};
use kernel::{prelude::*, str::CString};

/// One shared anonymous object of the image.
pub(crate) struct Object {
    id: u64,
    size: u64,
    noreserve: bool,
    ranges: KVec<(u64, u64)>,
    made: Once<SharedAnon>,
}

/// What a restart keeps.
pub(crate) struct State {
    /// The areas, sorted.
    pub(crate) areas: KVVec<Spec>,
    /// The range that the stub and the scratch memory are in.
    pub(crate) hole: (u64, u64),
    pub(crate) vdso: Option<Vdso>,
    files: KVec<Held>,
    objects: KVec<Object>,
    before: Once<Plan>,
    after: Once<Plan>,
}

impl State {
    /// The shared object behind an area.
    pub(crate) fn object(&self, a: &Spec) -> Option<&SharedAnon> {
        self.objects.iter().find(|o| o.id == a.object)?.made.get()
    }

    fn file(&self, id: u64, write: bool) -> Option<&FileRef> {
        self.files.iter().find(|f| f.id == id)?.get(write)
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
        if r.pkey != 0 {
            return Err(cx.fail(EOPNOTSUPP, WORD, "", b"the image has memory with a protection key", "use a newer release"));
        }
        let a = Spec::of(&r);
        build::possible(&a).map_err(|what| invalid(cx, "", what))?;
        areas.push(a, GFP_KERNEL)?;
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
        add_range(&mut objects, a)?;
    }
    for o in objects.iter_mut() {
        o.size = o.ranges.iter().map(|r| r.1).max().unwrap_or(0);
        if !layout::covers(&o.ranges, o.size) {
            return Err(invalid(cx, "", "a shared anonymous object is not mapped completely"));
        }
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
    Ok(KBox::new(State { areas, hole, vdso, files, objects, before: Once::new(), after: Once::new() }, GFP_KERNEL)?)
}

fn add_range(objects: &mut KVec<Object>, a: &Spec) -> Result {
    let end = a.offset.checked_add(a.len()).ok_or(EUCLEAN)?;
    let noreserve = a.has(cr_format::VMA_NORESERVE);
    if let Some(o) = objects.iter_mut().find(|o| o.id == a.object) {
        o.noreserve |= noreserve;
        match o.ranges.as_mut_slice().last_mut() {
            Some(r) if r.1 == a.offset => r.1 = end,
            _ => o.ranges.push((a.offset, end), GFP_KERNEL)?,
        }
        return Ok(());
    }
    let mut ranges = KVec::new();
    ranges.push((a.offset, end), GFP_KERNEL)?;
    Ok(objects.push(Object { id: a.object, size: 0, noreserve, ranges, made: Once::new() }, GFP_KERNEL)?)
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
        map_areas(cx, st)?;
    }
    plan.step(cx, WORD, at)
}

fn plan_before(cx: &Restart<'_>, st: &State) -> Result<Plan> {
    let mut plan = Plan::new();
    if let Some(v) = st.vdso {
        planned(cx, build::map_vdso(v.start, &mut plan))?;
    }
    for a in st.areas.iter() {
        planned(cx, build::before_fill(a, &mut plan))?;
    }
    planned(cx, build::thp_disable(mm_record(cx)?.thp_disable, &mut plan))?;
    Ok(plan)
}

fn map_areas(cx: &Restart<'_>, st: &State) -> Result {
    for o in st.objects.iter() {
        let object = SharedAnon::new(o.size, o.noreserve).map_err(|e| {
            cx.fail(e, WORD, "", b"shared anonymous memory cannot be created", "free some memory or raise vm.overcommit_ratio")
        })?;
        o.made.set(object).map_err(|_| EBUSY)?;
    }
    for a in st.areas.iter() {
        let Some(m) = build::mapping(a) else { continue };
        let file = match m.source {
            Source::Anonymous => None,
            Source::File { id, write } => Some(st.file(id, write).ok_or(EINVAL)?),
            Source::Shared(_) => Some(st.object(a).ok_or(EINVAL)?.file()),
        };
        let offset = if file.is_some() { a.offset } else { 0 };
        mm::map_fixed(file, a.start, a.len(), m.prot, m.flags, offset).map_err(|e| {
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
    // Guards first: locked memory takes none.
    for r in cx.records::<GuardRecord>() {
        let r = r?;
        planned(cx, build::guard(r.start, r.end, &mut plan))?;
    }
    for r in cx.records::<VmaRecord<'_>>() {
        let r = r?;
        planned(cx, build::after_fill(&Spec::of(&r), r.name, &mut plan))?;
    }
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
