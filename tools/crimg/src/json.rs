// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `show --json`: the whole image as one document, written piece by piece.
//!
//! The contract is in `tools/crimg/JSON.md`. Addresses, flags and registers are hexadecimal strings; other
//! integers are numbers within ±(2^53−1), else decimal strings. Text is a string, or `{"bytes": hex}` if
//! it is no UTF-8. Within one `crimg_schema` members are only added.

use crate::{
    load::{Image, PageRun},
    number,
    view::generic::Schema,
};
use cr_format::{
    records_in, runs::RunKind, validate::MetaSet, Error, ErrorKind, RawField, RawRecord, Wire,
    REG_NAMES,
};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{json, Map, Value};

/// Version of the document.
pub const SCHEMA: u64 = 1;

/// Largest integer that every JSON reader takes exactly.
const EXACT: u64 = (1 << 53) - 1;

/// The document.
pub struct Document<'a> {
    pub image: &'a Image,
    pub schema: &'a Schema,
    /// The sections that it has; `None`: all.
    pub only: Option<&'a [u16]>,
    /// Runs and chunks.
    pub container: bool,
    /// The member `superblock`, if the image's could not be read.
    pub head: Option<&'a Value>,
    /// The views, as members behind the others.
    pub views: &'a [(&'static str, Value)],
}

/// A JSON array made on the way out.
struct Seq<F>(F);

impl<F, I> Serialize for Seq<F>
where
    F: Fn() -> I,
    I: Iterator<Item = Value>,
{
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq((self.0)())
    }
}

impl Serialize for Document<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let image = self.image;
        let mut m = s.serialize_map(None)?;
        m.serialize_entry("crimg_schema", &SCHEMA)?;
        m.serialize_entry("image", &text(image.name.as_bytes()))?;
        m.serialize_entry("bytes", &integer(image.len))?;
        m.serialize_entry("complete", &image.is_complete())?;
        m.serialize_entry(
            "damage",
            &Seq(|| {
                image
                    .damage
                    .iter()
                    .map(|e| defect(self.schema, e, e.offset))
            }),
        )?;
        match self.head {
            Some(head) => m.serialize_entry("superblock", head)?,
            None => m.serialize_entry("superblock", &superblock(image))?,
        }
        m.serialize_entry("sections", &SectionsView(self))?;
        if self.container {
            let (stored, zero) = image.page_counts();
            m.serialize_entry(
                "pages",
                &json!({"stored": integer(stored), "zero": integer(zero)}),
            )?;
            m.serialize_entry(
                "runs",
                &Seq(|| image.runs.iter().map(|r| run(self.schema, r))),
            )?;
            m.serialize_entry(
                "chunks",
                &Seq(|| image.chunks.iter().map(|c| chunk(self.schema, c))),
            )?;
        }
        for (name, view) in self.views {
            m.serialize_entry(name, view)?;
        }
        m.end()
    }
}

struct SectionsView<'d, 'a>(&'d Document<'a>);

impl Serialize for SectionsView<'_, '_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let Document {
            image,
            schema,
            only,
            ..
        } = *self.0;
        let mut m = s.serialize_map(None)?;
        for (&id, data) in &image.sections.0 {
            if only.is_none_or(|only| only.contains(&id)) {
                m.serialize_entry(
                    &schema.word(id),
                    &SectionView {
                        image,
                        schema,
                        id,
                        critical: data.critical,
                    },
                )?;
            }
        }
        m.end()
    }
}

struct SectionView<'a> {
    image: &'a Image,
    schema: &'a Schema,
    id: u16,
    critical: bool,
}

impl Serialize for SectionView<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut m = s.serialize_map(None)?;
        m.serialize_entry("id", &self.id)?;
        m.serialize_entry("critical", &self.critical)?;
        let bytes = self.image.sections.section(self.id);
        m.serialize_entry(
            "records",
            &Seq(|| {
                records_in(self.id, bytes).map(|raw| match raw {
                    Ok(raw) => record(self.schema, &raw),
                    Err(e) => json!({"error": defect(self.schema, &e, self.image.sections.file_offset(&e))}),
                })
            }),
        )?;
        m.end()
    }
}

/// An integer: a number, or a decimal string if it is too large to be exact everywhere.
pub fn integer(n: u64) -> Value {
    if n <= EXACT {
        n.into()
    } else {
        n.to_string().into()
    }
}

fn hex(n: u64) -> Value {
    format!("{n:#x}").into()
}

/// Text: a string, or its bytes if it is no UTF-8.
pub fn text(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => json!({"bytes": number::hex(bytes)}),
    }
}

