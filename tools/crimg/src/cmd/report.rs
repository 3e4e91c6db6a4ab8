// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `crimg report`: an image as one HTML page.

use crate::{
    atomic::AtomicFile,
    error::{Failure, Outcome},
    escape, json, number,
    output::Output,
    report,
};
use serde_json::json;
use std::{io::Write, path::Path};

/// Write an image as one HTML page, with the memory map drawn.
///
/// The page is readable on a phone and without a network: it has no scripts and loads nothing. Contents of
/// memory are not in it, but paths, arguments and names are; see `crimg redact` to remove those first.
/// A damaged image is shown as far as it goes, and the exit status says so.
#[derive(clap::Args)]
pub struct Args {
    /// The image; `-` is standard input, whose page data is not checked.
    image: String,
    /// Write the page to this file; `-` is standard output.
    #[arg(short, long, value_name = "FILE")]
    output: String,
    /// Show this process, by its id. Without it, the first one; the page names the others.
    #[arg(long, value_name = "N")]
    pid: Option<u64>,
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
    if args.output == "-" && args.json {
        return Err(Failure::Usage {
            message: "--json and a page cannot both go to standard output".to_owned(),
            remedy: "Give a file with -o.".to_owned(),
        });
    }
    let (page, outcome) = report::report(&args.image, args.pid)?;
    if args.output == "-" {
        out.bytes(page.as_bytes())?;
        return Ok(outcome);
    }
    let mut file = AtomicFile::create(Path::new(&args.output), args.force)?;
    let written = file.file.write_all(page.as_bytes());
    written.map_err(|e| file.failed(e))?;
    file.commit()?;
    if args.json {
        out.json(&json!({
            "crimg_schema": json::SCHEMA,
            "command": "report",
            "image": json::text(args.image.as_bytes()),
            "output": json::text(args.output.as_bytes()),
            "bytes": page.len(),
            "verdict": outcome.word(),
        }))?;
    } else {
        out.field(
            "page",
            format_args!(
                "{}, {}",
                escape::text(args.output.as_bytes()),
                number::size(page.len() as u64)
            ),
        )?;
        out.field("image", outcome.word())?;
    }
    Ok(outcome)
}
