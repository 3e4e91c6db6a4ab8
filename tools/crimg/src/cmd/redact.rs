// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `crimg redact`: an image without its secrets.

use crate::{
    cmd::repack::destination,
    error::{Failure, Outcome},
    escape,
    file::ImageFile,
    json, number,
    output::Output,
    redact::{self, Fields, Options, Report, SHORTEST_COPY},
};
use serde_json::json;

/// Overwrite passwords and other texts in an image, so that it can be given away.
///
/// Everything keeps its length and place. If the image has several processes, all that is asked for is
/// done to each. Values of the environment and arguments go from the stack, and their copies from all stored
/// memory, deleted files, pipes, registers' vector parts and metadata. Texts are found across pages and chunks. The new image is searched again before the command succeeds.
///
/// The result is marked as made for looking at only, since a process that wakes up with other bytes in its
/// memory does something else than before; --restartable leaves that mark out.
///
/// Sections of other parties are left out, and an image that cannot be restarted without them is refused.
/// Not touched: general registers, addresses, times, numbers, mapped files (which are not in the image), and texts
/// in other encodings than the given one (base64, UTF-16): name those with --regex or --range.
#[derive(clap::Args)]
pub struct Args {
    /// The image; `-` is standard input, of which a copy is made in $TMPDIR.
    image: String,
    /// Write the new image to this file; `-` is standard output.
    #[arg(short, long, value_name = "FILE", required_unless_present = "in_place")]
    output: Option<String>,
    /// Put the new image in the place of the old one.
    #[arg(long, conflicts_with = "output")]
    in_place: bool,
    /// Overwrite the value of these environment variables, or of all with `all`.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    env: Vec<String>,
    /// Overwrite the arguments, but for the name of the program.
    #[arg(long)]
    args: bool,
    /// Overwrite these addresses: START-END in hexadecimal, the end exclusive, as in /proc/PID/maps.
    #[arg(long, value_name = "A-B", value_parser = range)]
    range: Vec<(u64, u64)>,
    /// Overwrite what is stored of these memory areas: a path, its last part, or a name like [heap].
    #[arg(long, value_name = "NAME")]
    vma: Vec<String>,
    /// Overwrite what this regular expression matches, in memory and metadata. It is over bytes and may be
    /// visible to others in the list of processes; see --regex-file.
    #[arg(long, value_name = "RE")]
    regex: Vec<String>,
    /// Read regular expressions from a file, one on each line.
    #[arg(long, value_name = "FILE")]
    regex_file: Vec<std::path::PathBuf>,
    /// Overwrite the unread bytes of pipes.
    #[arg(long)]
    pipes: bool,
    /// Overwrite paths and names in the metadata, but for the slashes.
    #[arg(long)]
    paths: bool,
    /// Overwrite the host name.
    #[arg(long)]
    hostname: bool,
    /// Overwrite environment values and arguments on the stack only, not their copies elsewhere.
    #[arg(long)]
    no_copies: bool,
    /// The byte to write: a character, or a number like 0 or 0x58. Texts of records get * instead of NUL.
    #[arg(long, value_name = "BYTE", default_value = "*", value_parser = fill)]
    fill: u8,
    /// Do not mark the new image as made for looking at only.
    #[arg(long)]
    restartable: bool,
    /// Replace an output file that exists.
    #[arg(long)]
    force: bool,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// `7ffc0000-7ffc1000`, `0x1000-0x2000`.
///
/// # Errors
/// What is wrong with it, for clap.
fn range(text: &str) -> Result<(u64, u64), String> {
    let number = |t: &str| u64::from_str_radix(t.trim_start_matches("0x"), 16).ok();
    let ends = text
        .split_once('-')
        .and_then(|(a, b)| Some((number(a)?, number(b)?)));
    ends.filter(|(a, b)| a < b).ok_or_else(|| {
        "a range is two addresses in hexadecimal, the smaller first, like 7ffc1000-7ffc2000"
            .to_owned()
    })
}

/// `*`, `0`, `0x58`.
///
/// # Errors
/// What is wrong with it, for clap.
fn fill(text: &str) -> Result<u8, String> {
    let number = match text.strip_prefix("0x") {
        Some(hex) => u8::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    };
    let byte = match text.as_bytes() {
        [one] if !one.is_ascii_digit() => Some(*one),
        _ => number,
    };
    // It would let a path grow a component.
    byte.filter(|b| *b != b'/')
        .ok_or_else(|| "a byte is one character but /, or a number from 0 to 255".to_owned())
}

/// # Errors
/// [`Failure`].
pub fn run(args: &Args, out: &mut Output) -> Result<Outcome, Failure> {
    let mut patterns = args.regex.clone();
    for path in &args.regex_file {
        let text = std::fs::read_to_string(path).map_err(|error| Failure::Read {
            image: path.to_string_lossy().into_owned(),
            error,
        })?;
        patterns.extend(text.lines().filter(|l| !l.is_empty()).map(str::to_owned));
    }
    let env_all = args.env.iter().any(|n| n == "all");
    let options = Options {
        env_all,
        env: if env_all {
            Vec::new()
        } else {
            args.env.clone()
        },
        fields: Fields {
            args: args.args,
            pipes: args.pipes,
            paths: args.paths,
            hostname: args.hostname,
        },
        ranges: args.range.clone(),
        areas: args.vma.clone(),
        patterns,
        no_copies: args.no_copies,
        fill: args.fill,
        restartable: args.restartable,
    };
    if options.is_empty() {
        return Err(Failure::Usage {
            message: "nothing is to be overwritten".to_owned(),
            remedy: "Say what: --env all, --args, --regex RE, --range A-B, --vma NAME, --pipes, --paths or --hostname."
                .to_owned(),
        });
    }
    let target = destination(args.output.as_deref(), args.force, args.json)?;
    let file = ImageFile::open(&args.image)?;
    let report = redact::redact(&file, &options, target)?;
    let name = args.output.as_deref().unwrap_or(&args.image);
    if args.json {
        out.json(&document(args, &report, name))?;
    } else if name != "-" {
        print(args, &report, name, out)?;
    }
    Ok(Outcome::Sound)
}

fn print(args: &Args, r: &Report, name: &str, out: &mut Output) -> Result<(), Failure> {
    out.field("image", escape::text(name.as_bytes()))?;
    out.field(
        "memory",
        format_args!(
            "{} overwritten in {}, {}",
            number::count(r.bytes, "byte", "bytes"),
            number::count(r.places, "place", "places"),
            number::count(r.chunks, "chunk", "chunks")
        ),
    )?;
    out.field(
        "metadata",
        format_args!(
            "{} overwritten in {}",
            number::count(r.field_bytes, "byte", "bytes"),
            number::count(r.fields, "field", "fields")
        ),
    )?;
    if r.variables > 0 {
        let n = number::count(r.variables, "value", "values");
        out.field("environment", format_args!("{n} overwritten"))?;
    }
    for name in &r.missing {
        out.field(
            "",
            format_args!("{} is not in it", escape::text(name.as_bytes())),
        )?;
    }
    if r.short > 0 {
        let n = number::count(r.short, "text", "texts");
        out.field(
            "copies",
            format_args!(
                "{n} of fewer than {SHORTEST_COPY} bytes overwritten on the stack only; see --regex"
            ),
        )?;
    }
    if r.dropped > 0 {
        let n = number::count(r.dropped, "section", "sections");
        out.field(
            "left out",
            format_args!("{n} of other parties, for nobody here knows what is in there"),
        )?;
    }
    if r.checked {
        out.field("checked", "searched again, nothing is left")?;
    }
    let restart = if args.restartable {
        "as before, with other bytes in its memory"
    } else {
        "no: marked as made for looking at only"
    };
    out.field("restart", restart)
}

fn document(args: &Args, r: &Report, name: &str) -> serde_json::Value {
    json!({
        "crimg_schema": json::SCHEMA,
        "command": "redact",
        "image": json::text(args.image.as_bytes()),
        "output": json::text(name.as_bytes()),
        "uuid": number::uuid(&r.written.uuid),
        "restartable": args.restartable,
        "variables": json::integer(r.variables),
        "missing_variables": r.missing.iter().map(|n| json::text(n.as_bytes())).collect::<Vec<_>>(),
        "short_texts": json::integer(r.short),
        "page_places": json::integer(r.places),
        "page_bytes": json::integer(r.bytes),
        "chunks": json::integer(r.chunks),
        "fields": json::integer(r.fields),
        "dropped_sections": json::integer(r.dropped),
        "field_bytes": json::integer(r.field_bytes),
        "checked": r.checked,
        "bytes": json::integer(r.written.bytes),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_fills_are_what_people_type() {
        assert_eq!(range("1000-2000"), Ok((0x1000, 0x2000)));
        assert_eq!(range("0x7ffc10-0x7ffc20"), Ok((0x7f_fc10, 0x7f_fc20)));
        for bad in ["", "1000", "2000-1000", "1000-1000", "x-y", "-"] {
            assert!(range(bad).is_err(), "{bad}");
        }
        assert_eq!(fill("*"), Ok(b'*'));
        assert_eq!(fill("0"), Ok(0));
        assert_eq!(fill("0x58"), Ok(0x58));
        for bad in ["", "/", "256", "0x", "ab"] {
            assert!(fill(bad).is_err(), "{bad}");
        }
    }
}
