// SPDX-License-Identifier: GPL-2.0
//! Makes instances, and gives them their watches and unread events when everything else is in place.
//!
//! First every watch is made with an empty mask, so that nothing that happens meanwhile is told. Then the events are
//! queued by the kernel's own function, in their order. An event of a watch that is gone needs one while it is
//! queued: it watches a file in memory that nobody else has, and its removal leaves the `IN_IGNORED` that it had left
//! before. That is done before anybody asks for signals (`owners`). Last, when no process opens files any more, the
//! watches get their masks.

use crate::{lent::Lent, sys::Instance, WORD};
use cr_format::{InotifyRecord, NotifyRecord, PlaceRecord, Record, INOTIFY, IN_IGNORED, IN_Q_OVERFLOW};
use cr_logic::inotify::{end, End};
use crkit::{
    bindings as b, errno_of,
    objects::{self, Maker, Objects},
    sys::{file::FileRef, open_file, path::PathText},
    At, Next, Restart, Syscall,
};
use kernel::{fmt, new_mutex, prelude::*, str::{BStr, CString}, sync::Mutex};

/// `INOTIFY_IOC_SETNEXTWD`: `_IOW('I', 0, __s32)`.
const SET_NEXT_WD: u64 = 0x4004_4900;
const IN_DONT_FOLLOW: u64 = 0x0200_0000;
/// A bit that asks for nothing: with it alone a watch has an empty mask.
const IN_MASK_ADD: u64 = 0x2000_0000;

/// One step for the instance of the last [`Step::Open`]. Places and events are offsets of their records in the section.
#[derive(Clone, Copy)]
enum Step {
    /// From here on it is about this open file.
    Open { file: u64 },
    /// The next watch gets this number.
    Number { wd: u32 },
    /// A watch without events, or with those of its record.
    Watch { place: usize, quiet: bool },
    /// A file in memory, to be watched instead of what was.
    Make,
    /// The watch on it.
    Stand { wd: u32 },
    /// The end of this watch; `told` if it is in the queue.
    End { wd: u32, told: bool },
    /// An event is queued.
    Event { event: usize },
    /// The queue is compared with the records from `event` on.
    Compare { event: usize, events: u64 },
    /// That was all.
    Close,
}

/// The instances and what is to be done with them.
pub(crate) struct State {
    objects: Objects,
    /// Numbers, watches without events, unread events.
    queue: KVVec<Step>,
    /// Masks.
    masks: KVVec<Step>,
    progress: Pin<KBox<Mutex<Progress>>>,
}

struct Progress {
    /// How many steps of the list have begun; the last one's system call may be under way.
    next: usize,
    /// The instance.
    instance: Option<Lent>,
    /// What is watched without a path, during the system call.
    target: Option<Lent>,
    /// Descriptor of the file in memory made last.
    made: Option<u32>,
    /// Files in memory by watch.
    stands: KVVec<(u32, u32)>,
    /// Length of the queue before it was closed for events.
    limit: Option<u32>,
}

struct Instances;

impl Maker for Instances {
    fn word(&self) -> &'static str {
        WORD
    }
    fn make(&self, _: &Restart<'_>, _: usize) -> Result<Syscall> {
        Ok(Syscall::new(b::__NR_inotify_init1, &[0]))
    }
}

