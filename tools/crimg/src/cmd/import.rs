// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `crimg import`: an image from the form of other programs.

use crate::{
    core_file::import_args,
    error::{Failure, Outcome},
    json_image,
    output::Output,
};

/// Make an image from the form of other programs.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    Core(import_args::Args),
    Json(json_image::import::Args),
}

/// # Errors
/// [`Failure`].
pub fn run(args: &Args, out: &mut Output) -> Result<Outcome, Failure> {
    match &args.what {
        What::Core(args) => import_args::run(args, out),
        What::Json(args) => json_image::import::run(args, out),
    }
}
