// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `crimg`: look at checkpoint images and check them.
//!
//! The command line; everything else is in `lib.rs`.

use clap::{Parser, Subcommand};
use crimg::{cmd, output};
use std::process::ExitCode;

/// Look at checkpoint images of crkit and check them.
#[derive(Parser)]
#[command(name = "crimg", version, after_help = EXIT_CODES)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit status: 0 sound or shown · 2 used wrongly · 3 the image is malformed · \
4 the image is newer than this crimg or over its limits · 6 the image cannot be read or the output not written.";

#[derive(Subcommand)]
enum Command {
    Diff(cmd::diff::Args),
    Show(cmd::show::Args),
    Verify(cmd::verify::Args),
}

fn main() -> ExitCode {
    let args = Args::parse();
    let mut out = output::Output::new();
    let result = match &args.command {
        Command::Diff(args) => cmd::diff::run(args, &mut out),
        Command::Show(args) => cmd::show::run(args, &mut out),
        Command::Verify(args) => cmd::verify::run(args, &mut out),
    };
    let result = result.and_then(|outcome| out.finish().map(|()| outcome));
    match result {
        Ok(outcome) => outcome.exit_code(),
        Err(failure) => failure.report(),
    }
}
