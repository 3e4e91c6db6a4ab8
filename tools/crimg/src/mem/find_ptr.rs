// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `crimg mem find-ptr`.

use super::{
    engine::Pointers,
    place,
    run::{self, repeated, Report},
    select::{self, Select},
};
use crate::{
    error::{Failure, Outcome},
    escape,
    memory::Memory,
    output::Output,
    style,
};
use serde_json::{Map, Value};

/// Find who points to an address, into a range or into an area.
///
/// A match is one line: address, area and distance from its start, the pointer, and where that points. Exit
/// status: 0 found · 1 none · 2 used wrongly · 3 to 6 as for all commands.
#[derive(clap::Args)]
pub struct Args {
    /// The image; `-` is standard input, of which a copy is made in $TMPDIR.
    pub image: String,
    /// Where to: ADDR (exactly), ADDR,LEN, ADDR+LEN, ADDR-END, or the name of an area as for --vma.
    pub target: String,
    /// Also pointers at addresses that are no multiples of 8.
    #[arg(long)]
    pub unaligned: bool,
    /// Print only the number of pointers.
    #[arg(short = 'c', long)]
    pub count: bool,
    /// Stop after N pointers.
    #[arg(short = 'm', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_count: Option<u64>,
    /// Search with N threads; without it, as many as the host has processors.
    #[arg(short = 'j', long, value_name = "N")]
    pub threads: Option<usize>,
    /// Print JSON: one document, one pointer per line.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub select: Select,
}

fn targets(args: &Args, memory: &Memory<'_>) -> Result<Vec<(u64, u64)>, Failure> {
    let error = match select::at(&args.target) {
        Ok(at) => {
            return Ok(vec![(
                at.start,
                at.end.unwrap_or(at.start.saturating_add(1)),
            )])
        }
        Err(error) => error,
    };
    let named = Select {
        vma: vec![args.target.clone()],
        ..Select::default()
    };
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for part in named.parts(memory, None) {
        match ranges.last_mut() {
            Some(last) if last.1 == part.start => last.1 = part.end,
            _ => ranges.push((part.start, part.end)),
        }
    }
    if ranges.is_empty() {
        return Err(Failure::Usage {
            message: format!(
                "{}: no area has this name, and it is no range: {error}",
                escape::text(args.target.as_bytes())
            ),
            remedy: "See the areas with: crimg show --maps".to_owned(),
        });
    }
    Ok(ranges)
}

/// # Errors
/// [`Failure`].
pub fn run(args: &Args, out: &mut Output) -> Result<Outcome, Failure> {
    let (file, damage) = run::open("mem find-ptr", &args.image, &args.select, out)?;
    let memory = Memory::new(&file, args.select.sysroot.clone());
    let engine = Pointers::new(targets(args, &memory)?, args.unaligned);
    let report = Report {
        command: "mem find-ptr",
        list: "pointers",
        json: args.json,
        count: args.count,
        max_count: args.max_count,
        threads: args.threads,
        line: &|memory, hit, out| {
            let value = Pointers::value(hit.bytes);
            let line = format!(
                "{}  {}  -> {}  {}",
                style::dim(&place::address(hit.address)),
                place::place(memory, hit.address),
                style::bad(&place::address(value)),
                place::place(memory, value),
            );
            out.line(format_args!("{}{}", line.trim_end(), repeated(hit)))
        },
        members: &|memory, hit, m| {
            let value = Pointers::value(hit.bytes);
            let mut to = place::members(memory, value);
            // It is the pointer.
            to.shift_remove("address");
            m.insert("pointer".into(), format!("{value:#x}").into());
            let to: Map<String, Value> = to;
            m.insert("target".into(), to.into());
            Ok(())
        },
    };
    run::run(&memory, &args.select, &engine, &report, damage, out)
}
