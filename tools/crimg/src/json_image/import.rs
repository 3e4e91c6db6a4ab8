// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `crimg import json`: reads a document and writes its image.
//!
//! The parts come in the order of the image, and are written as they come. If the members stand in another
//! order (`jq -S` sorts them), a file is read twice: the metadata first. At the end the image is what the
//! digest in the document says, then nothing was edited and that is all; or it is not, then the metadata is
//! checked by the rules and the image rewritten with a new id, counts, and a record of the edit.

use super::{
    base64,
    bounded::{Bounded, Guard, VALUE},
    codec,
    make::{Head, Made, Maker, Page, Payload, Section},
    pointer, Issue, DOCUMENT,
};
use crate::{
    error::{Failure, Outcome},
    escape, json,
    output::Output,
};
use cr_format::{
    limits,
    runs::{Run, RunKind},
    sections,
    superblock::Superblock,
};
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use std::{
    cell::Cell,
    fmt,
    fs::File,
    io::{self, Read, Seek},
    path::{Path, PathBuf},
};

/// Make an image from a document that `export json` wrote, edited or not.
///
/// Without an edit the result is the exported image, byte for byte. With one, checksums, lengths and counts
/// are made anew, and the image gets a new id and a record of the edit in section `provenance`. A document
/// that does not fit together is refused, with the place in it as a JSON pointer.
#[derive(clap::Args)]
#[command(after_help = super::EXIT_CODES)]
pub struct Args {
    /// The document; `-` is standard input.
    document: String,
    /// The image to write.
    #[arg(short, long, value_name = "IMAGE")]
    output: PathBuf,
    /// Replace an existing file.
    #[arg(long)]
    force: bool,
    /// Where the page data is that was exported to a file; without, beside the document.
    #[arg(long, value_name = "FILE")]
    pages_file: Option<PathBuf>,
    /// Print what was made as JSON.
    #[arg(long)]
    json: bool,
}

/// # Errors
/// [`Failure`].
pub fn run(args: &Args, out: &mut Output) -> Result<Outcome, Failure> {
    let name = if args.document == "-" {
        "standard input"
    } else {
        &args.document
    };
    let fail = |error| Failure::Read {
        image: name.to_owned(),
        error,
    };
    let mut job = Job {
        name: name.to_owned(),
        target: args.output.clone(),
        force: args.force,
        folder: Path::new(&args.document).parent().map(Path::to_owned),
        pages_file: args.pages_file.clone(),
    };
    let made = if args.document == "-" {
        job.folder = None;
        import(&job, io::stdin().lock(), Pass::Both)?
    } else {
        let file = File::open(&args.document).map_err(fail)?;
        if file.metadata().map_err(fail)?.is_dir() {
            return Err(fail(io::Error::other("it is a directory")));
        }
        import_file(&job, &file)?
    };
    let identical = made == Made::Identical;
    if args.json {
        let bytes = std::fs::metadata(&args.output).map_or(0, |m| m.len());
        out.json(&serde_json::json!({
            "crimg_schema": json::SCHEMA,
            "command": "import-json",
            "image": json::text(args.output.as_os_str().as_encoded_bytes()),
            "bytes": json::integer(bytes),
            "made": if identical { "identical" } else { "edited" },
        }))?;
    } else {
        let target = escape::text(args.output.as_os_str().as_encoded_bytes());
        out.line(if identical {
            format!("{target}: the exported image, byte for byte")
        } else {
            format!("{target}: an edited image, with a new id")
        })?;
    }
    Ok(Outcome::Sound)
}

/// What an import needs to know besides the document.
#[derive(Clone, Debug)]
pub struct Job {
    /// Name of the document, for messages.
    pub name: String,
    /// The image to write.
    pub target: PathBuf,
    /// Replace what is there?
    pub force: bool,
    /// Folder of the document, where page data in a file is looked for.
    pub folder: Option<PathBuf>,
    /// Page data, if the user says where it is.
    pub pages_file: Option<PathBuf>,
}

/// Which parts of the document a reading looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// All, in the order of an export.
    Both,
    /// All but the pages.
    Head,
    /// The pages.
    Pages,
}

