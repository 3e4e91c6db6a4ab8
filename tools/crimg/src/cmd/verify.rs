// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `crimg verify`: is an image sound? Structure, checksums, rules; what it accepts the kernel accepts.

use crate::{
    error::{remedy, Failure, Outcome},
    escape,
    file::decode,
    input::{Got, Input},
    json,
    load::{crc, Image, Sections},
    number,
    output::Output,
    view::generic::{one_line, Schema},
};
use cr_format::{
    chunk::{ChunkType, CODEC_ZSTD},
    limits, records_in, records_of,
    stream::{Next, Validator},
    validate::{self, MetaSet, CHECKS},
    Error, FileRecord, VmaRecord, FILES, MEMORY, STATS,
};
use serde_json::json;
use std::collections::BTreeMap;

/// Check an image: its structure, every checksum, every rule of the format.
///
/// Each section's first defect is listed, with cause, place and remedy. Memory use does not depend on the
/// size of the image.
#[derive(clap::Args)]
pub struct Args {
    /// The image; `-` is standard input.
    image: String,
    /// Print the verdict as JSON.
    #[arg(long)]
    json: bool,
    /// Print nothing; the exit status is the verdict.
    #[arg(long, short, conflicts_with = "json")]
    quiet: bool,
}

/// # Errors
/// [`Failure`].
pub fn run(args: &Args, out: &mut Output) -> Result<Outcome, Failure> {
    let mut input = Input::open(&args.image)?;
    let mut check = Check::new(&mut input);
    check.run()?;
    let Check {
        validator,
        sections,
        defects,
        ..
    } = check;
    let outcome = defects
        .iter()
        .fold(Outcome::Sound, |o, e| o.worse(Outcome::of(&e.kind)));
    let image = Image {
        name: input.name,
        superblock: None,
        sections,
        chunks: Vec::new(),
        runs: Vec::new(),
        end: None,
        len: validator.offset(),
        damage: Vec::new(),
    };
    let report = Report {
        image: &image,
        schema: Schema::new(&image),
        defects: &defects,
    };
    if args.json {
        report.json(outcome, out)?;
    } else if !args.quiet {
        if defects.is_empty() {
            report.sound(&validator, out)?;
        } else {
            report.defects();
        }
    }
    Ok(outcome)
}

/// What the page data is checked against, made once from the metadata.
#[derive(Default)]
struct Owners {
    /// Start and end of every memory area.
    areas: Vec<(u64, u64)>,
    /// Size by id of every deleted file.
    deleted: BTreeMap<u32, u64>,
}

struct Check<'i> {
    input: &'i mut Input,
    validator: Validator,
    sections: Sections,
    owners: Option<Owners>,
    defects: Vec<Error>,
    buf: Vec<u8>,
}

/// The container itself is bad: nothing behind it can be read.
enum Stop {
    Defect(Error),
    Failure(Failure),
}

impl From<Error> for Stop {
    fn from(e: Error) -> Self {
        Self::Defect(e)
    }
}

impl From<Failure> for Stop {
    fn from(e: Failure) -> Self {
        Self::Failure(e)
    }
}

impl<'i> Check<'i> {
    fn new(input: &'i mut Input) -> Self {
        Self {
            input,
            validator: Validator::with_crc(crc),
            sections: Sections::default(),
            owners: None,
            defects: Vec::new(),
            buf: vec![0; limits::CHUNK_PAYLOAD as usize],
        }
    }

    fn run(&mut self) -> Result<(), Failure> {
        match self.read() {
            Ok(()) => Ok(()),
            Err(Stop::Failure(e)) => Err(e),
            Err(Stop::Defect(e)) => {
                self.defects.push(e);
                Ok(())
            }
        }
    }

    /// The next `N` bytes.
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Stop> {
        let mut bytes = [0; N];
        match self.input.fill(&mut bytes)? {
            Got::All => Ok(bytes),
            Got::Short(have) => Err(self.validator.truncated(have as u64).into()),
        }
    }

    /// The next `len` bytes, in the buffer; `len` is at most 1 MiB as the validator has checked.
    fn payload(&mut self, len: usize) -> Result<&[u8], Stop> {
        match self.input.fill(&mut self.buf[..len])? {
            Got::All => Ok(&self.buf[..len]),
            Got::Short(have) => Err(self.validator.truncated(have as u64).into()),
        }
    }

    fn read(&mut self) -> Result<(), Stop> {
        let block = self.array()?;
        self.validator.superblock(&block)?;
        while !self.validator.is_complete() {
            let head = self.array()?;
            let next = self.validator.chunk_header(&head)?;
            if self.owners.is_none() && self.validator.is_meta_complete() {
                self.meta();
            }
            match next {
                Next::Payload(len) => self.chunk(len as usize)?,
                Next::RunTable => self.pages()?,
            }
        }
        let (pages, zero) = self.validator.page_counts();
        if let Err(e) = validate::stats(&self.sections, pages, zero) {
            self.defects.push(e);
        }
        let trailing = self.input.has_more()?;
        self.validator.finish(trailing)?;
        Ok(())
    }

