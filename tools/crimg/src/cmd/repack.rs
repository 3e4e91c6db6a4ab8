// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `crimg repack`: the same image, stored in another way.

use crate::{
    error::{Failure, Outcome},
    escape,
    file::ImageFile,
    json, number,
    output::Output,
    repack::{self, pack::Shrink, Codec, Options, Report},
    rewrite::{target, Target},
};
use serde_json::json;

/// Store an image in another way: compressed or raw, without zero pages, equal pages once.
///
/// The process in the image stays the same: only how its memory is stored changes. Without any of the
/// options the result is the image itself, byte for byte. The new file appears only when it is complete.
///
/// To remove passwords and other texts before an image is given away, see `crimg redact`.
#[derive(clap::Args)]
pub struct Args {
    /// The image; `-` is standard input, of which a copy is made in $TMPDIR.
    image: String,
    /// Write the new image to this file; `-` is standard output.
    #[arg(short, long, value_name = "FILE", required_unless_present = "in_place")]
    output: Option<String>,
    /// Put the new image in the place of the old one, whole or not at all.
    #[arg(long, conflicts_with = "output")]
    in_place: bool,
    /// Compress page data with zstd, at level 1 (fast) to 19 (small). A chunk that does not shrink by a
    /// block of 4096 bytes stays raw. Without --zstd and --raw, each chunk stays as it is.
    #[arg(long, value_name = "LEVEL", num_args = 0..=1, require_equals = true, default_missing_value = "3",
          value_parser = clap::value_parser!(i32).range(1..=19))]
    zstd: Option<i32>,
    /// Store all page data raw, for the fastest restart and for sharing between files.
    #[arg(long, conflicts_with = "zstd")]
    raw: bool,
    /// Do not store pages that are all zero, only note them; join chunks that have shrunk.
    #[arg(long)]
    strip_zero: bool,
    /// Store equal pages of neighbouring chunks once; join chunks that have shrunk.
    #[arg(long)]
    dedup: bool,
    /// Leave all page data out, for a bug report about the metadata. The result cannot be restarted.
    #[arg(long, conflicts_with_all = ["zstd", "raw", "strip_zero", "dedup"])]
    no_pages: bool,
    /// Threads that compress; 0 is as many as the machine has.
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: usize,
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
    let options = Options {
        codec: match (args.zstd, args.raw) {
            (Some(level), _) => Codec::Zstd(level),
            (None, true) => Codec::Raw,
            (None, false) => Codec::Keep,
        },
        shrink: Shrink {
            strip_zero: args.strip_zero,
            dedup: args.dedup,
        },
        no_pages: args.no_pages,
        threads: args.threads,
    };
    let output = destination(args.output.as_deref(), args.force, args.json)?;
    let file = ImageFile::open(&args.image)?;
    let report = repack::repack(&file, &options, output, true)?;
    let name = args.output.as_deref().unwrap_or(&args.image);
    if args.json {
        out.json(&document(args, &options, &report, name))?;
    } else if name != "-" {
        print(&options, &report, name, out)?;
    }
    Ok(Outcome::Sound)
}

/// Where a new image goes: `None` is the place of the old one.
///
/// # Errors
/// [`Failure::Usage`] for an image on a terminal, or between the lines of a report.
pub fn destination(output: Option<&str>, force: bool, json: bool) -> Result<Target, Failure> {
    let Some(output) = output else {
        return Ok(Target::InPlace);
    };
    let usage = |message: &str, remedy: &str| {
        Err(Failure::Usage {
            message: message.to_owned(),
            remedy: remedy.to_owned(),
        })
    };
    if output == "-" && json {
        return usage(
            "--json and an image cannot both go to standard output",
            "Give a file with -o.",
        );
    }
    if output == "-" && Output::is_terminal() {
        return usage(
            "an image is not for a terminal",
            "Redirect standard output, or give a file with -o.",
        );
    }
    Ok(target(output, force))
}

/// `a` in percent of `b`, one decimal.
pub fn percent(a: u64, b: u64) -> String {
    let tenths = u128::from(a)
        .saturating_mul(1000)
        .checked_div(b.into())
        .unwrap_or(0);
    format!("{}.{} %", tenths / 10, tenths % 10)
}

fn print(options: &Options, r: &Report, name: &str, out: &mut Output) -> Result<(), Failure> {
    let (a, b) = (&r.before, &r.after);
    out.field(
        "image",
        format_args!(
            "{}, {} instead of {} ({})",
            escape::text(name.as_bytes()),
            number::size(b.bytes),
            number::size(a.bytes),
            percent(b.bytes, a.bytes)
        ),
    )?;
    out.field(
        "chunks",
        format_args!(
            "{}, {} compressed; there were {}, {} compressed",
            b.chunks, b.compressed, a.chunks, a.compressed
        ),
    )?;
    out.field(
        "pages",
        format_args!(
            "{} stored, {} equal to one of them, {} zero; there were {}, {}, {}",
            b.stored, b.duplicate, b.zero, a.stored, a.duplicate, a.zero
        ),
    )?;
    let kept = match r.written.copied {
        0 => "",
        n if n >= b.bytes / 2 => ", most chunks as they were",
        _ => ", some chunks as they were",
    };
    let what = match options.describe() {
        text if text.is_empty() => "nothing changed".to_owned(),
        text => text,
    };
    out.field("done", format_args!("{what}{kept}"))?;
    if options.no_pages {
        out.field("restart", "no: marked as made for looking at only")?;
    }
    Ok(())
}

fn document(args: &Args, options: &Options, r: &Report, name: &str) -> serde_json::Value {
    let side = |c: &repack::Census| {
        json!({
            "bytes": json::integer(c.bytes),
            "chunks": json::integer(c.chunks),
            "compressed_chunks": json::integer(c.compressed),
            "stored_pages": json::integer(c.stored),
            "duplicate_pages": json::integer(c.duplicate),
            "zero_pages": json::integer(c.zero),
        })
    };
    json!({
        "crimg_schema": json::SCHEMA,
        "command": "repack",
        "image": json::text(args.image.as_bytes()),
        "output": json::text(name.as_bytes()),
        "uuid": number::uuid(&r.written.uuid),
        "operation": options.describe(),
        "restartable": !options.no_pages,
        "before": side(&r.before),
        "after": side(&r.after),
        "copied_bytes": json::integer(r.written.copied),
    })
}
