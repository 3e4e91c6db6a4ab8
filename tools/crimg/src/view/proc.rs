// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `show --section proc`: open files and folders of `/proc`.

use crate::{
    error::Failure,
    escape,
    load::Image,
    output::{print, table, Output},
    view::{all, fds_of},
};
use cr_format::ProcRecord;

/// # Errors
/// [`Failure::Write`].
pub fn section(image: &Image, out: &mut Output) -> Result<(), Failure> {
    let mut rows = table(["FILE", "FD", "PATH"]);
    for p in all::<ProcRecord<'_>>(image) {
        rows.add_row([
            p.file.to_string(),
            fds_of(image, p.file),
            escape::text(p.path),
        ]);
    }
    print(&rows, out)
}
