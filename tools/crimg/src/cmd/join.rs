// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `crimg join`: an image from the pieces of `crimg split`.

use crate::{
    error::{Failure, Outcome},
    escape, json, number,
    output::Output,
    split::join,
};
use serde_json::json;
use std::path::PathBuf;

/// Make an image whole again from the pieces of `crimg split`.
///
/// All pieces are checked against the manifest before anything is written, and the image must have its end.
#[derive(clap::Args)]
pub struct Args {
    /// The prefix, or the manifest PREFIX.json, or pieces; those not named are looked for beside the manifest.
    #[arg(required = true, value_name = "PIECE")]
    pieces: Vec<String>,
    /// Write the image to this file.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Replace an output file that exists.
    #[arg(long)]
    force: bool,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// # Errors
/// [`Failure`].
pub fn run(args: &Args, out: &mut Output) -> Result<Outcome, Failure> {
    let pieces = join::find(&args.pieces)?;
    pieces.join(&args.output, args.force)?;
    let m = &pieces.manifest;
    let output = args.output.as_os_str().as_encoded_bytes();
    if args.json {
        out.json(&json!({
            "crimg_schema": json::SCHEMA,
            "command": "join",
            "output": json::text(output),
            "uuid": number::uuid(&m.uuid),
            "bytes": json::integer(m.bytes),
            "pieces": m.pieces.len(),
        }))?;
    } else {
        let count = number::count(m.pieces.len() as u64, "piece", "pieces");
        out.field(
            "image",
            format_args!(
                "{}, {}, from {count}, all sound",
                escape::text(output),
                number::size(m.bytes)
            ),
        )?;
    }
    Ok(Outcome::Sound)
}
