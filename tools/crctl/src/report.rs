// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! What the kernel says about a session: obstacles, failures, descriptors to connect, notes.
//!
//! `read(2)` on the device returns records of section `report`; this is their form for the rest of the program.
//! All text in them is untrusted bytes (process names, paths): it is escaped where it is printed.

use crate::error::Message;
use crate::escape;
use serde_json::{json, Value};

/// One thing that makes a checkpoint impossible.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Obstacle {
    /// Resource word.
    pub word: Vec<u8>,
    /// Process.
    pub pid: u64,
    /// Thread, 0 if it concerns no single one.
    pub tid: u64,
    /// Descriptor, negative if it is none.
    pub fd: i64,
    /// Address, 0 if it is none.
    pub address: u64,
    /// The thing itself.
    pub object: Vec<u8>,
    /// Why it cannot be checkpointed.
    pub reason: Vec<u8>,
    /// What to do about it.
    pub remedy: Vec<u8>,
}

/// Why a call failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failed {
    /// Resource word, may be empty.
    pub word: Vec<u8>,
    /// Its errno, 0 if unknown.
    pub errno: i32,
    /// Offset in the image, 0 if it is none.
    pub offset: u64,
    /// Rule of the image format that is broken, may be empty.
    pub rule: Vec<u8>,
    /// Cause.
    pub message: Vec<u8>,
    /// What to do about it, may be empty.
    pub remedy: Vec<u8>,
}

/// A descriptor whose other end lay outside and that must be connected at restart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct External {
    /// Descriptor in the image.
    pub fd: u32,
    /// How it is used.
    pub access: Access,
    /// What it was.
    pub description: Vec<u8>,
    /// True if it is connected to `crctl`'s own stdio.
    pub stdio: bool,
    /// True if it was opened with `O_APPEND`.
    pub append: bool,
}

/// Access mode of a descriptor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// `O_RDONLY`.
    #[default]
    Read,
    /// `O_WRONLY`.
    Write,
    /// `O_RDWR`.
    Both,
    /// A value this program does not know.
    Unknown,
}

/// Something worth knowing that is no failure.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Note {
    /// Resource word.
    pub word: Vec<u8>,
    /// Text.
    pub message: Vec<u8>,
}

/// Everything a session has reported so far, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Obstacles.
    pub obstacles: Vec<Obstacle>,
    /// Failures.
    pub failures: Vec<Failed>,
    /// Descriptors to connect.
    pub externals: Vec<External>,
    /// Notes.
    pub notes: Vec<Note>,
}

impl Obstacle {
    /// The form for `--json`. What does not apply is absent.
    pub fn to_json(&self) -> Value {
        let mut object = json!({
            "word": lossy(&self.word),
            "pid": self.pid,
            "object": lossy(&self.object),
            "reason": lossy(&self.reason),
            "remedy": lossy(&self.remedy),
        });
        if self.tid != 0 {
            object["tid"] = json!(self.tid);
        }
        if self.fd >= 0 {
            object["fd"] = json!(self.fd);
        }
        if self.address != 0 {
            object["address"] = json!(format!("{:#x}", self.address));
        }
        object
    }

    /// Where it is: `pid 7, tid 8, fd 3, address 0x…`.
    fn place(&self) -> String {
        let mut place = format!("pid {}", self.pid);
        if self.tid != 0 && self.tid != self.pid {
            place += &format!(", tid {}", self.tid);
        }
        if self.fd >= 0 {
            place += &format!(", fd {}", self.fd);
        }
        if self.address != 0 {
            place += &format!(", address {:#x}", self.address);
        }
        place
    }
}

impl Failed {
    /// The form for people: `pipes at 0x1a40: cause (PIPES-3)`.
    pub fn message(&self) -> Message {
        let mut text = escape::text(&self.word);
        if self.offset != 0 {
            text += &format!(
                "{}at {:#x}",
                if text.is_empty() { "" } else { " " },
                self.offset
            );
        }
        if !text.is_empty() {
            text += ": ";
        }
        if self.message.is_empty() {
            text += &crate::sys::errno_text(self.errno);
        } else {
            text += &escape::text(&self.message);
        }
        if !self.rule.is_empty() {
            text += &format!(" ({})", escape::text(&self.rule));
        }
        Message {
            text,
            remedy: escape::text(&self.remedy),
        }
    }
}

impl Note {
    /// The form for people.
    pub fn render(&self) -> String {
        match self.word.is_empty() {
            true => escape::text(&self.message),
            false => format!(
                "{}: {}",
                escape::text(&self.word),
                escape::text(&self.message)
            ),
        }
    }
}

/// All obstacles for people, numbered, one field per line, without a final newline.
pub fn render_obstacles(obstacles: &[Obstacle]) -> String {
    let mut lines = Vec::new();
    for (i, o) in obstacles.iter().enumerate() {
        lines.push(format!(
            "  {}. {}: {}",
            i + 1,
            escape::text(&o.word),
            escape::text(&o.object)
        ));
        lines.push(format!("     where:  {}", o.place()));
        lines.push(format!("     why:    {}", escape::text(&o.reason)));
        if !o.remedy.is_empty() {
            lines.push(format!("     remedy: {}", escape::text(&o.remedy)));
        }
    }
    lines.join("\n")
}

/// Text for JSON, which can hold no other bytes than UTF-8.
pub fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn obstacle() -> Obstacle {
        Obstacle {
            word: b"sockets".to_vec(),
            pid: 1234,
            tid: 1234,
            fd: 5,
            address: 0,
            object: b"TCP 10.0.0.1:80\x1b[2J".to_vec(),
            reason: b"connections cannot be checkpointed".to_vec(),
            remedy: b"close it, or promise it with --fd 5".to_vec(),
        }
    }

    #[test]
    fn obstacles_are_listed_with_place_cause_and_remedy() {
        let memory = Obstacle {
            word: b"memory".to_vec(),
            pid: 1234,
            tid: 1240,
            fd: -1,
            address: 0x7f00_0000_1000,
            object: b"/dev/dri/card0".to_vec(),
            reason: b"device memory".to_vec(),
            remedy: Vec::new(),
        };
        assert_eq!(
            render_obstacles(&[obstacle(), memory]),
            "  1. sockets: TCP 10.0.0.1:80\\x1b[2J\n     where:  pid 1234, fd 5\n     \
             why:    connections cannot be checkpointed\n     remedy: close it, or promise it with --fd 5\n  \
             2. memory: /dev/dri/card0\n     where:  pid 1234, tid 1240, address 0x7f0000001000\n     \
             why:    device memory"
        );
    }

    #[test]
    fn json_leaves_out_what_does_not_apply() {
        let value = obstacle().to_json();
        assert_eq!(value["fd"], 5);
        assert!(value.get("address").is_none());
        let value = Obstacle {
            fd: -1,
            address: 0x1000,
            ..obstacle()
        }
        .to_json();
        assert!(value.get("fd").is_none());
        assert_eq!(value["address"], "0x1000");
    }

    #[test]
    fn a_failure_without_place_or_text_still_says_something() {
        let record = Failed {
            errno: libc::ENOSPC,
            ..Failed::default()
        };
        assert_eq!(record.message().text, "No space left on device");
        let record = Failed {
            offset: 64,
            message: b"bad".to_vec(),
            ..Failed::default()
        };
        assert_eq!(record.message().text, "at 0x40: bad");
    }
}
