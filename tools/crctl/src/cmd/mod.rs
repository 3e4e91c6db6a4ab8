// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! The sub-commands: dispatch, and how every failure ends.

mod check;
mod checkpoint;
mod docs;
mod load;
mod patience;
mod restart;
mod status;
mod unload;

use crate::cli::{Cli, Command};
use crate::error::{Class, Failure, Family, Result};
use crate::report::Note;
use crate::say;
use serde_json::{json, Value};
use std::process::ExitCode;

/// Runs the command and returns its exit code.
pub fn run(cli: &Cli) -> ExitCode {
    let json = cli.json;
    let (name, family, result) = match &cli.command {
        Command::Check(args) => ("check", Family::Checkpoint, check::run(args, json)),
        Command::Checkpoint(args) => (
            "checkpoint",
            Family::Checkpoint,
            checkpoint::run(args, json),
        ),
        Command::Restart(args) => ("restart", Family::Restart, restart::run(args, json)),
        Command::Load(args) => ("load", Family::Checkpoint, load::run(args, json)),
        Command::Unload => ("unload", Family::Checkpoint, unload::run(json)),
        Command::Status => ("status", Family::Checkpoint, status::run(json)),
        Command::Completions { shell } => {
            ("completions", Family::Checkpoint, docs::completions(*shell))
        }
        Command::Man { command } => ("man", Family::Checkpoint, docs::man(command.as_deref())),
    };
    ExitCode::from(result.unwrap_or_else(|failure| fail(&failure, name, family, json)))
}

/// Reports a failure; its exit code.
fn fail(failure: &Failure, name: &str, family: Family, json: bool) -> u8 {
    let code = failure.class.exit_code(family);
    if json {
        let _ = say::stdout(&format!("{}\n", failure.to_json(name, code)));
    }
    say::stderr(&failure.render(name));
    code
}

/// Prints `text` on stdout.
fn print(text: &str) -> Result<()> {
    say::stdout(text).map_err(|e| Failure::io("standard output", &e))
}

/// Prints notes of the kernel for people.
fn print_notes(command: &str, notes: &[Note]) {
    for note in notes {
        say::stderr(&format!("crctl {command}: note: {}", note.render()));
    }
}

/// Notes for `--json`.
fn notes_json(notes: &[Note]) -> Value {
    use crate::report::lossy;
    notes
        .iter()
        .map(|n| json!({"word": lossy(&n.word), "message": lossy(&n.message)}))
        .collect()
}

/// An ioctl that never fails by itself failed: the modules are not what they claim.
fn unexpected(what: &str, err: &std::io::Error) -> Failure {
    Failure::new(
        Class::Other,
        format!("{what}: {}", crate::sys::error_text(err)),
    )
}
