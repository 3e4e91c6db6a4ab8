// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `show --section timers`: interval timers and POSIX timers.

use crate::{
    error::Failure,
    json,
    load::Image,
    names, number,
    output::{print, table, Output},
    view::{all, first, timerfd::expires},
};
use cr_format::{ItimerRecord, TimerRecord, TimerfdRecord, SIGEV_NONE, SIGEV_THREAD_ID};
use serde_json::{json, Value};

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

/// `show --timers`: those of the process, and those that are descriptors.
///
/// # Errors
/// [`Failure::Write`].
pub fn all_timers(image: &Image, out: &mut Output) -> Result<(), Failure> {
    let own = first::<ItimerRecord>(image).is_some() || first::<TimerRecord>(image).is_some();
    let fds = first::<TimerfdRecord>(image).is_some();
    if own {
        section(image, out)?;
    }
    if own && fds {
        out.line("")?;
    }
    if fds {
        super::timerfd::section(image, out)?;
    }
    if !own && !fds {
        out.line("no timers")?;
    }
    Ok(())
}

/// Member `timers`.
pub fn json(image: &Image) -> Value {
    let interval: Vec<Value> = all::<ItimerRecord>(image)
        .map(|t| {
            let name = match t.which {
                0 => "ITIMER_REAL",
                1 => "ITIMER_VIRTUAL",
                _ => "ITIMER_PROF",
            };
            json!({
                "name": name,
                "value_ns": json::integer(t.value_ns),
                "interval_ns": json::integer(t.interval_ns),
            })
        })
        .collect();
    let posix: Vec<Value> = all::<TimerRecord>(image)
        .map(|t| {
            json!({
                "timer_id": json::integer(t.timer_id),
                "clock": names::clock(t.clock),
                "value_ns": json::integer(t.value_ns),
                "interval_ns": json::integer(t.interval_ns),
                "absolute": t.absolute != 0,
                "signal": (t.notify != SIGEV_NONE).then(|| names::signal(t.signo)),
                "tid": (t.notify == SIGEV_THREAD_ID).then(|| json::integer(t.tid)),
            })
        })
        .collect();
    let descriptors: Vec<Value> = all::<TimerfdRecord>(image)
        .map(|t| {
            json!({
                "file": json::integer(t.file),
                "clock": names::clock(t.clock),
                "value_ns": json::integer(t.value_ns),
                "interval_ns": json::integer(t.interval_ns),
                "unread": json::integer(t.ticks),
            })
        })
        .collect();
    json!({"interval": interval, "posix": posix, "descriptors": descriptors})
}
