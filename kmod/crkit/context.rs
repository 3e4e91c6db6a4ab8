// SPDX-License-Identifier: GPL-2.0
//! What an extension may ask of the core during a checkpoint or a restart.

use crate::{
    bindings as b, errno_of,
    record::{Obstacle, RecordBuf},
    sys::{
        file::FileRef,
        mm::{MmRef, PageBatch},
        task::TaskRef,
    },
};
use cr_format::Record;
use core::{marker::PhantomData, ptr::NonNull};
use kernel::{
    error::to_result,
    prelude::*,
    str::{CStr, CString},
};

/// One run of pages: `start` (address or byte offset), `npages`, `kind` ([`RUN_DATA`], [`RUN_ZERO`],
/// [`RUN_DUPLICATE`]), `source` (of a duplicate).
pub type Run = b::cr_run;
/// Pages whose contents the chunk stores.
pub const RUN_DATA: u32 = b::CR_RUN_DATA;
/// Pages that are zero.
pub const RUN_ZERO: u32 = b::CR_RUN_ZERO;
/// Pages that all equal one stored page of the same chunk; only in a restart, see [`Restart::bulk_read`].
pub const RUN_DUPLICATE: u32 = b::CR_RUN_DUPLICATE;
/// Most pages that [`Restart::bulk_read`] takes at once, and that a chunk stores.
pub const BATCH: u32 = b::CR_PAGES_PER_CHUNK;

/// Cuts a run into pieces of at most [`BATCH`] pages: (start, number of pages).
pub fn batches(run: &Run) -> impl Iterator<Item = (u64, u32)> {
    let (mut at, mut left) = (run.start, run.npages);
    core::iter::from_fn(move || {
        let n = left.min(BATCH);
        let start = at;
        at = at.saturating_add(u64::from(n).saturating_mul(cr_format::limits::PAGE));
        left = left.saturating_sub(n);
        (n > 0).then_some((start, n))
    })
}

/// What both directions have in common: the report that the user reads.
#[derive(Clone, Copy)]
pub struct Session<'a> {
    ptr: NonNull<b::cr_session>,
    _life: PhantomData<&'a b::cr_session>,
}

impl Session<'_> {
    fn report<'r, R: Record<'r>>(&self, kind: u32, record: &R) -> Result {
        let mut buf = RecordBuf::new();
        buf.push(record)?;
        // SAFETY: the session is live by the invariants of the context types; the buffer outlives the call.
        to_result(unsafe { b::cr_report(self.ptr.as_ptr(), kind, buf.bytes().as_ptr(), buf.bytes().len()) })
    }

    /// Explains a failure to the user and returns `error`, to be passed on: `return Err(cx.fail(..))`.
    ///
    /// `rule` is the broken rule of the image format, or empty.
    pub fn fail(&self, error: Error, word: &str, rule: &str, message: &[u8], remedy: &str) -> Error {
        let record = cr_format::FailureRecord {
            id: 0,
            word: word.as_bytes(),
            errno: error.to_errno().unsigned_abs().into(),
            offset: 0,
            rule: rule.as_bytes(),
            message,
            remedy: remedy.as_bytes(),
        };
        // A report that cannot be kept (out of memory) must not hide the error itself.
        let _ = self.report(b::CR_REPORT_FAILURE, &record);
        error
    }

    /// [`Session::fail`] for an error found by the image format crate.
    pub fn fail_format(&self, word: &str, e: cr_format::Error) -> Error {
        let rule = match e.kind {
            cr_format::ErrorKind::Rule(r) => r,
            _ => "",
        };
        let text = if rule.is_empty() { "the image is damaged or unsupported" } else { cr_format::rule_text(rule) };
        self.fail(errno_of(e), word, rule, text.as_bytes(), "list every defect with: crimg verify IMAGE")
    }

    /// Tells the user of a descriptor that must be connected at restart.
    pub fn report_external(&self, record: &cr_format::ExternalRecord<'_>) -> Result {
        self.report(b::CR_REPORT_EXTERNAL, record)
    }

    /// Number of the process that this is about: 0 is the first.
    pub fn process(&self) -> u32 {
        // SAFETY: live session.
        unsafe { b::cr_process(self.ptr.as_ptr()) }
    }

    /// Number of processes.
    pub fn process_count(&self) -> u32 {
        // SAFETY: live session.
        unsafe { b::cr_process_count(self.ptr.as_ptr()) }
    }

    /// Tells the user something that is no failure.
    pub fn note(&self, word: &str, message: &[u8]) -> Result {
        self.report(b::CR_REPORT_NOTE, &cr_format::NoteRecord { id: 0, word: word.as_bytes(), message })
    }
}