fn record(schema: &Schema, raw: &RawRecord<'_>) -> Value {
    let mut m = Map::new();
    m.insert(
        "record".into(),
        schema.record(raw.section, raw.record_type).into(),
    );
    m.insert("id".into(), raw.id.into());
    for field in raw.fields() {
        match field {
            Ok(f) => {
                let name = schema.field(raw.section, raw.record_type, f.id);
                // A field cannot hide what every record has.
                let name = if m.contains_key(&name) {
                    format!("field_{}", f.id)
                } else {
                    name
                };
                m.insert(name, value(&f));
            }
            Err(e) => {
                m.insert("error".into(), kind(&e.kind).into());
            }
        }
    }
    m.into()
}

/// The value of a field.
pub fn value(f: &RawField<'_>) -> Value {
    match f.wire {
        Wire::U64 => by_hint(f.u64().unwrap_or(0), f.hint),
        Wire::I64 => match f.i64().unwrap_or(0) {
            n if n.unsigned_abs() <= EXACT => n.into(),
            n => n.to_string().into(),
        },
        Wire::Text => text(f.payload),
        Wire::Bytes => number::hex(f.payload).into(),
        Wire::Array => {
            let numbers = cr_format::U64s::from_le_bytes(f.payload);
            if f.hint == 8 {
                let named = REG_NAMES
                    .iter()
                    .zip(numbers.iter())
                    .map(|(n, v)| ((*n).to_owned(), hex(v)));
                return Value::Object(named.collect());
            }
            numbers.iter().map(|n| by_hint(n, f.hint)).collect()
        }
    }
}

/// Addresses, flags, signal sets, registers: hexadecimal.
fn by_hint(n: u64, hint: u8) -> Value {
    match hint {
        2 | 4 | 5 | 8 | 9 => hex(n),
        _ => integer(n),
    }
}

fn superblock(image: &Image) -> Value {
    let Some(s) = image.superblock else {
        return Value::Null;
    };
    json!({
        "major": s.major,
        "minor": s.minor,
        "feature_compat": hex(s.feature_compat.into()),
        "feature_ro_compat": hex(s.feature_ro_compat.into()),
        "feature_incompat": hex(s.feature_incompat.into()),
        "uuid": number::uuid(&s.uuid),
        "created": number::time(s.created_ns),
        "created_ns": integer(s.created_ns),
        "writer": text(s.writer_name()),
        "restartable": s.is_restartable(),
        "parent_uuid": (s.parent_uuid != [0; 16]).then(|| number::uuid(&s.parent_uuid)),
    })
}

fn run(schema: &Schema, r: &PageRun) -> Value {
    json!({
        "section": schema.word(r.section),
        "owner": r.owner,
        "start": hex(r.start),
        "pages": integer(r.npages),
        "zero": r.kind == RunKind::Zero,
        "kind": match r.kind {
            RunKind::Data => "data",
            RunKind::Zero => "zero",
            RunKind::Duplicate => "duplicate",
            RunKind::Parent => "parent",
        },
    })
}

fn chunk(schema: &Schema, c: &crate::load::Chunk) -> Value {
    let h = &c.header;
    json!({
        "type": String::from_utf8_lossy(&h.chunk_type.code()),
        "offset": integer(c.offset),
        "section": if h.section == 0 { Value::Null } else { schema.word(h.section).into() },
        "seq": h.seq,
        "owner": h.owner,
        "key": hex(h.key),
        "bytes": h.stored_len,
        "items": h.items,
        "payload_crc": hex(h.payload_crc.into()),
        "codec": crate::view::chunks::codec(c),
        "decoded_bytes": h.raw_len,
    })
}

/// The kind of an error in one word.
pub fn kind(kind: &ErrorKind) -> &'static str {
    match kind {
        ErrorKind::BadChecksum { .. } => "bad_checksum",
        ErrorKind::Truncated { .. } => "truncated",
        ErrorKind::Rule(_) => "rule",
        ErrorKind::Unsupported(_) => "unsupported",
        ErrorKind::OverLimit { .. } => "over_limit",
        ErrorKind::NoSpace => "no_space",
    }
}

/// A defect at `offset` of the image.
pub fn defect(schema: &Schema, e: &Error, offset: u64) -> Value {
    json!({
        "kind": kind(&e.kind),
        "rule": e.rule_id(),
        "section": if e.section == 0 { Value::Null } else { schema.word(e.section).into() },
        "offset": integer(offset),
        "message": e.kind.to_string(),
        "remedy": crate::error::remedy(&e.kind),
    })
}
