// SPDX-License-Identifier: GPL-2.0
//! Which interrupted system calls are made again after a freeze.
//!
//! Most blocking calls answer a freeze with one of the kernel's restart codes and go on unseen. Some
//! return a plain `EINTR` whenever they were woken early; the program would see it although no signal
//! came. For those that had no effect yet, the restart code is put in place of the error.

/// `-EINTR`.
pub const EINTR: i64 = -4;
/// Restart, unless a signal handler runs; then `EINTR`.
pub const ERESTARTNOHAND: i64 = -514;

/// System calls that return `-EINTR` only before any effect (x86-64 numbers): `semop`, `semtimedop`,
/// `rt_sigtimedwait`, `io_getevents`, `epoll_wait`, `epoll_pwait`, `epoll_pwait2`, `io_pgetevents`, and, with a
/// receive timeout set, `recvfrom`, `recvmsg`, `recvmmsg`, `accept`, `accept4`. Never `connect`: the
/// attempt goes on and a second call would fail.
const PLAIN_EINTR: [i64; 13] = [65, 220, 128, 208, 232, 281, 441, 333, 45, 47, 299, 43, 288];

/// The value for `ax` of a thawed thread, if it must change: `orig_ax` is the system call number
/// (negative: none), `ax` its result, `signal` whether a signal is waiting for the thread.
pub fn restart_interrupted(orig_ax: i64, ax: i64, signal: bool) -> Option<i64> {
    (ax == EINTR && !signal && PLAIN_EINTR.contains(&orig_ax)).then_some(ERESTARTNOHAND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_calls_without_a_signal_are_made_again() {
        assert_eq!(restart_interrupted(232, EINTR, false), Some(ERESTARTNOHAND));
        assert_eq!(
            restart_interrupted(232, EINTR, true),
            None,
            "a signal explains the EINTR"
        );
        assert_eq!(
            restart_interrupted(232, 1, false),
            None,
            "an event was delivered"
        );
        assert_eq!(
            restart_interrupted(42, EINTR, false),
            None,
            "connect must never be repeated"
        );
        assert_eq!(
            restart_interrupted(-1, EINTR, false),
            None,
            "not in a system call"
        );
    }
}