macro_rules! context {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// # Invariants
        /// The session is live and of this direction for the lifetime `'a`.
        #[derive(Clone, Copy)]
        pub struct $name<'a> {
            session: Session<'a>,
            section: u16,
        }

        impl<'a> $name<'a> {
            /// Wraps the pointer that crossed the ABI.
            ///
            /// # Safety
            /// `ptr` is a live session of this direction for `'a`.
            pub unsafe fn from_raw(ptr: *mut b::cr_session, section: u16) -> Self {
                // SAFETY: not null by the caller's promise.
                let ptr = unsafe { NonNull::new_unchecked(ptr) };
                // INVARIANT: by the caller's promise.
                Self { session: Session { ptr, _life: PhantomData }, section }
            }

            fn raw(&self) -> *mut b::cr_session {
                self.session.ptr.as_ptr()
            }

            /// The section of the extension that was called.
            pub fn section_id(&self) -> u16 {
                self.section
            }
        }

        impl<'a> core::ops::Deref for $name<'a> {
            type Target = Session<'a>;
            fn deref(&self) -> &Session<'a> {
                &self.session
            }
        }
    };
}

/// What [`Checkpoint::has`] looks for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Member {
    /// A thread.
    Thread,
    /// A process (thread group).
    Process,
    /// A process group.
    Group,
}

context! {
    /// A checkpoint in progress; all tasks are frozen at the user boundary.
    Checkpoint
}
context! {
    /// A restart in progress.
    Restart
}

