// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Colours: on a terminal only, and not with `NO_COLOR` (see no-color.org), unless the user says otherwise.

use crate::output::Output;
use std::sync::atomic::{AtomicBool, Ordering};

/// When to colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set
    #[default]
    Auto,
    /// Also in a pipe
    Always,
    /// Never
    Never,
}

static ON: AtomicBool = AtomicBool::new(false);

/// Decides for the whole program; without this call nothing is coloured.
pub fn set(color: Color) {
    let on = match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => {
            let unwanted = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
            let dumb = std::env::var_os("TERM").is_some_and(|t| t == "dumb");
            !unwanted && !dumb && Output::is_terminal()
        }
    };
    ON.store(on, Ordering::Relaxed);
}

fn paint(code: &str, text: &str) -> String {
    if ON.load(Ordering::Relaxed) && !text.is_empty() {
        format!("\x1b[{code}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

/// A heading, a label.
pub fn bold(text: &str) -> String {
    paint("1", text)
}

/// Something that is as it should be.
pub fn good(text: &str) -> String {
    paint("32", text)
}

/// Something to look at.
pub fn warn(text: &str) -> String {
    paint("33", text)
}

/// Something that is wrong.
pub fn bad(text: &str) -> String {
    paint("1;31", text)
}

/// Something of less interest.
pub fn dim(text: &str) -> String {
    paint("2", text)
}
