// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Edits of paths: descriptors, mapped files, the program, directories.
//!
//! A restart compares size and time of modification of a file with what was recorded. When the path
//! changes, what is recorded becomes what the new file has, unless the user wants it otherwise.

use super::{
    draft::{Draft, Rec},
    Refusal,
};
use crate::{
    elf::Object,
    error::Failure,
    escape,
    memory::{below, Area},
    names,
    number::hex,
};
use cr_format::{
    records_of, validate::MetaSet, ContentsRecord, DescriptorRecord, FileRecord, FsRecord,
    MappedFileRecord, MmRecord, PipeRecord, ProcessRecord, VmaRecord, FILES, FILE_DELETED,
    FILE_DEVICE, FILE_DIRECTORY, FILE_EXTERNAL, FILE_HANDLED, FILE_PATH, FILE_REGULAR, MEMORY,
    PIPES, PROT_EXEC, VMA_FILE,
};
use std::{
    collections::BTreeMap,
    fs::{self, File, Metadata},
    os::unix::fs::MetadataExt,
    path::Path,
};

const S_IFMT: u32 = 0o170_000;
const S_IFREG: u32 = 0o100_000;
/// Most descriptors of other processes that a note lists.
const FELLOWS: usize = 8;
/// `O_NOFOLLOW`.
const NOFOLLOW: u64 = 0o400_000;

type Done = Result<Result<(), Refusal>, Failure>;

fn quoted(path: &[u8]) -> String {
    format!("\"{}\"", escape::text(path))
}

/// What is at `path` on this host, or why that cannot be known.
fn look(draft: &Draft<'_>, path: &[u8], follow: bool) -> Option<Result<Metadata, String>> {
    let sysroot = draft.options.sysroot.as_deref()?;
    if !draft.options.stat {
        return None;
    }
    let place = below(sysroot, path);
    let found = if follow {
        fs::metadata(&place)
    } else {
        fs::symlink_metadata(&place)
    };
    Some(found.map_err(|e| {
        format!(
            "{} cannot be looked at here ({e}), so size and times stay as recorded",
            quoted(path)
        )
    }))
}

fn take_stamp(rec: &mut Rec, meta: &Metadata) {
    rec.set("size", meta.size());
    rec.set_signed("mtime_s", meta.mtime());
    rec.set("mtime_ns", u64::try_from(meta.mtime_nsec()).unwrap_or(0));
    rec.set("ino", meta.ino());
    rec.set("dev", meta.dev());
    rec.set("mode", meta.mode().into());
}

/// The open file of descriptor `fd`, and the other descriptors of the process that share it.
fn open_file(draft: &mut Draft<'_>, fd: u64) -> Result<Result<(u64, Vec<u64>), Refusal>, Failure> {
    let records = draft.records(FILES)?;
    let descriptors = || records.iter().filter(|r| r.is::<DescriptorRecord>());
    let Some(file) = descriptors()
        .find(|d| d.number("fd") == fd)
        .map(|d| d.number("file"))
    else {
        let mut open: Vec<String> = descriptors().map(|d| d.number("fd").to_string()).collect();
        if open.len() > 32 {
            open.truncate(32);
            open.push("…".to_owned());
        }
        return Ok(Err(Refusal::new(
            format!("the process has no descriptor {fd}"),
            format!(
                "It has {}.",
                if open.is_empty() {
                    "none".to_owned()
                } else {
                    open.join(" ")
                }
            ),
        )));
    };
    let others = descriptors()
        .filter(|d| d.number("file") == file && d.number("fd") != fd)
        .map(|d| d.number("fd"))
        .collect();
    Ok(Ok((file, others)))
}

/// Pids and descriptors of the other processes that have the open file with this id too, at most [`FELLOWS`] of them,
/// and how many there are.
fn fellows(draft: &Draft<'_>, file: u64) -> (Vec<(u64, u64)>, u64) {
    let whole = draft.file.image.all_sections();
    let (mut listed, mut count) = (Vec::new(), 0_u64);
    for process in (0..whole.processes()).filter(|n| *n != draft.file.image.process) {
        let records = records_of::<DescriptorRecord>(whole.of(process, FILES));
        for d in records.map_while(Result::ok).filter(|d| d.file == file) {
            count = count.saturating_add(1);
            if listed.len() < FELLOWS {
                let pid = whole.process(process).map_or(0, |p| p.tgid);
                listed.push((pid, d.fd));
            }
        }
    }
    (listed, count)
}

