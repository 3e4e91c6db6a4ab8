// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! The command line of `crimg`: its sub-commands, and which of them does the work.

use crate::{
    cmd,
    error::{Failure, Outcome},
    output::Output,
    style,
};
use clap::{CommandFactory, Parser, Subcommand};

/// Look at checkpoint images of crkit and check them.
#[derive(Parser)]
#[command(name = "crimg", version, after_help = EXIT_CODES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
    /// When to colour the output.
    #[arg(long, global = true, display_order = 1000, value_enum, value_name = "WHEN", default_value_t = style::Color::Auto, hide_possible_values = true)]
    color: style::Color,
}

const EXIT_CODES: &str = "\
Exit status:
  0  done; shown; sound; the same
  1  the images differ (diff); nothing was found (mem)
  2  used wrongly: options that do not fit together or to the image
  3  the image, or what was to be made one, is malformed: damaged or against a rule of the format
  4  the image is newer than this crimg, or over its limits
  5  the image is sound, but this host cannot restart it (verify --level host)
  6  the image cannot be read, or the output not written

Messages go to standard error, each with cause, place and remedy. With --json a command prints one document, described in JSON.md and by `crimg schema --documents`.";

#[derive(Subcommand)]
enum Command {
    Bt(cmd::bt::Args),
    Completions(cmd::completions::Args),
    Diff(cmd::diff::Args),
    Export(cmd::export::Args),
    Import(cmd::import::Args),
    Join(cmd::join::Args),
    Man(cmd::man::Args),
    Mem(cmd::mem::Args),
    Patch(Box<cmd::patch::Args>),
    Redact(cmd::redact::Args),
    Repack(cmd::repack::Args),
    Report(cmd::report::Args),
    Schema(cmd::schema::Args),
    Show(cmd::show::Args),
    Split(cmd::split::Args),
    Verify(cmd::verify::Args),
}

impl Args {
    /// When the output is to be coloured.
    pub fn color(&self) -> style::Color {
        self.color
    }

    /// Does the work and prints into `out`.
    ///
    /// # Errors
    /// What kept the command from its work.
    pub fn run(&self, out: &mut Output) -> Result<Outcome, Failure> {
        let outcome = match &self.command {
            Command::Bt(args) => cmd::bt::run(args, out),
            Command::Completions(args) => cmd::completions::run(args, Self::command(), out),
            Command::Diff(args) => cmd::diff::run(args, out),
            Command::Export(args) => cmd::export::run(args, out),
            Command::Import(args) => cmd::import::run(args, out),
            Command::Join(args) => cmd::join::run(args, out),
            Command::Mem(args) => cmd::mem::run(args, out),
            Command::Man(args) => cmd::man::run(args, Self::command(), out),
            Command::Patch(args) => cmd::patch::run(args, out),
            Command::Redact(args) => cmd::redact::run(args, out),
            Command::Repack(args) => cmd::repack::run(args, out),
            Command::Report(args) => cmd::report::run(args, out),
            Command::Schema(args) => cmd::schema::run(args, out),
            Command::Show(args) => cmd::show::run(args, out),
            Command::Split(args) => cmd::split::run(args, out),
            Command::Verify(args) => cmd::verify::run(args, out),
        };
        outcome.and_then(|outcome| out.finish().map(|()| outcome))
    }
}
