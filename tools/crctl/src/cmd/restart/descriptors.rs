// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Connects descriptors whose other end lay outside of the checkpointed process.

use crate::cli::FdPath;
use crate::error::{self, Class, Failure, Result};
use crate::escape;
use crate::report::{Access, External};
use crate::say;
use crate::sys;
use cr_uapi::FdMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// What one descriptor of the process becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    fd: u32,
    from: From,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum From {
    /// Descriptor 0, 1 or 2 of crctl.
    Stdio(i32),
    /// A path, opened like the old descriptor was.
    Path {
        path: PathBuf,
        access: Access,
        append: bool,
    },
}

/// Open descriptors for the process, all numbered above those it uses.
pub struct Descriptors {
    /// For the kernel.
    pub map: Vec<FdMap>,
    /// Lowest number that the process does not use.
    pub floor: i32,
    /// Keeps them open.
    _open: Vec<OwnedFd>,
}

/// Decides what each external descriptor becomes; `stdin_is_image` says that crctl's own descriptor 0 is in use.
///
/// # Errors
/// Descriptors that are not given (all are listed), or given although the image has no such external descriptor.
pub fn plan(externals: &[External], given: &[FdPath], stdin_is_image: bool) -> Result<Vec<Source>> {
    refuse_strangers(externals, given)?;
    let mut missing = Vec::new();
    let mut sources = Vec::new();
    for external in externals {
        let path = given
            .iter()
            .find(|g| g.fd == external.fd)
            .map(|g| g.path.clone());
        let stdio = external.stdio.then(|| stdio_for(external, externals));
        let from = match (path, stdio) {
            (Some(path), _) => From::Path {
                path,
                access: external.access,
                append: external.append,
            },
            (None, Some(0)) if stdin_is_image => From::Path {
                path: "/dev/null".into(),
                access: external.access,
                append: false,
            },
            (None, Some(number)) => From::Stdio(number),
            (None, None) => {
                missing.push(external);
                continue;
            }
        };
        sources.push(Source {
            fd: external.fd,
            from,
        });
    }
    if missing.is_empty() {
        Ok(sources)
    } else {
        Err(explain_missing(&missing))
    }
}

/// Which of crctl's own descriptors serves `external`: its own number, else that of the same object, else by use.
fn stdio_for(external: &External, externals: &[External]) -> i32 {
    let number = |fd: u32| i32::try_from(fd).ok().filter(|n| (0..=2).contains(n));
    let same = |e: &&External| {
        e.stdio && e.description == external.description && e.access == external.access
    };
    number(external.fd)
        .or_else(|| externals.iter().filter(same).find_map(|e| number(e.fd)))
        .unwrap_or_else(|| match external.access {
            Access::Write => 1,
            Access::Read => 0,
            // A terminal opened by its name, say: one of ours that is one, else one that can be written.
            _ => (0..=2).find(|n| sys::fs::is_terminal(*n)).unwrap_or(1),
        })
}

fn refuse_strangers(externals: &[External], given: &[FdPath]) -> Result<()> {
    let Some(stranger) = given
        .iter()
        .find(|g| !externals.iter().any(|e| e.fd == g.fd))
    else {
        return Ok(());
    };
    let known: Vec<String> = externals.iter().map(|e| e.fd.to_string()).collect();
    let text = format!(
        "--fd {}: this descriptor is not to be connected",
        stranger.fd
    );
    Err(
        Failure::new(Class::Usage, text).remedy(match known.is_empty() {
            true => "The image has no descriptors to connect.".to_owned(),
            false => format!("Those of the image are: {}", known.join(", ")),
        }),
    )
}

fn explain_missing(missing: &[&External]) -> Failure {
    let count = say::count(missing.len() as u64, "descriptor"); // CAST: usize is 64 bits wide
    let mut text = format!("{count} must be connected:");
    for external in missing {
        let access = match external.access {
            Access::Read => "read",
            Access::Write => "write",
            Access::Both => "read and write",
            Access::Unknown => "unknown access",
        };
        text += &format!(
            "\n  {} ({access}): {}",
            external.fd,
            escape::text(&external.description)
        );
    }
    let options: Vec<String> = missing
        .iter()
        .map(|e| format!("--fd {}=PATH", e.fd))
        .collect();
    Failure::new(Class::Usage, text).remedy(format!("Say to what: {}", options.join(" ")))
}

/// Opens everything, above the numbers that the process uses (`min_fd` is the lowest free one).
pub fn open(sources: &[Source], min_fd: u32) -> Result<Descriptors> {
    let too_high = || {
        Failure::new(
            Class::Host,
            format!("the image uses descriptor numbers up to {min_fd}"),
        )
    };
    let floor = i32::try_from(min_fd).map_err(|_| too_high())?.max(3);
    // Room for the sources, the device, and what is open only for a moment.
    // CAST: at most 1024 sources.
    let want = u64::from(floor.unsigned_abs()) + sources.len() as u64 + 16;
    sys::fs::allow_descriptors(want).map_err(|e| {
        let text = format!(
            "the image uses descriptor numbers up to {floor}, more than this shell may open: {}",
            sys::error_text(&e)
        );
        Failure::new(Class::Host, text).remedy(format!("Raise the limit: ulimit -n {want}"))
    })?;

    let mut map = Vec::new();
    let mut open = Vec::new();
    for source in sources {
        let high = match &source.from {
            From::Stdio(number) => duplicate_stdio(*number, floor)
                .map_err(|e| Failure::io(format_args!("descriptor {number} of crctl"), &e))?,
            From::Path {
                path,
                access,
                append,
            } => open_path(path, *access, *append)
                .and_then(|file| sys::fs::dup_from(file.as_fd(), floor))
                .map_err(|e| {
                    Failure::io(format_args!("--fd {}={}", source.fd, error::file(path)), &e)
                })?,
        };
        map.push(FdMap {
            fd: source.fd,
            from: high.as_raw_fd(),
        });
        open.push(high);
    }
    Ok(Descriptors {
        map,
        floor,
        _open: open,
    })
}