/// Imports a document in a file, in two readings if its members are in another order.
///
/// # Errors
/// [`Failure::Malformed`] with the place; those of reading and writing.
pub fn import_file(job: &Job, mut file: &File) -> Result<Made, Failure> {
    let fail = |error| Failure::Read {
        image: job.name.clone(),
        error,
    };
    let mut reader = Reader::new(job, Pass::Both);
    match reader.read(file) {
        Ok(()) => return reader.finish(),
        Err(e) if !reader.pages_too_early => return Err(e),
        // A pipe cannot be read again.
        Err(e) if file.rewind().is_err() => return Err(e),
        Err(_) => {}
    }
    let mut head = Reader::new(job, Pass::Head);
    head.read(file)?;
    file.rewind().map_err(fail)?;
    head.pass = Pass::Pages;
    head.seen.clear();
    head.read(file)?;
    head.finish()
}

/// Imports a document from a stream.
///
/// # Errors
/// [`Failure::Malformed`] with the place; those of reading and writing.
pub fn import(job: &Job, input: impl Read, pass: Pass) -> Result<Made, Failure> {
    let mut reader = Reader::new(job, pass);
    reader.read(input)?;
    reader.finish()
}

struct Reader<'j> {
    job: &'j Job,
    pass: Pass,
    head: Head,
    maker: Option<Maker>,
    /// Where in the document.
    path: Vec<String>,
    /// What went wrong, if the parser only knows that something did.
    failure: Option<Failure>,
    pages_too_early: bool,
    /// Top-level members that were there.
    seen: Vec<String>,
}

/// Remedy for a document of another shape.
const SHAPE: &str = "Compare with a document that crimg export json writes.";

impl<'j> Reader<'j> {
    fn new(job: &'j Job, pass: Pass) -> Self {
        Self {
            job,
            pass,
            head: Head::default(),
            maker: None,
            path: Vec::new(),
            failure: None,
            pages_too_early: false,
            seen: Vec::new(),
        }
    }

    fn read(&mut self, input: impl Read) -> Result<(), Failure> {
        let buffered = io::BufReader::with_capacity(256 << 10, Guard::new(input));
        let mut d = serde_json::Deserializer::from_reader(buffered);
        let result = d.deserialize_map(Document(self)).and_then(|()| d.end());
        let Err(e) = result else { return Ok(()) };
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        let place = format!(
            "{} (line {}, column {})",
            self.place(),
            e.line(),
            e.column()
        );
        if e.is_io() && e.io_error_kind() != Some(io::ErrorKind::InvalidData) {
            return Err(Failure::Read {
                image: self.job.name.clone(),
                error: e.into(),
            });
        }
        let remedy = if e.is_eof() {
            "The end is missing: export again, or copy the whole document."
        } else {
            SHAPE
        };
        Err(Failure::Malformed {
            file: self.job.name.clone(),
            place,
            message: e.to_string(),
            remedy: remedy.to_owned(),
        })
    }

    /// Where in the document, for people.
    fn place(&self) -> String {
        match pointer(&self.path) {
            root if root.is_empty() => "the document".to_owned(),
            pointer => pointer,
        }
    }

    /// Keeps a failure with its place, and stops the parser.
    fn stop<E: de::Error>(&mut self, issue: Issue) -> E {
        let mut path = self.path.clone();
        path.extend(issue.path);
        let place = pointer(&path);
        self.failure = Some(Failure::Malformed {
            file: self.job.name.clone(),
            place: if place.is_empty() {
                "the document".to_owned()
            } else {
                place
            },
            message: issue.message,
            remedy: issue.remedy,
        });
        E::custom("stopped")
    }

    fn fail<E: de::Error>(&mut self, failure: Failure) -> E {
        self.failure = Some(failure);
        E::custom("stopped")
    }

    /// Reads a member that is small.
    fn value<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Value, A::Error> {
        map.next_value_seed(Bounded(&Cell::new(VALUE)))
    }

    /// Everything in front of the pages is known: begins the image.
    fn begin(&mut self) -> Result<(), Issue> {
        if self.maker.is_some() {
            return Ok(());
        }
        for (there, name) in [
            (self.head.superblock.is_some(), "superblock"),
            (!self.head.sections.is_empty(), "sections"),
        ] {
            if !there {
                self.pages_too_early = self.pass == Pass::Both;
                return Err(Issue::new(
                    format!("\"{name}\" must come before \"pages\""),
                    "Put the members in the order of an export, or give the document as a file and not as a stream.",
                ));
            }
        }
        Ok(())
    }

