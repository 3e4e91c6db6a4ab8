// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `crimg`: look at checkpoint images and check them.
//!
//! The command line; everything else is in `lib.rs`.

use clap::{CommandFactory, Parser, Subcommand};
use crimg::{cmd, output, style};
use std::process::ExitCode;

/// Look at checkpoint images of crkit and check them.
#[derive(Parser)]
#[command(name = "crimg", version, after_help = EXIT_CODES)]
struct Args {
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

Messages go to standard error, each with cause, place and remedy. With --json a command prints one document,
described in JSON.md and by `crimg schema --documents`.";

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

fn main() -> ExitCode {
    let args = Args::parse();
    style::set(args.color);
    let mut out = output::Output::new();
    let result = match &args.command {
        Command::Bt(args) => cmd::bt::run(args, &mut out),
        Command::Completions(args) => cmd::completions::run(args, Args::command(), &mut out),
        Command::Diff(args) => cmd::diff::run(args, &mut out),
        Command::Export(args) => cmd::export::run(args, &mut out),
        Command::Import(args) => cmd::import::run(args, &mut out),
        Command::Join(args) => cmd::join::run(args, &mut out),
        Command::Mem(args) => cmd::mem::run(args, &mut out),
        Command::Man(args) => cmd::man::run(args, Args::command(), &mut out),
        Command::Patch(args) => cmd::patch::run(args, &mut out),
        Command::Redact(args) => cmd::redact::run(args, &mut out),
        Command::Repack(args) => cmd::repack::run(args, &mut out),
        Command::Report(args) => cmd::report::run(args, &mut out),
        Command::Schema(args) => cmd::schema::run(args, &mut out),
        Command::Show(args) => cmd::show::run(args, &mut out),
        Command::Split(args) => cmd::split::run(args, &mut out),
        Command::Verify(args) => cmd::verify::run(args, &mut out),
    };
    let result = result.and_then(|outcome| out.finish().map(|()| outcome));
    match result {
        Ok(outcome) => outcome.exit_code(),
        Err(failure) => failure.report(),
    }
}
