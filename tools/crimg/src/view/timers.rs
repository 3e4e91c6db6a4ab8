// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `show --section timers`: interval timers and POSIX timers.

use crate::{
    error::Failure,
    load::Image,
    names, number,
    output::{print, table, Output},
    view::{all, timerfd::expires},
};
use cr_format::{ItimerRecord, TimerRecord, SIGEV_NONE, SIGEV_THREAD_ID};

/// # Errors
/// [`Failure::Write`].
pub fn section(image: &Image, out: &mut Output) -> Result<(), Failure> {
    let every = |ns| match ns {
        0 => "once".to_owned(),
        ns => number::span(ns),
    };
    let mut rows = table(["TIMER", "CLOCK", "EXPIRES", "EVERY", "TELLS"]);
    for t in all::<ItimerRecord>(image) {
        let (name, clock, signal) = match t.which {
            0 => ("ITIMER_REAL", "real time", 14),
            1 => ("ITIMER_VIRTUAL", "user time", 26),
            _ => ("ITIMER_PROF", "user and system time", 27),
        };
        rows.add_row([
            name.to_owned(),
            clock.to_owned(),
            expires(t.value_ns, false),
            every(t.interval_ns),
            names::signal(signal),
        ]);
    }
    for t in all::<TimerRecord>(image) {
        let tells = match t.notify {
            SIGEV_NONE => "nobody".to_owned(),
            SIGEV_THREAD_ID => format!("{} to thread {}", names::signal(t.signo), t.tid),
            _ => names::signal(t.signo),
        };
        rows.add_row([
            t.timer_id.to_string(),
            names::clock(t.clock),
            expires(t.value_ns, t.absolute != 0),
            every(t.interval_ns),
            tells,
        ]);
    }
    print(&rows, out)
}
