// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Is an image sound? What `crimg verify` finds, as a library.
//!
//! One thread walks the container with the crate's phase machine, the one that the kernel runs, and hands
//! the page data to workers ([`pages`]), which read, hash and decode on all processors. Memory does not
//! depend on the size of the image. What is wrong in the page data does not end the walk, so that every
//! damaged chunk is found in one run.

pub mod host;
mod pages;

use crate::{
    error::{Failure, Outcome},
    input::{Got, Input},
    load::{crc, Sections},
    memory::file_lengths,
    progress,
};
use cr_format::{
    chunk::ChunkType,
    limits, records_in, records_of, sections,
    stream::{Next, Validator},
    superblock::Superblock,
    validate::{self, MetaSet, CHECKS},
    Error, VmaRecord, FILES, MEMORY,
};
use std::collections::BTreeMap;

/// How deep an image is checked. Each level does what those before it do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Level {
    /// Container and checksums of all bytes as they are stored
    Crc,
    /// Encoding of every record, headers of compressed page data
    Structure,
    /// Every rule of the format; page data is decompressed and checked again
    Semantics,
    /// Whether this host can restart it: files, processor, kernel, modules, pids, rights
    Host,
}

impl Level {
    /// The word on the command line and in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Crc => "crc",
            Self::Structure => "structure",
            Self::Semantics => "semantics",
            Self::Host => "host",
        }
    }
}

/// What was found out about an image.
pub struct Checked {
    /// `None` if it is damaged.
    pub superblock: Option<Superblock>,
    /// The metadata, as far as it was read.
    pub sections: Sections,
    /// Defects: those of page data behind the others, each list in the order of the image.
    pub defects: Vec<Error>,
    /// Bytes up to where the container was sound.
    pub len: u64,
    /// Pages with contents.
    pub pages: u64,
    /// Zero pages.
    pub zero_pages: u64,
    /// Bytes of page data as stored.
    pub stored: u64,
    /// All sections in front of the page data have been read.
    pub has_meta: bool,
}

impl Checked {
    /// The verdict on the image.
    pub fn outcome(&self) -> Outcome {
        self.defects
            .iter()
            .fold(Outcome::Sound, |o, e| o.worse(Outcome::of(&e.kind)))
    }
}

/// Checks an image at `level` ([`Level::Host`] is [`Level::Semantics`] here). `bar`: show the progress.
///
/// # Errors
/// [`Failure::Read`] only; what is wrong with the image is in the result.
pub fn check(input: &mut Input, level: Level, bar: bool) -> Result<Checked, Failure> {
    let file = input.file().and_then(|f| f.try_clone().ok());
    let name = input.name.clone();
    let bar = match input.file_len() {
        Some(len) if bar => progress::bar(len, "verify"),
        _ => progress::bar(0, ""),
    };
    let (mut walk, found) = pages::with_workers(file.as_ref(), level, |pool| {
        let mut walk = Walk {
            input,
            pool,
            validator: Validator::with_crc(crc),
            level,
            owners: None,
            bar: &bar,
            done: Checked {
                superblock: None,
                sections: Sections::default(),
                defects: Vec::new(),
                len: 0,
                pages: 0,
                zero_pages: 0,
                stored: 0,
                has_meta: false,
            },
        };
        match walk.read() {
            Ok(()) => {}
            Err(Stop::Defect(e)) => walk.done.defects.push(e),
            Err(Stop::Failure(e)) => return Err(e),
        }
        (walk.done.pages, walk.done.zero_pages) = walk.validator.page_counts();
        walk.done.len = walk.validator.offset();
        Ok(walk.done)
    })?;
    bar.finish_and_clear();
    let found = found.map_err(|error| Failure::Read { image: name, error })?;
    walk.defects.extend(found);
    Ok(walk)
}

/// What the page data is checked against, made once from the metadata.
#[derive(Default)]
struct Owners {
    /// By process: start and end of every memory area with contents of its own.
    areas: Vec<Vec<(u64, u64)>>,
    /// Size by id of every file whose contents are in the image.
    files: BTreeMap<u32, u64>,
}

struct Walk<'w> {
    input: &'w mut Input,
    pool: &'w pages::Pool,
    validator: Validator,
    level: Level,
    owners: Option<Owners>,
    bar: &'w indicatif::ProgressBar,
    done: Checked,
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

