// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! The writing half of the import: from the parts of a document to the image.

use super::import::Job;
use crate::{
    atomic::AtomicFile,
    error::{remedy, Failure},
    file::{decode, ImageFile},
    load::{crc, Sections},
    memory::file_lengths,
    rewrite::{Bytes, PageAction, Rewrite, Target},
};
use cr_format::{
    chunk::{ChunkType, CODEC_RAW, HEADER_LEN},
    limits, records_in, records_of,
    runs::{Run, TABLE_LEN},
    stream::Validator,
    superblock::{self, Superblock, NOT_RESTARTABLE},
    validate::{self, MetaSet},
    writer::{cut_index, cut_records, padded, ImageWriter, Stored, END_CHUNK_LEN, PAGE_HEAD_LEN},
    Error, VmaRecord, FILES, MEMORY, STATS,
};
use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs::File,
    io::{BufWriter, Write},
    os::unix::{ffi::OsStrExt, fs::FileExt},
};

/// A section of the document.
#[derive(Default)]
pub struct Section {
    /// Section id, 0 as long as it is not known.
    pub id: u16,
    /// Number of the process that it is about.
    pub process: u32,
    /// For a third party's section.
    pub critical: bool,
    /// Records in each chunk, where it is not the usual layout.
    pub chunks: Option<Vec<u32>>,
    /// Its records.
    pub bytes: Vec<u8>,
}

/// Everything in front of the pages.
#[derive(Default)]
pub struct Head {
    /// The superblock.
    pub superblock: Option<Superblock>,
    /// The sections, ascending by id and process.
    pub sections: Vec<Section>,
    /// Bytes of their records.
    pub meta: u64,
    /// Bytes in each padding chunk, where it is not the usual layout.
    pub padding: Option<Vec<u32>>,
    /// Plain name of a file with page data.
    pub pages_file: Option<Vec<u8>>,
    /// Chain checksum and length of the exported image.
    pub digest: Option<(u32, u64)>,
    /// The document says that page data was left out.
    pub no_pages: bool,
    /// There is at least one chunk of page data.
    pub has_pages: bool,
}

/// Page data of a chunk as stored, without padding.
pub enum Payload {
    /// Here.
    Bytes(Vec<u8>),
    /// In the file with page data.
    InFile {
        /// Offset.
        at: u64,
        /// Length, at most 1 MiB.
        len: u64,
    },
}

/// A chunk of page data.
pub struct Page {
    /// Section it belongs to.
    pub section: u16,
    /// Owner within the section.
    pub owner: u32,
    /// For a third party's section.
    pub critical: bool,
    /// Of a compressed chunk: checksum of the decoded data.
    pub raw_crc: Option<u32>,
    /// Its runs.
    pub runs: Vec<Run>,
    /// Its data.
    pub data: Payload,
}

/// What was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// The image that was exported.
    Identical,
    /// A new one.
    Edited,
}

/// What page data is checked against.
struct Owners {
    /// Areas by owner.
    areas: BTreeMap<u32, Vec<(u64, u64)>>,
    files: BTreeMap<u32, u64>,
}

/// Writes an image part by part.
pub struct Maker {
    name: String,
    target: std::path::PathBuf,
    force: bool,
    out: BufWriter<File>,
    file: AtomicFile,
    writer: ImageWriter,
    index: Bytes,
    validator: Option<Validator>,
    /// The first thing that the rules forbid: of importance only if the document was edited.
    broken: Option<Failure>,
    sections: Sections,
    /// Number in the document, by section id and process.
    places: BTreeMap<(u16, u32), usize>,
    stats: Option<Section>,
    owners: Owners,
    pages_file: Option<File>,
    digest: Option<(u32, u64)>,
}

