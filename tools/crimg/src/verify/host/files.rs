// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Open files, directories, FIFOs: there, of their type, and as they were. As `kmod/files/verify.rs`.

use super::{all, Answer, Files, Finding, Host, Severity};
use crate::{escape, load::Sections, memory::below, names};
use cr_format::{
    DescriptorRecord, FileRecord, FsRecord, PipeRecord, FILE_DEVICE, FILE_DIRECTORY, FILE_EXTERNAL,
    FILE_PATH, FILE_REGULAR,
};
use std::{
    collections::BTreeMap,
    fs::{self, Metadata},
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::Path,
};

const S_IFMT: u64 = 0o170_000;
const O_NOFOLLOW: u64 = 0o400_000;
const BACK: &str = "Put the file back in its place, mount what it is on.";
/// File systems whose sizes and times say nothing: sysfs, cgroup, cgroup2, proc, devpts.
const NO_STAMP: [u64; 5] = [0x6265_6572, 0x0027_e0eb, 0x6367_7270, 0x9fa0, 0x1cd1];

pub(super) fn judge(sections: &Sections, host: &Host, answer: &mut Answer) {
    if let Some(fs) = all::<FsRecord<'_>>(sections).next() {
        directories(&fs, host, answer);
    }
    let mut fds: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for d in all::<DescriptorRecord>(sections) {
        fds.entry(d.file).or_default().push(d.fd);
    }
    let files: Vec<FileRecord<'_>> = all::<FileRecord<'_>>(sections).collect();
    for f in &files {
        let Some(fds) = fds.get(&f.id.into()) else {
            continue;
        };
        let first = fds.first().copied().unwrap_or(0);
        match f.kind {
            FILE_REGULAR | FILE_DIRECTORY | FILE_DEVICE | FILE_PATH => {
                answer.looked("file");
                one(f, first, &files, host, answer);
            }
            FILE_EXTERNAL => {
                answer.looked("descriptor");
                external(f, first, fds, answer);
            }
            _ => {}
        }
    }
    for p in all::<PipeRecord<'_>>(sections).filter(|p| !p.fifo_path.is_empty()) {
        fifo(p.fifo_path, host, answer);
    }
}

fn directories(fs: &FsRecord<'_>, host: &Host, answer: &mut Answer) {
    answer.looked("directory");
    if fs.root != b"/" {
        answer.add(
            Finding::new(
                "directory",
                Severity::Blocks,
                "the process had another root directory; this release restarts in / only",
            )
            .about("root")
            .values(escape::text(fs.root), "/")
            .remedy("It cannot be restarted by this release."),
        );
    }
    let found = match fs::metadata(below(&host.sysroot, fs.cwd)) {
        Ok(meta) if meta.is_dir() => return,
        Ok(_) => "not a directory".to_owned(),
        Err(e) => e.to_string(),
    };
    let cwd = escape::text(fs.cwd);
    answer.add(
        Finding::new(
            "directory",
            Severity::Blocks,
            "the working directory cannot be entered",
        )
        .about(&cwd)
        .values("directory", found)
        .remedy("Create it again, or mount what it is on."),
    );
}

fn one(f: &FileRecord<'_>, fd: u64, files: &[FileRecord<'_>], host: &Host, answer: &mut Answer) {
    let place = below(&host.sysroot, f.path);
    let follow = f.kind != FILE_PATH || f.flags & O_NOFOLLOW == 0;
    let subject = format!("descriptor {fd}: {}", escape::text(f.path));
    let blocks = |message: &str| Finding::new("file", Severity::Blocks, message).about(&subject);
    let meta = if follow {
        fs::metadata(&place)
    } else {
        fs::symlink_metadata(&place)
    };
    let meta = match meta {
        Ok(meta) => meta,
        Err(e) => {
            let finding = blocks("the file cannot be reached")
                .values(names::file_type(f.mode), e)
                .remedy(BACK);
            return answer.add(finding);
        }
    };
    let mode = u64::from(meta.mode());
    if mode & S_IFMT != f.mode & S_IFMT || f.kind == FILE_DEVICE && meta.rdev() != f.rdev {
        let device = |rdev: u64| {
            if f.kind == FILE_DEVICE {
                format!(", device {rdev:#x}")
            } else {
                String::new()
            }
        };
        let finding = blocks("the file is something else now")
            .values(
                format!("{}{}", names::file_type(f.mode), device(f.rdev)),
                format!("{}{}", names::file_type(mode), device(meta.rdev())),
            )
            .remedy("Put the file back in its place.");
        return answer.add(finding);
    }
    if f.kind == FILE_REGULAR && has_stamp(&place) {
        stamp(f, &subject, &meta, files, host, answer);
    }
}

