// SPDX-License-Identifier: GPL-2.0
//! Restart: `LOAD` reads and checks, `RESTART` turns a fresh child of the caller into the process of the
//! image, `COORDINATE` serves it from outside, `STEP` drives it.
//!
//! The *pump*: kernel structures are not written where a system call exists. The half-built process
//! owns one page of code, the stub (`syscall; ioctl(device, STEP, result); ud2`). Each `STEP` asks the extensions
//! for the next system call and arranges that the return to user mode executes it; the kernel's own
//! checks then apply to everything that is rebuilt, with the rights of whoever asked for the restart.
//!
//! Phases (see `crkit_abi.h`): PROCESS by the leader → page data and the rest of the image are read and
//! verified → FILLED by the leader, in which the threads are made → THREAD by all → LATE by all →
//! commit: each thread waits uninterruptibly while the coordinator sets its FPU state and segment bases
//! from outside, the leader removes the stub, and all leave to user mode with their final registers.
//!
//! A failure at any place kills the half-built process (SIGKILL, nothing of the program has run) and is
//! told to the coordinator. Its own death is noticed by the threads, and the other way round.
//!
//! Locks: `input` while image bytes are read into kernel buffers or pages (never user addresses);
//! `queue` for moments. Waits hold no lock.

use crate::{
    clocks,
    device::read_array,
    freeze::{ModuleRef, OwnedTask},
    input::{Input, Sections},
    registry::{self, State as ExtState, Used},
    session::{Session, State},
    verify,
};
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use cr_format::sections as words;
use cr_logic::clocks::{Wanted, wanted_offsets};
use crkit::{
    bindings as b,
    sys::{
        file::FileRef,
        mm::{self, MmRef},
        task::TaskRef,
        wait,
        wait::WaitQueue,
    },
};
use kernel::{
    error::to_result,
    ffi::c_long,
    new_mutex,
    prelude::*,
    sync::{Arc, Completion, Mutex},
};

/// Scratch memory of the leader, bytes.
const LEADER_SCRATCH: usize = 64 << 10;
/// Scratch memory of every other thread, bytes.
const THREAD_SCRATCH: usize = 4096;
/// Length of the code page, bytes.
const STUB_LEN: u64 = 4096;

/// How long the coordinator waits for the RESTART call, nanoseconds.
const BEGIN_TIMEOUT_NS: i64 = 30_000_000_000;

/// One extension with its state.
struct Part {
    used: Used,
    state: ExtState,
}

impl Drop for Part {
    fn drop(&mut self) {
        if let Some(release) = self.used.ops().release {
            if !self.state.0.is_null() {
                // SAFETY: the state came from `prepare` of this extension and is not used after.
                unsafe { release(self.state.0) };
            }
        }
    }
}

/// Where one thread is; only the thread itself writes `phase`, `part`, `step`.
#[pin_data]
struct Thread {
    tid: u32,
    phase: AtomicU32,
    part: AtomicU32,
    step: AtomicU32,
    entered: AtomicBool,
    /// The task, once it has entered.
    #[pin]
    task: Mutex<Option<OwnedTask>>,
    /// Completed by the coordinator only, or by the end of the coordinator.
    #[pin]
    outside: Completion,
}

/// Descriptors to connect instead of what the image says.
struct FdMap {
    fd: u32,
    file: FileRef,
}

/// What `prepare` of the extensions declares.
#[derive(Default)]
struct Declared {
    hole: Option<(u64, u64)>,
    min_fd: u32,
    tids: KVec<u32>,
}

/// Progress of the coordinator.
struct Queue {
    /// Numbers of threads that wait for it.
    ready: KVec<u32>,
    /// It is in its ioctl.
    present: bool,
    /// It has left, successfully or not.
    gone: bool,
}

/// One restart.
#[pin_data(PinnedDrop)]
pub(crate) struct RestartOp {
    sections: Sections,
    #[pin]
    input: Mutex<Input>,
    #[pin]
    declared: Mutex<Declared>,
    #[pin]
    parts: Mutex<KVec<Part>>,
    /// Filled at RESTART from `parts`, then immutable.
    frozen_parts: crkit::sys::once::Once<KVec<Part>>,
    threads: crkit::sys::once::Once<KVec<Arc<Thread>>>,
    #[pin]
    fd_map: Mutex<KVec<FdMap>>,
    #[pin]
    leader: Mutex<Option<OwnedTask>>,
    #[pin]
    queue: Mutex<Queue>,
    /// Threads wait here.
    #[pin]
    wq: WaitQueue,
    /// The coordinator waits here.
    #[pin]
    server: WaitQueue,
    /// Thread ids in ascending order with the numbers of their threads.
    order: crkit::sys::once::Once<KVec<(u32, u32)>>,
    mm: AtomicUsize,
    stub: AtomicU64,
    device_fd: AtomicU32,
    files_policy: AtomicU32,
    entered: AtomicU32,
    arrived: [AtomicU32; 3],
    outside_done: AtomicU32,
    failed: AtomicI32,
    committed: AtomicBool,
    finished: AtomicU32,
    started_ns: AtomicU64,
    restart_ns: AtomicU64,
    _module: ModuleRef,
}

