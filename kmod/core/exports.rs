// SPDX-License-Identifier: GPL-2.0
//! The functions of `include/crkit_abi.h` that extensions call, over the session they name.
//!
//! Safety, for all of them: `s` is the session that the core passed to the extension and is used only
//! during that call; pointer arguments are valid as the header says.

use crate::{
    codec, registry,
    session::{Handle, Session},
};
use crkit::{bindings as b, sys::file::FileRef};
use kernel::{ffi::{c_char, c_int, c_ulong}, prelude::*};

/// The session behind a pointer of an extension, and which process it is about.
///
/// # Safety
/// See the file comment.
unsafe fn of<'a>(s: *mut b::cr_session) -> (&'a Handle, &'a Session) {
    // SAFETY: by the caller's promise.
    unsafe { Handle::from_raw(s) }
}

fn status(r: Result) -> c_int {
    match r {
        Ok(()) => 0,
        Err(e) => e.to_errno(),
    }
}

/// A slice from a pointer and a length; empty for null.
///
/// # Safety
/// `p` is null or valid for `len` items during `'a`.
unsafe fn slice<'a, T>(p: *const T, len: usize) -> &'a [T] {
    if p.is_null() || len == 0 {
        return &[];
    }
    // SAFETY: by the caller's promise.
    unsafe { core::slice::from_raw_parts(p, len) }
}

#[no_mangle]
unsafe extern "C" fn cr_register_extension(ops: *const b::cr_extension_ops) -> c_int {
    // SAFETY: header contract: valid until cr_unregister_extension.
    status(unsafe { registry::register(ops) })
}

#[no_mangle]
unsafe extern "C" fn cr_unregister_extension(ops: *const b::cr_extension_ops) {
    registry::unregister(ops);
}

#[no_mangle]
unsafe extern "C" fn cr_register_codec(ops: *const b::cr_codec_ops) -> c_int {
    // SAFETY: header contract: valid until cr_unregister_codec.
    status(unsafe { codec::register(ops) })
}

#[no_mangle]
unsafe extern "C" fn cr_unregister_codec(ops: *const b::cr_codec_ops) {
    codec::unregister(ops);
}

#[no_mangle]
unsafe extern "C" fn cr_report(s: *mut b::cr_session, kind: u32, record: *const u8, len: usize) -> c_int {
    // SAFETY: see the file comment.
    let ((_, s), bytes) = unsafe { (of(s), slice(record, len)) };
    status(s.report.push(kind == b::CR_REPORT_OBSTACLE, bytes))
}

#[no_mangle]
unsafe extern "C" fn cr_emit(s: *mut b::cr_session, section: u16, record: *const u8, len: usize) -> c_int {
    // SAFETY: see the file comment.
    let ((h, s), bytes) = unsafe { (of(s), slice(record, len)) };
    let process = if h.shares { 0 } else { h.process };
    status(s.checkpoint_op().and_then(|op| op.emit(process, section, bytes)))
}

#[no_mangle]
unsafe extern "C" fn cr_task(s: *mut b::cr_session, index: u32) -> *mut b::task_struct {
    // SAFETY: see the file comment.
    let (h, s) = unsafe { of(s) };
    s.checkpoint_op().map_or(core::ptr::null_mut(), |op| op.task(h.process, index))
}

#[no_mangle]
unsafe extern "C" fn cr_task_count(s: *mut b::cr_session) -> u32 {
    // SAFETY: see the file comment.
    let (h, s) = unsafe { of(s) };
    s.checkpoint_op().map_or(0, |op| op.task_count(h.process))
}

#[no_mangle]
unsafe extern "C" fn cr_process(s: *mut b::cr_session) -> u32 {
    // SAFETY: see the file comment.
    unsafe { of(s) }.0.process
}

#[no_mangle]
unsafe extern "C" fn cr_process_count(s: *mut b::cr_session) -> u32 {
    // SAFETY: see the file comment.
    let (_, s) = unsafe { of(s) };
    match s.checkpoint_op() {
        Ok(op) => op.processes(),
        Err(_) => s.restart_op().map_or(0, |op| op.process_count()),
    }
}

#[no_mangle]
unsafe extern "C" fn cr_of_process(s: *mut b::cr_session, number: u32) -> *mut b::cr_session {
    // SAFETY: see the file comment. The handles live as long as the operation, which the session holds.
    unsafe { of(s) }.1.checkpoint_op().map_or(core::ptr::null_mut(), |op| op.handle(number, false))
}

#[no_mangle]
unsafe extern "C" fn cr_number(s: *mut b::cr_session, space: u16, number: *mut u32) -> c_int {
    // SAFETY: see the file comment.
    let (h, s) = unsafe { of(s) };
    match s.checkpoint_op().and_then(|op| op.number(h.process, space)) {
        Ok(n) => {
            // SAFETY: valid out pointer.
            unsafe { *number = n };
            0
        }
        Err(e) => e.to_errno(),
    }
}