impl Walk<'_> {
    /// The next `N` bytes.
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Stop> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), Stop> {
        match self.input.fill(bytes)? {
            Got::All => Ok(()),
            Got::Short(have) => Err(self.validator.truncated(have as u64).into()),
        }
    }

    fn read(&mut self) -> Result<(), Stop> {
        let block = self.array()?;
        self.done.superblock = Some(self.validator.superblock(&block)?);
        while !self.validator.is_complete() {
            let head = self.array()?;
            let next = self.validator.chunk_header(&head)?;
            if !self.done.has_meta && self.validator.is_meta_complete() {
                self.done.has_meta = true;
                self.meta();
            }
            match next {
                Next::Payload(len) => self.chunk(len as usize)?,
                Next::RunTable => self.pages()?,
            }
            self.bar.set_position(self.validator.offset());
        }
        if self.level >= Level::Semantics {
            let (pages, zero) = self.validator.page_counts();
            if let Err(e) = validate::stats(&self.done.sections, pages, zero) {
                self.done.defects.push(e);
            }
        }
        let trailing = self.input.has_more()?;
        self.validator.finish(trailing)?;
        Ok(())
    }

    /// A chunk without pages; `len` is at most 1 MiB, as the validator has checked.
    fn chunk(&mut self, len: usize) -> Result<(), Stop> {
        let at = self.validator.offset();
        let mut payload = vec![0; len];
        self.fill(&mut payload)?;
        // Sections grow only by what has passed, at most 64 MiB; kept before the structure of the records
        // is checked, so that a defect in it can be located in the image.
        let header = self.validator.header().copied();
        let result = self.validator.payload(&payload);
        if let Some(h) = header.filter(|h| h.chunk_type == ChunkType::Meta) {
            self.done.sections.add(&h, &payload, at)?;
        }
        Ok(result?)
    }

    /// All sections in front of the page data are there: check each, and note what pages may belong to.
    fn meta(&mut self) {
        let sections = &self.done.sections;
        if self.level == Level::Structure {
            let ids = sections.0.keys().copied();
            self.done
                .defects
                .extend(ids.filter_map(|id| encoding(sections, id).err()));
        }
        if self.level < Level::Semantics {
            return;
        }
        for (_, check) in CHECKS {
            if let Err(e) = check(sections) {
                // A section's defect shows in the checks of others that refer to it.
                if !self.done.defects.contains(&e) {
                    self.done.defects.push(e);
                }
            }
        }
        let others = validate::processes(sections).and_then(|()| sections.tree().map(drop));
        if let Err(e) = others {
            if !self.done.defects.contains(&e) {
                self.done.defects.push(e);
            }
        }
        let areas = |process| {
            let vmas = records_of::<VmaRecord<'_>>(sections.of(process, MEMORY));
            vmas.map_while(Result::ok)
                .filter(validate::has_contents)
                .map(|v| (v.start, v.end))
                .collect()
        };
        self.owners = Some(Owners {
            areas: (0..sections.processes()).map(areas).collect(),
            files: file_lengths(sections),
        });
    }

    fn pages(&mut self) -> Result<(), Stop> {
        let table_at = self.validator.offset();
        let table = self.array()?;
        let runs = self.validator.run_table(&table)?;
        if let (Some(owners), Some(h)) = (&self.owners, self.validator.header()) {
            let result = match (h.section, owners.files.get(&h.owner)) {
                (MEMORY, _) => validate::page_owner(&self.done.sections, h.section, h.owner)
                    .and_then(|()| {
                        // The owner is one more than the number of the process.
                        let process = h.owner.saturating_sub(1) as usize;
                        let areas = owners.areas.get(process).map_or(&[][..], Vec::as_slice);
                        runs.iter()
                            .try_for_each(|r| validate::run_in_vmas(areas, &r))
                    }),
                (FILES, Some(&size)) => runs
                    .iter()
                    .try_for_each(|r| validate::run_in_file(size, &r)),
                (FILES, None) => Err(Error::rule("PAGE-9")),
                _ => Ok(()),
            };
            if let Err(e) = result {
                // One is enough: in a bad image it is often the same for thousands of chunks.
                if !self.done.defects.iter().any(|d| d.kind == e.kind) {
                    self.done.defects.push(e.placed(0, table_at));
                }
            }
        }
        let Some(header) = self.validator.header().copied() else {
            return Ok(());
        };
        let at = self.validator.offset();
        let len = header.stored_len as usize;
        if len > 0 {
            // A worker reads a file by itself.
            let bytes = if self.input.file().is_some() {
                let missing = self.input.skip(len as u64)?;
                if missing > 0 {
                    let have = (len as u64).saturating_sub(missing);
                    return Err(self.validator.truncated(have).into());
                }
                None
            } else {
                let mut buffer = self.pool.buffer();
                buffer.resize(len, 0);
                self.fill(&mut buffer)?;
                Some(buffer)
            };
            self.pool.push(pages::Job { header, at, bytes });
        }
        self.done.stored = self.done.stored.saturating_add(len as u64);
        self.validator.skip_page_data()?;
        Ok(())
    }
}

/// Every record of a section that this release knows has its fields, with their encodings.
fn encoding(set: &Sections, id: u16) -> Result<(), Error> {
    let Some(section) = sections::by_id(id) else {
        return Ok(());
    };
    for raw in records_in(id, set.section(id)) {
        let raw = raw?;
        let place = |e: Error| e.placed(id, raw.offset);
        let Some(kind) = sections::record_of(id, raw.record_type) else {
            if section.critical {
                return Err(place(Error::unsupported("record type")));
            }
            continue;
        };
        let mut known = kind.fields.iter();
        for field in raw.fields() {
            let field = field.map_err(place)?;
            match known.next() {
                Some(k) if k.id == field.id => {
                    if k.wire != field.wire || k.hint as u8 != field.hint {
                        return Err(place(Error::rule("REC-9")));
                    }
                }
                Some(_) => return Err(place(Error::rule("REC-8"))),
                None => return Err(place(Error::unsupported("field"))),
            }
        }
        if known.next().is_some() {
            return Err(place(Error::rule("REC-8")));
        }
    }
    Ok(())
}

/// Payload bytes of a `PAGE` chunk are at most this.
const PAYLOAD: usize = limits::CHUNK_PAYLOAD as usize;
