// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Processes: creating them with a chosen pid, waiting for them, and asking about them.

use super::check;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// `pid_t`.
pub type Pid = libc::pid_t;

/// How a child changed, from `waitpid(2)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It ended by itself with this status.
    Exited(i32),
    /// A signal ended it.
    Killed(i32),
    /// A signal stopped it.
    Stopped(i32),
    /// It runs again after a stop.
    Continued,
}

impl Change {
    /// Decodes a wait status.
    pub fn from_status(status: libc::c_int) -> Self {
        if libc::WIFEXITED(status) {
            Self::Exited(libc::WEXITSTATUS(status))
        } else if libc::WIFSTOPPED(status) {
            Self::Stopped(libc::WSTOPSIG(status))
        } else if libc::WIFCONTINUED(status) {
            Self::Continued
        } else {
            Self::Killed(libc::WTERMSIG(status))
        }
    }
}

fn wait_with(pid: Pid, options: libc::c_int) -> io::Result<Option<Change>> {
    loop {
        let mut status = 0;
        // SAFETY: `status` is a valid place for the answer.
        match check(unsafe { libc::waitpid(pid, &mut status, options) }) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
            Ok(0) => return Ok(None),
            Ok(_) => return Ok(Some(Change::from_status(status))),
        }
    }
}

/// Waits for the end of child `pid` and reaps it.
pub fn wait_end(pid: Pid) -> io::Result<Change> {
    wait_with(pid, 0).map(|change| change.unwrap_or(Change::Exited(0)))
}

/// The next change of child `pid`, stops and continues included; `None` when there is none yet.
pub fn poll_change(pid: Pid) -> io::Result<Option<Change>> {
    wait_with(pid, libc::WNOHANG | libc::WUNTRACED | libc::WCONTINUED)
}

/// Whether child `pid` has been continued since the last call that told so.
pub fn poll_continued(pid: Pid) -> io::Result<Option<Change>> {
    let mut info = std::mem::MaybeUninit::<libc::siginfo_t>::zeroed();
    // CAST: a pid is positive.
    // SAFETY: `info` is a valid place for the answer.
    check(unsafe {
        libc::waitid(
            libc::P_PID,
            pid as libc::id_t,
            info.as_mut_ptr(),
            libc::WCONTINUED | libc::WNOHANG,
        )
    })?;
    // SAFETY: zeroed above, so that it is initialised even if the call had nothing to say.
    let info = unsafe { info.assume_init() };
    Ok((info.si_signo == libc::SIGCHLD).then_some(Change::Continued))
}

/// Sends `signal` to `pid`, or to process group `-pid` when negative.
pub fn kill(pid: Pid, signal: libc::c_int) -> io::Result<()> {
    // SAFETY: the call takes no pointer.
    check(unsafe { libc::kill(pid, signal) }).map(drop)
}

/// Kills child `pid` and reaps it; a child that is gone already is fine.
pub fn kill_and_reap(pid: Pid) {
    let _ = kill(pid, libc::SIGKILL);
    let _ = wait_end(pid);
}

/// The caller's pid.
pub fn own_pid() -> Pid {
    // SAFETY: the call cannot fail and takes no pointer.
    unsafe { libc::getpid() }
}

/// The caller's effective user id.
pub fn effective_uid() -> libc::uid_t {
    // SAFETY: the call cannot fail and takes no pointer.
    unsafe { libc::geteuid() }
}

/// The process group of `pid` (0: of the caller).
pub fn group_of(pid: Pid) -> io::Result<Pid> {
    // SAFETY: the call takes no pointer.
    check(unsafe { libc::getpgid(pid) })
}

/// The session of `pid` (0: of the caller).
pub fn session_of(pid: Pid) -> io::Result<Pid> {
    // SAFETY: the call takes no pointer.
    check(unsafe { libc::getsid(pid) })
}

/// Moves what `flags` (`CLONE_NEW*`) name to new namespaces, for the caller or its future children.
pub fn unshare(flags: libc::c_int) -> io::Result<()> {
    // SAFETY: the call takes no pointer; only namespace flags are used, which change no memory.
    check(unsafe { libc::unshare(flags) }).map(drop)
}