#[no_mangle]
unsafe extern "C" fn cr_object_process(s: *mut b::cr_session, section: u16, key: u64, process: *mut u32) -> c_int {
    // SAFETY: see the file comment.
    match unsafe { of(s) }.1.checkpoint_op().map(|op| op.process_of(section, key)) {
        Ok(Some(n)) => {
            // SAFETY: valid out pointer.
            unsafe { *process = n };
            1
        }
        Ok(None) => 0,
        Err(e) => e.to_errno(),
    }
}

#[no_mangle]
unsafe extern "C" fn cr_mm(s: *mut b::cr_session) -> *mut b::mm_struct {
    // SAFETY: see the file comment.
    let (h, s) = unsafe { of(s) };
    s.checkpoint_op().map_or(core::ptr::null_mut(), |op| op.mm(h.process))
}

#[no_mangle]
unsafe extern "C" fn cr_checkpoint_flags(s: *mut b::cr_session) -> u32 {
    // SAFETY: see the file comment.
    unsafe { of(s) }.1.checkpoint_op().map_or(0, |op| op.flags())
}

#[no_mangle]
unsafe extern "C" fn cr_landlock_word(s: *mut b::cr_session) -> c_int {
    // SAFETY: see the file comment.
    let flags = unsafe { of(s) }.1.checkpoint_op().map_or(0, |op| op.flags());
    match crate::landlock::slot() {
        crate::landlock::Slot::Word(n) if flags & cr_uapi::CHECKPOINT_DROP_LANDLOCK == 0 => c_int::try_from(n).unwrap_or(-1),
        _ => -1,
    }
}

#[no_mangle]
unsafe extern "C" fn cr_is_external(s: *mut b::cr_session, fd: u32) -> c_int {
    // SAFETY: see the file comment.
    let (h, s) = unsafe { of(s) };
    // The promise is about the process that was named to crctl.
    s.checkpoint_op().map_or(0, |op| c_int::from(h.process == 0 && op.is_external(fd)))
}

#[no_mangle]
unsafe extern "C" fn cr_object(s: *mut b::cr_session, section: u16, key: u64, id: *mut u32) -> c_int {
    // SAFETY: see the file comment.
    let (h, s) = unsafe { of(s) };
    match s.checkpoint_op().and_then(|op| op.object(h.process, section, key)) {
        Ok((n, new)) => {
            // SAFETY: valid out pointer.
            unsafe { *id = n };
            c_int::from(new)
        }
        Err(e) => e.to_errno(),
    }
}

#[no_mangle]
unsafe extern "C" fn cr_require(s: *mut b::cr_session, word: *const c_char, section: *mut u16) -> c_int {
    // SAFETY: see the file comment; `word` is NUL-terminated.
    let ((h, s), word) = unsafe { (of(s), core::ffi::CStr::from_ptr(word.cast()).to_bytes()) };
    match s.checkpoint_op().and_then(|op| op.require(s, h.process, word)) {
        Ok(Some(n)) => {
            // SAFETY: valid out pointer.
            unsafe { *section = n };
            1
        }
        Ok(None) => 0,
        Err(e) => e.to_errno(),
    }
}

#[no_mangle]
unsafe extern "C" fn cr_claim(s: *mut b::cr_session, file: *mut b::file, kind: *const c_char, section: *mut u16) -> c_int {
    // SAFETY: see the file comment; `kind` is NUL-terminated.
    let ((_, s), kind) = unsafe { (of(s), core::ffi::CStr::from_ptr(kind.cast()).to_bytes()) };
    // SAFETY: live file.
    match s.checkpoint_op().and_then(|op| unsafe { op.claim(file, kind) }) {
        Ok(Some(n)) => {
            // SAFETY: valid out pointer.
            unsafe { *section = n };
            1
        }
        Ok(None) => 0,
        Err(e) => e.to_errno(),
    }
}

#[no_mangle]
unsafe extern "C" fn cr_checkpoint_file(s: *mut b::cr_session, section: u16, file: *mut b::file, id: u32) -> c_int {
    // SAFETY: see the file comment.
    let (h, s) = unsafe { of(s) };
    // SAFETY: live file.
    status(s.checkpoint_op().and_then(|op| unsafe { op.checkpoint_file(h.process, section, file, id) }))
}

#[no_mangle]
unsafe extern "C" fn cr_bulk_write(
    s: *mut b::cr_session,
    section: u16,
    owner: u32,
    runs: *const b::cr_run,
    nruns: u32,
    pages: *mut *mut b::page,
    npages: u32,
) -> c_int {
    // SAFETY: see the file comment.
    let ((_, s), runs) = unsafe { (of(s), slice(runs, nruns as usize)) };
    // SAFETY: the pages are referenced by the caller.
    status(s.checkpoint_op().and_then(|op| unsafe { op.bulk_write(section, owner, runs, pages, npages) }))
}

