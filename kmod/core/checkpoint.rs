// SPDX-License-Identifier: GPL-2.0
//! Checkpoint: permission → extensions → freeze → records and obstacles → image → thaw.
//!
//! The order protects the target: modules are loaded and permission is checked before anything is
//! frozen; obstacles are collected completely before a byte is written; the end of the image is written
//! only when all threads are known to be still parked.

use crate::{
    clocks,
    device::read_array,
    freeze::{Freeze, FreezeError, Member, OwnedTask, Scope},
    landlock,
    output::Output,
    page_data::Packer,
    permission::{OwnedMm, Permission},
    registry::{self, Used},
    session::{Handle, Session, State},
};

use cr_format::{chunk::CODEC_ZSTD, sections as words};
use crkit::{
    bindings as b,
    sys::{file::FileRef, task::TaskRef, wait},
    Obstacle, RecordBuf,
};
use kernel::{
    new_mutex,
    prelude::*,
    rbtree::RBTree,
    str::CString,
    sync::Arc,
    sync::Mutex,
    time::{delay::fsleep, Delta},
};

/// How long killed processes are waited for: 5 seconds.
const DYING_STEPS: u32 = 1000;
const DYING_STEP: Delta = Delta::from_millis(5);

const KNOWN_FLAGS: u32 =
    cr_uapi::CHECKPOINT_DRY_RUN
    | cr_uapi::CHECKPOINT_KEEP_FROZEN
    | cr_uapi::CHECKPOINT_DROP_LANDLOCK
    | cr_uapi::CHECKPOINT_SINGLE
    | cr_uapi::CHECKPOINT_WITH_FILES
    | SCOPES;
const SCOPES: u32 = cr_uapi::CHECKPOINT_PGRP | cr_uapi::CHECKPOINT_SESSION;

/// One numbered object.
struct Object {
    number: u32,
    /// The process that it was found in.
    process: u32,
}

/// Records of one section and process.
pub(crate) struct SectionBuf {
    /// Section id.
    pub(crate) id: u16,
    /// Number of the process.
    pub(crate) process: u32,
    /// Encoded records.
    pub(crate) records: RecordBuf,
}

/// What changes while records are collected.
struct Collected {
    sections: KVec<SectionBuf>,
    /// By numbering and key.
    objects: RBTree<(u16, u64), Object>,
    /// How many each numbering has.
    counts: KVec<(u16, u32)>,
    used: KVec<Arc<Used>>,
    /// Processes and sections whose extension has emitted its records, or is doing so; ascending.
    called: KVVec<(u32, u16)>,
    /// Bytes of all records.
    bytes: u64,
    /// Numbers given out, by process and space.
    numbers: KVVec<((u32, u16), u32)>,
}

/// One checkpoint. Dropping it thaws the process.
#[pin_data]
pub(crate) struct CheckpointOp {
    flags: u32,
    external: KVec<u32>,
    // Order of drop: the freeze first, then what it needed.
    freeze: Freeze,
    /// Address spaces by process; none of one that has ended.
    mms: KVVec<Option<OwnedMm>>,
    /// By process: for records of its own, and for what it may share.
    handles: KVVec<(Handle, Handle)>,
    #[pin]
    collected: Mutex<Collected>,
    #[pin]
    output: Mutex<Option<Output>>,
    started_ns: i64,
}

