// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Rules of section `timers`.

use super::{each, is_bool, is_offset, known_records, MetaSet};
use crate::{
    error::{ensure, Error, Result},
    record::records_of,
    sections::{
        CpuClock, ItimerRecord, ProcessRecord, TaskRecord, TimerRecord, SIGEV_NONE, SIGEV_SIGNAL,
        SIGEV_THREAD_ID, TASKS, TIMERS,
    },
};

/// Most POSIX timers.
const MOST: u32 = 1 << 20;

pub(super) fn check(set: &dyn MetaSet) -> Result {
    known_records(set, TIMERS)?;
    let mut next = 0;
    each(set, |t: ItimerRecord| {
        let id = u64::from(t.id).checked_sub(1);
        ensure(
            id == Some(t.which) && t.which >= next && t.which <= 2,
            "TIMERS-1",
        )?;
        next = t.which.saturating_add(1);
        let times = t.value_ns > 0 && is_offset(t.value_ns) && is_offset(t.interval_ns);
        ensure(times, "TIMERS-2")
    })?;
    let (mut running, mut last) = (0_u32, None);
    each(set, |t: TimerRecord| {
        running = running.saturating_add(1);
        if running > MOST {
            return Err(Error::over_limit(running.into(), MOST.into()));
        }
        ensure(
            t.id == running
                && last.is_none_or(|id| id < t.timer_id)
                && t.timer_id <= i32::MAX as u64,
            "TIMERS-3",
        )?;
        last = Some(t.timer_id);
        let times = is_offset(t.value_ns) && is_offset(t.interval_ns) && is_bool(t.absolute);
        ensure(times, "TIMERS-2")?;
        // CLOCK_REALTIME, MONOTONIC, BOOTTIME, the two alarms, TAI.
        match CpuClock::of(t.clock) {
            Some(clock) => ensure(measures(set, clock) && t.absolute == 0, "TIMERS-5")?,
            None if matches!(t.clock, 0 | 1 | 7 | 8 | 9 | 11) => {}
            None => return Err(Error::unsupported("clock of a timer")),
        }
        notification(set, &t)
    })
}

/// Is it a clock of this process, or of one of its threads?
fn measures(set: &dyn MetaSet, clock: CpuClock) -> bool {
    let id = u64::from(clock.id);
    let tasks = set.section(TASKS);
    id == 0
        || match clock.thread {
            true => has_thread(set, id),
            false => records_of::<ProcessRecord<'_>>(tasks)
                .map_while(Result::ok)
                .any(|p| p.tgid == id),
        }
}

/// Is there a thread with this id?
fn has_thread(set: &dyn MetaSet, tid: u64) -> bool {
    let mut tasks = records_of::<TaskRecord<'_>>(set.section(TASKS)).map_while(Result::ok);
    tasks.any(|k| k.tid == tid)
}

/// A signal that exists, to a thread that exists.
fn notification(set: &dyn MetaSet, t: &TimerRecord) -> Result {
    let signal = (1..=64).contains(&t.signo);
    match t.notify {
        SIGEV_SIGNAL => ensure(signal && t.tid == 0, "TIMERS-4"),
        SIGEV_NONE => ensure(t.tid == 0 && t.signo <= 64, "TIMERS-4"),
        SIGEV_THREAD_ID => ensure(signal && has_thread(set, t.tid), "TIMERS-4"),
        _ => Err(Error::unsupported("notification of a timer")),
    }
}
