// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Section `timers`: interval timers and POSIX timers of the process.
//!
//! Preserved: `alarm(2)`, `setitimer(2)`, `timer_create(2)` with ids, notification, interval and time left (of an
//! absolute wall time: the time). Not preserved: overrun counts that were not read; the phase of a periodic timer
//! whose signal is pending. CPU clocks begin anew: their timers keep the time left.
//! Source: spec, "Section: timers"; `kernel/time/itimer.c`, `kernel/time/posix-timers.c`.

use crate::record::record;

/// [`TimerRecord::notify`]: a signal to the process.
pub const SIGEV_SIGNAL: u64 = 0;
/// Nothing.
pub const SIGEV_NONE: u64 = 1;
/// A signal to one thread.
pub const SIGEV_THREAD_ID: u64 = 4;

/// A clock of CPU time, as [`TimerRecord::clock`] has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuClock {
    /// Id of the process or thread; 0 for the process, or its main thread.
    pub id: u32,
    /// Of a thread, not of the whole process?
    pub thread: bool,
    /// 0 user and system time, 1 user time, 2 time on a processor, exactly.
    pub which: u32,
}

impl CpuClock {
    /// The CPU clock of this number; `None` if it is none.
    pub fn of(clock: u64) -> Option<Self> {
        // A negative number of 32 bits: the id, all bits turned round, then three bits.
        let n = u32::try_from(clock).ok().filter(|n| n >> 31 == 1)?;
        let which = n & 3;
        (which <= 2).then_some(Self {
            id: !n >> 3,
            thread: n & 4 != 0,
            which,
        })
    }
}

record! {
    /// One of the three interval timers, if it is armed; the record id is `which` plus 1.
    ItimerRecord in TIMERS, type 1, "itimer" {
        /// 0 real time, 1 user time, 2 user and system time.
        1 which: u64 Dec;
        /// Time left, not 0.
        2 value_ns: u64 Ns;
        /// Interval, 0 none.
        3 interval_ns: u64 Ns;
    }
}

record! {
    /// One POSIX timer; ids count from 1, ascending by `timer_id`.
    TimerRecord in TIMERS, type 2, "timer" {
        /// Id of the timer.
        1 timer_id: u64 Dec;
        /// `CLOCK_*` number; of CPU time: the 32 bits of that clock's number (see [`CpuClock`]).
        2 clock: u64 Dec;
        /// 0 signal to the process, 1 none, 4 signal to a thread.
        3 notify: u64 Dec;
        /// Signal number, 0 for none.
        4 signo: u64 Dec;
        /// `sigev_value`.
        5 value: u64 Hex;
        /// Thread that is signalled (notify 4), else 0.
        6 tid: u64 Dec;
        /// 1: `value_ns` is a time of the wall clock.
        7 absolute: u64 Dec;
        /// Time left, 0 disarmed.
        8 value_ns: u64 Ns;
        /// Interval, 0 none.
        9 interval_ns: u64 Ns;
    }
}