#[pinned_drop]
impl PinnedDrop for RestartOp {
    fn drop(self: Pin<&mut Self>) {}
}

impl RestartOp {
    /// Have all threads got their final registers (or died on the way)?
    fn is_finished(&self) -> bool {
        let n = self.threads().len() as u32;
        n > 0 && self.finished.load(Ordering::Acquire) >= n
    }

    /// Records the first failure and kills what has been built.
    fn fail(&self, e: Error) -> Error {
        let _ = self.failed.compare_exchange(0, e.to_errno(), Ordering::AcqRel, Ordering::Relaxed);
        if !self.committed.load(Ordering::Acquire) {
            if let Some(l) = &*self.leader.lock() {
                l.kill();
            }
        }
        self.wq.wake_all();
        self.server.wake_all();
        e
    }

    fn failure(&self) -> Option<Error> {
        match self.failed.load(Ordering::Acquire) {
            0 => None,
            e => Some(Error::from_errno(e)),
        }
    }

    fn check(&self) -> Result {
        self.failure().map_or(Ok(()), Err)
    }

    /// Number of the thread with this id.
    fn index_of(&self, tid: u32) -> Option<u32> {
        let order = self.order.get()?;
        let i = order.binary_search_by_key(&tid, |e| e.0).ok()?;
        order.get(i).map(|e| e.1)
    }

    fn threads(&self) -> &[Arc<Thread>] {
        self.threads.get().map_or(&[], |t| t)
    }

    fn parts(&self) -> &[Part] {
        self.frozen_parts.get().map_or(&[], |p| p)
    }

    /// Waits until `n` threads have arrived at barrier `i`.
    fn barrier(&self, i: usize) -> Result {
        let n = self.threads().len() as u32;
        let Some(b) = self.arrived.get(i) else { return Err(EINVAL) };
        self.count(b);
        self.wait_for(|| b.load(Ordering::Acquire) >= n)
    }

    /// One more thread has arrived; the last one wakes those that wait. Waking all of them each time
    /// would cost as many context switches as the square of their number.
    fn count(&self, arrived: &AtomicU32) {
        if arrived.fetch_add(1, Ordering::AcqRel).saturating_add(1) >= self.threads().len() as u32 {
            self.wq.wake_all();
        }
    }

    /// Waits for a condition, a failure, or a fatal signal.
    fn wait_for(&self, done: impl Fn() -> bool) -> Result {
        let r = self.wq.wait(wait::KILLABLE, None, || done() || self.failed.load(Ordering::Acquire) != 0);
        if r.is_err() {
            return Err(self.fail(EINTR));
        }
        self.check()
    }

    /// Address and length of the scratch memory of thread `task`.
    pub(crate) fn scratch(&self, task: u32) -> (u64, usize) {
        let base = self.stub.load(Ordering::Acquire).wrapping_add(STUB_LEN);
        match task.checked_sub(1) {
            None => (base, LEADER_SCRATCH),
            Some(i) => {
                let skip = (LEADER_SCRATCH as u64).wrapping_add(u64::from(i).wrapping_mul(THREAD_SCRATCH as u64));
                (base.wrapping_add(skip), THREAD_SCRATCH)
            }
        }
    }

    /// The records of one section.
    pub(crate) fn section(&self, id: u16) -> &[u8] {
        self.sections.get(id)
    }

    /// Declares the threads; only while loading.
    pub(crate) fn set_threads(&self, list: &[u32]) -> Result {
        let mut tids = KVec::with_capacity(list.len(), GFP_KERNEL)?;
        tids.extend_from_slice(list, GFP_KERNEL)?;
        self.declared.lock().tids = tids;
        Ok(())
    }

    /// Declares the descriptors of the image.
    pub(crate) fn set_min_fd(&self, min_fd: u32) {
        let mut d = self.declared.lock();
        d.min_fd = d.min_fd.max(min_fd);
    }

    /// Declares the free address range.
    pub(crate) fn set_hole(&self, start: u64, end: u64) {
        self.declared.lock().hole = Some((start, end));
    }

    /// Thread id of thread number `task`, 0 behind the last.
    pub(crate) fn thread_id(&self, task: u32) -> u32 {
        if let Some(t) = self.threads().get(task as usize) {
            return t.tid;
        }
        self.declared.lock().tids.get(task as usize).copied().unwrap_or(0)
    }

    /// The file connected as `fd`.
    pub(crate) fn mapped_file(&self, fd: u32) -> Option<FileRef> {
        self.fd_map.lock().iter().find(|m| m.fd == fd).map(|m| m.file.clone())
    }

    /// `FILES_*`.
    pub(crate) fn files_policy(&self) -> u32 {
        self.files_policy.load(Ordering::Acquire)
    }

    /// Makes a file object through the extension of `section`.
    pub(crate) fn restart_file(&self, s: &Session, section: u16, id: u32) -> Result<*mut b::file> {
        for p in self.parts() {
            if p.used.ops().section == section {
                let f = p.used.ops().restart_file.ok_or(EINVAL)?;
                let mut file = core::ptr::null_mut();
                // SAFETY: live session, state of this extension, valid out pointer.
                registry::status(unsafe { f(s.as_raw(), p.state.0, id, &mut file) })?;
                return Ok(file);
            }
        }
        Err(ENOPKG)
    }