impl Maker {
    /// Begins the image: superblock, metadata, padding.
    ///
    /// # Errors
    /// [`Failure::Malformed`] for what cannot be written at all, [`Failure::Output`], [`Failure::Usage`]
    /// for an existing target.
    pub fn new(job: &Job, head: Head) -> Result<Self, Failure> {
        let file = AtomicFile::create(&job.target, job.force)?;
        let out = file.file.try_clone().map_err(|e| file.failed(e))?;
        let mut this = Self {
            name: job.name.clone(),
            target: job.target.clone(),
            force: job.force,
            out: BufWriter::with_capacity(256 << 10, out),
            file,
            writer: ImageWriter::with_crc(crc),
            index: Bytes::default(),
            validator: Some(Validator::with_crc(crc)),
            broken: None,
            sections: Sections::default(),
            places: BTreeMap::new(),
            stats: None,
            owners: Owners {
                areas: BTreeMap::new(),
                files: BTreeMap::new(),
            },
            pages_file: None,
            digest: head.digest,
        };
        let Some(mut superblock) = head.superblock else {
            return Err(this.malformed(
                "the document",
                "the superblock is missing",
                "Export again.",
            ));
        };
        if head.no_pages {
            superblock.flags |= NOT_RESTARTABLE;
            this.digest = None;
        }
        let mut block = [0; superblock::LEN];
        this.writer.superblock(&superblock, &mut block);
        this.put(&block)?;
        this.check("/superblock", |v| v.superblock(&block).map(|_| ()));
        for (n, section) in head.sections.into_iter().enumerate() {
            this.places.insert((section.id, section.process), n);
            if section.id == STATS {
                this.stats = Some(section);
            } else {
                this.section(&section)?;
                let critical = section.critical;
                let to = match section.process {
                    0 => this.sections.0.entry(section.id).or_default(),
                    process => this.sections.1.entry((process, section.id)).or_default(),
                };
                to.push(&section.bytes, 0, critical);
                // Only one copy of the metadata is kept.
                to.bytes = section.bytes;
            }
        }
        this.padding(head.padding.as_deref(), head.has_pages)?;
        this.meta();
        this.open_pages(job, head.pages_file.as_deref(), head.has_pages)?;
        Ok(this)
    }

    /// The document says what the exported image was.
    pub fn digest(&mut self, digest: (u32, u64)) {
        self.digest = Some(digest);
    }

    fn malformed(&self, place: &str, message: &str, remedy: &str) -> Failure {
        Failure::Malformed {
            file: self.name.clone(),
            place: place.to_owned(),
            message: message.to_owned(),
            remedy: remedy.to_owned(),
        }
    }

    /// The failure for a rule that the format has.
    fn forbidden(&self, place: &str, e: Error) -> Failure {
        let hint = match e.rule_id() {
            Some("STATS-2" | "INDEX-2") => "Remove the section stats.".to_owned(),
            Some("ZSTD-2") => "Set feature_incompat of the superblock to \"0x1\".".to_owned(),
            Some(rule) => format!("Edit it so that rule {rule} of the image format is kept."),
            None => remedy(&e.kind).to_owned(),
        };
        self.malformed(place, &e.kind.to_string(), &hint)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let result = self.out.write_all(bytes);
        result.map_err(|e| self.file.failed(e))
    }

    /// Shows the validator what was written. After the first defect it looks no more.
    fn check(&mut self, place: &str, f: impl FnOnce(&mut Validator) -> cr_format::Result) {
        let Some(validator) = &mut self.validator else {
            return;
        };
        if let Err(e) = f(validator) {
            self.validator = None;
            let place = self.place(place, &e);
            self.forbid(&place, e);
        }
    }

    fn forbid(&mut self, place: &str, e: Error) {
        if self.broken.is_none() {
            self.broken = Some(self.forbidden(place, e));
        }
    }

    /// A defect of the metadata is at a record.
    fn place(&self, otherwise: &str, e: &Error) -> String {
        let one = (e.section, 0)..=(e.section, u32::MAX);
        let mut places = self.places.range(one);
        // An error does not say which of several processes it is about.
        let (Some((_, n)), None, true) = (places.next(), places.next(), e.section != 0) else {
            return otherwise.to_owned();
        };
        let bytes = match (self.sections.0.get(&e.section), &self.stats) {
            (Some(section), _) => &section.bytes[..],
            (None, Some(stats)) if e.section == STATS => &stats.bytes,
            _ => return format!("/sections/{n}"),
        };
        let record = records_in(e.section, bytes)
            .map_while(Result::ok)
            .position(|r| r.offset == e.offset);
        match record {
            Some(record) => format!("/sections/{n}/records/{record}"),
            None => format!("/sections/{n}"),
        }
    }