    fn maker<E: de::Error>(&mut self) -> Result<&mut Maker, E> {
        if self.maker.is_none() {
            self.begin().map_err(|issue| self.stop(issue))?;
            let head = std::mem::take(&mut self.head);
            match Maker::new(self.job, head) {
                Ok(maker) => self.maker = Some(maker),
                Err(failure) => return Err(self.fail(failure)),
            }
        }
        match &mut self.maker {
            Some(maker) => Ok(maker),
            None => Err(E::custom("stopped")),
        }
    }

    fn finish(mut self) -> Result<Made, Failure> {
        if self.maker.is_none() {
            let head = std::mem::take(&mut self.head);
            let missing = [
                (head.superblock.is_none(), "superblock"),
                (!self.seen.iter().any(|s| s == "pages"), "pages"),
            ];
            if let Some((_, name)) = missing.iter().find(|m| m.0) {
                return Err(Failure::Malformed {
                    file: self.job.name.clone(),
                    place: "the document".to_owned(),
                    message: format!("the member \"{name}\" is missing"),
                    remedy: SHAPE.to_owned(),
                });
            }
            self.maker = Some(Maker::new(self.job, head)?);
        }
        match self.maker {
            Some(maker) => maker.finish(),
            // Made just above.
            None => Ok(Made::Edited),
        }
    }

    /// A top-level member other than the streamed ones.
    fn member(&mut self, name: &str, value: &Value) -> Result<(), Issue> {
        match name {
            "crimg_schema" => match value.as_u64() {
                Some(json::SCHEMA) => Ok(()),
                _ => Err(Issue::new(
                    "this crimg knows crimg_schema 1",
                    "Take the crimg of the release that wrote the document.",
                )),
            },
            "document" if value == DOCUMENT => Ok(()),
            "document" => Err(Issue::new(
                "this is another kind of document",
                "Import what crimg export json wrote, not show --json.",
            )),
            "digest" => {
                self.head.digest = Some(digest(value)?);
                Ok(())
            }
            "superblock" => {
                self.head.superblock = Some(superblock(value)?);
                Ok(())
            }
            "padding" => {
                self.head.padding = Some(counts(value, limits::PAD_CHUNKS as usize)?);
                Ok(())
            }
            "pages_file" => {
                let name = codec::text(value)?;
                if name.is_empty() || name == b".." || name == b"." || name.contains(&b'/') {
                    return Err(Issue::new(
                        "the name of the file is a plain name, for a document must not choose what is read",
                        "Put the file beside the document, or name it with --pages-file.",
                    ));
                }
                self.head.pages_file = Some(name);
                Ok(())
            }
            _ => Err(stray()),
        }
    }
}

fn counts(value: &Value, most: usize) -> Result<Vec<u32>, Issue> {
    let list = value.as_array().filter(|l| l.len() <= most);
    let list = list.ok_or_else(|| {
        Issue::new(
            format!("this is not an array of at most {most} numbers"),
            SHAPE,
        )
    })?;
    let numbers = list.iter().enumerate();
    numbers
        .map(|(n, v)| codec::middle(v).map_err(|e| e.within(n.to_string())))
        .collect()
}

fn part<'v>(value: &'v Value, name: &str) -> Result<&'v Value, Issue> {
    value
        .get(name)
        .ok_or_else(|| Issue::new(format!("the member \"{name}\" is missing"), SHAPE))
}

/// A member that must be there, as `read` understands it.
fn field<T>(
    value: &Value,
    name: &str,
    read: impl Fn(&Value) -> Result<T, Issue>,
) -> Result<T, Issue> {
    read(part(value, name)?).map_err(|e| e.within(name))
}

fn digest(value: &Value) -> Result<(u32, u64), Issue> {
    Ok((
        field(value, "chain_crc", codec::middle)?,
        field(value, "bytes", codec::number_u64)?,
    ))
}

fn stray() -> Issue {
    Issue::new(
        "there is no such member",
        "Remove it, or begin its name with _ for a remark.",
    )
}

/// Refuses members that nobody reads: a misspelt edit must not be lost.
fn known(value: &Value, names: &[&str]) -> Result<(), Issue> {
    let Value::Object(m) = value else {
        return Err(Issue::new("this is not an object", SHAPE));
    };
    let unknown = m
        .keys()
        .find(|k| !k.starts_with('_') && !names.contains(&k.as_str()));
    match unknown {
        Some(name) => Err(stray().within(name.clone())),
        None => Ok(()),
    }
}

