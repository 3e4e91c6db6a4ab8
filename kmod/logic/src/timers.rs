// SPDX-License-Identifier: GPL-2.0
//! Timers of a process: what is left of them, and the calls that set them again.

use crate::plan::{Arg, Expect, Op, OpSink, PlanError};
use cr_format::{CpuClock, ItimerRecord, TimerRecord, SIGEV_NONE};

const SECOND: u64 = 1_000_000_000;
const SYS_SETITIMER: u32 = 38;
const SYS_PRCTL: u32 = 157;
const SYS_TIMER_CREATE: u32 = 222;
const SYS_TIMER_SETTIME: u32 = 223;
/// `PR_TIMER_CREATE_RESTORE_IDS`: `timer_create` takes the id that it finds in its result.
const PR_RESTORE_IDS: u64 = 77;
const TIMER_ABSTIME: u64 = 1;

/// What the kernel has of a POSIX timer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts {
    /// Its record, without the times.
    pub record: TimerRecord,
    /// Nanoseconds until it expires, negative when that has passed.
    pub left_ns: i64,
    /// Interval, 0 none.
    pub interval_ns: u64,
    /// 0 disarmed, 1 armed, 2 its signal is pending and will set it going again.
    pub status: u32,
    /// The time was given as one of a clock that people set.
    pub wall: bool,
}

/// Can a timer of this clock be kept?
pub fn keeps(clock: u64) -> bool {
    matches!(clock, 0 | 1 | 7 | 8 | 9 | 11) || CpuClock::of(clock).is_some()
}

/// The record with its times; `realtime_ns` is the wall clock now.
pub fn record(f: &Facts, realtime_ns: u64) -> TimerRecord {
    let passed = f.left_ns.unsigned_abs();
    let left = match f.status {
        0 => 0,
        // Its phase is told by nobody: a whole interval from now on.
        2 => f.interval_ns,
        _ if f.left_ns > 0 => passed,
        _ => match (passed.checked_rem(f.interval_ns), f.record.notify) {
            (Some(over), _) => f.interval_ns.saturating_sub(over),
            (None, SIGEV_NONE) => 0,
            // Its time has come: it expires at once.
            (None, _) => 1,
        },
    };
    let absolute = f.wall && f.status == 1 && f.left_ns > 0;
    let value = if absolute {
        realtime_ns.saturating_add(left)
    } else {
        left
    };
    TimerRecord {
        absolute: absolute.into(),
        value_ns: value.min(i64::MAX as u64),
        interval_ns: f.interval_ns,
        ..f.record
    }
}

/// `struct itimerspec` (`NS` 1) or `struct itimerval` (`NS` 1000, the nanoseconds of its unit): interval, value.
pub(crate) fn itimerspec<const NS: u64>(value_ns: u64, interval_ns: u64) -> [u8; 32] {
    let words = [
        interval_ns / SECOND,
        interval_ns % SECOND / NS,
        value_ns / SECOND,
        value_ns % SECOND / NS,
    ];
    let mut out = [0; 32];
    for (to, word) in out.chunks_exact_mut(8).zip(words) {
        to.copy_from_slice(&word.to_le_bytes());
    }
    out
}

/// The calls of the leader, when all threads exist.
///
/// # Errors
/// `NoMemory` of the sink.
pub fn plan(
    itimers: impl Iterator<Item = ItimerRecord>,
    timers: impl Iterator<Item = TimerRecord>,
    sink: &mut dyn OpSink,
) -> Result<(), PlanError> {
    let mut any = false;
    for t in timers {
        if !any {
            sink.push(Op::values(
                SYS_PRCTL,
                &[PR_RESTORE_IDS, 1],
                "cannot choose the ids of timers (PR_TIMER_CREATE_RESTORE_IDS)",
            ))?;
            any = true;
        }
        create(&t, sink)?;
    }
    if any {
        let what = "cannot go back to ids of timers that the kernel chooses";
        sink.push(Op::values(SYS_PRCTL, &[PR_RESTORE_IDS, 0], what))?;
    }
    for t in itimers {
        // Microseconds; less than one must not disarm it.
        let value = t.value_ns.max(1000);
        let spec = itimerspec::<1000>(value, t.interval_ns);
        let args = [Arg::Value(t.which), Arg::Data(0), Arg::Value(0)];
        sink.push(Op::with_data(
            SYS_SETITIMER,
            &args,
            &spec,
            "cannot set an interval timer",
        ))?;
    }
    Ok(())
}

