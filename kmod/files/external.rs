// SPDX-License-Identifier: GPL-2.0
//! Descriptors whose other end is outside: told to the user after loading, connected at restart.
//!
//! Descriptors 0 to 2 are connected one by one, even if they were one open file (a terminal), so that a
//! shell can redirect them separately. Other descriptors of that file follow the lowest of them.

use crate::{records::Records, WORD};
use cr_format::ExternalRecord;
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
pub(crate) fn connected(cx: &Restart<'_>, records: &Records, index: usize, fd: u32) -> Result<FileRef> {
    let f = records.files.get(index).ok_or(EUCLEAN)?;
    if let Some(own) = cx.mapped_file(fd).filter(|_| fd <= 2) {
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
    best.map(|b| b.1).ok_or_else(|| missing(cx, records, index, f.first_fd.unwrap_or(fd)))
}

fn missing(cx: &Restart<'_>, records: &Records, index: usize, fd: u32) -> Error {
    let r = records.file(cx, index);
    let what = BStr::from_bytes(r.as_ref().map_or(b"", |r| r.description));
    match CString::try_from_fmt(fmt!("descriptor {fd} must be connected: {what}")) {
        Ok(t) => cx.fail(ENOTCONN, WORD, "", t.to_bytes(), "say to what: crctl restart --fd N=PATH"),
        Err(e) => e,
    }
}
