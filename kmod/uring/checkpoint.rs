// SPDX-License-Identifier: GPL-2.0
//! Records of rings and of the threads that use them, and everything that would be lost.

use crate::WORD;
use cr_format::{RegisteredRingRecord, RingEventfdRecord, RingRecord};
use cr_logic::uring::{self as logic, Place};
use crkit::{
    bindings as b,
    sys::{
        file::FileRef,
        open_file::descriptors,
        uring::{self, Ring},
        wait,
    },
    Checkpoint, Obstacle,
};
use kernel::{
    prelude::*,
    str::{BStr, CString},
};

const OBJECT: &[u8] = b"io_uring";

/// Numbering of registered rings in a process.
const REGISTERED: u16 = 13;
/// Numbering of event counters that rings tell.
const TOLD: u16 = 14;

/// All processes that live.
fn alive<'a>(cx: &Checkpoint<'a>) -> impl Iterator<Item = Checkpoint<'a>> {
    let cx = *cx;
    (0..cx.process_count()).filter_map(move |n| cx.of_process(n)).filter(|p| !p.is_zombie())
}

/// What the threads of one process have to do with rings that [`file`] will not see.
pub(crate) fn threads(cx: &Checkpoint<'_>) -> Result {
    // Open file and context of the rings that some process has a descriptor of.
    let mut known: KVVec<(usize, usize)> = KVVec::new();
    let mut is_complete = false;
    for t in cx.tasks() {
        let tid = t.pid_vnr();
        let trouble = |object: &[u8], reason, remedy| cx.obstacle(Obstacle { tid, ..Obstacle::new(WORD, object, reason, remedy) });
        match uring::in_flight(&t) {
            Some(0) => {}
            Some(n) => {
                let object = CString::try_from_fmt(fmt!("{n} {}", BStr::from_bytes(logic::IN_FLIGHT)))?;
                trouble(object.to_bytes(), "the thread has submitted requests that have not ended yet", "let the program wait for them, and try again")?;
            }
            None => trouble(logic::IN_FLIGHT, "it cannot be told now whether requests of the thread have ended", "try again")?,
        }
        let (used, registered) = (uring::used(&t)?, uring::registered(&t));
        if !is_complete && (!used.is_empty() || registered.iter().any(|f| *f != 0)) {
            known = rings(cx)?;
            is_complete = true;
        }
        if used.iter().any(|c| !known.iter().any(|k| k.1 == *c)) {
            let reason = "the thread has used a ring of which nobody has a descriptor any more";
            trouble(OBJECT, reason, "have the program keep its descriptor open, or close the ring and unmap it, and try again")?;
        }
        let own = |file: usize| descriptors(cx.leader()).any(|(_, f)| f.as_ptr() as usize == file);
        if registered.iter().any(|f| *f != 0 && !own(*f)) {
            trouble(OBJECT, "the thread calls a ring by an index, and its descriptor is closed", "have the program keep its descriptor open")?;
        }
    }
    Ok(())
}

fn rings(cx: &Checkpoint<'_>) -> Result<KVVec<(usize, usize)>> {
    let mut out: KVVec<(usize, usize)> = KVVec::new();
    for p in alive(cx) {
        for (_, file) in descriptors(p.leader()) {
            if let Some(ring) = Ring::of(&file) {
                out.push((file.as_ptr() as usize, ring.context()), GFP_KERNEL)?;
            }
        }
    }
    Ok(out)
}

/// One ring.
pub(crate) fn file(cx: &Checkpoint<'_>, file: &FileRef, id: u32) -> Result {
    let fd = cx.descriptor_of(file);
    let trouble = |object, reason, remedy| cx.obstacle(Obstacle { fd, ..Obstacle::new(WORD, object, reason, remedy) });
    // Its areas refer to it by this number; see `memory`.
    cx.object_in(uring::NUMBERS, file.as_ptr() as u64)?;
    let ring = Ring::of(file).ok_or(EINVAL)?;
    let facts = match ring.facts() {
        Ok(facts) => facts,
        Err(EBUSY) => return trouble(logic::IN_FLIGHT, "a request is at work in the ring", "let the program wait for it, and try again"),
        Err(e) => return Err(e),
    };
    let flags = match logic::flags(facts.flags) {
        Ok(flags) => flags,
        Err(t) => return trouble(OBJECT, t.reason, t.remedy),
    };
    for (_, reason, remedy) in logic::REGISTERED.iter().filter(|r| facts.has & r.0 != 0) {
        trouble(OBJECT, reason, remedy)?;
    }
    let (mut shows, mut count) = (false, 0usize);
    for p in alive(cx) {
        let areas = areas(&p, file)?;
        shows |= logic::is_mapped(areas.iter().copied(), (facts.ring_pages, facts.sqe_pages));
        count = count.saturating_add(areas.len());
        wait::resched()?;
    }
    if !shows {
        trouble(OBJECT, "the memory of the ring is not mapped, or not all of it", "have the program close the ring, or map it again")?;
    }
    if is_foreign(cx, file, count)? {
        trouble(OBJECT, "a process outside has the ring too", "end the other process first, or let it be part of the checkpoint")?;
    }
    let submitter = submitter(cx, file, &facts);
    if logic::has_issuer(flags) && submitter == 0 {
        trouble(OBJECT, "the only thread that may submit to the ring has ended, or its process has no descriptor of it", "have the program close the ring")?;
    }
    registered(cx, file, id, &facts)?;
    told(cx, file, id, &facts)?;
    cx.emit(&RingRecord {
        id,
        file: id.into(),
        sq_entries: facts.sq_entries.into(),
        cq_entries: facts.cq_entries.into(),
        flags,
        sq_head: facts.sq_head.into(),
        cq_tail: facts.cq_tail.into(),
        submitter: if logic::has_issuer(flags) { submitter.into() } else { 0 },
    })
}

