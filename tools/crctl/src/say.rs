// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Printing: data to stdout, messages to stderr, and the forms of numbers.

use std::io::{self, Write};

/// Writes `data` to stdout. A reader that went away is a quiet end.
///
/// # Errors
/// Any other failure to write.
pub fn stdout(data: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(data.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Writes one line to stderr. Nothing can be done if that fails.
pub fn stderr(line: &str) {
    let _ = io::stderr()
        .lock()
        .write_all(format!("{line}\n").as_bytes());
}

/// A number of bytes for people (`12.3 MiB`).
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if n < 1024 {
        return format!("{n} bytes");
    }
    // CAST: only for display, where 53 bits of precision are plenty.
    let mut value = n as f64 / 1024.0;
    let mut unit = UNITS[0];
    for next in &UNITS[1..] {
        if value < 1023.95 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    format!("{value:.1} {unit}")
}

/// Nanoseconds as milliseconds for people (`12.3 ms`).
pub fn millis(ns: u64) -> String {
    // CAST: only for display.
    format!("{:.1} ms", ns as f64 / 1e6)
}

/// `1 thread`, `2 threads`.
pub fn count(n: u64, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_readable_forms() {
        assert_eq!(bytes(0), "0 bytes");
        assert_eq!(bytes(1023), "1023 bytes");
        assert_eq!(bytes(1024), "1.0 KiB");
        assert_eq!(bytes(1 << 20), "1.0 MiB");
        assert_eq!(bytes((1 << 20) - 1), "1.0 MiB");
        assert_eq!(bytes(5 << 40), "5.0 TiB");
        assert_eq!(bytes(u64::MAX), "16777216.0 TiB");
        assert_eq!(millis(1_234_567), "1.2 ms");
        assert_eq!(count(1, "thread"), "1 thread");
        assert_eq!(count(0, "thread"), "0 threads");
    }
}