fn has_stamp(place: &Path) -> bool {
    let magic = rustix::fs::statfs(place).map_or(0, |s| u64::try_from(s.f_type).unwrap_or(0));
    !NO_STAMP.contains(&magic)
}

/// A regular file has its recorded size and time, as far as the user's policy demands.
fn stamp(
    f: &FileRecord<'_>,
    subject: &str,
    meta: &Metadata,
    files: &[FileRecord<'_>],
    host: &Host,
    answer: &mut Answer,
) {
    let ns = u64::try_from(meta.mtime_nsec()).unwrap_or(0);
    if (meta.len(), meta.mtime(), ns) == (f.size, f.mtime_s, f.mtime_ns) {
        return;
    }
    let written = files
        .iter()
        .any(|x| x.kind == f.kind && (x.dev, x.ino) == (f.dev, f.ino) && x.flags & 3 != 0);
    let (severity, remedy) = match host.files {
        Files::Ignore => (Severity::Note, "Nothing to do: files are taken as they are."),
        Files::Truncate if written && meta.len() > f.size => {
            (Severity::Note, "Nothing to do: it is cut back to its recorded size.")
        }
        Files::Truncate if written && meta.len() == f.size => (Severity::Note, "Nothing to do: its size is the recorded one."),
        Files::Truncate if written => (
            Severity::Blocks,
            "Bytes that the process has written are missing: put them back, or take the file as it is with --files=ignore.",
        ),
        Files::Truncate => (
            Severity::Blocks,
            "--files=truncate is for files open for writing; take this one as it is with --files=ignore.",
        ),
        Files::Check => (
            Severity::Blocks,
            "Take files as they are with --files=ignore, or cut back those the process writes with --files=truncate.",
        ),
    };
    answer.add(
        Finding::new(
            "file",
            severity,
            "the file has changed since the checkpoint",
        )
        .about(subject)
        .values(
            format!("{} bytes, modified {}.{:09}", f.size, f.mtime_s, f.mtime_ns),
            format!("{} bytes, modified {}.{ns:09}", meta.len(), meta.mtime()),
        )
        .remedy(remedy),
    );
}

fn external(f: &FileRecord<'_>, first: u64, fds: &[u64], answer: &mut Answer) {
    let was = if f.description.is_empty() {
        f.path
    } else {
        f.description
    };
    let list: Vec<String> = fds.iter().map(u64::to_string).collect();
    let stdio = first <= 2;
    let (severity, remedy) = if stdio {
        (
            Severity::Note,
            "Nothing to do: crctl restart connects it to its own descriptors.".to_owned(),
        )
    } else {
        (
            Severity::Warning,
            format!("Say to what: crctl restart --fd {first}=PATH"),
        )
    };
    answer.add(
        Finding::new(
            "descriptor",
            severity,
            "its other end was outside of the process and must be connected",
        )
        .about(format!("descriptor {}", list.join(", ")))
        .values(escape::text(was), "to be connected")
        .remedy(remedy),
    );
}

fn fifo(path: &[u8], host: &Host, answer: &mut Answer) {
    answer.looked("file");
    let found = match fs::metadata(below(&host.sysroot, path)) {
        Ok(meta) if meta.file_type().is_fifo() => return,
        Ok(meta) => names::file_type(meta.mode().into()).to_owned(),
        Err(e) => e.to_string(),
    };
    let path = escape::text(path);
    answer.add(
        Finding::new("file", Severity::Blocks, "the FIFO is not there any more")
            .about(&path)
            .values("FIFO", found)
            .remedy(format!("mkfifo {path}")),
    );
}