impl<'a> Checkpoint<'a> {
    /// Another process of the checkpoint; records emitted through it are about that process. `None` behind the last.
    pub fn of_process(&self, number: u32) -> Option<Checkpoint<'a>> {
        // SAFETY: live session.
        let raw = unsafe { b::cr_of_process(self.raw(), number) };
        // SAFETY: handles live as long as the session.
        (!raw.is_null()).then(|| unsafe { Self::from_raw(raw, self.section) })
    }

    /// All processes of the checkpoint, those included that have ended ([`Checkpoint::is_zombie`]).
    pub fn all_processes(&self) -> impl Iterator<Item = Checkpoint<'a>> + use<'a, '_> {
        (0..self.process_count()).filter_map(|n| self.of_process(n))
    }

    /// Has the process ended, and its parent has not waited for it yet? Then it has a leader and nothing else.
    pub fn is_zombie(&self) -> bool {
        self.task_count() == 0
    }

    /// The same process, for records about itself inside of [`crate::Extension::checkpoint_file`].
    pub fn own(&self) -> Checkpoint<'a> {
        self.of_process(self.process()).unwrap_or(*self)
    }

    /// The next number, from 1, of this process in the numbering `space`, see [`Checkpoint::object_in`].
    pub fn number(&self, space: u16) -> Result<u32> {
        let mut number = 0;
        // SAFETY: live session, valid out pointer.
        to_result(unsafe { b::cr_number(self.raw(), space, &mut number) })?;
        Ok(number)
    }

    /// The process that the object with this key was numbered in, see [`Checkpoint::object_in`].
    pub fn object_process(&self, space: u16, key: u64) -> Option<u32> {
        let mut process = 0;
        // SAFETY: live session, valid out pointer.
        (unsafe { b::cr_object_process(self.raw(), space, key, &mut process) } == 1).then_some(process)
    }

    /// Appends one record to the section: about the process, or in [`crate::Extension::checkpoint_file`] about what processes
    /// share.
    pub fn emit<'r, R: Record<'r>>(&self, record: &R) -> Result {
        let mut buf = RecordBuf::new();
        buf.push(record)?;
        self.emit_bytes(R::SECTION, buf.bytes())
    }

    /// Appends encoded records to section `section`.
    pub fn emit_bytes(&self, section: u16, records: &[u8]) -> Result {
        // SAFETY: live session; the slice is valid during the call.
        to_result(unsafe { b::cr_emit(self.raw(), section, records.as_ptr(), records.len()) })
    }

    /// Reports something that would be lost. The checkpoint goes on to find the others, then is refused.
    pub fn obstacle(&self, o: Obstacle<'_>) -> Result {
        let record = cr_format::ObstacleRecord {
            id: 0,
            word: o.word.as_bytes(),
            pid: self.leader().tgid_vnr().into(),
            tid: o.tid.into(),
            fd: o.fd,
            address: o.address,
            object: o.object,
            reason: o.reason.as_bytes(),
            remedy: o.remedy.as_bytes(),
        };
        self.session.report(b::CR_REPORT_OBSTACLE, &record)
    }

    /// Number of frozen tasks.
    pub fn task_count(&self) -> u32 {
        // SAFETY: live checkpoint session.
        unsafe { b::cr_task_count(self.raw()) }
    }

    /// The thread group leader; another thread of the process if that has ended alone ([`Checkpoint::ended_main`]).
    pub fn leader(&self) -> TaskRef<'a> {
        // SAFETY: live session; there is always a leader; its reference lives as long as the session.
        unsafe { TaskRef::borrow(NonNull::new_unchecked(b::cr_task(self.raw(), 0))) }
    }

    /// The main thread, if it has ended while others of the process go on: it has no memory, files or registers any more.
    pub fn ended_main(&self) -> Option<TaskRef<'a>> {
        let first = self.leader();
        let main = NonNull::new(first.fields().group_leader)?;
        // SAFETY: the session holds references to the leaders of all its processes, this one included, for `'a`.
        (main.as_ptr() != first.as_ptr()).then(|| unsafe { TaskRef::borrow(main) })
    }

    /// All frozen tasks, leader first if it lives.
    pub fn tasks(&self) -> impl Iterator<Item = TaskRef<'a>> + '_ {
        (0..self.task_count()).filter_map(|i| {
            // SAFETY: live session.
            let t = NonNull::new(unsafe { b::cr_task(self.raw(), i) })?;
            // SAFETY: the session holds a reference for `'a`.
            Some(unsafe { TaskRef::borrow(t) })
        })
    }

    /// Is this the id of a frozen thread of the process, of the process itself, or of its group?
    pub fn has(&self, what: Member, id: u32) -> bool {
        let is_it = |t: TaskRef<'_>| {
            id == match what {
                Member::Thread => t.pid_vnr(),
                Member::Process => t.tgid_vnr(),
                Member::Group => t.pgrp_vnr(),
            }
        };
        self.tasks().any(is_it)
    }

    /// The address space that all tasks share.
    pub fn mm(&self) -> MmRef<'a> {
        // SAFETY: the session holds a reference (mm_users) for `'a`.
        unsafe { MmRef::borrow(b::cr_mm(self.raw())) }
    }

    /// `CHECKPOINT_*` flags of the caller.
    pub fn flags(&self) -> u32 {
        // SAFETY: live session.
        unsafe { b::cr_checkpoint_flags(self.raw()) }
    }

    /// Number of the word in the security blob of a task's credentials that leads to its Landlock domain; `None` if no domain
    /// is to be kept, because the kernel has none, or the user gives them up.
    pub fn landlock_word(&self) -> Option<usize> {
        // SAFETY: live session.
        usize::try_from(unsafe { b::cr_landlock_word(self.raw()) }).ok()
    }

    /// Did the user promise to connect descriptor `fd` at restart?
    pub fn is_external(&self, fd: u32) -> bool {
        // SAFETY: live session.
        unsafe { b::cr_is_external(self.raw(), fd) != 0 }
    }

    /// The object id of `key` (an address or another number that is unique while frozen) in the
    /// extension's section, and whether it is new.
    pub fn object(&self, key: u64) -> Result<(u32, bool)> {
        let mut id = 0;
        // SAFETY: live session, valid out pointer.
        let r = unsafe { b::cr_object(self.raw(), self.section, key, &mut id) };
        if r < 0 {
            to_result(r)?;
        }
        Ok((id, r == 1))
    }

    /// [`Checkpoint::object`] in a numbering of its own: `space` is any number that is no section id of
    /// another extension; below 16 is free for all.
    pub fn object_in(&self, space: u16, key: u64) -> Result<(u32, bool)> {
        let mut id = 0;
        // SAFETY: live session, valid out pointer.
        let r = unsafe { b::cr_object(self.raw(), space, key, &mut id) };
        if r < 0 {
            to_result(r)?;
        }
        Ok((id, r == 1))
    }

    /// The id of an open file that a process has, in section `files`. For extensions that `files` asks about open files.
    pub fn open_file_id(&self, file: &FileRef) -> Result<u32> {
        let own = file.as_ptr() as u64;
        // One whose contents are in the image is known by its inode.
        let key = match self.object_process(cr_format::FILES, own) {
            Some(_) => own,
            None => file.inode_key() as u64,
        };
        Ok(self.object_in(cr_format::FILES, key)?.0)
    }

    /// Lets the extension with this resource word take part, loading its module `crext-<word>` if need be: it has
    /// emitted its own records when this returns its section. `None` when there is no such extension.
    pub fn require(&self, word: &CStr) -> Result<Option<u16>> {
        let mut section = 0;
        // SAFETY: live session; `word` is NUL-terminated, the out pointer valid.
        let r = unsafe { b::cr_require(self.raw(), word.as_ptr().cast(), &mut section) };
        if r < 0 {
            to_result(r)?;
        }
        Ok((r == 1).then_some(section))
    }

    /// Finds, loading its module if need be, the extension that keeps `file`. `kind` names the kind of
    /// file for the module alias `crext-file-<kind>`.
    pub fn claim(&self, file: &FileRef, kind: &CStr) -> Result<Option<u16>> {
        let mut section = 0;
        // SAFETY: live session; `file` is referenced; `kind` is NUL-terminated.
        let r = unsafe { b::cr_claim(self.raw(), file.as_ptr(), kind.as_ptr().cast(), &mut section) };
        if r < 0 {
            to_result(r)?;
        }
        Ok((r == 1).then_some(section))
    }

    /// The lowest descriptor of `file` in the frozen process, -1 if it has none: for messages.
    pub fn descriptor_of(&self, file: &FileRef) -> i64 {
        let mut all = crate::sys::open_file::descriptors(self.leader());
        all.find(|(_, f)| f.as_ptr() == file.as_ptr()).map_or(-1, |(fd, _)| fd.into())
    }

    /// Lets the extension of `section` emit its records of `file`.
    pub fn checkpoint_file(&self, section: u16, file: &FileRef, id: u32) -> Result {
        // SAFETY: live session; `file` is referenced.
        to_result(unsafe { b::cr_checkpoint_file(self.raw(), section, file.as_ptr(), id) })
    }

    /// Writes one PAGE chunk: `runs` of data and of zero in ascending order, `pages` the pages of those of data.
    pub fn bulk_write(&self, owner: u32, runs: &[Run], pages: &PageBatch) -> Result {
        let nruns = u32::try_from(runs.len()).map_err(|_| EINVAL)?;
        // SAFETY: live session; both arrays are valid during the call, the pages are referenced.
        to_result(unsafe {
            b::cr_bulk_write(self.raw(), self.section, owner, runs.as_ptr(), nruns, pages.as_ptr(), pages.len())
        })
    }
}

