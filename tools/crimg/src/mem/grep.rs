// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `crimg mem grep`.

use super::{
    engine::{Engine, Expression, Literal},
    hexdump::Hexdump,
    place,
    run::{self, repeated, Report},
    scan::Hit,
    select::{length, Select},
};
use crate::{
    error::{Failure, Outcome},
    escape,
    memory::Memory,
    number,
    output::Output,
    style,
};
use std::{cell::Cell, io, path::Path};

/// Most bytes of context on one side.
const CONTEXT_MAX: u64 = 1 << 20;

/// Search memory for text, bytes or a regular expression.
///
/// PATTERN stands for itself unless -x or -e says otherwise. Matches that reach over the borders of pages,
/// runs, chunks and neighbouring areas are found. Text and bytes match at every address where they are,
/// also if matches overlap; a stretch of one byte value is reported once, with the number of matches.
/// A regular expression goes on behind each match, sees bytes (`.` is any but a line end, `\xff` is one
/// byte) and matches at most 4000 of them. Zero pages are searched too, see --stored-only.
///
/// A match is one line: address, area and distance from its start, what was found. Exit status: 0 found ·
/// 1 not found · 2 used wrongly · 3 to 6 as for all commands.
#[derive(clap::Args)]
pub struct Args {
    /// The image; `-` is standard input, of which a copy is made in $TMPDIR.
    pub image: String,
    /// What to search for; if it begins with a hyphen, put `--` before the image.
    pub pattern: String,
    /// PATTERN stands for itself (that is how it is without -x and -e).
    #[arg(short = 'F', long, conflicts_with_all = ["hex", "regex"])]
    pub fixed_strings: bool,
    /// PATTERN is bytes in hexadecimal; blanks between them do not count.
    #[arg(short = 'x', long, conflicts_with_all = ["regex", "ignore_case"])]
    pub hex: bool,
    /// PATTERN is a regular expression over bytes.
    #[arg(short = 'e', long)]
    pub regex: bool,
    /// ASCII letters match in both cases.
    #[arg(short = 'i', long)]
    pub ignore_case: bool,
    /// Print so many bytes behind each match, as a hexdump.
    #[arg(short = 'A', long, value_name = "BYTES", value_parser = length)]
    pub after: Option<u64>,
    /// Print so many bytes before each match, as a hexdump.
    #[arg(short = 'B', long, value_name = "BYTES", value_parser = length)]
    pub before: Option<u64>,
    /// Print so many bytes on both sides of each match, as a hexdump.
    #[arg(short = 'C', long, value_name = "BYTES", value_parser = length)]
    pub context: Option<u64>,
    /// Print only the number of matches.
    #[arg(short = 'c', long)]
    pub count: bool,
    /// Stop after N matches.
    #[arg(short = 'm', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_count: Option<u64>,
    /// Search with N threads; without it, as many as the host has processors.
    #[arg(short = 'j', long, value_name = "N")]
    pub threads: Option<usize>,
    /// Print JSON: one document, one match per line.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub select: Select,
}

fn engine(args: &Args) -> Result<Box<dyn Engine>, Failure> {
    Ok(if args.regex {
        Box::new(Expression::new(&args.pattern, args.ignore_case)?)
    } else if args.hex {
        Box::new(Literal::new(&unhex(&args.pattern)?)?)
    } else if args.ignore_case {
        Box::new(Expression::ignoring_case(&args.pattern)?)
    } else {
        Box::new(Literal::new(args.pattern.as_bytes())?)
    })
}

fn unhex(text: &str) -> Result<Vec<u8>, Failure> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .filter(|c| !c.is_ascii_whitespace())
        .map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok()))
        .collect();
    let digits = digits.filter(|d| !d.is_empty() && d.len() % 2 == 0);
    let bytes = digits.map(|d| {
        d.chunks_exact(2)
            .map(|p| p.iter().fold(0, |n, d| n << 4 | d))
            .collect()
    });
    bytes.ok_or_else(|| Failure::Usage {
        message: format!(
            "-x {}: no bytes in hexadecimal",
            escape::text(text.as_bytes())
        ),
        remedy: "Two digits for each byte: \"7f 45 4c 46\" or 7f454c46.".to_owned(),
    })
}

