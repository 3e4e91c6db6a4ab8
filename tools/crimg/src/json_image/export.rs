// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `crimg export json`: the document, written piece by piece.

use super::{base64, codec, target::Sink, DOCUMENT};
use crate::{
    error::{Failure, Outcome},
    escape,
    file::ImageFile,
    json,
    load::{crc, SectionData},
    number,
    output::Output,
    progress,
    rewrite::Bytes,
    view::generic::Schema,
};
use cr_format::{
    chunk::{ChunkHeader, ChunkType, CODEC_RAW},
    index::IndexEntry,
    limits, records_in,
    runs::{Run, RunKind},
    sections,
    superblock::{self, Superblock},
    writer::{cut_index, cut_records, ImageWriter, END_CHUNK_LEN, PAGE_HEAD_LEN},
    Error, STATS,
};
use serde_json::{json, Value};
use std::{
    collections::BTreeMap,
    ffi::OsStr,
    path::{Path, PathBuf},
};

/// Write an image as JSON, to be read, compared, edited and made an image again with `import json`.
///
/// Importing what was not edited gives the same image, byte for byte. Numbers, flags and registers are as
/// in `show --json`; members that begin with `_` are for people and ignored by the import.
#[derive(clap::Args)]
#[command(after_help = super::EXIT_CODES)]
pub struct Args {
    /// The image; `-` is standard input, of which a copy is made in $TMPDIR.
    image: String,
    /// Where to write the document; without, standard output.
    #[arg(short, long, value_name = "FILE")]
    output: Option<String>,
    /// Replace an existing file.
    #[arg(long, requires = "output")]
    force: bool,
    /// What to do with page data: `embed` it as base64, leave it out (`none`: the imported image cannot be
    /// restarted), or write it as it is stored to `file=PATH`, which the import looks for beside the document.
    #[arg(long, value_name = "HOW", default_value = "embed", value_parser = parse_pages)]
    pages: Pages,
}

/// Where page data goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pages {
    /// Into the document.
    Embed,
    /// Nowhere.
    None,
    /// Into a file of its own.
    File(PathBuf),
}

fn parse_pages(word: &str) -> Result<Pages, String> {
    match (word, word.strip_prefix("file=")) {
        ("embed", _) => Ok(Pages::Embed),
        ("none", _) => Ok(Pages::None),
        (_, Some(path)) if Path::new(path).file_name().is_some() => Ok(Pages::File(path.into())),
        _ => Err("take embed, none or file=PATH".to_owned()),
    }
}

/// # Errors
/// [`Failure`].
pub fn run(args: &Args, out: &mut Output) -> Result<Outcome, Failure> {
    let file = ImageFile::open(&args.image)?;
    let mut sink = match args.output.as_deref() {
        None | Some("-") => Sink::Output(out),
        Some(path) => Sink::create(Path::new(path), args.force)?,
    };
    export(&file, &args.pages, args.force, &mut sink, true)?;
    sink.commit()?;
    Ok(Outcome::Sound)
}

/// Writes the document of an image to `out`.
///
/// # Errors
/// [`Failure::Defect`] for a damaged image, and for one whose container breaks a rule of order, for the
/// import could not make it again; [`Failure::Read`], [`Failure::Write`], [`Failure::Output`].
pub fn export(
    file: &ImageFile,
    pages: &Pages,
    force: bool,
    out: &mut Sink<'_>,
    show_progress: bool,
) -> Result<(), Failure> {
    if let Some(e) = file.image.damage.first() {
        return Err(file.defect(*e, e.offset));
    }
    let (Some(superblock), Some(end)) = (file.image.superblock, file.image.end) else {
        return Err(file.defect(Error::truncated(superblock::LEN as u64, file.len()), 0));
    };
    let layout = Layout::new(file, &superblock)?;
    let mut doc = Writer { out, depth: 0 };
    doc.text("{\n")?;
    doc.depth = 1;
    doc.member("crimg_schema", &json!(json::SCHEMA))?;
    doc.member("document", &json!(DOCUMENT))?;
    doc.member(
        "_help",
        &json!("Edit and import with: crimg import json. Members that begin with _ are ignored."),
    )?;
    if *pages != Pages::None {
        // Tells whether the document was edited.
        let digest = json!({"chain_crc": format!("{:#010x}", end.chain_crc), "bytes": json::integer(end.file_len)});
        doc.member("digest", &digest)?;
    }
    doc.member("superblock", &superblock_json(&superblock))?;
    if let Some(padding) = &layout.padding {
        doc.member("padding", &json!(padding))?;
    }
    doc.sections(file, &layout)?;
    match pages {
        Pages::None => doc.last("pages", &Value::Null)?,
        Pages::Embed => doc.pages(file, None, show_progress)?,
        Pages::File(path) => {
            let name = path.file_name().map(OsStr::as_encoded_bytes).unwrap_or(b"");
            doc.member("pages_file", &json::text(name))?;
            let mut data = Sink::create(path, force)?;
            doc.pages(file, Some(&mut data), show_progress)?;
            data.commit()?;
        }
    }
    doc.text("}\n")
}

