// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Descriptors, and file operations relative to an open directory.

use super::check;
use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Duplicates `fd` to the lowest free number that is at least `min`, close-on-exec.
pub fn dup_from(fd: BorrowedFd<'_>, min: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: the call takes no pointer.
    let new = check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, min) })?;
    // SAFETY: `new` was created by the call above, nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(new) })
}

/// True if descriptor number `fd` is open.
pub fn is_open(fd: RawFd) -> bool {
    // SAFETY: the call takes no pointer and changes nothing, whether `fd` is open or not.
    unsafe { libc::fcntl(fd, libc::F_GETFD) >= 0 }
}

/// Is `fd` a terminal?
pub fn is_terminal(fd: RawFd) -> bool {
    // SAFETY: the call takes no pointer and changes nothing, whether `fd` is open or not.
    unsafe { libc::isatty(fd) == 1 }
}

/// Gives a pipe room for 1 MiB; anything else, and a pipe that may not grow, stays as it is.
pub fn enlarge_pipe(fd: BorrowedFd<'_>) {
    // SAFETY: the call takes no pointer. It fails on what is no pipe, which is meant to be ignored.
    let _ = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETPIPE_SZ, 1 << 20) };
}

/// `openat(2)` below `dir`; `O_CLOEXEC` is added.
pub fn open_at(
    dir: &File,
    name: &CStr,
    flags: libc::c_int,
    mode: libc::mode_t,
) -> io::Result<File> {
    // SAFETY: `name` is NUL-terminated and outlives the call.
    let fd = check(unsafe {
        libc::openat(
            dir.as_raw_fd(),
            name.as_ptr(),
            flags | libc::O_CLOEXEC,
            mode,
        )
    })?;
    // SAFETY: `fd` was created by the call above, nobody else owns it.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// `renameat2(2)` within `dir`.
pub fn rename_at(dir: &File, from: &CStr, to: &CStr, flags: libc::c_uint) -> io::Result<()> {
    let dir = dir.as_raw_fd();
    // SAFETY: both names are NUL-terminated and outlive the call.
    check(unsafe { libc::renameat2(dir, from.as_ptr(), dir, to.as_ptr(), flags) }).map(drop)
}

/// `linkat(2)` within `dir`: fails with `EEXIST` when `to` exists.
pub fn link_at(dir: &File, from: &CStr, to: &CStr) -> io::Result<()> {
    let dir = dir.as_raw_fd();
    // SAFETY: both names are NUL-terminated and outlive the call.
    check(unsafe { libc::linkat(dir, from.as_ptr(), dir, to.as_ptr(), 0) }).map(drop)
}

/// `unlinkat(2)` of a file below `dir`.
pub fn unlink_at(dir: &File, name: &CStr) -> io::Result<()> {
    // SAFETY: `name` is NUL-terminated and outlives the call.
    check(unsafe { libc::unlinkat(dir.as_raw_fd(), name.as_ptr(), 0) }).map(drop)
}

/// Locks the whole file for this open file description (`flock(2)`); `wait` or fail with `EWOULDBLOCK`.
pub fn lock(file: &File, wait: bool) -> io::Result<()> {
    let op = libc::LOCK_EX | if wait { 0 } else { libc::LOCK_NB };
    // SAFETY: the call takes no pointer.
    check(unsafe { libc::flock(file.as_raw_fd(), op) }).map(drop)
}

/// Waits until one of `fds` is readable or `timeout_ms` have passed (negative: no limit); which ones are.
pub fn poll_readable<const N: usize>(
    fds: [BorrowedFd<'_>; N],
    timeout_ms: i32,
) -> io::Result<[bool; N]> {
    let mut set = fds.map(|fd| libc::pollfd {
        fd: fd.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    });
    // CAST: N is a handful.
    // SAFETY: `set` holds N entries and outlives the call.
    match check(unsafe { libc::poll(set.as_mut_ptr(), N as libc::nfds_t, timeout_ms) }) {
        Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok([false; N]),
        Err(e) => Err(e),
        Ok(_) => Ok(set.map(|p| p.revents != 0)),
    }
}

/// An `eventfd(2)`, close-on-exec: readable once something was written to it.
pub fn eventfd() -> io::Result<File> {
    // SAFETY: the call takes no pointer.
    let fd = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) })?;
    // SAFETY: `fd` was created by the call above, nobody else owns it.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// Raises the soft limit of open descriptors to at least `want`, and the hard one if that is allowed.
pub fn allow_descriptors(want: u64) -> io::Result<()> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is a valid place for the answer.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) })?;
    if limit.rlim_cur >= want {
        return Ok(());
    }
    limit.rlim_cur = want;
    limit.rlim_max = limit.rlim_max.max(want);
    // SAFETY: `limit` is initialised and outlives the call.
    check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }).map(drop)
}

/// The foreground process group of terminal `tty`.
pub fn foreground_group(tty: &impl AsFd) -> io::Result<libc::pid_t> {
    // SAFETY: the call takes no pointer.
    check(unsafe { libc::tcgetpgrp(tty.as_fd().as_raw_fd()) })
}

/// Makes `group` the foreground process group of `tty`. SIGTTOU must be blocked or ignored.
pub fn set_foreground_group(tty: &impl AsFd, group: libc::pid_t) -> io::Result<()> {
    // SAFETY: the call takes no pointer.
    check(unsafe { libc::tcsetpgrp(tty.as_fd().as_raw_fd(), group) }).map(drop)
}