/// Checks the records and plans the steps.
pub(crate) fn prepare(cx: &Restart<'_>) -> Result<KBox<State>> {
    let files = objects::files(cx, WORD, cx.records::<InotifyRecord>().map(|r| r.map(|r| r.id)))?;
    let (mut steps, mut masks) = (KVVec::new(), KVVec::new());
    let mut places = cr_format::records_of::<PlaceRecord<'_>>(cx.section(INOTIFY));
    let mut events = cr_format::records_of::<NotifyRecord<'_>>(cx.section(INOTIFY));
    for i in cx.records::<InotifyRecord>() {
        let i = i?;
        steps.push(Step::Open { file: i.file }, GFP_KERNEL)?;
        masks.push(Step::Open { file: i.file }, GFP_KERNEL)?;
        let mut watched: KVVec<(u32, usize)> = KVVec::new();
        for _ in 0..i.watches {
            let (p, at) = places.next_placed().ok_or(EUCLEAN)?.map_err(errno_of)?;
            watched.push((word(p.wd)?, at as usize), GFP_KERNEL)?;
        }
        let mut unread: KVVec<(i64, u64, usize)> = KVVec::new();
        for _ in 0..i.events {
            let (e, at) = events.next_placed().ok_or(EUCLEAN)?.map_err(errno_of)?;
            unread.push((e.wd, e.mask, at as usize), GFP_KERNEL)?;
        }
        for (wd, place) in watched.iter().copied() {
            steps.push(Step::Number { wd }, GFP_KERNEL)?;
            steps.push(Step::Watch { place, quiet: true }, GFP_KERNEL)?;
        }
        let is_watched = |wd: u32| watched.binary_search_by_key(&wd, |w| w.0).is_ok();
        queue(cx, &unread, is_watched, &mut steps)?;
        if let Some((.., event)) = unread.first().copied() {
            steps.push(Step::Compare { event, events: i.events }, GFP_KERNEL)?;
        }
        for (_, place) in watched.iter().copied() {
            masks.push(Step::Watch { place, quiet: false }, GFP_KERNEL)?;
        }
        masks.push(Step::Number { wd: word(i.next_wd)? }, GFP_KERNEL)?;
        steps.push(Step::Close, GFP_KERNEL)?;
        masks.push(Step::Close, GFP_KERNEL)?;
    }
    let progress = Progress { next: 0, instance: None, target: None, made: None, stands: KVVec::new(), limit: None };
    let progress = KBox::pin_init(new_mutex!(progress), GFP_KERNEL)?;
    Ok(KBox::new(State { objects: Objects::new(files)?, queue: steps, masks, progress }, GFP_KERNEL)?)
}

fn word(n: u64) -> Result<u32> {
    u32::try_from(n).map_err(|_| EUCLEAN)
}

/// The steps that queue the events of one instance: (watch descriptor, mask, record).
fn queue(
    cx: &Restart<'_>,
    unread: &[(i64, u64, usize)],
    is_watched: impl Fn(u32) -> bool,
    steps: &mut KVVec<Step>,
) -> Result {
    // Watches that stand in for those that are gone.
    let mut stands: KVVec<u32> = KVVec::new();
    for (n, (of, mask, event)) in unread.iter().copied().enumerate() {
        // An overflow is of none.
        let wd = u32::try_from(of).ok();
        if let Some(wd) = wd.filter(|wd| !is_watched(*wd) && !stands.contains(wd)) {
            steps.push(Step::Make, GFP_KERNEL)?;
            steps.push(Step::Number { wd }, GFP_KERNEL)?;
            steps.push(Step::Stand { wd }, GFP_KERNEL)?;
            stands.push(wd, GFP_KERNEL)?;
        }
        match wd {
            Some(wd) if mask == IN_IGNORED && stands.contains(&wd) => {
                let rest = unread.get(n.saturating_add(1)..).unwrap_or(&[]);
                if rest.iter().any(|e| e.0 == of) {
                    return Err(strange(cx, wd));
                }
                steps.push(Step::End { wd, told: true }, GFP_KERNEL)?;
                stands.retain(|s| *s != wd);
            }
            _ => steps.push(Step::Event { event }, GFP_KERNEL)?,
        }
    }
    for wd in stands.iter().copied() {
        if end(wd.into(), unread.iter().map(|e| (e.0, e.1))) != End::Overflow {
            return Err(strange(cx, wd));
        }
        steps.push(Step::End { wd, told: false }, GFP_KERNEL)?;
    }
    Ok(())
}

fn strange(cx: &Restart<'_>, wd: u32) -> Error {
    fail(cx, EUCLEAN, fmt!("unread events of watch {wd} are in no possible order"), "the image was made by other means than a checkpoint")
}

fn fail(cx: &Restart<'_>, e: Error, text: fmt::Arguments<'_>, remedy: &str) -> Error {
    match CString::try_from_fmt(text) {
        Ok(t) => cx.fail(e, WORD, "", t.to_bytes(), remedy),
        Err(e) => e,
    }
}

/// The record at an offset of the section, which [`prepare`] has read there.
fn record<'a, R: Record<'a>>(cx: &Restart<'a>, at: usize) -> Result<R> {
    let rest = cx.section(INOTIFY).get(at..).ok_or(EUCLEAN)?;
    cr_format::records_of::<R>(rest).next().ok_or(EUCLEAN)?.map_err(errno_of)
}

const PERMISSION: &str = "reading must be allowed; see /proc/sys/fs/inotify/max_user_watches";

