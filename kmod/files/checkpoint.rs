// SPDX-License-Identifier: GPL-2.0
//! Records of `fs_struct`, open files and descriptors.

use crate::{
    table::{Object, Table},
    WORD,
};
use cr_format::{
    DescriptorRecord, FileRecord, FsRecord, FILE_DELETED, FILE_DIRECTORY, FILE_EXTERNAL, FILE_HANDLED, FILE_REGULAR,
};
use cr_logic::files::{self, flag, Fate, Trouble};
use crkit::{
    sys::{
        path::{FsPaths, PathRef, PathText},
        task::TaskRef,
    },
    Checkpoint, Obstacle,
};
use kernel::{prelude::*, str::{BStr, CString}};

/// Bytes for one path with its NUL.
const PATH: usize = 4096;

/// Emits all records, reports all obstacles.
pub(crate) fn checkpoint(cx: &Checkpoint<'_>) -> Result {
    let mut buf = KBox::new([0u8; PATH], GFP_KERNEL)?;
    fs(cx, &mut *buf)?;
    let table = Table::scan(cx)?;
    for (i, o) in table.objects.iter().enumerate() {
        let id = u32::try_from(i).ok().and_then(|i| i.checked_add(1)).ok_or(EOVERFLOW)?;
        object(cx, &table, o, id, &mut *buf)?;
    }
    for d in table.descriptors.iter() {
        cx.emit(&DescriptorRecord {
            id: d.fd.checked_add(1).ok_or(EOVERFLOW)?,
            fd: d.fd.into(),
            file: d.object.into(),
            cloexec: d.cloexec.into(),
        })?;
    }
    Ok(())
}

fn fs(cx: &Checkpoint<'_>, buf: &mut [u8]) -> Result {
    let paths = FsPaths::of(&cx.leader())?;
    let here = FsPaths::of(&TaskRef::current())?;
    if !paths.root.is_same_place(&here.root) {
        let text = paths.root.text(buf).unwrap_or(b"root directory");
        cx.obstacle(Obstacle::new(
            WORD,
            text,
            "it is the root directory of the process, and not that of whoever makes the checkpoint",
            "make the checkpoint from inside: chroot DIR crctl checkpoint ...",
        ))?;
    }
    let cwd = match paths.cwd.text(buf) {
        Ok(text) if !paths.cwd.is_unlinked() && leads_to(text, &paths.cwd) => text,
        other => {
            let text = other.unwrap_or(b"working directory");
            return cx.obstacle(Obstacle::new(
                WORD,
                text,
                "the working directory has been removed, or its path does not lead to it any more",
                "have the program change to a directory that exists",
            ));
        }
    };
    cx.emit(&FsRecord { id: 1, cwd, root: b"/", umask: (paths.umask & 0o777).into() })
}

/// Does the path lead to this very object, as seen by the current task?
fn leads_to(text: &[u8], place: &PathRef) -> bool {
    let look = || PathRef::lookup(PathText::new(text)?.as_cstr()?, false);
    look().is_ok_and(|p| p.is_same_object(place))
}

fn obstacle(cx: &Checkpoint<'_>, o: &Object, object: &[u8], t: Trouble) -> Result {
    cx.obstacle(Obstacle { fd: o.first_fd.into(), ..Obstacle::new(WORD, object, t.reason, t.remedy) })
}