impl CheckpointOp {
    fn member(&self, process: u32) -> Option<&Member> {
        self.freeze.members().get(process as usize)
    }
    /// Number of processes.
    pub(crate) fn processes(&self) -> u32 {
        self.freeze.members().len() as u32
    }
    /// Frozen task number `i` of a process; null behind the last. One that has ended has its leader.
    pub(crate) fn task(&self, process: u32, i: u32) -> *mut b::task_struct {
        let Some(m) = self.member(process) else { return core::ptr::null_mut() };
        if i == 0 && m.is_zombie() {
            return m.leader.as_ptr();
        }
        let threads = self.freeze.tasks().get(m.threads.clone()).unwrap_or(&[]);
        threads.get(i as usize).map_or(core::ptr::null_mut(), |t| t.task.as_ptr())
    }
    /// Number of frozen tasks of a process.
    pub(crate) fn task_count(&self, process: u32) -> u32 {
        self.member(process).map_or(0, |m| m.threads.len() as u32)
    }
    /// Its address space; null if it has ended.
    pub(crate) fn mm(&self, process: u32) -> *mut b::mm_struct {
        let mm = self.mms.get(process as usize).and_then(Option::as_ref);
        mm.map_or(core::ptr::null_mut(), |m| m.as_ref().as_ptr())
    }
    /// What extensions get as the session of a process.
    pub(crate) fn handle(&self, process: u32, shares: bool) -> *mut b::cr_session {
        let pair = self.handles.get(process as usize);
        pair.map_or(core::ptr::null_mut(), |p| if shares { p.1.as_raw() } else { p.0.as_raw() })
    }
    /// `CHECKPOINT_*`.
    pub(crate) fn flags(&self) -> u32 {
        self.flags
    }
    /// Did the user promise to connect `fd`?
    pub(crate) fn is_external(&self, fd: u32) -> bool {
        self.external.contains(&fd)
    }

    /// Appends records to a section of a process.
    ///
    /// # Errors
    /// `EINVAL` when the records are in the image already: an extension that emits in `bulk` would lose them.
    pub(crate) fn emit(&self, process: u32, section: u16, bytes: &[u8]) -> Result {
        if self.output.lock().is_some() {
            return Err(EINVAL);
        }
        let mut c = self.collected.lock();
        c.bytes = c.bytes.saturating_add(bytes.len() as u64);
        if c.bytes > cr_format::limits::META_TOTAL {
            return Err(EFBIG);
        }
        // Sections are written in ascending order of their ids, and within those of the processes.
        let key = |s: &SectionBuf| (s.id, s.process);
        let at = c.sections.partition_point(|s| key(s) < (section, process));
        if c.sections.get(at).is_none_or(|s| key(s) != (section, process)) {
            c.sections.push(SectionBuf { id: section, process, records: RecordBuf::new() }, GFP_KERNEL)?;
            if let Some(tail) = c.sections.as_mut_slice().get_mut(at..) {
                tail.rotate_right(1);
            }
        }
        c.sections.get_mut(at).ok_or(EINVAL)?.records.extend(bytes)
    }

    /// Numbers an object; true when new.
    pub(crate) fn object(&self, process: u32, section: u16, key: u64) -> Result<(u32, bool)> {
        let mut c = self.collected.lock();
        if let Some(o) = c.objects.get(&(section, key)) {
            return Ok((o.number, false));
        }
        let at = match c.counts.iter().position(|n| n.0 == section) {
            Some(at) => at,
            None => {
                c.counts.push((section, 0), GFP_KERNEL)?;
                c.counts.len().saturating_sub(1)
            }
        };
        let number = c.counts.get(at).and_then(|n| n.1.checked_add(1)).ok_or(EOVERFLOW)?;
        c.objects.try_create_and_insert((section, key), Object { number, process }, GFP_KERNEL)?;
        if let Some(n) = c.counts.get_mut(at) {
            n.1 = number;
        }
        Ok((number, true))
    }

    /// The next number, from 1, of a process in a numbering of its own.
    pub(crate) fn number(&self, process: u32, space: u16) -> Result<u32> {
        let mut c = self.collected.lock();
        let key = (process, space);
        match c.numbers.iter_mut().rev().find(|n| n.0 == key) {
            Some(n) => {
                n.1 = n.1.checked_add(1).ok_or(EOVERFLOW)?;
                Ok(n.1)
            }
            None => {
                c.numbers.push((key, 1), GFP_KERNEL)?;
                Ok(1)
            }
        }
    }

    /// The process that a numbered object was found in first.
    pub(crate) fn process_of(&self, section: u16, key: u64) -> Option<u32> {
        let c = self.collected.lock();
        c.objects.get(&(section, key)).map(|o| o.process)
    }

    /// The pinned extension of a section, if it takes part.
    fn used(&self, section: u16) -> Option<Arc<Used>> {
        self.collected.lock().used.iter().find(|u| u.ops().section == section).cloned()
    }

    fn add_used(&self, u: Used) -> Result<u16> {
        let section = u.ops().section;
        if self.used(section).is_none() {
            let u = Arc::new(u, GFP_KERNEL)?;
            self.collected.lock().used.push(u, GFP_KERNEL)?;
        }
        Ok(section)
    }