/// crctl's own descriptor, or `/dev/null` if the shell has closed it.
fn duplicate_stdio(number: i32, floor: i32) -> io::Result<OwnedFd> {
    if !sys::fs::is_open(number) {
        let null = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/null")?;
        return sys::fs::dup_from(null.as_fd(), floor);
    }
    // SAFETY: the descriptor is open, and nothing closes 0, 1 or 2 during this call.
    sys::fs::dup_from(unsafe { BorrowedFd::borrow_raw(number) }, floor)
}

fn open_path(path: &Path, access: Access, append: bool) -> io::Result<File> {
    let open = |read: bool, write: bool| {
        let mut options = OpenOptions::new();
        options.read(read).custom_flags(libc::O_NOCTTY);
        match append && write {
            true => options.append(true),
            false => options.write(write),
        };
        options.open(path)
    };
    match access {
        Access::Read => open(true, false),
        Access::Write => open(false, true),
        Access::Both => open(true, true),
        Access::Unknown => open(true, true)
            .or_else(|_| open(true, false))
            .or_else(|_| open(false, true)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn external(fd: u32, access: Access, what: &str, stdio: bool) -> External {
        External {
            fd,
            access,
            description: what.as_bytes().to_vec(),
            stdio,
            append: false,
        }
    }

    fn terminal() -> Vec<External> {
        vec![
            external(0, Access::Both, "/dev/pts/3", true),
            external(1, Access::Both, "/dev/pts/3", true),
            external(2, Access::Both, "/dev/pts/3", true),
        ]
    }

    fn given(fd: u32, path: &str) -> FdPath {
        FdPath {
            fd,
            path: path.into(),
        }
    }

    #[test]
    fn stdio_gets_the_own_descriptors() {
        let sources = plan(&terminal(), &[], false).unwrap();
        let numbers: Vec<(u32, From)> = sources.into_iter().map(|s| (s.fd, s.from)).collect();
        assert_eq!(
            numbers,
            [
                (0, From::Stdio(0)),
                (1, From::Stdio(1)),
                (2, From::Stdio(2))
            ]
        );
    }

    #[test]
    fn a_copy_of_a_stdio_descriptor_gets_the_same() {
        let mut externals = vec![external(1, Access::Write, "pipe:[7]", true)];
        externals.push(external(9, Access::Write, "pipe:[7]", true));
        externals.push(external(10, Access::Write, "pipe:[8]", true));
        externals.push(external(11, Access::Read, "pipe:[9]", true));
        let froms: Vec<From> = plan(&externals, &[], false)
            .unwrap()
            .into_iter()
            .map(|s| s.from)
            .collect();
        assert_eq!(
            froms,
            [
                From::Stdio(1),
                From::Stdio(1),
                From::Stdio(1),
                From::Stdio(0)
            ]
        );
    }

    #[test]
    fn an_image_on_standard_input_leaves_none_for_the_program() {
        let sources = plan(&terminal(), &[], true).unwrap();
        assert!(
            matches!(&sources[0].from, From::Path { path, .. } if path == Path::new("/dev/null"))
        );
        assert_eq!(sources[1].from, From::Stdio(1));
        let sources = plan(&terminal(), &[given(0, "/dev/tty")], true).unwrap();
        assert!(
            matches!(&sources[0].from, From::Path { path, .. } if path == Path::new("/dev/tty"))
        );
    }

    #[test]
    fn all_missing_descriptors_are_listed() {
        let externals = [
            external(5, Access::Read, "pipe:[12]\x1b", false),
            external(6, Access::Both, "socket", false),
        ];
        let failure = plan(&externals, &[], false).unwrap_err();
        assert_eq!(failure.class, Class::Usage);
        assert_eq!(
            failure.render("restart"),
            "crctl restart: 2 descriptors must be connected:\n  5 (read): pipe:[12]\\x1b\n  \
             6 (read and write): socket\n  Say to what: --fd 5=PATH --fd 6=PATH"
        );
        assert!(plan(&externals, &[given(5, "/dev/null"), given(6, "x")], false).is_ok());
    }

    #[test]
    fn a_descriptor_that_is_not_external_cannot_be_given() {
        let failure = plan(&terminal(), &[given(7, "x")], false).unwrap_err();
        assert!(failure.messages[0].remedy.ends_with("0, 1, 2"));
        assert!(plan(&[], &[given(0, "x")], false).unwrap_err().messages[0]
            .remedy
            .contains("no descriptors"));
    }

    #[test]
    fn paths_are_opened_as_the_old_descriptor_was_and_above_all_used_numbers() {
        let path = std::env::temp_dir().join(format!("crctl-test-{}-fd", std::process::id()));
        std::fs::write(&path, b"old").unwrap();
        let mut log = external(5, Access::Write, "pipe", false);
        log.append = true;
        let options = [FdPath {
            fd: 5,
            path: path.clone(),
        }];
        let sources = plan(&[log], &options, false).unwrap();
        let opened = open(&sources, 40).unwrap();
        assert_eq!(opened.map[0].fd, 5);
        assert!(opened.map[0].from >= 40);
        let mut file = File::from(opened._open.into_iter().next().unwrap());
        io::Write::write_all(&mut file, b"+new").unwrap();
        assert!(file.read(&mut [0]).is_err(), "opened for writing only");
        assert_eq!(std::fs::read(&path).unwrap(), b"old+new");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(
            open(&sources, 40).err().unwrap().class,
            Class::Io,
            "it does not exist any more"
        );
    }
}