fn superblock(value: &Value) -> Result<Superblock, Issue> {
    known(
        value,
        &[
            "major",
            "minor",
            "feature_compat",
            "feature_ro_compat",
            "feature_incompat",
            "uuid",
            "parent_uuid",
            "created_ns",
            "writer",
            "flags",
        ],
    )?;
    let number = |name| field(value, name, codec::middle);
    let short = |name| field(value, name, codec::small);
    let writer = field(value, "writer", codec::text)?;
    if writer.len() > 32 || writer.contains(&0) {
        let issue = Issue::new("the name has at most 32 bytes and no NUL", "Shorten it.");
        return Err(issue.within("writer"));
    }
    let created = field(value, "created_ns", codec::number_u64)?;
    let mut s = Superblock::new(field(value, "uuid", uuid)?, created, &writer);
    (s.major, s.minor) = (short("major")?, short("minor")?);
    s.feature_compat = number("feature_compat")?;
    s.feature_ro_compat = number("feature_ro_compat")?;
    s.feature_incompat = number("feature_incompat")?;
    s.parent_uuid = field(value, "parent_uuid", uuid)?;
    s.flags = number("flags")?;
    Ok(s)
}

fn uuid(value: &Value) -> Result<[u8; 16], Issue> {
    let text = value.as_str().unwrap_or("");
    let dashed = text.len() == 36
        && [8, 13, 18, 23]
            .iter()
            .all(|n| text.as_bytes().get(*n) == Some(&b'-'));
    let bytes = dashed
        .then(|| text.replace('-', ""))
        .and_then(|t| codec::unhex(&t));
    bytes.and_then(|b| b.try_into().ok()).ok_or_else(|| {
        Issue::new(
            "this is not a UUID",
            "Write it as 01234567-89ab-cdef-0123-456789abcdef.",
        )
    })
}

/// The id of a section: a word or a number.
fn section_id(value: &Value) -> Result<u16, Issue> {
    let word = value.as_str().unwrap_or("");
    if let Some(known) = sections::by_word(word) {
        return Ok(known.id);
    }
    codec::small(value).ok().filter(|n| *n != 0).ok_or_else(|| {
        Issue::new(
            "this is neither the word nor the number of a section",
            "Write a word like tasks, or a number like \"0x9000\".",
        )
    })
}

fn page(value: &Value, in_file: bool) -> Result<Page, Issue> {
    let names = [
        "section", "owner", "critical", "codec", "raw_crc", "runs", "data", "at", "bytes",
    ];
    known(value, &names)?;
    let section = field(value, "section", section_id)?;
    let owner = field(value, "owner", codec::middle)?;
    let list = part(value, "runs")?.as_array();
    let list = list.filter(|l| !l.is_empty() && l.len() <= limits::CHUNK_RUNS as usize);
    let list = list.ok_or_else(|| {
        Issue::new(
            format!("this is not an array of 1 to {} runs", limits::CHUNK_RUNS),
            "A chunk with more is cut into two.",
        )
        .within("runs")
    })?;
    let runs = list
        .iter()
        .enumerate()
        .map(|(n, r)| one_run(r).map_err(|e| e.within(n.to_string()).within("runs")))
        .collect::<Result<Vec<Run>, Issue>>()?;
    let codec_word = value.get("codec").and_then(Value::as_str).unwrap_or("raw");
    let raw_crc = match codec_word {
        "raw" => None,
        "zstd" => Some(field(value, "raw_crc", codec::middle)?),
        _ => return Err(Issue::new("unknown codec", "Take raw or zstd.").within("codec")),
    };
    let data = match value.get("data") {
        Some(Value::String(text)) => {
            Payload::Bytes(base64::decode(text.as_bytes()).ok_or_else(|| {
                Issue::new(
                    "this is not base64",
                    "Encode the bytes with base64, without line breaks.",
                )
                .within("data")
            })?)
        }
        Some(_) => return Err(Issue::new("this is not a string", SHAPE).within("data")),
        None if in_file => Payload::InFile {
            at: field(value, "at", codec::number_u64)?,
            len: field(value, "bytes", codec::number_u64)?,
        },
        None => return Err(Issue::new(
            "the chunk has no \"data\"",
            "Export with --pages embed, or set \"pages\" to null for an image without page data.",
        )),
    };
    let len = match &data {
        Payload::Bytes(b) => b.len() as u64,
        Payload::InFile { len, .. } => *len,
    };
    let wanted = runs
        .iter()
        .map(Run::stored_bytes)
        .fold(0, u64::saturating_add);
    let fits = match raw_crc {
        None => len == wanted,
        Some(_) => len > 0 && len < wanted,
    };
    if len > limits::CHUNK_PAYLOAD.into() || !fits {
        return Err(Issue::new(
            format!("the runs store {wanted} bytes, the data has {len}"),
            "Make the runs of kind data and the data agree; a frame is shorter than what it holds.",
        ));
    }
    Ok(Page {
        section,
        owner,
        critical: value
            .get("critical")
            .and_then(Value::as_bool)
            .unwrap_or(false),
        raw_crc,
        runs,
        data,
    })
}

