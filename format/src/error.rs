// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! The one error type: what is wrong, in which section, where.

use core::fmt;

/// Result of this crate.
pub type Result<T = (), E = Error> = core::result::Result<T, E>;

/// What is wrong. The first two and [`ErrorKind::Rule`] say *malformed*; `Unsupported` and `OverLimit`
/// say *this reader cannot*; the difference decides the errno and the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// A CRC-32 in the image is not that of the bytes it covers.
    BadChecksum {
        /// The value in the image.
        stored: u32,
        /// The value of the bytes.
        computed: u32,
    },
    /// The image ends, or a record or field claims more bytes than there are.
    Truncated {
        /// Bytes that are needed from `offset` on.
        need: u64,
        /// Bytes that are there.
        have: u64,
    },
    /// A rule of the specification is broken; see [`crate::rule_text`].
    Rule(&'static str),
    /// Valid as far as known, but this reader does not know it; the text names it.
    Unsupported(&'static str),
    /// More than this reader takes.
    OverLimit {
        /// What the image asks for.
        asked: u64,
        /// What is allowed.
        limit: u64,
    },
    /// The output has no room, or memory is short; not a fault of the image.
    NoSpace,
}

/// An error with its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error {
    /// What is wrong.
    pub kind: ErrorKind,
    /// Section id, 0 for the container itself.
    pub section: u16,
    /// Container: byte offset in the image. Record: byte offset in the section, that is in all
    /// `META` payloads of the section joined in order.
    pub offset: u64,
}

impl Error {
    /// An error of `kind` in the container at `offset`.
    pub const fn at(kind: ErrorKind, offset: u64) -> Self {
        Self {
            kind,
            section: 0,
            offset,
        }
    }
    /// The rule `id` is broken, at no particular place yet.
    pub const fn rule(id: &'static str) -> Self {
        Self::at(ErrorKind::Rule(id), 0)
    }
    /// `what` is not known to this reader.
    pub const fn unsupported(what: &'static str) -> Self {
        Self::at(ErrorKind::Unsupported(what), 0)
    }
    /// `asked` is more than `limit`.
    pub const fn over_limit(asked: u64, limit: u64) -> Self {
        Self::at(ErrorKind::OverLimit { asked, limit }, 0)
    }
    /// A sink is full.
    pub const fn no_space() -> Self {
        Self::at(ErrorKind::NoSpace, 0)
    }
    /// `need` bytes are needed, `have` are there.
    pub const fn truncated(need: u64, have: u64) -> Self {
        Self::at(ErrorKind::Truncated { need, have }, 0)
    }
    /// The same error, placed.
    pub const fn placed(self, section: u16, offset: u64) -> Self {
        Self {
            kind: self.kind,
            section,
            offset,
        }
    }
    /// The broken rule, if that is what happened.
    pub const fn rule_id(&self) -> Option<&'static str> {
        match self.kind {
            ErrorKind::Rule(id) => Some(id),
            _ => None,
        }
    }
    /// Is the image itself bad (rather than newer than this reader, over its limits, or an I/O matter)?
    pub const fn is_malformed(&self) -> bool {
        matches!(
            self.kind,
            ErrorKind::BadChecksum { .. } | ErrorKind::Truncated { .. } | ErrorKind::Rule(_)
        )
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadChecksum { stored, computed } => {
                write!(
                    f,
                    "checksum {stored:#010x} stored, {computed:#010x} computed"
                )
            }
            Self::Truncated { need, have } => write!(f, "{need} bytes needed, {have} left"),
            Self::Rule(id) => write!(f, "{} ({id})", crate::rule_text(id)),
            Self::Unsupported(what) => write!(f, "not supported: {what}"),
            Self::OverLimit { asked, limit } => write!(f, "{asked} is more than the limit {limit}"),
            Self::NoSpace => f.write_str("no space for the output"),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match crate::sections::word(self.section) {
            Some(word) => write!(f, "{word} at {:#x}: {}", self.offset, self.kind),
            None if self.section == 0 => write!(f, "image at {:#x}: {}", self.offset, self.kind),
            None => write!(
                f,
                "section {:#06x} at {:#x}: {}",
                self.section, self.offset, self.kind
            ),
        }
    }
}

impl core::error::Error for Error {}

/// `Ok` if `holds`, else the broken rule `id`.
pub(crate) fn ensure(holds: bool, id: &'static str) -> Result {
    if holds {
        Ok(())
    } else {
        Err(Error::rule(id))
    }
}
