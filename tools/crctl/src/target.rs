// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! What `/proc` says about processes: the one to checkpoint, and the one that holds a pid.

use crate::cli::TargetArgs;
use crate::error::{Class, Failure, Result};
use crate::escape;
use crate::sys::process::{self, Pid};
use std::fs;
use std::io;

/// A process that a command was pointed at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its pid as the user gave it.
    pub pid: Pid,
    /// Its name, escaped.
    pub comm: String,
}

impl Process {
    /// For messages: `1234 (python3)`.
    pub fn title(&self) -> String {
        if self.comm.is_empty() {
            return self.pid.to_string();
        }
        format!("{} ({})", self.pid, self.comm)
    }
}

/// Looks at process `pid` before anything is done to it.
///
/// # Errors
/// There is no such process, or `pid` is a thread or this very program.
pub fn inspect(pid: Pid) -> Result<Process> {
    if pid == process::own_pid() {
        return Err(Failure::new(
            Class::Usage,
            format!("pid {pid} is this crctl itself"),
        ));
    }
    let status = match fs::read(format!("/proc/{pid}/status")) {
        Ok(status) => status,
        Err(e)
            if e.kind() == io::ErrorKind::NotFound
                && fs::exists("/proc/self/status").unwrap_or(false) =>
        {
            return Err(
                Failure::new(Class::NoProcess, format!("there is no process {pid}"))
                    .remedy("List the processes with: ps -e"),
            );
        }
        // Without /proc the kernel module decides alone.
        Err(_) => {
            return Ok(Process {
                pid,
                comm: String::new(),
            })
        }
    };
    let comm = escape::text(field(&status, b"Name:").unwrap_or_default());
    match field(&status, b"Tgid:").and_then(parse) {
        Some(tgid) if tgid != pid => Err(Failure::new(
            Class::NoProcess,
            format!("{pid} is a thread of process {tgid} ({comm}), not a process"),
        )
        .remedy(format!("Name the process: {tgid}"))),
        _ => Ok(Process { pid, comm }),
    }
}

/// The process that a checkpoint begins with: the given one, or of a process group or session its leader, or else the first of
/// those whose parents are not in it. The kernel finds the others.
///
/// # Errors
/// There is no such group or session, or this very program is in it.
pub fn first(args: &TargetArgs) -> Result<Pid> {
    let (what, id, is_session) = match (args.pid, args.pgrp, args.session) {
        (Some(pid), ..) => return Ok(pid),
        (_, Some(id), _) => ("process group", id, false),
        (.., id) => ("session", id.unwrap_or(0), true),
    };
    let in_scope = |(group, session): (Pid, Pid)| id == if is_session { session } else { group };
    let members: Vec<(Pid, Pid, bool)> = stats()
        .filter(|(_, stat)| ids(stat).is_some_and(in_scope))
        .filter_map(|(pid, stat)| Some((pid, parent(&stat)?, has_ended(&stat))))
        .collect();
    let has = |wanted: Pid| members.iter().any(|&(pid, ..)| pid == wanted);
    if has(process::own_pid()) {
        return Err(
            Failure::new(Class::Usage, format!("this crctl itself is in {what} {id}"))
                .remedy("Run it in a session of its own: setsid crctl ..."),
        );
    }
    let top = |&(pid, parent, ended): &(Pid, Pid, bool)| (!has(parent) && !ended).then_some(pid);
    let tops: Vec<Pid> = members.iter().filter_map(top).collect();
    let leader = tops.iter().find(|&&pid| pid == id);
    leader.or(tops.iter().min()).copied().ok_or_else(|| {
        Failure::new(Class::NoProcess, format!("there is no {what} {id}"))
            .remedy("List them with: ps -eo pid,pgid,sid,comm")
    })
}

/// Is `pid` that of this process or of one of its threads?
pub fn is_own(pid: Pid) -> bool {
    std::path::Path::new(&format!("/proc/self/task/{pid}")).exists()
}

/// Does `/proc` show a process or thread with this id?
pub fn is_shown(pid: Pid) -> bool {
    fs::metadata(format!("/proc/{pid}")).is_ok()
}

