// SPDX-License-Identifier: GPL-2.0
//! Restart: `LOAD` reads and checks, `RESTART` turns a fresh child of the caller into the process of the
//! image, `COORDINATE` serves it from outside, `STEP` drives it.
//!
//! The *pump*: kernel structures are not written where a system call exists. The half-built process
//! owns one page of code, the stub (`syscall; ioctl(device, STEP, result); ud2`). Each `STEP` asks the extensions
//! for the next system call and arranges that the return to user mode executes it; the kernel's own
//! checks then apply to everything that is rebuilt, with the rights of whoever asked for the restart.
//!
//! Phases (see `crkit_abi.h`): birth (`birth.rs`: the processes of a tree make each other) → PROCESS by each leader,
//! the first process before the others → page data and the rest of the image are read and
//! verified, each leader its own (if memory is to be shared copy-on-write, birth comes only now, see `inherit.rs`) → FILLED by the leaders, in which the threads are made → THREAD by all → LATE by all →
//! commit: each thread waits uninterruptibly while the coordinator sets its FPU state and segment bases
//! from outside, the leader removes the stub, and all leave to user mode with their final registers.
//!
//! A failure at any place kills the half-built process (SIGKILL, nothing of the program has run) and is
//! told to the coordinator. Its own death is noticed by the threads, and the other way round.
//!
//! Locks: `input` while image bytes are read into kernel buffers or pages (never user addresses);
//! `queue` for moments. Waits hold no lock.

