// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `crimg mem strings`.

use super::{
    engine::{Encoding, Strings, LONGEST},
    place,
    run::{self, Report},
    select::Select,
};
use crate::{
    error::{Failure, Outcome},
    escape,
    memory::Memory,
    output::Output,
    style,
};

/// Print the text in memory: printable ASCII of a least length, with its address.
///
/// Strings that reach over the borders of pages, runs and chunks are whole; one of more than 4000 bytes comes in
/// pieces. Exit status: 0 found · 1 none · 2 used wrongly · 3 to 6 as for all commands.
#[derive(clap::Args)]
pub struct Args {
    /// The image; `-` is standard input, of which a copy is made in $TMPDIR.
    pub image: String,
    /// Characters at least.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 4,
        value_parser = clap::value_parser!(u16).range(1..=(LONGEST as i64 / 2)))]
    pub bytes: u16,
    /// How characters are stored.
    #[arg(short = 'e', long, value_enum, default_value_t = Encoding::Ascii)]
    pub encoding: Encoding,
    /// Print only the number of strings.
    #[arg(short = 'c', long)]
    pub count: bool,
    /// Stop after N strings.
    #[arg(short = 'm', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_count: Option<u64>,
    /// Search with N threads; without it, as many as the host has processors.
    #[arg(short = 'j', long, value_name = "N")]
    pub threads: Option<usize>,
    /// Print JSON: one document, one string per line.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub select: Select,
}

/// # Errors
/// [`Failure`].
pub fn run(args: &Args, out: &mut Output) -> Result<Outcome, Failure> {
    let (file, damage) = run::open("mem strings", &args.image, &args.select, out)?;
    let memory = Memory::new(&file, args.select.sysroot.clone());
    let step = match args.encoding {
        Encoding::Ascii => 1,
        Encoding::Utf16le => 2,
    };
    let text = |bytes: &[u8]| -> Vec<u8> { bytes.iter().step_by(step).copied().collect() };
    let report = Report {
        command: "mem strings",
        list: "strings",
        json: args.json,
        count: args.count,
        max_count: args.max_count,
        threads: args.threads,
        line: &|memory, hit, out| {
            out.line(format_args!(
                "{}  {}  {}",
                style::dim(&place::address(hit.address)),
                place::place(memory, hit.address),
                escape::text(&text(hit.bytes))
            ))
        },
        members: &|_, hit, m| {
            m.insert("text".into(), crate::json::text(&text(hit.bytes)));
            Ok(())
        },
    };
    let engine = Strings {
        least: args.bytes.into(),
        encoding: args.encoding,
    };
    run::run(&memory, &args.select, &engine, &report, damage, out)
}
