// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! An image from a stream, for commands that look at more than one place of it: a copy in a file without a name.
//!
//! The copy is in `$TMPDIR` (else `/tmp`), readable by nobody else, and gone with the process. It needs as much room as
//! the image; commands that go through an image once ([`crate::input`]) need none.

use crate::error::Failure;
use rustix::fs::{openat, Mode, OFlags, CWD};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Seek},
    os::{fd::AsFd, unix::fs::OpenOptionsExt},
    path::Path,
};

/// What was opened.
pub struct Spooled {
    /// A regular file.
    pub file: File,
    /// Its name for people.
    pub name: String,
    /// Does the name lead to the file, so that it can be replaced?
    pub is_named: bool,
}

/// Opens the file `name`, or standard input for `-`; what is no regular file is copied into one.
///
/// # Errors
/// [`Failure::Read`], also for a folder; [`Failure::Output`] if there is no room for the copy.
pub fn open(name: &str) -> Result<Spooled, Failure> {
    let shown = if name == "-" { "standard input" } else { name };
    let fail = |error| Failure::Read {
        image: shown.to_owned(),
        error,
    };
    let mut file = if name == "-" {
        let stdin = io::stdin();
        File::from(stdin.as_fd().try_clone_to_owned().map_err(fail)?)
    } else {
        File::open(name).map_err(fail)?
    };
    let meta = file.metadata().map_err(fail)?;
    if meta.is_dir() {
        return Err(fail(io::Error::new(
            io::ErrorKind::IsADirectory,
            "it is a directory",
        )));
    }
    // A shell may have read some of it.
    let begins = name != "-" || file.stream_position().is_ok_and(|at| at == 0);
    let file = if meta.is_file() && begins {
        file
    } else {
        copy(file, shown)?
    };
    Ok(Spooled {
        is_named: name != "-" && meta.is_file(),
        name: shown.to_owned(),
        file,
    })
}

fn copy(mut from: File, name: &str) -> Result<File, Failure> {
    let folder = std::env::temp_dir();
    let full = |e: io::Error| {
        Failure::Output {
        path: folder.clone(),
        error: io::Error::new(
            e.kind(),
            format!("{e}; the copy of a stream needs as much room as the image (TMPDIR=DIR names another folder)"),
        ),
    }
    };
    let mut to = nameless(&folder).map_err(full)?;
    match io::copy(&mut from, &mut to) {
        Ok(_) => Ok(to),
        Err(e)
            if matches!(
                e.kind(),
                io::ErrorKind::StorageFull
                    | io::ErrorKind::QuotaExceeded
                    | io::ErrorKind::FileTooLarge
            ) =>
        {
            Err(full(e))
        }
        Err(error) => Err(Failure::Read {
            image: name.to_owned(),
            error,
        }),
    }
}

/// A file in `folder` that has no name, or loses it at once where the file system has no such files.
fn nameless(folder: &Path) -> io::Result<File> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    if let Ok(fd) = openat(CWD, folder, flags, Mode::RUSR | Mode::WUSR) {
        return Ok(fd.into());
    }
    let path = folder.join(format!(".crimg-{}.tmp", std::process::id()));
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)?;
    fs::remove_file(&path)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn the_copy_has_no_name() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = nameless(folder.path()).unwrap();
        file.write_all(b"bytes").unwrap();
        file.rewind().unwrap();
        let mut bytes = String::new();
        file.read_to_string(&mut bytes).unwrap();
        assert_eq!(bytes, "bytes");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_device_is_a_stream_and_a_file_is_itself() {
        let null = open("/dev/null").unwrap();
        assert!(!null.is_named && null.file.metadata().unwrap().is_file());
        let here = open(file!().rsplit_once("tools/crimg/").unwrap().1).unwrap();
        assert!(here.is_named);
        assert!(matches!(open("/"), Err(Failure::Read { .. })));
    }
}
