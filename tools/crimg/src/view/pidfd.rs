// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `show --section pidfd`: descriptors of processes.

use crate::{
    error::Failure,
    load::Image,
    output::{print, table, Output},
    view::{all, fds_of},
};
use cr_format::PidfdRecord;

/// # Errors
/// [`Failure::Write`].
pub fn section(image: &Image, out: &mut Output) -> Result<(), Failure> {
    let mut rows = table(["FILE", "FD", "OF"]);
    for p in all::<PidfdRecord>(image) {
        rows.add_row([p.file.to_string(), fds_of(image, p.file), detail(&p)]);
    }
    print(&rows, out)
}

/// What the view of descriptors says: `process 1234`.
pub fn detail(p: &PidfdRecord) -> String {
    let what = if p.thread == 0 {
        "process"
    } else {
        "main thread of process"
    };
    format!("{what} {}", p.pid)
}