/// The thread that alone may submit, 0 if there is none that could do so again.
fn submitter(cx: &Checkpoint<'_>, ring: &FileRef, facts: &b::crs_uring) -> u32 {
    for p in alive(cx).filter(|p| p.descriptor_of(ring) >= 0) {
        if let Some(t) = p.tasks().find(|t| t.as_ptr() == facts.submitter) {
            return t.pid_vnr();
        }
    }
    0
}

/// The indices by which threads call the ring; records of their processes.
fn registered(cx: &Checkpoint<'_>, ring: &FileRef, id: u32, facts: &b::crs_uring) -> Result {
    for p in alive(cx) {
        for t in p.tasks() {
            for (index, _) in (0u64..).zip(uring::registered(&t)).filter(|(_, f)| *f == ring.as_ptr() as usize) {
                let tid = t.pid_vnr();
                if !facts.submitter.is_null() && facts.submitter != t.as_ptr() {
                    let (reason, remedy) = ("the thread has an index for a ring that only another thread may use", "have the program unregister it");
                    p.obstacle(Obstacle { tid, ..Obstacle::new(WORD, OBJECT, reason, remedy) })?;
                }
                p.emit(&RegisteredRingRecord { id: p.number(REGISTERED)?, tid: tid.into(), index, file: id.into() })?;
            }
        }
    }
    Ok(())
}

/// The event counter that the ring tells, if there is one: a record of a process that has both.
fn told(cx: &Checkpoint<'_>, ring: &FileRef, id: u32, facts: &b::crs_uring) -> Result {
    if facts.eventfd == 0 {
        return Ok(());
    }
    let is_it = |f: &FileRef| f.is_anonymous(b"[eventfd]") && f.private_data() as usize == facts.eventfd;
    for p in alive(cx).filter(|p| p.descriptor_of(ring) >= 0) {
        // Of a ring with an issuer nobody else may register anything.
        let Some(t) = p.tasks().find(|t| facts.submitter.is_null() || t.as_ptr() == facts.submitter) else { continue };
        if let Some((fd, _)) = descriptors(p.leader()).find(|(_, f)| is_it(f)) {
            return p.emit(&RingEventfdRecord {
                id: p.number(TOLD)?,
                ring: id.into(),
                fd: fd.into(),
                asynchronous: facts.eventfd_async.into(),
                tid: t.pid_vnr().into(),
            });
        }
    }
    cx.obstacle(Obstacle {
        fd: cx.descriptor_of(ring),
        ..Obstacle::new(WORD, OBJECT, "the ring tells an eventfd of which its process has no descriptor any more", "have the program keep its descriptor open, or unregister it")
    })
}

/// Offset and length of the memory areas that show the ring.
fn areas(cx: &Checkpoint<'_>, ring: &FileRef) -> Result<KVVec<(u64, u64)>> {
    let mut out = KVVec::new();
    let mm = cx.mm();
    let locked = mm.lock()?;
    let mut at = 0;
    while let Some(v) = locked.find(at) {
        at = v.end();
        if v.file().is_some_and(|f| f.as_ptr() == ring.as_ptr()) {
            out.push((v.offset(), v.end().saturating_sub(v.start())), GFP_KERNEL)?;
        }
    }
    Ok(out)
}

/// Is the ring open in a process outside? Its references are those of descriptors, areas and indices, one of
/// whoever asks us, and one of each thread that is in a call of the ring.
fn is_foreign(cx: &Checkpoint<'_>, ring: &FileRef, areas: usize) -> Result<bool> {
    let key = ring.as_ptr() as usize;
    let mut own = areas.saturating_add(1);
    for p in alive(cx) {
        own = own.saturating_add(descriptors(p.leader()).filter(|(_, f)| f.as_ptr() == ring.as_ptr()).count());
        for t in p.tasks() {
            own = own.saturating_add(uring::registered(&t).iter().filter(|f| **f == key).count());
            let held = t.hold()?;
            let regs: &b::pt_regs = held.regs();
            // CAST: signs only.
            if logic::place(regs.orig_ax as i64, regs.ax as i64, 0) != Place::Boundary {
                own = own.saturating_add(1);
            }
        }
    }
    Ok(usize::try_from(ring.count()).map_or(true, |n| n > own))
}
