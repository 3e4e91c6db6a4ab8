// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Stands in for the restarted program towards the shell: passes signals on, stops and ends as it does.
//!
//! All signals are blocked and received one by one. A signal from the terminal goes to the whole foreground process
//! group; it is passed on only if the program is in another one, because it has received it itself otherwise.
//! A program that leads a process group of its own in our session gets the terminal, as a shell would give it.

use crate::sys::process::{self, Change, Pid};
use crate::sys::{fs, signal};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;

/// Signals that are passed on, unless crctl was started with them ignored.
const FORWARDED: [libc::c_int; 9] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGTERM,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGTSTP,
    libc::SIGCONT,
    libc::SIGWINCH,
];

/// Waits for the end of `child` and returns how it ended; `fellows` are other children, which get what is passed on. All
/// signals must be blocked.
pub fn mirror(child: Pid, fellows: &[Pid]) -> Change {
    let mut signals = signal::Set::of_not_ignored(&FORWARDED);
    signals.add(libc::SIGCHLD);
    let mut program = Program::new(child, fellows);
    program.give_terminal();
    loop {
        match process::poll_change(child) {
            Ok(Some(Change::Stopped(signal))) => program.stopped(signal),
            Ok(Some(Change::Continued)) => program.is_stopped = false,
            Ok(Some(end)) => {
                program.take_terminal();
                return end;
            }
            // Not our child any more: cannot happen, but must not become a busy loop.
            Err(_) => return Change::Exited(0),
            Ok(None) => {
                if let Ok(received) = signals.wait() {
                    program.pass_on(received);
                }
            }
        }
    }
}

/// The restarted program as seen from here.
struct Program<'a> {
    pid: Pid,
    fellows: &'a [Pid],
    own_group: Pid,
    is_stopped: bool,
    gave_terminal: bool,
    terminal: Option<File>,
}

impl<'a> Program<'a> {
    fn new(pid: Pid, fellows: &'a [Pid]) -> Self {
        let terminal = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NOCTTY)
            .open("/dev/tty")
            .ok();
        Self {
            pid,
            fellows,
            own_group: process::group_of(0).unwrap_or(0),
            is_stopped: false,
            gave_terminal: false,
            terminal,
        }
    }

    /// Its process group, if that is not ours.
    fn other_group(&self) -> Option<Pid> {
        process::group_of(self.pid)
            .ok()
            .filter(|&group| group != self.own_group && group > 0)
    }

    /// True if the program is in our session, and so can have our terminal.
    fn shares_session(&self) -> bool {
        process::session_of(self.pid).ok() == process::session_of(0).ok()
    }

    /// If we have the terminal and the program is another job of our session, gives it the terminal.
    /// True if the program has it then.
    fn give_terminal(&mut self) -> bool {
        let (Some(tty), Some(group)) = (&self.terminal, self.other_group()) else {
            return false;
        };
        let Ok(foreground) = fs::foreground_group(tty) else {
            return false;
        };
        let may_have_it = foreground == self.own_group && self.shares_session();
        if may_have_it && fs::set_foreground_group(tty, group).is_ok() {
            self.gave_terminal = true;
        }
        self.gave_terminal
    }

    /// Takes back a terminal that was given away.
    fn take_terminal(&mut self) {
        if let (true, Some(tty)) = (self.gave_terminal, &self.terminal) {
            let _ = fs::set_foreground_group(tty, self.own_group);
            self.gave_terminal = false;
        }
    }

    /// The program was stopped by `signal`: so are we, until the shell continues us.
    fn stopped(&mut self, signal: libc::c_int) {
        self.is_stopped = true;
        // It asked for the terminal before it got it.
        let wants_terminal = matches!(signal, libc::SIGTTIN | libc::SIGTTOU);
        if wants_terminal && self.give_terminal() {
            self.resume();
            return;
        }
        self.take_terminal();
        let _ = process::kill(process::own_pid(), libc::SIGSTOP);
        // Here the shell has continued us, and the program too if it is in our group.
        self.give_terminal();
        if let Ok(Some(Change::Continued)) = process::poll_continued(self.pid) {
            self.is_stopped = false;
        }
        self.resume();
    }

    /// Continues the program, or the whole group that stopped with it, if it is stopped.
    fn resume(&mut self) {
        if self.is_stopped {
            let _ = process::kill(
                self.other_group().map_or(self.pid, |group| -group),
                libc::SIGCONT,
            );
            self.is_stopped = false;
        }
    }

    fn pass_on(&mut self, received: signal::Received) {
        let number = received.signal;
        if number == libc::SIGCHLD {
            return;
        }
        if number == libc::SIGCONT {
            // When both were continued, once is enough.
            return self.resume();
        }
        let sender = process::group_of(received.sender).ok();
        let other = self.other_group();
        if !is_for_us_alone(received, sender, self.own_group, other.is_none()) {
            return;
        }
        let _ = match other {
            // The terminal signals all of a foreground job. The kernel does not let SIGTSTP stop a process that has
            // no parent in its session, which could continue it; but we can.
            Some(group) if received.code == libc::SI_KERNEL => {
                let is_stop = number == libc::SIGTSTP && !self.shares_session();
                process::kill(-group, if is_stop { libc::SIGSTOP } else { number })
            }
            _ => {
                for &fellow in self.fellows {
                    let _ = process::kill(fellow, number);
                }
                process::kill(self.pid, number)
            }
        };
    }
}

/// True unless the program has received the signal itself: from the terminal when it is in our process group
/// (`shares_group`), or because it or its like sent the signal to that whole group.
fn is_for_us_alone(
    received: signal::Received,
    sender_group: Option<Pid>,
    own_group: Pid,
    shares_group: bool,
) -> bool {
    let from_terminal = received.code == libc::SI_KERNEL;
    let from_group = received.code == libc::SI_USER && sender_group == Some(own_group);
    !(shares_group && (from_terminal || from_group))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_passed_on_only_if_the_program_has_not_got_it() {
        let from = |code| signal::Received {
            signal: libc::SIGINT,
            code,
            sender: 5,
        };
        let terminal = from(libc::SI_KERNEL);
        assert!(!is_for_us_alone(terminal, None, 10, true));
        assert!(
            is_for_us_alone(terminal, None, 10, false),
            "another group does not see the terminal's signals"
        );
        let user = from(libc::SI_USER);
        assert!(
            is_for_us_alone(user, Some(99), 10, true),
            "kill PID-OF-CRCTL"
        );
        assert!(
            !is_for_us_alone(user, Some(10), 10, true),
            "kill 0 by the program"
        );
        assert!(is_for_us_alone(user, None, 10, true), "the sender is gone");
    }
}