    fn chunk(&mut self, len: usize) -> Result<(), Stop> {
        let at = self.validator.offset();
        self.payload(len)?;
        let payload = &self.buf[..len];
        // Sections grow only by what has passed, at most 64 MiB; kept before the structure of the records
        // is checked, so that a defect in it can be located in the image.
        let header = self.validator.header().copied();
        let result = self.validator.payload(payload);
        if let Some(h) = header.filter(|h| h.chunk_type == ChunkType::Meta) {
            self.sections
                .0
                .entry(h.section)
                .or_default()
                .push(payload, at, h.is_critical());
        }
        Ok(result?)
    }

    /// All sections in front of the page data are there: check each, and note what pages may belong to.
    fn meta(&mut self) {
        for (_, check) in CHECKS {
            if let Err(e) = check(&self.sections) {
                // A section's defect shows in the checks of others that refer to it.
                if !self.defects.contains(&e) {
                    self.defects.push(e);
                }
            }
        }
        let vmas = records_of::<VmaRecord<'_>>(self.sections.section(MEMORY)).map_while(Result::ok);
        let files =
            records_of::<FileRecord<'_>>(self.sections.section(FILES)).map_while(Result::ok);
        self.owners = Some(Owners {
            areas: vmas.map(|v| (v.start, v.end)).collect(),
            deleted: files
                .filter(|f| f.kind == cr_format::FILE_DELETED)
                .map(|f| (f.id, f.size))
                .collect(),
        });
    }

    fn pages(&mut self) -> Result<(), Stop> {
        let at = self.validator.offset();
        let table = self.array()?;
        let runs = self.validator.run_table(&table)?;
        if let (Some(owners), Some(h)) = (&self.owners, self.validator.header()) {
            let result = match (h.section, owners.deleted.get(&h.owner)) {
                (MEMORY, _) => {
                    validate::page_owner(&self.sections, h.section, h.owner).and_then(|()| {
                        runs.iter()
                            .try_for_each(|r| validate::run_in_vmas(&owners.areas, &r))
                    })
                }
                (FILES, Some(&size)) => runs
                    .iter()
                    .try_for_each(|r| validate::run_in_file(size, &r)),
                (FILES, None) => Err(Error::rule("PAGE-9")),
                _ => Ok(()),
            };
            if let Err(e) = result {
                // One is enough: in a bad image it is often the same for thousands of chunks.
                if !self.defects.iter().any(|d| d.kind == e.kind) {
                    self.defects.push(e.placed(0, at));
                }
            }
        }
        let Some(h) = self.validator.header().copied() else {
            return Ok(());
        };
        let len = h.stored_len as usize;
        self.payload(len)?;
        let stored = self.buf.get(..len).unwrap_or(&[]);
        self.validator.page_data(stored)?;
        if h.codec == CODEC_ZSTD {
            let frame = stored.get(..h.frame_len as usize);
            let pages = frame.and_then(|f| decode(f, h.raw_len));
            self.validator.decoded(pages.as_deref())?;
        }
        Ok(())
    }
}

struct Report<'a> {
    image: &'a Image,
    schema: Schema,
    defects: &'a [Error],
}

impl Report<'_> {
    fn sound(&self, v: &Validator, out: &mut Output) -> Result<(), Failure> {
        let name = escape::text(self.image.name.as_bytes());
        let (pages, zero) = v.page_counts();
        let records: usize = self
            .image
            .sections
            .0
            .iter()
            .map(|(id, s)| records_in(*id, &s.bytes).count())
            .sum();
        out.line(format_args!(
            "{name}: sound: {} in {} sections, {} of page data ({zero} zero pages), {} in all",
            number::count(records as u64, "record", "records"),
            self.image.sections.0.len(),
            number::size(pages * limits::PAGE),
            number::size(self.image.len),
        ))
    }

    /// Messages go to standard error: cause and place, the record if there is one, the remedy.
    fn defects(&self) {
        let name = escape::text(self.image.name.as_bytes());
        for e in self.defects {
            let offset = self.image.sections.file_offset(e);
            let place = if e.section == 0 {
                "container".to_owned()
            } else {
                self.schema.word(e.section)
            };
            eprintln!("crimg verify: {name}: {place} at {offset:#x}: {}", e.kind);
            if let Some(record) = self.record(e) {
                eprintln!("  in {record}");
            }
            eprintln!("  {}", remedy(&e.kind));
        }
    }

    /// The record that an error is about, in one line.
    fn record(&self, e: &Error) -> Option<String> {
        if e.section == 0 || e.section == STATS && self.image.sections.section(STATS).is_empty() {
            return None;
        }
        let raw = records_in(e.section, self.image.sections.section(e.section))
            .map_while(Result::ok)
            .find(|r| r.offset == e.offset)?;
        Some(one_line(&self.schema, &raw))
    }

    fn json(&self, outcome: Outcome, out: &mut Output) -> Result<(), Failure> {
        let defects: Vec<_> = self
            .defects
            .iter()
            .map(|e| {
                let mut value = json::defect(&self.schema, e, self.image.sections.file_offset(e));
                if let (Some(m), Some(record)) = (value.as_object_mut(), self.record(e)) {
                    m.insert("record".into(), record.into());
                }
                value
            })
            .collect();
        out.json(&json!({
            "crimg_schema": json::SCHEMA,
            "image": json::text(self.image.name.as_bytes()),
            "bytes": json::integer(self.image.len),
            "verdict": outcome.word(),
            "defects": defects,
        }))
    }
}
