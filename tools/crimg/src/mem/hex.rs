// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `crimg mem hex`.

use super::{
    hexdump::Hexdump,
    pieces::Pieces,
    place, run,
    select::{nothing, Part, Select},
    stream::Stream,
};
use crate::{
    error::{Failure, Outcome},
    escape,
    file::ZERO_PAGE,
    memory::{Content, Memory, Span},
    number,
    output::Output,
};
use cr_format::limits::PAGE;
use serde_json::{Map, Value};

/// Bytes for an address without an end.
const LEN: u64 = 256;
/// Bytes of a gap whose origin is asked for at a time.
const STRETCH: u64 = 1 << 30;

/// Print memory as a hexdump.
///
/// ADDR alone prints 256 bytes. Rows are those of `hexdump -C`, with the address in the process; equal ones are
/// folded into `*`. What is not in the image is one line that says why. Exit status: 0 printed · 1 none of it is
/// in the image · 2 used wrongly · 3 to 6 as for all commands.
#[derive(clap::Args)]
pub struct Args {
    /// The image; `-` is standard input, of which a copy is made in $TMPDIR.
    pub image: String,
    /// Print all rows, also equal ones.
    #[arg(short = 'v', long)]
    pub no_fold: bool,
    /// Print JSON: one document, 4096 bytes or one stretch of zeros per line.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub select: Select,
}

/// # Errors
/// [`Failure`].
pub fn run(args: &Args, out: &mut Output) -> Result<Outcome, Failure> {
    if args.select.is_all() {
        return Err(Failure::Usage {
            message: "which memory is to be printed?".to_owned(),
            remedy: "Give --at ADDR,LEN or --vma NAME.".to_owned(),
        });
    }
    let (file, damage) = run::open("mem hex", &args.image, &args.select, out)?;
    let memory = Memory::new(&file, args.select.sysroot.clone());
    let parts = args.select.parts(&memory, Some(LEN));
    if parts.is_empty() {
        nothing("mem hex", &memory, out);
    }
    let mut stream = None;
    if args.json {
        stream = Some(Stream::begin(out, &file.image.name, "mem hex", "memory")?);
    }
    let mut to = To {
        memory: &memory,
        dump: Hexdump::new(!args.no_fold),
        stream,
        zeros: (0, 0),
        any: false,
    };
    for part in &parts {
        to.part(*part, &args.select, out)?;
    }
    to.flush(out)?;
    to.dump.end(out)?;
    if let Some(stream) = to.stream {
        stream.end(out, Map::new())?;
    }
    Ok(run::verdict(to.any, damage))
}

struct To<'m, 'f> {
    memory: &'m Memory<'f>,
    dump: Hexdump,
    stream: Option<Stream>,
    /// Zeros for JSON that may go on.
    zeros: (u64, u64),
    /// Was there a byte to print?
    any: bool,
}

impl To<'_, '_> {
    fn part(&mut self, part: Part, select: &Select, out: &mut Output) -> Result<(), Failure> {
        let files = select.sysroot.is_some();
        let check = !select.no_check;
        let pieces = Pieces::new(self.memory, &[part], select.stored_only, files, check)?;
        let mut at = part.start;
        for job in 0..pieces.jobs() {
            let loaded = pieces.load(job, None)?;
            for segment in &loaded.segments {
                self.any = true;
                self.gap(at, segment.start, out)?;
                let end = segment.start.saturating_add(segment.len);
                match loaded.hay(segment) {
                    Some(hay) => self.bytes(segment.start, hay, out)?,
                    None => self.zeros(segment.start, end, out)?,
                }
                at = end;
            }
            pieces.recycle(loaded);
        }
        self.gap(at, part.end, out)
    }

    fn bytes(&mut self, start: u64, hay: &[u8], out: &mut Output) -> Result<(), Failure> {
        self.flush(out)?;
        let Some(stream) = &mut self.stream else {
            return self.dump.bytes(out, start, hay);
        };
        let mut at = start;
        for page in hay.chunks(ZERO_PAGE.len()) {
            let mut m = place::members(self.memory, at);
            m.insert("bytes".into(), number::hex(page).into());
            stream.element(out, m)?;
            at = at.saturating_add(page.len() as u64);
        }
        Ok(())
    }

    fn zeros(&mut self, start: u64, end: u64, out: &mut Output) -> Result<(), Failure> {
        if self.stream.is_some() {
            // However the image cuts them, it is one stretch.
            if self.zeros.1 != start {
                self.flush(out)?;
                self.zeros.0 = start;
            }
            self.zeros.1 = end;
            return Ok(());
        }
        if self.dump.fold {
            return self.dump.zeros(out, start, end.saturating_sub(start));
        }
        let mut at = start;
        while at < end {
            let n = end.saturating_sub(at).min(PAGE);
            // CAST: at most 4096.
            let zeros = ZERO_PAGE.get(..n as usize).unwrap_or(&ZERO_PAGE);
            self.dump.bytes(out, at, zeros)?;
            at = at.saturating_add(n);
        }
        Ok(())
    }

    fn flush(&mut self, out: &mut Output) -> Result<(), Failure> {
        let (start, end) = std::mem::take(&mut self.zeros);
        match &mut self.stream {
            Some(stream) if start < end => {
                stream.element(out, stretch(self.memory, start, end, "zero"))
            }
            _ => Ok(()),
        }
    }

    /// Says what is not there and why.
    fn gap(&mut self, start: u64, end: u64, out: &mut Output) -> Result<(), Failure> {
        let mut at = start;
        while at < end {
            let stop = end.min(at.saturating_add(STRETCH));
            for span in self.memory.spans(at, stop)? {
                self.missing(&span, out)?;
            }
            at = stop;
        }
        Ok(())
    }

    fn missing(&mut self, span: &Span, out: &mut Output) -> Result<(), Failure> {
        self.flush(out)?;
        let word = match span.content {
            Content::File => "file",
            Content::Parent => "parent",
            Content::Zero => "zero",
            Content::Stored | Content::Object | Content::Absent => "absent",
        };
        if let Some(stream) = &mut self.stream {
            return stream.element(out, stretch(self.memory, span.start, span.end, word));
        }
        self.dump.end(out)?;
        out.line(format_args!(
            "{}-{}  {}",
            place::address(span.start),
            place::address(span.end),
            why(self.memory, span)
        ))
    }
}

fn stretch(memory: &Memory<'_>, start: u64, end: u64, content: &str) -> Map<String, Value> {
    let mut m = place::members(memory, start);
    m.insert("end".into(), format!("{end:#x}").into());
    m.insert("content".into(), content.into());
    m
}

/// Why bytes are not there, for people.
pub fn why(memory: &Memory<'_>, span: &Span) -> String {
    let area = memory.area_at(span.start);
    match (span.content, area) {
        (Content::File, Some(area)) => format!(
            "not in the image: mapped from {} (--sysroot DIR reads it)",
            escape::text(area.path.as_deref().unwrap_or(&area.name))
        ),
        (Content::Parent, _) => "in the parent image".to_owned(),
        (Content::Zero, _) => "zero".to_owned(),
        (_, Some(area)) => format!(
            "not in the image: {} has no contents there",
            place::name(area)
        ),
        (_, None) => "not mapped".to_owned(),
    }
}
