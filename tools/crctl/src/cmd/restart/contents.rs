// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `--files=content`: brings files back that are missing or have changed, before the kernel compares them with the image.

use crate::error::{Class, Failure, Result};
use crate::report::Note;
use crimg::contents::{self, Why};
use crimg::error::Failure as Trouble;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// Brings back what can be, and says what has been.
pub fn bring_back(image: &Path, is_stdin: bool) -> Result<Vec<Note>> {
    if is_stdin {
        return Err(Failure::new(
            Class::Usage,
            "--files=content reads the image more than once, and standard input can be read once",
        )
        .remedy("Store the image in a file first."));
    }
    let done = contents::bring_back(image).map_err(failure)?;
    let note = |(path, why): (PathBuf, Why)| {
        let mut message = path.into_os_string().into_vec();
        let what = format!(" was {}: brought back from the image", why.word());
        message.extend(what.bytes());
        Note {
            word: b"files".to_vec(),
            message,
        }
    };
    Ok(done.into_iter().map(note).collect())
}

/// The same trouble in the words of crctl.
fn failure(trouble: Trouble) -> Failure {
    let class = match &trouble {
        Trouble::Usage { .. } => Class::Host,
        Trouble::Defect { .. } | Trouble::Malformed { .. } => Class::Malformed,
        Trouble::Unsupported { .. } => Class::Unsupported,
        Trouble::Output { error, .. } | Trouble::Read { error, .. } | Trouble::Write(error) => {
            return match error.kind() {
                std::io::ErrorKind::PermissionDenied => two(Class::NotPermitted, &trouble),
                std::io::ErrorKind::NotFound => two(Class::Host, &trouble),
                _ => two(Class::Io, &trouble),
            }
        }
    };
    two(class, &trouble)
}

/// What crimg says stands on two lines: cause and remedy.
fn two(class: Class, trouble: &Trouble) -> Failure {
    let text = trouble.to_string();
    let (cause, remedy) = text.split_once('\n').unwrap_or((&text, ""));
    Failure::new(class, cause).remedy(remedy.trim())
}
