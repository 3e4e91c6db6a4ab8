// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Failures of `crctl`: what the user reads, and the exit codes that a script reads.

use crate::escape;
use crate::report::{Obstacle, Report};
use crate::say;
use crate::sys;
use serde_json::{json, Value};
use std::io;

/// Result of everything that can fail here.
pub type Result<T> = std::result::Result<T, Failure>;

/// What kind of failure it is; decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The process has state that cannot be checkpointed.
    Obstacles,
    /// Wrong use of the command.
    Usage,
    /// There is no such process.
    NoProcess,
    /// Not permitted.
    NotPermitted,
    /// The kernel modules are missing, do not load or do not match.
    Modules,
    /// A file could not be read or written.
    Io,
    /// The image is damaged.
    Malformed,
    /// The image is newer than the modules, or over a limit.
    Unsupported,
    /// This host cannot restart the image (pid taken, file changed, other kernel).
    Host,
    /// Anything else.
    Other,
}

/// Which of the two tables of exit codes a command uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// All commands but `restart`: small numbers.
    Checkpoint,
    /// `restart`: numbers that a restarted program rarely uses itself.
    Restart,
}

impl Class {
    /// Exit code of this class.
    pub fn exit_code(self, family: Family) -> u8 {
        match (self, family) {
            (Self::Usage, _) => 2,
            (Self::Obstacles, Family::Checkpoint) => 1,
            (Self::NoProcess, Family::Checkpoint) => 3,
            (Self::NotPermitted, Family::Checkpoint) => 4,
            (Self::Modules, Family::Checkpoint) => 5,
            (Self::Io, Family::Checkpoint) => 6,
            (_, Family::Checkpoint) => 7,
            (Self::Malformed, Family::Restart) => 120,
            (Self::Unsupported | Self::Obstacles, Family::Restart) => 121,
            (Self::Host | Self::Modules, Family::Restart) => 122,
            (Self::NotPermitted, Family::Restart) => 123,
            (Self::Io, Family::Restart) => 124,
            (Self::NoProcess | Self::Other, Family::Restart) => 125,
        }
    }

    /// Word for `--json`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Obstacles => "obstacles",
            Self::Usage => "usage",
            Self::NoProcess => "no-process",
            Self::NotPermitted => "not-permitted",
            Self::Modules => "modules",
            Self::Io => "io",
            Self::Malformed => "malformed",
            Self::Unsupported => "unsupported",
            Self::Host => "host",
            Self::Other => "other",
        }
    }

    /// Class of an errno that the device returned or wrote to its report.
    pub fn of_device_errno(errno: i32, family: Family) -> Self {
        match errno {
            libc::ESRCH => Self::NoProcess,
            libc::EPERM | libc::EACCES => Self::NotPermitted,
            libc::ENOPKG => Self::Modules,
            libc::EBADMSG | libc::EUCLEAN => Self::Malformed,
            libc::EOPNOTSUPP if family == Family::Checkpoint => Self::Obstacles,
            libc::EOPNOTSUPP => Self::Unsupported,
            libc::EFBIG if family == Family::Restart => Self::Unsupported,
            libc::EIO | libc::ENOSPC | libc::EDQUOT | libc::EFBIG | libc::EPIPE | libc::EROFS => {
                Self::Io
            }
            libc::EEXIST
            | libc::ENOENT
            | libc::ESTALE
            | libc::ENOTDIR
            | libc::ENODEV
            | libc::ENXIO
            | libc::ENOEXEC
            | libc::ETXTBSY
            | libc::EISDIR
            | libc::ELOOP => Self::Host,
            _ => Self::Other,
        }
    }
}

/// One thing that went wrong. Both texts are ready to print: what came from outside is escaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Cause and place.
    pub text: String,
    /// What to do about it; may be empty.
    pub remedy: String,
}

/// Why a command failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Kind.
    pub class: Class,
    /// What went wrong, the most important first. Empty when `obstacles` say it all.
    pub messages: Vec<Message>,
    /// Everything that is in the way of a checkpoint; most with [`Class::Obstacles`].
    pub obstacles: Vec<Obstacle>,
    /// Pid the obstacles belong to.
    pub pid: i32,
}

