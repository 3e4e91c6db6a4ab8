// SPDX-License-Identifier: GPL-2.0
//! A session: what one open of the device does, once.
//!
//! States: idle → checkpointing → (frozen →) done, or idle → loaded → restarting → done. The state is a
//! guard against misuse and against two calls at once; the data of each kind is in `checkpoint.rs` and
//! `restart.rs`.
//!
//! Lock order: `checkpoint` or `restart` slot → report. None is held across a call into an extension or
//! across user memory access.

use crate::{checkpoint::CheckpointOp, landlock, report::Report, restart::RestartOp};
use core::sync::atomic::{AtomicU32, Ordering};
use crkit::{RecordBuf, bindings as b};
use kernel::{new_mutex, prelude::*, sync::Arc, sync::Mutex};

/// Where a session is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub(crate) enum State {
    /// Nothing done yet.
    Idle = 0,
    /// `CHECKPOINT` is running.
    Checkpointing = 1,
    /// A process is kept frozen.
    Frozen = 2,
    /// An image has been loaded.
    Loaded = 3,
    /// `RESTART` has begun.
    Restarting = 4,
    /// Over.
    Done = 5,
    /// `LOAD` is running.
    Loading = 6,
}

/// Sessions that exist, for `status`.
static SESSIONS: AtomicU32 = AtomicU32::new(0);

/// What an extension knows as its session: the session, and which process of it is spoken of.
pub(crate) struct Handle {
    session: *const Session,
    /// Number of the process.
    pub(crate) process: u32,
    /// Are records that are emitted about what processes share?
    pub(crate) shares: bool,
}

// SAFETY: the pointer is used only while the session is known to live, see `from_raw`.
unsafe impl Send for Handle {}
// SAFETY: as above; a session may be used by several threads at once.
unsafe impl Sync for Handle {}

impl Handle {
    /// Process number `process` of the session.
    pub(crate) fn new(session: &Session, process: u32) -> Self {
        Self { session, process, shares: false }
    }

    /// The same process, for records about what it may share with others.
    pub(crate) fn sharing(session: &Session, process: u32) -> Self {
        Self { session, process, shares: true }
    }

    /// The pointer that extensions get; valid as long as `self`.
    pub(crate) fn as_raw(&self) -> *mut b::cr_session {
        core::ptr::from_ref(self).cast_mut().cast()
    }

    /// The handle behind a pointer that an extension passes back, and its session.
    ///
    /// # Safety
    /// `s` came from `as_raw` of a handle that lives for `'a`, as does its session.
    pub(crate) unsafe fn from_raw<'a>(s: *mut b::cr_session) -> (&'a Handle, &'a Session) {
        // SAFETY: by the caller's promise.
        unsafe {
            let me = &*s.cast::<Handle>();
            (me, &*me.session)
        }
    }
}

/// One open of the device.
#[pin_data(PinnedDrop)]
pub(crate) struct Session {
    state: AtomicU32,
    /// What the user reads.
    #[pin]
    pub(crate) report: Report,
    /// The checkpoint, from `CHECKPOINT` on.
    #[pin]
    pub(crate) checkpoint: Mutex<Option<Arc<CheckpointOp>>>,
    /// The restart, from `LOAD` on.
    #[pin]
    pub(crate) restart: Mutex<Option<Arc<RestartOp>>>,
    /// First half of the Landlock experiment.
    #[pin]
    pub(crate) landlock: landlock::Before,
}

impl Session {
    /// A new session.
    pub(crate) fn new() -> Result<Arc<Self>> {
        let me = Arc::pin_init(
            pin_init!(Self {
                state: AtomicU32::new(State::Idle as u32),
                report <- Report::new(),
                checkpoint <- new_mutex!(None),
                restart <- new_mutex!(None),
                landlock <- new_mutex!(KVec::new()),
            }),
            GFP_KERNEL,
        )?;
        SESSIONS.fetch_add(1, Ordering::Relaxed);
        Ok(me)
    }

    /// Sessions that exist.
    pub(crate) fn count() -> u32 {
        SESSIONS.load(Ordering::Relaxed)
    }

    /// Goes from one state to the next.
    ///
    /// # Errors
    /// `EBUSY` when the session is in another state.
    pub(crate) fn go(&self, from: State, to: State) -> Result {
        self.state
            .compare_exchange(from as u32, to as u32, Ordering::AcqRel, Ordering::Relaxed)
            .map(|_| ())
            .map_err(|_| EBUSY)
    }

    /// Sets the state at the end of a call that owned it.
    pub(crate) fn set(&self, to: State) {
        self.state.store(to as u32, Ordering::Release);
    }

    /// The checkpoint in progress.
    pub(crate) fn checkpoint_op(&self) -> Result<Arc<CheckpointOp>> {
        self.checkpoint.lock().clone().ok_or(EINVAL)
    }

    /// The restart in progress.
    pub(crate) fn restart_op(&self) -> Result<Arc<RestartOp>> {
        self.restart.lock().clone().ok_or(EINVAL)
    }

    /// Explains a failure in the report; returns the error.
    pub(crate) fn fail(&self, error: Error, word: &str, message: &[u8], remedy: &str) -> Error {
        self.fail_at(error, word, 0, "", message, remedy)
    }

    /// Explains a failure at an image offset.
    pub(crate) fn fail_at(&self, error: Error, word: &str, offset: u64, rule: &str, message: &[u8], remedy: &str) -> Error {
        let record = cr_format::FailureRecord {
            id: 0,
            word: word.as_bytes(),
            errno: error.to_errno().unsigned_abs().into(),
            offset,
            rule: rule.as_bytes(),
            message,
            remedy: remedy.as_bytes(),
        };
        let mut buf = RecordBuf::new();
        // Out of memory while explaining must not hide the error.
        let _ = buf.push(&record).and_then(|()| self.report.push(false, buf.bytes()));
        error
    }

    /// Explains an error that the format crate found at image offset `base` + its own.
    pub(crate) fn fail_format(&self, e: cr_format::Error) -> Error {
        use cr_format::ErrorKind as K;
        let word = cr_format::sections::word(e.section).unwrap_or("image");
        let (rule, text): (&str, &str) = match e.kind {
            K::Rule(r) => (r, cr_format::rule_text(r)),
            K::BadChecksum { .. } => ("", "the checksum does not match: the image is damaged"),
            K::Truncated { .. } => ("", "the image ends too early: it is truncated or its checkpoint did not finish"),
            K::Unsupported(what) => ("", what),
            K::OverLimit { .. } => ("", "a size in the image is over the limit of this release"),
            _ => ("", "the image cannot be read"),
        };
        let remedy = match e.kind {
            K::Unsupported(_) => "use the release of crkit that wrote the image, or newer",
            _ => "the image is damaged or was edited by hand; list every defect with: crimg verify IMAGE",
        };
        self.fail_at(crkit::errno_of(e), word, e.offset, rule, text.as_bytes(), remedy)
    }
}

#[pinned_drop]
impl PinnedDrop for Session {
    fn drop(self: Pin<&mut Self>) {
        // A frozen process is thawed and a half-built one killed by the drops of the two operations.
        SESSIONS.fetch_sub(1, Ordering::Relaxed);
    }
}
