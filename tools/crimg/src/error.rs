// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! What can go wrong, what the user is told, and the exit code.

use crate::escape;
use cr_format::ErrorKind;
use std::{fmt, io, path::PathBuf, process::ExitCode};

/// How a command that did its work ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The image is sound as far as it was looked at.
    Sound,
    /// Two images differ (`diff`).
    Differs,
    /// The image is sound, but this host cannot restart it (`verify --level host`).
    HostCannot,
    /// The image is damaged or breaks a rule.
    Malformed,
    /// The image is newer than this program, or over a limit.
    Unsupported,
}

impl Outcome {
    /// The verdict that a defect of this kind gives.
    pub fn of(kind: &ErrorKind) -> Self {
        match kind {
            ErrorKind::BadChecksum { .. } | ErrorKind::Truncated { .. } | ErrorKind::Rule(_) => {
                Self::Malformed
            }
            ErrorKind::Unsupported(_) | ErrorKind::OverLimit { .. } | ErrorKind::NoSpace => {
                Self::Unsupported
            }
        }
    }
    /// The worse of two verdicts: malformed before unsupported before this host before different before sound.
    pub fn worse(self, other: Self) -> Self {
        match (self, other) {
            (Self::Malformed, _) | (_, Self::Malformed) => Self::Malformed,
            (Self::Unsupported, _) | (_, Self::Unsupported) => Self::Unsupported,
            (Self::HostCannot, _) | (_, Self::HostCannot) => Self::HostCannot,
            (Self::Differs, _) | (_, Self::Differs) => Self::Differs,
            _ => Self::Sound,
        }
    }
    pub fn exit_code(self) -> ExitCode {
        ExitCode::from(match self {
            Self::Sound => 0,
            Self::Differs => 1,
            Self::Malformed => 3,
            Self::Unsupported => 4,
            Self::HostCannot => 5,
        })
    }
    /// The word in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Sound => "sound",
            Self::Differs => "differs",
            Self::HostCannot => "host_cannot",
            Self::Malformed => "malformed",
            Self::Unsupported => "unsupported",
        }
    }
}

/// Why a command could not do its work.
#[derive(Debug)]
pub enum Failure {
    /// The options do not fit together or to the image.
    Usage { message: String, remedy: String },
    /// The image is damaged where the command needs it. The offset of the error is in its section, or in
    /// the file for the container.
    Defect {
        image: String,
        error: cr_format::Error,
    },
    /// A file that is no image (JSON, ELF core) cannot be taken: where in it, why, and what to do.
    Malformed {
        file: String,
        /// Place in the file, for people: a JSON pointer, an offset.
        place: String,
        message: String,
        remedy: String,
    },
    /// A file that is no image cannot be taken by this program, though nothing is wrong with it.
    Unsupported {
        file: String,
        message: String,
        remedy: String,
    },
    /// Reading the image failed.
    Read { image: String, error: io::Error },
    /// Writing a file failed.
    Output { path: PathBuf, error: io::Error },
    /// Writing to standard output failed.
    Write(io::Error),
}

impl Failure {
    /// Tells the user and gives the exit code. A reader of the output that went away is no failure.
    pub fn report(&self) -> ExitCode {
        if let Self::Write(e) = self {
            if e.kind() == io::ErrorKind::BrokenPipe {
                return ExitCode::SUCCESS;
            }
        }
        eprintln!("crimg: {self}");
        ExitCode::from(match self {
            Self::Usage { .. } => 2,
            Self::Defect { error, .. } => return Outcome::of(&error.kind).exit_code(),
            Self::Malformed { .. } => 3,
            Self::Unsupported { .. } => 4,
            Self::Read { .. } | Self::Output { .. } | Self::Write(_) => 6,
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage { message, remedy } => write!(f, "{message}\n  {remedy}"),
            Self::Defect { image, error } => write!(
                f,
                "{}: {error}\n  {}",
                escape::text(image.as_bytes()),
                remedy(&error.kind)
            ),
            Self::Malformed {
                file,
                place,
                message,
                remedy,
            } => write!(
                f,
                "{}: {}: {}\n  {remedy}",
                escape::text(file.as_bytes()),
                escape::text(place.as_bytes()),
                // Serializers' messages quote what they found.
                escape::text(message.as_bytes()),
            ),
            Self::Unsupported {
                file,
                message,
                remedy,
            } => write!(
                f,
                "{}: {message}\n  {remedy}",
                escape::text(file.as_bytes())
            ),
            Self::Output { path, error } => write!(
                f,
                "{}: cannot be written: {error}\n  Nothing was changed there.",
                escape::text(path.as_os_str().as_encoded_bytes())
            ),
            Self::Read { image, error } => write!(
                f,
                "{}: cannot be read: {error}\n  Give the path of an image, or - for standard input.",
                escape::text(image.as_bytes())
            ),
            Self::Write(error) => write!(f, "the output cannot be written: {error}"),
        }
    }
}

/// What the user can do about a defect.
pub fn remedy(kind: &ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Rule("SUPER-1") => "This is no image of crkit, or a transfer in text mode has changed it.",
        ErrorKind::BadChecksum { .. } => {
            "The bytes were damaged in storage or transfer. Take another copy of the image, or checkpoint again."
        }
        ErrorKind::Truncated { .. } => {
            "The end is missing: the checkpoint was interrupted or the copy is incomplete. Copy or checkpoint again."
        }
        ErrorKind::Rule(_) => {
            "The image was changed after the checkpoint, or its writer has a fault. Restart refuses it; checkpoint again."
        }
        ErrorKind::Unsupported(_) => "The image is newer than this crimg. Take the crimg of the release that wrote it.",
        ErrorKind::OverLimit { .. } => "Restart has the same limit. The process is too large, or the image was changed.",
        ErrorKind::NoSpace => "Free some memory and try again.",
    }
}