impl<'a> Restart<'a> {
    /// All records of a section about the process, checked: empty if the image has none.
    pub fn section(&self, section: u16) -> &'a [u8] {
        self.section_of(self.process(), section)
    }

    /// The records of a section about the first process and what all share.
    pub fn shared_section(&self, section: u16) -> &'a [u8] {
        self.section_of(0, section)
    }

    /// The shared records of type `R`, in image order.
    pub fn shared_records<R: Record<'a>>(&self) -> impl Iterator<Item = Result<R>> + use<'a, R> {
        cr_format::records_of::<R>(self.shared_section(R::SECTION)).map(|r| r.map_err(errno_of))
    }

    /// The records of a section about process number `process`.
    pub fn section_of(&self, process: u32, section: u16) -> &'a [u8] {
        let mut len = 0;
        // SAFETY: live session, valid out pointer.
        let p = unsafe { b::cr_section(self.raw(), process, section, &mut len) };
        if p.is_null() || len == 0 {
            return &[];
        }
        // SAFETY: the core keeps the sections unchanged until the end of the session.
        unsafe { core::slice::from_raw_parts(p, len) }
    }

    /// The records of type `R`, in image order.
    pub fn records<R: Record<'a>>(&self) -> impl Iterator<Item = Result<R>> + use<'a, R> {
        cr_format::records_of::<R>(self.section(R::SECTION)).map(|r| r.map_err(errno_of))
    }

    /// Declares the threads to create, leader first; called once by the extension that makes them.
    pub fn set_threads(&self, tids: &[u32]) -> Result {
        let n = u32::try_from(tids.len()).map_err(|_| EINVAL)?;
        // SAFETY: live session; the slice is valid during the call.
        to_result(unsafe { b::cr_set_threads(self.raw(), tids.as_ptr(), n) })
    }

    /// Declares that descriptors below `min_fd` belong to the image.
    pub fn set_min_fd(&self, min_fd: u32) -> Result {
        // SAFETY: live session.
        to_result(unsafe { b::cr_set_min_fd(self.raw(), min_fd) })
    }

    /// Declares an address range that the image leaves free, for the restart stub and the scratch memory.
    pub fn set_hole(&self, start: u64, end: u64) -> Result {
        // SAFETY: live session.
        to_result(unsafe { b::cr_set_hole(self.raw(), start, end) })
    }

    /// Thread id of thread number `task`; 0 behind the last.
    pub fn thread_id(&self, task: u32) -> u32 {
        // SAFETY: live session.
        unsafe { b::cr_thread_id(self.raw(), task) }
    }

    /// The file that the user connects as descriptor `fd`, if any.
    pub fn mapped_file(&self, fd: u32) -> Option<FileRef> {
        // SAFETY: live session; the returned reference is ours.
        unsafe { FileRef::from_raw(b::cr_mapped_file(self.raw(), fd)) }
    }

    /// `RESTART_*` flags of the caller.
    pub fn flags(&self) -> u32 {
        // SAFETY: live session.
        unsafe { b::cr_restart_flags(self.raw()) }
    }

    /// `FILES_*` policy of the caller.
    pub fn files_policy(&self) -> u32 {
        // SAFETY: live session.
        unsafe { b::cr_files_policy(self.raw()) }
    }

    /// User memory of thread `task` for the arguments of system calls: address and length in bytes.
    pub fn scratch(&self, task: u32) -> (u64, usize) {
        let mut len = 0;
        // SAFETY: live session, valid out pointer.
        let at = unsafe { b::cr_scratch(self.raw(), task, &mut len) };
        (at as u64, len)
    }

    /// Copies `bytes` into the scratch memory of thread `task` at `offset`, and returns the user address.
    /// The current task must be that thread.
    pub fn to_scratch(&self, task: u32, offset: usize, bytes: &[u8]) -> Result<u64> {
        let (at, len) = self.scratch(task);
        let end = offset.checked_add(bytes.len()).ok_or(EOVERFLOW)?;
        if end > len {
            return Err(E2BIG);
        }
        let to = at.checked_add(offset as u64).ok_or(EOVERFLOW)?;
        crate::sys::user::write(to, bytes)?;
        Ok(to)
    }

    /// What section `files` says about file object `id`.
    ///
    /// # Errors
    /// `EUCLEAN` when there is none.
    pub fn file_record(&self, id: u32) -> Result<cr_format::FileRecord<'a>> {
        for r in self.shared_records::<cr_format::FileRecord<'a>>() {
            let r = r?;
            if r.id == id {
                return Ok(r);
            }
        }
        Err(EUCLEAN)
    }

    /// The lowest descriptor that file object `file` gets, for extension `word`.
    ///
    /// # Errors
    /// `EUCLEAN` when it gets none, explained.
    pub fn descriptor_of(&self, word: &str, file: u64) -> Result<u32> {
        for d in self.records::<cr_format::DescriptorRecord>() {
            let d = d?;
            if d.file == file {
                return u32::try_from(d.fd).map_err(|_| EUCLEAN);
            }
        }
        let text = CString::try_from_fmt(fmt!("open file {file} is needed, but has no descriptor"))?;
        Err(self.fail(EUCLEAN, word, "", text.to_bytes(), "list every defect with: crimg verify IMAGE"))
    }

    /// Lets the extension of `section` make file object `id`.
    pub fn restart_file(&self, section: u16, id: u32) -> Result<FileRef> {
        let mut file = core::ptr::null_mut();
        // SAFETY: live session, valid out pointer.
        to_result(unsafe { b::cr_restart_file(self.raw(), section, id, &mut file) })?;
        // SAFETY: on success the reference is ours.
        unsafe { FileRef::from_raw(file) }.ok_or(EINVAL)
    }

    /// Gives an open file, known as `id` of the extension's section, to the other processes.
    pub fn put_file(&self, id: u32, file: &FileRef) -> Result {
        // SAFETY: live session and file.
        to_result(unsafe { b::cr_put_file(self.raw(), self.section, id, file.as_ptr()) })
    }

    /// What another process has given, or will give, by [`Restart::put_file`]: waits for it.
    pub fn get_file(&self, id: u32) -> Result<FileRef> {
        let mut file = core::ptr::null_mut();
        // SAFETY: live session, valid out pointer.
        to_result(unsafe { b::cr_get_file(self.raw(), self.section, id, &mut file) })?;
        // SAFETY: on success the reference is ours.
        unsafe { FileRef::from_raw(file) }.ok_or(EINVAL)
    }

    /// Fills the pages, at most [`BATCH`], with the next contents of the chunk being read: those of its runs that
    /// are not zero, in order. The core repeats what is duplicate, so such a run is taken like one with data,
    /// but it can have any number of pages: take it in [`batches`].
    pub fn bulk_read(&self, pages: &PageBatch) -> Result {
        // SAFETY: live session; the pages are referenced and belong to the restarted process.
        to_result(unsafe { b::cr_bulk_read(self.raw(), pages.as_ptr(), pages.len()) })
    }
}
