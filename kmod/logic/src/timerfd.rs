// SPDX-License-Identifier: GPL-2.0
//! Timers behind descriptors, as `fdinfo` describes them (`timerfd_show` in `fs/timerfd.c`).

use crate::anon::{decimal, number, value};
use cr_format::{TimerfdRecord, TFD_ABSTIME};

const SECOND: u64 = 1_000_000_000;
/// `CLOCK_REALTIME` and `CLOCK_REALTIME_ALARM`: set by people, so that an absolute time of them is kept.
const WALL: [u64; 2] = [0, 8];

/// The record of the timer of open file `id`; `realtime_ns` is the wall clock now.
pub fn parse(id: u32, fdinfo: &[u8], realtime_ns: u64) -> Option<TimerfdRecord> {
    let clock = decimal(fdinfo, "clockid")?;
    let settime_flags = number(value(fdinfo, "settime flags")?, 8)?;
    let left = time(value(fdinfo, "it_value")?)?;
    let interval_ns = time(value(fdinfo, "it_interval")?)?;
    let ticks = decimal(fdinfo, "ticks")?;
    let absolute = settime_flags & TFD_ABSTIME != 0 && WALL.contains(&clock);
    let value_ns = match left {
        // Expired, and a read will set it going again: the phase is not told.
        0 if ticks > 0 && interval_ns > 0 => interval_ns,
        0 => 0,
        n if absolute => realtime_ns.checked_add(n)?,
        n => n,
    };
    // That new start of a periodic timer is relative.
    let restarted = left == 0 && value_ns != 0;
    Some(TimerfdRecord {
        id,
        file: id.into(),
        clock,
        settime_flags: if restarted { 0 } else { settime_flags },
        value_ns,
        interval_ns,
        ticks,
    })
}

/// `(seconds, nanoseconds)` as nanoseconds; ends of time are cut.
fn time(text: &[u8]) -> Option<u64> {
    let inner = text.strip_prefix(b"(")?.strip_suffix(b")")?;
    let mut parts = inner.split(|b| *b == b',');
    let (s, ns) = (parts.next()?, parts.next()?);
    let ns = number(ns.trim_ascii(), 10).filter(|n| *n < SECOND)?;
    let total = number(s.trim_ascii(), 10)?
        .saturating_mul(SECOND)
        .saturating_add(ns);
    Some(total.min(i64::MAX as u64))
}

/// The flags for `timerfd_settime`: an absolute time is given only for the wall clock.
pub fn settime_flags(t: &TimerfdRecord) -> u64 {
    if WALL.contains(&t.clock) {
        t.settime_flags
    } else {
        0
    }
}

/// `struct itimerspec` for the record.
pub fn itimerspec(t: &TimerfdRecord) -> [u8; 32] {
    crate::timers::itimerspec::<1>(t.value_ns, t.interval_ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(
        clock: u64,
        ticks: u64,
        flags: u64,
        value: (u64, u64),
        interval: (u64, u64),
    ) -> std::vec::Vec<u8> {
        std::format!(
            "clockid: {clock}\nticks: {ticks}\nsettime flags: 0{flags:o}\nit_value: ({}, {})\nit_interval: ({}, {})\n",
            value.0, value.1, interval.0, interval.1
        )
        .into_bytes()
    }

    #[test]
    fn time_left_is_kept_and_an_absolute_wall_time_as_such() {
        let t = parse(3, &text(1, 0, 1, (5, 7), (0, 0)), 1000).unwrap();
        assert_eq!((t.value_ns, t.settime_flags), (5_000_000_007, 1));
        assert_eq!(settime_flags(&t), 0, "monotonic: relative");
        let t = parse(3, &text(0, 0, 3, (5, 7), (1, 0)), 1000).unwrap();
        assert_eq!((t.value_ns, t.interval_ns), (5_000_001_007, 1_000_000_000));
        assert_eq!(settime_flags(&t), 3);
        let t = parse(3, &text(0, 0, 0, (0, 0), (0, 0)), 1000).unwrap();
        assert_eq!(t.value_ns, 0, "disarmed stays so");
    }

    #[test]
    fn an_expired_periodic_timer_goes_on_with_a_whole_interval() {
        let t = parse(3, &text(0, 2, 1, (0, 0), (3, 0)), 1000).unwrap();
        assert_eq!(
            (t.value_ns, t.ticks, settime_flags(&t)),
            (3_000_000_000, 2, 0)
        );
        let t = parse(3, &text(1, 1, 0, (0, 0), (0, 0)), 1000).unwrap();
        assert_eq!((t.value_ns, t.ticks), (0, 1), "one shot");
    }

    #[test]
    fn other_texts_are_refused() {
        assert!(parse(3, b"clockid: 1\n", 0).is_none());
        assert!(parse(3, &text(1, 0, 0, (1, 1_000_000_000), (0, 0)), 0).is_none());
    }

    #[test]
    fn the_kernel_gets_interval_and_value() {
        let t = parse(3, &text(1, 0, 0, (5, 7), (1, 2)), 0).unwrap();
        let words: std::vec::Vec<u64> = itimerspec(&t)
            .chunks(8)
            .map(|c| u64::from_le_bytes(c.try_into().unwrap()))
            .collect();
        assert_eq!(words, [1, 2, 5, 7]);
    }
}
