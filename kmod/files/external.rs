// SPDX-License-Identifier: GPL-2.0
//! Descriptors whose other end is outside: told to the user after loading, connected at restart.
//!
//! Descriptors 0 to 2 are connected one by one, even if they were one open file (a terminal), so that a
//! shell can redirect them separately. Other descriptors of that file follow the lowest of them.

use crate::{records::Records, WORD};
use cr_format::{DescriptorRecord, ExternalRecord, FILE_EXTERNAL};
use cr_logic::files::{self, flag};
use crkit::{sys::file::FileRef, Restart};
use kernel::{prelude::*, str::{BStr, CString}};

/// Emits one `external` record for each descriptor that the user must connect.
pub(crate) fn report(cx: &Restart<'_>, records: &Records) -> Result {
    for (i, f) in records.externals() {
        let r = records.file(cx, i)?;
        let tell = |fd: u32, stdio: bool| {
            cx.report_external(&ExternalRecord {
                id: 0,
                fd: fd.into(),
                access: files::access(f.flags),
                description: if r.description.is_empty() { r.path } else { r.description },
                stdio: stdio.into(),
                append: u64::from(f.flags & flag::O_APPEND != 0),
            })
        };
        let mut told = false;
        for d in records.descriptors.iter().take_while(|d| d.fd <= 2).filter(|d| d.file == i) {
            tell(d.fd, true)?;
            told = true;
        }
        if let (false, Some(fd)) = (told, f.first_fd) {
            tell(fd, is_like_stdio(records, i))?;
        }
    }
    Ok(())
}

/// The same for another process than the first: descriptors 0 to 2 that the first one has not told of.
pub(crate) fn report_others(cx: &Restart<'_>, records: &Records) -> Result {
    for d in records.descriptors.iter().take_while(|d| d.fd <= 2) {
        let id = u32::try_from(d.file).ok().and_then(|i| i.checked_add(1)).ok_or(EUCLEAN)?;
        let r = cx.file_record(id)?;
        let first = cx.shared_records::<DescriptorRecord>().map_while(Result::ok).take_while(|o| o.fd <= 2);
        let mut told = first.filter(|o| o.fd == u64::from(d.fd));
        let is_told = told.any(|o| cx.file_record(o.file as u32).is_ok_and(|f| f.kind == FILE_EXTERNAL));
        if r.kind != FILE_EXTERNAL || is_told {
            continue;
        }
        cx.report_external(&ExternalRecord {
            id: 0,
            fd: d.fd.into(),
            access: files::access(r.flags as u32),
            description: if r.description.is_empty() { r.path } else { r.description },
            stdio: 1,
            append: u64::from(r.flags as u32 & flag::O_APPEND != 0),
        })?;
    }
    Ok(())
}

/// Is the file the same pipe, socket or terminal as an external one on 0, 1 or 2?
fn is_like_stdio(records: &Records, index: usize) -> bool {
    let Some(f) = records.files.get(index) else { return false };
    let tty = |f: &crate::records::File| files::is_terminal(f.mode, f.rdev);
    records.externals().any(|(i, s)| {
        i != index && s.first_fd.is_some_and(|fd| fd <= 2) && (s.inode == f.inode || (tty(s) && tty(f)))
    })
}

/// What the user has connected as descriptor `fd` of file number `index`: descriptors 0 to 2 have their own;
/// others follow that one of the file's descriptors which can be used like the old file.
///
/// `fd` is none for another process than the first, whose own number did not decide.
pub(crate) fn connected(cx: &Restart<'_>, records: &Records, index: usize, fd: Option<u32>) -> Result<FileRef> {
    let f = records.files.get(index).ok_or(EUCLEAN)?;
    if let Some(own) = fd.filter(|fd| *fd <= 2).and_then(|fd| cx.mapped_file(fd)) {
        return Ok(own);
    }
    let mut best: Option<(u32, FileRef)> = None;
    for d in records.descriptors.iter().filter(|d| d.file == index && (d.fd <= 2 || Some(d.fd) == f.first_fd)) {
        let Some(file) = cx.mapped_file(d.fd) else { continue };
        let fitness = files::fitness(f.flags, file.flags());
        if best.as_ref().is_none_or(|b| fitness > b.0) {
            best = Some((fitness, file));
        }
    }
    // The first process does not have it: what can be used like it of what standard descriptors are connected to.
    let stdio = || {
        let all = (0..=2).filter_map(|fd| cx.mapped_file(fd));
        all.max_by_key(|file| files::fitness(f.flags, file.flags()))
    };
    let other = || if f.first_fd.is_none() { stdio() } else { None };
    best.map(|b| b.1).or_else(other).ok_or_else(|| missing(cx, records, index, f.first_fd.or(fd).unwrap_or(0)))
}

fn missing(cx: &Restart<'_>, records: &Records, index: usize, fd: u32) -> Error {
    let r = records.file(cx, index);
    let what = BStr::from_bytes(r.as_ref().map_or(b"", |r| r.description));
    match CString::try_from_fmt(fmt!("descriptor {fd} must be connected: {what}")) {
        Ok(t) => cx.fail(ENOTCONN, WORD, "", t.to_bytes(), "say to what: crctl restart --fd N=PATH"),
        Err(e) => e,
    }
}
