// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `crimg mem extract`.

use super::{
    hex::why,
    pieces::Pieces,
    place, run,
    select::{nothing, Part, Select},
};
use crate::{
    atomic::AtomicFile,
    error::{Failure, Outcome},
    file::ZERO_PAGE,
    memory::{Content, Memory},
    number,
    output::Output,
    progress,
};
use std::{
    fs::File,
    io::{Seek, SeekFrom, Write},
    path::PathBuf,
};

/// Zeros from this many on become a hole with --sparse.
const HOLE: u64 = 4096;

/// Write a range of memory to a file or to standard output.
///
/// The range is one: from the first selected byte to the last. If some of its bytes cannot be had (mapped
/// files without --sysroot, gaps between areas, guards), nothing is written unless --fill says what to put there.
/// Exit status: 0 written · 1 no memory is selected · 2 used wrongly, or bytes cannot be had · 3 to 6 as for all
/// commands.
#[derive(clap::Args)]
pub struct Args {
    /// The image; `-` is standard input, of which a copy is made in $TMPDIR.
    pub image: String,
    /// The file to write, `-` for standard output (which must not be a terminal).
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    pub output: PathBuf,
    /// Replace an existing file.
    #[arg(long)]
    pub force: bool,
    /// Leave holes in the file where memory is zero.
    #[arg(long)]
    pub sparse: bool,
    /// Put this byte (two hexadecimal digits) where bytes cannot be had.
    #[arg(long, value_name = "HEX", value_parser = fill)]
    pub fill: Option<u8>,
    #[command(flatten)]
    pub select: Select,
}

fn fill(text: &str) -> Result<u8, String> {
    let byte = u8::from_str_radix(text, 16)
        .ok()
        .filter(|_| text.len() == 2);
    byte.ok_or_else(|| "two hexadecimal digits: 00, ff".to_owned())
}

enum Sink<'o> {
    Stdout(&'o mut Output),
    File { file: AtomicFile, sparse: bool },
}

impl Sink<'_> {
    fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        match self {
            Self::Stdout(out) => out.bytes(bytes),
            Self::File { file, .. } => {
                let mut to: &File = &file.file;
                to.write_all(bytes).map_err(|e| file.failed(e))
            }
        }
    }

    fn same(&mut self, byte: u8, len: u64) -> Result<(), Failure> {
        if let Self::File { file, sparse: true } = self {
            if byte == 0 && len >= HOLE {
                let mut to: &File = &file.file;
                let to = i64::try_from(len).map(|len| to.seek(SeekFrom::Current(len)));
                return match to {
                    Ok(Ok(_)) => Ok(()),
                    Ok(Err(e)) => Err(file.failed(e)),
                    Err(_) => Err(file.failed(std::io::ErrorKind::FileTooLarge.into())),
                };
            }
        }
        let block = [byte; ZERO_PAGE.len()];
        let mut left = len;
        while left > 0 {
            let n = left.min(block.len() as u64);
            // CAST: at most 4096.
            self.bytes(block.get(..n as usize).unwrap_or(&block))?;
            left = left.saturating_sub(n);
        }
        Ok(())
    }
}

