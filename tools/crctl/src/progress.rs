// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Progress of large images, on stderr when that is a terminal.

use crate::say;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

/// Images up to this size are too quick for a progress line.
pub const THRESHOLD: u64 = 64 << 20;
/// Time between two looks.
pub const INTERVAL: Duration = Duration::from_millis(250);

/// A line that is rewritten in place, and gone when dropped.
pub struct Line {
    label: String,
    is_enabled: bool,
    is_shown: bool,
}

impl Line {
    /// `label` is printed before the numbers. Prints nothing unless stderr is a terminal.
    pub fn new(label: impl Into<String>) -> Self {
        Self {
            label: label.into(),
            is_enabled: io::stderr().is_terminal(),
            is_shown: false,
        }
    }

    /// Shows that `done` bytes (of `total`, if known) are through.
    pub fn show(&mut self, done: u64, total: Option<u64>) {
        if self.is_enabled && done.max(total.unwrap_or(0)) > THRESHOLD {
            self.is_shown = true;
            // `\x1b[K` removes what a longer text left behind.
            let _ = write!(
                io::stderr(),
                "\r{}: {}\x1b[K",
                self.label,
                render(done, total)
            );
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.is_shown {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

fn render(done: u64, total: Option<u64>) -> String {
    match total {
        Some(total) if total > 0 => {
            let done = done.min(total);
            // CAST: a percentage fits; u128 so that the product does.
            let percent = (u128::from(done) * 100 / u128::from(total)) as u8;
            format!(
                "{} of {} ({percent} %)",
                say::bytes(done),
                say::bytes(total)
            )
        }
        _ => say::bytes(done),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_never_beyond_the_end() {
        assert_eq!(
            render(64 << 20, Some(128 << 20)),
            "64.0 MiB of 128.0 MiB (50 %)"
        );
        assert_eq!(
            render(u64::MAX, Some(128 << 20)),
            "128.0 MiB of 128.0 MiB (100 %)"
        );
        assert_eq!(render(1 << 30, None), "1.0 GiB");
        assert_eq!(render(1 << 30, Some(0)), "1.0 GiB");
    }
}
