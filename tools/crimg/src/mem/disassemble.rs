// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `crimg mem disasm`.

use super::{
    hex::why,
    place, run,
    select::{nothing, At, Part, Select},
    stream::Stream,
};
use crate::{
    disasm::{self, LONGEST},
    error::{Failure, Outcome},
    memory::Memory,
    number,
    output::Output,
    process::{register, Process},
    style,
};
use serde_json::Map;

/// Most bytes that are decoded at a time.
const BLOCK: usize = 64 << 10;

/// Print memory as machine instructions.
///
/// Without --at and --vma, from the instruction where the thread stands (the leader, or --tid). Code is mostly
/// in mapped files, which are not in an image: --sysroot reads it from them. Bytes that are no instruction are
/// `(bad)`. Exit status: 0 printed · 1 the bytes are not in the image · 2 used wrongly · 3 to 6 as for all commands.
#[derive(clap::Args)]
pub struct Args {
    /// The image; `-` is standard input, of which a copy is made in $TMPDIR.
    pub image: String,
    /// The thread whose instructions are printed.
    #[arg(long, value_name = "TID", conflicts_with_all = ["at", "vma"])]
    pub tid: Option<u64>,
    /// Instructions to print from an address without an end.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 16)]
    pub lines: usize,
    /// Print JSON: one document, one instruction per line.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub select: Select,
}

/// # Errors
/// [`Failure`].
pub fn run(args: &Args, out: &mut Output) -> Result<Outcome, Failure> {
    let (file, damage) = run::open("mem disasm", &args.image, &args.select, out)?;
    let memory = Memory::new(&file, args.select.sysroot.clone());
    let process = Process::new(&file.image.sections);
    let mut starts: Vec<(Part, usize)> = Vec::new();
    let some = (args.lines.saturating_mul(LONGEST)).min(16 << 20);
    let counted = |start: u64| {
        let end = start.saturating_add(some as u64);
        (Part { start, end }, args.lines)
    };
    let (open, ranged): (Vec<At>, Vec<At>) = args.select.at.iter().partition(|a| a.end.is_none());
    starts.extend(open.iter().map(|a| counted(a.start)));
    if !ranged.is_empty() || (args.select.at.is_empty() && !args.select.is_all()) {
        let select = Select {
            at: ranged,
            ..args.select.clone()
        };
        starts.extend(
            select
                .parts(&memory, None)
                .into_iter()
                .map(|p| (p, usize::MAX)),
        );
    }
    let mut rip = None;
    if args.select.is_all() {
        let task = match args.tid {
            Some(tid) => process.task(tid),
            None => process.tasks.first(),
        };
        rip = task.and_then(|t| register(t, "rip"));
        let Some(rip) = rip else {
            let ids: Vec<String> = process.tasks.iter().map(|t| t.tid.to_string()).collect();
            return Err(Failure::Usage {
                message: "the image has no such thread".to_owned(),
                remedy: format!("Its threads are: {}.", ids.join(" ")),
            });
        };
        starts.push(counted(rip));
    }
    starts.sort_by_key(|s| s.0.start);
    if starts.is_empty() {
        nothing("mem disasm", &memory, out);
    }
    let mut stream = None;
    if args.json {
        stream = Some(Stream::begin(
            out,
            &file.image.name,
            "mem disasm",
            "instructions",
        )?);
    }
    let mut any = false;
    for (n, (part, most)) in starts.iter().enumerate() {
        if n > 0 && !args.json {
            out.line("")?;
        }
        any |= print(&memory, *part, *most, rip, &mut stream, out)?;
    }
    if let Some(stream) = stream {
        stream.end(out, Map::new())?;
    }
    Ok(run::verdict(any, damage))
}

/// Prints up to `most` instructions of a part; says whether there were any.
fn print(
    memory: &Memory<'_>,
    part: Part,
    most: usize,
    rip: Option<u64>,
    stream: &mut Option<Stream>,
    out: &mut Output,
) -> Result<bool, Failure> {
    let mut at = part.start;
    let mut left = most;
    let mut bytes = vec![0; BLOCK];
    while at < part.end && left > 0 {
        let len = part.end.saturating_sub(at).min(BLOCK as u64);
        // CAST: at most 64 KiB.
        let room = bytes.get_mut(..len as usize).unwrap_or(&mut []);
        let n = memory.read(at, room)?;
        let found = disasm::at(bytes.get(..n).unwrap_or(&[]), at, left);
        let Some(last) = found.last() else {
            break;
        };
        left = left.saturating_sub(found.len());
        let next = last.address.saturating_add(last.bytes.len() as u64);
        for instruction in &found {
            let name = |to| Some(place::place(memory, to)).filter(|p| !p.is_empty());
            let text = instruction.with_names(&name);
            match stream {
                None => out.line(format_args!(
                    "{} {}  {:<28}  {:<30}  {text}",
                    if rip == Some(instruction.address) {
                        "=>"
                    } else {
                        "  "
                    },
                    style::dim(&place::address(instruction.address)),
                    place::place(memory, instruction.address),
                    number::hex(&instruction.bytes),
                ))?,
                Some(stream) => {
                    let mut m = place::members(memory, instruction.address);
                    m.insert("bytes".into(), number::hex(&instruction.bytes).into());
                    m.insert("text".into(), instruction.text.clone().into());
                    if let Some(to) = instruction.target {
                        m.insert("target".into(), format!("{to:#x}").into());
                    }
                    stream.element(out, m)?;
                }
            }
        }
        at = next;
    }
    let some = at > part.start;
    if !some && stream.is_none() {
        let spans = memory.spans(part.start, part.start.saturating_add(1))?;
        let why = spans.first().map_or_else(String::new, |s| why(memory, s));
        out.line(format_args!("{}  {why}", place::address(part.start)))?;
    }
    Ok(some)
}
