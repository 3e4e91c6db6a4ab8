// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Where a checkpoint goes: standard output, or a file that appears under its name only when it is complete.
//!
//! A file is written as `.NAME.crctl-PID.tmp` in the directory it will live in (mode 0600), locked with `flock`
//! while it is written. Success renames it; every failure removes it. Only a `crctl` that is killed with SIGKILL
//! leaves one behind: nobody holds its lock then, and the next checkpoint to the same name removes it.

use crate::error::{self, Class, Failure, Result};
use crate::escape;
use crate::sys;
use std::ffi::{CStr, CString, OsStr};
use std::fs::{self, File};
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Longest name a file can have.
const NAME_MAX: usize = 255;

/// Where the user wants the image; nothing exists yet.
pub enum Destination {
    /// `-`.
    Stdout,
    /// A path.
    File(Target),
}

/// A file to be.
pub struct Target {
    path: PathBuf,
    dir: File,
    dir_path: PathBuf,
    name: CString,
    force: bool,
}

/// An image being written. Dropping it without [`Image::publish`] leaves no file.
pub enum Image<'a> {
    /// To standard output.
    Stdout(io::Stdout),
    /// To a temporary file.
    File(Temporary<'a>),
}

/// The temporary file of a [`Target`].
pub struct Temporary<'a> {
    target: &'a Target,
    file: File,
    name: Option<CString>,
}

impl Destination {
    /// Checks `path` without creating anything: `-` on a terminal is refused, for a file see [`Target::new`].
    pub fn new(path: &Path, force: bool) -> Result<Self> {
        if path == Path::new("-") {
            if io::stdout().is_terminal() {
                return Err(Failure::new(
                    Class::Usage,
                    "an image is binary data, and standard output is a terminal",
                )
                .remedy("Name a file (-o FILE), or redirect: crctl checkpoint PID -o - | ..."));
            }
            return Ok(Self::Stdout);
        }
        Target::new(path, force).map(Self::File)
    }

    /// Opens what the image is written to.
    pub fn open(&self) -> Result<Image<'_>> {
        match self {
            Self::Stdout => {
                let stdout = io::stdout();
                sys::fs::enlarge_pipe(stdout.as_fd());
                Ok(Image::Stdout(stdout))
            }
            Self::File(target) => target.create(0o600).map(Image::File),
        }
    }

    /// For messages: the path, or what `-` means.
    pub fn title(&self) -> String {
        match self {
            Self::Stdout => "standard output".to_owned(),
            Self::File(target) => error::file(&target.path),
        }
    }
}

impl Target {
    /// Checks `path` without creating anything: an existing file without `force`, and anything that is no plain
    /// file, is refused.
    pub fn new(path: &Path, force: bool) -> Result<Self> {
        let shown = error::file(path);
        let Some(name) = path.file_name() else {
            return Err(Failure::new(
                Class::Usage,
                format!("{shown}: not the name of a file"),
            ));
        };
        let dir_path = match path.parent() {
            Some(parent) if parent != Path::new("") => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        let dir = fs::OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_DIRECTORY)
            .open(&dir_path)
            .map_err(|e| Failure::io(format_args!("directory {}", error::file(&dir_path)), &e))?;
        let name = c_name(name)?;
        let target = Target {
            path: path.to_owned(),
            dir,
            dir_path,
            name,
            force,
        };
        match fs::symlink_metadata(path) {
            Ok(meta) if !meta.is_file() => Err(Failure::new(
                Class::Usage,
                format!("{shown}: exists and is no regular file"),
            )
            .remedy("To write into a pipe or device: -o - and a redirection.")),
            Ok(_) if !force => Err(target.exists()),
            Ok(_) => Ok(target),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(target),
            Err(e) => Err(Failure::io(shown, &e)),
        }
    }