    /// Page data of the chunk being read.
    ///
    /// # Safety
    /// `pages` are `n` referenced pages that nobody else writes.
    pub(crate) unsafe fn bulk_read(&self, pages: *const *mut b::page, n: u32) -> Result {
        // SAFETY: by the caller's promise.
        unsafe { self.input.lock().read_pages(pages, n) }
    }
}

/// `LOAD`.
pub(crate) fn load(s: &Arc<Session>, arg: &mut cr_uapi::Load) -> Result {
    if arg.flags & !cr_uapi::LOAD_DRY_RUN != 0 || arg.reserved != 0 {
        return Err(EINVAL);
    }
    let dry = arg.flags & cr_uapi::LOAD_DRY_RUN != 0;
    s.go(State::Idle, State::Loading)?;
    let r = load_image(s, arg, dry);
    if dry {
        // Nothing may come of it: extensions and buffers go.
        let op = s.restart.lock().take();
        drop(op);
    }
    s.set(if r.is_ok() && !dry { State::Loaded } else { State::Done });
    r
}

fn load_image(s: &Arc<Session>, arg: &mut cr_uapi::Load, dry: bool) -> Result {
    let fd = u32::try_from(arg.image_fd).map_err(|_| EBADF)?;
    let mut input = Input::new(FileRef::fget(fd)?)?;
    let sections = input.read_meta(s)?;
    let inspection_only = || s.fail(EOPNOTSUPP, "image", b"the image is marked as not restartable", "it was made for inspection only");
    if !dry && !input.is_restartable() {
        return Err(inspection_only());
    }
    cr_format::validate::meta(&sections).map_err(|e| s.fail_format(e))?;
    if dry {
        // What is wrong with the image comes before what is wrong with this host.
        verify::rest(s, &mut input, &sections)?;
        if !input.is_restartable() {
            return Err(inspection_only());
        }
    }
    let image = first::<cr_format::ImageRecord<'_>>(s, sections.get(words::IMAGE))?;
    same_kernel(s, &image)?;
    let wanted = time_offsets(&image)?;

    let op = Arc::pin_init(
        try_pin_init!(RestartOp {
            sections,
            input <- new_mutex!(input),
            declared <- new_mutex!(Declared::default()),
            parts <- new_mutex!(KVec::new()),
            frozen_parts: crkit::sys::once::Once::new(),
            threads: crkit::sys::once::Once::new(),
            fd_map <- new_mutex!(KVec::new()),
            leader <- new_mutex!(None),
            queue <- new_mutex!(Queue { ready: KVec::new(), present: false, gone: false }),
            wq <- WaitQueue::new(c"cr_restart", kernel::static_lock_class!()),
                server <- WaitQueue::new(c"cr_coordinate", kernel::static_lock_class!()),
                order: crkit::sys::once::Once::new(),
            mm: AtomicUsize::new(0),
            stub: AtomicU64::new(0),
            device_fd: AtomicU32::new(0),
            files_policy: AtomicU32::new(0),
            entered: AtomicU32::new(0),
            arrived: [const { AtomicU32::new(0) }; 3],
            outside_done: AtomicU32::new(0),
            failed: AtomicI32::new(0),
            committed: AtomicBool::new(false),
            finished: AtomicU32::new(0),
            started_ns: AtomicU64::new(0),
            restart_ns: AtomicU64::new(0),
            _module: ModuleRef::get()?,
        }? Error),
        GFP_KERNEL,
    )?;
    *s.restart.lock() = Some(op.clone());

    // Extensions: every section that the image declares critical needs one.
    let mut parts: KVec<Part> = KVec::new();
    for r in cr_format::records_of::<cr_format::SectionRecord<'_>>(op.section(words::IMAGE)) {
        let r = r.map_err(|e| s.fail_format(e))?;
        if r.id == u32::from(words::IMAGE) || r.critical == 0 {
            continue;
        }
        let Some(used) = registry::get_or_load(r.word) else {
            let mut text = KVec::new();
            text.extend_from_slice(b"the image needs the extension module cr_", GFP_KERNEL)?;
            text.extend_from_slice(r.word, GFP_KERNEL)?;
            return Err(s.fail(ENOPKG, "core", &text, "install the module where modprobe finds it (see README)"));
        };
        if u32::from(used.ops().section) != r.id {
            return Err(s.fail(EOPNOTSUPP, "core", b"an extension of that word is loaded with another section id", ""));
        }
        let at = parts.iter().position(|p| p.used.ops().order > used.ops().order).unwrap_or(parts.len());
        parts.push(Part { used, state: ExtState(core::ptr::null_mut()) }, GFP_KERNEL)?;
        if let Some(tail) = parts.as_mut_slice().get_mut(at..) {
            tail.rotate_right(1);
        }
    }
    for p in parts.iter_mut() {
        let f = p.used.ops().prepare.ok_or(EINVAL)?;
        // SAFETY: live session; valid out pointer.
        let r = unsafe { f(s.as_raw(), &mut p.state.0) };
        registry::status(r).map_err(|e| s.fail(e, p.used.word_str(), b"the records cannot be prepared for a restart", "see the messages above"))?;
    }
    *op.parts.lock() = parts;

    let d = op.declared.lock();
    arg.tgid = d.tids.first().copied().unwrap_or(0) as i32;
    arg.threads = d.tids.len() as u32;
    arg.min_fd = d.min_fd.max(3);
    drop(d);
    let process = first::<cr_format::ProcessRecord<'_>>(s, op.section(words::TASKS))?;
    arg.pgid = process.pgid as i32;
    arg.sid = process.sid as i32;
    let here = clocks::offsets_of(TaskRef::current().as_ptr())?;
    arg.time_namespace = u32::from(wanted.monotonic != here.monotonic || wanted.boottime != here.boottime);
    arg.monotonic_offset_ns = wanted.monotonic;
    arg.boottime_offset_ns = wanted.boottime;
    if arg.tgid == 0 {
        return Err(s.fail(EUCLEAN, "tasks", b"no extension declared the threads of the process", ""));
    }
    Ok(())
}