    /// Finds the extension that keeps a file.
    ///
    /// # Safety
    /// `file` is live.
    pub(crate) unsafe fn claim(&self, file: *mut b::file, kind: &[u8]) -> Result<Option<u16>> {
        // SAFETY: by the caller's promise.
        match unsafe { registry::claim(file, kind) } {
            Some(u) => self.add_used(u).map(Some),
            None => Ok(None),
        }
    }

    /// Lets the extension with this word take part, from now on and with its own records.
    pub(crate) fn require(&self, s: &Session, process: u32, word: &[u8]) -> Result<Option<u16>> {
        let Some(u) = registry::get_or_load(word) else { return Ok(None) };
        let section = self.add_used(u)?;
        let u = self.used(section).ok_or(EINVAL)?;
        self.call(s, process, &u)?;
        Ok(Some(section))
    }

    /// Calls `checkpoint` of an extension, once for each process.
    fn call(&self, s: &Session, process: u32, u: &Used) -> Result {
        let key = (process, u.ops().section);
        {
            let mut c = self.collected.lock();
            let Err(at) = c.called.binary_search(&key) else { return Ok(()) };
            c.called.push(key, GFP_KERNEL)?;
            if let Some(tail) = c.called.as_mut_slice().get_mut(at..) {
                tail.rotate_right(1);
            }
        }
        let f = u.ops().checkpoint.ok_or(EINVAL)?;
        // SAFETY: live session, in the state the ABI promises.
        registry::status(unsafe { f(self.handle(process, false)) })
            .map_err(|e| s.fail(e, u.word_str(), b"the state of the process cannot be read", "see the messages above"))
    }

    /// Lets the extension of `section` emit its records of a file.
    ///
    /// # Safety
    /// `file` is live.
    pub(crate) unsafe fn checkpoint_file(&self, process: u32, section: u16, file: *mut b::file, id: u32) -> Result {
        let u = self.used(section).ok_or(EINVAL)?;
        let f = u.ops().checkpoint_file.ok_or(EINVAL)?;
        // SAFETY: live session and file.
        registry::status(unsafe { f(self.handle(process, true), file, id) })
    }

    /// Writes one PAGE chunk.
    ///
    /// # Safety
    /// `pages` are `n` referenced pages.
    pub(crate) unsafe fn bulk_write(
        &self,
        section: u16,
        owner: u32,
        runs: &[b::cr_run],
        pages: *const *mut b::page,
        n: u32,
    ) -> Result {
        // SAFETY: no requirements.
        if unsafe { b::crs_signal_pending_current() } != 0 {
            return Err(EINTR);
        }
        // Taken out, so that no lock is held while it compresses and writes.
        let mut out = self.output.lock().take().ok_or(EINVAL)?;
        // SAFETY: by the caller's promise.
        let r = unsafe { out.page_chunk(section, owner, runs, pages, n) };
        *self.output.lock() = Some(out);
        r
    }

    fn frozen_ns(&self) -> u64 {
        clocks::monotonic().saturating_sub(self.started_ns) as u64
    }
}

/// `CHECKPOINT`.
pub(crate) fn checkpoint(s: &Arc<Session>, arg: &mut cr_uapi::Checkpoint) -> Result {
    if arg.flags & !KNOWN_FLAGS != 0 {
        return Err(EINVAL);
    }
    let scopes = (arg.flags & (SCOPES | cr_uapi::CHECKPOINT_SINGLE)).count_ones();
    if scopes > 1 || (arg.flags & SCOPES != 0) != (arg.scope != 0) {
        return Err(EINVAL);
    }
    s.go(State::Idle, State::Checkpointing)?;
    let begin = clocks::monotonic();
    let r = run(s, arg);
    let keep = r.is_ok() && arg.flags & cr_uapi::CHECKPOINT_KEEP_FROZEN != 0 && arg.flags & cr_uapi::CHECKPOINT_DRY_RUN == 0;
    if !keep {
        let op = s.checkpoint.lock().take();
        if let (Some(op), Ok(())) = (&op, r) {
            arg.frozen_ns = op.frozen_ns();
        }
        // Thaws.
        drop(op);
    }
    arg.obstacles = s.report.obstacles();
    arg.total_ns = clocks::monotonic().saturating_sub(begin) as u64;
    s.set(if keep { State::Frozen } else { State::Done });
    r
}

