// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Files that appear whole or not at all: written beside their place, synced, renamed.

use crate::error::Failure;
use rustix::fs::{renameat_with, RenameFlags, CWD};
use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{fchown, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// A file being written under a temporary name. Dropped without [`AtomicFile::commit`], it is removed and
/// what stood at its place is untouched.
pub struct AtomicFile {
    /// Where the bytes go; seekable, readable and writable.
    pub file: File,
    target: PathBuf,
    temporary: PathBuf,
    replace: bool,
    done: bool,
}

impl AtomicFile {
    /// Begins a file that will be `target`. Unless `replace`, an existing target is refused now, and again
    /// at the end should one have appeared meanwhile. Mode 0600: an image holds what memory holds.
    ///
    /// # Errors
    /// [`Failure::Usage`] for an existing target, [`Failure::Output`].
    pub fn create(target: &Path, replace: bool) -> Result<Self, Failure> {
        // A link is written through, so that it goes on pointing at the file.
        let target = fs::canonicalize(target).unwrap_or_else(|_| target.to_owned());
        Self::exactly(target, replace)
    }

    /// [`AtomicFile::create`] for a target that is not looked at through a link.
    ///
    /// # Errors
    /// As there; a link is no regular file.
    pub fn exactly(target: PathBuf, replace: bool) -> Result<Self, Failure> {
        let fail = |error| failed(&target, error);
        if let Ok(meta) = fs::symlink_metadata(&target) {
            if !replace {
                return Err(exists(&target));
            }
            if !meta.is_file() {
                return Err(fail(io::Error::other("it is no regular file")));
            }
        }
        let Some(name) = target.file_name() else {
            return Err(fail(io::Error::from(io::ErrorKind::InvalidInput)));
        };
        for n in 0..100_u32 {
            let mut temporary = OsString::from(".");
            temporary.push(name);
            temporary.push(format!(".{}-{n}.tmp", std::process::id()));
            let temporary = target.with_file_name(temporary);
            let opened = OpenOptions::new()
                .read(true)
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&temporary);
            match opened {
                Ok(file) => {
                    return Ok(Self {
                        file,
                        target,
                        temporary,
                        replace,
                        done: false,
                    })
                }
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(e) => return Err(fail(e)),
            }
        }
        Err(fail(io::Error::from(io::ErrorKind::AlreadyExists)))
    }

    /// Path of what is being written, before [`AtomicFile::commit`].
    pub fn temporary(&self) -> &Path {
        &self.temporary
    }

    /// The error of a write to it.
    pub fn failed(&self, error: io::Error) -> Failure {
        failed(&self.target, error)
    }

    /// Brings it to disk and to its place. A replaced file keeps its mode and, if permitted, its owner.
    ///
    /// # Errors
    /// [`Failure::Usage`] for a target that appeared meanwhile, [`Failure::Output`].
    pub fn commit(self) -> Result<(), Failure> {
        let fail = |error| failed(&self.target, error);
        if self.replace {
            if let Ok(old) = fs::metadata(&self.target) {
                // Only root may; then the file is the caller's, as every new one is.
                let _ = fchown(&self.file, Some(old.uid()), Some(old.gid()));
                let mode = fs::Permissions::from_mode(old.mode() & 0o7777);
                self.file.set_permissions(mode).map_err(fail)?;
            }
        }
        self.place()
    }

    /// Brings it to disk and to its place as it is, owner, mode and time included.
    ///
    /// # Errors
    /// As [`AtomicFile::commit`].
    pub fn place(mut self) -> Result<(), Failure> {
        let fail = |error| failed(&self.target, error);
        self.file.sync_all().map_err(fail)?;
        let flags = if self.replace {
            RenameFlags::empty()
        } else {
            RenameFlags::NOREPLACE
        };
        match renameat_with(CWD, &self.temporary, CWD, &self.target, flags) {
            Ok(()) => {}
            Err(rustix::io::Errno::EXIST) => return Err(exists(&self.target)),
            Err(rustix::io::Errno::INVAL) if !self.replace => {
                // A file system without RENAME_NOREPLACE: a hard link refuses an existing name as well.
                fs::hard_link(&self.temporary, &self.target).map_err(|e| {
                    if e.kind() == io::ErrorKind::AlreadyExists {
                        exists(&self.target)
                    } else {
                        fail(e)
                    }
                })?;
                fs::remove_file(&self.temporary).map_err(fail)?;
            }
            Err(e) => return Err(fail(e.into())),
        }
        self.done = true;
        let folder = self.target.parent().filter(|p| !p.as_os_str().is_empty());
        let folder = File::open(folder.unwrap_or(Path::new("."))).map_err(fail)?;
        folder.sync_all().map_err(fail)
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if !self.done {
            // Nothing else can be done about a temporary file that cannot be removed.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

fn failed(target: &Path, error: io::Error) -> Failure {
    Failure::Output {
        path: target.to_owned(),
        error,
    }
}

fn exists(target: &Path) -> Failure {
    Failure::Usage {
        message: format!(
            "{} exists already",
            crate::escape::text(target.as_os_str().as_encoded_bytes())
        ),
        remedy: "Give another name with -o, or --force to replace it.".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_file_appears_at_its_commit_and_leaves_nothing_without() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a");
        let mut f = AtomicFile::create(&target, false).unwrap();
        f.file.write_all(b"one").unwrap();
        assert!(!target.exists());
        f.commit().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"one");

        assert!(AtomicFile::create(&target, false).is_err());
        let mut f = AtomicFile::create(&target, true).unwrap();
        f.file.write_all(b"two").unwrap();
        drop(f);
        assert_eq!(fs::read(&target).unwrap(), b"one");

        fs::set_permissions(&target, fs::Permissions::from_mode(0o640)).unwrap();
        let mut f = AtomicFile::create(&target, true).unwrap();
        f.file.write_all(b"two").unwrap();
        f.commit().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"two");
        assert_eq!(fs::metadata(&target).unwrap().mode() & 0o7777, 0o640);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_target_that_appears_meanwhile_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a");
        let f = AtomicFile::create(&target, false).unwrap();
        fs::write(&target, b"other").unwrap();
        assert!(f.commit().is_err());
        assert_eq!(fs::read(&target).unwrap(), b"other");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