    /// Creates the temporary file.
    pub fn create(&self, mode: libc::mode_t) -> Result<Temporary<'_>> {
        self.remove_stale();
        for attempt in 0..100 {
            let name = temporary_name(self.name.to_bytes(), std::process::id(), attempt);
            let flags = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
            let file = match sys::fs::open_at(&self.dir, &name, flags, mode) {
                Ok(file) => file,
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(e) => {
                    return Err(Failure::io(
                        format_args!("{}: cannot create a file", self.dir_title()),
                        &e,
                    ));
                }
            };
            // A file system without locks costs only the protection against another crctl's clean-up.
            let _ = sys::fs::lock(&file, true);
            match file.metadata() {
                // Another crctl took it for a left-over before it was locked.
                Ok(meta) if meta.nlink() == 0 => {}
                _ => {
                    return Ok(Temporary {
                        target: self,
                        file,
                        name: Some(name),
                    })
                }
            }
        }
        Err(Failure::new(
            Class::Io,
            format!("{}: cannot create a temporary file", self.dir_title()),
        ))
    }

    /// Removes temporary files for this name whose writer was killed.
    fn remove_stale(&self) {
        for entry in fs::read_dir(&self.dir_path).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if !is_temporary_of(name.as_bytes(), self.name.to_bytes()) {
                continue;
            }
            let Ok(name) = CString::new(name.as_bytes()) else {
                continue;
            };
            let flags = libc::O_RDONLY | libc::O_NOFOLLOW | libc::O_NONBLOCK;
            let Ok(file) = sys::fs::open_at(&self.dir, &name, flags, 0) else {
                continue;
            };
            let is_ours = file
                .metadata()
                .is_ok_and(|m| m.is_file() && m.uid() == sys::process::effective_uid());
            if is_ours && sys::fs::lock(&file, false).is_ok() {
                let _ = sys::fs::unlink_at(&self.dir, &name);
            }
        }
    }

    fn dir_title(&self) -> String {
        error::file(&self.dir_path)
    }

    fn exists(&self) -> Failure {
        Failure::new(
            Class::Io,
            format!("{}: exists already", error::file(&self.path)),
        )
        .remedy("Choose another name, or replace it (atomically): --force")
    }
}

impl Image<'_> {
    /// Makes sure that the data has reached the disk; a pipe has none and is left alone.
    ///
    /// # Errors
    /// The errno of `fsync(2)`.
    pub fn sync(&self) -> io::Result<()> {
        match self {
            Self::File(temporary) => temporary.file.sync_all(),
            Self::Stdout(_) => {
                let copy = File::from(self.as_fd().try_clone_to_owned()?);
                match copy.sync_all() {
                    Err(e)
                        if matches!(sys::errno(&e), libc::EINVAL | libc::EROFS | libc::ENOTSUP) =>
                    {
                        Ok(())
                    }
                    other => other,
                }
            }
        }
    }

    /// Bytes in the file so far; 0 for standard output.
    pub fn len(&self) -> u64 {
        match self {
            Self::File(temporary) => temporary.file.metadata().map_or(0, |m| m.len()),
            Self::Stdout(_) => 0,
        }
    }

    /// Removes the file although it is still being written, for a program that is about to die.
    pub fn unlink(&self) {
        if let Self::File(temporary) = self {
            temporary.unlink();
        }
    }

    /// Gives the complete, synced file its name and syncs the directory.
    pub fn publish(self) -> Result<()> {
        match self {
            Self::File(temporary) => temporary.publish(),
            Self::Stdout(_) => Ok(()),
        }
    }
}

impl AsFd for Image<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::File(temporary) => temporary.file.as_fd(),
            Self::Stdout(stdout) => stdout.as_fd(),
        }
    }
}