/// Runs `body` in a forked child and returns the child's pid. The child never returns from here: it ends with
/// the status that `body` returns, without running destructors or flushing anything of the parent.
///
/// # Safety
/// The caller is single-threaded, or `body` makes only system calls.
pub unsafe fn fork(body: impl FnOnce() -> i32) -> io::Result<Pid> {
    // SAFETY: see the function's requirement.
    let pid = check(unsafe { libc::fork() })?;
    if pid == 0 {
        let status = body();
        // SAFETY: the call ends the process and takes no pointer.
        unsafe { libc::_exit(status) };
    }
    Ok(pid)
}

/// Flag of [`clone_with_pid`]: a child of the caller's parent (`CLONE_PARENT`).
// CAST: a flag.
pub const SIBLING: u64 = libc::CLONE_PARENT as u64;

/// Creates a child with pid `tid` in its pid namespace (`clone3` with `set_tid`) that runs `body` on a copy of
/// the caller's memory and never returns from here. `flags` are `CLONE_NEW*` and [`SIBLING`]. Returns the pid that the caller sees.
///
/// # Safety
/// As for [`fork`]. In addition `body` must not use anything of libc that caches the pid or tid.
pub unsafe fn clone_with_pid(tid: Pid, flags: u64, body: impl FnOnce() -> i32) -> io::Result<Pid> {
    let set_tid = [tid];
    // SAFETY: the struct consists of integers, for which zero is a value.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = flags;
    // CAST: a small positive constant, a pointer as the kernel wants it, and a length of 1.
    args.exit_signal = match flags & SIBLING {
        0 => libc::SIGCHLD as u64,
        // As its sibling does.
        _ => 0,
    };
    args.set_tid = set_tid.as_ptr() as u64;
    args.set_tid_size = set_tid.len() as u64;
    // SAFETY: `args` and `set_tid` are initialised and outlive the call. Without CLONE_VM and a stack the call
    // behaves like fork, see the function's requirement.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &args, size_of::<libc::clone_args>()) };
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    if pid == 0 {
        let status = body();
        // SAFETY: the call ends the process and takes no pointer.
        unsafe { libc::_exit(status) };
    }
    // CAST: the kernel returned a pid.
    Ok(pid as Pid)
}

/// A descriptor that becomes readable when process `pid` ends (`pidfd_open(2)`).
pub fn pidfd(pid: Pid) -> io::Result<OwnedFd> {
    // SAFETY: the call takes no pointer.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // CAST: the kernel returned a descriptor number.
    // SAFETY: `fd` was created by the call above, nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Makes `fd` descriptor 0 and closes every other one. For a forked helper that owns nothing else.
pub fn keep_only(fd: BorrowedFd<'_>) {
    // SAFETY: the calls take no pointer. The closed descriptors may belong to objects of the parent's copy, but
    // the helper that calls this never returns to the code that would use or close them again.
    unsafe {
        libc::dup2(fd.as_raw_fd(), 0);
        libc::syscall(libc::SYS_close_range, 1u32, u32::MAX, 0u32);
    }
}

/// Bytes of memory that `pid` has filled, 0 if it is gone.
pub fn resident_bytes(pid: Pid) -> u64 {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    let pages = statm
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0).saturating_mul(4096)
}

/// Sleeps until a signal ends the caller.
pub fn sleep_forever() -> ! {
    loop {
        // SAFETY: the call takes no pointer.
        unsafe { libc::pause() };
    }
}

/// Children of the calling thread, in the numbers of the mounted `/proc`.
pub fn children() -> io::Result<Vec<Pid>> {
    let list = std::fs::read_to_string("/proc/thread-self/children")?;
    Ok(list
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect())
}

/// Asks for `signal` when the parent dies.
pub fn die_with_parent(signal: libc::c_int) {
    // SAFETY: the call takes no pointer.
    let _ = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal) };
}

/// Starts a new session.
pub fn new_session() {
    // SAFETY: the call takes no pointer. It fails for a group leader, which a fresh child is not.
    let _ = unsafe { libc::setsid() };
}

/// Ends the caller by `signal`, as if nobody had caught it, without a core file; used to pass on how a child
/// ended. If the signal does not kill, exits with 128 + `signal` as a shell would.
pub fn die_by(signal: libc::c_int) -> ! {
    let none = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `none` is initialised and outlives the call; prctl takes no pointer here.
    unsafe {
        libc::setrlimit(libc::RLIMIT_CORE, &none);
        libc::prctl(libc::PR_SET_DUMPABLE, 0);
    }
    super::signal::set_default(signal);
    super::signal::Set::of(&[signal]).unblock();
    // SAFETY: the call takes no pointer.
    unsafe { libc::raise(signal) };
    std::process::exit(128 + signal)
}
