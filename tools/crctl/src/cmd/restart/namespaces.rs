// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Namespaces that a restart may need: time after a reboot, pids when those of the image are taken.

use crate::error::{Class, Failure, Result};
use crate::sys::process::{self, Pid};
use crate::sys::{self, signal};
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// `CLONE_NEWTIME`, which libc does not have for every target.
const CLONE_NEWTIME: libc::c_int = 0x80;

/// Puts all future children into a new time namespace whose clocks are ahead of this host's by the given
/// nanoseconds (negative: behind).
pub fn enter_time(monotonic_ns: i64, boottime_ns: i64) -> Result<()> {
    let explain = |what: &str, err: &io::Error| {
        let failure = Failure::io(
            format_args!("the program's clocks need a time namespace: {what}"),
            err,
        );
        match sys::errno(err) {
            libc::EPERM | libc::EACCES => failure.remedy("Creating it needs root: use sudo."),
            libc::EINVAL | libc::ENOSYS => Failure {
                class: Class::Host,
                ..failure
            }
            .remedy("This kernel has no time namespaces (CONFIG_TIME_NS)."),
            libc::ERANGE => Failure {
                class: Class::Host,
                ..failure
            }
            .remedy("The program's clock is too far from this host's."),
            _ => failure,
        }
    };
    process::unshare(CLONE_NEWTIME).map_err(|e| explain("unshare", &e))?;
    let path = "/proc/self/timens_offsets";
    let text = format!(
        "monotonic {}\nboottime {}\n",
        offset(monotonic_ns),
        offset(boottime_ns)
    );
    // One write: the kernel takes both lines or none.
    fs::write(path, text).map_err(|e| explain(path, &e))
}

/// Seconds and nanoseconds as the kernel wants them: the nanoseconds are never negative.
fn offset(ns: i64) -> String {
    const SECOND: i64 = 1_000_000_000;
    format!("{} {}", ns.div_euclid(SECOND), ns.rem_euclid(SECOND))
}

/// The first process of a new pid namespace.
///
/// It reaps orphans and ends, with everything left in the namespace, when the restarted process ends. The
/// restarted process is its sibling: a child of crctl, which can wait for it as without a namespace.
pub struct Init {
    pid: Pid,
    /// While crctl holds this, the init waits for the restart to be finished.
    hold: Option<OwnedFd>,
}

impl Init {
    /// Creates the namespace. All further children of crctl are born into it; the restarted one gets pid `tgid`.
    pub fn start(tgid: Pid) -> Result<Self> {
        process::unshare(libc::CLONE_NEWPID).map_err(|e| {
            let failure = Failure::io("cannot create a pid namespace", &e);
            match sys::errno(&e) {
                libc::EPERM => failure.remedy("--new-pidns needs root: use sudo."),
                _ => failure,
            }
        })?;
        let failed = |e: io::Error| Failure::io("cannot start the init of the pid namespace", &e);
        let (wait, hold) = pipe().map_err(failed)?;
        // SAFETY: the body makes only system calls.
        let pid = unsafe { process::fork(|| init(&wait, tgid)) }.map_err(failed)?;
        Ok(Self {
            pid,
            hold: Some(hold),
        })
    }

    /// Its pid as seen from here.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// The restart is finished: from now on the namespace lives as long as the restarted process.
    pub fn release(mut self) -> Self {
        self.hold = None;
        self
    }

    /// Ends the namespace with everything in it.
    pub fn end(self) {
        process::kill_and_reap(self.pid);
    }
}

/// Body of the init. Its parent's signals do not reach it: it has no handlers, and pid 1 is spared the defaults.
fn init(wait: &OwnedFd, tgid: Pid) -> i32 {
    signal::reset_all();
    // Ended children vanish without being waited for.
    signal::ignore(libc::SIGCHLD);
    process::new_session();
    process::keep_only(wait.as_fd());
    let _ = std::env::set_current_dir("/");
    let mut byte = [0u8];
    // SAFETY: `byte` is as long as stated and outlives the call.
    while unsafe { libc::read(0, byte.as_mut_ptr().cast(), 1) } > 0 {}
    // Nothing to watch: the restart failed, or the program has ended already.
    let Ok(program) = process::pidfd(tgid) else {
        return 0;
    };
    while let Ok([false]) = sys::fs::poll_readable([program.as_fd()], -1) {}
    0
}

/// A pipe: the end to read from, and the end to write to.
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds = [0; 2];
    // SAFETY: `fds` has room for the two answers.
    sys::check(unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) })?;
    // SAFETY: the call created both, nobody else owns them.
    let (read, write) = unsafe { (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) };
    debug_assert_ne!(read.as_raw_fd(), write.as_raw_fd());
    Ok((read, write))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_have_nanoseconds_that_are_not_negative() {
        assert_eq!(offset(0), "0 0");
        assert_eq!(offset(1_500_000_000), "1 500000000");
        assert_eq!(offset(-1), "-1 999999999");
        assert_eq!(offset(-2_000_000_000), "-2 0");
        assert_eq!(offset(i64::MIN), "-9223372037 145224192");
    }
}