    fn section(&mut self, section: &Section) -> Result<(), Failure> {
        let key = (section.id, section.process);
        let n = self.places.get(&key).copied().unwrap_or(0);
        let place = format!("/sections/{n}");
        let bad = |this: &Self, e: Error| this.forbidden(&place, e);
        let pieces = match section.chunks.as_ref().and_then(|c| pieces(section, c)) {
            Some(pieces) => pieces,
            // What was edited gets the usual layout.
            None => {
                let mut rest = &section.bytes[..];
                let mut out = Vec::new();
                while let Some(piece) = cut_records(&mut rest) {
                    out.push(piece.map_err(|e| bad(self, e))?);
                }
                out
            }
        };
        for piece in pieces {
            let head = self.writer.meta_of(
                section.process,
                section.id,
                section.critical,
                piece,
                &mut self.index,
            );
            let head = head.map_err(|e| bad(self, e))?;
            self.put(&head)?;
            self.put(piece)?;
            self.check(&place, |v| {
                v.chunk_header(&head)?;
                v.payload(piece)
            });
        }
        Ok(())
    }

    /// Padding as the document says, if that still aligns the pages; else as much as is needed.
    fn padding(&mut self, wanted: Option<&[u32]>, has_pages: bool) -> Result<(), Failure> {
        let end = |at: u64, list: &[u32]| {
            list.iter().fold(at, |at, len| {
                at.saturating_add(HEADER_LEN as u64)
                    .saturating_add(u64::from(*len))
            })
        };
        let at = self.writer.offset();
        let fits = |list: &&[u32]| {
            let aligned = end(at, list) % limits::PAGE == 0;
            aligned && list.iter().all(|n| *n <= limits::CHUNK_PAYLOAD)
        };
        match wanted.filter(fits) {
            Some(list) => {
                for len in list {
                    // At most 1 MiB, compared above.
                    let zeros = vec![0; *len as usize];
                    self.pad(&zeros)?;
                }
                Ok(())
            }
            None if has_pages => {
                let pad = self.writer.clone().pad(&mut Bytes::default());
                let pad = pad.map_err(|e| self.forbidden("/padding", e))?;
                match pad {
                    Some((_, len)) => self.pad(&vec![0; len]),
                    None => Ok(()),
                }
            }
            None => Ok(()),
        }
    }

    fn pad(&mut self, zeros: &[u8]) -> Result<(), Failure> {
        let header = cr_format::chunk::ChunkHeader {
            chunk_type: ChunkType::Pad,
            flags: 0,
            codec: CODEC_RAW,
            section: 0,
            seq: 0,
            owner: 0,
            key: 0,
            stored_len: u32::try_from(zeros.len()).unwrap_or(u32::MAX),
            raw_len: u32::try_from(zeros.len()).unwrap_or(u32::MAX),
            items: 0,
            table_crc: 0,
            payload_crc: crc(0, zeros),
            raw_crc: crc(0, zeros),
            frame_len: 0,
            header_crc: 0,
        };
        let head = self.writer.keep(&header, &mut self.index);
        let head = head.map_err(|e| self.forbidden("/padding", e))?;
        self.put(&head)?;
        self.put(zeros)?;
        self.check("/padding", |v| {
            v.chunk_header(&head)?;
            v.payload(zeros)
        });
        Ok(())
    }