fn run(s: &Arc<Session>, arg: &mut cr_uapi::Checkpoint) -> Result {
    let dry = arg.flags & cr_uapi::CHECKPOINT_DRY_RUN != 0;
    let raw = read_array(arg.external, arg.external_count, 4)?;
    let mut external = KVec::new();
    for e in raw.chunks_exact(4) {
        external.push(e.first_chunk::<4>().map_or(0, |x| u32::from_ne_bytes(*x)), GFP_KERNEL)?;
    }
    let file = match dry {
        true => None,
        false => Some(FileRef::fget(u32::try_from(arg.out_fd).map_err(|_| EBADF)?)?),
    };
    let leader = OwnedTask::leader_of(arg.pid).map_err(|e| match e {
        EINVAL => s.fail(EINVAL, "core", b"this is the id of a thread, not of a process", "give the process id (Tgid in /proc/ID/status)"),
        e => s.fail(e, "core", b"there is no such process", "check the process id"),
    })?;
    if leader.as_ptr() == OwnedTask::current().as_ptr() {
        return Err(s.fail(EINVAL, "core", b"a process cannot checkpoint itself through this call", "run crctl from another process"));
    }
    if leader.is_kernel_thread() {
        return Err(s.fail(EINVAL, "core", b"this is a kernel thread", "only processes of user space can be checkpointed"));
    }
    let permission = Permission::check(&leader).map_err(|e| match e {
        ESRCH => s.fail(ESRCH, "core", b"the process has ended", ""),
        ENXIO => s.fail(ENXIO, "core", b"/proc is not the proc file system", "mount it"),
        _ => s.fail(EPERM, "core", b"you may not attach to this process", "run as its owner or as root; see kernel.yama.ptrace_scope"),
    })?;

    // Extensions that every process needs, loaded before the freeze.
    let mut missing = false;
    for w in cr_logic::base::WORDS {
        if registry::get_or_load(w.as_bytes()).is_none() {
            missing = true;
            report_missing(s, arg.pid, w)?;
        }
    }
    if missing {
        return Err(s.fail(ENOPKG, "core", b"extension modules that every process needs are missing", "install the modules (see README), then: crctl load --all"));
    }
    let mut used = KVec::new();
    for u in registry::all()? {
        used.push(Arc::new(u, GFP_KERNEL)?, GFP_KERNEL)?;
    }

    let packer = match arg.zstd_level {
        0 => None,
        _ if dry => None,
        level => Some(Packer::new(CODEC_ZSTD, level).map_err(|e| match e {
            ENOPKG => s.fail(ENOPKG, "core", b"compression needs the module cr_zstd", "install the module where modprobe finds it (see README), or do without compression"),
            EINVAL => s.fail(EINVAL, "core", b"the module cr_zstd has no such compression level", "levels are 1 to 19"),
            e => s.fail(e, "core", b"there is no memory for compression at this level", "choose a lower level, or do without compression"),
        })?),
    };

    let started_ns = clocks::monotonic();
    let scope = match arg.flags & (SCOPES | cr_uapi::CHECKPOINT_SINGLE) {
        0 => Scope::Tree,
        cr_uapi::CHECKPOINT_SINGLE => Scope::Single,
        flag => Scope::Group { session: flag == cr_uapi::CHECKPOINT_SESSION, id: arg.scope },
    };
    if let Scope::Group { session, id } = scope {
        if OwnedTask::current().scope(session) == id {
            return Err(s.fail(EINVAL, "core", b"the caller itself is in this process group or session", "run crctl in a session of its own: setsid crctl ..."));
        }
        if leader.scope(session) != id {
            return Err(s.fail(ESRCH, "core", b"the process has left the process group or session", "try again"));
        }
    }
    let freeze = match Freeze::new(&leader, scope) {
        Ok(f) => f,
        Err(FreezeError::Vfork { pid }) => {
            let o = Obstacle::new(
                "tasks",
                b"vfork in progress",
                "the process runs in the memory of its parent, which waits for it to execute a program or to end",
                "try again when it has done so",
            );
            return refuse(s, arg, dry, &o, pid);
        }
        Err(FreezeError::Traced { pid, tid }) => {
            let o = Obstacle {
                tid,
                ..Obstacle::new(
                    "ptrace",
                    b"debugger",
                    "the thread is traced, and its tracer would lose it",
                    "detach the debugger (or strace) first",
                )
            };
            return refuse(s, arg, dry, &o, pid);
        }
        Err(e) => return Err(explain_freeze(s, e)),
    };
    let mms = address_spaces(s, &freeze, permission)?;
    let mut handles = KVVec::with_capacity(freeze.members().len(), GFP_KERNEL)?;
    for p in 0..freeze.members().len() as u32 {
        handles.push((Handle::new(s, p), Handle::sharing(s, p)), GFP_KERNEL)?;
    }
    let flags = arg.flags;
    let op = Arc::pin_init(
        pin_init!(CheckpointOp {
            flags,
            external,
            freeze,
            mms,
            handles,
            collected <- new_mutex!(Collected { sections: KVec::new(), objects: RBTree::new(), counts: KVec::new(), used, called: KVVec::new(), bytes: 0, numbers: KVVec::new() }),
            output <- new_mutex!(None),
            started_ns,
        }),
        GFP_KERNEL,
    )?;
    let op: Arc<CheckpointOp> = op.into();
    *s.checkpoint.lock() = Some(op.clone());
    arg.threads = op.freeze.tasks().len() as u32;
    arg.processes = op.processes();

    let r = scope_obstacles(s, &op, arg.scope).and_then(|()| landlock_obstacles(s, &op)).and_then(|()| collect(s, &op));
    unless_killed(s, &op, r)?;
    arg.obstacles = s.report.obstacles();
    if arg.obstacles > 0 {
        return if dry { Ok(()) } else { Err(EOPNOTSUPP) };
    }
    let Some(file) = file else { return Ok(()) };
    let r = write_image(s, &op, file, packer, arg);
    *op.output.lock() = None;
    unless_killed(s, &op, r)
}

