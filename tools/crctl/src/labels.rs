// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Security labels (AppArmor, SELinux, Smack) that a restart would lose.
//!
//! An image holds no label: a restarted process has the one of the `crctl` that restarts it. So a label that
//! differs from `crctl`'s own is an obstacle, unless it means "not confined".

use crate::report::Obstacle;
use crate::sys::process::Pid;
use crate::tree::{descend, threads};
use std::fs;

/// Files below `/proc/PID/task/TID/attr` and the security module that speaks there. The last is the file all of
/// them share; it belongs to the first active one, and repeats the label of a more exact file.
const SOURCES: [(&str, &str); 3] = [
    ("apparmor/current", "AppArmor"),
    ("smack/current", "Smack"),
    ("current", "security"),
];

/// One obstacle for each label of the threads of `pid`, and of its descendants unless it is `single`, that a restart
/// would lose.
pub fn obstacles(pid: Pid, single: bool) -> Vec<Obstacle> {
    descend(pid, single)
        .into_iter()
        .flat_map(of_process)
        .collect()
}

fn of_process(pid: Pid) -> Vec<Obstacle> {
    let mut found: Vec<Obstacle> = Vec::new();
    for (file, module) in SOURCES {
        let own = fs::read(format!("/proc/self/attr/{file}")).unwrap_or_default();
        for tid in threads(pid) {
            let Ok(label) = fs::read(format!("/proc/{pid}/task/{tid}/attr/{file}")) else {
                continue;
            };
            let label = clean(&label);
            if is_lost(label, clean(&own)) && !found.iter().any(|o| o.object.ends_with(label)) {
                found.push(obstacle(pid, tid, module, label));
            }
        }
    }
    found
}

fn obstacle(pid: Pid, tid: Pid, module: &str, label: &[u8]) -> Obstacle {
    let mut object = format!("{module} label ").into_bytes();
    object.extend_from_slice(label);
    Obstacle {
        word: b"lsm".to_vec(),
        pid: u64::try_from(pid).unwrap_or(0),
        tid: u64::try_from(tid).unwrap_or(0),
        fd: -1,
        address: 0,
        object,
        reason: b"the label would be lost: a restarted process has the label of the crctl that restarts it".to_vec(),
        remedy: b"run the program unconfined, or run crctl under the same label (for example with aa-exec or runcon)"
            .to_vec(),
    }
}

/// A label without the newline or NUL that some modules end it with.
fn clean(label: &[u8]) -> &[u8] {
    let end = label
        .iter()
        .rposition(|b| !matches!(b, 0 | b'\n' | b' '))
        .map_or(0, |last| last + 1);
    &label[..end]
}

/// True if a process with label `target` would lose it when restarted by a process with label `own`.
fn is_lost(target: &[u8], own: &[u8]) -> bool {
    let is_confined =
        !target.is_empty() && target != b"unconfined" && !target.ends_with(b" (unconfined)");
    is_confined && target != own
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_different_confining_label_is_lost() {
        assert!(!is_lost(b"", b""));
        assert!(!is_lost(b"unconfined", b"/usr/sbin/crctl (enforce)"));
        assert!(!is_lost(b"chrome (unconfined)", b"unconfined"));
        assert!(!is_lost(
            b"/usr/bin/man (enforce)",
            b"/usr/bin/man (enforce)"
        ));
        assert!(is_lost(b"/usr/bin/man (enforce)", b"unconfined"));
        assert!(is_lost(
            b"system_u:system_r:httpd_t:s0",
            b"unconfined_u:unconfined_r:unconfined_t:s0"
        ));
    }

    #[test]
    fn a_label_is_compared_without_its_line_end() {
        assert_eq!(clean(b"unconfined\n"), b"unconfined");
        assert_eq!(clean(b"a_t:s0\0"), b"a_t:s0");
        assert_eq!(clean(b"\n"), b"");
    }
}
