// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! What differs between two images: objects by their identity, not by the order or number of their
//! records, and page data byte by byte.
//!
//! Where to look: [`records`] pairs the records of any section · [`descriptors`], [`areas`] and
//! [`arguments`] those that need more than their own record · [`pages`] page data · [`trees`] images of several processes ·
//! [`print`] for people.
//! What tells images apart without being a difference of their processes (ids, times, host, counts,
//! schema, provenance) is in the header and does not make two images different.

pub mod areas;
pub mod arguments;
pub mod descriptors;
pub mod pages;
pub mod print;
pub mod records;
mod trees;
pub mod value;

use crate::{error::Failure, file::ImageFile, json, number, view::generic::Schema};
use cr_format::{sections, validate::MetaSet, IMAGE, PROVENANCE, SCHEMA, STATS};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use value::Shown;

/// How page data is compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Mem {
    /// Not at all.
    None,
    /// Count the pages that differ, per memory area.
    #[default]
    Pages,
    /// The same, and show the bytes that differ.
    Bytes,
}

impl Mem {
    /// The word on the command line and in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Pages => "pages",
            Self::Bytes => "bytes",
        }
    }
}

/// What to compare, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// How page data is compared.
    pub mem: Mem,
    /// Fields to pass over: `pos`, `regs.rip`, `file.pos`, `files.file.pos`.
    pub ignore: Vec<String>,
    /// Only these sections, by id; empty: all.
    pub sections: Vec<u16>,
    /// Most differing bytes that are kept to be shown, per side.
    pub max_bytes: u64,
    /// Pass over page data whose checksums are equal. A checksum finds damage, not malice.
    pub trust_crc: bool,
    /// Only whether there is a difference: stop at the first one.
    pub first_only: bool,
    /// Show a progress bar on long work.
    pub progress: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            mem: Mem::Pages,
            ignore: Vec::new(),
            sections: Vec::new(),
            max_bytes: 4096,
            trust_crc: false,
            first_only: false,
            progress: false,
        }
    }
}

impl Options {
    /// Is the section to be compared?
    pub fn wants(&self, section: u16) -> bool {
        self.sections.is_empty() || self.sections.contains(&section)
    }

    /// Is the field to be passed over?
    pub fn ignores(&self, section: &str, record: &str, field: &str) -> bool {
        let within = |pattern: &str, name: &str| {
            name.strip_prefix(pattern)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let in_record = format!("{record}.{field}");
        let in_section = format!("{section}.{in_record}");
        self.ignore.iter().any(|p| {
            [field, &in_record, &in_section]
                .iter()
                .any(|n| within(p, n))
        })
    }

    /// The first pattern of `ignore` that cannot match anything in these images.
    pub fn stray(&self, sides: [&ImageFile; 2]) -> Option<&str> {
        let mut known: BTreeSet<String> = sections::SECTIONS
            .iter()
            .flat_map(|s| s.records)
            .flat_map(|r| r.fields.iter().map(|f| f.name).chain([r.name]))
            .map(str::to_owned)
            .collect();
        known.extend(["argument", "environment", "pipe"].map(str::to_owned));
        known.extend(cr_format::REG_NAMES.map(|r| format!("regs.{r}")));
        for side in sides {
            let names = crate::view::all::<cr_format::SchemaField<'_>>(&side.image);
            known.extend(names.map(|f| crate::escape::text(f.name)));
        }
        self.ignore
            .iter()
            .map(String::as_str)
            .find(|p| !p.split('.').any(|part| known.contains(part)) && !part_number(p))
    }
}

/// `field_7`, `type_3.field_7`: names of what nobody has named.
fn part_number(pattern: &str) -> bool {
    let last = pattern.rsplit('.').next().unwrap_or(pattern);
    last.strip_prefix("field_")
        .is_some_and(|n| n.parse::<u16>().is_ok())
}

/// What became of an object from A to B.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only in B.
    Added,
    /// Only in A.
    Removed,
    /// In both, with other values.
    Changed,
    /// A memory area at another address.
    Moved,
    /// A memory area that is longer.
    Grown,
    /// A memory area that is shorter.
    Shrunk,
    /// A memory area that is several now.
    Split,
    /// Memory areas that are one now.
    Merged,
    /// Memory areas that overlap in no simple way.
    Remapped,
}

