// SPDX-License-Identifier: GPL-2.0
//! The trait an extension implements, and the trampolines that carry it over the C ABI.

use crate::{
    bindings as b,
    context::{Checkpoint, Restart, Run},
    sys::{file::FileRef, task::TaskRef},
};
use core::{marker::PhantomData, ptr::NonNull};
use kernel::{ffi::c_int, ffi::c_long, ffi::c_void, prelude::*, str::CStr};

/// Where a restart stands. See `ARCHITECTURE.md`, "Restart".
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Leader only, before page data is read: descriptors, mappings.
    Process,
    /// Leader only: page data is in place and the image is verified to its last byte.
    Filled,
    /// Every thread, when all of them exist.
    Thread,
    /// Every thread, after all have finished [`Phase::Thread`]: limits, credentials.
    Late,
}

/// The place a call of [`Extension::step`] is made from.
#[derive(Clone, Copy)]
pub struct At {
    /// Phase of the restart.
    pub phase: Phase,
    /// Number of the thread that runs this (0 is the leader), in the order given to `set_threads`.
    pub task: u32,
    /// Counts the calls within this phase and thread, from 0.
    pub step: u32,
    /// Result of the previous system call of this phase, 0 at step 0.
    pub prev: i64,
}

/// A system call that the restarted thread is to make by itself, with its own credentials.
#[derive(Clone, Copy, Debug)]
pub struct Syscall {
    /// System call number of x86-64.
    pub nr: u32,
    /// Its arguments; pointers must lie in [`Restart::scratch`] or in restarted memory.
    pub args: [u64; 6],
}

impl Syscall {
    /// A system call with up to six arguments; missing ones are 0.
    pub fn new(nr: u32, args: &[u64]) -> Self {
        let mut a = [0; 6];
        for (to, from) in a.iter_mut().zip(args) {
            *to = *from;
        }
        Self { nr, args: a }
    }
}

/// What happens after a call of [`Extension::step`].
pub enum Next {
    /// The thread makes this system call, then `step` is called again with its result.
    Call(Syscall),
    /// Nothing left to do in this phase.
    Done,
}

