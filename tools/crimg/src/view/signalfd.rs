// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `show --section signalfd`: descriptors that signals are read from.

use crate::{
    error::Failure,
    load::Image,
    names,
    output::{print, table, Output},
    view::{all, fds_of},
};
use cr_format::SignalfdRecord;

/// # Errors
/// [`Failure::Write`].
pub fn section(image: &Image, out: &mut Output) -> Result<(), Failure> {
    let mut rows = table(["FILE", "FD", "SIGNALS"]);
    for s in all::<SignalfdRecord>(image) {
        rows.add_row([
            s.file.to_string(),
            fds_of(image, s.file),
            names::signals(s.mask),
        ]);
    }
    print(&rows, out)
}