/// The descriptors that [`fellows`] found, for a note; `None` if there are none.
fn fellow_text((listed, count): &(Vec<(u64, u64)>, u64)) -> Option<String> {
    let names = listed
        .iter()
        .map(|(pid, fd)| format!("descriptor {fd} of process {pid}"));
    let mut text = names.reduce(|all, one| format!("{all}, {one}"))?;
    let more = count.saturating_sub(listed.len() as u64);
    if more > 0 {
        text = format!("{text} and {more} more");
    }
    Some(text)
}

fn share(draft: &Draft<'_>, fd: u64, file: u64, others: &[u64]) {
    if !others.is_empty() {
        let others: Vec<String> = others.iter().map(u64::to_string).collect();
        draft.note(format!(
            "descriptor {fd} shares its open file with {}, which go along",
            others.join(", ")
        ));
    }
    if let Some(fellows) = fellow_text(&fellows(draft, file)) {
        draft.note(format!(
            "descriptor {fd} shares its open file with other processes, whose descriptors go along: {fellows}"
        ));
    }
}

/// `--fd N=PATH`.
pub fn fd(draft: &mut Draft<'_>, fd: u64, path: &[u8]) -> Done {
    let (file, others) = match open_file(draft, fd)? {
        Ok(found) => found,
        Err(e) => return Ok(Err(e)),
    };
    let stored = draft
        .records(FILES)?
        .iter()
        .any(|r| r.is::<ContentsRecord>() && u64::from(r.id) == file);
    let Some(rec) = draft.find::<FileRecord<'_>>(|r| u64::from(r.id) == file)? else {
        return Ok(Err(Refusal::new(
            format!("descriptor {fd} has no open file"),
            "The image is malformed: see crimg verify.".to_owned(),
        )));
    };
    let kind = rec.number("kind");
    let what = quoted(rec.bytes("path"));
    let refuse = |message: &str, remedy: &str| {
        Ok(Err(Refusal::new(
            format!("descriptor {fd} {message}"),
            remedy.to_owned(),
        )))
    };
    match kind {
        FILE_HANDLED if rec.number("handler") == u64::from(PIPES) => {
            return refuse(
                "is the end of a pipe: what is unread and who has the other end would be lost",
                "A FIFO can be moved with --map-path.",
            )
        }
        FILE_HANDLED => return refuse("is no file, so it has no path", "Leave it."),
        FILE_EXTERNAL => {
            return refuse(
                "is connected by whoever restarts the process",
                "Connect it to the file then: crctl restart --fd.",
            )
        }
        FILE_DELETED => {
            return refuse(
                &format!("is the removed file {what}, whose contents are in the image"),
                "Leave it: a restart makes the file again.",
            )
        }
        _ if stored => {
            return refuse(
                &format!("is {what}, whose contents are in the image"),
                "Move the file with --map-path, or checkpoint without --with-files.",
            )
        }
        _ => {}
    }
    let (old, rdev) = (rec.number("mode"), rec.number("rdev"));
    let follow = kind != FILE_PATH || rec.number("flags") & NOFOLLOW == 0;
    let seen = look(draft, path, follow);
    let meta = match &seen {
        Some(Ok(meta)) => Some(meta),
        Some(Err(why)) => {
            draft.note(why.clone());
            None
        }
        None => None,
    };
    if let Some(meta) = meta {
        let (was, is) = (
            u32::try_from(old).unwrap_or(0) & S_IFMT,
            meta.mode() & S_IFMT,
        );
        let fits = match kind {
            FILE_REGULAR => is == S_IFREG,
            FILE_DIRECTORY | FILE_DEVICE => is == was,
            // O_PATH takes anything.
            _ => true,
        };
        if !fits {
            return Ok(Err(Refusal::new(
                format!(
                    "{} is a {}, and descriptor {fd} is open on a {}",
                    quoted(path),
                    names::file_type(meta.mode().into()),
                    names::file_type(old)
                ),
                "Give the path of such a one.".to_owned(),
            )));
        }
    }
    let Some(rec) = draft.find::<FileRecord<'_>>(|r| u64::from(r.id) == file)? else {
        return Ok(Ok(()));
    };
    rec.put("path", path);
    if let Some(meta) = meta {
        take_stamp(rec, meta);
        rec.set("nlink", meta.nlink());
        if kind == FILE_DEVICE {
            rec.set("rdev", meta.rdev());
        } else {
            rec.set("rdev", rdev);
        }
    }
    share(draft, fd, file, &others);
    Ok(Ok(()))
}

