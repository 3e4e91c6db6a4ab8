// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `PREFIX.json`: which pieces make which image.
//!
//! ```json
//! {"crimg_schema": 1, "split": 1, "uuid": "…", "bytes": 5000, "pieces": [{"name": "a.000", "bytes": 4096, "crc32": "0x…"}, …]}
//! ```

use crate::{error::Failure, json, number};
use serde_json::{json, Value};
use std::path::Path;

/// Longest manifest that is read, bytes: that of 10000 pieces with long names.
pub const LONGEST: u64 = 16 << 20;
/// Version of the manifest.
const VERSION: u64 = 1;

/// One piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// File name, without a folder.
    pub name: String,
    /// Length.
    pub bytes: u64,
    /// CRC-32 of its bytes.
    pub crc32: u32,
}

/// The pieces of an image, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Id of the image.
    pub uuid: [u8; 16],
    /// Length of the image.
    pub bytes: u64,
    /// The pieces.
    pub pieces: Vec<Piece>,
}

impl Manifest {
    /// The document.
    pub fn value(&self) -> Value {
        let piece = |p: &Piece| json!({"name": p.name, "bytes": json::integer(p.bytes), "crc32": format!("{:#010x}", p.crc32)});
        json!({
            "crimg_schema": json::SCHEMA,
            "split": VERSION,
            "uuid": number::uuid(&self.uuid),
            "bytes": json::integer(self.bytes),
            "pieces": self.pieces.iter().map(piece).collect::<Vec<_>>(),
        })
    }

    /// The text of the file.
    pub fn to_json(&self) -> String {
        format!("{:#}\n", self.value())
    }

    /// Reads it; `file` is its name, for messages.
    ///
    /// # Errors
    /// [`Failure::Malformed`].
    pub fn parse(text: &[u8], file: &str) -> Result<Self, Failure> {
        let bad = |place: String, message: &str| Failure::Malformed {
            file: file.to_owned(),
            place,
            message: message.to_owned(),
            remedy: "Take another copy of it, or split the image again.".to_owned(),
        };
        let value: Value = serde_json::from_slice(text)
            .map_err(|e| bad(format!("line {}", e.line()), "it is no JSON document"))?;
        if value.get("split").and_then(Value::as_u64) != Some(VERSION) {
            return Err(bad(
                "/split".into(),
                "it does not describe pieces of an image",
            ));
        }
        let uuid = value.get("uuid").and_then(Value::as_str).and_then(uuid);
        let pieces = value.get("pieces").and_then(Value::as_array);
        let pieces = pieces.ok_or_else(|| bad("/pieces".into(), "the list is missing"))?;
        let mut manifest = Self {
            uuid: uuid.ok_or_else(|| bad("/uuid".into(), "the id of the image is missing"))?,
            bytes: length(value.get("bytes"))
                .ok_or_else(|| bad("/bytes".into(), "the length of the image is missing"))?,
            pieces: Vec::new(),
        };
        let mut sum = 0_u64;
        for (n, p) in pieces.iter().enumerate() {
            let piece = Piece::parse(p)
                .ok_or_else(|| bad(format!("/pieces/{n}"), "it does not describe a piece"))?;
            if manifest.pieces.iter().any(|other| other.name == piece.name) {
                return Err(bad(
                    format!("/pieces/{n}/name"),
                    "the same file comes twice",
                ));
            }
            sum = sum.saturating_add(piece.bytes);
            manifest.pieces.push(piece);
            if manifest.pieces.len() as u64 > super::PIECES {
                return Err(bad(format!("/pieces/{n}"), "there are too many pieces"));
            }
        }
        if sum != manifest.bytes {
            return Err(bad(
                "/bytes".into(),
                "the lengths of the pieces do not add up to that of the image",
            ));
        }
        Ok(manifest)
    }
}

impl Piece {
    fn parse(value: &Value) -> Option<Self> {
        let name = value.get("name")?.as_str()?;
        let crc32 = value.get("crc32")?.as_str()?.strip_prefix("0x")?;
        // Beside the manifest, nowhere else.
        let plain = !name.is_empty() && !name.contains(['/', '\0']) && name != "." && name != "..";
        plain.then_some(())?;
        Some(Self {
            name: name.to_owned(),
            bytes: length(value.get("bytes"))?,
            crc32: u32::from_str_radix(crc32, 16).ok()?,
        })
    }
}

/// A number, or a decimal string when it is large.
fn length(value: Option<&Value>) -> Option<u64> {
    let value = value?;
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

fn uuid(text: &str) -> Option<[u8; 16]> {
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    if digits.len() != 32 || !digits.is_ascii() {
        return None;
    }
    u128::from_str_radix(&digits, 16)
        .ok()
        .map(u128::to_be_bytes)
}

/// The file name of a piece; it must be UTF-8 to stand in the manifest.
///
/// # Errors
/// [`Failure::Usage`].
pub fn name_of(path: &Path) -> Result<String, Failure> {
    let name = path.file_name().and_then(|n| n.to_str());
    name.map(str::to_owned).ok_or_else(|| Failure::Usage {
        message: "the prefix is no UTF-8 file name".to_owned(),
        remedy: "Give another one with -o.".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let piece = |n: u32, bytes| Piece {
            name: format!("ä \"{n}\""),
            bytes,
            crc32: n,
        };
        Manifest {
            uuid: *b"0123456789abcdef",
            bytes: (1 << 60) + 5,
            pieces: vec![piece(0, 1 << 60), piece(1, 5)],
        }
    }

    #[test]
    fn a_manifest_comes_back_as_it_was() {
        let m = manifest();
        let back = Manifest::parse(m.to_json().as_bytes(), "m").unwrap();
        assert_eq!(back, m);
    }

    #[test]
    fn a_manifest_that_lies_or_leaves_the_folder_is_refused() {
        let text = manifest().to_json();
        for (from, to) in [
            ("\"split\": 1", "\"split\": 2"),
            ("ä", "../ä"),
            ("\\\"1\\\"", "\\\"0\\\""),
            ("\"bytes\": 5", "\"bytes\": 6"),
            ("0x00000001", "0x100000001"),
            ("30313233", "3031323"),
            ("pieces", "parts"),
            ("{", "["),
        ] {
            let bad = text.replacen(from, to, 1);
            assert_ne!(bad, text, "{from}");
            assert!(Manifest::parse(bad.as_bytes(), "m").is_err(), "{from}");
        }
        for len in 0..text.trim_end().len() {
            assert!(Manifest::parse(&text.as_bytes()[..len], "m").is_err());
        }
    }
}