impl Kind {
    /// The word in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Changed => "changed",
            Self::Moved => "moved",
            Self::Grown => "grown",
            Self::Shrunk => "shrunk",
            Self::Split => "split",
            Self::Merged => "merged",
            Self::Remapped => "remapped",
        }
    }
}

/// One value that differs. One side is missing if the object or field is there on one side only.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldChange {
    /// Its name; parts of a field are `field.part`.
    pub field: String,
    /// In A.
    pub old: Option<Shown>,
    /// In B.
    pub new: Option<Shown>,
    /// What was gained and lost, for sets.
    pub note: Option<String>,
}

impl FieldChange {
    /// A value that is there on one side only: 0 is A.
    fn alone(side: usize, field: String, shown: Shown) -> Self {
        let (old, new) = if side == 0 {
            (Some(shown), None)
        } else {
            (None, Some(shown))
        };
        Self {
            field,
            old,
            new,
            note: None,
        }
    }

    /// A value that differs.
    pub fn new(field: impl Into<String>, old: Shown, new: Shown) -> Self {
        Self {
            field: field.into(),
            old: Some(old),
            new: Some(new),
            note: None,
        }
    }
}

impl Serialize for FieldChange {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut m = s.serialize_map(None)?;
        m.serialize_entry("field", &self.field)?;
        for (name, value) in [("old", &self.old), ("new", &self.new)] {
            if let Some(shown) = value {
                m.serialize_entry(name, &shown.json)?;
                if !shown.is_plain() {
                    m.serialize_entry(&format!("{name}_text"), &shown.text)?;
                }
            }
        }
        if let Some(note) = &self.note {
            m.serialize_entry("note", note)?;
        }
        m.end()
    }
}

/// One object that differs.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Id of the process that it is of, if an image has several.
    pub process: Option<u64>,
    /// Resource word.
    pub section: String,
    /// Name of the record type, or `environment`, `argument`.
    pub record: String,
    /// The object as the user knows it. Escaped.
    pub object: String,
    /// What became of it.
    pub kind: Kind,
    /// In one sentence, if the fields do not say it.
    pub note: Option<String>,
    /// Its values that differ.
    pub fields: Vec<FieldChange>,
}

impl Serialize for Change {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut m = s.serialize_map(None)?;
        if let Some(process) = self.process {
            m.serialize_entry("process", &json::integer(process))?;
        }
        m.serialize_entry("section", &self.section)?;
        m.serialize_entry("record", &self.record)?;
        m.serialize_entry("object", &self.object)?;
        m.serialize_entry("change", self.kind.word())?;
        if let Some(note) = &self.note {
            m.serialize_entry("note", note)?;
        }
        m.serialize_entry("fields", &self.fields)?;
        m.end()
    }
}

/// The result of a comparison.
pub struct Diff {
    /// The images: name, length, id, time, process.
    pub sides: [Value; 2],
    /// What tells the images apart and is no difference.
    pub header: Vec<Change>,
    /// What differs.
    pub changes: Vec<Change>,
    /// Page data, unless it was not compared.
    pub memory: Option<pages::Report>,
    /// What could not be compared, for people.
    pub warnings: Vec<String>,
    /// How page data was compared.
    pub mem: Mem,
    /// Patterns of fields that were passed over.
    pub ignored: Vec<String>,
}

impl Diff {
    /// No difference in what was compared.
    pub fn is_same(&self) -> bool {
        self.changes.is_empty() && self.memory.as_ref().is_none_or(pages::Report::is_same)
    }
}

