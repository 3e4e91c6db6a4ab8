// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! The one `clone3` of a restart, and the time until the process runs or has failed.
//!
//! A second thread serves the kernel (`COORDINATE`); it exists before the namespaces are entered, because no thread
//! can be made afterwards. The first thread makes the process and waits for signals: one that ends crctl kills the
//! half-built process first. The process itself is a copy of the first thread only, and so single-threaded.

use super::namespaces::{self, Init};
use crate::device::Device;
use crate::error::{Class, Failure, Family, Result};
use crate::progress::{Line, INTERVAL};
use crate::sys::process::{self, Pid};
use crate::sys::{self, signal};
use crate::target;
use cr_uapi::{Coordinate, FdMap};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// How long an id may be in use that `/proc` shows nobody for.
const VANISHING: Duration = Duration::from_secs(2);

/// What to create.
pub struct Plan<'a> {
    /// Its pid.
    pub tgid: Pid,
    /// Pid of the leader of its session, if that has ended: a stand-in makes the session again; else 0.
    pub session_leader: Pid,
    /// `CLONE_NEW*`.
    pub clone_flags: u64,
    /// `FILES_*`.
    pub files: u32,
    /// `RESTART_*` bits.
    pub flags: u32,
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
        /// Those of its siblings, in the order in which they were made.
        siblings: Vec<Pid>,
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
        let known = process::children().unwrap_or_default();
        let made = match plan.session_leader {
            0 => with_patience(plan.tgid, || create(plan, 0))
                .map(|pid| (pid, None))
                .map_err(|e| (plan.tgid, e)),
            _ => create_in_session(plan, init.as_ref().map_or(0, Init::pid)),
        };
        let (pid, stand_in) = match made {
            Ok(made) => made,
            Err((pid, e)) => {
                end(init);
                return Outcome::Refused(explain(pid, &e));
            }
        };
        // Whoever is a child from here on and was none before has been made by the kernel beside the first process.
        let siblings = || {
            let mut children = process::children().unwrap_or_default();
            children.retain(|child| *child != pid && !known.contains(child));
            children
        };
        let _ = start.send(());
        let interrupted = supervise(pid, &ending, &signalled, &done, plan.size);
        let answer = server.join().ok().flatten();
        // Whoever is to be in its group is.
        drop(stand_in);
        match (interrupted, answer) {
            (None, Some(Ok(answer))) => {
                // Without /proc nobody waits for them.
                Outcome::Runs {
                    pid,
                    siblings: siblings(),
                    answer,
                    init,
                }
            }
            (interrupted, answer) => {
                process::kill_and_reap(pid);
                for sibling in siblings() {
                    process::kill_and_reap(sibling);
                }
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

/// Makes the process; it hands itself to the kernel at once. `flags` come to those of the plan.
fn create(plan: &Plan<'_>, flags: u64) -> io::Result<Pid> {
    let body = || {
        // Without crctl nobody serves the kernel. The program's own setting comes from the image.
        process::die_with_parent(libc::SIGKILL);
        signal::reset_all();
        Device::restart(plan.device_fd, (plan.files, plan.flags), plan.map);
        i32::from(Class::Other.exit_code(Family::Restart))
    };
    // SAFETY: the body makes only system calls.
    unsafe { process::clone_with_pid(plan.tgid, plan.clone_flags | flags, body) }
}

/// Makes a process with this id by `make`, once more for a moment while the id is in use that `/proc` shows nobody for: the
/// last of a tree that has been killed give theirs back a moment after they have gone from there.
fn with_patience(pid: Pid, mut make: impl FnMut() -> io::Result<Pid>) -> io::Result<Pid> {
    let begin = Instant::now();
    loop {
        match make() {
            Err(e)
                if sys::errno(&e) == libc::EEXIST
                    && begin.elapsed() < VANISHING
                    && !target::is_shown(pid) =>
            {
                thread::sleep(Duration::from_millis(10));
            }
            result => return result,
        }
    }
}

/// The process that takes the place of a session leader that has ended. It ends with this.
struct StandIn(Pid);

impl Drop for StandIn {
    fn drop(&mut self) {
        process::kill_and_reap(self.0);
    }
}

/// Makes the process as [`create`] does, in a session with the id of a leader that has ended: a process with that id makes
/// the session, and the process as its sibling. `init` is that of a new pid namespace, 0 if there is none. An error has
/// the pid that could not be made.
fn create_in_session(
    plan: &Plan<'_>,
    init: Pid,
) -> std::result::Result<(Pid, Option<StandIn>), (Pid, io::Error)> {
    let about_leader = |e| (plan.session_leader, e);
    let (answer, told) = namespaces::pipe().map_err(about_leader)?;
    let told = File::from(told);
    let body = || {
        process::die_with_parent(libc::SIGKILL);
        process::new_session();
        let errno = create(plan, process::SIBLING).map_or_else(|e| sys::errno(&e), |_| 0);
        let _ = (&told).write_all(&errno.to_ne_bytes());
        process::sleep_forever()
    };
    let leader = with_patience(plan.session_leader, || {
        // SAFETY: the body makes only system calls.
        unsafe { process::clone_with_pid(plan.session_leader, 0, body) }
    });
    let leader = StandIn(leader.map_err(about_leader)?);
    drop(told);
    let mut errno = [0; 4];
    let read = File::from(answer).read_exact(&mut errno);
    read.map_err(about_leader)?;
    match i32::from_ne_bytes(errno) {
        0 => {}
        errno => return Err((plan.tgid, io::Error::from_raw_os_error(errno))),
    }
    let pid = match init {
        0 => plan.tgid,
        // Its number here is another one.
        _ => process::children()
            .map_err(|e| (plan.tgid, e))?
            .into_iter()
            .find(|pid| ![init, leader.0].contains(pid))
            .ok_or((plan.tgid, io::Error::from_raw_os_error(libc::ESRCH)))?,
    };
    Ok((pid, Some(leader)))
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