/// One kind of resource, both directions.
///
/// The core calls `checkpoint` with all tasks frozen, and the restart functions in the order in which
/// they are listed here. No function is called after an error of the same session, except `drop` of
/// the state. An error must have been explained with [`Restart::fail`] or [`Checkpoint::fail`] unless
/// the errno alone says it all.
///
/// The functions with a default are those that many extensions have no use for. A default does nothing where nothing
/// is lost by that, and refuses where something would be: page data or a claimed file that nobody takes ends the
/// session. `prepare` and `step` have none, for a state that is checked but not put back would be lost in silence.
pub trait Extension: 'static {
    /// Resource word: names the module `cr_<word>`, its alias `crext-<word>` and its image section.
    const WORD: &'static CStr;
    /// Section id, from `cr_format::sections`, or `0x8000 | (crc32(word) & 0x7fff)` for third parties.
    const SECTION: u16;
    /// Extensions work in ascending order.
    const ORDER: u32;
    /// What `prepare` keeps for the later steps. Several threads use it at once.
    type State: Send + Sync;

    /// Emits the records of the frozen process and reports what would be lost. Default: everything is done file by
    /// file, in [`Extension::checkpoint_file`].
    fn checkpoint(_cx: &Checkpoint<'_>) -> Result {
        Ok(())
    }
    /// Streams page data, after all records. Default: there is none.
    fn bulk(_cx: &Checkpoint<'_>) -> Result {
        Ok(())
    }
    /// Is this open file ours? Must not sleep or change anything. Default: none is.
    fn claims(_file: &FileRef) -> bool {
        false
    }
    /// Emits the records of one claimed file; `id` is its object id in section `files`. Default: `EINVAL`.
    fn checkpoint_file(_cx: &Checkpoint<'_>, _file: &FileRef, _id: u32) -> Result {
        Err(EINVAL)
    }

    /// Checks every record and reserves whatever can run out. Nothing may become visible yet.
    fn prepare(cx: &Restart<'_>) -> Result<KBox<Self::State>>;
    /// One step of the restart, in the context of the thread `at.task`.
    fn step(cx: &Restart<'_>, state: &Self::State, at: At) -> Result<Next>;
    /// Makes the claimed file object `id` (leader, [`Phase::Process`]). Default: `EINVAL`.
    fn restart_file(_cx: &Restart<'_>, _state: &Self::State, _id: u32) -> Result<FileRef> {
        Err(EINVAL)
    }
    /// One chunk of page data of our section: contents of all runs that are not zero must be taken, in order, with
    /// [`Restart::bulk_read`]. Default: `EINVAL`.
    fn fill(_cx: &Restart<'_>, _state: &Self::State, _owner: u32, _runs: &[Run]) -> Result {
        Err(EINVAL)
    }
    /// Called by the coordinator on the switched-out thread, right before `commit_regs`.
    fn commit_outside(_cx: &Restart<'_>, _state: &Self::State, _task: u32, _t: &TaskRef<'_>) -> Result {
        Ok(())
    }
    /// Called by the thread on its way to user mode, last of all.
    fn commit_regs(_cx: &Restart<'_>, _state: &Self::State, _task: u32, _regs: &mut b::pt_regs) {}
}

/// A module that is one extension and nothing else: its `module!` and its registration.
///
/// ```text
/// crkit::extension_module! {
///     extension: Eventfd,
///     name: "cr_eventfd",
///     description: "Checkpoint and restart of processes: event counters",
///     alias: ["crext-eventfd", "crext-file-anon-eventfd"],
/// }
/// ```
///
/// A module that does more, or whose records have a schema, writes these lines itself: see `kmod/samples/`.
// `tt`, not `literal`: the macro `module!` wants the bare tokens.
#[macro_export]
macro_rules! extension_module {
    (extension: $extension:ty, name: $name:tt, description: $description:tt, alias: $alias:tt $(,)?) => {
        ::kernel::prelude::module! {
            type: Module,
            name: $name,
            authors: ["The crkit authors"],
            description: $description,
            license: "GPL",
            alias: $alias,
        }

        /// The module: its registration with the core.
        struct Module(#[expect(dead_code, reason = "unregisters on drop")] $crate::Registration<$extension>);

        impl ::kernel::Module for Module {
            fn init(module: &'static ::kernel::ThisModule) -> ::kernel::error::Result<Self> {
                Ok(Self($crate::Registration::new(module, &[])?))
            }
        }
    };
}

/// Keeps an extension registered with the core; unregisters on drop (module unload).
///
/// # Invariants
/// `ops` is registered with the core, and the module that owns the functions outlives `self`.
pub struct Registration<E: Extension> {
    ops: KBox<b::cr_extension_ops>,
    _extension: PhantomData<E>,
}

// SAFETY: `ops` is only read after registration; unregistering may happen on any thread.
unsafe impl<E: Extension> Send for Registration<E> {}
// SAFETY: there are no `&self` methods.
unsafe impl<E: Extension> Sync for Registration<E> {}

impl<E: Extension> Registration<E> {
    /// Registers `E` for `module`. `schema` are the records of section `schema` that describe the
    /// extension's records to old tools; empty for the words that `cr_format` already knows.
    ///
    /// # Errors
    /// `EEXIST` when the word or section is taken, `EINVAL` for another ABI, `ENOMEM`.
    pub fn new(module: &'static ThisModule, schema: &'static [u8]) -> Result<Self> {
        let ops = KBox::new(
            b::cr_extension_ops {
                abi: b::CR_ABI,
                order: E::ORDER,
                section: E::SECTION,
                reserved: 0,
                schema_len: u32::try_from(schema.len()).map_err(|_| EINVAL)?,
                word: E::WORD.as_ptr().cast(),
                owner: module.as_ptr().cast(),
                schema: schema.as_ptr(),
                checkpoint: Some(checkpoint::<E>),
                bulk: Some(bulk::<E>),
                claims: Some(claims::<E>),
                checkpoint_file: Some(checkpoint_file::<E>),
                prepare: Some(prepare::<E>),
                step: Some(step::<E>),
                restart_file: Some(restart_file::<E>),
                fill: Some(fill::<E>),
                commit_outside: Some(commit_outside::<E>),
                commit_regs: Some(commit_regs::<E>),
                release: Some(release::<E>),
            },
            GFP_KERNEL,
        )?;
        // SAFETY: `ops` lives in a box that is freed only after `cr_unregister_extension` (see `drop`),
        // and all function pointers match the ABI by their types.
        kernel::error::to_result(unsafe { b::cr_register_extension(&*ops) })?;
        // INVARIANT: just registered; the module is `'static` for its own code.
        Ok(Self { ops, _extension: PhantomData })
    }
}

impl<E: Extension> Drop for Registration<E> {
    fn drop(&mut self) {
        // SAFETY: registered by the type invariant; sessions that use it hold a module reference, so
        // none exists while the module is being unloaded.
        unsafe { b::cr_unregister_extension(&*self.ops) };
    }
}

fn status(r: Result) -> c_int {
    match r {
        Ok(()) => 0,
        Err(e) => e.to_errno(),
    }
}

/// Borrows the state that `prepare` put into a box.
///
/// # Safety
/// `state` came from `prepare::<E>` of this session and `release` has not been called.
unsafe fn state_of<'a, E: Extension>(state: *mut c_void) -> &'a E::State {
    // SAFETY: by the function's contract the box is alive; only shared references are ever made.
    unsafe { &*state.cast::<E::State>() }
}

unsafe extern "C" fn checkpoint<E: Extension>(s: *mut b::cr_session) -> c_int {
    // SAFETY: the core passes a live checkpoint session for the duration of the call.
    status(E::checkpoint(&unsafe { Checkpoint::from_raw(s, E::SECTION) }))
}
unsafe extern "C" fn bulk<E: Extension>(s: *mut b::cr_session) -> c_int {
    // SAFETY: as in `checkpoint`.
    status(E::bulk(&unsafe { Checkpoint::from_raw(s, E::SECTION) }))
}
unsafe extern "C" fn claims<E: Extension>(file: *mut b::file) -> c_int {
    // SAFETY: the core holds a reference to `file` during the call; `with` never drops one.
    unsafe { FileRef::with(file, |f| c_int::from(E::claims(f))) }
}
unsafe extern "C" fn checkpoint_file<E: Extension>(s: *mut b::cr_session, file: *mut b::file, id: u32) -> c_int {
    // SAFETY: as in `checkpoint`.
    let cx = unsafe { Checkpoint::from_raw(s, E::SECTION) };
    // SAFETY: as in `claims`.
    unsafe { FileRef::with(file, |f| status(E::checkpoint_file(&cx, f, id))) }
}
unsafe extern "C" fn prepare<E: Extension>(s: *mut b::cr_session, state: *mut *mut c_void) -> c_int {
    // SAFETY: the core passes a live restart session.
    match E::prepare(&unsafe { Restart::from_raw(s, E::SECTION) }) {
        Ok(v) => {
            // SAFETY: the core passes a valid out pointer.
            unsafe { *state = KBox::into_raw(v).cast() };
            0
        }
        Err(e) => e.to_errno(),
    }
}
unsafe extern "C" fn step<E: Extension>(
    s: *mut b::cr_session,
    state: *mut c_void,
    phase: u32,
    task: u32,
    step: u32,
    prev: c_long,
    call: *mut b::cr_syscall,
) -> c_int {
    let phase = match phase {
        b::CR_PHASE_PROCESS => Phase::Process,
        b::CR_PHASE_FILLED => Phase::Filled,
        b::CR_PHASE_THREAD => Phase::Thread,
        _ => Phase::Late,
    };
    // SAFETY: live session; state from `prepare::<E>` of the same session.
    let (cx, state) = unsafe { (Restart::from_raw(s, E::SECTION), state_of::<E>(state)) };
    match E::step(&cx, state, At { phase, task, step, prev: prev as i64 }) {
        Ok(Next::Done) => 0,
        Ok(Next::Call(c)) => {
            // SAFETY: the core passes a valid out pointer.
            unsafe {
                (*call).nr = c.nr as c_long;
                (*call).args = c.args.map(|a| a as usize);
            }
            1
        }
        Err(e) => e.to_errno(),
    }
}
unsafe extern "C" fn restart_file<E: Extension>(
    s: *mut b::cr_session,
    state: *mut c_void,
    id: u32,
    file: *mut *mut b::file,
) -> c_int {
    // SAFETY: as in `step`.
    let (cx, state) = unsafe { (Restart::from_raw(s, E::SECTION), state_of::<E>(state)) };
    match E::restart_file(&cx, state, id) {
        Ok(f) => {
            // SAFETY: valid out pointer; the reference moves to the caller.
            unsafe { *file = f.into_raw() };
            0
        }
        Err(e) => e.to_errno(),
    }
}
unsafe extern "C" fn fill<E: Extension>(
    s: *mut b::cr_session,
    state: *mut c_void,
    owner: u32,
    runs: *const b::cr_run,
    nruns: u32,
) -> c_int {
    // SAFETY: as in `step`.
    let (cx, state) = unsafe { (Restart::from_raw(s, E::SECTION), state_of::<E>(state)) };
    // SAFETY: the core passes `nruns` initialised entries that stay valid during the call; nruns > 0.
    let runs = unsafe { core::slice::from_raw_parts(runs, nruns as usize) };
    status(E::fill(&cx, state, owner, runs))
}
unsafe extern "C" fn commit_outside<E: Extension>(
    s: *mut b::cr_session,
    state: *mut c_void,
    task: u32,
    t: *mut b::task_struct,
) -> c_int {
    // SAFETY: as in `step`.
    let (cx, state) = unsafe { (Restart::from_raw(s, E::SECTION), state_of::<E>(state)) };
    let Some(t) = NonNull::new(t) else { return EINVAL.to_errno() };
    // SAFETY: the core holds a reference to the task during the call.
    status(E::commit_outside(&cx, state, task, &unsafe { TaskRef::borrow(t) }))
}
unsafe extern "C" fn commit_regs<E: Extension>(
    s: *mut b::cr_session,
    state: *mut c_void,
    task: u32,
    regs: *mut b::pt_regs,
) {
    // SAFETY: as in `step`; `regs` are the current task's own user registers.
    unsafe { E::commit_regs(&Restart::from_raw(s, E::SECTION), state_of::<E>(state), task, &mut *regs) };
}
unsafe extern "C" fn release<E: Extension>(state: *mut c_void) {
    // SAFETY: `state` came from `KBox::into_raw` in `prepare::<E>`; the core calls this once, last.
    drop(unsafe { KBox::from_raw(state.cast::<E::State>()) });
}