impl Failure {
    /// A failure with a single message.
    pub fn new(class: Class, text: impl Into<String>) -> Self {
        let message = Message {
            text: text.into(),
            remedy: String::new(),
        };
        Self {
            class,
            messages: vec![message],
            obstacles: Vec::new(),
            pid: 0,
        }
    }

    /// Adds what to do about it.
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        if let Some(message) = self.messages.last_mut() {
            message.remedy = remedy.into();
        }
        self
    }

    /// An operation on a file or descriptor that the system refused: `what` names both.
    pub fn io(what: impl std::fmt::Display, err: &io::Error) -> Self {
        let class = match sys::errno(err) {
            libc::EPERM | libc::EACCES => Class::NotPermitted,
            _ => Class::Io,
        };
        Self::new(class, format!("{what}: {}", sys::error_text(err)))
    }

    /// Process `pid` cannot be checkpointed.
    pub fn obstacles(pid: i32, obstacles: Vec<Obstacle>) -> Self {
        Self {
            class: Class::Obstacles,
            messages: Vec::new(),
            obstacles,
            pid,
        }
    }

    /// A call on the device failed with `err`; what the session's report says goes before the bare errno.
    /// `what` says what was being done, for the case that the report is silent.
    pub fn from_device(what: &str, err: &io::Error, report: &Report, family: Family) -> Self {
        let messages: Vec<Message> = report.failures.iter().map(|f| f.message()).collect();
        let reported = report.failures.first().map_or(0, |f| f.errno);
        let errno = if reported == 0 {
            sys::errno(err)
        } else {
            reported
        };
        let class = Class::of_device_errno(errno, family);
        if messages.is_empty() {
            return Self::new(class, format!("{what}: {}", sys::error_text(err)));
        }
        Self {
            class,
            messages,
            obstacles: Vec::new(),
            pid: 0,
        }
    }

    /// `CHECKPOINT` of process `pid` failed with `err`: all obstacles if that is why, else the cause, with the
    /// obstacles that explain it (missing modules are such).
    pub fn from_checkpoint(pid: i32, err: &io::Error, report: Report) -> Self {
        if sys::errno(err) == libc::EOPNOTSUPP && !report.obstacles.is_empty() {
            return Self::obstacles(pid, report.obstacles);
        }
        let what = format!("process {pid} cannot be checkpointed");
        let failure = Self::from_device(&what, err, &report, Family::Checkpoint);
        Self {
            obstacles: report.obstacles,
            pid,
            ..failure
        }
    }

    /// Puts `subject: ` (a file, a process) before the first message.
    pub fn about(mut self, subject: impl std::fmt::Display) -> Self {
        if let Some(message) = self.messages.first_mut() {
            message.text = format!("{subject}: {}", message.text);
        }
        self
    }

    /// The lines for stderr.
    pub fn render(&self, command: &str) -> String {
        let mut lines = Vec::new();
        for message in &self.messages {
            lines.push(format!("crctl {command}: {}", message.text));
            if !message.remedy.is_empty() {
                lines.push(format!("  {}", message.remedy));
            }
        }
        if self.class == Class::Obstacles {
            // CAST: usize is 64 bits wide.
            let n = say::count(self.obstacles.len() as u64, "obstacle");
            let pid = self.pid;
            lines.push(format!(
                "crctl {command}: process {pid} cannot be checkpointed: {n}"
            ));
        }
        if !self.obstacles.is_empty() {
            lines.push(crate::report::render_obstacles(&self.obstacles));
        }
        lines.join("\n")
    }

    /// The object for `--json`.
    pub fn to_json(&self, command: &str, exit_code: u8) -> Value {
        let messages: Vec<Value> = self
            .messages
            .iter()
            .map(|m| json!({"message": m.text, "remedy": m.remedy}))
            .collect();
        let mut object = json!({
            "command": command,
            "ok": false,
            "exit_code": exit_code,
            "error": self.class.word(),
            "messages": messages,
        });
        if !self.obstacles.is_empty() {
            object["pid"] = json!(self.pid);
            object["obstacles"] = self.obstacles.iter().map(Obstacle::to_json).collect();
        }
        object
    }
}