/// Puts the true cause in place of an error that only follows from the death of the process.
fn unless_killed(s: &Session, op: &CheckpointOp, r: Result) -> Result {
    match r {
        Err(e) if e != EINTR && e != ESRCH && e != EAGAIN && !op.freeze.intact() => {
            Err(no_longer_frozen(s, op))
        }
        r => r,
    }
}

/// Why the threads are no longer where they were.
fn no_longer_frozen(s: &Session, op: &CheckpointOp) -> Error {
    match op.freeze.was_killed() {
        true => s.fail(ESRCH, "core", b"the process was killed during the checkpoint", ""),
        false => s.fail(EAGAIN, "core", b"the process was stopped, and was continued (SIGCONT) during the checkpoint", "try again"),
    }
}

/// Ends with one obstacle that is known before the process could be frozen.
fn refuse(s: &Session, arg: &mut cr_uapi::Checkpoint, dry: bool, o: &Obstacle<'_>, pid: u32) -> Result {
    push_obstacle(s, pid, o)?;
    arg.obstacles = s.report.obstacles();
    if dry { Ok(()) } else { Err(EOPNOTSUPP) }
}

/// The address spaces of all processes. Whoever may attach to the first may not to the others for that: asked for each.
fn address_spaces(s: &Session, freeze: &Freeze, first: Permission) -> Result<KVVec<Option<OwnedMm>>> {
    let mut mms = KVVec::with_capacity(freeze.members().len(), GFP_KERNEL)?;
    let mut first = Some(first);
    for m in freeze.members() {
        if m.is_zombie() {
            mms.push(None, GFP_KERNEL)?;
            continue;
        }
        let pid = m.leader.as_ref().tgid_vnr();
        let about = |e: Error, what: &str, remedy: &str| match CString::try_from_fmt(fmt!("process {pid}: {what}")) {
            Ok(text) => s.fail(e, "core", text.to_bytes(), remedy),
            Err(_) => ENOMEM,
        };
        let permission = match first.take() {
            Some(p) => p,
            None => Permission::check(&m.leader).map_err(|e| match e {
                ESRCH => about(e, "it was killed meanwhile", "try again"),
                _ => about(EPERM, "you may not attach to this descendant", "run as root, or checkpoint without descendants: --single"),
            })?,
        };
        let thread = freeze.tasks().get(m.threads.start).ok_or(ESRCH)?;
        let mm = OwnedMm::of(&thread.task, &permission)
            .map_err(|e| about(e, "it ended or executed another program meanwhile", "try again"))?;
        mms.push(Some(mm), GFP_KERNEL)?;
    }
    Ok(mms)
}

