// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Signals: sets, dispositions, and receiving them as data instead of in handlers.

use super::check;
use libc::c_int;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::FromRawFd;

/// Catchable signals that end a program which does not handle them.
pub const ENDING: [c_int; 8] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGTERM,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGALRM,
    libc::SIGXCPU,
];

/// A set of signals.
#[derive(Clone, Copy)]
pub struct Set(libc::sigset_t);

/// A received signal.
#[derive(Clone, Copy, Debug)]
pub struct Received {
    /// Its number.
    pub signal: c_int,
    /// `si_code`: who made it (`SI_USER`, `SI_KERNEL`, …).
    pub code: c_int,
    /// Sender, if a process sent it.
    pub sender: libc::pid_t,
}

impl Set {
    /// The given signals.
    pub fn of(signals: &[c_int]) -> Self {
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: the call initialises the set completely.
        let set = unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            set.assume_init()
        };
        let mut set = Self(set);
        signals.iter().for_each(|&signal| set.add(signal));
        set
    }

    /// The given signals less those that the caller's parent made it ignore (`nohup`).
    pub fn of_not_ignored(signals: &[c_int]) -> Self {
        let wanted: Vec<c_int> = signals
            .iter()
            .copied()
            .filter(|&s| !is_ignored(s))
            .collect();
        Self::of(&wanted)
    }

    /// Adds one signal.
    pub fn add(&mut self, signal: c_int) {
        // SAFETY: the set is initialised; an invalid number is refused without effect.
        unsafe { libc::sigaddset(&mut self.0, signal) };
    }

    /// Every signal.
    pub fn full() -> Self {
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: the call initialises the set completely.
        unsafe {
            libc::sigfillset(set.as_mut_ptr());
            Self(set.assume_init())
        }
    }

    /// Blocks the signals of the set in the calling thread.
    pub fn block(&self) {
        self.mask(libc::SIG_BLOCK);
    }

    /// Unblocks the signals of the set in the calling thread.
    pub fn unblock(&self) {
        self.mask(libc::SIG_UNBLOCK);
    }

    fn mask(&self, how: c_int) {
        // SAFETY: the set is initialised and outlives the call. It can fail only for a wrong `how`.
        unsafe { libc::pthread_sigmask(how, &self.0, std::ptr::null_mut()) };
    }

    /// Waits for one of these signals, which must be blocked.
    pub fn wait(&self) -> io::Result<Received> {
        loop {
            let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
            // SAFETY: the set is initialised, `info` is a valid place for the answer.
            match check(unsafe { libc::sigwaitinfo(&self.0, info.as_mut_ptr()) }) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
                Ok(signal) => {
                    // SAFETY: zeroed above and filled by the call: initialised either way.
                    let info = unsafe { info.assume_init() };
                    // SAFETY: all bytes of the union are initialised; the value is used only for `SI_USER` codes.
                    let sender = unsafe { info.si_pid() };
                    return Ok(Received {
                        signal,
                        code: info.si_code,
                        sender,
                    });
                }
            }
        }
    }

    /// A descriptor that is readable while one of these (blocked) signals is pending.
    pub fn descriptor(&self) -> io::Result<File> {
        // SAFETY: the set is initialised and outlives the call.
        let fd = check(unsafe { libc::signalfd(-1, &self.0, libc::SFD_CLOEXEC) })?;
        // SAFETY: `fd` was created by the call above, nobody else owns it.
        Ok(unsafe { File::from_raw_fd(fd) })
    }
}

/// True if the caller ignores `signal`.
pub fn is_ignored(signal: c_int) -> bool {
    let mut old = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: a null new action only asks; `old` is a valid place for the answer and zero is a value of it.
    unsafe {
        libc::sigaction(signal, std::ptr::null(), old.as_mut_ptr()) == 0
            && old.assume_init().sa_sigaction == libc::SIG_IGN
    }
}

/// Gives `signal` its default action.
pub fn set_default(signal: c_int) {
    // SAFETY: SIG_DFL is no function of ours.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
}

/// Ignores `signal`.
pub fn ignore(signal: c_int) {
    // SAFETY: SIG_IGN is no function of ours.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

/// Gives every signal its default action with bare system calls, for a child that is about to be replaced.
pub fn reset_all() {
    /// `struct sigaction` as the kernel has it: handler, flags, restorer, mask. All zero is the default action.
    const DEFAULT: [u64; 4] = [0; 4];
    for signal in 1..=64 {
        // SAFETY: `DEFAULT` has the size of the kernel's struct; SIGKILL and SIGSTOP are refused without effect.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                DEFAULT.as_ptr(),
                std::ptr::null::<u64>(),
                8usize,
            )
        };
    }
}

/// Name of a signal as shells print it.
pub fn name(signal: c_int) -> String {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
        "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
        "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
    ];
    let known = usize::try_from(signal)
        .ok()
        .and_then(|n| n.checked_sub(1))
        .and_then(|i| NAMES.get(i));
    match known {
        Some(name) => format!("SIG{name}"),
        None => format!("signal {signal}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_their_names() {
        assert_eq!(name(1), "SIGHUP");
        assert_eq!(name(15), "SIGTERM");
        assert_eq!(name(31), "SIGSYS");
        assert_eq!(name(0), "signal 0");
        assert_eq!(name(34), "signal 34");
    }
}
