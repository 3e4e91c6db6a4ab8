// SPDX-License-Identifier: GPL-2.0
//! Records of `fs_struct`, open files and descriptors.

use crate::{
    bulk,
    table::{Object, Table},
    WORD,
};
use cr_format::{
    ContentsRecord, DescriptorRecord, FileRecord, FsRecord, MemfdRecord, FILE_DIRECTORY, FILE_EXTERNAL, FILE_HANDLED, FILE_MEMFD,
    FILE_REGULAR,
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

/// Emits all records, reports all obstacles: for all processes at once, because they share open files.
pub(crate) fn checkpoint(cx: &Checkpoint<'_>) -> Result {
    if cx.process() > 0 {
        return Ok(());
    }
    let mut buf = KBox::new([0u8; PATH], GFP_KERNEL)?;
    for p in cx.all_processes().filter(|p| !p.is_zombie()) {
        fs(&p, &mut *buf)?;
    }
    let table = Table::scan(cx)?;
    table.announce(cx)?;
    for (i, o) in table.objects.iter().enumerate() {
        let id = u32::try_from(i).ok().and_then(|i| i.checked_add(1)).ok_or(EOVERFLOW)?;
        let holder = cx.of_process(o.process).ok_or(EINVAL)?;
        object(cx, &holder, &table, o, i, id, &mut *buf)?;
    }
    locks(cx, &table)?;
    for d in table.descriptors.iter() {
        let process = cx.of_process(d.process).ok_or(EINVAL)?;
        process.emit(&DescriptorRecord {
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
    let fd = o.first_fd.map_or(-1, i64::from);
    cx.obstacle(Obstacle { fd, ..Obstacle::new(WORD, object, t.reason, t.remedy) })
}

/// Lets `locks` emit those that it keeps, process after process.
fn locks(cx: &Checkpoint<'_>, table: &Table) -> Result {
    // Each open file once in a process: its descriptors are not neighbours.
    let mut held: KVVec<(u32, u32)> = KVVec::with_capacity(table.descriptors.len(), GFP_KERNEL)?;
    for d in table.descriptors.iter() {
        held.push((d.process, d.object), GFP_KERNEL)?;
    }
    held.as_mut_slice().sort_unstable();
    let mut last = (u32::MAX, 0);
    for &(process, id) in held.iter() {
        if core::mem::replace(&mut last, (process, id)) == (process, id) {
            continue;
        }
        let o = (id as usize).checked_sub(1).and_then(|i| table.objects.get(i)).ok_or(EINVAL)?;
        let holder = cx.of_process(process).ok_or(EINVAL)?;
        if o.file.locks(&holder.leader()) & files::lock::KEPT == 0 {
            continue;
        }
        match holder.require(c"locks")? {
            Some(section) => holder.checkpoint_file(section, &o.file, id)?,
            None => {
                let t = Trouble { reason: "it is locked, and the extension module cr_locks is not there", remedy: "install the module (see README)" };
                obstacle(&holder, o, b"lock", t)?;
            }
        }
    }
    Ok(())
}

/// Emits the records of one open file. `all` is about the first process, `cx` about the one that has the file.
fn object(all: &Checkpoint<'_>, cx: &Checkpoint<'_>, table: &Table, o: &Object, index: usize, id: u32, buf: &mut [u8]) -> Result {
    let place = PathRef::of(&o.file);
    let text: &[u8] = match place.text(buf) {
        Ok(t) => t,
        Err(e) => {
            cx.note(WORD, b"a path is longer than 4095 bytes")?;
            let reason = if e == ENAMETOOLONG { "its path is too long" } else { "its path cannot be told" };
            return obstacle(cx, o, b"?", Trouble { reason, remedy: "have the program close it first" });
        }
    };
    let locks = o.file.locks(&cx.leader()) & !files::lock::KEPT;
    let owned = o.file.owner().is_some();
    let dnotify = files::may_be_dnotify(o.file.mode(), owned, o.file.is_watched());
    let mut told = owned || o.file.flags() & flag::O_ASYNC != 0;
    if told && !dnotify {
        if let Some(section) = cx.require(c"owners")? {
            cx.checkpoint_file(section, &o.file, id)?;
            told = false;
        }
    }
    if let Some(t) = files::unstored(locks, told, dnotify) {
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
            note_shared_position(cx, table, o, kind, text)?;
            record.kind = kind;
            record.path = text;
            all.emit(&record)?;
            if table.is_stored_too(o) && table.first_of_inode(o) == Some(index) {
                if stat.size >= bulk::SIZE_END {
                    let t = Trouble { reason: "it is too long for an image, 16 TiB or more", remedy: "do without --with-files" };
                    return obstacle(cx, o, text, t);
                }
                bulk::remember(all, id, &stat)?;
                all.emit(&ContentsRecord { id, uid: stat.uid.into(), gid: stat.gid.into() })?;
            }
            Ok(())
        }
        Fate::Contents(kind) => {
            record.kind = kind;
            record.path = text;
            all.emit(&record)?;
            match kind {
                FILE_MEMFD => memfd(all, table, o, index, id),
                _ => Ok(()),
            }
        }
        Fate::External => {
            let text = description(&record, o, text)?;
            record.kind = FILE_EXTERNAL;
            record.description = text.to_bytes();
            all.emit(&record)
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
            all.emit(&record)?;
            cx.checkpoint_file(section, &o.file, id)
        }
        Fate::Obstacle(t) => {
            let fd = o.first_fd.map_or(-1, i64::from);
            let ob = Obstacle::new(WORD, text, t.reason, t.remedy);
            cx.obstacle(Obstacle { fd, address: table.address(o), ..ob })
        }
    }
}

/// The other half of the record of a memory file.
fn memfd(cx: &Checkpoint<'_>, table: &Table, o: &Object, index: usize, id: u32) -> Result {
    let contents = table.first_of_inode(o).unwrap_or(index);
    let owner = u32::try_from(contents).ok().and_then(|i| i.checked_add(1)).ok_or(EOVERFLOW)?;
    if contents != index {
        return cx.emit(&MemfdRecord { id, contents: owner.into(), ..MemfdRecord::default() });
    }
    let facts = o.file.memory_file();
    let mut name = KBox::new([0u8; 256], GFP_KERNEL)?;
    cx.emit(&MemfdRecord {
        id,
        contents: owner.into(),
        name: files::memfd_name(o.file.name(&mut *name)).unwrap_or(b""),
        seals: facts.seals.into(),
        huge: facts.huge,
    })
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
fn note_shared_position(cx: &Checkpoint<'_>, table: &Table, o: &Object, kind: u64, text: &[u8]) -> Result {
    let moves = (kind == FILE_REGULAR && o.file.flags() & flag::O_APPEND == 0) || kind == FILE_DIRECTORY;
    if !moves || table.foreign(o) <= mapped(cx, o)? {
        return Ok(());
    }
    let name = BStr::from_bytes(text);
    let text = CString::try_from_fmt(fmt!(
        "descriptor {} ({name}) shares its position with another process; after a restart it has its own",
        o.first_fd.unwrap_or(0)
    ))?;
    cx.note(WORD, text.to_bytes())
}

/// Memory areas of all processes that map this very open file; each holds a reference.
fn mapped(cx: &Checkpoint<'_>, o: &Object) -> Result<u64> {
    let mut n = 0u64;
    for p in cx.all_processes().filter(|p| !p.is_zombie()) {
        let mm = p.mm();
        let locked = mm.lock()?;
        let mut at = 0;
        while let Some(vma) = locked.find(at) {
            if vma.file().is_some_and(|f| f.as_ptr() == o.file.as_ptr()) {
                n = n.saturating_add(1);
            }
            at = vma.end();
        }
    }
    Ok(n)
}