/// The first record of type `R` in a section.
fn first<'a, R: cr_format::Record<'a>>(s: &Session, section: &'a [u8]) -> Result<R> {
    match cr_format::records_of::<R>(section).next() {
        Some(r) => r.map_err(|e| s.fail_format(e)),
        None => Err(s.fail(EUCLEAN, R::NAME, b"a required record is missing", "list every defect with: crimg verify IMAGE")),
    }
}

/// Refuses an image of another kernel release: the vDSO and the meaning of some state belong to it.
fn same_kernel(s: &Session, image: &cr_format::ImageRecord<'_>) -> Result {
    // SAFETY: init_utsname is static; release does not change.
    let release = unsafe { core::ffi::CStr::from_ptr(b::crs_kernel_release().cast()) }.to_bytes();
    if image.kernel_release == release {
        return Ok(());
    }
    let mut text = KVec::new();
    for part in [b"the image was made on kernel ".as_slice(), image.kernel_release, b", this is ", release] {
        text.extend_from_slice(part, GFP_KERNEL)?;
    }
    Err(s.fail(ENOEXEC, "image", &text, "boot the kernel of the checkpoint"))
}

fn time_offsets(image: &cr_format::ImageRecord<'_>) -> Result<Wanted> {
    let now = clocks::Clocks::now();
    let same_boot = image.boot_id == clocks::boot_id()?.as_slice();
    let recorded = Wanted { monotonic: image.timens_monotonic_ns, boottime: image.timens_boottime_ns };
    Ok(wanted_offsets(same_boot, recorded, (image.monotonic_ns, image.boottime_ns), (now.monotonic, now.boottime)))
}

/// `RESTART`: from here on the calling process is taken apart.
pub(crate) fn restart(s: &Arc<Session>, arg: &cr_uapi::Restart) -> Result {
    if arg.flags != 0 || arg.reserved != 0 || arg.files > cr_uapi::FILES_TRUNCATE {
        return Err(EINVAL);
    }
    let op = s.restart_op()?;
    s.go(State::Loaded, State::Restarting)?;
    let me = OwnedTask::current();
    let r = begin(s, &op, arg, &me);
    if let Err(e) = r {
        // Nothing of the caller may be trusted to be whole any more.
        op.fail(e);
        me.kill();
    }
    r
}