fn one_run(value: &Value) -> Result<Run, Issue> {
    known(value, &["start", "pages", "kind", "source"])?;
    let word = part(value, "kind")?.as_str().unwrap_or("");
    let kind = super::export::KINDS.iter().find(|k| k.1 == word);
    let kind = kind.ok_or_else(|| {
        Issue::new(
            "unknown kind of a run",
            "Take data, zero, duplicate or parent.",
        )
        .within("kind")
    })?;
    let source = if kind.0 == RunKind::Duplicate {
        field(value, "source", codec::number_u64)?
    } else {
        0
    };
    Ok(Run {
        start: field(value, "start", codec::number_u64)?,
        npages: field(value, "pages", codec::middle)?,
        kind: kind.0,
        source,
    })
}

/// A part of the document that is read as it comes, whatever its shape is: its visitor knows what may stand there.
struct Streamed<V>(V);

impl<'de, V: Visitor<'de, Value = ()>> DeserializeSeed<'de> for Streamed<V> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<(), D::Error> {
        d.deserialize_any(self.0)
    }
}

/// The name of the next member that is no remark.
fn next_name<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Option<String>, A::Error> {
    while let Some(name) = map.next_key::<String>()? {
        if !name.starts_with('_') {
            return Ok(Some(name));
        }
        map.next_value::<IgnoredAny>()?;
    }
    Ok(None)
}

/// The elements of an array one after the other, each with its number in the place of messages.
fn each<'de, A: SeqAccess<'de>>(
    reader: &mut Reader<'_>,
    mut seq: A,
    mut element: impl FnMut(&mut Reader<'_>, Value) -> Result<(), A::Error>,
) -> Result<(), A::Error> {
    let mut n = 0_u64;
    loop {
        reader.path.push(n.to_string());
        let value = seq.next_element_seed(Bounded(&Cell::new(VALUE)))?;
        let last = value.is_none();
        if let Some(value) = value {
            element(reader, value)?;
        }
        reader.path.pop();
        if last {
            return Ok(());
        }
        n = n.saturating_add(1);
    }
}

struct Document<'r, 'j>(&'r mut Reader<'j>);

impl<'de> Visitor<'de> for Document<'_, '_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object that crimg export json wrote")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let reader = self.0;
        while let Some(name) = next_name(&mut map)? {
            reader.path.push(name.clone());
            if reader.seen.contains(&name) {
                return Err(reader.stop(Issue::new("the member is there twice", "Remove one.")));
            }
            match (name.as_str(), reader.pass) {
                ("pages", Pass::Head) => {
                    map.next_value::<IgnoredAny>()?;
                }
                ("pages", _) => {
                    reader.begin().map_err(|issue| reader.stop(issue))?;
                    map.next_value_seed(Streamed(Pages(reader)))?;
                }
                (_, Pass::Pages) => {
                    map.next_value::<IgnoredAny>()?;
                }
                ("sections", _) => map.next_value_seed(Streamed(Sections(reader)))?,
                _ => {
                    // Members behind the pages cannot change what has been written.
                    let written = ["superblock", "padding", "pages_file"];
                    let late = reader.maker.is_some() && written.contains(&name.as_str());
                    let value = Reader::value(&mut map)?;
                    if late {
                        return Err(reader.stop(Issue::new(
                            "this member must come before \"pages\"",
                            "Put the members in the order of an export.",
                        )));
                    }
                    let read = reader.member(&name, &value);
                    read.map_err(|issue| reader.stop(issue))?;
                    if let (Some(maker), Some(digest)) = (&mut reader.maker, reader.head.digest) {
                        maker.digest(digest);
                    }
                }
            }
            reader.path.pop();
            if reader.seen.len() > 64 {
                return Err(de::Error::custom("too many members"));
            }
            reader.seen.push(name);
        }
        Ok(())
    }
}

struct Sections<'r, 'j>(&'r mut Reader<'j>);