/// Wraps a path for messages: `FILE: cause`.
pub fn file(path: &std::path::Path) -> String {
    escape::path(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Failed;

    const CLASSES: [Class; 10] = [
        Class::Obstacles,
        Class::Usage,
        Class::NoProcess,
        Class::NotPermitted,
        Class::Modules,
        Class::Io,
        Class::Malformed,
        Class::Unsupported,
        Class::Host,
        Class::Other,
    ];

    #[test]
    fn exit_codes_are_the_documented_ones() {
        let codes = |family| CLASSES.map(|c| c.exit_code(family));
        assert_eq!(codes(Family::Checkpoint), [1, 2, 3, 4, 5, 6, 7, 7, 7, 7]);
        assert_eq!(
            codes(Family::Restart),
            [121, 2, 125, 123, 122, 124, 120, 121, 122, 125]
        );
    }

    #[test]
    fn an_errno_of_the_device_has_one_class_per_direction() {
        let table = [
            (libc::ESRCH, Class::NoProcess, Class::NoProcess),
            (libc::EPERM, Class::NotPermitted, Class::NotPermitted),
            (libc::EOPNOTSUPP, Class::Obstacles, Class::Unsupported),
            (libc::EFBIG, Class::Io, Class::Unsupported),
            (libc::ENOSPC, Class::Io, Class::Io),
            (libc::EBADMSG, Class::Malformed, Class::Malformed),
            (libc::EUCLEAN, Class::Malformed, Class::Malformed),
            (libc::ENOPKG, Class::Modules, Class::Modules),
            (libc::EEXIST, Class::Host, Class::Host),
            (libc::EBUSY, Class::Other, Class::Other),
            (0, Class::Other, Class::Other),
        ];
        for (errno, checkpoint, restart) in table {
            assert_eq!(
                Class::of_device_errno(errno, Family::Checkpoint),
                checkpoint,
                "errno {errno}"
            );
            assert_eq!(
                Class::of_device_errno(errno, Family::Restart),
                restart,
                "errno {errno}"
            );
        }
    }

    #[test]
    fn the_report_says_more_than_the_errno() {
        let record = Failed {
            word: b"pipes".to_vec(),
            errno: libc::EUCLEAN,
            offset: 0x1a40,
            rule: b"PIPES-3".to_vec(),
            message: b"70000 unread bytes exceed the capacity 65536".to_vec(),
            remedy: b"List every defect with: crimg verify web.ckpt".to_vec(),
        };
        let report = Report {
            failures: vec![record],
            ..Report::default()
        };
        let err = io::Error::from_raw_os_error(libc::EIO);
        let failure =
            Failure::from_device("load", &err, &report, Family::Restart).about("web.ckpt");
        assert_eq!(failure.class, Class::Malformed);
        assert_eq!(
            failure.render("restart"),
            "crctl restart: web.ckpt: pipes at 0x1a40: 70000 unread bytes exceed the capacity 65536 (PIPES-3)\n  \
             List every defect with: crimg verify web.ckpt"
        );
    }

    #[test]
    fn missing_modules_are_no_obstacles_but_are_listed() {
        let obstacle = Obstacle {
            object: b"cr_files".to_vec(),
            fd: -1,
            ..Obstacle::default()
        };
        let report = Report {
            obstacles: vec![obstacle],
            ..Report::default()
        };
        let by = |errno| {
            Failure::from_checkpoint(7, &io::Error::from_raw_os_error(errno), report.clone())
        };
        assert_eq!(by(libc::EOPNOTSUPP).class, Class::Obstacles);
        let missing = by(libc::ENOPKG);
        assert_eq!(missing.class, Class::Modules);
        assert!(missing.render("check").contains("1. : cr_files"));
        assert_eq!(
            missing.to_json("check", 5)["obstacles"][0]["object"],
            "cr_files"
        );
    }

    #[test]
    fn a_silent_report_leaves_the_errno() {
        let err = io::Error::from_raw_os_error(libc::EBUSY);
        let failure = Failure::from_device(
            "reading the image",
            &err,
            &Report::default(),
            Family::Restart,
        );
        assert_eq!(
            failure.render("restart"),
            "crctl restart: reading the image: Device or resource busy"
        );
        assert_eq!(failure.to_json("restart", 125)["exit_code"], 125);
    }
}
