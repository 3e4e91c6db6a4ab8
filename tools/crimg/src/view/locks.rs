// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `show --section locks`: locks on files.

use crate::{
    error::Failure,
    load::Image,
    output::{print, table, Output},
    view::{all, fds_of},
};
use cr_format::{LockRecord, LOCK_FLOCK, LOCK_OFD};

/// # Errors
/// [`Failure::Write`].
pub fn section(image: &Image, out: &mut Output) -> Result<(), Failure> {
    let mut rows = table(["FILE", "FD", "KIND", "MODE", "BYTES"]);
    for l in all::<LockRecord>(image) {
        let kind = match l.kind {
            LOCK_OFD => "open file",
            LOCK_FLOCK => "flock",
            _ => "process",
        };
        let mode = match l.exclusive {
            0 => "shared",
            _ => "exclusive",
        };
        let bytes = match (l.kind, l.len) {
            (LOCK_FLOCK, _) => "all".to_owned(),
            (_, 0) => format!("{} to the end", l.start),
            (_, n) => format!(
                "{} to {}",
                l.start,
                l.start.saturating_add(n.saturating_sub(1))
            ),
        };
        rows.add_row([
            l.file.to_string(),
            fds_of(image, l.file),
            kind.to_owned(),
            mode.to_owned(),
            bytes,
        ]);
    }
    print(&rows, out)
}