fn begin(s: &Arc<Session>, op: &Arc<RestartOp>, arg: &cr_uapi::Restart, me: &OwnedTask) -> Result {
    op.started_ns.store(clocks::monotonic() as u64, Ordering::Relaxed);
    let (tids, hole, min_fd) = {
        let mut d = op.declared.lock();
        (core::mem::take(&mut d.tids), d.hole, d.min_fd.max(3))
    };
    let tgid = tids.first().copied().ok_or(EINVAL)?;
    // SAFETY: current.
    if unsafe { b::crs_nr_threads(me.as_ptr()) } != 1 || me.as_ref().tgid_vnr() != tgid {
        return Err(s.fail(EINVAL, "core", b"RESTART must be called by a single-threaded process with the pid of the image", ""));
    }
    let device_fd = u32::try_from(arg.device_fd).map_err(|_| EBADF)?;
    if device_fd < min_fd {
        return Err(s.fail(EINVAL, "core", b"the device descriptor collides with the descriptors of the image", ""));
    }
    op.device_fd.store(device_fd, Ordering::Release);
    op.files_policy.store(arg.files, Ordering::Release);
    {
        let raw = read_array(arg.fd_map, arg.fd_map_count, core::mem::size_of::<cr_uapi::FdMap>())?;
        let mut map = KVec::new();
        for e in raw.chunks_exact(8) {
            let word = |i: usize| e.get(i..).and_then(|t| t.first_chunk::<4>()).map_or(0, |x| u32::from_ne_bytes(*x));
            let file = FileRef::fget(word(4))?;
            map.push(FdMap { fd: word(0), file }, GFP_KERNEL)?;
        }
        *op.fd_map.lock() = map;
    }
    let mut threads = KVec::with_capacity(tids.len(), GFP_KERNEL)?;
    for tid in tids.iter() {
        let t = Arc::pin_init(
            pin_init!(Thread {
                tid: *tid,
                phase: AtomicU32::new(b::CR_PHASE_PROCESS),
                part: AtomicU32::new(0),
                step: AtomicU32::new(0),
                entered: AtomicBool::new(false),
                task <- new_mutex!(None),
                outside <- Completion::new(),
            }),
            GFP_KERNEL,
        )?;
        threads.push(t.into(), GFP_KERNEL)?;
    }
    let mut order: KVec<(u32, u32)> = KVec::with_capacity(tids.len(), GFP_KERNEL)?;
    for (i, tid) in tids.iter().enumerate() {
        order.push((*tid, i as u32), GFP_KERNEL)?;
    }
    order.as_mut_slice().sort_unstable();
    if op.order.set(order).is_err() {
        return Err(EBUSY);
    }
    op.queue.lock().ready.reserve(tids.len(), GFP_KERNEL)?;
    if op.threads.set(threads).is_err() || op.frozen_parts.set(core::mem::take(&mut *op.parts.lock())).is_err() {
        return Err(EBUSY);
    }
    *op.leader.lock() = Some(OwnedTask::current());
    let Some((start, end)) = hole else {
        return Err(s.fail(EUCLEAN, "core", b"no extension declared a free address range for the restart", ""));
    };

    strip(me, device_fd)?;
    let scratch = (LEADER_SCRATCH as u64)
        .checked_add((tids.len() as u64).checked_mul(THREAD_SCRATCH as u64).ok_or(EOVERFLOW)?)
        .ok_or(EOVERFLOW)?;
    if end.checked_sub(start).is_none_or(|len| len < STUB_LEN.saturating_add(scratch)) {
        return Err(s.fail(EUCLEAN, "core", b"the free address range for the restart is too small", ""));
    }
    map_stub(op, start, scratch, device_fd)?;
    op.mm.store(MmRef::current()?.as_ptr() as usize, Ordering::Release);
    advance(s, op, 0, 0)
}

/// Takes everything away from the calling process but its identity and the device.
fn strip(me: &OwnedTask, device_fd: u32) -> Result {
    // All signals wait until the commit, but the two that must never be blocked: in-kernel callers of
    // sigprocmask really could.
    let mut all = b::sigset_t::default();
    all.sig = [!((1 << (b::SIGKILL - 1)) | (1 << (b::SIGSTOP - 1))); 1];
    // SAFETY: current; valid set; no old set wanted.
    to_result(unsafe { b::sigprocmask(b::SIG_BLOCK as i32, &mut all, core::ptr::null_mut()) })?;
    // SAFETY: current's own fields, which only it uses: robust list and exit notification belong to the
    // memory that goes away, and the death of the coordinator's process must end us from here on.
    unsafe {
        let t = me.as_ptr();
        (*t).futex.robust_list = core::ptr::null_mut();
        (*t).clear_child_tid = core::ptr::null_mut();
        (*t).pdeath_signal = b::SIGKILL as i32;
        b::crs_rseq_reset_current();
    }
    let mut fd = 0u32;
    loop {
        // SAFETY: current; returns a referenced file and moves `fd` to its number.
        let f = unsafe { FileRef::from_raw(b::fget_task_next(me.as_ptr(), &mut fd)) };
        let Some(f) = f else { break };
        drop(f);
        if fd != device_fd {
            // SAFETY: closes a descriptor of the current task. Its result is that of flush, as for close(2).
            unsafe { b::close_fd(fd) };
        }
        fd = fd.checked_add(1).ok_or(EOVERFLOW)?;
    }
    let mm = MmRef::current()?;
    let mut at = 0u64;
    loop {
        let locked = mm.lock()?;
        let Some((start, end)) = locked.find(at).map(|v| (v.start(), v.end())) else { break };
        drop(locked);
        mm::unmap(start, end.saturating_sub(start))?;
        at = end;
    }
    Ok(())
}

/// Maps the stub and the scratch memory at the start of the hole.
fn map_stub(op: &RestartOp, at: u64, scratch: u64, device_fd: u32) -> Result {
    let anon = b::MAP_PRIVATE | b::MAP_ANONYMOUS;
    mm::map_fixed(None, at, STUB_LEN, b::PROT_READ | b::PROT_EXEC, anon, 0)?;
    let data = at.checked_add(STUB_LEN).ok_or(EOVERFLOW)?;
    mm::map_fixed(None, data, scratch, b::PROT_READ | b::PROT_WRITE, anon | b::MAP_NORESERVE, 0)?;
    let code = cr_logic::stub::code(device_fd, cr_uapi::STEP);
    // SAFETY: current's own, fresh mapping; FOLL_FORCE writes into it although it is not writable.
    let n = unsafe {
        b::access_process_vm(
            TaskRef::current().as_ptr(),
            at as usize,
            code.as_ptr().cast_mut().cast(),
            code.len() as i32,
            b::FOLL_FORCE | b::FOLL_WRITE,
        )
    };
    if n as usize != code.len() {
        return Err(EFAULT);
    }
    op.stub.store(at, Ordering::Release);
    Ok(())
}