fn superblock_json(s: &Superblock) -> Value {
    let hex = |n: u32| format!("{n:#x}");
    let mut value = json!({
        "major": s.major,
        "minor": s.minor,
        "feature_compat": hex(s.feature_compat),
        "feature_ro_compat": hex(s.feature_ro_compat),
        "feature_incompat": hex(s.feature_incompat),
        "uuid": number::uuid(&s.uuid),
        "parent_uuid": number::uuid(&s.parent_uuid),
        "created_ns": json::integer(s.created_ns),
        "_created_ns": number::time(s.created_ns),
        "writer": json::text(s.writer_name()),
        "flags": hex(s.flags),
    });
    if let (false, Some(m)) = (s.is_restartable(), value.as_object_mut()) {
        m.insert("_flags".into(), "not restartable".into());
    }
    value
}

/// A section, and the number of the process that it is about: the order of the image.
type Key = (u16, u32);

/// The sections in the order of the image.
fn ordered(file: &ImageFile) -> BTreeMap<Key, &SectionData> {
    let all = file.image.sections.iter();
    all.map(|(process, id, data)| ((id, process), data))
        .collect()
}

/// Where the image is not laid out as every writer does it.
struct Layout {
    /// Records in each chunk, by section and process.
    chunks: Vec<(Key, Vec<u32>)>,
    /// Bytes in each padding chunk.
    padding: Option<Vec<u32>>,
}

impl Layout {
    /// Finds the differences; makes sure that index, sequence numbers and end follow from the rest.
    fn new(file: &ImageFile, superblock: &Superblock) -> Result<Self, Failure> {
        let bad = |e: Error, at| file.defect(e, at);
        let mut writer = ImageWriter::with_crc(crc);
        let mut index = Bytes::default();
        writer.superblock(superblock, &mut [0; superblock::LEN]);
        let mut this = Self {
            chunks: Vec::new(),
            padding: None,
        };
        let mut padding = Vec::new();
        let mut usual_padding = Vec::new();
        let mut last = (0, 0, 0);
        let sections = ordered(file);
        let mut read: BTreeMap<Key, usize> = BTreeMap::new();
        for entry in file.entries() {
            let header = file.header(entry)?;
            let place = match header.chunk_type {
                ChunkType::Meta if header.section == STATS => (3, 0, header.owner),
                ChunkType::Meta => (0, header.section, header.owner),
                ChunkType::Pad => (1, 0, 0),
                _ => (2, 0, 0),
            };
            if place < last {
                return Err(bad(Error::rule("ORDER-2"), entry.offset));
            }
            last = place;
            if place.0 == 2 && entry.offset % limits::PAGE != 0 {
                return Err(bad(Error::rule("PAGE-1"), entry.offset));
            }
            if header.chunk_type == ChunkType::Pad {
                if padding.is_empty() {
                    // What would be written here.
                    let pad = writer.clone().pad(&mut Bytes::default());
                    let pad = pad.map_err(|e| bad(e, entry.offset))?;
                    usual_padding.extend(pad.and_then(|p| u32::try_from(p.1).ok()));
                }
                padding.push(header.stored_len);
                // At most 1 MiB: the header has been checked.
                if header.payload_crc != crc(0, &vec![0; header.stored_len as usize]) {
                    return Err(bad(Error::rule("PAD-2"), entry.offset));
                }
            }
            if header.chunk_type == ChunkType::Meta {
                let key = (header.section, header.owner);
                let piece = sections.get(&key).and_then(|s| {
                    let from = *read.get(&key).unwrap_or(&0);
                    let to = header.stored_len as usize;
                    s.bytes.get(from..from.checked_add(to)?)
                });
                let piece = piece.unwrap_or(&[]);
                let to = read.entry(key).or_insert(0_usize);
                *to = to.saturating_add(piece.len());
                if records_in(header.section, piece).count() != header.items as usize {
                    return Err(bad(Error::rule("META-2"), entry.offset));
                }
                this.count(key, header.items);
            }
            let made = writer.keep(&header, &mut index);
            let made = made.map_err(|e| bad(e, entry.offset))?;
            if made != header.encode(crc) {
                return Err(bad(Error::rule("ORDER-5"), entry.offset));
            }
        }
        if padding != usual_padding || !padding.is_empty() && file.page_chunks().next().is_none() {
            this.padding = Some(padding);
        }
        this.check_end(file, writer, &index.0)?;
        this.chunks.retain(|(key, counts)| {
            let section = sections.get(key);
            let bytes = section.map_or(&[][..], |s| &s.bytes);
            usual(key.0, bytes).as_ref() != Some(counts)
        });
        Ok(this)
    }

