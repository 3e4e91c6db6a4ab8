// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Rules of section `files`.

use super::{each, ids, is_bool, is_nanosecond, is_offset, is_path, known_records, only, MetaSet};
use crate::{
    error::{ensure, Error, Result},
    limits::{FDS, PATH},
    record::{records_of, Record},
    sections::{
        ContentsRecord, DescriptorRecord, FileRecord, FsRecord, MemfdRecord, FILES, FILE_DELETED,
        FILE_DEVICE, FILE_DIRECTORY, FILE_EXTERNAL, FILE_HANDLED, FILE_MEMFD, FILE_PATH,
        FILE_REGULAR, HUGE_1G, HUGE_2M, SEALS,
    },
    wire::len64,
};

/// Type bits of a mode.
const S_IFMT: u64 = 0o170_000;
const S_IFREG: u64 = 0o100_000;
const S_IFDIR: u64 = 0o040_000;
const S_IFCHR: u64 = 0o020_000;
const S_IFBLK: u64 = 0o060_000;

/// Flags of an open file that a restart brings back: access mode, `O_APPEND`, `O_NONBLOCK`, `O_SYNC`, `O_DIRECT`,
/// `O_LARGEFILE`, `O_DIRECTORY`, `O_NOFOLLOW`, `O_NOATIME`, `O_PATH`, and those that mean nothing any more:
/// `O_CLOEXEC` and the bit of `O_TMPFILE`.
const OPEN_FLAGS: u64 = 0o3
    | 0o2_000
    | 0o4_000
    | 0o4_010_000
    | 0o40_000
    | 0o100_000
    | 0o200_000
    | 0o400_000
    | 0o1_000_000
    | 0o10_000_000
    | 0o2_000_000
    | 0o20_000_000;

/// Number of open files of the image.
pub(super) fn count(set: &dyn MetaSet) -> u64 {
    ids::record_ids(FILES, set.section(FILES), FileRecord::TYPE)
        .last()
        .map_or(0, |(id, _)| id)
}

pub(super) fn check(set: &dyn MetaSet) -> Result {
    known_records(set, FILES)?;
    let fs: FsRecord<'_> = only(set, "FILES-1")?;
    let sound = fs.id == 1 && is_path(fs.cwd) && is_path(fs.root) && fs.umask <= 0o777;
    ensure(sound, "FILES-1").map_err(|e| e.placed(FILES, 0))?;
    if fs.root != b"/" {
        return Err(Error::unsupported("root directory other than /").placed(FILES, 0));
    }
    let others = set.files_before();
    let mut files = 0_u64;
    each(set, |f: FileRecord<'_>| {
        ensure(others.is_none(), "FILES-9")?;
        files = files.saturating_add(1);
        if files > FDS {
            return Err(Error::over_limit(files, FDS));
        }
        ensure(u64::from(f.id) == files, "FILES-2")?;
        file_record(&f)
    })?;
    memfds(set)?;
    contents(set)?;
    let files = others.unwrap_or(files);
    let mut last = 0;
    each(set, |d: DescriptorRecord| {
        if d.fd >= FDS {
            return Err(Error::over_limit(d.fd.saturating_add(1), FDS));
        }
        ensure(
            u64::from(d.id) == d.fd.saturating_add(1) && d.id > last,
            "FILES-7",
        )?;
        last = d.id;
        ensure(
            (1..=files).contains(&d.file) && is_bool(d.cloexec),
            "FILES-8",
        )
    })
}