/// Obstacles of a checkpoint that is to be all of a process group or session: descendants of its members outside of it.
fn scope_obstacles(s: &Session, op: &CheckpointOp, id: u32) -> Result {
    let session = match op.flags & SCOPES {
        0 => return Ok(()),
        flag => flag == cr_uapi::CHECKPOINT_SESSION,
    };
    for m in op.freeze.members().iter().filter(|m| m.leader.scope(session) != id) {
        let o = Obstacle::new(
            "tasks",
            if session { b"process outside of the session" } else { b"process outside of the process group" },
            "it is a descendant of a process of the group or session to checkpoint, but has left that",
            "checkpoint the process with all its descendants, by its pid, or end this one",
        );
        push_obstacle(s, m.leader.as_ref().tgid_vnr(), &o)?;
    }
    Ok(())
}

/// Calls `checkpoint` of every extension for every process, also of those that are loaded on the way.
fn collect(s: &Arc<Session>, op: &CheckpointOp) -> Result {
    for (process, m) in op.freeze.members().iter().enumerate() {
        if m.is_zombie() {
            continue;
        }
        let mut done = 0usize;
        loop {
            let next = op.collected.lock().used.get(done).cloned();
            let Some(u) = next else { break };
            done = done.saturating_add(1);
            op.call(s, process as u32, &u)?;
            // SAFETY: no requirements.
            if unsafe { b::crs_signal_pending_current() } != 0 {
                return Err(EINTR);
            }
        }
    }
    Ok(())
}

fn write_image(
    s: &Arc<Session>,
    op: &CheckpointOp,
    file: FileRef,
    packer: Option<Packer>,
    arg: &mut cr_uapi::Checkpoint,
) -> Result {
    image_section(op)?;
    let mut out = Output::new(file, packer, op.processes() > 1)?;
    let io = |e: Error| match e {
        EINTR => EINTR,
        // No file operation that works on kernel memory: /dev/full and the like.
        EINVAL => s.fail(EIO, "core", b"the image cannot be written: the kernel cannot write into this kind of file", "write into a file, a pipe or a socket"),
        ENOSPC => s.fail(ENOSPC, "core", b"the image cannot be written: no space left", "free some space or write elsewhere"),
        e => s.fail(e, "core", b"the image cannot be written", "check the output file"),
    };
    out.start().map_err(io)?;
    // Taken out, so that no lock is held while they are written.
    let sections = core::mem::take(&mut op.collected.lock().sections);
    for section in sections.iter() {
        out.meta(section.process, section.id, section.records.bytes()).map_err(io)?;
    }
    drop(sections);
    out.pad().map_err(io)?;
    *op.output.lock() = Some(out);
    let n = op.collected.lock().used.len();
    // Page data comes in the order of the section ids.
    let mut last = 0u16;
    for _ in 0..n {
        let next = op.collected.lock().used.iter().filter(|u| u.ops().section > last).min_by_key(|u| u.ops().section).cloned();
        let Some(u) = next else { break };
        last = u.ops().section;
        let f = u.ops().bulk.ok_or(EINVAL)?;
        for (process, m) in op.freeze.members().iter().enumerate() {
            if !m.is_zombie() {
                // SAFETY: live session, in the state the ABI promises.
                registry::status(unsafe { f(op.handle(process as u32, false)) }).map_err(io)?;
            }
        }
    }
    let mut out = op.output.lock().take().ok_or(EINVAL)?;
    let stats = cr_format::StatsRecord {
        id: 1,
        frozen_ns: op.frozen_ns(),
        pages: out.pages(),
        zero_pages: out.zero_pages(),
        page_bytes: out.pages().saturating_mul(4096),
    };
    let mut buf = RecordBuf::new();
    buf.push(&stats)?;
    out.meta(0, words::STATS, buf.bytes()).map_err(io)?;
    // The end makes the image valid: not before we know that nobody has run.
    if !op.freeze.intact() {
        return Err(no_longer_frozen(s, op));
    }
    out.end().map_err(io)?;
    arg.image_bytes = out.bytes();
    arg.pages = out.pages();
    arg.stored_bytes = out.stored_bytes();
    Ok(())
}