impl State {
    /// Leader, before `files`: the instances themselves.
    pub(crate) fn make(&self, cx: &Restart<'_>, at: At) -> Result<Next> {
        self.objects.step(&Instances, cx, at)
    }

    /// What nobody asked for must not stay open.
    pub(crate) fn forget(&self) {
        self.objects.forget();
    }

    /// Hands out an instance.
    pub(crate) fn take(&self, id: u32) -> Result<FileRef> {
        self.objects.take(id)
    }

    /// Leader, when descriptors and threads exist: watches without events, and what was not read.
    pub(crate) fn fill(&self, cx: &Restart<'_>, at: At) -> Result<Next> {
        self.walk(&self.queue, cx, at)
    }

    /// Leader, when all other files are as they were: the watches get their masks.
    pub(crate) fn watch(&self, cx: &Restart<'_>, at: At) -> Result<Next> {
        self.walk(&self.masks, cx, at)
    }

    fn walk(&self, steps: &[Step], cx: &Restart<'_>, at: At) -> Result<Next> {
        let mut p = self.progress.lock();
        if at.step == 0 {
            p.next = 0;
        } else if let Some(step) = p.next.checked_sub(1).and_then(|n| steps.get(n)) {
            p.done(cx, *step, at.prev)?;
        }
        while let Some(step) = steps.get(p.next) {
            p.next = p.next.saturating_add(1);
            if let Some(call) = p.begin(cx, *step)? {
                return Ok(Next::Call(call));
            }
        }
        Ok(Next::Done)
    }
}

impl Progress {
    /// Descriptor of the instance.
    fn fd(&self) -> Result<u32> {
        self.instance.as_ref().map(|i| i.fd).ok_or(EINVAL)
    }

    /// Does what a step does in the kernel, or gives its system call.
    fn begin(&mut self, cx: &Restart<'_>, step: Step) -> Result<Option<Syscall>> {
        Ok(match step {
            Step::Open { file } => {
                self.instance = Some(Lent::new(cx, file).map_err(|e| fail(cx, e, fmt!("no descriptor for open file {file}"), "see ulimit -n"))?);
                None
            }
            Step::Close => {
                self.instance.take().ok_or(EINVAL)?.close()?;
                None
            }
            Step::Number { wd } => Some(Syscall::new(b::__NR_ioctl, &[self.fd()?.into(), SET_NEXT_WD, wd.into()])),
            Step::Watch { place, quiet } => {
                let p: PlaceRecord<'_> = record(cx, place)?;
                // A watch may have been made for nothing.
                let mask = if quiet || p.mask == 0 { IN_MASK_ADD } else { p.mask };
                Some(if p.target != 0 {
                    let target = Lent::new(cx, p.target).map_err(|e| fail(cx, e, fmt!("no descriptor for open file {}", p.target), "see ulimit -n"))?;
                    let call = add(cx, self.fd()?, &by_descriptor(target.fd)?, mask)?;
                    self.target = Some(target);
                    call
                } else {
                    // The path is the object's own: a link at its end is what was watched.
                    add(cx, self.fd()?, &PathText::new(p.path)?, mask | IN_DONT_FOLLOW)?
                })
            }
            Step::Make => {
                let name = cx.to_scratch(0, 0, b"crkit\0")?;
                Some(Syscall::new(b::__NR_memfd_create, &[name, 1]))
            }
            Step::Stand { wd } => {
                let stand = self.made.take().ok_or(EINVAL)?;
                self.stands.push((wd, stand), GFP_KERNEL)?;
                Some(add(cx, self.fd()?, &by_descriptor(stand)?, IN_MASK_ADD)?)
            }
            Step::End { wd, told } => {
                let fd = self.fd()?;
                if !told {
                    // As full as it was when the end of the watch was lost.
                    let file = FileRef::fget(fd)?;
                    self.limit = Some(Instance::of(&file).ok_or(EUCLEAN)?.limit(0));
                }
                Some(Syscall::new(b::__NR_inotify_rm_watch, &[fd.into(), wd.into()]))
            }
            Step::Event { event } => {
                let file = FileRef::fget(self.fd()?)?;
                let instance = Instance::of(&file).ok_or(EUCLEAN)?;
                let e: NotifyRecord<'_> = record(cx, event)?;
                push(&instance, &e).map_err(|e| fail(cx, e, fmt!("an unread event cannot be put back"), "free some memory"))?;
                None
            }
            Step::Compare { event, events } => {
                compare(cx, self.fd()?, event, events)?;
                None
            }
        })
    }

