// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `crimg`: look at checkpoint images and check them.
//!
//! Only `main`; the command line is in `cli.rs`, everything else behind it.

use clap::Parser;
use crimg::{cli::Args, output::Output, style};
use std::process::ExitCode;

fn main() -> ExitCode {
    let args = Args::parse();
    style::set(args.color());
    match args.run(&mut Output::new()) {
        Ok(outcome) => outcome.exit_code(),
        Err(failure) => failure.report(),
    }
}
