// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Standard output: buffered, and every error of it kept apart from those of the image. And standard error.

use crate::error::Failure;
use std::{
    fmt,
    io::{self, BufWriter, IsTerminal, Write},
};

/// Where a command prints: standard output and standard error, or buffers of a test.
pub struct Output {
    data: BufWriter<Box<dyn Write>>,
    messages: Box<dyn Write>,
}

impl Default for Output {
    fn default() -> Self {
        Self::new()
    }
}

impl Output {
    pub fn new() -> Self {
        Self::to(Box::new(io::stdout().lock()), Box::new(io::stderr()))
    }

    /// Prints into something else.
    pub fn to(data: Box<dyn Write>, messages: Box<dyn Write>) -> Self {
        Self {
            data: BufWriter::new(data),
            messages,
        }
    }

    /// Tells the user something that is not what the command was asked for: a line on standard error. Texts of an
    /// image must be escaped.
    pub fn message(&mut self, line: impl fmt::Display) {
        // In one piece, so that lines of several programs do not mix. Nobody can be told of a failure.
        let _ = self.messages.write_all(format!("{line}\n").as_bytes());
    }

    /// Writes raw bytes: contents that the user asked for, or a document that is escaped already.
    ///
    /// # Errors
    /// [`Failure::Write`].
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.data.write_all(bytes).map_err(Failure::Write)
    }

    /// Writes one line.
    ///
    /// # Errors
    /// [`Failure::Write`].
    pub fn line(&mut self, line: impl fmt::Display) -> Result<(), Failure> {
        writeln!(self.data, "{line}").map_err(Failure::Write)
    }

    /// Writes a line `label  value`.
    ///
    /// # Errors
    /// [`Failure::Write`].
    pub fn field(&mut self, label: &str, value: impl fmt::Display) -> Result<(), Failure> {
        let label = crate::style::bold(&format!("{label:<12}"));
        self.line(format_args!("{label} {value}"))
    }

    /// Writes a document in JSON, with everything escaped that could steer a terminal.
    ///
    /// # Errors
    /// [`Failure::Write`].
    pub fn json(&mut self, document: &impl serde::Serialize) -> Result<(), Failure> {
        let mut escaped = EscapedJson(&mut self.data);
        serde_json::to_writer_pretty(&mut escaped, document)
            .map_err(|e| Failure::Write(e.into()))?;
        self.line("")
    }

    /// Writes out what is buffered.
    ///
    /// # Errors
    /// [`Failure::Write`].
    pub fn finish(&mut self) -> Result<(), Failure> {
        self.data.flush().map_err(Failure::Write)
    }

    /// Is it a terminal?
    pub fn is_terminal() -> bool {
        io::stdout().is_terminal()
    }
}

/// Escapes on the way out. The serializer hands over whole characters in each call.
struct EscapedJson<'w>(&'w mut BufWriter<Box<dyn Write>>);

impl Write for EscapedJson<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match std::str::from_utf8(buf) {
            Ok(text) if !text.is_ascii() || buf.contains(&0x7f) => {
                self.0.write_all(crate::escape::json(text).as_bytes())?;
            }
            _ => self.0.write_all(buf)?,
        }
        Ok(buf.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Columns of the terminal; `None` off a terminal.
pub fn width() -> Option<u16> {
    let table = comfy_table::Table::new();
    if Output::is_terminal() {
        table.width()
    } else {
        None
    }
}

/// A table without lines that fits the terminal; off a terminal it is as wide as it needs, one row per line.
pub fn table<const N: usize>(header: [&str; N]) -> comfy_table::Table {
    let mut table = comfy_table::Table::new();
    table
        .load_style(comfy_table::presets::NOTHING)
        .set_header(header);
    if Output::is_terminal() {
        table.set_content_arrangement(comfy_table::ContentArrangement::Dynamic);
    }
    table
}

/// Lets only column `flexible` be wrapped when the terminal is too narrow.
pub fn wrap_only(table: &mut comfy_table::Table, flexible: usize) {
    for (n, column) in table.column_iter_mut().enumerate() {
        if n != flexible {
            column.set_constraint(comfy_table::ColumnConstraint::ContentWidth);
        }
    }
}

/// The lines of a table, without blanks at their ends.
///
/// # Errors
/// [`Failure::Write`].
pub fn print(table: &comfy_table::Table, out: &mut Output) -> Result<(), Failure> {
    for line in table.lines() {
        out.line(line.trim_end())?;
    }
    Ok(())
}
