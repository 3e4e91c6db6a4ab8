// SPDX-License-Identifier: GPL-2.0
//! Open files of `/proc`: which of them are no more than a path and a position.

/// Why one cannot be opened again.
pub type Reason = &'static str;

const STATE: Reason = "it tells of changes since it was opened, or has other state of its own";
const LATER: Reason =
    "it is of a thread or descriptor that does not exist yet when files are opened again";
const FOREIGN: Reason = "files of drivers and unknown parts of /proc can have state of their own";

/// The process whose folder a path is in, 0 if it is in none.
///
/// # Errors
/// Why such a file cannot be opened again as it was.
pub fn place(path: &[u8]) -> Result<u32, Reason> {
    let below = path
        .strip_prefix(b"/proc/".as_slice())
        .ok_or("its path does not begin with /proc")?;
    let mut names = below.split(|b| *b == b'/');
    let first = names.next().unwrap_or(b"");
    let Some(pid) = crate::anon::number(first, 10).and_then(|n| u32::try_from(n).ok()) else {
        return of_system(below).map(|()| 0);
    };
    let mut rest = names.clone();
    if rest.next() == Some(b"task") {
        match rest.next() {
            None => return Ok(pid),
            Some(tid) if tid == first => names = rest,
            Some(_) => return Err(LATER),
        }
    }
    of_process(names).map(|()| pid)
}

/// Below the folder of a process, or of its main thread.
fn of_process<'p>(mut names: impl Iterator<Item = &'p [u8]>) -> Result<(), Reason> {
    match (names.next(), names.next()) {
        (Some(b"fdinfo" | b"map_files"), Some(_)) => Err(LATER),
        (Some(b"mounts" | b"mountinfo" | b"mountstats" | b"mem"), _) => Err(STATE),
        (Some(name), _) if name.ends_with(b" (deleted)") => Err("the process has ended since"),
        _ => Ok(()),
    }
}

/// Outside of those.
fn of_system(below: &[u8]) -> Result<(), Reason> {
    match below {
        b"kmsg" | b"swaps" | b"kcore" | b"mdstat" => Err(STATE),
        // They can be polled for changes.
        b"sys/kernel/hostname" | b"sys/kernel/domainname" => Err(STATE),
        _ if !below.contains(&b'/') => Ok(()),
        _ if below.starts_with(b"sys/") || below.starts_with(b"pressure/") => Ok(()),
        _ => Err(FOREIGN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_processes_name_them() {
        for path in [
            "stat",
            "fd",
            "fdinfo",
            "task",
            "task/12/stat",
            "net/tcp",
            "maps",
        ] {
            let path = std::format!("/proc/12/{path}");
            assert_eq!(place(path.as_bytes()), Ok(12), "{path}");
        }
        assert_eq!(place(b"/proc/12"), Ok(12));
    }

    #[test]
    fn files_of_the_system_have_no_process() {
        for path in [
            "meminfo",
            "stat",
            "sys/kernel/pid_max",
            "pressure/cpu",
            "sys",
        ] {
            let path = std::format!("/proc/{path}");
            assert_eq!(place(path.as_bytes()), Ok(0), "{path}");
        }
    }

    #[test]
    fn what_has_state_or_comes_later_is_refused() {
        for path in [
            "/proc/12/task/13/stat",
            "/proc/12/fdinfo/3",
            "/proc/12/mountinfo",
            "/proc/12/mem",
            "/proc/12/stat (deleted)",
            "/proc/kmsg",
            "/proc/swaps",
            "/proc/sys/kernel/hostname",
            "/proc/bus/pci/00/00.0",
            "/proc",
            "/etc/12/stat",
        ] {
            assert!(place(path.as_bytes()).is_err(), "{path}");
        }
    }
}