    /// Looks at the result of the system call of a step.
    fn done(&mut self, cx: &Restart<'_>, step: Step, result: i64) -> Result {
        let errno = || i32::try_from(result).ok().filter(|e| *e < 0).map_or(EPROTO, Error::from_errno);
        if let Some(target) = self.target.take() {
            target.close()?;
        }
        match step {
            Step::Number { wd } if result != 0 => {
                Err(fail(cx, errno(), fmt!("watch {wd} cannot be numbered"), "the kernel needs CONFIG_CHECKPOINT_RESTORE"))
            }
            Step::Watch { place, .. } => {
                let p: PlaceRecord<'_> = record(cx, place)?;
                if u64::try_from(result).ok() == Some(p.wd) {
                    return Ok(());
                }
                let path = BStr::from_bytes(p.path);
                Err(match result {
                    0.. => fail(cx, ESTALE, fmt!("{path} cannot be watched again: it is the same as another watched place now"), "put it back in its place"),
                    _ => fail(cx, errno(), fmt!("{path} cannot be watched again"), PERMISSION),
                })
            }
            Step::Make => {
                self.made = Some(u32::try_from(result).map_err(|_| fail(cx, errno(), fmt!("no descriptor for a file in memory"), "see ulimit -n"))?);
                Ok(())
            }
            Step::Stand { wd } if result != i64::from(wd) => {
                Err(fail(cx, errno(), fmt!("watch {wd}, which is gone, cannot be made for its unread events"), PERMISSION))
            }
            Step::End { wd, .. } => {
                if let Some(limit) = self.limit.take() {
                    let file = FileRef::fget(self.fd()?)?;
                    Instance::of(&file).ok_or(EUCLEAN)?.limit(limit);
                }
                if result != 0 {
                    return Err(fail(cx, errno(), fmt!("watch {wd} cannot be removed again"), "report it with the kernel's version"));
                }
                if let Some(n) = self.stands.iter().position(|s| s.0 == wd) {
                    let (_, stand) = self.stands.remove(n).map_err(|_| EINVAL)?;
                    open_file::close(stand)?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// The system call that watches a path.
fn add(cx: &Restart<'_>, fd: u32, path: &PathText, mask: u64) -> Result<Syscall> {
    let at = cx.to_scratch(0, 0, path.bytes_with_nul())?;
    Ok(Syscall::new(b::__NR_inotify_add_watch, &[fd.into(), at, mask]))
}

/// The path of what a descriptor is open on, by whatever name or none.
fn by_descriptor(fd: u32) -> Result<PathText> {
    PathText::new(CString::try_from_fmt(fmt!("/proc/self/fd/{fd}"))?.to_bytes())
}

fn push(instance: &Instance<'_>, e: &NotifyRecord<'_>) -> Result {
    if e.mask & IN_Q_OVERFLOW != 0 {
        return instance.push_overflow();
    }
    let name = PathText::new(e.name)?;
    let wd = u32::try_from(e.wd).map_err(|_| EUCLEAN)?;
    instance.push(wd, word(e.mask)?, word(e.cookie)?, name.as_cstr()?)
}

/// The queue is exactly what was recorded.
fn compare(cx: &Restart<'_>, fd: u32, first: usize, events: u64) -> Result {
    let file = FileRef::fget(fd)?;
    let queue = Instance::of(&file).ok_or(EUCLEAN)?.queue()?;
    let rest = cx.section(INOTIFY).get(first..).ok_or(EUCLEAN)?;
    let mut now = cr_logic::inotify::events(&queue);
    for e in cr_format::records_of::<NotifyRecord<'_>>(rest).take(usize::try_from(events).unwrap_or(usize::MAX)) {
        let e = e.map_err(errno_of)?;
        let same = now.next().flatten().is_some_and(|n| {
            i64::from(n.wd) == e.wd && u64::from(n.mask) == e.mask && u64::from(n.cookie) == e.cookie && n.name == e.name
        });
        if !same {
            return Err(changed(cx, fd));
        }
    }
    if now.next().is_some() {
        return Err(changed(cx, fd));
    }
    Ok(())
}

fn changed(cx: &Restart<'_>, fd: u32) -> Error {
    fail(
        cx,
        EPROTO,
        fmt!("the unread events of descriptor {fd} cannot be put back as they were"),
        "there must be room for them: see /proc/sys/fs/inotify/max_queued_events",
    )
}
