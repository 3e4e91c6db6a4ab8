// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Files that are mapped: regular, of the recorded size and time, and readable. As `kmod/memory/mapped.rs`.

use super::{all, build_id, Answer, Finding, Host, Severity};
use crate::{escape, load::Sections, memory::below, number};
use cr_format::MappedFileRecord;
use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
};

/// `O_NONBLOCK | O_NOCTTY`: nothing that is looked at may notice or block.
const CAREFUL: i32 = 0o4400;
const CHECK: &str = "mapped_file";

pub(super) fn judge(sections: &Sections, host: &Host, answer: &mut Answer) {
    for r in all::<MappedFileRecord<'_>>(sections) {
        answer.looked(CHECK);
        one(&r, host, answer);
    }
}

fn one(r: &MappedFileRecord<'_>, host: &Host, answer: &mut Answer) {
    let place = below(&host.sysroot, r.path);
    let subject = escape::text(r.path);
    let blocks = |message: &str| Finding::new(CHECK, Severity::Blocks, message).about(&subject);
    let meta = match std::fs::metadata(&place) {
        Ok(meta) => meta,
        Err(e) => {
            let finding = blocks("the process maps this file, and it cannot be reached")
                .values(number::size(r.size), e)
                .remedy(
                    "The file must be at the same path as at the checkpoint, and readable by you.",
                );
            return answer.add(finding);
        }
    };
    if !meta.is_file() {
        let finding = blocks("the process maps this file, and it is not a regular file any more")
            .values("regular file", "something else")
            .remedy("Put the file of the checkpoint back, with its time (cp --preserve).");
        return answer.add(finding);
    }
    let open = |write: bool| {
        OpenOptions::new()
            .read(true)
            .write(write)
            .custom_flags(CAREFUL)
            .open(&place)
    };
    let file = open(false);
    let id = file.as_ref().ok().and_then(|f| here(r, f));
    if meta.len() != r.size {
        let finding = blocks("the process maps this file, and its size has changed")
            .values(
                format!("{} bytes{}", r.size, named(Some(r.build_id))),
                format!("{} bytes{}", meta.len(), named(id.as_deref())),
            )
            .remedy("Put the file of the checkpoint back, with its time (cp --preserve), or downgrade the package.");
        return answer.add(finding);
    }
    let mtime_ns = u64::try_from(meta.mtime_nsec()).unwrap_or(0);
    if (meta.mtime(), mtime_ns) != (r.mtime_s, r.mtime_ns) {
        let remedy = if id.as_deref() == Some(r.build_id) {
            format!(
                "It has the same build id, so it is the same file: give it its time back: touch -d @{}.{:09} {subject}",
                r.mtime_s, r.mtime_ns
            )
        } else {
            "Put the file of the checkpoint back, with its time (cp --preserve), or downgrade the package.".to_owned()
        };
        let finding = blocks("the process maps this file, and it has been modified since")
            .values(
                format!(
                    "modified {}.{:09}{}",
                    r.mtime_s,
                    r.mtime_ns,
                    named(Some(r.build_id))
                ),
                format!(
                    "modified {}.{mtime_ns:09}{}",
                    meta.mtime(),
                    named(id.as_deref())
                ),
            )
            .remedy(remedy);
        return answer.add(finding);
    }
    if id.as_deref().is_some_and(|id| id != r.build_id) {
        answer.add(
            Finding::new(
                CHECK,
                Severity::Warning,
                "the file has another build id, although its size and time are the same",
            )
            .about(&subject)
            .values(number::hex(r.build_id), number::hex(id.as_deref().unwrap_or(&[])))
            .remedy("The restart will not notice, and the program will crash: put the file of the checkpoint back."),
        );
    }
    let denied = match (r.writable == 1, file) {
        (_, Err(e)) => Some(e),
        (true, Ok(_)) => open(true).err(),
        (false, Ok(_)) => None,
    };
    if let Some(e) = denied {
        answer.add(refused(e, host, &subject, r.writable == 1));
    }
}

fn refused(e: io::Error, host: &Host, subject: &str, write: bool) -> Finding {
    // Root will be able to read it.
    let severity = if host.is_root() {
        Severity::Blocks
    } else {
        Severity::Warning
    };
    let what = if write {
        "for reading and writing"
    } else {
        "for reading"
    };
    Finding::new(
        CHECK,
        severity,
        format!("the process maps this file, and it cannot be opened {what}"),
    )
    .about(subject)
    .values("opened", e)
    .remedy("Whoever restarts must be able to open it.")
}

/// The build id of the file here, if the image has one to compare.
fn here(r: &MappedFileRecord<'_>, file: &File) -> Option<Vec<u8>> {
    if r.build_id.is_empty() {
        None
    } else {
        build_id::of(file)
    }
}

fn named(id: Option<&[u8]>) -> String {
    match id {
        Some(id) if !id.is_empty() => format!(", build id {}", number::hex(id)),
        _ => String::new(),
    }
}