impl Serialize for Diff {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut m = s.serialize_map(None)?;
        m.serialize_entry("crimg_schema", &json::SCHEMA)?;
        let [a, b] = &self.sides;
        m.serialize_entry("a", a)?;
        m.serialize_entry("b", b)?;
        m.serialize_entry("same", &self.is_same())?;
        m.serialize_entry("mem", self.mem.word())?;
        m.serialize_entry("ignored", &self.ignored)?;
        m.serialize_entry("warnings", &self.warnings)?;
        m.serialize_entry("header", &self.header)?;
        m.serialize_entry("changes", &self.changes)?;
        m.serialize_entry("memory", &self.memory)?;
        m.end()
    }
}

/// Both images, as the parts of the comparison take them.
pub(crate) struct Pair<'a> {
    pub files: [&'a ImageFile; 2],
    pub schemas: [Schema; 2],
    pub options: &'a Options,
    /// Are these two of several processes, of which another pair has what nobody can tell whose it is?
    pub is_part: bool,
}

impl Pair<'_> {
    /// The records of a section of A (0) or B (1).
    pub fn section(&self, side: usize, id: u16) -> &[u8] {
        self.files
            .get(side)
            .map_or(&[], |f| f.image.sections.section(id))
    }
    /// The schema of a side.
    pub fn schema(&self, side: usize) -> &Schema {
        let [a, b] = &self.schemas;
        if side == 0 {
            a
        } else {
            b
        }
    }
    /// The resource word of a section.
    pub fn word(&self, id: u16) -> String {
        let side = usize::from(self.section(0, id).is_empty());
        self.schema(side).word(id)
    }
}

/// Sections that make no difference between processes.
fn is_header(section: u16) -> bool {
    matches!(section, IMAGE | SCHEMA | PROVENANCE | STATS)
}

/// Compares two images; those of several processes process by process. Damage in their metadata is left to the caller
/// (`image.damage`): what is left is compared.
///
/// # Errors
/// [`Failure::Defect`] for records that cannot be read and for damaged page data, [`Failure::Read`].
pub fn compare(a: &ImageFile, b: &ImageFile, options: &Options) -> Result<Diff, Failure> {
    let mut diff = Diff {
        sides: [side(a), side(b)],
        header: superblocks(a, b),
        changes: Vec::new(),
        memory: None,
        warnings: Vec::new(),
        mem: options.mem,
        ignored: options.ignore.clone(),
    };
    let whole = Pair {
        files: [a, b],
        schemas: [Schema::new(&a.image), Schema::new(&b.image)],
        options,
        is_part: false,
    };
    let files = descriptors::Files::both(&whole);
    for id in section_ids(&whole).filter(|id| is_header(*id)) {
        records::section(&whole, &files, id, &mut diff.header)?;
    }
    if a.is_tree() || b.is_tree() {
        trees::compare(a, b, options, &mut diff)?;
    } else {
        processes(&whole, &mut diff)?;
    }
    Ok(diff)
}

/// The sections that one of both has.
fn section_ids(pair: &Pair<'_>) -> impl Iterator<Item = u16> {
    let ids = pair.files.iter();
    let ids: BTreeSet<u16> = ids
        .flat_map(|f| f.image.sections.0.keys().copied())
        .collect();
    ids.into_iter()
}

/// Compares two processes.
fn processes(pair: &Pair<'_>, diff: &mut Diff) -> Result<(), Failure> {
    let options = pair.options;
    let files = descriptors::Files::both(pair);
    let mut changes = Vec::new();
    let ids = section_ids(pair).filter(|id| !is_header(*id) && options.wants(*id));
    for id in ids {
        records::section(pair, &files, id, &mut changes)?;
        match id {
            cr_format::FILES => descriptors::compare(pair, &files, &mut changes),
            cr_format::MEMORY => {
                areas::compare(pair, &mut changes);
                if arguments::compare(pair, &mut changes) {
                    pass_over_args(&mut changes);
                }
            }
            _ => {}
        }
    }
    diff.changes.append(&mut changes);
    let decided = options.first_only && !diff.changes.is_empty();
    if options.mem != Mem::None && !decided {
        let report = pages::compare(pair, &files, &mut diff.warnings)?;
        match &mut diff.memory {
            Some(before) => before.append(report),
            None => diff.memory = Some(report),
        }
    }
    Ok(())
}

