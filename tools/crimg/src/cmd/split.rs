// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `crimg split`: an image in pieces.

use crate::{
    error::{Failure, Outcome},
    escape,
    file::ImageFile,
    number,
    output::Output,
    split::{self, manifest_path},
};
use std::{io, path::PathBuf};

/// Cut an image into pieces of a size, for media and services with a limit.
///
/// The pieces are PREFIX.000, PREFIX.001, … and `cat PREFIX.[0-9]*` is the image. PREFIX.json names them
/// with their checksums, so that `crimg join` finds missing, mixed and damaged ones.
#[derive(clap::Args)]
pub struct Args {
    /// The image; `-` is standard input, which is cut as it comes.
    image: String,
    /// Bytes of each piece but the last; K, M, G and T are powers of 1024.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    size: u64,
    /// Begin the names of the pieces with this; without it, with the name of the image.
    #[arg(short, long, value_name = "PREFIX")]
    output: Option<PathBuf>,
    /// Replace files that exist.
    #[arg(long)]
    force: bool,
    /// Print the manifest.
    #[arg(long)]
    json: bool,
}

/// `2G`, `650M`, `4096`.
///
/// # Errors
/// What is wrong with it, for clap.
pub fn size(text: &str) -> Result<u64, String> {
    let text = text.trim_end_matches(['B', 'b']).trim_end_matches('i');
    let (digits, shift) = match text.as_bytes().last() {
        Some(b'k' | b'K') => (&text[..text.len() - 1], 10),
        Some(b'm' | b'M') => (&text[..text.len() - 1], 20),
        Some(b'g' | b'G') => (&text[..text.len() - 1], 30),
        Some(b't' | b'T') => (&text[..text.len() - 1], 40),
        _ => (text, 0),
    };
    let n = digits.parse::<u64>().ok();
    n.and_then(|n| n.checked_mul(1 << shift))
        .filter(|n| *n > 0)
        .ok_or_else(|| "a size is a number above 0 with K, M, G, T or nothing, like 2G".to_owned())
}

/// # Errors
/// [`Failure`].
pub fn run(args: &Args, out: &mut Output) -> Result<Outcome, Failure> {
    let prefix = match (&args.output, args.image.as_str()) {
        (Some(prefix), _) => prefix.clone(),
        (None, "-") => {
            return Err(Failure::Usage {
                message: "standard input has no name for the pieces to begin with".to_owned(),
                remedy: "Give a prefix with -o.".to_owned(),
            })
        }
        (None, image) => PathBuf::from(image),
    };
    let manifest = if args.image == "-" {
        split::split_stream(
            io::stdin(),
            "standard input",
            args.size,
            &prefix,
            args.force,
        )?
    } else {
        let file = ImageFile::open(&args.image)?;
        split::split(&file, args.size, &prefix, args.force)?
    };
    if args.json {
        out.json(&manifest.value())?;
        return Ok(Outcome::Sound);
    }
    let path = |p: &std::path::Path| escape::text(p.as_os_str().as_encoded_bytes());
    let shown = path(&prefix);
    let first = manifest.pieces.first().map_or("", |p| p.name.as_str());
    let last = manifest.pieces.last().map_or("", |p| p.name.as_str());
    let pieces = number::count(manifest.pieces.len() as u64, "piece", "pieces");
    out.field(
        "pieces",
        format_args!(
            "{pieces} of {}, {} to {}",
            number::size(args.size.min(manifest.bytes)),
            escape::text(first.as_bytes()),
            escape::text(last.as_bytes())
        ),
    )?;
    out.field("manifest", path(&manifest_path(&prefix)))?;
    out.field(
        "whole again",
        format_args!("crimg join {shown} -o IMAGE, or cat {shown}.[0-9]*"),
    )?;
    Ok(Outcome::Sound)
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_have_the_units_of_other_tools() {
        for (text, bytes) in [
            ("1", 1),
            ("4096", 4096),
            ("2K", 2048),
            ("3m", 3 << 20),
            ("2G", 2 << 30),
            ("2GiB", 2 << 30),
            ("1T", 1 << 40),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "0", "G", "-1", "1.5G", "99999999999T", "1X", "ä"] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
