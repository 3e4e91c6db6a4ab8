// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `show --section eventfd`: event counters.

use crate::{
    error::Failure,
    load::Image,
    output::{print, table, Output},
    view::{all, fds_of},
};
use cr_format::EventfdRecord;

/// # Errors
/// [`Failure::Write`].
pub fn section(image: &Image, out: &mut Output) -> Result<(), Failure> {
    let mut rows = table(["FILE", "FD", "COUNT", "KIND"]);
    for e in all::<EventfdRecord>(image) {
        let kind = match e.semaphore {
            0 => "counter",
            _ => "semaphore",
        };
        rows.add_row([
            e.file.to_string(),
            fds_of(image, e.file),
            e.count.to_string(),
            kind.to_owned(),
        ]);
    }
    print(&rows, out)
}
