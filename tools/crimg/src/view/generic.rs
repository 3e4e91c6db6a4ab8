// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `show --section`: the records of any section, also of one that this release does not know.
//!
//! Names come from this release, else from section `schema` of the image, else they are numbers.

use crate::{error::Failure, escape, load::Image, names, number, output::Output, view::all};
use cr_format::{
    records_in, sections, validate::MetaSet, RawField, RawRecord, SchemaField, SchemaRecord, Wire,
    REG_NAMES,
};
use std::collections::BTreeMap;

/// Longest part of bytes that is printed, unless everything is asked for (JSON).
const BYTES_SHOWN: usize = 32;

/// Names of record types and fields.
pub struct Schema {
    records: BTreeMap<(u16, u16), String>,
    fields: BTreeMap<(u16, u16, u16), String>,
    words: BTreeMap<u16, String>,
}

impl Schema {
    pub fn new(image: &Image) -> Self {
        let mut schema = Self {
            records: BTreeMap::new(),
            fields: BTreeMap::new(),
            words: BTreeMap::new(),
        };
        for r in all::<SchemaRecord<'_>>(image) {
            if let (Ok(s), Ok(t)) = (r.section.try_into(), r.record_type.try_into()) {
                schema.records.insert((s, t), escape::text(r.name));
            }
        }
        for f in all::<SchemaField<'_>>(image) {
            if let (Ok(s), Ok(t), Ok(f_id)) = (
                f.section.try_into(),
                f.record_type.try_into(),
                f.field.try_into(),
            ) {
                schema.fields.insert((s, t, f_id), escape::text(f.name));
            }
        }
        for s in all::<cr_format::SectionRecord<'_>>(image) {
            if let Ok(id) = s.id.try_into() {
                schema.words.insert(id, escape::text(s.word));
            }
        }
        schema
    }

    /// The resource word of a section.
    pub fn word(&self, section: u16) -> String {
        match sections::word(section) {
            Some(word) => word.to_owned(),
            None => self
                .words
                .get(&section)
                .cloned()
                .unwrap_or(format!("{section:#06x}")),
        }
    }
    /// The name of a record type.
    pub fn record(&self, section: u16, number: u16) -> String {
        match sections::record_of(section, number) {
            Some(known) => known.name.to_owned(),
            None => self
                .records
                .get(&(section, number))
                .cloned()
                .unwrap_or(format!("type_{number}")),
        }
    }
    /// The name of a field.
    pub fn field(&self, section: u16, record: u16, field: u16) -> String {
        let known = sections::record_of(section, record)
            .and_then(|r| r.fields.iter().find(|f| f.id == field));
        match known {
            Some(known) => known.name.to_owned(),
            None => self
                .fields
                .get(&(section, record, field))
                .cloned()
                .unwrap_or(format!("field_{field}")),
        }
    }
    /// The section that the user means: a word or a number.
    pub fn find(&self, image: &Image, word: &str) -> Option<u16> {
        if let Some(known) = sections::by_word(word).filter(|s| s.id != cr_format::REPORT) {
            return Some(known.id);
        }
        let number = word
            .strip_prefix("0x")
            .map_or(word.parse().ok(), |hex| u16::from_str_radix(hex, 16).ok());
        let named = self
            .words
            .iter()
            .find(|(_, w)| *w == word)
            .map(|(id, _)| *id);
        named
            .or(number)
            .filter(|id| image.sections.0.contains_key(id))
    }
}

/// # Errors
/// [`Failure::Write`].
pub fn section(image: &Image, schema: &Schema, id: u16, out: &mut Output) -> Result<(), Failure> {
    let mut empty = true;
    for raw in records_in(id, image.sections.section(id)) {
        match raw {
            Ok(raw) => record(schema, &raw, out)?,
            Err(e) => out.line(format_args!(
                "(the rest of the section cannot be read: {})",
                e.kind
            ))?,
        }
        empty = false;
    }
    if empty {
        out.line(format_args!("section {}: no records", schema.word(id)))?;
    }
    Ok(())
}

fn record(schema: &Schema, raw: &RawRecord<'_>, out: &mut Output) -> Result<(), Failure> {
    out.line(format_args!(
        "{} {}",
        schema.record(raw.section, raw.record_type),
        raw.id
    ))?;
    for field in raw.fields() {
        match field {
            Ok(f) => {
                let name = schema.field(raw.section, raw.record_type, f.id);
                out.line(format_args!("  {name:<20} {}", value(&f)))?;
            }
            Err(e) => out.line(format_args!("  (cannot be read further: {})", e.kind))?,
        }
    }
    Ok(())
}

/// A record in one line, for messages.
pub fn one_line(schema: &Schema, raw: &RawRecord<'_>) -> String {
    let fields = raw.fields().map_while(Result::ok);
    let shown: Vec<String> = fields
        .filter(|f| !f.payload.iter().all(|&b| b == 0))
        .take(12)
        .map(|f| {
            format!(
                "{} {}",
                schema.field(raw.section, raw.record_type, f.id),
                value(&f)
            )
        })
        .collect();
    format!(
        "{} {}: {}",
        schema.record(raw.section, raw.record_type),
        raw.id,
        shown.join(", ")
    )
}

/// The value of a field, as its hint says.
pub fn value(f: &RawField<'_>) -> String {
    match f.wire {
        Wire::U64 => number(f.u64().unwrap_or(0), f.hint),
        Wire::I64 => f.i64().unwrap_or(0).to_string(),
        Wire::Text => format!("\"{}\"", escape::text(f.payload)),
        Wire::Bytes => bytes(f.payload),
        Wire::Array => {
            let numbers = cr_format::U64s::from_le_bytes(f.payload);
            if f.hint == 8 {
                let registers = REG_NAMES.iter().zip(numbers.iter());
                return registers
                    .map(|(n, v)| format!("{n}={v:#x}"))
                    .collect::<Vec<_>>()
                    .join(" ");
            }
            numbers
                .iter()
                .map(|n| number(n, f.hint))
                .collect::<Vec<_>>()
                .join(" ")
        }
    }
}

fn number(n: u64, hint: u8) -> String {
    match hint {
        2 | 4 | 8 => format!("{n:#x}"),
        3 => format!("{n:#o}"),
        5 => names::signals(n),
        7 => format!("{n} ns"),
        _ if n == u64::MAX => "none".to_owned(),
        _ => n.to_string(),
    }
}

/// Text if it looks like text, else hexadecimal.
fn bytes(payload: &[u8]) -> String {
    let shown = payload
        .get(..BYTES_SHOWN.min(payload.len()))
        .unwrap_or(payload);
    let more = if shown.len() < payload.len() {
        format!("… ({} bytes)", payload.len())
    } else {
        String::new()
    };
    let printable = |b: &u8| b.is_ascii_graphic() || matches!(b, b' ' | b'\n' | b'\t' | 0);
    if !shown.is_empty()
        && shown.iter().all(printable)
        && shown.iter().any(|b| b.is_ascii_graphic())
    {
        format!("\"{}\"{more}", escape::text(shown))
    } else {
        format!("{}{more}", number::hex(shown))
    }
}