fn file_record(f: &FileRecord<'_>) -> Result {
    let file_type = f.mode & S_IFMT;
    let fits = match f.kind {
        FILE_REGULAR | FILE_DELETED | FILE_MEMFD => file_type == S_IFREG,
        FILE_DIRECTORY => file_type == S_IFDIR,
        FILE_DEVICE => file_type == S_IFCHR || file_type == S_IFBLK,
        FILE_PATH | FILE_HANDLED | FILE_EXTERNAL => true,
        _ => return Err(Error::unsupported("kind of an open file")),
    };
    ensure(
        fits && f.mode <= 0o177_777 && u32::try_from(f.flags).is_ok(),
        "FILES-6",
    )?;
    if f.flags & !OPEN_FLAGS != 0 {
        return Err(Error::unsupported("flag of an open file"));
    }
    ensure(
        (f.kind == FILE_HANDLED) == (f.handler != 0) && f.handler <= 0xffff,
        "FILES-3",
    )?;
    let by_path = matches!(
        f.kind,
        FILE_REGULAR | FILE_DIRECTORY | FILE_DEVICE | FILE_PATH
    );
    let path = if by_path {
        is_path(f.path)
    } else {
        len64(f.path) < PATH
    };
    ensure(path && len64(f.description) < PATH, "FILES-4")?;
    ensure(
        f.pos >= 0 && is_offset(f.size) && is_nanosecond(f.mtime_ns),
        "FILES-5",
    )
}

/// Longest name that `memfd_create` takes.
const MEMFD_NAME: usize = 249;

/// One record for each memory file that is open, and each knows where its contents are.
fn memfds(set: &dyn MetaSet) -> Result {
    let mut files = records_of::<FileRecord<'_>>(set.section(FILES))
        .filter(|f| f.as_ref().map_or(true, |f| f.kind == FILE_MEMFD));
    each(set, |m: MemfdRecord<'_>| {
        let file = files.next().ok_or(Error::rule("FILES-10"))??;
        ensure(file.id == m.id, "FILES-10")?;
        if m.seals & !SEALS != 0 {
            return Err(Error::unsupported("seal of a memory file"));
        }
        let own = m.contents == u64::from(m.id);
        ensure(
            own || m.name.is_empty() && m.seals == 0 && m.huge == 0,
            "FILES-11",
        )?;
        if m.huge != 0 && ![HUGE_2M, HUGE_1G].contains(&m.huge) {
            return Err(Error::unsupported(
                "size of the huge pages of a memory file",
            ));
        }
        let whole = file.size.checked_rem(m.huge).unwrap_or(0) == 0;
        ensure(m.name.len() <= MEMFD_NAME && whole, "FILES-12")
    })?;
    if files.next().is_some() {
        return Err(Error::rule("FILES-10").placed(FILES, 0));
    }
    let all = records_of::<MemfdRecord<'_>>(set.section(FILES)).map_while(Result::ok);
    let used = all.map(|m| (m.contents, 0));
    match ids::dangling(used, owning(set).map(|id| (id, 0))) {
        Some(_) => Err(Error::rule("FILES-11").placed(FILES, 0)),
        None => Ok(()),
    }
}

/// Contents records belong to open files that have a path.
fn contents(set: &dyn MetaSet) -> Result {
    let mut files = records_of::<FileRecord<'_>>(set.section(FILES));
    each(set, |c: ContentsRecord| {
        let kind = loop {
            // They ascend, so this goes through the open files once.
            let file = files.next().ok_or(Error::rule("FILES-13"))??;
            if file.id == c.id {
                break file.kind;
            }
        };
        let sound = [c.uid, c.gid].iter().all(|id| *id < u64::from(u32::MAX));
        ensure(kind == FILE_REGULAR && sound, "FILES-13")
    })
}

/// The open files whose memory file has its contents in their name.
fn owning(set: &dyn MetaSet) -> impl Iterator<Item = u64> + Clone + '_ {
    records_of::<MemfdRecord<'_>>(set.shared(FILES))
        .map_while(Result::ok)
        .filter(|m| m.contents == u64::from(m.id))
        .map(|m| m.contents)
}

/// The open files without a path that own page data: what areas can map.
pub(super) fn nameless(set: &dyn MetaSet) -> impl Iterator<Item = u64> + Clone + '_ {
    records_of::<FileRecord<'_>>(set.shared(FILES))
        .map_while(Result::ok)
        .filter(|f| f.kind == FILE_DELETED)
        .map(|f| u64::from(f.id))
        .chain(owning(set))
}

/// The open files that own page data.
pub(super) fn owners(set: &dyn MetaSet) -> impl Iterator<Item = u64> + Clone + '_ {
    let contents = records_of::<ContentsRecord>(set.shared(FILES)).map_while(Result::ok);
    nameless(set).chain(contents.map(|c| u64::from(c.id)))
}
