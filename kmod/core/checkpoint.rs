// SPDX-License-Identifier: GPL-2.0
//! Checkpoint: permission → extensions → freeze → records and obstacles → image → thaw.
//!
//! The order protects the target: modules are loaded and permission is checked before anything is
//! frozen; obstacles are collected completely before a byte is written; the end of the image is written
//! only when all threads are known to be still parked.

use crate::{
    clocks,
    device::read_array,
    freeze::{Freeze, FreezeError, OwnedTask},
    landlock,
    output::Output,
    page_data::Packer,
    permission::{OwnedMm, Permission},
    registry::{self, Used},
    session::{Session, State},
};

use cr_format::{chunk::CODEC_ZSTD, sections as words};
use crkit::{
    bindings as b,
    sys::{file::FileRef, task::TaskRef},
    Obstacle, RecordBuf,
};
use kernel::{new_mutex, prelude::*, str::CString, sync::Arc, sync::Mutex};

const KNOWN_FLAGS: u32 =
    cr_uapi::CHECKPOINT_DRY_RUN | cr_uapi::CHECKPOINT_KEEP_FROZEN | cr_uapi::CHECKPOINT_DROP_LANDLOCK;

/// One numbered object.
struct Object {
    section: u16,
    key: u64,
}

/// Records of one section.
pub(crate) struct SectionBuf {
    /// Section id.
    pub(crate) id: u16,
    /// Encoded records.
    pub(crate) records: RecordBuf,
}

/// What changes while records are collected.
struct Collected {
    sections: KVec<SectionBuf>,
    objects: KVVec<Object>,
    used: KVec<Arc<Used>>,
    /// Sections whose extension has emitted its records, or is doing so.
    called: KVec<u16>,
}

/// One checkpoint. Dropping it thaws the process.
#[pin_data]
pub(crate) struct CheckpointOp {
    flags: u32,
    external: KVec<u32>,
    // Order of drop: the freeze first, then what it needed.
    freeze: Freeze,
    mm: OwnedMm,
    leader: OwnedTask,
    #[pin]
    collected: Mutex<Collected>,
    #[pin]
    output: Mutex<Option<Output>>,
    started_ns: i64,
}

impl CheckpointOp {
    /// Frozen task number `i`; null behind the last.
    pub(crate) fn task(&self, i: u32) -> *mut b::task_struct {
        self.freeze.tasks().get(i as usize).map_or(core::ptr::null_mut(), |t| t.task.as_ptr())
    }
    /// Number of frozen tasks.
    pub(crate) fn task_count(&self) -> u32 {
        self.freeze.tasks().len() as u32
    }
    /// The address space.
    pub(crate) fn mm(&self) -> *mut b::mm_struct {
        self.mm.as_ref().as_ptr()
    }
    /// `CHECKPOINT_*`.
    pub(crate) fn flags(&self) -> u32 {
        self.flags
    }
    /// Did the user promise to connect `fd`?
    pub(crate) fn is_external(&self, fd: u32) -> bool {
        self.external.contains(&fd)
    }

    /// Appends records to a section.
    pub(crate) fn emit(&self, section: u16, bytes: &[u8]) -> Result {
        let mut c = self.collected.lock();
        let total: usize = c.sections.iter().map(|s| s.records.bytes().len()).sum();
        if total.saturating_add(bytes.len()) as u64 > cr_format::limits::META_TOTAL {
            return Err(EFBIG);
        }
        let at = match c.sections.iter().position(|s| s.id >= section) {
            Some(i) if c.sections.get(i).is_some_and(|s| s.id == section) => i,
            other => {
                // Sections are written in ascending order of their ids.
                let at = other.unwrap_or(c.sections.len());
                c.sections.push(SectionBuf { id: section, records: RecordBuf::new() }, GFP_KERNEL)?;
                if let Some(tail) = c.sections.as_mut_slice().get_mut(at..) {
                    tail.rotate_right(1);
                }
                at
            }
        };
        c.sections.get_mut(at).ok_or(EINVAL)?.records.extend(bytes)
    }