/// `--pos N=OFFSET`.
pub fn pos(draft: &mut Draft<'_>, fd: u64, pos: i64) -> Done {
    let (file, others) = match open_file(draft, fd)? {
        Ok(found) => found,
        Err(e) => return Ok(Err(e)),
    };
    let Some(rec) = draft.find::<FileRecord<'_>>(|r| u64::from(r.id) == file)? else {
        return Ok(Ok(()));
    };
    if !matches!(
        rec.number("kind"),
        FILE_REGULAR | FILE_DIRECTORY | FILE_DELETED
    ) {
        return Ok(Err(Refusal::new(
            format!("descriptor {fd} is open on something without a position"),
            "Only files and directories have one.".to_owned(),
        )));
    }
    rec.set_signed("pos", pos);
    share(draft, fd, file, &others);
    Ok(Ok(()))
}

/// `path` with `from` replaced by `to` if it is `from` or below it.
pub fn mapped(path: &[u8], from: &[u8], to: &[u8]) -> Option<Vec<u8>> {
    let rest = if from == b"/" {
        path.get(..)?
    } else {
        path.strip_prefix(from)?
    };
    // `/ab` is not below `/a`; a removed file is followed by ` (deleted)`.
    if from != b"/" && !rest.is_empty() && rest.first() != Some(&b'/') && rest != b" (deleted)" {
        return None;
    }
    if path.first() != Some(&b'/') {
        return None;
    }
    let to = if to == b"/" && !rest.is_empty() {
        b""
    } else {
        to
    };
    Some([to, rest].concat())
}

/// `--map-path A=B`.
pub fn map_path(draft: &mut Draft<'_>, from: &[u8], to: &[u8]) -> Done {
    let mut count = 0_u64;
    let (mut moved, mut opened) = (Vec::new(), BTreeMap::new());
    // Records with a path: section, record type, field.
    let process = |r: &Rec| r.is::<ProcessRecord<'_>>();
    for section in [cr_format::TASKS, MEMORY, FILES, PIPES] {
        if cr_format::validate::MetaSet::section(&draft.file.image.sections, section).is_empty() {
            continue;
        }
        for (n, rec) in draft.records(section)?.iter_mut().enumerate() {
            let fields: &[&str] = match () {
                () if process(rec) => &["exe"],
                () if rec.is::<MappedFileRecord<'_>>() || rec.is::<FileRecord<'_>>() => &["path"],
                () if rec.is::<FsRecord<'_>>() => &["cwd", "root"],
                () if rec.is::<PipeRecord<'_>>() => &["fifo_path"],
                () => &[],
            };
            if rec.is::<FileRecord<'_>>() && rec.number("kind") == FILE_EXTERNAL {
                continue;
            }
            for field in fields {
                let Some(new) = mapped(rec.bytes(field), from, to) else {
                    continue;
                };
                if rec.is::<FileRecord<'_>>() {
                    opened.insert(u64::from(rec.id), new.clone());
                }
                rec.put(field, &new);
                count = count.saturating_add(1);
                moved.push((section, n));
            }
        }
    }
    if count == 0 {
        return Ok(Err(Refusal::new(
            format!("the process has no path {} or below it", quoted(from)),
            "crimg show --maps and --fds list the paths.".to_owned(),
        )));
    }
    for (file, path) in opened {
        if let Some(fellows) = fellow_text(&fellows(draft, file)) {
            draft.note(format!(
                "{} is an open file that other processes share, whose descriptors go along: {fellows}",
                quoted(&path)
            ));
        }
    }
    for (section, n) in moved {
        if let Err(e) = restat(draft, section, n)? {
            return Ok(Err(e));
        }
    }
    Ok(Ok(()))
}