    fn count(&mut self, key: Key, items: u32) {
        match self.chunks.last_mut() {
            Some((last, counts)) if *last == key => counts.push(items),
            _ => self.chunks.push((key, vec![items])),
        }
    }

    /// Index and end are the ones that the chunks give, to the byte.
    fn check_end(
        &self,
        file: &ImageFile,
        mut writer: ImageWriter,
        index: &[u8],
    ) -> Result<(), Failure> {
        let at = file.len().saturating_sub(END_CHUNK_LEN as u64);
        let mut rest = index;
        while let Some(piece) = cut_index(&mut rest) {
            let offset = writer.offset();
            let head = writer.index(piece).map_err(|e| file.defect(e, at))?;
            // At most 1 MiB, as every chunk.
            let mut there = vec![0; head.len().saturating_add(piece.len())];
            file.read_at(offset, &mut there)?;
            if there.strip_prefix(&head) != Some(piece) {
                return Err(file.defect(Error::rule("INDEX-1"), offset));
            }
        }
        let end = writer.end().map_err(|e| file.defect(e, at))?;
        let mut there = [0; END_CHUNK_LEN];
        file.read_at(at, &mut there)?;
        if end != there || writer.offset() != file.len() {
            return Err(file.defect(Error::rule("INDEX-1"), at));
        }
        Ok(())
    }
}

/// Records in each chunk, as every writer cuts them.
fn usual(id: u16, bytes: &[u8]) -> Option<Vec<u32>> {
    let mut rest = bytes;
    let mut counts = Vec::new();
    while let Some(piece) = cut_records(&mut rest) {
        let n = records_in(id, piece.ok()?).count();
        counts.push(u32::try_from(n).ok()?);
    }
    Some(counts)
}

struct Writer<'w, 'o> {
    out: &'w mut Sink<'o>,
    depth: usize,
}

impl Writer<'_, '_> {
    fn text(&mut self, text: &str) -> Result<(), Failure> {
        self.out.put(text.as_bytes())
    }

    fn indent(&self) -> String {
        "  ".repeat(self.depth)
    }

    /// A value over several lines. Nothing of it steers a terminal.
    fn pretty(&self, value: &Value) -> String {
        let text = serde_json::to_string_pretty(value).unwrap_or_default();
        escape::json(&text).replace('\n', &format!("\n{}", self.indent()))
    }

    /// A value on one line.
    fn line(value: &Value) -> String {
        escape::json(&value.to_string())
    }

    fn last(&mut self, name: &str, value: &Value) -> Result<(), Failure> {
        let (name, value) = (Self::line(&json!(name)), self.pretty(value));
        self.text(&format!("{}{name}: {value}\n", self.indent()))
    }

    fn member(&mut self, name: &str, value: &Value) -> Result<(), Failure> {
        let (name, value) = (Self::line(&json!(name)), self.pretty(value));
        self.text(&format!("{}{name}: {value},\n", self.indent()))
    }

    fn sections(&mut self, file: &ImageFile, layout: &Layout) -> Result<(), Failure> {
        let schema = Schema::new(&file.image);
        self.text("  \"sections\": [")?;
        // Section `stats` stands behind the page data in the image, and here.
        for (n, (key, section)) in ordered(file).iter().enumerate() {
            let (id, process) = key;
            self.text(if n == 0 { "\n" } else { ",\n" })?;
            self.text("    {\n")?;
            self.depth = 3;
            match sections::word(*id) {
                Some(word) => self.member("name", &json!(word))?,
                None => {
                    self.member("name", &json!(format!("{id:#06x}")))?;
                    self.member("_name", &json!(schema.word(*id)))?;
                    self.member("critical", &json!(section.critical))?;
                }
            }
            if *process != 0 {
                self.member("process", &json!(process))?;
            }
            if let Some((_, counts)) = layout.chunks.iter().find(|c| c.0 == *key) {
                let counts = Self::line(&json!(counts));
                self.text(&format!("{}\"chunks\": {counts},\n", self.indent()))?;
            }
            self.text("      \"records\": [")?;
            self.depth = 4;
            for (n, raw) in records_in(*id, &section.bytes).enumerate() {
                let bad = |e: Error| {
                    let at = file.image.sections.file_offset(&e);
                    file.defect(e, at)
                };
                let value = codec::encode(&schema, &raw.map_err(bad)?).map_err(bad)?;
                let value = self.pretty(&value);
                let comma = if n == 0 { "" } else { "," };
                self.text(&format!("{comma}\n{}{value}", self.indent()))?;
            }
            self.text("\n      ]\n    }")?;
        }
        self.depth = 1;
        self.text("\n  ],\n")
    }