/// # Errors
/// [`Failure`].
pub fn run(args: &Args, out: &mut Output) -> Result<Outcome, Failure> {
    let stdout = args.output.as_os_str() == "-";
    if args.select.is_all() {
        return Err(Failure::Usage {
            message: "which memory is to be extracted?".to_owned(),
            remedy: "Give --at RANGE or --vma NAME; the whole process is what `crimg export core` writes.".to_owned(),
        });
    }
    if stdout && Output::is_terminal() {
        return Err(Failure::Usage {
            message: "memory is not written to a terminal".to_owned(),
            remedy: "Give -o FILE, or use `crimg mem hex`.".to_owned(),
        });
    }
    let (file, damage) = run::open("mem extract", &args.image, &args.select, out)?;
    let memory = Memory::new(&file, args.select.sysroot.clone());
    let parts = args.select.parts(&memory, None);
    let (Some(first), Some(last)) = (parts.first(), parts.last()) else {
        nothing("mem extract", &memory, out);
        return Ok(run::verdict(false, damage));
    };
    let mut whole = Part {
        start: first.start,
        end: last.end,
    };
    if args.select.vma.is_empty() && args.select.prot.is_none() {
        // A range beyond the areas is meant as it is written.
        for at in &args.select.at {
            if at.end.is_some() {
                whole.start = whole.start.min(at.start);
            }
            whole.end = whole.end.max(at.end.unwrap_or(0));
        }
    }
    let files = args.select.sysroot.is_some();
    let pieces = Pieces::new(
        &memory,
        &parts,
        args.select.stored_only,
        files,
        !args.select.no_check,
    )?;
    if args.fill.is_none() {
        complete(args, &memory, &parts, whole)?;
    }
    let mut sink = if stdout {
        Sink::Stdout(out)
    } else {
        Sink::File {
            file: AtomicFile::create(&args.output, args.force)?,
            sparse: args.sparse,
        }
    };
    let bar = progress::bar(whole.end.saturating_sub(whole.start), "extracted");
    let mut at = whole.start;
    for job in 0..pieces.jobs() {
        let loaded = pieces.load(job, None)?;
        for segment in &loaded.segments {
            missing(args, &memory, at, segment.start, &mut sink)?;
            match loaded.hay(segment) {
                Some(hay) => pages(hay, args.sparse, &mut sink)?,
                None => sink.same(0, segment.len)?,
            }
            at = segment.start.saturating_add(segment.len);
        }
        bar.set_position(at.saturating_sub(whole.start));
        pieces.recycle(loaded);
    }
    missing(args, &memory, at, whole.end, &mut sink)?;
    bar.finish_and_clear();
    if let Sink::File { file, .. } = sink {
        let len = whole.end.saturating_sub(whole.start);
        file.file.set_len(len).map_err(|e| file.failed(e))?;
        file.commit()?;
        out.message(format_args!(
            "{}: {} from {} to {}",
            crate::escape::text(args.output.as_os_str().as_encoded_bytes()),
            number::size(len),
            place::address(whole.start),
            place::address(whole.end)
        ));
    }
    Ok(damage)
}

/// Stored pages that are zero become holes, too.
fn pages(hay: &[u8], sparse: bool, sink: &mut Sink<'_>) -> Result<(), Failure> {
    if !sparse {
        return sink.bytes(hay);
    }
    for page in hay.chunks(ZERO_PAGE.len()) {
        if page == ZERO_PAGE {
            sink.same(0, page.len() as u64)?;
        } else {
            sink.bytes(page)?;
        }
    }
    Ok(())
}

/// Bytes that are not there: filled, or (the file changed since we looked) an error.
fn missing(
    args: &Args,
    memory: &Memory<'_>,
    start: u64,
    end: u64,
    sink: &mut Sink<'_>,
) -> Result<(), Failure> {
    match args.fill {
        _ if start >= end => Ok(()),
        Some(byte) => sink.same(byte, end.saturating_sub(start)),
        None => Err(refused(args, memory, start, end)),
    }
}

/// Refuses a range with bytes that cannot be had, before anything is written.
fn complete(args: &Args, memory: &Memory<'_>, parts: &[Part], whole: Part) -> Result<(), Failure> {
    let mut at = whole.start;
    for part in parts {
        if part.start > at {
            return Err(refused(args, memory, at, part.start));
        }
        for span in memory.spans(part.start, part.end)? {
            let there = match span.content {
                Content::Stored | Content::Object => true,
                Content::Zero => !args.select.stored_only,
                Content::File => args.select.sysroot.is_some(),
                Content::Parent | Content::Absent => false,
            };
            if !there {
                return Err(refused(args, memory, span.start, span.end));
            }
        }
        at = part.end;
    }
    if at < whole.end {
        return Err(refused(args, memory, at, whole.end));
    }
    Ok(())
}

fn refused(args: &Args, memory: &Memory<'_>, start: u64, end: u64) -> Failure {
    let spans = memory.spans(start, end).unwrap_or_default();
    let why = spans.first().map_or_else(String::new, |s| why(memory, s));
    let selected = args
        .select
        .at
        .iter()
        .any(|a| a.start <= start && a.end.is_some_and(|e| start < e));
    let why = if (why == "zero" && !args.select.stored_only) || (why == "not mapped" && !selected) {
        "not selected, between parts that are".to_owned()
    } else {
        why
    };
    Failure::Usage {
        message: format!("{}-{}: {why}", place::address(start), place::address(end)),
        remedy: "Select another range, or give --fill 00 for zeros in its place.".to_owned(),
    }
}