/// What is recorded of a file becomes what the file at its path has now.
fn restat(draft: &mut Draft<'_>, section: u16, n: usize) -> Done {
    let Some(rec) = draft.records(section)?.get(n).cloned() else {
        return Ok(Ok(()));
    };
    let kind = rec.number("kind");
    let is_mapped = rec.is::<MappedFileRecord<'_>>();
    let by_path = matches!(
        kind,
        FILE_REGULAR | FILE_DIRECTORY | FILE_DEVICE | FILE_PATH
    );
    if !(is_mapped || rec.is::<FileRecord<'_>>() && by_path) {
        return Ok(Ok(()));
    }
    let path = rec.bytes("path").to_vec();
    let meta = match look(draft, &path, true) {
        None => return Ok(Ok(())),
        Some(Err(why)) => {
            draft.note(why);
            return Ok(Ok(()));
        }
        Some(Ok(meta)) => meta,
    };
    let old = u32::try_from(rec.number("mode")).unwrap_or(0);
    if kind != FILE_PATH && (old ^ meta.mode()) & S_IFMT != 0 {
        return Ok(Err(Refusal::new(
            format!(
                "{} is a {}, and the process has a {} there",
                quoted(&path),
                names::file_type(meta.mode().into()),
                names::file_type(old.into())
            ),
            "Give the path of such a one.".to_owned(),
        )));
    }
    let build = if is_mapped {
        build_id(draft, &path)
    } else {
        None
    };
    if let Err(e) = same_build(draft, &rec, build.as_deref(), &path) {
        return Ok(Err(e));
    }
    if let Some(rec) = draft.records(section)?.get_mut(n) {
        take_stamp(rec, &meta);
        match (is_mapped, build) {
            (true, Some(id)) => rec.put("build_id", &id),
            (true, None) => {}
            (false, _) => {
                rec.set("nlink", meta.nlink());
                if kind == FILE_DEVICE {
                    rec.set("rdev", meta.rdev());
                }
            }
        }
    }
    Ok(Ok(()))
}

fn build_id(draft: &Draft<'_>, path: &[u8]) -> Option<Vec<u8>> {
    let file = regular(&below(draft.options.sysroot.as_deref()?, path))?;
    Object::read(&file)?.build_id(&file)
}

fn regular(path: &Path) -> Option<File> {
    // Nothing else is opened: opening a FIFO waits.
    fs::metadata(path)
        .ok()?
        .is_file()
        .then(|| File::open(path).ok())?
}

fn same_build(
    draft: &Draft<'_>,
    rec: &Rec,
    new: Option<&[u8]>,
    path: &[u8],
) -> Result<(), Refusal> {
    let old = rec.bytes("build_id");
    match new {
        Some(new) if !old.is_empty() && new != old && !draft.options.other_build => Err(Refusal::new(
            format!(
                "{} is another build: its build id is {}, the process has run {}; code that is not in the image would be that of the other",
                quoted(path),
                hex(new),
                hex(old)
            ),
            "Take a file of the same build, or insist with --other-build.".to_owned(),
        )),
        _ => Ok(()),
    }
}

