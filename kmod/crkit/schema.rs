// SPDX-License-Identifier: GPL-2.0
//! The records of section `schema` that describe a third-party extension's records, made at compile time.
//!
//! With them `crimg` shows the extension's records by name although it has never heard of it. Use
//! [`crate::schema!`]; the encoding is that of `cr_format`, whose record types are described by constants.

use cr_format::{record::FIELD_HEADER, record::RECORD_HEADER, FieldSchema, Record, SchemaField, SchemaRecord};

const fn pad8(n: usize) -> usize {
    n.div_ceil(8) * 8
}

/// Bytes of a record whose text has `text` bytes and whose other `numbers` fields are numbers.
const fn record_len(numbers: usize, text: usize) -> usize {
    RECORD_HEADER + numbers * (FIELD_HEADER + 8) + FIELD_HEADER + pad8(text)
}

/// Bytes that [`encode`] gives for `R`.
pub const fn len<'a, R: Record<'a>>() -> usize {
    let mut total = record_len(2, R::NAME.len());
    let mut i = 0;
    while i < R::FIELDS.len() {
        total += record_len(5, R::FIELDS[i].name.len());
        i += 1;
    }
    total
}

// Evaluated at compile time only, where an index out of range stops the compiler.
struct Out<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Out<N> {
    const fn put(&mut self, bytes: &[u8]) {
        let mut i = 0;
        while i < bytes.len() {
            self.bytes[self.len] = bytes[i];
            self.len += 1;
            i += 1;
        }
    }
    const fn head(&mut self, record_type: u16, total: usize, id: u32, nfields: usize) {
        self.put(&record_type.to_le_bytes());
        self.put(&[0, 0]);
        self.put(&((total - RECORD_HEADER) as u32).to_le_bytes());
        self.put(&id.to_le_bytes());
        self.put(&(nfields as u16).to_le_bytes());
        self.put(&[0, 0]);
    }
    const fn field(&mut self, schema: &FieldSchema, payload: &[u8]) {
        self.put(&schema.id.to_le_bytes());
        self.put(&[schema.wire as u8, schema.hint as u8]);
        self.put(&(payload.len() as u32).to_le_bytes());
        self.put(payload);
        // The array is zero already.
        self.len += pad8(payload.len()) - payload.len();
    }
    const fn number(&mut self, schema: &FieldSchema, n: u64) {
        self.field(schema, &n.to_le_bytes());
    }
}

/// The `schema` records that describe `R`.
pub const fn encode<'a, R: Record<'a>, const N: usize>() -> [u8; N] {
    let mut out = Out { bytes: [0; N], len: 0 };
    let known = <SchemaRecord<'_> as Record<'_>>::FIELDS;
    out.head(<SchemaRecord<'_> as Record<'_>>::TYPE, record_len(2, R::NAME.len()), 1, known.len());
    out.number(&known[0], R::SECTION as u64);
    out.number(&known[1], R::TYPE as u64);
    out.field(&known[2], R::NAME.as_bytes());
    let known = <SchemaField<'_> as Record<'_>>::FIELDS;
    let mut i = 0;
    while i < R::FIELDS.len() {
        let f = &R::FIELDS[i];
        out.head(<SchemaField<'_> as Record<'_>>::TYPE, record_len(5, f.name.len()), i as u32 + 2, known.len());
        out.number(&known[0], R::SECTION as u64);
        out.number(&known[1], R::TYPE as u64);
        out.number(&known[2], f.id as u64);
        out.field(&known[3], f.name.as_bytes());
        out.number(&known[4], f.wire as u64);
        out.number(&known[5], f.hint as u64);
        i += 1;
    }
    assert!(out.len == N);
    out.bytes
}

/// The `schema` records of a record type, as `&'static [u8]`: `crkit::schema!(CounterRecord)`.
#[macro_export]
macro_rules! schema {
    ($record:ty) => {{
        static BYTES: [u8; $crate::schema::len::<$record>()] =
            $crate::schema::encode::<$record, { $crate::schema::len::<$record>() }>();
        &BYTES
    }};
}

/// Section id of a third party's resource word: `0x8000 | (crc32(word) & 0x7fff)`, at compile time.
pub const fn third_party_id(word: &str) -> u16 {
    let mut crc = u32::MAX;
    let mut i = 0;
    while i < word.len() {
        crc ^= word.as_bytes()[i] as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { 0xedb8_8320 ^ (crc >> 1) } else { crc >> 1 };
            bit += 1;
        }
        i += 1;
    }
    // CAST: masked to 15 bits.
    cr_format::THIRD_PARTY | (!crc & 0x7fff) as u16
}
