// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! The one `clone3` of a restart, and the time until the process runs or has failed.
//!
//! A second thread serves the kernel (`COORDINATE`); it exists before the namespaces are entered, because no thread
//! can be made afterwards. The first thread makes the process and waits for signals: one that ends crctl kills the
//! half-built process first. The process itself is a copy of the first thread only, and so single-threaded.

use super::namespaces::Init;
use crate::device::Device;
use crate::error::{Class, Failure, Family, Result};
use crate::progress::{Line, INTERVAL};
use crate::sys::process::{self, Pid};
use crate::sys::{self, signal};
use crate::target;
use cr_uapi::{Coordinate, FdMap};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc;
use std::thread;

/// What to create.
pub struct Plan<'a> {
    /// Its pid.
    pub tgid: Pid,
    /// `CLONE_NEW*`.
    pub clone_flags: u64,
    /// `FILES_*`.
    pub files: u32,
    /// The session, for the coordinating side.
    pub device: &'a Device,
    /// The session, at a number that the image does not use.
    pub device_fd: &'a OwnedFd,
    /// Descriptors to connect.
    pub map: &'a [FdMap],
    /// Length of the image, for the progress line.
    pub size: Option<u64>,
}

/// How it went. All signals are blocked afterwards.
pub enum Outcome {
    /// The process runs.
    Runs {
        /// Its pid as seen from here.
        pid: Pid,
        /// Numbers.
        answer: Coordinate,
        /// The init of its pid namespace, if it has a new one.
        init: Option<Init>,
    },
    /// No process could be created.
    Refused(Failure),
    /// The kernel gave up; the process is gone, the report says why.
    Failed(io::Error),
    /// A signal gave it up; the process is gone.
    Interrupted(libc::c_int),
}

/// Enters namespaces with `prepare`, creates the process and serves the kernel until it runs.
pub fn run(plan: &Plan<'_>, prepare: impl FnOnce() -> Result<Option<Init>>) -> Outcome {
    let ending = signal::Set::of_not_ignored(&signal::ENDING);
    signal::Set::full().block();
    // An ignored SIGCHLD would make the child vanish without its exit status.
    signal::set_default(libc::SIGCHLD);
    let refused = |e: io::Error| {
        Outcome::Refused(Failure::new(
            Class::Other,
            format!("cannot prepare: {}", sys::error_text(&e)),
        ))
    };
    let (signalled, done) = match (ending.descriptor(), sys::fs::eventfd()) {
        (Ok(signalled), Ok(done)) => (signalled, done),
        (Err(e), _) | (_, Err(e)) => return refused(e),
    };

    thread::scope(|scope| {
        let (start, started) = mpsc::channel::<()>();
        let done_writer = &done;
        let serve = move || {
            started.recv().ok()?;
            let answer = plan.device.coordinate();
            // Cannot fail: the counter of a fresh eventfd has room for one.
            let _ = (&*done_writer).write(&1u64.to_ne_bytes());
            Some(answer)
        };
        let server = match thread::Builder::new().spawn_scoped(scope, serve) {
            Ok(server) => server,
            Err(e) => return refused(e),
        };
        // From here on a return drops `start`, which ends the thread.
        let init = match prepare() {
            Ok(init) => init,
            Err(failure) => return Outcome::Refused(failure),
        };
        let pid = match create(plan) {
            Ok(pid) => pid,
            Err(e) => {
                end(init);
                return Outcome::Refused(explain(plan.tgid, &e));
            }
        };
        let _ = start.send(());
        let interrupted = supervise(pid, &ending, &signalled, &done, plan.size);
        let answer = server.join().ok().flatten();
        match (interrupted, answer) {
            (None, Some(Ok(answer))) => Outcome::Runs { pid, answer, init },
            (interrupted, answer) => {
                process::kill_and_reap(pid);
                end(init);
                match (interrupted, answer) {
                    (Some(number), _) => Outcome::Interrupted(number),
                    (None, Some(Err(e))) => Outcome::Failed(e),
                    (None, _) => Outcome::Failed(io::Error::other("the serving thread failed")),
                }
            }
        }
    })
}

fn end(init: Option<Init>) {
    if let Some(init) = init {
        init.end();
    }
}

