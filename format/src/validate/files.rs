// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Rules of section `files`.

use super::{each, is_bool, is_nanosecond, is_offset, is_path, known_records, only, MetaSet};
use crate::{
    error::{ensure, Error, Result},
    limits::{FDS, PATH},
    sections::{
        DescriptorRecord, FileRecord, FsRecord, FILES, FILE_DELETED, FILE_DEVICE, FILE_DIRECTORY,
        FILE_EXTERNAL, FILE_HANDLED, FILE_PATH, FILE_REGULAR,
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

pub(super) fn check(set: &dyn MetaSet) -> Result {
    known_records(set, FILES)?;
    let fs: FsRecord<'_> = only(set, "FILES-1")?;
    let sound = fs.id == 1 && is_path(fs.cwd) && is_path(fs.root) && fs.umask <= 0o777;
    ensure(sound, "FILES-1").map_err(|e| e.placed(FILES, 0))?;
    if fs.root != b"/" {
        return Err(Error::unsupported("root directory other than /").placed(FILES, 0));
    }
    let mut files = 0_u64;
    each(set, |f: FileRecord<'_>| {
        files = files.saturating_add(1);
        if files > FDS {
            return Err(Error::over_limit(files, FDS));
        }
        ensure(u64::from(f.id) == files, "FILES-2")?;
        file_record(&f)
    })?;
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
        FILE_REGULAR | FILE_DELETED => file_type == S_IFREG,
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