/// `STEP`: called by the stub with the result of the previous system call.
pub(crate) fn step(s: &Arc<Session>, result: i64) -> Result<isize> {
    let op = s.restart_op()?;
    let me = TaskRef::current();
    // Only the half-built process may step: it is the one with the mm that RESTART emptied.
    if op.mm.load(Ordering::Acquire) == 0
        || op.committed.load(Ordering::Acquire)
        || MmRef::current()?.as_ptr() as usize != op.mm.load(Ordering::Acquire)
    {
        return Err(EPERM);
    }
    let tid = me.pid_vnr();
    let r = match op.index_of(tid) {
        Some(i) => advance(s, &op, i, result),
        None => Err(ESRCH),
    };
    match r {
        Ok(()) => Ok(0),
        Err(e) => {
            op.fail(e);
            // The leader's process is ours: this ends all of it, this thread included.
            OwnedTask::current().kill();
            Err(e)
        }
    }
}

/// Runs thread number `index` on until its next system call, or to the commit.
fn advance(s: &Arc<Session>, op: &Arc<RestartOp>, index: u32, result: i64) -> Result {
    let t = op.threads().get(index as usize).ok_or(EINVAL)?.clone();
    let mut prev = result;
    if !t.entered.swap(true, Ordering::AcqRel) {
        *t.task.lock() = Some(OwnedTask::current());
        op.count(&op.entered);
        prev = 0;
        if index > 0 {
            enter_threads(op, &t)?;
        }
    }
    loop {
        op.check()?;
        let phase = t.phase.load(Ordering::Relaxed);
        let part = t.part.load(Ordering::Relaxed);
        if let Some(p) = op.parts().get(part as usize) {
            let f = p.used.ops().step.ok_or(EINVAL)?;
            let mut call = b::cr_syscall::default();
            let n = t.step.load(Ordering::Relaxed);
            // SAFETY: live session; state of this extension; valid out pointer.
            let r = unsafe { f(s.as_raw(), p.state.0, phase, index, n, prev as c_long, &mut call) };
            if r < 0 {
                let e = Error::from_errno(r);
                return Err(s.fail(e, p.used.word_str(), b"the state cannot be restarted", "see the messages above"));
            }
            if r == 1 {
                t.step.store(n.wrapping_add(1), Ordering::Relaxed);
                return arm(op, index, call);
            }
            t.part.store(part.wrapping_add(1), Ordering::Relaxed);
            t.step.store(0, Ordering::Relaxed);
            prev = 0;
            continue;
        }
        t.part.store(0, Ordering::Relaxed);
        match phase {
            b::CR_PHASE_PROCESS => {
                fill(s, op)?;
                t.phase.store(b::CR_PHASE_FILLED, Ordering::Relaxed);
            }
            b::CR_PHASE_FILLED => enter_threads(op, &t)?,
            b::CR_PHASE_THREAD => {
                op.barrier(0)?;
                t.phase.store(b::CR_PHASE_LATE, Ordering::Relaxed);
            }
            _ => {
                op.barrier(1)?;
                return commit(s, op, index, &t);
            }
        }
    }
}

/// Waits until all threads exist, then goes to the THREAD phase.
fn enter_threads(op: &RestartOp, t: &Thread) -> Result {
    let n = op.threads().len() as u32;
    op.wait_for(|| op.entered.load(Ordering::Acquire) >= n)?;
    t.phase.store(b::CR_PHASE_THREAD, Ordering::Relaxed);
    Ok(())
}

/// Reads the page data and the rest of the image; after this the image is known to be sound.
fn fill(s: &Arc<Session>, op: &RestartOp) -> Result {
    loop {
        let chunk = op.input.lock().next_page_chunk(s)?;
        let Some(chunk) = chunk else { break };
        let p = op.parts().iter().find(|p| p.used.ops().section == chunk.section);
        let Some(p) = p else {
            return Err(s.fail(ENOPKG, "core", b"page data of a section that no extension takes", "list every defect with: crimg verify IMAGE"));
        };
        let f = p.used.ops().fill.ok_or(EINVAL)?;
        // SAFETY: live session; state of this extension; the runs live as long as `chunk`.
        let r = unsafe { f(s.as_raw(), p.state.0, chunk.owner, chunk.runs.as_ptr(), chunk.runs.len() as u32) };
        registry::status(r).map_err(|e| s.fail(e, p.used.word_str(), b"page data cannot be placed", "see the messages above"))?;
        op.input.lock().finish_page_chunk(s)?;
        // SAFETY: may sleep; no lock held.
        unsafe { b::crs_cond_resched() };
        // SAFETY: no requirements.
        if unsafe { b::crs_fatal_signal_pending_current() } != 0 {
            return Err(EINTR);
        }
    }
    op.input.lock().finish(s, &op.sections)
}