/// Makes the process; it hands itself to the kernel at once.
fn create(plan: &Plan<'_>) -> io::Result<Pid> {
    let body = || {
        // Without crctl nobody serves the kernel. The program's own setting comes from the image.
        process::die_with_parent(libc::SIGKILL);
        signal::reset_all();
        Device::restart(plan.device_fd, plan.files, plan.map);
        i32::from(Class::Other.exit_code(Family::Restart))
    };
    // SAFETY: the body makes only system calls.
    unsafe { process::clone_with_pid(plan.tgid, plan.clone_flags, body) }
}

/// Waits until the kernel has been served. The number of the first signal that ended it before, if any: the
/// process is killed then, and the serving ends by that.
fn supervise(
    pid: Pid,
    ending: &signal::Set,
    signalled: &File,
    done: &File,
    size: Option<u64>,
) -> Option<libc::c_int> {
    let mut line = Line::new("crctl restart");
    let mut interrupted = None;
    // CAST: a quarter of a second.
    let interval = INTERVAL.as_millis() as i32;
    loop {
        match sys::fs::poll_readable([done.as_fd(), signalled.as_fd()], interval) {
            Ok([_, true]) => {
                if let Ok(received) = ending.wait() {
                    interrupted = interrupted.or(Some(received.signal));
                }
                let _ = process::kill(pid, libc::SIGKILL);
            }
            Ok([true, _]) => return interrupted,
            Ok([false, false]) => {}
            // Cannot happen; the serving thread still ends.
            Err(_) => return interrupted,
        }
        if let Some(size) = size {
            line.show(process::resident_bytes(pid), Some(size));
        }
    }
}

/// Why `clone3` refused.
fn explain(tgid: Pid, err: &io::Error) -> Failure {
    const NEW_NAMESPACE: &str = "restart in a new pid namespace (needs root): --new-pidns";
    match sys::errno(err) {
        libc::EEXIST if target::is_own(tgid) => Failure::new(
            Class::Host,
            format!("pid {tgid} is taken by this crctl itself, by chance"),
        )
        .remedy(format!("Run the command again, or {NEW_NAMESPACE}")),
        libc::EEXIST => Failure::new(
            Class::Host,
            format!("pid {tgid} is taken by {}", target::holder(tgid)),
        )
        .remedy(format!("End it, or {NEW_NAMESPACE}")),
        libc::EPERM => Failure::new(
            Class::NotPermitted,
            format!("a process with pid {tgid}: {}", sys::error_text(err)),
        )
        .remedy("Choosing a pid needs root (CAP_CHECKPOINT_RESTORE): use sudo."),
        libc::EINVAL => {
            let max = fs::read_to_string("/proc/sys/kernel/pid_max").unwrap_or_default();
            Failure::new(
                Class::Host,
                format!("pid {tgid} cannot exist here: pid_max is {}", max.trim()),
            )
            .remedy(format!(
                "Raise it (sysctl kernel.pid_max=4194304), or {NEW_NAMESPACE}"
            ))
        }
        libc::EAGAIN => Failure::new(
            Class::Other,
            format!("cannot create a process: {}", sys::error_text(err)),
        )
        .remedy("The limit of processes is reached (ulimit -u, pids.max of the cgroup)."),
        _ => Failure::new(
            Class::Other,
            format!("cannot create process {tgid}: {}", sys::error_text(err)),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(errno: i32) -> Failure {
        explain(process::own_pid(), &io::Error::from_raw_os_error(errno))
    }

    #[test]
    fn a_taken_pid_names_its_holder_and_the_way_out() {
        let failure = explained(libc::EEXIST);
        assert_eq!(failure.class, Class::Host);
        let own = process::own_pid();
        assert!(failure.messages[0]
            .text
            .starts_with(&format!("pid {own} is taken by this crctl itself")));
        assert!(failure.messages[0].remedy.contains("--new-pidns"));
    }

    #[test]
    fn every_refusal_has_its_class() {
        assert_eq!(explained(libc::EPERM).class, Class::NotPermitted);
        assert_eq!(explained(libc::EINVAL).class, Class::Host);
        assert_eq!(explained(libc::EAGAIN).class, Class::Other);
        assert_eq!(explained(libc::ENOMEM).class, Class::Other);
    }
}
