// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Makes text from an image safe to print: it is the choice of whoever made the process or the file.

use std::fmt::Write as _;

/// `bytes` for a terminal: controls (C0, C1), marks of writing direction, other invisible characters
/// and bytes that are no UTF-8 are escaped, and so is the backslash.
pub fn text(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            let done = match c {
                '\\' => write!(out, "\\\\"),
                '\n' => write!(out, "\\n"),
                '\t' => write!(out, "\\t"),
                '\r' => write!(out, "\\r"),
                '\0'..='\x1f' | '\x7f' => write!(out, "\\x{:02x}", u32::from(c)),
                c if is_deceptive(c) => write!(out, "\\u{{{:x}}}", u32::from(c)),
                c => write!(out, "{c}"),
            };
            // Writing to a string does not fail.
            let _ = done;
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

/// The same for a document in JSON: `json` is sound JSON, where such characters stand in strings only.
pub fn json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if c == '\x7f' || is_deceptive(c) {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    out
}

/// C1 controls, marks of writing direction, zero-width characters, line separators, the byte order mark,
/// interlinear and tag characters.
fn is_deceptive(c: char) -> bool {
    matches!(c,
        '\u{80}'..='\u{9f}' | '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_text_stays_as_it_is() {
        assert_eq!(text("größer/日本 x=1".as_bytes()), "größer/日本 x=1");
    }

    #[test]
    fn what_steers_a_terminal_or_fools_a_reader_is_escaped() {
        assert_eq!(text(b"a\x1b[2Jb"), "a\\x1b[2Jb");
        assert_eq!(text("\u{9b}2J".as_bytes()), "\\u{9b}2J");
        assert_eq!(text("a\u{202e}txt.exe".as_bytes()), "a\\u{202e}txt.exe");
        assert_eq!(text(b"\xff\n\\"), "\\xff\\n\\\\");
    }

    #[test]
    fn json_stays_the_same_document() {
        let before = serde_json::json!({"a": "x\u{9b}\u{202e}\u{e0041}y\u{7f}"});
        let after = json(&before.to_string());
        assert!(after.is_ascii(), "{after}");
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&after).unwrap(),
            before
        );
    }
}