    /// The `PAGE` chunks; their data goes into the document, or into `data`.
    fn pages(
        &mut self,
        file: &ImageFile,
        mut data: Option<&mut Sink<'_>>,
        show_progress: bool,
    ) -> Result<(), Failure> {
        let bar = progress::bar(
            if show_progress { file.len() } else { 0 },
            if show_progress { "exporting" } else { "" },
        );
        self.text("  \"pages\": [")?;
        let (mut stored, mut text) = (Vec::new(), Vec::new());
        let mut at = 0_u64;
        for (n, entry) in file.page_chunks().enumerate() {
            let (header, runs) = file.runs(entry)?;
            // Checks the bytes against both checksums, decoded as well.
            stored = if header.codec == CODEC_RAW {
                file.page_data_in(entry, &mut stored)?.bytes
            } else {
                file.page_data(entry)?;
                read(file, entry, &header, stored)?
            };
            let frame = if header.codec == CODEC_RAW {
                &stored[..]
            } else {
                stored.get(..header.frame_len as usize).unwrap_or(&stored)
            };
            self.text(if n == 0 { "\n" } else { ",\n" })?;
            self.head(entry, &header, &runs)?;
            match &mut data {
                Some(data) => {
                    data.put(frame)?;
                    self.text(&format!(
                        "      \"at\": {},\n      \"bytes\": {}\n    }}",
                        Self::line(&json::integer(at)),
                        frame.len()
                    ))?;
                    at = at.saturating_add(frame.len() as u64);
                }
                None => {
                    text.clear();
                    base64::encode(frame, &mut text);
                    self.text("      \"data\": \"")?;
                    self.out.put(&text)?;
                    self.text("\"\n    }")?;
                }
            }
            bar.inc(u64::from(header.stored_len).saturating_add(PAGE_HEAD_LEN as u64));
        }
        bar.finish_and_clear();
        self.text(if file.page_chunks().next().is_some() {
            "\n  ]\n"
        } else {
            "]\n"
        })
    }

    fn head(&mut self, entry: &IndexEntry, h: &ChunkHeader, runs: &[Run]) -> Result<(), Failure> {
        self.text("    {\n")?;
        self.depth = 3;
        let word = sections::word(entry.section);
        let word = word.map_or_else(|| format!("{:#06x}", entry.section), str::to_owned);
        self.member("section", &json!(word))?;
        self.member("owner", &json!(entry.owner))?;
        if entry.section >= sections::THIRD_PARTY {
            self.member("critical", &json!(h.is_critical()))?;
        }
        if h.codec == CODEC_RAW {
            self.member("codec", &json!("raw"))?;
        } else {
            self.member("codec", &json!("zstd"))?;
            self.member("raw_crc", &json!(format!("{:#010x}", h.raw_crc)))?;
        }
        self.text("      \"runs\": [")?;
        for (n, run) in runs.iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            let run = Self::line(&run_json(run));
            self.text(&format!("{comma}\n        {run}"))?;
        }
        self.depth = 1;
        self.text("\n      ],\n")
    }
}

fn read(
    file: &ImageFile,
    entry: &IndexEntry,
    header: &ChunkHeader,
    mut buf: Vec<u8>,
) -> Result<Vec<u8>, Failure> {
    // At most 1 MiB: the header has been checked.
    buf.resize(header.stored_len as usize, 0);
    file.read_at(entry.offset.saturating_add(PAGE_HEAD_LEN as u64), &mut buf)?;
    Ok(buf)
}

/// Words of the kinds of runs.
pub(super) const KINDS: [(RunKind, &str); 4] = [
    (RunKind::Data, "data"),
    (RunKind::Zero, "zero"),
    (RunKind::Duplicate, "duplicate"),
    (RunKind::Parent, "parent"),
];

fn run_json(run: &Run) -> Value {
    let kind = KINDS.iter().find(|k| k.0 == run.kind).map_or("", |k| k.1);
    let mut value =
        json!({"start": format!("{:#x}", run.start), "pages": run.npages, "kind": kind});
    if let (RunKind::Duplicate, Some(m)) = (run.kind, value.as_object_mut()) {
        m.insert("source".into(), format!("{:#x}", run.source).into());
    }
    value
}
