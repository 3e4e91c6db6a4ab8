// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Progress of long work, on standard error, for a person at a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;

/// Work of fewer bytes shows no bar.
const SHOWN_FROM: u64 = 256 << 20;

/// A bar over `len` bytes; hidden off a terminal, and for work that is over before one can read it.
pub fn bar(len: u64, label: &str) -> ProgressBar {
    if len < SHOWN_FROM || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(len), ProgressDrawTarget::stderr_with_hz(8));
    let template = "{msg} {wide_bar} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_message(label.to_owned());
    bar
}