/// A queued change of user registers.
#[repr(C)]
struct StepWork {
    cb: b::callback_head,
    op: Arc<RestartOp>,
    session: Option<Arc<Session>>,
    index: u32,
    call: b::cr_syscall,
    _module: ModuleRef,
}

/// Arranges that the return to user mode executes `call` in the stub.
fn arm(op: &Arc<RestartOp>, index: u32, call: b::cr_syscall) -> Result {
    queue(StepWork { cb: Default::default(), op: op.clone(), session: None, index, call, _module: ModuleRef::get()? }, step_work, b::task_work_notify_mode_TWA_RESUME)
}

fn queue(mut work: StepWork, f: unsafe extern "C" fn(*mut b::callback_head), mode: u32) -> Result {
    work.cb.func = Some(f);
    let raw = KBox::into_raw(KBox::new(work, GFP_KERNEL)?);
    // SAFETY: current; `cb` is the first field; the work frees itself when it runs.
    if unsafe { b::task_work_add(TaskRef::current().as_ptr(), raw.cast(), mode) } != 0 {
        // SAFETY: not queued, still ours.
        drop(unsafe { KBox::from_raw(raw) });
        return Err(ESRCH);
    }
    Ok(())
}

unsafe extern "C" fn step_work(cb: *mut b::callback_head) {
    // SAFETY: from `queue`; runs once.
    let w = unsafe { KBox::from_raw(cb.cast::<StepWork>()) };
    if TaskRef::current().fields().flags & b::CR_PF_EXITING != 0 {
        return;
    }
    let (scratch, len) = w.op.scratch(w.index);
    // SAFETY: current's own registers, on its way to user mode.
    let regs = unsafe { &mut *b::crs_pt_regs(TaskRef::current().as_ptr()) };
    // SAFETY: union of the selector with its padding: reading the whole word is always valid.
    let (cs, ss) = unsafe { (regs.__bindgen_anon_1.csx, regs.__bindgen_anon_2.ssx) };
    *regs = b::pt_regs::default();
    // Above the selectors, FRED machines keep bits of the entry frame: they stay.
    regs.__bindgen_anon_1.csx = (cs & !0xffff) | b::CR_USER_CS;
    regs.__bindgen_anon_2.ssx = (ss & !0xffff) | b::CR_USER_DS;
    regs.ip = w.op.stub.load(Ordering::Acquire) as usize;
    // The stub uses no stack; a valid address keeps debuggers calm.
    regs.sp = scratch.wrapping_add(len as u64) as usize;
    regs.flags = 0x202;
    regs.ax = w.call.nr as usize;
    regs.orig_ax = usize::MAX;
    let [a0, a1, a2, a3, a4, a5] = w.call.args;
    regs.di = a0;
    regs.si = a1;
    regs.dx = a2;
    regs.r10 = a3;
    regs.r8 = a4;
    regs.r9 = a5;
}

/// The last part: state that can only be set from outside, then away with the stub.
fn commit(s: &Arc<Session>, op: &Arc<RestartOp>, index: u32, t: &Arc<Thread>) -> Result {
    // Everything that can fail comes first.
    let work = StepWork {
        cb: Default::default(),
        op: op.clone(),
        session: Some(s.clone()),
        index,
        call: Default::default(),
        _module: ModuleRef::get()?,
    };
    // A coordinator must be there before we wait uninterruptibly for it.
    op.wait_for(|| {
        let q = op.queue.lock();
        q.present || q.gone
    })?;
    {
        let mut q = op.queue.lock();
        if q.gone {
            return Err(EINTR);
        }
        // Room was reserved in `begin`.
        q.ready.push(index, GFP_KERNEL)?;
    }
    op.server.wake_all();
    // Completed by the coordinator when it is done with us, or on its way out.
    t.outside.wait_for_completion();
    op.check()?;
    op.count(&op.outside_done);
    let n = op.threads().len() as u32;
    op.wait_for(|| op.outside_done.load(Ordering::Acquire) >= n)?;
    queue(work, commit_work, b::task_work_notify_mode_TWA_SIGNAL)?;
    // The stub may go only when every thread is in the kernel for good, with its work queued.
    let Some(last) = op.arrived.get(2) else { return Err(EINVAL) };
    op.count(last);
    if index > 0 {
        return op.wait_for(|| op.committed.load(Ordering::Acquire));
    }
    op.wait_for(|| last.load(Ordering::Acquire) >= n)?;
    let stub = op.stub.load(Ordering::Acquire);
    let len = STUB_LEN
        .saturating_add(LEADER_SCRATCH as u64)
        .saturating_add((op.threads().len() as u64).saturating_mul(THREAD_SCRATCH as u64));
    mm::unmap(stub, len)?;
    // SAFETY: closes the device in the restarted process; the file itself stays until this ioctl is over
    // because the last fput is deferred to task work.
    unsafe { b::close_fd(op.device_fd.load(Ordering::Acquire)) };
    op.restart_ns.store((clocks::monotonic() as u64).saturating_sub(op.started_ns.load(Ordering::Relaxed)), Ordering::Release);
    op.committed.store(true, Ordering::Release);
    op.wq.wake_all();
    Ok(())
}