/// The sections that the core itself writes: `image` and `schema`.
fn image_section(op: &CheckpointOp) -> Result {
    let now = clocks::Clocks::now();
    let offsets = clocks::offsets_of(op.task(0, 0))?;
    let boot_id = clocks::boot_id()?;
    // SAFETY: static strings of init_utsname; the host name of the caller may change under us, which
    // gives a mixture at worst, always terminated.
    let text = |p: *const u8| unsafe { core::ffi::CStr::from_ptr(p.cast()) }.to_bytes();
    let xsave = TaskRef::current().regset_size(crkit::sys::task::NT_X86_XSTATE);
    let mut buf = RecordBuf::new();
    // SAFETY: no requirements for the shims.
    let (release, version, machine, host, xfeatures) = unsafe {
        (b::crs_kernel_release(), b::crs_kernel_version(), b::crs_kernel_machine(), b::crs_hostname(), b::crs_xfeatures_user())
    };
    buf.push(&cr_format::ImageRecord {
        id: 1,
        created_ns: now.realtime as u64,
        kernel_release: text(release.cast()),
        kernel_version: text(version.cast()),
        machine: text(machine.cast()),
        hostname: text(host.cast()),
        page_size: 4096,
        boot_id: &boot_id,
        monotonic_ns: now.monotonic.saturating_add(offsets.monotonic),
        boottime_ns: now.boottime.saturating_add(offsets.boottime),
        timens_monotonic_ns: offsets.monotonic,
        timens_boottime_ns: offsets.boottime,
        xfeatures,
        xsave_size: xsave as u64,
        writer: concat!("cr_core ", env!("CRKIT_VERSION")).as_bytes(),
        in_timens: u64::from(offsets != clocks::Offsets::default()),
    })?;
    // One declaration per section that has records, in ascending order.
    let mut schema = RecordBuf::new();
    {
        let c = op.collected.lock();
        let mut last = 0u16;
        for section in c.sections.iter() {
            // Those of the other processes follow the first.
            if core::mem::replace(&mut last, section.id) == section.id {
                continue;
            }
            let Some(u) = c.used.iter().find(|u| u.ops().section == section.id) else { continue };
            buf.push(&cr_format::SectionRecord {
                id: section.id.into(),
                word: u.word(),
                critical: 1,
                module: u.module(),
                version: 1,
            })?;
            schema.extend(u.schema())?;
        }
    }
    op.emit(0, words::IMAGE, buf.bytes())?;
    cr_format::sections::write_schema(&mut schema).map_err(crkit::errno_of)?;
    op.emit(0, words::SCHEMA, schema.bytes())
}

fn report_missing(s: &Session, pid: i32, word: &str) -> Result {
    let reason = CString::try_from_fmt(fmt!("the extension module cr_{word} is not loaded and modprobe does not find it"))?;
    let object = CString::try_from_fmt(fmt!("cr_{word}"))?;
    let text = core::str::from_utf8(reason.to_bytes()).unwrap_or("the extension module is missing");
    push_obstacle(s, pid as u32, &Obstacle::new("core", object.to_bytes(), text, "install the module (see README)"))
}

fn push_obstacle(s: &Session, pid: u32, o: &Obstacle<'_>) -> Result {
    let mut buf = RecordBuf::new();
    buf.push(&cr_format::ObstacleRecord {
        id: 0,
        word: o.word.as_bytes(),
        pid: pid.into(),
        tid: o.tid.into(),
        fd: o.fd,
        address: o.address,
        object: o.object,
        reason: o.reason.as_bytes(),
        remedy: o.remedy.as_bytes(),
    })?;
    s.report.push(true, buf.bytes())
}