fn create(t: &TimerRecord, sink: &mut dyn OpSink) -> Result<(), PlanError> {
    // struct sigevent (64 bytes), the id behind it.
    let mut data = [0_u8; 72];
    let word = |n: u64| u32::try_from(n).unwrap_or(0).to_le_bytes();
    let parts = t
        .value
        .to_le_bytes()
        .into_iter()
        .chain(word(t.signo))
        .chain(word(t.notify))
        .chain(word(t.tid));
    for (to, from) in data.iter_mut().zip(parts) {
        *to = from;
    }
    if let Some(id) = data.get_mut(64..68) {
        id.copy_from_slice(&word(t.timer_id));
    }
    // The kernel takes the low half of the register, signed.
    let args = [Arg::Value(t.clock), Arg::Data(0), Arg::Data(64)];
    sink.push(Op::with_data(
        SYS_TIMER_CREATE,
        &args,
        &data,
        "cannot make a timer with its id",
    ))?;
    if t.value_ns == 0 {
        return Ok(());
    }
    let flags = if t.absolute != 0 { TIMER_ABSTIME } else { 0 };
    let spec = itimerspec::<1>(t.value_ns, t.interval_ns);
    let args = [
        Arg::Value(t.timer_id),
        Arg::Value(flags),
        Arg::Data(0),
        Arg::Value(0),
    ];
    sink.push(Op {
        expect: Expect::Success,
        ..Op::with_data(SYS_TIMER_SETTIME, &args, &spec, "cannot set a timer")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::Collect;
    use cr_format::SIGEV_THREAD_ID;

    fn facts(status: u32, left_ns: i64, interval_ns: u64, wall: bool) -> Facts {
        Facts {
            left_ns,
            interval_ns,
            status,
            wall,
            ..Facts::default()
        }
    }

    #[test]
    fn what_is_left_depends_on_the_state_of_the_timer() {
        assert_eq!(record(&facts(0, 77, 5, false), 1000).value_ns, 0);
        assert_eq!(record(&facts(1, 77, 5, false), 1000).value_ns, 77);
        assert_eq!(record(&facts(2, -3, 50, false), 1000).value_ns, 50);
        assert_eq!(record(&facts(1, -3, 50, false), 1000).value_ns, 47);
        assert_eq!(record(&facts(1, -3, 0, false), 1000).value_ns, 1);
        let wall = record(&facts(1, 77, 0, true), 1000);
        assert_eq!((wall.value_ns, wall.absolute), (1077, 1));
        let mut none = facts(1, -3, 0, false);
        none.record.notify = SIGEV_NONE;
        assert_eq!(record(&none, 0).value_ns, 0);
    }

    #[test]
    fn timers_are_made_with_their_ids_and_then_set() {
        let t = TimerRecord {
            id: 1,
            timer_id: 7,
            clock: 1,
            notify: SIGEV_THREAD_ID,
            signo: 34,
            value: 0x1122,
            tid: 99,
            absolute: 0,
            value_ns: 2_000_000_003,
            interval_ns: 4,
        };
        let i = ItimerRecord {
            id: 1,
            which: 0,
            value_ns: 10,
            interval_ns: 0,
        };
        let mut c = Collect::default();
        plan([i].into_iter(), [t].into_iter(), &mut c).unwrap();
        assert_eq!(
            c.numbers(),
            [
                SYS_PRCTL,
                SYS_TIMER_CREATE,
                SYS_TIMER_SETTIME,
                SYS_PRCTL,
                SYS_SETITIMER
            ]
        );
        let event = &c.ops[1].data;
        assert_eq!(event[..8], 0x1122_u64.to_le_bytes());
        assert_eq!((event[8], event[12], event[16], event[64]), (34, 4, 99, 7));
        assert_eq!(
            c.ops[2].data[16..],
            [2_u64.to_le_bytes(), 3_u64.to_le_bytes()].concat()
        );
        assert_eq!(c.ops[4].data[24], 1, "at least a microsecond");
        let mut c = Collect::default();
        plan([].into_iter(), [].into_iter(), &mut c).unwrap();
        assert!(c.ops.is_empty());
    }
}