fn object(cx: &Checkpoint<'_>, table: &Table, o: &Object, id: u32, buf: &mut [u8]) -> Result {
    let place = PathRef::of(&o.file);
    let text: &[u8] = match place.text(buf) {
        Ok(t) => t,
        Err(e) => {
            cx.note(WORD, b"a path is longer than 4095 bytes")?;
            let reason = if e == ENAMETOOLONG { "its path is too long" } else { "its path cannot be told" };
            return obstacle(cx, o, b"?", Trouble { reason, remedy: "have the program close it first" });
        }
    };
    let mut locks = o.file.locks(&cx.leader());
    if locks & files::lock::KEPT != 0 {
        if let Some(section) = cx.require(c"locks")? {
            cx.checkpoint_file(section, &o.file, id)?;
            locks &= !files::lock::KEPT;
        }
    }
    if let Some(t) = files::unstored(locks, o.file.has_signal_owner(), o.file.flags()) {
        obstacle(cx, o, text, t)?;
    }
    let stat = place.stat()?;
    let flags = o.file.flags();
    let mut record = FileRecord {
        id,
        flags: (flags & !files::unknown_flags(flags)).into(),
        pos: o.file.pos(),
        mode: (stat.mode & 0o177_777).into(),
        size: stat.size,
        mtime_s: stat.mtime_s,
        mtime_ns: stat.mtime_ns,
        ino: stat.ino,
        dev: stat.dev,
        rdev: stat.rdev,
        nlink: stat.nlink.into(),
        ..FileRecord::default()
    };
    if record.pos < 0 {
        let t = Trouble { reason: "its position is out of the range of files", remedy: "have the program close it first" };
        return obstacle(cx, o, text, t);
    }
    match table.fate(o) {
        Fate::ByPath(kind) => {
            if !leads_to(text, &place) {
                let t = Trouble {
                    reason: "its path does not lead to it: it was renamed over, covered by a mount, or cannot be reached from here",
                    remedy: "make it reachable by this path, or have the program close it first",
                };
                return obstacle(cx, o, text, t);
            }
            note_shared_position(cx, o, kind, text)?;
            record.kind = kind;
            record.path = text;
            cx.emit(&record)
        }
        Fate::Deleted => {
            record.kind = FILE_DELETED;
            record.path = text;
            cx.emit(&record)
        }
        Fate::External => {
            let text = description(&record, o, text)?;
            record.kind = FILE_EXTERNAL;
            record.description = text.to_bytes();
            cx.emit(&record)
        }
        Fate::Claim(trouble) => {
            let kind = files::kind_name(&o.facts());
            let kind = CStr::from_bytes_until_nul(kind.with_nul()).map_err(|_| EINVAL)?;
            let Some(section) = cx.claim(&o.file, kind)? else { return obstacle(cx, o, text, trouble) };
            record.kind = FILE_HANDLED;
            record.handler = section.into();
            // Pipes and the like have no path; what the kernel calls them is for people.
            match text.first() {
                Some(b'/') => record.path = text,
                _ => record.description = text,
            }
            cx.emit(&record)?;
            cx.checkpoint_file(section, &o.file, id)
        }
        Fate::Obstacle(t) => obstacle(cx, o, text, t),
    }
}

/// What an external file is, for people. The same object has the same text.
fn description(r: &FileRecord<'_>, o: &Object, text: &[u8]) -> Result<CString> {
    let name = BStr::from_bytes(text);
    Ok(match cr_logic::files::classify(&o.facts()) {
        files::Class::Terminal => CString::try_from_fmt(fmt!("terminal {name}"))?,
        files::Class::Pipe => CString::try_from_fmt(fmt!("{name}, other end outside"))?,
        files::Class::ByPath(_) => CString::try_from_fmt(fmt!("{name}"))?,
        _ => CString::try_from_fmt(fmt!("{name} (type {:o})", r.mode & 0o170_000))?,
    })
}

/// A position that somebody else moves as well will not be shared after the restart.
fn note_shared_position(cx: &Checkpoint<'_>, o: &Object, kind: u64, text: &[u8]) -> Result {
    let moves = (kind == FILE_REGULAR && o.file.flags() & flag::O_APPEND == 0) || kind == FILE_DIRECTORY;
    if !moves || o.foreign() <= mapped(cx, o)? {
        return Ok(());
    }
    let name = BStr::from_bytes(text);
    let text = CString::try_from_fmt(fmt!(
        "descriptor {} ({name}) shares its position with another process; after a restart it has its own",
        o.first_fd
    ))?;
    cx.note(WORD, text.to_bytes())
}

/// Memory areas that map this very open file; each holds a reference.
fn mapped(cx: &Checkpoint<'_>, o: &Object) -> Result<u64> {
    let mm = cx.mm();
    let locked = mm.lock()?;
    let (mut at, mut n) = (0, 0u64);
    while let Some(vma) = locked.find(at) {
        if vma.file().is_some_and(|f| f.as_ptr() == o.file.as_ptr()) {
            n = n.saturating_add(1);
        }
        at = vma.end();
    }
    Ok(n)
}
