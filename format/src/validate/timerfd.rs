// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Rules of section `timerfd`.

use super::{each, handled::Handled, is_offset, known_records, MetaSet};
use crate::{
    error::{ensure, Error, Result},
    sections::{TimerfdRecord, TFD_ABSTIME, TFD_CANCEL_ON_SET, TIMERFD},
};

pub(super) fn check(set: &dyn MetaSet) -> Result {
    known_records(set, TIMERFD)?;
    let mut files = Handled::new(set, TIMERFD, "TIMERFD-1");
    each(set, |t: TimerfdRecord| {
        files.next(t.id, t.file)?;
        // CLOCK_REALTIME, MONOTONIC, BOOTTIME, REALTIME_ALARM, BOOTTIME_ALARM.
        if !matches!(t.clock, 0 | 1 | 7 | 8 | 9) {
            return Err(Error::unsupported("clock of a timerfd"));
        }
        if t.settime_flags & !(TFD_ABSTIME | TFD_CANCEL_ON_SET) != 0 {
            return Err(Error::unsupported("flag of a timerfd"));
        }
        ensure(
            is_offset(t.value_ns) && is_offset(t.interval_ns),
            "TIMERFD-2",
        )
    })?;
    files.end()
}