/// # Errors
/// [`Failure`].
pub fn run(args: &Args, out: &mut Output) -> Result<Outcome, Failure> {
    let engine = engine(args)?;
    let (file, damage) = run::open("mem grep", &args.image, &args.select, out)
        .map_err(|e| swapped(e, &args.pattern))?;
    let memory = Memory::new(&file, args.select.sysroot.clone());
    let both = args.context.unwrap_or(0);
    let before = args.before.unwrap_or(both).min(CONTEXT_MAX);
    let after = args.after.unwrap_or(both).min(CONTEXT_MAX);
    let first = Cell::new(true);
    let report = Report {
        command: "mem grep",
        list: "matches",
        json: args.json,
        count: args.count,
        max_count: args.max_count,
        threads: args.threads,
        line: &|memory, hit, out| {
            if (before > 0 || after > 0) && !first.replace(false) {
                out.line("--")?;
            }
            out.line(format_args!(
                "{}  {}  {}{}",
                style::dim(&place::address(hit.address)),
                place::place(memory, hit.address),
                style::bad(&escape::text(hit.bytes)),
                repeated(hit)
            ))?;
            if before > 0 || after > 0 {
                let (start, bytes) = context(memory, hit, before, after)?;
                let mut dump = Hexdump::new(true);
                dump.bytes(out, start, &bytes)?;
                dump.end(out)?;
            }
            Ok(())
        },
        members: &|memory, hit, m| {
            m.insert("bytes".into(), number::hex(hit.bytes).into());
            if let Ok(text) = std::str::from_utf8(hit.bytes) {
                m.insert("text".into(), text.into());
            }
            if before > 0 || after > 0 {
                let (start, bytes) = context(memory, hit, before, after)?;
                m.insert(
                    "context".into(),
                    serde_json::json!({"address": format!("{start:#x}"), "bytes": number::hex(&bytes)}),
                );
            }
            Ok(())
        },
    };
    run::run(&memory, &args.select, engine.as_ref(), &report, damage, out)
}

/// The bytes around a hit, as far as they can be had, and the address of the first.
fn context(
    memory: &Memory<'_>,
    hit: &Hit<'_>,
    before: u64,
    after: u64,
) -> Result<(u64, Vec<u8>), Failure> {
    let len = hit.bytes.len() as u64;
    let end = hit.address.saturating_add(len).saturating_add(after);
    let mut start = hit.address.saturating_sub(before);
    loop {
        let len = usize::try_from(end.saturating_sub(start)).unwrap_or(0);
        let mut bytes = vec![0; len];
        let n = memory.read(start, &mut bytes)?;
        if start.saturating_add(n as u64) > hit.address || start >= hit.address {
            bytes.truncate(n);
            return Ok((start, bytes));
        }
        // Between here and the match is a page that cannot be read.
        let behind = start.saturating_add(n as u64).saturating_add(1);
        start = behind
            .next_multiple_of(cr_format::limits::PAGE)
            .min(hit.address);
    }
}

/// Users of grep give the pattern first.
fn swapped(e: Failure, pattern: &str) -> Failure {
    match e {
        Failure::Read { error, .. }
            if error.kind() == io::ErrorKind::NotFound && Path::new(pattern).is_file() =>
        {
            Failure::Usage {
                message: "the image comes before the pattern".to_owned(),
                remedy: "crimg mem grep IMAGE PATTERN".to_owned(),
            }
        }
        e => e,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_in_hexadecimal() {
        assert_eq!(unhex("7f 45\t4c46").unwrap(), b"\x7fELF");
        for bad in ["", "7", "7f4", "0x7f", "zz", "+1"] {
            assert!(unhex(bad).is_err(), "{bad}");
        }
    }
}