/// `--exe PATH`.
pub fn exe(draft: &mut Draft<'_>, path: &[u8]) -> Done {
    let object = draft
        .find::<MmRecord<'_>>(|_| true)?
        .map_or(0, |mm| mm.number("exe_object"));
    if let Some(process) = draft.find::<ProcessRecord<'_>>(|_| true)? {
        process.put("exe", path);
    }
    if object == 0 {
        draft.note("the image has no file of the program: only its name has changed".to_owned());
        return Ok(Ok(()));
    }
    let records = draft.records(MEMORY)?;
    let code = records.iter().any(|r| {
        r.is::<VmaRecord<'_>>()
            && r.number("kind") == VMA_FILE
            && r.number("object") == object
            && r.number("prot") & PROT_EXEC != 0
    });
    let place = records
        .iter()
        .position(|r| r.is::<MappedFileRecord<'_>>() && u64::from(r.id) == object);
    let Some(n) = place else {
        return Ok(Ok(()));
    };
    if let Some(rec) = records.get_mut(n) {
        rec.put("path", path);
    }
    if code {
        draft.note(format!(
            "code and other pages that are not in the image come from {} at restart",
            quoted(path)
        ));
    }
    restat(draft, MEMORY, n)
}

/// `--cwd PATH`.
pub fn cwd(draft: &mut Draft<'_>, path: &[u8]) -> Done {
    match look(draft, path, true) {
        Some(Ok(meta)) if !meta.is_dir() => {
            return Ok(Err(Refusal::new(
                format!("{} is no directory", quoted(path)),
                "Give the path of one.".to_owned(),
            )))
        }
        Some(Err(_)) => draft.note(format!(
            "{} is not there on this host; a restart needs it",
            quoted(path)
        )),
        _ => {}
    }
    if let Some(fs) = draft.find::<FsRecord<'_>>(|_| true)? {
        fs.put("cwd", path);
    }
    Ok(Ok(()))
}

/// `--root PATH`.
pub fn root(draft: &mut Draft<'_>, path: &[u8]) -> Done {
    if path != b"/" {
        return Ok(Err(Refusal::new(
            "this release restarts in the root directory / only".to_owned(),
            "Start crctl restart inside of the other root.".to_owned(),
        )));
    }
    if let Some(fs) = draft.find::<FsRecord<'_>>(|_| true)? {
        fs.put("root", path);
    }
    Ok(Ok(()))
}

/// May pages that are not in the image be taken from the file below the sysroot? Only if it is the one that
/// was mapped, as far as can be told.
pub fn same_file(draft: &Draft<'_>, area: &Area) -> Result<(), String> {
    let Some(file) = draft.memory.open_mapped(area) else {
        // A whole page needs no file.
        return Ok(());
    };
    let section = cr_format::validate::MetaSet::section(&draft.file.image.sections, MEMORY);
    let recorded = cr_format::records_of::<MappedFileRecord<'_>>(section)
        .map_while(Result::ok)
        .find(|r| u64::from(r.id) == area.object);
    let Some(recorded) = recorded else {
        return Ok(());
    };
    let size = file.metadata().map_or(0, |m| m.size());
    let build = Object::read(&*file).and_then(|o| o.build_id(&*file));
    let other = build.is_some_and(|b| !recorded.build_id.is_empty() && b != recorded.build_id);
    if size == recorded.size && !other {
        return Ok(());
    }
    Err(format!(
        "the page is in the file {}, and the one on this host is another (size or build id); give the --sysroot where it is",
        escape::text(&area.name)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_where_a_name_ends() {
        let m = |p: &str, a: &str, b: &str| {
            mapped(p.as_bytes(), a.as_bytes(), b.as_bytes()).map(|v| String::from_utf8(v).unwrap())
        };
        assert_eq!(m("/a/b", "/a", "/x").as_deref(), Some("/x/b"));
        assert_eq!(m("/a", "/a", "/x/y").as_deref(), Some("/x/y"));
        assert_eq!(m("/ab", "/a", "/x"), None);
        assert_eq!(m("/a/b", "/", "/x").as_deref(), Some("/x/a/b"));
        assert_eq!(m("/a/b", "/a", "/").as_deref(), Some("/b"));
        assert_eq!(m("/a", "/a", "/").as_deref(), Some("/"));
        assert_eq!(
            m("/a (deleted)", "/a", "/x").as_deref(),
            Some("/x (deleted)")
        );
        assert_eq!(m("socket:[1]", "/", "/x"), None);
        assert_eq!(m("", "/", "/x"), None);
    }
}
