// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Teaches the core where this kernel keeps a task's Landlock domain.
//!
//! The place is not exported. A helper process shows its credentials to the core, puts itself under an empty
//! ruleset, and shows them again: the word that changed is the one. Without this a domain would be invisible and
//! lost at restart without a word, which is why a checkpoint is refused when the probe fails.

use crate::device::Device;
use crate::error::{Class, Failure, Result};
use crate::sys::{self, process};
use cr_uapi::{LANDLOCK_ABSENT, LANDLOCK_AFTER, LANDLOCK_BEFORE};
use std::io;

/// `LANDLOCK_ACCESS_FS_EXECUTE`, which every version of Landlock has.
const HANDLED: u64 = 1;

/// Exit status of the helper: the step at which it failed.
const STEPS: [&str; 6] = [
    "",
    "forbidding new privileges",
    "showing its credentials before",
    "creating a ruleset",
    "restricting itself",
    "showing its credentials after",
];

/// Runs the probe unless the core knows the place already. `drop` says that a domain may be lost.
///
/// # Errors
/// The probe failed and a domain may not be lost.
pub fn ensure(device: &Device, drop: bool) -> Result<()> {
    let known = |device: &Device| device.query().map(|q| q.landlock != 0).unwrap_or(false);
    if known(device) || drop {
        return Ok(());
    }
    // SAFETY: nothing of this program runs a second thread at this point.
    let status = match unsafe { process::fork(|| helper(device)) } {
        Ok(pid) => process::wait_end(pid),
        Err(e) => Err(e),
    };
    let cause = match status {
        Ok(process::Change::Exited(0)) if known(device) => return Ok(()),
        Ok(process::Change::Exited(0)) => "the core did not learn it".to_owned(),
        Ok(process::Change::Exited(status)) => {
            let step = usize::try_from(status & 7)
                .ok()
                .and_then(|i| STEPS.get(i))
                .copied()
                .unwrap_or("");
            format!("the helper process failed at {step}")
        }
        Ok(change) => format!("the helper process ended with {change:?}"),
        Err(e) => sys::error_text(&e),
    };
    let mut failure =
        Failure::new(Class::Other, format!("cannot find out where this kernel keeps Landlock domains: {cause}"))
            .remedy(
                "A domain of the process would be lost unseen. If it has none, or may lose it: --drop landlock",
            );
    failure
        .messages
        .extend(device.report().failures.iter().map(|f| f.message()));
    Err(failure)
}

/// Body of the helper process: only system calls; returns the step that failed, 0 if none.
fn helper(device: &Device) -> i32 {
    // SAFETY: the call takes no pointer.
    if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0 {
        return 1;
    }
    if device.landlock_probe(LANDLOCK_BEFORE).is_err() {
        return 2;
    }
    // SAFETY: the ruleset attribute is one u64 (all that the first version had) and outlives the call.
    let ruleset = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            &HANDLED,
            size_of_val(&HANDLED),
            0u32,
        )
    };
    if ruleset < 0 {
        let absent = matches!(
            sys::errno(&io::Error::last_os_error()),
            libc::ENOSYS | libc::EOPNOTSUPP
        );
        return if absent && device.landlock_probe(LANDLOCK_ABSENT).is_ok() {
            0
        } else {
            3
        };
    }
    // SAFETY: the call takes no pointer.
    if unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset, 0u32) } != 0 {
        return 4;
    }
    if device.landlock_probe(LANDLOCK_AFTER).is_err() {
        return 5;
    }
    0
}