    /// Numbers an object; true when new.
    pub(crate) fn object(&self, section: u16, key: u64) -> Result<(u32, bool)> {
        let mut c = self.collected.lock();
        let mut n = 0u32;
        for o in c.objects.iter().filter(|o| o.section == section) {
            n = n.checked_add(1).ok_or(EOVERFLOW)?;
            if o.key == key {
                return Ok((n, false));
            }
        }
        c.objects.push(Object { section, key }, GFP_KERNEL)?;
        Ok((n.checked_add(1).ok_or(EOVERFLOW)?, true))
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
    pub(crate) fn require(&self, s: &Session, word: &[u8]) -> Result<Option<u16>> {
        let Some(u) = registry::get_or_load(word) else { return Ok(None) };
        let section = self.add_used(u)?;
        let u = self.used(section).ok_or(EINVAL)?;
        self.call(s, &u)?;
        Ok(Some(section))
    }

    /// Calls `checkpoint` of an extension, once.
    fn call(&self, s: &Session, u: &Used) -> Result {
        let section = u.ops().section;
        {
            let mut c = self.collected.lock();
            if c.called.contains(&section) {
                return Ok(());
            }
            c.called.push(section, GFP_KERNEL)?;
        }
        let f = u.ops().checkpoint.ok_or(EINVAL)?;
        // SAFETY: live session, in the state the ABI promises.
        registry::status(unsafe { f(s.as_raw()) })
            .map_err(|e| s.fail(e, u.word_str(), b"the state of the process cannot be read", "see the messages above"))
    }

    /// Lets the extension of `section` emit its records of a file.
    ///
    /// # Safety
    /// `file` is live.
    pub(crate) unsafe fn checkpoint_file(&self, s: &Session, section: u16, file: *mut b::file, id: u32) -> Result {
        let u = self.used(section).ok_or(EINVAL)?;
        let f = u.ops().checkpoint_file.ok_or(EINVAL)?;
        // SAFETY: live session and file.
        registry::status(unsafe { f(s.as_raw(), file, id) })
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
    if leader.has_ended() && !leader.is_dying() && leader.live_threads() > 0 {
        let o = Obstacle::new(
            "tasks",
            b"main thread",
            "it has ended while other threads go on; such a process cannot be re-created yet",
            "let the main thread wait for the others (pthread_join) instead of ending (pthread_exit)",
        );
        return refuse(s, arg, dry, &o, arg.pid as u32);
    }
    let permission = Permission::check(arg.pid).map_err(|e| match e {
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
    let freeze = match Freeze::new(&leader) {
        Ok(f) => f,
        Err(FreezeError::Traced { tid }) => {
            let o = Obstacle {
                tid,
                ..Obstacle::new(
                    "ptrace",
                    b"debugger",
                    "the thread is traced, and its tracer would lose it",
                    "detach the debugger (or strace) first",
                )
            };
            return refuse(s, arg, dry, &o, arg.pid as u32);
        }
        Err(e) => return Err(explain_freeze(s, e)),
    };
    let mm = OwnedMm::of(&leader, &permission)
        .map_err(|e| s.fail(e, "core", b"the process ended or executed another program meanwhile", "try again"))?;
    let flags = arg.flags;
    let op = Arc::pin_init(
        pin_init!(CheckpointOp {
            flags,
            external,
            freeze,
            mm,
            leader,
            collected <- new_mutex!(Collected { sections: KVec::new(), objects: KVVec::new(), used, called: KVec::new() }),
            output <- new_mutex!(None),
            started_ns,
        }),
        GFP_KERNEL,
    )?;
    let op: Arc<CheckpointOp> = op.into();
    *s.checkpoint.lock() = Some(op.clone());
    arg.threads = op.task_count();

    let r = landlock_obstacles(s, &op).and_then(|()| collect(s, &op));
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
        Err(e) if e != EINTR && e != ESRCH && !op.freeze.intact() => {
            Err(s.fail(ESRCH, "core", b"the process was killed during the checkpoint", ""))
        }
        r => r,
    }
}

/// Ends with one obstacle that is known before the process could be frozen.
fn refuse(s: &Session, arg: &mut cr_uapi::Checkpoint, dry: bool, o: &Obstacle<'_>, pid: u32) -> Result {
    push_obstacle(s, pid, o)?;
    arg.obstacles = s.report.obstacles();
    if dry { Ok(()) } else { Err(EOPNOTSUPP) }
}

/// Calls `checkpoint` of every extension, also of those that are loaded on the way.
fn collect(s: &Arc<Session>, op: &CheckpointOp) -> Result {
    let mut done = 0usize;
    loop {
        let next = op.collected.lock().used.get(done).cloned();
        let Some(u) = next else { return Ok(()) };
        done = done.saturating_add(1);
        op.call(s, &u)?;
        // SAFETY: no requirements.
        if unsafe { b::crs_signal_pending_current() } != 0 {
            return Err(EINTR);
        }
    }
}

fn write_image(
    s: &Arc<Session>,
    op: &CheckpointOp,
    file: FileRef,
    packer: Option<Packer>,
    arg: &mut cr_uapi::Checkpoint,
) -> Result {
    image_section(op)?;
    let mut out = Output::new(file, packer)?;
    let io = |e: Error| match e {
        EINTR => EINTR,
        // No file operation that works on kernel memory: /dev/full and the like.
        EINVAL => s.fail(EIO, "core", b"the image cannot be written: the kernel cannot write into this kind of file", "write into a file, a pipe or a socket"),
        ENOSPC => s.fail(ENOSPC, "core", b"the image cannot be written: no space left", "free some space or write elsewhere"),
        e => s.fail(e, "core", b"the image cannot be written", "check the output file"),
    };
    out.start().map_err(io)?;
    {
        let c = op.collected.lock();
        for section in c.sections.iter() {
            out.meta(section.id, section.records.bytes()).map_err(io)?;
        }
    }
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
        // SAFETY: live session, in the state the ABI promises.
        registry::status(unsafe { f(s.as_raw()) }).map_err(io)?;
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
    out.meta(words::STATS, buf.bytes()).map_err(io)?;
    // The end makes the image valid: not before we know that nobody has run.
    if !op.freeze.intact() {
        return Err(s.fail(ESRCH, "core", b"the process was killed during the checkpoint", ""));
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
    let offsets = clocks::offsets_of(op.leader.as_ptr())?;
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
        for section in c.sections.iter() {
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
    op.emit(words::IMAGE, buf.bytes())?;
    cr_format::sections::write_schema(&mut schema).map_err(crkit::errno_of)?;
    op.emit(words::SCHEMA, schema.bytes())
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

fn landlock_obstacles(s: &Session, op: &CheckpointOp) -> Result {
    if op.flags & cr_uapi::CHECKPOINT_DROP_LANDLOCK != 0 {
        return Ok(());
    }
    let pid = op.leader.as_ref().tgid_vnr();
    for t in op.freeze.tasks() {
        let (object, reason, remedy) = match landlock::has_domain(&t.task)? {
            Some(false) => continue,
            Some(true) => (
                b"Landlock domain".as_slice(),
                "the restrictions that the process has put on itself cannot be re-created yet",
                "--drop landlock restarts it without them",
            ),
            None => (
                b"Landlock".as_slice(),
                "it is not known whether the process has restricted itself: the kernel has not been probed",
                "use crctl, which probes it, or --drop landlock",
            ),
        };
        let tid = t.task.as_ref().pid_vnr();
        push_obstacle(s, pid, &Obstacle { tid, ..Obstacle::new("landlock", object, reason, remedy) })?;
        // One line is enough: threads inherit their domains.
        break;
    }
    Ok(())
}

fn explain_freeze(s: &Session, e: FreezeError) -> Error {
    let text = |t: core::result::Result<CString, Error>| t.map_or_else(|_| KVec::new(), |c| {
        let mut v = KVec::new();
        let _ = v.extend_from_slice(c.to_bytes(), GFP_KERNEL);
        v
    });
    match e {
        FreezeError::Errno(EINTR) => EINTR,
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
        FreezeError::Traced { tid } => {
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
    match arg.action {
        // Parked threads die at once, without having run.
        cr_uapi::FINISH_KILL => op.leader.kill(),
        // Pending before the thaw, so it acts before the first user instruction.
        cr_uapi::FINISH_STOP => op.leader.signal(b::SIGSTOP),
        _ => {}
    }
    drop(op);
    Ok(())
}
