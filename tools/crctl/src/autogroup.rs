// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! The nice value of an autogroup (`sched(7)`), which a restart does not set again.
//!
//! It belongs to a session, and to all that is in it: to set it for a restarted process could slow down or prefer the
//! shell of whoever restarts it.

use crate::{report::Note, sys::process::Pid, tree::descend};
use std::fs;

/// A note for each process, and for its descendants unless it is `single`, whose autogroup has a nice value of its own.
pub fn notes(pid: Pid, single: bool) -> Vec<Note> {
    let own = group(&fs::read_to_string("/proc/self/autogroup").unwrap_or_default());
    let mut seen: Vec<(String, i32, Pid)> = Vec::new();
    for pid in descend(pid, single) {
        let found = fs::read_to_string(format!("/proc/{pid}/autogroup")).unwrap_or_default();
        if let Some((name, nice)) = group(&found).filter(|g| g.1 != 0 && Some(g) != own.as_ref()) {
            if !seen.iter().any(|(n, ..)| *n == name) {
                seen.push((name, nice, pid));
            }
        }
    }
    let note = |(name, nice, pid): (String, i32, Pid)| {
        Note {
        word: b"tasks".to_vec(),
        message: format!(
            "the nice value {nice} of the autogroup {name} is not kept: write it to /proc/{pid}/autogroup after a restart"
        )
        .into_bytes(),
    }
    };
    seen.into_iter().map(note).collect()
}

/// Name and nice value in `/AUTOGROUP nice N`.
fn group(text: &str) -> Option<(String, i32)> {
    let (name, nice) = text.trim().rsplit_once(" nice ")?;
    Some((name.to_owned(), nice.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_has_a_name_and_a_nice_value() {
        assert_eq!(
            group("/autogroup-73 nice -5\n"),
            Some(("/autogroup-73".to_owned(), -5))
        );
        assert_eq!(group(""), None);
        assert_eq!(group("/autogroup-73"), None);
    }
}
