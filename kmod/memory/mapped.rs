// SPDX-License-Identifier: GPL-2.0
//! Files that are mapped: found again by their path, known by size and time of modification.
//!
//! At a checkpoint the path is tried at once: a file that cannot be found by it now, as the caller sees
//! the file system, would not be found at the restart. At a restart files are opened and compared
//! before anything is touched. Files without a name (removed, or made by `memfd_create`) are kept by `files`; they are
//! opened through what it has made of them.

use crate::WORD;
use cr_format::{MappedFileRecord, MappedObjectRecord};
use crkit::{
    bindings as b,
    sys::{file::FileRef, mapped::Stat, once::Once, path::PathRef},
    Restart,
};
use kernel::{
    prelude::*,
    str::{BStr, CString},
};

/// Bytes for any path with its terminating NUL (`PATH_MAX`).
pub(crate) const PATH_ROOM: usize = 4096;

/// Opens a path with the caller's rights.
pub(crate) fn open(path: &[u8], flags: u32) -> Result<FileRef> {
    let mut text = KVec::with_capacity(path.len().saturating_add(1), GFP_KERNEL)?;
    text.extend_from_slice(path, GFP_KERNEL)?;
    text.push(0, GFP_KERNEL)?;
    let text = CStr::from_bytes_with_nul(&text).map_err(|_| EINVAL)?;
    FileRef::open(text, flags, 0)
}

/// Why a mapped file cannot be found again by its path.
pub(crate) enum Lost {
    /// The path leads to another file.
    Other,
    /// The path leads nowhere, or not for the caller.
    Unreachable,
}

/// Follows `path` and makes sure that it leads to `file`.
pub(crate) fn find(file: &FileRef, path: &[u8]) -> core::result::Result<Stat, Lost> {
    let found = open(path, b::O_PATH).map_err(|_| Lost::Unreachable)?;
    if !found.is_same_file(file) {
        return Err(Lost::Other);
    }
    found.stat().map_err(|_| Lost::Unreachable)
}

/// A file that the image maps, open.
pub(crate) struct Held {
    /// Record id.
    pub(crate) id: u64,
    read: Option<FileRef>,
    write: Option<FileRef>,
}

impl Held {
    /// The open file for a mapping.
    pub(crate) fn get(&self, write: bool) -> Option<&FileRef> {
        if write { self.write.as_ref() } else { self.read.as_ref() }
    }
}

/// A file without a name that the image maps. It is there only when `files` has made it again.
pub(crate) struct HeldObject {
    /// Record id.
    pub(crate) id: u64,
    /// Open file of section `files`.
    file: u32,
    read: Once<FileRef>,
    write: Once<FileRef>,
}

impl HeldObject {
    /// From its record.
    pub(crate) fn new(r: &MappedObjectRecord) -> Result<Self> {
        let file = u32::try_from(r.file).map_err(|_| EUCLEAN)?;
        Ok(Self { id: r.id.into(), file, read: Once::new(), write: Once::new() })
    }

    /// Opens it, for reading and, if an area wants that, for writing.
    pub(crate) fn open(&self, cx: &Restart<'_>, write: bool) -> Result {
        let place = PathRef::of(&cx.restart_file(cr_format::FILES, self.file)?);
        let open = |flags| {
            place.open(flags | b::O_LARGEFILE).map_err(|e| {
                cx.fail(e, WORD, "", b"a mapped file without a name cannot be opened again", "see the messages above")
            })
        };
        self.read.set(open(b::O_RDONLY)?).map_err(|_| EBUSY)?;
        if write {
            self.write.set(open(b::O_RDWR)?).map_err(|_| EBUSY)?;
        }
        Ok(())
    }

    /// The open file for a mapping.
    pub(crate) fn get(&self, write: bool) -> Option<&FileRef> {
        if write { self.write.get() } else { self.read.get() }
    }
}

/// Opens and checks the file of a record: for reading, for reading and writing, or both.
pub(crate) fn hold(cx: &Restart<'_>, r: &MappedFileRecord<'_>, read: bool, write: bool) -> Result<Held> {
    // First without opening: whatever is at the path now must not notice, nor may it block us.
    let probe = open(r.path, b::O_PATH).map_err(|e| lost(cx, r, e))?;
    let now = probe.stat().map_err(|e| lost(cx, r, e))?;
    compare(cx, r, &now)?;
    let again = |flags: u32| -> Result<FileRef> {
        let f = open(r.path, flags | b::O_NONBLOCK | b::O_NOCTTY).map_err(|e| lost(cx, r, e))?;
        if f.is_same_file(&probe) { Ok(f) } else { Err(lost(cx, r, ESTALE)) }
    };
    Ok(Held {
        id: r.id.into(),
        read: if read { Some(again(b::O_RDONLY)?) } else { None },
        write: if write { Some(again(b::O_RDWR)?) } else { None },
    })
}

/// Reports what is different about a file.
fn compare(cx: &Restart<'_>, r: &MappedFileRecord<'_>, now: &Stat) -> Result {
    let path = BStr::from_bytes(r.path);
    let text = if now.mode & b::S_IFMT != b::S_IFREG {
        CString::try_from_fmt(fmt!("{path}: mapped by the process, but it is not a regular file any more"))?
    } else if now.size != r.size {
        let (old, new) = (r.size, now.size);
        CString::try_from_fmt(fmt!("{path}: mapped by the process; its size was {old} bytes, now it is {new}"))?
    } else if (now.mtime_s, now.mtime_ns) != (r.mtime_s, r.mtime_ns) {
        let (old, old_ns, new, new_ns) = (r.mtime_s, r.mtime_ns, now.mtime_s, now.mtime_ns);
        CString::try_from_fmt(fmt!(
            "{path}: mapped by the process and modified since: {old}.{old_ns:09} then, {new}.{new_ns:09} now (seconds since 1970)"
        ))?
    } else {
        return Ok(());
    };
    Err(cx.fail(ENOEXEC, WORD, "", text.to_bytes(), "put the file of the checkpoint back, with its time (cp --preserve), or downgrade the package"))
}

fn lost(cx: &Restart<'_>, r: &MappedFileRecord<'_>, e: Error) -> Error {
    let path = BStr::from_bytes(r.path);
    let errno = e.to_errno().unsigned_abs();
    let Ok(text) = CString::try_from_fmt(fmt!("{path}: mapped by the process and cannot be opened (errno {errno})")) else {
        return ENOMEM;
    };
    cx.fail(e, WORD, "", text.to_bytes(), "the file must be at the same path as at the checkpoint, and readable by you")
}