    /// The rules for the metadata, and what they leave for the pages.
    fn meta(&mut self) {
        if let Err(e) = validate::meta(&self.sections) {
            let place = self.place("/sections", &e);
            self.forbid(&place, e);
        }
        let areas = |process: u32| {
            let areas = records_of::<VmaRecord<'_>>(self.sections.of(process, MEMORY));
            let areas = areas.map_while(Result::ok).map(|v| (v.start, v.end));
            (process.saturating_add(1), areas.collect())
        };
        self.owners = Owners {
            areas: (0..self.sections.processes()).map(areas).collect(),
            files: file_lengths(&self.sections),
        };
    }

    fn open_pages(&mut self, job: &Job, name: Option<&[u8]>, wanted: bool) -> Result<(), Failure> {
        let beside = name.map(|n| {
            let folder = job.folder.clone().unwrap_or_default();
            folder.join(OsStr::from_bytes(n))
        });
        let Some(path) = job.pages_file.clone().or(beside).filter(|_| wanted) else {
            return Ok(());
        };
        let file = File::open(&path).and_then(|f| match f.metadata()?.is_file() {
            true => Ok(f),
            false => Err(std::io::Error::other("it is no regular file")),
        });
        self.pages_file = Some(file.map_err(|error| Failure::Read {
            image: path.to_string_lossy().into_owned(),
            error,
        })?);
        Ok(())
    }

    /// Page data of a chunk that is in a file.
    fn read(&self, at: u64, len: u64, place: &str) -> Result<Vec<u8>, Failure> {
        let Some(file) = &self.pages_file else {
            return Err(self.malformed(
                place,
                "the page data is in a file, and the document does not name it",
                "Name it with --pages-file.",
            ));
        };
        // At most 1 MiB: the document has been checked.
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        match file.read_exact_at(&mut bytes, at) {
            Ok(()) => Ok(bytes),
            Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => Err(self.malformed(
                place,
                "the file with the page data ends before",
                "Give the file that was written with this document.",
            )),
            Err(error) => Err(Failure::Read {
                image: "the file with the page data".to_owned(),
                error,
            }),
        }
    }

    /// Writes a chunk of page data; `place` is its JSON pointer.
    ///
    /// # Errors
    /// [`Failure::Malformed`] for what cannot be written at all, [`Failure::Read`], [`Failure::Output`].
    pub fn page(&mut self, page: Page, place: String) -> Result<(), Failure> {
        let bytes = match page.data {
            Payload::Bytes(bytes) => bytes,
            Payload::InFile { at, len } => self.read(at, len, &place)?,
        };
        let bad = |this: &Self, e: Error| this.forbidden(&place, e);
        let mut stored_bytes = bytes;
        let mut frame_len = 0;
        let stored = match page.raw_crc {
            None => Stored::Raw {
                crc: crc(0, &stored_bytes),
            },
            Some(raw_crc) => {
                frame_len = u32::try_from(stored_bytes.len()).unwrap_or(u32::MAX);
                // At most one page more.
                stored_bytes.resize(padded(frame_len) as usize, 0);
                Stored::Zstd {
                    frame_len,
                    crc: crc(0, &stored_bytes),
                    raw_crc,
                }
            }
        };
        let mut head = [0; PAGE_HEAD_LEN];
        self.writer
            .page_stored(
                page.section,
                page.owner,
                page.critical,
                &page.runs,
                stored,
                &mut head,
                &mut self.index,
            )
            .map_err(|e| bad(self, e))?;
        self.put(&head)?;
        self.put(&stored_bytes)?;
        let raw_len = page.runs.iter().map(Run::stored_bytes).sum::<u64>();
        self.check(&place, |v| {
            let parts = head.split_first_chunk::<HEADER_LEN>();
            let table = parts.and_then(|(h, t)| Some((h, t.first_chunk::<TABLE_LEN>()?)));
            let (header, table) = table.ok_or(Error::no_space())?;
            v.chunk_header(header)?;
            v.run_table(table)?;
            v.page_data(&stored_bytes)?;
            if frame_len > 0 {
                let frame = stored_bytes.get(..frame_len as usize).unwrap_or(&[]);
                let raw_len = u32::try_from(raw_len).unwrap_or(0);
                v.decoded(decode(frame, raw_len).as_deref())?;
            }
            Ok(())
        });
        if let Err(e) = self.owner(&page.runs, page.section, page.owner) {
            self.forbid(&place, e);
        }
        Ok(())
    }

