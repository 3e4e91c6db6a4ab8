// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! What may be printed: text that does not steer a terminal and does not fool its reader.

use serde_json::Value;

/// Text for a terminal: lines of visible characters.
pub fn text(bytes: &[u8]) -> &str {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(e) => panic!("no text: {e}: {}", String::from_utf8_lossy(bytes)),
    };
    for c in text.chars() {
        let code = u32::from(c);
        let steers = c.is_control() && c != '\n';
        // Marks of direction, zero width, line separators, tags: Unicode's Cf but for the soft ones of scripts.
        let fools = matches!(code, 0xad | 0x61c | 0x180e | 0x200b..=0x200f | 0x2028..=0x202e | 0x2060..=0x206f
            | 0xfeff | 0xfff9..=0xfffb | 0xe0000..=0xe007f);
        assert!(!steers && !fools, "U+{code:04x} in {text:?}");
    }
    text
}

/// One document.
pub fn json(bytes: &[u8]) -> Value {
    let text = text(bytes);
    serde_json::from_str(text).unwrap_or_else(|e| panic!("no JSON: {e}: {text}"))
}
