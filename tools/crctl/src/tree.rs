// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Processes and threads, as `/proc` shows them at the moment.

use crate::sys::process::Pid;
use std::fs;

/// `pid`, and its descendants unless it is `single`.
pub fn descend(pid: Pid, single: bool) -> Vec<Pid> {
    let mut all = vec![pid];
    let mut next = 0;
    while let (Some(&parent), false) = (all.get(next), single) {
        next += 1;
        all.extend(children(parent));
    }
    all
}

/// The children of all threads of `pid`.
fn children(pid: Pid) -> Vec<Pid> {
    let of_thread = |tid: Pid| {
        let list = fs::read_to_string(format!("/proc/{pid}/task/{tid}/children"));
        let parse = |list: String| {
            list.split_whitespace()
                .filter_map(|c| c.parse().ok())
                .collect()
        };
        list.map_or_else(|_| Vec::new(), parse)
    };
    threads(pid).into_iter().flat_map(of_thread).collect()
}

/// The threads of `pid`, ascending.
pub fn threads(pid: Pid) -> Vec<Pid> {
    let entries = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten();
    let mut tids: Vec<Pid> = entries
        .filter_map(|e| e.file_name().to_str()?.parse().ok())
        .collect();
    tids.sort_unstable();
    tids
}
