// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `show --section timerfd`: timers behind descriptors.

use crate::{
    error::Failure,
    load::Image,
    names, number,
    output::{print, table, Output},
    view::{all, fds_of},
};
use cr_format::{TimerfdRecord, TFD_ABSTIME};

/// # Errors
/// [`Failure::Write`].
pub fn section(image: &Image, out: &mut Output) -> Result<(), Failure> {
    let mut rows = table(["FILE", "FD", "CLOCK", "EXPIRES", "EVERY", "UNREAD"]);
    for t in all::<TimerfdRecord>(image) {
        // Of the wall clocks, an absolute time is recorded as such.
        let wall = matches!(t.clock, 0 | 8) && t.settime_flags & TFD_ABSTIME != 0;
        rows.add_row([
            t.file.to_string(),
            fds_of(image, t.file),
            names::clock(t.clock),
            expires(t.value_ns, wall),
            match t.interval_ns {
                0 => "once".to_owned(),
                ns => number::span(ns),
            },
            t.ticks.to_string(),
        ]);
    }
    print(&rows, out)
}

/// When a timer expires: at a time, in a time, or never.
pub fn expires(value_ns: u64, wall: bool) -> String {
    match (value_ns, wall) {
        (0, _) => "disarmed".to_owned(),
        (ns, true) => format!("at {}", number::time(ns)),
        (ns, false) => format!("in {}", number::span(ns)),
    }
}
