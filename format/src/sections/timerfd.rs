// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Section `timerfd`: timers behind descriptors (`timerfd_create(2)`).
//!
//! Preserved: clock, mode, time left or, for an absolute time of the wall clock, that time; interval, expirations
//! not read yet, flags. Not preserved: the phase of a periodic timer whose expiration nobody has read yet; a
//! pending cancellation. Source: spec, "Section: timerfd"; `fs/timerfd.c`.

use crate::record::record;

/// Bits of [`TimerfdRecord::settime_flags`]: `TFD_TIMER_ABSTIME`.
pub const TFD_ABSTIME: u64 = 1;
/// `TFD_TIMER_CANCEL_ON_SET`.
pub const TFD_CANCEL_ON_SET: u64 = 2;

record! {
    /// One timer; the record id is that of its open file.
    TimerfdRecord in TIMERFD, type 1, "timerfd" {
        /// Open file in section `files`.
        1 file: u64 Dec;
        /// `CLOCK_*` number.
        2 clock: u64 Dec;
        /// Flags of the last `timerfd_settime`: 1 absolute, 2 cancelled when the clock is set.
        3 settime_flags: u64 Flags;
        /// Time until the next expiration, 0 disarmed; with an absolute wall clock, the time itself.
        4 value_ns: u64 Ns;
        /// Interval, 0 none.
        5 interval_ns: u64 Ns;
        /// Expirations that were not read yet.
        6 ticks: u64 Dec;
    }
}