/// Who uses the number `pid`, for the message that it is taken.
pub fn holder(pid: Pid) -> String {
    // /proc/TID works for the id of any thread, although listing /proc shows only processes.
    if let Ok(status) = fs::read(format!("/proc/{pid}/status")) {
        let comm = escape::text(field(&status, b"Name:").unwrap_or_default());
        let parent = field(&status, b"PPid:").and_then(parse).unwrap_or(0);
        return match field(&status, b"Tgid:").and_then(parse) {
            Some(tgid) if tgid != pid => format!("a thread ({comm}) of process {tgid}"),
            _ if field(&status, b"State:").is_some_and(|state| state.starts_with(b"Z")) => {
                format!("process {pid} ({comm}), which has ended but was not waited for by its parent {parent}")
            }
            _ => format!("process {pid} ({comm})"),
        };
    }
    // A number stays in use while it is the id of a process group or session, even when its leader has ended.
    for (member, stat) in stats() {
        match ids(&stat) {
            Some((group, _)) if group == pid => {
                return format!("the process group of process {member}")
            }
            Some((_, session)) if session == pid => {
                return format!("the session of process {member}")
            }
            _ => {}
        }
    }
    "a process that /proc does not show".to_owned()
}

/// `stat` of every process.
fn stats() -> impl Iterator<Item = (Pid, Vec<u8>)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let pid: Pid = entry.file_name().to_str()?.parse().ok()?;
        Some((pid, fs::read(entry.path().join("stat")).ok()?))
    })
}

/// Has the process of this `/proc/PID/stat` ended, and only waits for its parent?
fn has_ended(stat: &[u8]) -> bool {
    let end = stat.iter().rposition(|&b| b == b')');
    end.and_then(|end| stat.get(end + 2)) == Some(&b'Z')
}

/// The parent in a `/proc/PID/stat`.
fn parent(stat: &[u8]) -> Option<Pid> {
    let end = stat.iter().rposition(|&b| b == b')')?;
    let mut words = stat.get(end + 1..)?.split(|&b| b == b' ');
    parse(words.nth(2)?) // after a space and the state
}

/// Process group and session in a `/proc/PID/stat`; the name in it may contain anything, parentheses too.
fn ids(stat: &[u8]) -> Option<(Pid, Pid)> {
    let end = stat.iter().rposition(|&b| b == b')')?;
    let mut words = stat
        .get(end + 1..)?
        .split(|&b| b == b' ')
        .filter(|w| !w.is_empty());
    let group = words.nth(2)?; // after state and parent
    Some((parse(group)?, parse(words.next()?)?))
}

/// Value of a line `KEY value` in a `/proc/PID/status`.
fn field<'a>(status: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    status
        .split(|&b| b == b'\n')
        .find_map(|line| line.strip_prefix(key))
        .map(<[u8]>::trim_ascii)
}

fn parse(digits: &[u8]) -> Option<Pid> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_fields_are_found() {
        let status = b"Name:\tmy prog\nUmask:\t0022\nTgid:\t42\n";
        assert_eq!(field(status, b"Name:"), Some(b"my prog".as_slice()));
        assert_eq!(field(status, b"Tgid:").and_then(parse), Some(42));
        assert_eq!(field(status, b"Pid:"), None);
    }

    #[test]
    fn a_name_with_parentheses_does_not_confuse_the_stat_line() {
        assert_eq!(ids(b"7 (a) S 1 (b) S 3 70 71 0 -1"), Some((70, 71)));
        assert_eq!(ids(b"7 (sh) S 1 7 6 0"), Some((7, 6)));
        assert_eq!(ids(b"7 (sh"), None);
        assert_eq!(parent(b"7 (a) S 1 (b) S 3 70 71 0 -1"), Some(3));
        assert!(has_ended(b"7 (a) S 1) Z 3 70 71") && !has_ended(b"7 (Z) S 1 7 6 0"));
    }

    #[test]
    fn the_holder_of_a_used_pid_is_named() {
        let own = process::own_pid();
        assert!(
            holder(own).starts_with(&format!("process {own} (")),
            "{}",
            holder(own)
        );
    }

    #[test]
    fn a_process_that_has_ended_still_holds_its_pid() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        // CAST: a pid fits.
        let pid = child.id() as Pid;
        while !holder(pid).contains("not waited for by its parent") {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        child.wait().unwrap();
    }

    #[test]
    fn a_thread_is_not_taken_for_a_process() {
        let thread = std::thread::spawn(|| {
            // SAFETY: the call takes no pointer and cannot fail.
            let tid = unsafe { libc::gettid() };
            (tid, inspect(tid), holder(tid))
        });
        let (tid, inspected, holder) = thread.join().unwrap();
        let failure = inspected.unwrap_err();
        assert_eq!(failure.class, Class::NoProcess);
        assert!(failure.messages[0]
            .text
            .starts_with(&format!("{tid} is a thread of process ")));
        assert!(holder.starts_with("a thread ("), "{holder}");
    }

    #[test]
    fn a_process_that_does_not_exist_is_its_own_error() {
        assert_eq!(inspect(Pid::MAX).unwrap_err().class, Class::NoProcess);
        assert_eq!(inspect(process::own_pid()).unwrap_err().class, Class::Usage);
    }
}