/// The thread's last work: its final registers.
unsafe extern "C" fn commit_work(cb: *mut b::callback_head) {
    // SAFETY: from `queue`; runs once.
    let w = unsafe { KBox::from_raw(cb.cast::<StepWork>()) };
    let Some(s) = &w.session else { return };
    if !w.op.committed.load(Ordering::Acquire) {
        return;
    }
    if TaskRef::current().fields().flags & b::CR_PF_EXITING == 0 {
        final_registers(s, &w);
    }
    // The last thread gives the image's buffers and the extensions back, whoever still holds the session.
    if w.op.finished.fetch_add(1, Ordering::AcqRel).wrapping_add(1) == w.op.threads().len() as u32 {
        let done = s.restart.lock().take();
        drop(done);
    }
    if w.op.is_finished() {
        w.op.server.wake_all();
    }
}

fn final_registers(s: &Session, w: &StepWork) {
    // SAFETY: current's own registers, on its way to user mode.
    let regs = unsafe { b::crs_pt_regs(TaskRef::current().as_ptr()) };
    for p in w.op.parts() {
        if let Some(f) = p.used.ops().commit_regs {
            // SAFETY: live session and state; current's registers.
            unsafe { f(s.as_raw(), p.state.0, w.index, regs) };
        }
    }
}

/// `COORDINATE`.
pub(crate) fn coordinate(s: &Arc<Session>, arg: &mut cr_uapi::Coordinate) -> Result {
    if arg.flags != 0 {
        return Err(EINVAL);
    }
    let op = s.restart_op()?;
    {
        let mut q = op.queue.lock();
        if q.present || q.gone {
            return Err(EBUSY);
        }
        q.present = true;
    }
    op.wq.wake_all();
    let r = serve(s, &op);
    if let Err(e) = r {
        op.fail(e);
    }
    {
        let mut q = op.queue.lock();
        q.gone = true;
        q.ready.clear();
    }
    for t in op.threads() {
        t.outside.complete_all();
    }
    op.wq.wake_all();
    arg.restart_ns = op.restart_ns.load(Ordering::Acquire);
    let input = op.input.lock();
    arg.image_bytes = input.bytes();
    arg.pages = input.pages();
    r
}

fn serve(s: &Arc<Session>, op: &Arc<RestartOp>) -> Result {
    let begin = clocks::monotonic();
    loop {
        // Polls the leader's life: it may be killed from outside before it reaches us.
        let woken = op.server.wait(wait::INTERRUPTIBLE, Some((b::CR_HZ / 4) as usize), || {
            !op.queue.lock().ready.is_empty()
                || op.failed.load(Ordering::Acquire) != 0
                || op.is_finished()
        });
        // Not at the commit already: until its last work the leader dies with its parent (`strip`).
        if op.is_finished() {
            return Ok(());
        }
        // A failure of the process is the better answer than the signal that told of its death.
        op.check()?;
        if !woken? {
            match &*op.leader.lock() {
                Some(l) if l.as_ref().fields().exit_state != 0 || l.as_ref().fields().flags & b::CR_PF_EXITING != 0 => {
                    return Err(s.fail(ESRCH, "core", b"the process was killed while it was being restarted", ""));
                }
                None if clocks::monotonic().saturating_sub(begin) > BEGIN_TIMEOUT_NS => {
                    return Err(s.fail(ETIME, "core", b"the process to be restarted has not called RESTART", ""));
                }
                _ => {}
            }
            continue;
        }
        let next = op.queue.lock().ready.pop();
        let Some(index) = next else { continue };
        let t = op.threads().get(index as usize).ok_or(EINVAL)?.clone();
        let task = t.task.lock();
        let Some(task) = &*task else { return Err(EINVAL) };
        settle(task)?;
        for p in op.parts() {
            let f = p.used.ops().commit_outside.ok_or(EINVAL)?;
            // SAFETY: live session and state; the task is referenced and switched out.
            let r = unsafe { f(s.as_raw(), p.state.0, index, task.as_ptr()) };
            registry::status(r).map_err(|e| s.fail(e, p.used.word_str(), b"the processor state cannot be set", "the image may come from a processor with other features"))?;
        }
        t.outside.complete_all();
    }
}

/// Waits until the thread is switched out in its uninterruptible wait; its FPU registers are then in
/// memory and stay there until it returns to user mode.
fn settle(task: &OwnedTask) -> Result {
    loop {
        // SAFETY: live task.
        let (on_cpu, state) = unsafe { (b::crs_task_on_cpu_acquire(task.as_ptr()), b::crs_task_state(task.as_ptr())) };
        if on_cpu == 0 && state & b::CR_TASK_UNINTERRUPTIBLE != 0 {
            return Ok(());
        }
        // SAFETY: no requirements.
        if unsafe { b::crs_fatal_signal_pending_current() } != 0 {
            return Err(EINTR);
        }
        // SAFETY: may sleep; the thread's `task` mutex is held, which only this function's caller takes
        // for longer than a store.
        unsafe { b::crs_cond_resched() };
    }
}