    fn owner(&self, runs: &[Run], section: u16, owner: u32) -> cr_format::Result {
        match (section, self.owners.files.get(&owner)) {
            (MEMORY, _) => {
                validate::page_owner(&self.sections, section, owner)?;
                let areas = self.owners.areas.get(&owner);
                let areas = areas.map_or(&[][..], Vec::as_slice);
                runs.iter()
                    .try_for_each(|r| validate::run_in_vmas(areas, r))
            }
            (FILES, Some(&size)) => runs.iter().try_for_each(|r| validate::run_in_file(size, r)),
            (FILES, None) => Err(Error::rule("PAGE-9")),
            _ => Ok(()),
        }
    }

    /// Writes the rest, and decides what has been made.
    ///
    /// # Errors
    /// [`Failure::Malformed`] for an edited document that does not fit together; [`Failure::Output`].
    pub fn finish(mut self) -> Result<Made, Failure> {
        if let Some(stats) = self.stats.take() {
            self.section(&stats)?;
            self.stats = Some(stats);
        }
        let index = std::mem::take(&mut self.index.0);
        let mut rest = &index[..];
        while let Some(piece) = cut_index(&mut rest) {
            let head = self.writer.index(piece);
            let head = head.map_err(|e| self.forbidden("the document", e))?;
            self.put(&head)?;
            self.put(piece)?;
        }
        let end = self
            .writer
            .end()
            .map_err(|e| self.forbidden("the document", e))?;
        self.put(&end)?;
        let result = self.out.flush();
        result.map_err(|e| self.file.failed(e))?;
        let digest = (chain(&end), self.writer.offset());
        if self.digest == Some(digest) {
            self.file.commit()?;
            return Ok(Made::Identical);
        }
        if let Some(broken) = self.broken {
            return Err(broken);
        }
        self.rewrite()
    }

    /// The image that was edited: new id, counts, a record of the edit.
    fn rewrite(self) -> Result<Made, Failure> {
        let path = self.file.temporary().to_owned();
        let plain = path.to_str().ok_or_else(|| {
            self.malformed(
                "the target",
                "its path is not UTF-8",
                "Give another name with -o.",
            )
        })?;
        let made = ImageFile::open(plain)?;
        let mut plan = Rewrite::new(&made)?;
        plan.edit("import", "edited as JSON");
        plan.pages(|_| Ok(PageAction::Keep));
        let target = Target::File {
            path: self.target.clone(),
            force: self.force,
        };
        plan.run(target, false)?;
        Ok(Made::Edited)
    }
}

/// The chain checksum in the last chunk.
fn chain(end: &[u8; END_CHUNK_LEN]) -> u32 {
    let at = HEADER_LEN.saturating_add(32);
    let bytes = end.get(at..).and_then(|b| b.first_chunk());
    bytes.map_or(0, |b| u32::from_le_bytes(*b))
}

/// The records cut as the document says; `None` if that does not fit them any more.
fn pieces<'s>(section: &'s Section, chunks: &[u32]) -> Option<Vec<&'s [u8]>> {
    let mut ends = Vec::new();
    for raw in records_in(section.id, &section.bytes) {
        let raw = raw.ok()?;
        ends.push(
            usize::try_from(raw.offset)
                .ok()?
                .checked_add(raw.bytes().len())?,
        );
    }
    let (mut from, mut count) = (0, 0_usize);
    let mut out = Vec::new();
    for n in chunks {
        if *n == 0 {
            return None;
        }
        count = count.checked_add(*n as usize)?;
        let to = *ends.get(count.checked_sub(1)?)?;
        let piece = section.bytes.get(from..to)?;
        if piece.len() > limits::CHUNK_PAYLOAD as usize {
            return None;
        }
        out.push(piece);
        from = to;
    }
    (from == section.bytes.len()).then_some(out)
}