/// Removes the copy of the arguments in record `process`, where each was compared by itself.
fn pass_over_args(changes: &mut Vec<Change>) {
    for change in changes.iter_mut().filter(|c| c.record == "process") {
        change.fields.retain(|f| f.field != "args");
    }
    changes.retain(|c| c.kind != Kind::Changed || !c.fields.is_empty());
}

fn side(file: &ImageFile) -> Value {
    let image = &file.image;
    let mut m = Map::new();
    m.insert("image".into(), json::text(image.name.as_bytes()));
    m.insert("bytes".into(), json::integer(file.len()));
    let superblock = image.superblock.as_ref();
    let uuid = superblock.map(|s| number::uuid(&s.uuid));
    let created = superblock.map(|s| number::time(s.created_ns));
    let process = crate::view::first::<cr_format::ProcessRecord<'_>>(image);
    m.insert("uuid".into(), uuid.into());
    m.insert("created".into(), created.into());
    let pid = process.as_ref().map(|p| json::integer(p.tgid));
    m.insert("pid".into(), pid.unwrap_or(Value::Null));
    let comm = process.as_ref().map(|p| json::text(p.comm));
    m.insert("comm".into(), comm.unwrap_or(Value::Null));
    let count = cr_format::validate::MetaSet::processes(&image.sections);
    m.insert("processes".into(), count.into());
    m.insert("damaged".into(), (!image.damage.is_empty()).into());
    m.into()
}

/// What the superblocks say differently.
fn superblocks(a: &ImageFile, b: &ImageFile) -> Vec<Change> {
    let (Some(a), Some(b)) = (&a.image.superblock, &b.image.superblock) else {
        return Vec::new();
    };
    let hex = |n: u32| Shown::text(format!("{n:#x}"));
    let text = |s: String| Shown::text(s);
    let rows = [
        (
            "version",
            text(format!("{}.{}", a.major, a.minor)),
            text(format!("{}.{}", b.major, b.minor)),
        ),
        (
            "uuid",
            text(number::uuid(&a.uuid)),
            text(number::uuid(&b.uuid)),
        ),
        (
            "parent_uuid",
            text(number::uuid(&a.parent_uuid)),
            text(number::uuid(&b.parent_uuid)),
        ),
        (
            "created",
            text(number::time(a.created_ns)),
            text(number::time(b.created_ns)),
        ),
        (
            "feature_compat",
            hex(a.feature_compat),
            hex(b.feature_compat),
        ),
        (
            "feature_ro_compat",
            hex(a.feature_ro_compat),
            hex(b.feature_ro_compat),
        ),
        (
            "feature_incompat",
            hex(a.feature_incompat),
            hex(b.feature_incompat),
        ),
        (
            "writer",
            Shown::of_text(a.writer_name()),
            Shown::of_text(b.writer_name()),
        ),
        (
            "restartable",
            Shown::yes(a.is_restartable()),
            Shown::yes(b.is_restartable()),
        ),
    ];
    let fields: Vec<FieldChange> = rows
        .into_iter()
        .filter(|(_, old, new)| old != new)
        .map(|(name, old, new)| FieldChange::new(name, old, new))
        .collect();
    if fields.is_empty() {
        return Vec::new();
    }
    vec![Change {
        process: None,
        section: "container".to_owned(),
        record: "superblock".to_owned(),
        object: "superblock".to_owned(),
        kind: Kind::Changed,
        note: None,
        fields,
    }]
}