/// Nobody can tell whether a process has a Landlock domain as long as it is not known where it would be. Where it is, the
/// extension `landlock` keeps it; `tasks` asks for that.
fn landlock_obstacles(s: &Session, op: &CheckpointOp) -> Result {
    if op.flags & cr_uapi::CHECKPOINT_DROP_LANDLOCK != 0 || landlock::slot() != landlock::Slot::Unknown {
        return Ok(());
    }
    let Some(t) = op.freeze.tasks().first() else { return Ok(()) };
    let (pid, tid) = (t.task.as_ref().tgid_vnr(), t.task.as_ref().pid_vnr());
    let reason = "it is not known whether the process has restricted itself: the kernel has not been probed";
    let remedy = "use crctl, which probes it, or --drop landlock";
    // One line is enough: it is about the kernel.
    push_obstacle(s, pid, &Obstacle { tid, ..Obstacle::new("landlock", b"Landlock", reason, remedy) })
}

fn explain_freeze(s: &Session, e: FreezeError) -> Error {
    let text = |t: core::result::Result<CString, Error>| t.map_or_else(|_| KVec::new(), |c| {
        let mut v = KVec::new();
        let _ = v.extend_from_slice(c.to_bytes(), GFP_KERNEL);
        v
    });
    match e {
        FreezeError::Errno(EINTR) => EINTR,
        FreezeError::Errno(EAGAIN) => s.fail(EAGAIN, "core", b"the process is stopped and continued, or makes threads, all the time", "try again"),
        FreezeError::Errno(ESRCH) => s.fail(ESRCH, "core", b"the process ended before it could be frozen", ""),
        FreezeError::Errno(e) => s.fail(e, "core", b"the process cannot be frozen", ""),
        FreezeError::Stuck { tid, comm, state } => {
            let name = core::str::from_utf8(&comm).unwrap_or("?");
            let name = name.split('\0').next().unwrap_or("?");
            let m = text(CString::try_from_fmt(fmt!(
                "thread {tid} ({name}) does not reach the user boundary: kernel state {state:#x}, waiting for a device, a vfork child or a frozen group"
            )));
            s.fail(EBUSY, "core", &m, "try again when it has finished waiting")
        }
        FreezeError::Claimed { pid } => {
            let m = text(CString::try_from_fmt(fmt!("another checkpoint of process {pid} is under way")));
            s.fail(EBUSY, "core", &m, "try again when it has finished")
        }
        FreezeError::TooMany => s.fail(EFBIG, "core", b"the process has more descendants than an image can have", "checkpoint parts of the tree, or without descendants: --single"),
        FreezeError::Vfork { pid } => {
            let m = text(CString::try_from_fmt(fmt!("process {pid} is between vfork and the execution of its program")));
            s.fail(EBUSY, "core", &m, "try again")
        }
        FreezeError::Traced { tid, .. } => {
            let m = text(CString::try_from_fmt(fmt!("thread {tid} is traced by a debugger")));
            s.fail(EBUSY, "core", &m, "detach the debugger first")
        }
    }
}

/// `FINISH`.
pub(crate) fn finish(s: &Arc<Session>, arg: &mut cr_uapi::Finish) -> Result {
    if arg.action > cr_uapi::FINISH_STOP {
        return Err(EINVAL);
    }
    s.go(State::Frozen, State::Done)?;
    let op = s.checkpoint.lock().take().ok_or(EINVAL)?;
    arg.frozen_ns = op.frozen_ns();
    let mut killed: KVVec<OwnedTask> = KVVec::new();
    for m in op.freeze.members() {
        if arg.action == cr_uapi::FINISH_KILL {
            // Without memory for the list nobody waits: they die all the same.
            let _ = killed.push(m.leader.again(), GFP_KERNEL);
        }
        match arg.action {
            // Parked threads die at once, without having run.
            cr_uapi::FINISH_KILL => m.leader.kill(),
            // Pending before the thaw, so it acts before the first user instruction.
            cr_uapi::FINISH_STOP => m.leader.signal(b::SIGSTOP),
            _ => {}
        }
    }
    drop(op);
    // Their ids are free for a restart only when they are gone.
    for _ in 0..DYING_STEPS {
        if killed.iter().all(OwnedTask::is_over) || wait::resched().is_err() {
            break;
        }
        fsleep(DYING_STEP);
    }
    Ok(())
}