impl Temporary<'_> {
    /// The open file.
    pub fn file(&self) -> &File {
        &self.file
    }

    fn unlink(&self) {
        if let Some(name) = &self.name {
            let _ = sys::fs::unlink_at(&self.target.dir, name);
        }
    }

    /// Gives the file its name and syncs the directory.
    pub fn publish(mut self) -> Result<()> {
        let target = self.target;
        let Some(name) = self.name.as_deref() else {
            return Ok(());
        };
        let renamed = match target.force {
            true => sys::fs::rename_at(&target.dir, name, &target.name, 0),
            false => rename_without_replacing(&target.dir, name, &target.name),
        };
        match renamed {
            Ok(()) => self.name = None,
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Err(target.exists()),
            Err(e) => return Err(Failure::io(error::file(&target.path), &e)),
        }
        match target.dir.sync_all() {
            // Some file systems cannot sync a directory.
            Err(e) if sys::errno(&e) != libc::EINVAL => {
                let failure = Failure::io(
                    format_args!("{}: cannot sync the directory", target.dir_title()),
                    &e,
                );
                Err(failure.remedy(format!(
                    "The image is complete as {}.",
                    error::file(&target.path)
                )))
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        self.unlink();
    }
}

/// `rename` that never replaces, with the older way for file systems that do not know the flag.
fn rename_without_replacing(dir: &File, from: &CStr, to: &CStr) -> io::Result<()> {
    match sys::fs::rename_at(dir, from, to, libc::RENAME_NOREPLACE) {
        Err(e) if matches!(sys::errno(&e), libc::EINVAL | libc::ENOSYS) => {
            sys::fs::link_at(dir, from, to)?;
            sys::fs::unlink_at(dir, from)
        }
        other => other,
    }
}

fn c_name(name: &OsStr) -> Result<CString> {
    CString::new(name.as_bytes()).map_err(|_| {
        Failure::new(
            Class::Usage,
            format!("{}: a file name cannot hold NUL", escape::path(name)),
        )
    })
}

/// `.NAME.crctl-PID.tmp`, with a number more from the second attempt on; NAME is cut so that it always fits.
fn temporary_name(name: &[u8], pid: u32, attempt: u32) -> CString {
    let tail = match attempt {
        0 => format!(".crctl-{pid}.tmp"),
        n => format!(".crctl-{pid}-{n}.tmp"),
    };
    let room = NAME_MAX - 1 - tail.len();
    let bytes = [b".", &name[..name.len().min(room)], tail.as_bytes()].concat();
    // `name` comes from a CString, so there is no NUL to fail on.
    CString::new(bytes).unwrap_or_default()
}

/// True if `entry` is a name that [`temporary_name`] makes for `name`.
fn is_temporary_of(entry: &[u8], name: &[u8]) -> bool {
    let Some(rest) = entry
        .strip_prefix(b".")
        .and_then(|r| r.strip_suffix(b".tmp"))
    else {
        return false;
    };
    let Some(at) = rest.windows(7).rposition(|w| w == b".crctl-") else {
        return false;
    };
    let (stem, number) = (&rest[..at], &rest[at + 7..]);
    let is_number = !number.is_empty() && number.iter().all(|b| b.is_ascii_digit() || *b == b'-');
    is_number && (stem == name || (entry.len() == NAME_MAX && name.starts_with(stem)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str) -> Self {
            let path =
                std::env::temp_dir().join(format!("crctl-test-{}-{name}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn names(&self) -> Vec<String> {
            let mut names: Vec<String> = fs::read_dir(&self.0)
                .unwrap()
                .map(|e| e.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        }

        fn target(&self, force: bool) -> Target {
            Target::new(&self.0.join("a.ckpt"), force).unwrap_or_else(|f| panic!("{f:?}"))
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn temporary_names_are_recognised_and_no_others() {
        let name = temporary_name(b"web.ckpt", 12, 0);
        assert_eq!(name.to_bytes(), b".web.ckpt.crctl-12.tmp");
        assert!(is_temporary_of(name.to_bytes(), b"web.ckpt"));
        assert!(is_temporary_of(
            temporary_name(b"web.ckpt", 12, 3).to_bytes(),
            b"web.ckpt"
        ));
        assert!(!is_temporary_of(name.to_bytes(), b"b.ckpt"));
        assert!(!is_temporary_of(name.to_bytes(), b"eb.ckpt"));
        assert!(!is_temporary_of(b".web.ckpt.crctl-.tmp", b"web.ckpt"));
        assert!(!is_temporary_of(b".web.ckpt.crctl-1x.tmp", b"web.ckpt"));
        assert!(!is_temporary_of(b"web.ckpt", b"web.ckpt"));
        let long = vec![b'x'; NAME_MAX];
        let name = temporary_name(&long, u32::MAX, 99);
        assert_eq!(name.to_bytes().len(), NAME_MAX);
        assert!(is_temporary_of(name.to_bytes(), &long));
    }

    #[test]
    fn a_published_image_has_its_name_and_nothing_else_remains() {
        let dir = Dir::new("publish");
        let target = dir.target(false);
        let mut temporary = target.create(0o600).unwrap();
        assert_eq!(
            dir.names(),
            [format!(".a.ckpt.crctl-{}.tmp", std::process::id())]
        );
        temporary.file.write_all(b"image").unwrap();
        temporary.publish().unwrap();
        assert_eq!(dir.names(), ["a.ckpt"]);
        let meta = fs::metadata(dir.0.join("a.ckpt")).unwrap();
        assert_eq!(meta.mode() & 0o777, 0o600);
    }

    #[test]
    fn an_image_that_is_not_published_leaves_nothing() {
        let dir = Dir::new("drop");
        let target = dir.target(false);
        drop(target.create(0o600).unwrap());
        assert!(dir.names().is_empty());
    }

    #[test]
    fn an_existing_file_is_replaced_only_by_force() {
        let dir = Dir::new("force");
        let late = dir.target(false);
        let temporary = late.create(0o600).unwrap();
        fs::write(dir.0.join("a.ckpt"), b"old").unwrap();
        let failure = Destination::new(&dir.0.join("a.ckpt"), false)
            .err()
            .unwrap();
        assert_eq!(failure.class, Class::Io);
        assert!(
            temporary.publish().is_err(),
            "it appeared while the image was written"
        );
        assert_eq!(dir.names(), ["a.ckpt"]);
        assert_eq!(fs::read(dir.0.join("a.ckpt")).unwrap(), b"old");
        let forced = dir.target(true);
        forced.create(0o600).unwrap().publish().unwrap();
        assert_eq!(fs::read(dir.0.join("a.ckpt")).unwrap(), b"");
    }

    #[test]
    fn only_a_plain_file_is_ever_replaced() {
        let dir = Dir::new("kinds");
        std::os::unix::fs::symlink("elsewhere", dir.0.join("link")).unwrap();
        for path in [
            dir.0.join("link"),
            dir.0.clone(),
            PathBuf::from("/dev/null"),
            PathBuf::from("/"),
        ] {
            assert_eq!(
                Destination::new(&path, true).err().unwrap().class,
                Class::Usage,
                "{}",
                path.display()
            );
        }
        let missing = Destination::new(&dir.0.join("none/a.ckpt"), true)
            .err()
            .unwrap();
        assert_eq!(missing.class, Class::Io);
    }

    #[test]
    fn left_overs_of_a_killed_writer_are_removed_and_those_of_a_living_one_are_not() {
        let dir = Dir::new("stale");
        fs::write(dir.0.join(".a.ckpt.crctl-999999999.tmp"), b"dead").unwrap();
        fs::write(dir.0.join(".b.ckpt.crctl-999999999.tmp"), b"other name").unwrap();
        let first = dir.target(false);
        let living = first.create(0o600).unwrap();
        let second = dir.target(false);
        let other = second.create(0o600).unwrap();
        let pid = std::process::id();
        let mut expected = vec![
            format!(".a.ckpt.crctl-{pid}-1.tmp"),
            format!(".a.ckpt.crctl-{pid}.tmp"),
            ".b.ckpt.crctl-999999999.tmp".to_owned(),
        ];
        expected.sort();
        assert_eq!(dir.names(), expected);
        drop((living, other));
    }
}
