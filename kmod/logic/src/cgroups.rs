// SPDX-License-Identifier: GPL-2.0
//! Joining a control group: the calls, one after the other, and what their results mean.

/// `cr_uapi::RESTART_CGROUPS_IGNORE`: stay in the group of whoever restarts.
pub const IGNORE: u32 = 1;
/// `cr_uapi::RESTART_CGROUPS_REQUIRE`: refuse the restart if the group cannot be joined.
pub const REQUIRE: u32 = 2;

const SYS_WRITE: u32 = 1;
const SYS_CLOSE: u32 = 3;
const SYS_OPENAT: u32 = 257;
const AT_FDCWD: u64 = -100_i64 as u64;
/// `O_WRONLY | O_CLOEXEC`.
const OPEN_FLAGS: u64 = 0o2_000_001;

/// Where the unified hierarchy is mounted.
pub const MOUNT: &[u8] = b"/sys/fs/cgroup";
/// The file in a group that a process writes 0 to in order to join it.
pub const JOIN: &[u8] = b"/cgroup.procs";

/// Does the user want the group to be joined?
pub fn wanted(flags: u32) -> bool {
    flags & IGNORE == 0
}

/// Does the restart fail without it?
pub fn required(flags: u32) -> bool {
    flags & REQUIRE != 0
}

/// The next thing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// This call: number and arguments, the number of arguments that count is all three.
    Call(u32, [u64; 3]),
    /// The process is in its group.
    Joined,
    /// It is not, for this negative error number.
    Failed(i64),
}

/// What comes at step `step`, after a call that returned `prev`. The file name is in user memory at `name`, a "0" at `zero`.
pub fn next(step: u32, prev: i64, name: u64, zero: u64, state: &mut State) -> Step {
    match step {
        0 => Step::Call(SYS_OPENAT, [AT_FDCWD, name, OPEN_FLAGS]),
        1 => match u64::try_from(prev) {
            Ok(fd) => {
                state.fd = fd;
                Step::Call(SYS_WRITE, [fd, zero, 1])
            }
            Err(_) => Step::Failed(prev),
        },
        2 => {
            state.written = prev;
            Step::Call(SYS_CLOSE, [state.fd, 0, 0])
        }
        _ if state.written == 1 => Step::Joined,
        _ => Step::Failed(state.written),
    }
}

/// Results of the calls so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct State {
    /// Descriptor of the file.
    pub fd: u64,
    /// What writing to it returned.
    pub written: i64,
}

/// Why a group cannot be joined, from the negative error number.
pub fn reason(error: i64) -> &'static str {
    match error {
        -2 | -19 => "does not exist here",
        -1 | -13 => "may not be joined by you",
        -16 => "has groups below it that processes must be in",
        -95 => "cannot have processes of its own (threaded)",
        _ => "cannot be joined",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the steps with these results.
    fn play(results: &[i64]) -> (Step, usize) {
        let mut state = State::default();
        let mut prev = 0;
        for (n, r) in (0u32..).zip(results.iter().chain([&0])) {
            match next(n, prev, 0x1000, 0x2000, &mut state) {
                Step::Call(..) => prev = *r,
                end => return (end, n as usize),
            }
        }
        panic!("it does not end");
    }

    #[test]
    fn a_group_is_opened_joined_and_closed() {
        assert_eq!(play(&[7, 1, 0]), (Step::Joined, 3));
        let mut state = State::default();
        let _ = next(1, 7, 0x1000, 0x2000, &mut state);
        let close = Step::Call(SYS_CLOSE, [7, 0, 0]);
        assert_eq!(next(2, 1, 0x1000, 0x2000, &mut state), close);
    }

    #[test]
    fn what_fails_is_told_and_nothing_stays_open() {
        assert_eq!(play(&[-2]), (Step::Failed(-2), 1));
        assert_eq!(play(&[7, -16, 0]), (Step::Failed(-16), 3));
        assert_eq!(reason(-2), "does not exist here");
    }

    #[test]
    fn what_the_user_wants() {
        assert!(wanted(0) && !required(0));
        assert!(!wanted(IGNORE));
        assert!(wanted(REQUIRE) && required(REQUIRE));
    }
}
