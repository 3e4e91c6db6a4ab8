// SPDX-License-Identifier: GPL-2.0
//! Are the files of the image still there, and still the same? Nothing is opened here.

use crate::{
    records::{fs, File, Records},
    WORD,
};
use cr_format::{FileRecord, FILE_DEVICE, FILE_DIRECTORY, FILE_PATH, FILE_REGULAR};
use cr_logic::files::{self, Policy, Stamp, Verdict};
use crkit::{
    sys::path::{PathRef, PathText, Stat},
    Restart,
};
use kernel::{fmt, prelude::*, str::{BStr, CString}};

const S_IFMT: u32 = 0o170_000;
const S_IFDIR: u32 = 0o040_000;
/// Most failures that are listed one by one.
const LISTED: u32 = 50;

/// Looks a recorded path up, as the current task sees it.
pub(crate) fn look(path: &[u8], follow: bool) -> Result<PathRef> {
    PathRef::lookup(PathText::new(path)?.as_cstr()?, follow)
}

fn fail(cx: &Restart<'_>, e: Error, text: fmt::Arguments<'_>, remedy: &str) -> Error {
    match CString::try_from_fmt(text) {
        Ok(t) => cx.fail(e, WORD, "", t.to_bytes(), remedy),
        Err(e) => e,
    }
}

fn is_by_path(kind: u64) -> bool {
    matches!(kind, FILE_REGULAR | FILE_DIRECTORY | FILE_DEVICE | FILE_PATH)
}

/// Does a descriptor refer to it? Those of other processes are not looked through.
fn is_used(cx: &Restart<'_>, f: &File) -> bool {
    f.first_fd.is_some() || cx.process_count() > 1
}

/// Every file that is to be opened by path exists and is of the recorded type.
///
/// # Errors
/// The last of the failures, all of which are reported.
pub(crate) fn existence(cx: &Restart<'_>, records: &Records) -> Result {
    let mut result = Ok(());
    let mut listed = 0;
    let mut note = |r: Result| {
        if r.is_err() {
            result = r;
            listed += 1;
        }
        listed < LISTED
    };
    if !note(directory(cx)) {
        return result;
    }
    for (i, f) in records.files.iter().enumerate() {
        if is_by_path(f.kind) && is_used(cx, f) && !note(one(cx, f, &records.file(cx, i)?).map(|_| ())) {
            break;
        }
    }
    result
}

fn directory(cx: &Restart<'_>) -> Result {
    let record = fs(cx)?;
    let (cwd, root) = (BStr::from_bytes(record.cwd), BStr::from_bytes(record.root));
    if record.root != b"/" {
        return Err(fail(cx, EOPNOTSUPP, fmt!("the root directory was {root}; this release restarts in / only"), ""));
    }
    let stat = look(record.cwd, true).and_then(|p| p.stat());
    match stat {
        Ok(s) if s.mode & S_IFMT == S_IFDIR => Ok(()),
        Ok(_) => Err(fail(cx, ENOTDIR, fmt!("the working directory {cwd} is no directory any more"), "create it again")),
        Err(e) => Err(fail(cx, e, fmt!("the working directory {cwd} cannot be reached"), "create it again, mount what it is on")),
    }
}

/// Looks one file up and compares its type.
fn one(cx: &Restart<'_>, f: &File, r: &FileRecord<'_>) -> Result<(PathRef, Stat)> {
    let (path, fd) = (BStr::from_bytes(r.path), f.first_fd.unwrap_or(0));
    // An O_PATH descriptor may name a symbolic link.
    let follow = f.kind != FILE_PATH || f.flags & files::flag::O_NOFOLLOW == 0;
    let (place, stat) = look(r.path, follow).and_then(|p| p.stat().map(|s| (p, s))).map_err(|e| {
        fail(cx, e, fmt!("descriptor {fd}: {path} cannot be reached"), "put the file back in its place, mount what it is on")
    })?;
    if stat.mode & S_IFMT != f.mode & S_IFMT || (f.kind == FILE_DEVICE && stat.rdev != f.rdev) {
        let (was, is) = (f.mode & S_IFMT, stat.mode & S_IFMT);
        return Err(fail(
            cx,
            ESTALE,
            fmt!("descriptor {fd}: {path} is something else now (type {is:o}, was {was:o})"),
            "put the file back in its place",
        ));
    }
    Ok((place, stat))
}

/// Regular files are as they were, as far as the user's policy demands. Returns what must be cut back, as
/// pairs of file index and size.
pub(crate) fn changes(cx: &Restart<'_>, records: &Records) -> Result<KVVec<(usize, u64)>> {
    let policy = match cx.files_policy() {
        cr_uapi::FILES_IGNORE => Policy::Ignore,
        cr_uapi::FILES_TRUNCATE => Policy::Truncate,
        _ => Policy::Check,
    };
    let mut cuts = KVVec::new();
    let mut result = Ok(());
    let mut listed = 0;
    for (i, f) in records.files.iter().enumerate() {
        if !is_by_path(f.kind) || !is_used(cx, f) {
            continue;
        }
        let r = records.file(cx, i)?;
        let (place, stat) = one(cx, f, &r)?;
        if f.kind != FILE_REGULAR || !files::has_meaningful_stamp(place.magic()) {
            continue;
        }
        let was = Stamp { size: r.size, mtime_s: r.mtime_s, mtime_ns: r.mtime_ns };
        let is = Stamp { size: stat.size, mtime_s: stat.mtime_s, mtime_ns: stat.mtime_ns };
        let written = was != is && records.is_written(f);
        let verdict = files::judge(policy, written, was, is);
        match verdict {
            Verdict::Take => {}
            Verdict::Cut if files::is_writable(f.flags) => cuts.push((i, r.size), GFP_KERNEL)?,
            // Another descriptor of the same file, open for writing, cuts it.
            Verdict::Cut => {}
            Verdict::Changed | Verdict::Shorter => {
                result = Err(changed(cx, f, &r, was, is, verdict, policy));
                listed += 1;
                if listed >= LISTED {
                    break;
                }
            }
        }
    }
    result.map(|()| cuts)
}

fn changed(
    cx: &Restart<'_>,
    f: &File,
    r: &FileRecord<'_>,
    was: Stamp,
    is: Stamp,
    verdict: Verdict,
    policy: Policy,
) -> Error {
    let (path, fd) = (BStr::from_bytes(r.path), f.first_fd.unwrap_or(0));
    let remedy = match (verdict, policy) {
        (Verdict::Shorter, _) => "bytes that the process has written are missing: put them back, or take the file as it is with --files=ignore",
        (_, Policy::Truncate) => "--files=truncate is for files open for writing; take this one as it is with --files=ignore",
        _ => "take files as they are with --files=ignore, or cut back those the process writes with --files=truncate",
    };
    fail(
        cx,
        ESTALE,
        fmt!(
            "descriptor {fd}: {path} has changed since the checkpoint: {} bytes, modified {}.{:09}; was {} bytes, {}.{:09}",
            is.size,
            is.mtime_s,
            is.mtime_ns,
            was.size,
            was.mtime_s,
            was.mtime_ns
        ),
        remedy,
    )
}
