// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Makes text of unknown origin (process names, paths, the kernel's messages) safe to print on a terminal.

use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;

/// `bytes` with everything escaped that could steer a terminal or fool a reader: control characters, bytes that
/// are no UTF-8, characters that are invisible or change the writing direction, and the backslash itself.
pub fn text(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            push(&mut out, c);
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

/// A path, as [`text`].
pub fn path(path: impl AsRef<std::path::Path>) -> String {
    text(path.as_ref().as_os_str().as_bytes())
}

fn push(out: &mut String, c: char) {
    let _ = match c {
        '\\' => write!(out, "\\\\"),
        '\n' => write!(out, "\\n"),
        '\t' => write!(out, "\\t"),
        '\r' => write!(out, "\\r"),
        '\0'..='\x1f' | '\x7f' => write!(out, "\\x{:02x}", u32::from(c)),
        c if is_deceptive(c) => write!(out, "\\u{{{:x}}}", u32::from(c)),
        c => write!(out, "{c}"),
    };
}

/// C1 controls, marks of writing direction, zero-width characters, line separators, the byte order mark, tags.
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
        assert_eq!(
            text("python3 – größer/日本".as_bytes()),
            "python3 – größer/日本"
        );
        assert_eq!(text(b""), "");
    }

    #[test]
    fn what_steers_a_terminal_is_escaped() {
        assert_eq!(text(b"\x1b[2Jevil\x07"), "\\x1b[2Jevil\\x07");
        assert_eq!(text(b"a\nb\tc\rd\x7f\0"), "a\\nb\\tc\\rd\\x7f\\x00");
        assert_eq!(text("\u{9b}31m".as_bytes()), "\\u{9b}31m");
    }

    #[test]
    fn what_fools_a_reader_is_escaped() {
        assert_eq!(
            text("a\u{202e}b\u{200b}c".as_bytes()),
            "a\\u{202e}b\\u{200b}c"
        );
        assert_eq!(text(b"\xff\xfeok\xc3"), "\\xff\\xfeok\\xc3");
        assert_eq!(text(b"\\x1b"), "\\\\x1b");
    }
}