impl<'de> Visitor<'de> for Sections<'_, '_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of sections")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let reader = self.0;
        if reader.maker.is_some() {
            return Err(reader.stop(Issue::new("the sections must come before \"pages\"", SHAPE)));
        }
        loop {
            let n = reader.head.sections.len();
            reader.path.push(n.to_string());
            if seq
                .next_element_seed(Streamed(OneSection(reader)))?
                .is_none()
            {
                reader.path.pop();
                return Ok(());
            }
            reader.path.pop();
        }
    }
}

struct OneSection<'r, 'j>(&'r mut Reader<'j>);

impl<'de> Visitor<'de> for OneSection<'_, '_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a section")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let reader = self.0;
        let mut section = Section::default();
        let mut records = false;
        while let Some(name) = next_name(&mut map)? {
            reader.path.push(name.clone());
            if name == "records" {
                if section.id == 0 || std::mem::replace(&mut records, true) {
                    return Err(reader.stop(Issue::new(
                        "\"records\" comes once, and behind \"name\"",
                        "Put \"name\" first.",
                    )));
                }
                reader.path.pop();
                in_order(reader, &section).map_err(|issue| reader.stop(issue))?;
                reader.path.push(name);
                map.next_value_seed(Streamed(Records(reader, &mut section)))?;
            } else {
                let value = Reader::value(&mut map)?;
                let read = member(&mut section, &name, &value);
                read.map_err(|issue| reader.stop(issue))?;
            }
            reader.path.pop();
        }
        if section.id == 0 {
            return Err(reader.stop(Issue::new("the section has no \"name\"", SHAPE)));
        }
        if !records {
            in_order(reader, &section).map_err(|issue| reader.stop(issue))?;
        }
        reader.head.sections.push(section);
        Ok(())
    }
}

/// Comes the section behind the one before?
fn in_order(reader: &Reader<'_>, section: &Section) -> Result<(), Issue> {
    let last = reader.head.sections.last();
    if last.is_none_or(|l| (l.id, l.process) < (section.id, section.process)) {
        return Ok(());
    }
    let issue = Issue::new(
        "sections ascend by number, and those of one number by process, each once",
        "Put the section at its place, as an export does.",
    );
    Err(issue.within("name"))
}

fn member(section: &mut Section, name: &str, value: &Value) -> Result<(), Issue> {
    match name {
        "name" if section.id == 0 => {
            section.id = section_id(value)?;
            Ok(())
        }
        "process" => {
            section.process = codec::middle(value)?;
            if u64::from(section.process) >= limits::PROCESSES {
                return Err(Issue::new(
                    format!("an image has at most {} processes", limits::PROCESSES),
                    "Number them from 0, parents before their children.",
                ));
            }
            Ok(())
        }
        "critical" => {
            section.critical = value
                .as_bool()
                .ok_or_else(|| Issue::new("this is not true or false", SHAPE))?;
            Ok(())
        }
        "chunks" => {
            section.chunks = Some(counts(value, 1 << 16)?);
            Ok(())
        }
        _ => Err(stray()),
    }
}

struct Records<'r, 'j, 's>(&'r mut Reader<'j>, &'s mut Section);

impl<'de> Visitor<'de> for Records<'_, '_, '_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of records")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<(), A::Error> {
        let Self(reader, section) = self;
        each(reader, seq, |reader, value| {
            let bytes = codec::decode(section.id, &value).map_err(|issue| reader.stop(issue))?;
            reader.head.meta = reader.head.meta.saturating_add(bytes.len() as u64);
            if reader.head.meta > limits::META_TOTAL {
                return Err(reader.stop(Issue::new(
                    format!("the records have more than {} bytes", limits::META_TOTAL),
                    "Restart has the same limit: remove some.",
                )));
            }
            section.bytes.extend(bytes);
            Ok(())
        })
    }
}

struct Pages<'r, 'j>(&'r mut Reader<'j>);

impl<'de> Visitor<'de> for Pages<'_, '_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of page chunks, or null for an image without page data")
    }
    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        self.0.head.no_pages = true;
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<(), A::Error> {
        let reader = self.0;
        let in_file = reader.head.pages_file.is_some() || reader.job.pages_file.is_some();
        reader.head.has_pages = false;
        each(reader, seq, |reader, value| {
            let page = page(&value, in_file).map_err(|issue| reader.stop(issue))?;
            drop(value);
            if reader.maker.is_none() {
                reader.head.has_pages = true;
            }
            let place = pointer(&reader.path);
            let made = reader.maker()?.page(page, place);
            made.map_err(|failure| reader.fail(failure))
        })
    }
}
