// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! A whole image as JSON, to be read, edited and made an image again: `export json`, `import json`.
//!
//! What is exported and imported without an edit is the same image, byte for byte: the document says where
//! the image differs from the layout that every writer chooses, and carries compressed page data as it is.
//! What was edited becomes a new image, with a new id, checksums, counts and a record of the edit.
//! Both directions stream: page data passes chunk by chunk, and the metadata is within its limit of
//! 64 MiB. The document is untrusted; nothing of it is kept before its size has been compared with a limit.
//! The contract is in `tools/crimg/JSON.md` and `tools/crimg/schema/image.schema.json`.

pub mod base64;
pub mod bounded;
pub mod codec;
pub mod export;
pub mod import;
pub mod make;
pub mod target;

/// For the help of both commands.
pub const EXIT_CODES: &str =
    "Exit status: 0 done · 2 used wrongly · 3 the image or document is malformed · \
4 the image is newer than this crimg or over its limits · 6 a file cannot be read or written.";

/// Value of the member `document`.
pub const DOCUMENT: &str = "crimg image";

/// What is wrong with a member of the document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    /// Members from the one that was looked at down to the one that is wrong.
    pub path: Vec<String>,
    /// Why.
    pub message: String,
    /// What to do.
    pub remedy: String,
}

impl Issue {
    /// The value itself is wrong.
    pub fn new(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            path: Vec::new(),
            message: message.into(),
            remedy: remedy.into(),
        }
    }
    /// The value is in this member of what was looked at.
    #[must_use]
    pub fn within(mut self, member: impl Into<String>) -> Self {
        self.path.insert(0, member.into());
        self
    }
}

/// A JSON pointer (RFC 6901).
pub fn pointer<'p>(path: impl IntoIterator<Item = &'p String>) -> String {
    let parts = path
        .into_iter()
        .map(|p| p.replace('~', "~0").replace('/', "~1"));
    parts.fold(String::new(), |all, part| all + "/" + &part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_escapes_its_parts() {
        let issue = Issue::new("m", "r").within("a/b~").within("3");
        assert_eq!(pointer(&issue.path), "/3/a~1b~0");
        assert_eq!(pointer(&Vec::new()), "");
    }
}
