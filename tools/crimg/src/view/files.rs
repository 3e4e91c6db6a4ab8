// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `show --fds`: the descriptors, what they are open on, and the unread bytes of pipes.

use crate::{
    error::Failure,
    escape,
    load::Image,
    names, number,
    output::{print, table, wrap_only, Output},
    view::{all, first, generic::Schema, pipes::Pipes},
};
use cr_format::{
    DescriptorRecord, FileRecord, FsRecord, FILE_EXTERNAL, FILE_HANDLED, FILE_REGULAR, PIPES,
};
use std::collections::BTreeMap;

/// # Errors
/// [`Failure::Write`].
pub fn fds(image: &Image, out: &mut Output) -> Result<(), Failure> {
    if let Some(fs) = first::<FsRecord<'_>>(image) {
        out.field("directory", escape::text(fs.cwd))?;
        if fs.root != b"/" {
            out.field("root", escape::text(fs.root))?;
        }
        out.field("umask", format_args!("{:04o}", fs.umask))?;
        out.line("")?;
    }
    let files: BTreeMap<u64, FileRecord<'_>> = all::<FileRecord<'_>>(image)
        .map(|f| (f.id.into(), f))
        .collect();
    let pipes = Pipes::new(image);
    let schema = Schema::new(image);
    let mut seen: BTreeMap<u64, u64> = BTreeMap::new();
    let mut rows = table(["FD", "KIND", "OPEN", "POSITION", "SIZE", "WHAT"]);
    for d in all::<DescriptorRecord>(image) {
        let mut fd = d.fd.to_string();
        if d.cloexec == 1 {
            fd += " cloexec";
        }
        let shared = *seen.entry(d.file).or_insert(d.fd);
        let Some(f) = files.get(&d.file) else {
            rows.add_row([
                fd,
                "?".into(),
                String::new(),
                String::new(),
                String::new(),
                format!("file {} (not in the image)", d.file),
            ]);
            continue;
        };
        let sized =
            !f.path.is_empty() && f.kind <= FILE_REGULAR || f.kind == cr_format::FILE_DELETED;
        let mut what = what(f, &pipes);
        if shared != d.fd {
            what += &format!(" (same open file as {shared})");
        }
        rows.add_row([
            fd,
            kind(f, &schema),
            names::open_flags(f.flags),
            if sized {
                f.pos.to_string()
            } else {
                String::new()
            },
            if sized {
                number::size(f.size)
            } else {
                String::new()
            },
            what,
        ]);
    }
    wrap_only(&mut rows, 5);
    print(&rows, out)
}

/// The kind of an open file; those of extensions have the resource word.
pub fn kind(f: &FileRecord<'_>, schema: &Schema) -> String {
    match f.kind {
        FILE_HANDLED if f.handler == u64::from(PIPES) => "pipe".to_owned(),
        FILE_HANDLED => {
            u16::try_from(f.handler).map_or("?".to_owned(), |section| schema.word(section))
        }
        kind => names::file_kind(kind),
    }
}

fn what(f: &FileRecord<'_>, pipes: &Pipes<'_>) -> String {
    let path = escape::text(f.path);
    match f.kind {
        FILE_EXTERNAL => escape::text(f.description),
        FILE_HANDLED => pipes.describe(f.id).unwrap_or(path),
        _ => path,
    }
}