use crate::{
    birth::{self, Act, StandIn},
    clocks,
    confine,
    device::read_array,
    freeze::{ModuleRef, OwnedTask},
    go_on,
    inherit,
    input::{Input, PageChunk, Sections},
    registry::{self, State as ExtState, Used},
    session::{Handle, Session, State},
    verify,
};
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use cr_format::{
    sections as words,
    validate::{kin_of, leaders_of, Ended, Kin, OUTSIDE},
};
use cr_logic::clocks::{Wanted, wanted_offsets};
use crkit::{
    bindings as b,
    sys::{
        file::FileRef,
        mm::{self, MmRef},
        once::Once,
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

/// How often processes are tried to be made while their ids are in use, a jiffy each: two seconds or so.
const RETRIES: u32 = 500;

/// How long the coordinator waits for the RESTART call, nanoseconds.
const BEGIN_TIMEOUT_NS: i64 = 30_000_000_000;

/// The phase of a leader before [`b::CR_PHASE_PROCESS`]: its children, session and process group.
pub(crate) const PHASE_BIRTH: u32 = u32::MAX;

/// One extension with its state for each process.
struct Part {
    used: Used,
    states: KVVec<ExtState>,
}

impl Part {
    /// Its state for a process; null for one that has ended.
    fn state(&self, process: u32) -> *mut kernel::ffi::c_void {
        self.states.get(process as usize).map_or(core::ptr::null_mut(), |s| s.0)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if let Some(release) = self.used.ops().release {
            for state in self.states.iter().filter(|s| !s.0.is_null()) {
                // SAFETY: the state came from `prepare` of this extension and is not used after.
                unsafe { release(state.0) };
            }
        }
    }
}

/// Where one thread is; only the thread itself writes `phase`, `part`, `step`.
#[pin_data]
pub(crate) struct Thread {
    tid: u32,
    /// Number of its process, and its own number there.
    process: u32,
    number: u32,
    phase: AtomicU32,
    part: AtomicU32,
    step: AtomicU32,
    entered: AtomicBool,
    /// Instead of going on it ends again, with this code: a main thread that had ended alone.
    exit_code: Option<i32>,
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

/// What `prepare` of the extensions declares about a process.
#[derive(Default)]
struct Declared {
    hole: Option<(u64, u64)>,
    tids: KVVec<u32>,
}

/// One process being restarted.
#[pin_data]
pub(crate) struct Process {
    /// Its relations.
    pub(crate) kin: Kin,
    /// Signal to its parent at its end, and how it has ended if it is a zombie.
    pub(crate) exit_signal: u32,
    pub(crate) wait_status: u32,
    /// What it does to get into its relations, and how far it is with that.
    pub(crate) acts: KVec<Act>,
    pub(crate) acted: AtomicU32,
    /// Index of its first thread in [`RestartOp::threads`], and how many it has.
    first: u32,
    count: u32,
    hole: (u64, u64),
    /// What it keeps of the memory that it is born with, ascending.
    kept: KVVec<(u64, u64)>,
    stub: AtomicU64,
    mm: AtomicUsize,
    /// Is it in its process group?
    pub(crate) grouped: AtomicBool,
    /// The leader, once it has entered.
    #[pin]
    task: Mutex<Option<OwnedTask>>,
}

impl Process {
    /// Has it ended before the checkpoint?
    pub(crate) fn is_zombie(&self) -> bool {
        self.kin.zombie
    }

    /// The signal that its parent gets as long as nothing runs: of one that ends again at once it was sent long ago.
    pub(crate) fn signal_at_birth(&self) -> u32 {
        if self.is_zombie() { 0 } else { self.exit_signal }
    }

    /// The current task is its leader.
    pub(crate) fn enter(&self, me: &OwnedTask) {
        *self.task.lock() = Some(me.again());
    }

    /// Has its leader entered?
    fn exists(&self) -> bool {
        self.task.lock().is_some()
    }

    /// Has its leader entered and ended?
    pub(crate) fn has_ended(&self) -> bool {
        self.task.lock().as_ref().is_some_and(OwnedTask::is_dead)
    }

    /// Gives a zombie the signal that its parent has got already.
    pub(crate) fn set_exit_signal(&self) {
        if let Some(t) = &*self.task.lock() {
            // SAFETY: a referenced task that has ended; a word that only its waiting parent reads, which is not
            // running.
            unsafe { b::crs_set_exit_signal(t.as_ptr(), self.exit_signal as i32) };
        }
    }
}

/// Progress of the coordinator.
struct Queue {
    /// Numbers of threads that wait for it.
    ready: KVVec<u32>,
    /// It is in its ioctl.
    present: bool,
    /// It has left, successfully or not.
    gone: bool,
}

/// Barriers: of threads behind THREAD, LATE and with their final work queued, of leaders when their stubs are gone.
const THREADED: usize = 0;
const FINISHED: usize = 1;
const QUEUED: usize = 2;
const UNMAPPED: usize = 3;

/// `turn` when all page data has been read.
const ALL_READ: u32 = u32::MAX;

/// One restart.
#[pin_data(PinnedDrop)]
pub(crate) struct RestartOp {
    sections: Sections,
    #[pin]
    input: Mutex<Input>,
    /// By process.
    #[pin]
    declared: Mutex<KVVec<Declared>>,
    min_fd: AtomicU32,
    #[pin]
    parts: Mutex<KVec<Part>>,
    /// Filled at RESTART from `parts`, then immutable.
    frozen_parts: Once<KVec<Part>>,
    /// Threads of all processes, process after process.
    threads: Once<KVVec<Arc<Thread>>>,
    processes: Once<KVVec<Arc<Process>>>,
    /// By the order of their records.
    stand_ins: Once<KVVec<Arc<StandIn>>>,
    #[pin]
    fd_map: Mutex<KVec<FdMap>>,
    /// Open files that one process has made for others.
    #[pin]
    given: Mutex<KVVec<(u16, u32, FileRef)>>,
    #[pin]
    waiting: confine::Waiting,
    #[pin]
    queue: Mutex<Queue>,
    /// Threads wait here.
    #[pin]
    wq: WaitQueue,
    /// The coordinator waits here.
    #[pin]
    server: WaitQueue,
    /// Thread ids in ascending order with the indices of their threads; of a zombie with [`ZOMBIE`] and its number, of a
    /// stand-in with [`STAND_IN`] and its number.
    order: Once<KVVec<(u32, u32)>>,
    /// Process whose leader reads page data now, and the chunk that has been found to be for it.
    turn: AtomicU32,
    /// The highest process that page data has been found for; those below it have got theirs.
    reached: AtomicU32,
    /// How often a process was not made at once because its id was in use.
    retries: AtomicU32,
    /// Are processes born only when their parents' memory is filled?
    late_birth: AtomicBool,
    #[pin]
    next_chunk: Mutex<Option<PageChunk>>,
    /// Has the first process made everything that others may ask for?
    first_done: AtomicBool,
    device_fd: AtomicU32,
    files_policy: AtomicU32,
    flags: AtomicU32,
    /// The process group of the caller, for those that were in one outside.
    outside_group: AtomicU32,
    entered: AtomicU32,
    arrived: [AtomicU32; 4],
    outside_done: AtomicU32,
    failed: AtomicI32,
    committed: AtomicBool,
    finished: AtomicU32,
    started_ns: AtomicU64,
    restart_ns: AtomicU64,
    _module: ModuleRef,
}

/// Bit in [`RestartOp::order`]: the rest is the number of a zombie process.
const ZOMBIE: u32 = 1 << 31;
/// The same for a stand-in.
const STAND_IN: u32 = 1 << 30;

#[pinned_drop]
impl PinnedDrop for RestartOp {
    fn drop(self: Pin<&mut Self>) {}
}

impl RestartOp {
    /// Have all main threads ended again that had ended alone?
    fn are_ended(&self) -> bool {
        let is_there = |t: &Arc<Thread>| t.exit_code.is_some() && !t.task.lock().as_ref().is_some_and(OwnedTask::is_dead);
        !self.threads().iter().any(is_there)
    }

    /// Have all threads got their final registers (or died on the way)?
    fn is_finished(&self) -> bool {
        let n = self.threads().len() as u32;
        n > 0 && self.finished.load(Ordering::Acquire) >= n
    }

    /// Records the first failure and kills what has been built.
    fn fail(&self, e: Error) -> Error {
        let _ = self.failed.compare_exchange(0, e.to_errno(), Ordering::AcqRel, Ordering::Relaxed);
        if !self.committed.load(Ordering::Acquire) {
            // Who has not entered yet finds the failure when it does.
            for p in self.processes() {
                if let Some(l) = &*p.task.lock() {
                    l.kill();
                }
            }
            for stand_in in self.stand_ins() {
                stand_in.kill();
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

    pub(crate) fn check(&self) -> Result {
        self.failure().map_or(Ok(()), Err)
    }

    /// Index of the thread with this id, or [`ZOMBIE`] and the number of a process, or [`STAND_IN`] and its number.
    fn index_of(&self, tid: u32) -> Option<u32> {
        let order = self.order.get()?;
        let i = order.binary_search_by_key(&tid, |e| e.0).ok()?;
        order.get(i).map(|e| e.1)
    }

    fn threads(&self) -> &[Arc<Thread>] {
        self.threads.get().map_or(&[], |t| t)
    }

    /// All processes.
    pub(crate) fn processes(&self) -> &[Arc<Process>] {
        self.processes.get().map_or(&[], |p| p)
    }

    /// All stand-ins of leaders that have ended.
    pub(crate) fn stand_ins(&self) -> &[Arc<StandIn>] {
        self.stand_ins.get().map_or(&[], |p| p)
    }

    /// Stand-in number `n`.
    pub(crate) fn stand_in(&self, n: u32) -> Result<&Arc<StandIn>> {
        self.stand_ins().get(n as usize).ok_or(EINVAL)
    }

    /// Process number `n`.
    pub(crate) fn process(&self, n: u32) -> Result<&Arc<Process>> {
        self.processes().get(n as usize).ok_or(EINVAL)
    }

    /// Number of processes of the image.
    pub(crate) fn process_count(&self) -> u32 {
        cr_format::validate::MetaSet::processes(&self.sections)
    }

    /// Are there descriptors or files of processes?
    fn opens_processes(&self) -> bool {
        !self.section(0, words::PIDFD).is_empty() || !self.section(0, words::PROC).is_empty()
    }

    /// Those that live, and so have a leader that builds them.
    fn leaders(&self) -> u32 {
        self.processes().iter().filter(|p| !p.is_zombie()).count() as u32
    }

    fn parts(&self) -> &[Part] {
        self.frozen_parts.get().map_or(&[], |p| p)
    }

    /// Waits until `n` threads have arrived at barrier `i`.
    fn barrier(&self, i: usize, n: u32) -> Result {
        let Some(b) = self.arrived.get(i) else { return Err(EINVAL) };
        self.count(b, n);
        self.wait_for(|| b.load(Ordering::Acquire) >= n)
    }

    /// One more of `n` has arrived; the last one wakes those that wait. Waking all of them each time
    /// would cost as many context switches as the square of their number.
    fn count(&self, arrived: &AtomicU32, n: u32) {
        if arrived.fetch_add(1, Ordering::AcqRel).saturating_add(1) >= n {
            self.wq.wake_all();
        }
    }

    fn all(&self) -> u32 {
        self.threads().len() as u32
    }

    /// Is it worth while to try once more to make a process whose id is in use? Not for ever.
    pub(crate) fn may_retry(&self) -> bool {
        self.retries.fetch_add(1, Ordering::Relaxed) < RETRIES
    }

    /// Wakes everybody who waits for something that has just come true.
    pub(crate) fn wake(&self) {
        self.wq.wake_all();
    }

    /// Sleeps for a moment.
    pub(crate) fn pause(&self) -> Result {
        let r = self.wq.wait(wait::KILLABLE, Some(1), || self.failed.load(Ordering::Acquire) != 0);
        if r.is_err() {
            return Err(self.fail(EINTR));
        }
        self.check()
    }

    /// Waits for a condition, a failure, or a fatal signal.
    pub(crate) fn wait_for(&self, done: impl Fn() -> bool) -> Result {
        let r = self.wq.wait(wait::KILLABLE, None, || done() || self.failed.load(Ordering::Acquire) != 0);
        if r.is_err() {
            return Err(self.fail(EINTR));
        }
        self.check()
    }

    /// Threads that install seccomp filters.
    pub(crate) fn waiting(&self) -> &confine::Waiting {
        &self.waiting
    }

    /// There is something for the coordinator to do.
    pub(crate) fn call_coordinator(&self) {
        self.server.wake_all();
    }

    /// The group of those that were in one outside, as it is here.
    pub(crate) fn outside_group(&self) -> u32 {
        self.outside_group.load(Ordering::Acquire)
    }

    /// Address and length of the scratch memory of thread `task` of a process.
    pub(crate) fn scratch(&self, process: u32, task: u32) -> (u64, usize) {
        let stub = self.process(process).map_or(0, |p| p.stub.load(Ordering::Acquire));
        let base = stub.wrapping_add(STUB_LEN);
        match task.checked_sub(1) {
            None => (base, LEADER_SCRATCH),
            Some(i) => {
                let skip = (LEADER_SCRATCH as u64).wrapping_add(u64::from(i).wrapping_mul(THREAD_SCRATCH as u64));
                (base.wrapping_add(skip), THREAD_SCRATCH)
            }
        }
    }

    /// The records of one section of a process.
    pub(crate) fn section(&self, process: u32, id: u16) -> &[u8] {
        self.sections.get(process, id)
    }

    /// Declares the threads of a process; only while loading.
    pub(crate) fn set_threads(&self, process: u32, list: &[u32]) -> Result {
        let mut tids = KVVec::with_capacity(list.len(), GFP_KERNEL)?;
        tids.extend_from_slice(list, GFP_KERNEL)?;
        self.declared.lock().get_mut(process as usize).ok_or(EINVAL)?.tids = tids;
        Ok(())
    }

    /// Declares the descriptors of the image.
    pub(crate) fn set_min_fd(&self, min_fd: u32) {
        self.min_fd.fetch_max(min_fd, Ordering::AcqRel);
    }

    /// Declares the free address range of a process.
    pub(crate) fn set_hole(&self, process: u32, start: u64, end: u64) -> Result {
        self.declared.lock().get_mut(process as usize).ok_or(EINVAL)?.hole = Some((start, end));
        Ok(())
    }

    /// Thread id of thread number `task` of a process, 0 behind the last.
    pub(crate) fn thread_id(&self, process: u32, task: u32) -> u32 {
        if let Ok(p) = self.process(process) {
            let index = p.first.checked_add(task).filter(|_| task < p.count);
            return index.and_then(|i| self.threads().get(i as usize)).map_or(0, |t| t.tid);
        }
        let d = self.declared.lock();
        d.get(process as usize).and_then(|d| d.tids.get(task as usize)).copied().unwrap_or(0)
    }

    /// The file connected as `fd`.
    pub(crate) fn mapped_file(&self, fd: u32) -> Option<FileRef> {
        self.fd_map.lock().iter().find(|m| m.fd == fd).map(|m| m.file.clone())
    }

    /// Will the thread that makes this process end again by itself? Then nothing of the process may depend on that one.
    fn parent_ends(&self, p: &Process) -> bool {
        let parent = self.process(p.kin.parent).ok();
        let main = parent.and_then(|parent| self.threads().get(parent.first as usize));
        p.kin.tgid != self.thread_id(0, 0) && main.is_some_and(|t| t.exit_code.is_some())
    }

    /// Waits until the main threads have ended again that had ended alone, or until current is killed.
    fn let_end(&self) {
        while !self.are_ended() {
            // Their end wakes nobody here.
            if self.wq.wait(wait::KILLABLE, Some(1), || false).is_err() {
                return;
            }
        }
    }

    /// `FILES_*`.
    /// `RESTART_*` of the caller.
    pub(crate) fn flags(&self) -> u32 {
        self.flags.load(Ordering::Acquire)
    }

    pub(crate) fn files_policy(&self) -> u32 {
        self.files_policy.load(Ordering::Acquire)
    }

    /// Makes a file object through the extension of `section`, which keeps what is shared with the first process.
    pub(crate) fn restart_file(&self, s: &Session, section: u16, id: u32) -> Result<*mut b::file> {
        for p in self.parts() {
            if p.used.ops().section == section {
                let f = p.used.ops().restart_file.ok_or(EINVAL)?;
                let mut file = core::ptr::null_mut();
                // SAFETY: live session, state of this extension, valid out pointer.
                registry::status(unsafe { f(Handle::new(s, 0).as_raw(), p.state(0), id, &mut file) })?;
                return Ok(file);
            }
        }
        Err(ENOPKG)
    }

    /// Gives an open file to other processes.
    pub(crate) fn put_file(&self, section: u16, id: u32, file: FileRef) -> Result {
        self.given.lock().push((section, id, file), GFP_KERNEL)?;
        self.wq.wake_all();
        Ok(())
    }

    /// What another process has given, when it has.
    pub(crate) fn get_file(&self, section: u16, id: u32) -> Result<FileRef> {
        let find = || {
            let given = self.given.lock();
            given.iter().find(|g| (g.0, g.1) == (section, id)).map(|g| g.2.clone())
        };
        self.wait_for(|| find().is_some())?;
        find().ok_or(EINVAL)
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
    let policies = cr_uapi::LOAD_FILES_IGNORE | cr_uapi::LOAD_FILES_TRUNCATE;
    let dry = arg.flags & cr_uapi::LOAD_DRY_RUN != 0;
    let known = if dry { cr_uapi::LOAD_DRY_RUN | policies } else { 0 };
    if arg.flags & !known != 0 || arg.processes != 0 {
        return Err(EINVAL);
    }
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
    let (_, ended) = relations(&sections).map_err(|e| s.fail_format(e))?;
    let image = first::<cr_format::ImageRecord<'_>>(s, sections.get(0, words::IMAGE))?;
    same_kernel(s, &image)?;
    let wanted = time_offsets(&image)?;
    let processes = cr_format::validate::MetaSet::processes(&sections);
    let mut declared = KVVec::with_capacity(processes as usize, GFP_KERNEL)?;
    for _ in 0..processes {
        declared.push(Declared::default(), GFP_KERNEL)?;
    }

    let files_policy = match arg.flags {
        f if f & cr_uapi::LOAD_FILES_IGNORE != 0 => cr_uapi::FILES_IGNORE,
        f if f & cr_uapi::LOAD_FILES_TRUNCATE != 0 => cr_uapi::FILES_TRUNCATE,
        _ => cr_uapi::FILES_CHECK,
    };
    let op = Arc::pin_init(
        try_pin_init!(RestartOp {
            sections,
            input <- new_mutex!(input),
            declared <- new_mutex!(declared),
            min_fd: AtomicU32::new(3),
            parts <- new_mutex!(KVec::new()),
            frozen_parts: Once::new(),
            threads: Once::new(),
            processes: Once::new(),
            stand_ins: Once::new(),
            fd_map <- new_mutex!(KVec::new()),
            given <- new_mutex!(KVVec::new()),
            waiting <- confine::Waiting::new(),
            queue <- new_mutex!(Queue { ready: KVVec::new(), present: false, gone: false }),
            wq <- WaitQueue::new(c"cr_restart", kernel::static_lock_class!()),
            server <- WaitQueue::new(c"cr_coordinate", kernel::static_lock_class!()),
            order: Once::new(),
            turn: AtomicU32::new(0),
            reached: AtomicU32::new(0),
            retries: AtomicU32::new(0),
            late_birth: AtomicBool::new(false),
            next_chunk <- new_mutex!(None),
            first_done: AtomicBool::new(false),
            device_fd: AtomicU32::new(0),
            files_policy: AtomicU32::new(files_policy),
            flags: AtomicU32::new(if dry { cr_uapi::RESTART_DRY_RUN } else { 0 }),
            outside_group: AtomicU32::new(0),
            entered: AtomicU32::new(0),
            arrived: [const { AtomicU32::new(0) }; 4],
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
    for r in cr_format::records_of::<cr_format::SectionRecord<'_>>(op.section(0, words::IMAGE)) {
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
        parts.push(Part { used, states: KVVec::with_capacity(processes as usize, GFP_KERNEL)? }, GFP_KERNEL)?;
        if let Some(tail) = parts.as_mut_slice().get_mut(at..) {
            tail.rotate_right(1);
        }
    }
    for p in parts.iter_mut() {
        let f = p.used.ops().prepare.ok_or(EINVAL)?;
        for process in 0..processes {
            p.states.push(ExtState(core::ptr::null_mut()), GFP_KERNEL)?;
            let Some(state) = p.states.as_mut_slice().last_mut() else { return Err(EINVAL) };
            if is_zombie(&op.sections, process) {
                continue;
            }
            // SAFETY: live session; valid out pointer.
            let r = unsafe { f(Handle::new(s, process).as_raw(), &mut state.0) };
            registry::status(r).map_err(|e| s.fail(e, p.used.word_str(), b"the records cannot be prepared for a restart", "see the messages above"))?;
        }
    }
    *op.parts.lock() = parts;

    let d = op.declared.lock();
    arg.tgid = d.first().and_then(|d| d.tids.first()).copied().unwrap_or(0) as i32;
    arg.threads = d.iter().map(|d| d.tids.len() as u32).sum();
    arg.processes = processes;
    arg.min_fd = op.min_fd.load(Ordering::Acquire);
    for (process, d) in d.iter().enumerate() {
        if d.tids.is_empty() && !is_zombie(&op.sections, process as u32) {
            return Err(s.fail(EUCLEAN, "tasks", b"no extension declared the threads of a process", ""));
        }
    }
    drop(d);
    let process = first::<cr_format::ProcessRecord<'_>>(s, op.section(0, words::TASKS))?;
    arg.pgid = process.pgid as i32;
    arg.sid = process.sid as i32;
    arg.session_leader = ended.iter().find(|e| e.maker == OUTSIDE).map_or(0, |e| e.id as i32);
    let here = clocks::offsets_of(TaskRef::current().as_ptr())?;
    arg.time_namespace = u32::from(wanted.monotonic != here.monotonic || wanted.boottime != here.boottime);
    arg.monotonic_offset_ns = wanted.monotonic;
    arg.boottime_offset_ns = wanted.boottime;
    Ok(())
}

/// Only one that has ended has no memory, as has been checked.
fn is_zombie(sections: &Sections, process: u32) -> bool {
    sections.get(process, words::MEMORY).is_empty()
}

/// The relations of all processes, and the leaders that have ended, checked.
fn relations(sections: &Sections) -> cr_format::Result<(KVVec<Kin>, KVVec<Ended>)> {
    let count = cr_format::validate::MetaSet::processes(sections);
    let no_memory = |_| cr_format::Error::no_space();
    let mut all = KVVec::with_capacity(count as usize, GFP_KERNEL).map_err(no_memory)?;
    for number in 0..count {
        let kin = kin_of(&cr_format::validate::Process::new(sections, number))?;
        all.push(kin, GFP_KERNEL).map_err(no_memory)?;
    }
    let mut ended = KVVec::new();
    for leader in leaders_of(sections) {
        ended.push(leader?, GFP_KERNEL).map_err(no_memory)?;
    }
    cr_format::validate::tree(&mut all, &mut ended)?;
    Ok((all, ended))
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
    let known = cr_uapi::RESTART_CGROUPS_IGNORE | cr_uapi::RESTART_CGROUPS_REQUIRE;
    if arg.flags & !known != 0 || arg.reserved != 0 || arg.files > cr_uapi::FILES_TRUNCATE {
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
    let tgid = op.thread_id(0, 0);
    // SAFETY: current.
    if unsafe { b::crs_nr_threads(me.as_ptr()) } != 1 || me.as_ref().tgid_vnr() != tgid {
        return Err(s.fail(EINVAL, "core", b"RESTART must be called by a single-threaded process with the pid of the image", ""));
    }
    let device_fd = u32::try_from(arg.device_fd).map_err(|_| EBADF)?;
    if device_fd < op.min_fd.load(Ordering::Acquire) {
        return Err(s.fail(EINVAL, "core", b"the device descriptor collides with the descriptors of the image", ""));
    }
    op.device_fd.store(device_fd, Ordering::Release);
    op.files_policy.store(arg.files, Ordering::Release);
    op.flags.store(arg.flags, Ordering::Release);
    // SAFETY: current.
    op.outside_group.store(unsafe { b::crs_pgrp_vnr(me.as_ptr()) }.unsigned_abs(), Ordering::Release);
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
    plan_processes(s, op)?;
    if op.stand_ins().iter().any(|l| l.leader.maker == OUTSIDE && me.scope(true) != l.leader.id) {
        return Err(s.fail(EINVAL, "core", b"RESTART must be called by a process in the session of the image", ""));
    }
    enter_process(op, 0, me)?;
    advance(s, op, 0, 0)
}

/// Makes the tables of processes and threads from what has been declared.
fn plan_processes(s: &Arc<Session>, op: &Arc<RestartOp>) -> Result {
    let (kin, ended) = relations(&op.sections).map_err(|e| s.fail_format(e))?;
    let declared = core::mem::take(&mut *op.declared.lock());
    // Descriptors and files of processes can be opened only when these exist.
    let mut kept = if op.opens_processes() { KVVec::new() } else { inherit::all(&op.sections, &kin)? };
    op.late_birth.store(!kept.is_empty(), Ordering::Release);
    let mut threads: KVVec<Arc<Thread>> = KVVec::new();
    let mut processes: KVVec<Arc<Process>> = KVVec::with_capacity(kin.len(), GFP_KERNEL)?;
    let mut order: KVVec<(u32, u32)> = KVVec::new();
    for (number, (k, d)) in kin.iter().zip(declared.iter()).enumerate() {
        let number = number as u32;
        let first = threads.len() as u32;
        let exited = cr_format::records_of::<cr_format::ExitedRecord>(op.section(number, words::TASKS)).next();
        let exited = exited.transpose().map_err(|e| s.fail_format(e))?;
        for (n, tid) in d.tids.iter().enumerate() {
            let phase = match n {
                0 if op.late_birth.load(Ordering::Acquire) => b::CR_PHASE_PROCESS,
                0 => PHASE_BIRTH,
                _ => b::CR_PHASE_THREAD,
            };
            let t = Arc::pin_init(
                pin_init!(Thread {
                    tid: *tid,
                    process: number,
                    number: n as u32,
                    phase: AtomicU32::new(phase),
                    part: AtomicU32::new(0),
                    step: AtomicU32::new(0),
                    entered: AtomicBool::new(false),
                    // CAST: 16 bits, as has been checked.
                    exit_code: exited.as_ref().filter(|_| n == 0).map(|e| e.status as i32),
                    task <- new_mutex!(None),
                    outside <- Completion::new(),
                }),
                GFP_KERNEL,
            )?;
            order.push((*tid, threads.len() as u32), GFP_KERNEL)?;
            threads.push(t.into(), GFP_KERNEL)?;
        }
        if k.zombie {
            order.push((k.tgid, ZOMBIE | number), GFP_KERNEL)?;
        }
        let hole = match d.hole {
            Some(hole) => hole,
            None if k.zombie => (0, 0),
            None => return Err(s.fail(EUCLEAN, "core", b"no extension declared a free address range for the restart", "")),
        };
        let scratch = scratch_len(d.tids.len())?;
        if !k.zombie && hole.1.checked_sub(hole.0).is_none_or(|len| len < STUB_LEN.saturating_add(scratch)) {
            return Err(s.fail(EUCLEAN, "core", b"the free address range for the restart is too small", ""));
        }
        let record = cr_format::records_of::<cr_format::KinRecord>(op.section(number, words::TASKS)).next();
        let record = record.transpose().map_err(|e| s.fail_format(e))?.unwrap_or_default();
        let acts = birth::acts(&kin, &ended, number)?;
        let kept = kept.get_mut(number as usize).map(core::mem::take).unwrap_or_default();
        let p = Arc::pin_init(
            pin_init!(Process {
                kin: *k,
                exit_signal: record.exit_signal as u32,
                wait_status: record.wait_status as u32,
                acts,
                acted: AtomicU32::new(0),
                first,
                count: d.tids.len() as u32,
                hole,
                kept,
                stub: AtomicU64::new(0),
                mm: AtomicUsize::new(0),
                grouped: AtomicBool::new(false),
                task <- new_mutex!(None),
            }),
            GFP_KERNEL,
        )?;
        processes.push(p.into(), GFP_KERNEL)?;
    }
    for (n, e) in ended.iter().enumerate().filter(|(_, e)| e.maker != OUTSIDE) {
        order.push((e.id, STAND_IN | n as u32), GFP_KERNEL)?;
    }
    order.as_mut_slice().sort_unstable();
    op.queue.lock().ready.reserve(threads.len(), GFP_KERNEL)?;
    let set = op.order.set(order).is_ok()
        && op.threads.set(threads).is_ok()
        && op.processes.set(processes).is_ok()
        && op.stand_ins.set(birth::stand_ins(&kin, &ended)?).is_ok()
        && op.frozen_parts.set(core::mem::take(&mut *op.parts.lock())).is_ok();
    if set { Ok(()) } else { Err(EBUSY) }
}

/// Bytes of scratch memory of a process with so many threads.
fn scratch_len(threads: usize) -> Result<u64> {
    let all = (threads as u64).checked_mul(THREAD_SCRATCH as u64).ok_or(EOVERFLOW)?;
    (LEADER_SCRATCH as u64).checked_add(all).ok_or(EOVERFLOW)
}

/// The calling process becomes process number `number`: all that it has is taken away, and it gets its stub.
fn enter_process(op: &Arc<RestartOp>, number: u32, me: &OwnedTask) -> Result {
    let p = op.process(number)?;
    p.enter(me);
    if op.opens_processes() {
        op.wake();
    }
    let device_fd = op.device_fd.load(Ordering::Acquire);
    strip(me, device_fd, &p.kept, !op.parent_ends(p))?;
    // A failure before our entry did not know of us.
    op.check()?;
    map_stub(p, p.hole.0, scratch_len(p.count as usize)?, device_fd)?;
    p.mm.store(MmRef::current()?.as_ptr() as usize, Ordering::Release);
    Ok(())
}

/// Takes everything away from the calling process but its identity, the device, and the ranges of memory in `kept`. With `guard` it
/// dies with the thread that made it.
fn strip(me: &OwnedTask, device_fd: u32, kept: &[(u64, u64)], guard: bool) -> Result {
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
        (*t).pdeath_signal = if guard { b::SIGKILL as i32 } else { 0 };
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
    for &(start, end) in kept {
        unmap_all(&mm, at, start)?;
        at = end;
    }
    unmap_all(&mm, at, u64::MAX)
}

/// Unmaps what is mapped between two addresses.
fn unmap_all(mm: &MmRef<'_>, from: u64, to: u64) -> Result {
    let mut at = from;
    loop {
        let locked = mm.lock()?;
        let found = locked.find(at).map(|v| (v.start().max(at), v.end().min(to)));
        drop(locked);
        let Some((start, end)) = found.filter(|(start, end)| start < end) else { return Ok(()) };
        mm::unmap(start, end.saturating_sub(start))?;
        at = end;
    }
}

/// Maps the stub and the scratch memory at the start of the hole.
fn map_stub(p: &Process, at: u64, scratch: u64, device_fd: u32) -> Result {
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
    p.stub.store(at, Ordering::Release);
    Ok(())
}

/// `STEP`: called by the stub with the result of the previous system call.
pub(crate) fn step(s: &Arc<Session>, result: i64) -> Result<isize> {
    let op = s.restart_op()?;
    let me = OwnedTask::current();
    if op.committed.load(Ordering::Acquire) {
        return Err(EPERM);
    }
    op.waiting.remove();
    // Only a half-built process may step: one with the mm that was emptied, or a fresh child of one of them.
    let Some(index) = op.index_of(me.as_ref().pid_vnr()) else { return Err(EPERM) };
    let r = if index & ZOMBIE != 0 {
        if !is_child_of_ours(&op, index & !ZOMBIE, &me) {
            return Err(EPERM);
        }
        birth::zombie(s, &op, index & !ZOMBIE, &me, result)
    } else if index & STAND_IN != 0 {
        let number = index & !STAND_IN;
        if !is_child_of(&op, op.stand_in(number)?.leader.maker, &me) {
            return Err(EPERM);
        }
        birth::stand_in(s, &op, number, &me, result)
    } else {
        let t = op.threads().get(index as usize).ok_or(EPERM)?;
        let p = op.process(t.process)?;
        let mm = p.mm.load(Ordering::Acquire);
        if mm == 0 {
            if t.number != 0 || t.process == 0 || !is_child_of_ours(&op, t.process, &me) {
                return Err(EPERM);
            }
            enter_process(&op, t.process, &me).and_then(|()| advance(s, &op, index, 0))
        } else if MmRef::current()?.as_ptr() as usize == mm {
            advance(s, &op, index, result)
        } else {
            return Err(EPERM);
        }
    };
    match r {
        Ok(()) => Ok(0),
        Err(e) => {
            op.fail(e);
            // The process is ours: this ends all of it, this thread included.
            me.kill();
            Err(e)
        }
    }
}

/// Is `me` a child of the half-built parent of process `number`?
fn is_child_of_ours(op: &RestartOp, number: u32, me: &OwnedTask) -> bool {
    op.process(number).is_ok_and(|p| if p.kin.root { is_sibling_of_first(op, me) } else { is_child_of(op, p.kin.parent, me) })
}

/// Has `me` the same parent as the first process?
fn is_sibling_of_first(op: &RestartOp, me: &OwnedTask) -> bool {
    op.process(0).is_ok_and(|p| p.task.lock().as_ref().is_some_and(|t| me.is_sibling_of(t)))
}

/// Is `me` a child of process `number`?
fn is_child_of(op: &RestartOp, number: u32, me: &OwnedTask) -> bool {
    op.process(number).is_ok_and(|p| p.task.lock().as_ref().is_some_and(|t| me.is_child_of(t)))
}

/// Runs thread `index` on until its next system call, or to the commit.
fn advance(s: &Arc<Session>, op: &Arc<RestartOp>, index: u32, result: i64) -> Result {
    let t = op.threads().get(index as usize).ok_or(EINVAL)?.clone();
    let handle = Handle::new(s, t.process);
    let mut prev = result;
    if !t.entered.swap(true, Ordering::AcqRel) {
        *t.task.lock() = Some(OwnedTask::current());
        op.count(&op.entered, op.all());
        prev = 0;
        if t.number > 0 {
            enter_threads(op, &t)?;
        } else if t.phase.load(Ordering::Relaxed) == b::CR_PHASE_PROCESS {
            begin_process(op, &t)?;
        }
    }
    loop {
        op.check()?;
        let phase = t.phase.load(Ordering::Relaxed);
        if phase == PHASE_BIRTH {
            match birth::step(s, op, t.process, prev)? {
                Some(call) => return arm(op, t.process, t.number, call),
                None => {
                    prev = 0;
                    if op.late_birth.load(Ordering::Acquire) {
                        fill(s, op, t.process, true)?;
                        t.phase.store(b::CR_PHASE_FILLED, Ordering::Relaxed);
                    } else {
                        begin_process(op, &t)?;
                    }
                    continue;
                }
            }
        }
        let part = t.part.load(Ordering::Relaxed);
        if let Some(p) = op.parts().get(part as usize) {
            let f = p.used.ops().step.ok_or(EINVAL)?;
            let mut call = b::cr_syscall::default();
            let n = t.step.load(Ordering::Relaxed);
            // SAFETY: live session; state of this extension; valid out pointer.
            let r = unsafe { f(handle.as_raw(), p.state(t.process), phase, t.number, n, prev as c_long, &mut call) };
            if r < 0 {
                let e = Error::from_errno(r);
                return Err(s.fail(e, p.used.word_str(), b"the state cannot be restarted", "see the messages above"));
            }
            if r == 1 {
                t.step.store(n.wrapping_add(1), Ordering::Relaxed);
                return arm(op, t.process, t.number, call);
            }
            t.part.store(part.wrapping_add(1), Ordering::Relaxed);
            t.step.store(0, Ordering::Relaxed);
            prev = 0;
            continue;
        }
        t.part.store(0, Ordering::Relaxed);
        match phase {
            b::CR_PHASE_PROCESS => {
                if t.process == 0 {
                    op.first_done.store(true, Ordering::Release);
                    op.wake();
                }
                let late = op.late_birth.load(Ordering::Acquire);
                fill(s, op, t.process, !late)?;
                t.phase.store(if late { PHASE_BIRTH } else { b::CR_PHASE_FILLED }, Ordering::Relaxed);
            }
            b::CR_PHASE_FILLED => enter_threads(op, &t)?,
            b::CR_PHASE_THREAD => {
                op.barrier(THREADED, op.all())?;
                t.phase.store(b::CR_PHASE_LATE, Ordering::Relaxed);
            }
            _ => {
                op.barrier(FINISHED, op.all())?;
                return commit(s, op, index, &t);
            }
        }
    }
}

/// Goes to the PROCESS phase: what processes share is made by the first.
fn begin_process(op: &RestartOp, t: &Thread) -> Result {
    t.phase.store(b::CR_PHASE_PROCESS, Ordering::Relaxed);
    if t.process > 0 {
        op.wait_for(|| op.first_done.load(Ordering::Acquire))?;
    } else if op.opens_processes() {
        op.wait_for(|| op.processes().iter().all(|p| p.exists()))?;
    }
    Ok(())
}

/// Waits until all threads exist, then goes to the THREAD phase.
fn enter_threads(op: &RestartOp, t: &Thread) -> Result {
    let n = op.all();
    op.wait_for(|| op.entered.load(Ordering::Acquire) >= n)?;
    if (t.process, t.number) == (0, 0) {
        // Every process has got what was given to it before it made its threads.
        let given = core::mem::take(&mut *op.given.lock());
        drop(given);
    }
    t.phase.store(b::CR_PHASE_THREAD, Ordering::Relaxed);
    Ok(())
}

/// Reads the page data of process `number`, and lets the others read theirs; behind the last comes the rest of the image.
/// After this the image is known to be sound. Without `all` it ends when page data of the processes behind has been found.
///
/// The image is read in its order. Whoever has the turn reads the next chunk; if it is for another process, that one
/// gets the turn and the chunk, because pages are placed by the process that they belong to. That one may have to be born first: so
/// nobody who has to do with its birth waits here any more by then, as the parents of a process have lower numbers.
fn fill(s: &Arc<Session>, op: &Arc<RestartOp>, number: u32, all: bool) -> Result {
    let is_over = || op.turn.load(Ordering::Acquire) == ALL_READ || !all && op.reached.load(Ordering::Acquire) > number;
    loop {
        op.wait_for(|| is_over() || op.turn.load(Ordering::Acquire) == number)?;
        if is_over() {
            return Ok(());
        }
        let pending = op.next_chunk.lock().take();
        let chunk = match pending {
            Some(chunk) => Some(chunk),
            None => op.input.lock().next_page_chunk(s)?,
        };
        let Some(chunk) = chunk else {
            op.input.lock().finish(s, &op.sections)?;
            op.turn.store(ALL_READ, Ordering::Release);
            op.wake();
            continue;
        };
        let home = match chunk.section {
            words::MEMORY => chunk.owner.checked_sub(1).filter(|p| op.process(*p).is_ok_and(|p| !p.is_zombie())),
            _ => Some(0),
        };
        let Some(home) = home else {
            return Err(s.fail(EUCLEAN, "memory", b"page data of a process that does not exist", "list every defect with: crimg verify IMAGE"));
        };
        // Sections ascend: behind those of memory nobody gets any more of it.
        let reached = if chunk.section > words::MEMORY { u32::MAX } else { home };
        if op.reached.fetch_max(reached, Ordering::AcqRel) < reached {
            op.wake();
        }
        if home != number {
            *op.next_chunk.lock() = Some(chunk);
            op.turn.store(home, Ordering::Release);
            op.wake();
            continue;
        }
        place(s, op, number, &chunk)?;
    }
}

/// Lets the extension place one chunk.
fn place(s: &Arc<Session>, op: &Arc<RestartOp>, number: u32, chunk: &PageChunk) -> Result {
    let p = op.parts().iter().find(|p| p.used.ops().section == chunk.section);
    let Some(p) = p else {
        return Err(s.fail(ENOPKG, "core", b"page data of a section that no extension takes", "list every defect with: crimg verify IMAGE"));
    };
    let f = p.used.ops().fill.ok_or(EINVAL)?;
    let handle = Handle::new(s, number);
    // SAFETY: live session; state of this extension; the runs live as long as `chunk`.
    let r = unsafe { f(handle.as_raw(), p.state(number), chunk.owner, chunk.runs.as_ptr(), chunk.runs.len() as u32) };
    registry::status(r).map_err(|e| s.fail(e, p.used.word_str(), b"page data cannot be placed", "see the messages above"))?;
    op.input.lock().finish_page_chunk(s)?;
    // SAFETY: may sleep; no lock held.
    unsafe { b::crs_cond_resched() };
    // SAFETY: no requirements.
    if unsafe { b::crs_fatal_signal_pending_current() } != 0 {
        return Err(EINTR);
    }
    Ok(())
}

/// A queued change of user registers.
#[repr(C)]
struct StepWork {
    cb: b::callback_head,
    op: Arc<RestartOp>,
    session: Option<Arc<Session>>,
    process: u32,
    /// Number of the thread in its process.
    number: u32,
    call: b::cr_syscall,
    /// Where in the stub it is made.
    entry: u64,
    /// How the thread ends instead of going on.
    end: Option<KBox<EndWork>>,
    _module: ModuleRef,
}

/// Arranges that the return to user mode executes `call` in the stub.
pub(crate) fn arm(op: &Arc<RestartOp>, process: u32, number: u32, call: b::cr_syscall) -> Result {
    let _module = ModuleRef::get()?;
    let entry = confine::entry(op, &call, op.process(process)?.stub.load(Ordering::Acquire))?;
    let work = StepWork { cb: Default::default(), op: op.clone(), session: None, process, number, call, entry, end: None, _module };
    queue(work, step_work, b::task_work_notify_mode_TWA_RESUME)
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
    let (scratch, len) = w.op.scratch(w.process, w.number);
    // SAFETY: current's own registers, on its way to user mode.
    let regs = unsafe { &mut *b::crs_pt_regs(TaskRef::current().as_ptr()) };
    // SAFETY: union of the selector with its padding: reading the whole word is always valid.
    let (cs, ss) = unsafe { (regs.__bindgen_anon_1.csx, regs.__bindgen_anon_2.ssx) };
    *regs = b::pt_regs::default();
    // Above the selectors, FRED machines keep bits of the entry frame: they stay.
    regs.__bindgen_anon_1.csx = (cs & !0xffff) | b::CR_USER_CS;
    regs.__bindgen_anon_2.ssx = (ss & !0xffff) | b::CR_USER_DS;
    let stub = w.op.process(w.process).map_or(0, |p| p.stub.load(Ordering::Acquire));
    regs.ip = stub.wrapping_add(w.entry) as usize;
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
        process: t.process,
        number: t.number,
        call: Default::default(),
        entry: 0,
        end: t.exit_code.map(EndWork::new).transpose()?,
        _module: ModuleRef::get()?,
    };
    if t.number == 0 {
        birth::bury(op, t.process)?;
    }
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
        // Room was reserved in `plan_processes`.
        q.ready.push(index, GFP_KERNEL)?;
    }
    op.server.wake_all();
    // Completed by the coordinator when it is done with us, or on its way out.
    t.outside.wait_for_completion();
    op.check()?;
    let n = op.all();
    op.count(&op.outside_done, n);
    op.wait_for(|| op.outside_done.load(Ordering::Acquire) >= n)?;
    queue(work, commit_work, b::task_work_notify_mode_TWA_SIGNAL)?;
    // The stubs may go only when every thread is in the kernel for good, with its work queued.
    let (Some(queued), Some(unmapped)) = (op.arrived.get(QUEUED), op.arrived.get(UNMAPPED)) else { return Err(EINVAL) };
    op.count(queued, n);
    if t.number > 0 {
        return op.wait_for(|| op.committed.load(Ordering::Acquire));
    }
    op.wait_for(|| queued.load(Ordering::Acquire) >= n)?;
    let p = op.process(t.process)?;
    mm::unmap(p.stub.load(Ordering::Acquire), STUB_LEN.saturating_add(scratch_len(p.count as usize)?))?;
    // SAFETY: closes the device in the restarted process; the file itself stays until this ioctl is over
    // because the last fput is deferred to task work.
    unsafe { b::close_fd(op.device_fd.load(Ordering::Acquire)) };
    let leaders = op.leaders();
    if unmapped.fetch_add(1, Ordering::AcqRel).saturating_add(1) < leaders {
        return op.wait_for(|| op.committed.load(Ordering::Acquire));
    }
    op.restart_ns.store((clocks::monotonic() as u64).saturating_sub(op.started_ns.load(Ordering::Relaxed)), Ordering::Release);
    op.committed.store(true, Ordering::Release);
    op.wake();
    Ok(())
}

/// The thread's last work: its final registers.
unsafe extern "C" fn commit_work(cb: *mut b::callback_head) {
    // SAFETY: from `queue`; runs once.
    let mut w = unsafe { KBox::from_raw(cb.cast::<StepWork>()) };
    let end = w.end.take();
    let Some(s) = &w.session else { return };
    if !w.op.committed.load(Ordering::Acquire) {
        return;
    }
    let is_dying = TaskRef::current().fields().flags & b::CR_PF_EXITING != 0;
    if !is_dying {
        if end.is_none() {
            // The end of a thread is told to the children that it has made, if they have asked for that: before they do.
            w.op.let_end();
        }
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
    drop(w);
    match end {
        Some(end) => queue_end(end),
        None if !is_dying => go_on::queue(),
        None => {}
    }
}

/// What is left of a thread that ends again.
#[repr(C)]
struct EndWork {
    cb: b::callback_head,
    code: i32,
    _module: ModuleRef,
}

impl EndWork {
    fn new(code: i32) -> Result<KBox<Self>> {
        let cb = b::callback_head { func: Some(end_work), ..Default::default() };
        Ok(KBox::new(EndWork { cb, code, _module: ModuleRef::get()? }, GFP_KERNEL)?)
    }
}

/// Lets the current thread end when its other works are done.
fn queue_end(work: KBox<EndWork>) {
    let raw = KBox::into_raw(work);
    // SAFETY: current; `cb` is the first field; the work frees itself when it runs.
    if unsafe { b::task_work_add(TaskRef::current().as_ptr(), raw.cast(), b::task_work_notify_mode_TWA_RESUME) } != 0 {
        // SAFETY: not queued, still ours.
        drop(unsafe { KBox::from_raw(raw) });
    }
}

/// Ends the current thread, and nothing else of its process.
unsafe extern "C" fn end_work(cb: *mut b::callback_head) {
    // SAFETY: the works of a batch are linked until they have run.
    let is_last = unsafe { (*cb).next.is_null() };
    // SAFETY: from `queue_end`; runs once.
    let work = unsafe { KBox::from_raw(cb.cast::<EndWork>()) };
    if TaskRef::current().fields().flags & b::CR_PF_EXITING != 0 {
        return;
    }
    if !is_last {
        // Those behind would never run.
        return queue_end(work);
    }
    let code = work.code;
    // The last instructions of this module in this thread are covered by the wait at module exit.
    drop(work);
    // CAST: 16 bits.
    // SAFETY: current is a thread of user space on its way there: it holds no lock and no reference any more.
    unsafe { b::do_exit(code as isize) };
}

fn final_registers(s: &Session, w: &StepWork) {
    // SAFETY: current's own registers, on its way to user mode.
    let regs = unsafe { b::crs_pt_regs(TaskRef::current().as_ptr()) };
    let handle = Handle::new(s, w.process);
    for p in w.op.parts() {
        if let Some(f) = p.used.ops().commit_regs {
            // SAFETY: live session and state; current's registers.
            unsafe { f(handle.as_raw(), p.state(w.process), w.number, regs) };
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
        // Threads that install filters wait for a look at them, a jiffy each.
        op.waiting.send_on()?;
        let is_waiting = op.waiting.is_some();
        let patience = if is_waiting { 1 } else { b::CR_HZ / 4 };
        let woken = op.server.wait(wait::INTERRUPTIBLE, Some(patience as usize), || {
            !op.queue.lock().ready.is_empty()
                || op.failed.load(Ordering::Acquire) != 0
                || !is_waiting && op.waiting.is_some()
                || op.is_finished()
        });
        // Not at the commit already: until its last work the leader dies with its parent (`strip`).
        if op.is_finished() {
            return Ok(());
        }
        // A failure of the process is the better answer than the signal that told of its death.
        op.check()?;
        if !woken? {
            if op.committed.load(Ordering::Acquire) {
                // Who ends now does so as a process that has been restarted.
                continue;
            }
            let is_over = |p: &Arc<Process>| {
                let task = p.task.lock();
                !p.is_zombie() && task.as_ref().is_some_and(OwnedTask::has_ended)
            };
            if op.processes().iter().any(is_over) || op.stand_ins().iter().any(|l| l.is_lost()) {
                return Err(s.fail(ESRCH, "core", b"the process was killed while it was being restarted", ""));
            }
            let begun = op.process(0).is_ok_and(|p| p.task.lock().is_some());
            if !begun && clocks::monotonic().saturating_sub(begin) > BEGIN_TIMEOUT_NS {
                return Err(s.fail(ETIME, "core", b"the process to be restarted has not called RESTART", ""));
            }
            continue;
        }
        let next = op.queue.lock().ready.pop();
        let Some(index) = next else { continue };
        let t = op.threads().get(index as usize).ok_or(EINVAL)?.clone();
        let task = t.task.lock();
        let Some(task) = &*task else { return Err(EINVAL) };
        settle(task)?;
        let handle = Handle::new(s, t.process);
        for p in op.parts() {
            let f = p.used.ops().commit_outside.ok_or(EINVAL)?;
            // SAFETY: live session and state; the task is referenced and switched out.
            let r = unsafe { f(handle.as_raw(), p.state(t.process), t.number, task.as_ptr()) };
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