#[no_mangle]
unsafe extern "C" fn cr_section(s: *mut b::cr_session, process: u32, section: u16, len: *mut usize) -> *const u8 {
    // SAFETY: see the file comment.
    let (_, s) = unsafe { of(s) };
    let op = s.restart_op();
    let bytes: &[u8] = op.as_ref().map_or(&[], |op| op.section(process, section));
    // SAFETY: valid out pointer. The bytes live as long as the operation, which the session holds.
    unsafe { *len = bytes.len() };
    bytes.as_ptr()
}

#[no_mangle]
unsafe extern "C" fn cr_set_threads(s: *mut b::cr_session, tids: *const u32, count: u32) -> c_int {
    // SAFETY: see the file comment.
    let ((h, s), tids) = unsafe { (of(s), slice(tids, count as usize)) };
    status(s.restart_op().and_then(|op| op.set_threads(h.process, tids)))
}

#[no_mangle]
unsafe extern "C" fn cr_set_min_fd(s: *mut b::cr_session, min_fd: u32) -> c_int {
    // SAFETY: see the file comment.
    status(unsafe { of(s) }.1.restart_op().map(|op| op.set_min_fd(min_fd)))
}

#[no_mangle]
unsafe extern "C" fn cr_set_hole(s: *mut b::cr_session, start: u64, end: u64) -> c_int {
    // SAFETY: see the file comment.
    let (h, s) = unsafe { of(s) };
    status(s.restart_op().and_then(|op| op.set_hole(h.process, start, end)))
}

#[no_mangle]
unsafe extern "C" fn cr_thread_id(s: *mut b::cr_session, task: u32) -> u32 {
    // SAFETY: see the file comment.
    let (h, s) = unsafe { of(s) };
    s.restart_op().map_or(0, |op| op.thread_id(h.process, task))
}

#[no_mangle]
unsafe extern "C" fn cr_mapped_file(s: *mut b::cr_session, fd: u32) -> *mut b::file {
    // SAFETY: see the file comment.
    let f = unsafe { of(s) }.1.restart_op().ok().and_then(|op| op.mapped_file(fd));
    f.map_or(core::ptr::null_mut(), |f| f.into_raw())
}

#[no_mangle]
unsafe extern "C" fn cr_files_policy(s: *mut b::cr_session) -> u32 {
    // SAFETY: see the file comment.
    unsafe { of(s) }.1.restart_op().map_or(0, |op| op.files_policy())
}

#[no_mangle]
unsafe extern "C" fn cr_restart_flags(s: *mut b::cr_session) -> u32 {
    // SAFETY: see the file comment.
    unsafe { of(s) }.1.restart_op().map_or(0, |op| op.flags())
}

#[no_mangle]
unsafe extern "C" fn cr_scratch(s: *mut b::cr_session, task: u32, len: *mut usize) -> c_ulong {
    // SAFETY: see the file comment.
    let (h, s) = unsafe { of(s) };
    let (at, n) = s.restart_op().map_or((0, 0), |op| op.scratch(h.process, task));
    // SAFETY: valid out pointer.
    unsafe { *len = n };
    at as c_ulong
}

#[no_mangle]
unsafe extern "C" fn cr_restart_file(s: *mut b::cr_session, section: u16, id: u32, file: *mut *mut b::file) -> c_int {
    // SAFETY: see the file comment.
    let (_, s) = unsafe { of(s) };
    match s.restart_op().and_then(|op| op.restart_file(s, section, id)) {
        Ok(f) => {
            // SAFETY: valid out pointer; the reference moves to the caller.
            unsafe { *file = f };
            0
        }
        Err(e) => e.to_errno(),
    }
}

#[no_mangle]
unsafe extern "C" fn cr_bulk_read(s: *mut b::cr_session, pages: *mut *mut b::page, npages: u32) -> c_int {
    // SAFETY: see the file comment.
    let (_, s) = unsafe { of(s) };
    // SAFETY: the pages are referenced by the caller and belong to the half-built process.
    status(s.restart_op().and_then(|op| unsafe { op.bulk_read(pages, npages) }))
}

#[no_mangle]
unsafe extern "C" fn cr_put_file(s: *mut b::cr_session, section: u16, id: u32, file: *mut b::file) -> c_int {
    // SAFETY: see the file comment; the file is live, and a reference of our own is taken.
    let (s, file) = unsafe { (of(s).1, FileRef::with(file, |f| f.clone())) };
    status(s.restart_op().and_then(|op| op.put_file(section, id, file)))
}

#[no_mangle]
unsafe extern "C" fn cr_get_file(s: *mut b::cr_session, section: u16, id: u32, file: *mut *mut b::file) -> c_int {
    // SAFETY: see the file comment.
    let (_, s) = unsafe { of(s) };
    match s.restart_op().and_then(|op| op.get_file(section, id)) {
        Ok(f) => {
            // SAFETY: valid out pointer; the reference moves to the caller.
            unsafe { *file = f.into_raw() };
            0
        }
        Err(e) => e.to_errno(),
    }
}
