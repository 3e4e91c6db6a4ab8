// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Records and fields: the self-describing encoding inside `META` payloads and of the device's report.
//!
//! A record is a 16-byte header `{u16 type, u16 flags = 0, u32 len, u32 id, u16 nfields, u16 0}` and
//! `len` bytes of fields; a field is an 8-byte header `{u16 id, u8 wire, u8 hint, u32 len}` and its
//! payload, padded with zeros to a multiple of 8. Field ids ascend. One content has one encoding: every
//! field of a record type is written, also when zero or empty. Source: spec, chapter "Records".

use crate::{
    error::{ensure, Error, Result},
    limits,
    wire::{is_zero, len64, pad8, Put, Take},
};
use core::{fmt, marker::PhantomData};

/// Bytes of a record header.
pub const RECORD_HEADER: usize = 16;
/// Bytes of a field header.
pub const FIELD_HEADER: usize = 8;
/// Longest record with its header, bytes: a record must fit into one chunk.
pub const RECORD_MAX: u64 = limits::CHUNK_PAYLOAD as u64;

/// How the payload of a field is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Wire {
    /// Unsigned 64-bit number.
    U64 = 1,
    /// Signed 64-bit number.
    I64 = 2,
    /// Bytes.
    Bytes = 3,
    /// Bytes for people, without NUL; not necessarily UTF-8.
    Text = 4,
    /// Unsigned 64-bit numbers.
    Array = 5,
}

impl Wire {
    /// The wire type with this number.
    pub const fn from_u8(n: u8) -> Option<Self> {
        Some(match n {
            1 => Self::U64,
            2 => Self::I64,
            3 => Self::Bytes,
            4 => Self::Text,
            5 => Self::Array,
            _ => return None,
        })
    }
}

/// How a tool should print a field. Never changes its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Hint {
    /// Nothing special.
    None = 0,
    /// Decimal.
    Dec = 1,
    /// Hexadecimal, an address.
    Hex = 2,
    /// Octal, a file mode.
    Octal = 3,
    /// A set of flags.
    Flags = 4,
    /// A set of signals, bit n is signal n+1.
    Sigset = 5,
    /// A path.
    Path = 6,
    /// Nanoseconds.
    Ns = 7,
    /// General registers in the order of `struct user_regs_struct`.
    Registers = 8,
    /// Extended processor state in the standard XSAVE layout.
    Xsave = 9,
    /// A user or group id.
    Uid = 10,
}

/// One field of a record type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldSchema {
    /// Field id, from 1.
    pub id: u16,
    /// Name, as in the spec and in JSON.
    pub name: &'static str,
    /// Encoding.
    pub wire: Wire,
    /// Display.
    pub hint: Hint,
}

/// Where encoded bytes go: a growing buffer in the kernel, a `Vec` in the tools.
pub trait Sink {
    /// Appends `bytes`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NoSpace`] when they do not fit.
    fn put(&mut self, bytes: &[u8]) -> Result<(), Error>;
}

/// A type of record: a struct whose fields are those of the spec.
pub trait Record<'a>: Sized {
    /// Section the record belongs to.
    const SECTION: u16;
    /// Number of the record type, unique in its section.
    const TYPE: u16;
    /// Name of the record type.
    const NAME: &'static str;
    /// Its fields, ascending by id.
    const FIELDS: &'static [FieldSchema];

    /// Decodes a record, zero-copy.
    ///
    /// # Errors
    /// `Unsupported` for a field that the type does not have, `REC-8` for one that is missing, `REC-9`
    /// for one of another wire type or hint, and everything that [`RawRecord::fields`] says.
    fn parse(raw: RawRecord<'a>) -> Result<Self, Error>;
    /// Record id.
    fn id(&self) -> u32;
    /// Bytes that [`Record::write`] puts.
    fn encoded_len(&self) -> usize;
    /// Encodes the record.
    ///
    /// # Errors
    /// `REC-7` for a text with NUL, `OverLimit` for a record longer than a chunk, and errors of `out`.
    fn write(&self, out: &mut dyn Sink) -> Result<(), Error>;
}

/// An array of numbers, either as stored or, for writing, as a native slice.
#[derive(Clone, Copy)]
pub enum U64s<'a> {
    /// Little-endian bytes; a rest of less than 8 bytes is ignored.
    Le(&'a [u8]),
    /// Numbers to be written.
    Native(&'a [u64]),
}

impl<'a> U64s<'a> {
    /// The numbers in `bytes`, little-endian.
    pub const fn from_le_bytes(bytes: &'a [u8]) -> Self {
        Self::Le(bytes)
    }
    /// How many.
    pub const fn len(&self) -> usize {
        match self {
            Self::Le(b) => b.len() / 8,
            Self::Native(n) => n.len(),
        }
    }
    /// None at all?
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Number `i`.
    pub fn get(&self, i: usize) -> Option<u64> {
        match self {
            Self::Le(b) => {
                let at = i.checked_mul(8)?;
                Some(Take(b.get(at..at.checked_add(8)?)?).u64())
            }
            Self::Native(n) => n.get(i).copied(),
        }
    }
    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = u64> + 'a {
        let (le, native): (&'a [u8], &'a [u64]) = match *self {
            Self::Le(b) => (b, &[]),
            Self::Native(n) => (&[], n),
        };
        le.chunks_exact(8)
            .map(|c| Take(c).u64())
            .chain(native.iter().copied())
    }
}

impl Default for U64s<'_> {
    fn default() -> Self {
        Self::Native(&[])
    }
}

impl PartialEq for U64s<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for U64s<'_> {}

impl fmt::Debug for U64s<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// A record whose header has been checked against the bytes that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawRecord<'a> {
    /// Section the caller said, 0 if it did not.
    pub section: u16,
    /// Number of the record type.
    pub record_type: u16,
    /// Record id.
    pub id: u32,
    /// Number of fields.
    pub nfields: u16,
    /// Offset of the record in the section.
    pub offset: u64,
    bytes: &'a [u8],
}

impl<'a> RawRecord<'a> {
    /// The whole record with its header.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
    /// The fields, in order; checks their structure on the way.
    pub fn fields(&self) -> Fields<'a> {
        let body = self.bytes.get(RECORD_HEADER..).unwrap_or(&[]);
        Fields {
            rest: body,
            left: self.nfields,
            last: 0,
            section: self.section,
            offset: self.offset,
            failed: false,
        }
    }
    /// Field `id`, if the record has it and is sound up to there.
    pub fn field(&self, id: u16) -> Option<RawField<'a>> {
        self.fields().map_while(Result::ok).find(|f| f.id == id)
    }
}

/// A field of any record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawField<'a> {
    /// Field id.
    pub id: u16,
    /// Encoding of the payload.
    pub wire: Wire,
    /// Display hint, possibly one that this release does not know.
    pub hint: u8,
    /// The payload without padding.
    pub payload: &'a [u8],
}

impl<'a> RawField<'a> {
    /// The number in it, if it is one of [`Wire::U64`].
    pub fn u64(&self) -> Option<u64> {
        (self.wire == Wire::U64).then(|| Take(self.payload).u64())
    }
    /// The number in it, if it is one of [`Wire::I64`].
    pub fn i64(&self) -> Option<i64> {
        (self.wire == Wire::I64).then(|| i64::from_le_bytes(Take(self.payload).array()))
    }
    /// The numbers in it, if it is an array.
    pub fn array(&self) -> Option<U64s<'a>> {
        (self.wire == Wire::Array).then_some(U64s::Le(self.payload))
    }
}

/// Iterator of [`RawRecord::fields`]; ends after the first error.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    rest: &'a [u8],
    left: u16,
    last: u16,
    section: u16,
    offset: u64,
    failed: bool,
}

impl<'a> Fields<'a> {
    fn step(&mut self) -> Result<RawField<'a>> {
        let (head, rest) = self
            .rest
            .split_first_chunk::<FIELD_HEADER>()
            .ok_or(Error::truncated(FIELD_HEADER as u64, len64(self.rest)))?;
        let mut take = Take(head);
        let (id, wire, hint, len) = (take.u16(), take.u8(), take.u8(), take.u32());
        ensure(id > self.last, "REC-4")?;
        let wire = Wire::from_u8(wire).ok_or(Error::unsupported("wire type of a field"))?;
        // CAST: lossless, `usize` has at least 32 bits wherever this crate is built.
        let len = len as usize;
        let padded = pad8(len);
        let (stored, rest) = rest
            .split_at_checked(padded)
            .ok_or(Error::truncated(padded as u64, len64(rest)))?;
        let (payload, padding) = stored.split_at_checked(len).ok_or(Error::rule("REC-5"))?;
        ensure(is_zero(padding), "REC-5")?;
        match wire {
            Wire::U64 | Wire::I64 => ensure(len == 8, "REC-6")?,
            Wire::Array => ensure(len % 8 == 0, "REC-6")?,
            Wire::Text => ensure(!payload.contains(&0), "REC-7")?,
            Wire::Bytes => {}
        }
        self.rest = rest;
        self.last = id;
        self.left = self.left.saturating_sub(1);
        Ok(RawField {
            id,
            wire,
            hint,
            payload,
        })
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<RawField<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let item = if self.left == 0 {
            if self.rest.is_empty() {
                return None;
            }
            Err(Error::rule("REC-3"))
        } else {
            self.step()
        };
        self.failed = item.is_err();
        Some(item.map_err(|e| e.placed(self.section, self.offset)))
    }
}

/// Iterator over the records of a section; ends after the first error.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    section: u16,
    rest: &'a [u8],
    offset: u64,
}

/// The records in `bytes`, in order, of a section that the caller knows; see [`records_in`].
pub const fn records(bytes: &[u8]) -> Records<'_> {
    records_in(0, bytes)
}

/// The records in `bytes`, in order; errors name `section`.
///
/// Each record's header is checked (`REC-1`, `REC-2`, length, number of fields), its fields are not:
/// [`RawRecord::fields`] and [`Record::parse`] do that.
pub const fn records_in(section: u16, bytes: &[u8]) -> Records<'_> {
    Records {
        section,
        rest: bytes,
        offset: 0,
    }
}

impl<'a> Records<'a> {
    fn step(&mut self) -> Result<RawRecord<'a>> {
        let head = self
            .rest
            .first_chunk::<RECORD_HEADER>()
            .ok_or(Error::truncated(RECORD_HEADER as u64, len64(self.rest)))?;
        let mut take = Take(head);
        let (record_type, flags, len) = (take.u16(), take.u16(), take.u32());
        let (id, nfields, reserved) = (take.u32(), take.u16(), take.u16());
        ensure(flags == 0 && reserved == 0, "REC-1")?;
        ensure(len % 8 == 0, "REC-2")?;
        let total = u64::from(len).saturating_add(RECORD_HEADER as u64);
        if total > RECORD_MAX {
            return Err(Error::over_limit(total, RECORD_MAX));
        }
        if nfields > limits::FIELDS {
            return Err(Error::over_limit(nfields.into(), limits::FIELDS.into()));
        }
        // CAST: at most 1 MiB, checked above.
        let (bytes, rest) = self
            .rest
            .split_at_checked(total as usize)
            .ok_or(Error::truncated(total, len64(self.rest)))?;
        self.rest = rest;
        let offset = self.offset;
        self.offset = offset.saturating_add(total);
        Ok(RawRecord {
            section: self.section,
            record_type,
            id,
            nfields,
            offset,
            bytes,
        })
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<RawRecord<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let item = self.step();
        if item.is_err() {
            self.rest = &[];
        }
        Some(item.map_err(|e| e.placed(self.section, self.offset)))
    }
}

/// Iterator of [`records_of`].
#[derive(Clone, Debug)]
pub struct RecordsOf<'a, R> {
    records: Records<'a>,
    _type: PhantomData<fn() -> R>,
}

/// The records of type `R` among those of its section, decoded.
pub fn records_of<'a, R: Record<'a>>(section: &'a [u8]) -> RecordsOf<'a, R> {
    RecordsOf {
        records: records_in(R::SECTION, section),
        _type: PhantomData,
    }
}

impl<'a, R: Record<'a>> RecordsOf<'a, R> {
    /// The next one together with its place, for messages.
    pub fn next_placed(&mut self) -> Option<Result<(R, u64)>> {
        loop {
            match self.records.next()? {
                Ok(raw) if raw.record_type == R::TYPE => {
                    return Some(R::parse(raw).map(|r| (r, raw.offset)))
                }
                Ok(_) => {}
                Err(e) => return Some(Err(e)),
            }
        }
    }
}

impl<'a, R: Record<'a>> Iterator for RecordsOf<'a, R> {
    type Item = Result<R>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_placed().map(|r| r.map(|(record, _)| record))
    }
}

/// A Rust type that a field decodes to.
pub trait Value<'a>: Sized {
    /// From a payload whose structure has been checked.
    fn decode(payload: &'a [u8]) -> Self;
    /// Length of the payload without padding.
    fn payload_len(&self) -> usize;
    /// Puts the payload without padding.
    ///
    /// # Errors
    /// Those of `out`.
    fn put(&self, out: &mut dyn Sink) -> Result;
    /// Does the payload contain a NUL byte? Only asked of texts.
    fn has_nul(&self) -> bool {
        false
    }
}

impl<'a> Value<'a> for u64 {
    fn decode(payload: &'a [u8]) -> Self {
        Take(payload).u64()
    }
    fn payload_len(&self) -> usize {
        8
    }
    fn put(&self, out: &mut dyn Sink) -> Result {
        out.put(&self.to_le_bytes())
    }
}

impl<'a> Value<'a> for i64 {
    fn decode(payload: &'a [u8]) -> Self {
        Self::from_le_bytes(Take(payload).array())
    }
    fn payload_len(&self) -> usize {
        8
    }
    fn put(&self, out: &mut dyn Sink) -> Result {
        out.put(&self.to_le_bytes())
    }
}

impl<'a> Value<'a> for &'a [u8] {
    fn decode(payload: &'a [u8]) -> Self {
        payload
    }
    fn payload_len(&self) -> usize {
        self.len()
    }
    fn put(&self, out: &mut dyn Sink) -> Result {
        out.put(self)
    }
    fn has_nul(&self) -> bool {
        self.contains(&0)
    }
}

impl<'a> Value<'a> for U64s<'a> {
    fn decode(payload: &'a [u8]) -> Self {
        Self::Le(payload)
    }
    fn payload_len(&self) -> usize {
        self.len().saturating_mul(8)
    }
    fn put(&self, out: &mut dyn Sink) -> Result {
        self.iter().try_for_each(|n| out.put(&n.to_le_bytes()))
    }
}

/// Takes the fields of one record in the order of its schema.
pub struct FieldReader<'a> {
    fields: Fields<'a>,
    schema: core::slice::Iter<'static, FieldSchema>,
    known: &'static [FieldSchema],
    section: u16,
    offset: u64,
}

impl<'a> FieldReader<'a> {
    /// Starts with the first field of `raw`, which must be of this section and type.
    ///
    /// # Errors
    /// `Unsupported` when it is not.
    pub fn new(
        raw: RawRecord<'a>,
        section: u16,
        record_type: u16,
        known: &'static [FieldSchema],
    ) -> Result<Self> {
        let here = RawRecord { section, ..raw };
        if raw.record_type != record_type || (raw.section != 0 && raw.section != section) {
            return Err(Error::unsupported("record type").placed(section, raw.offset));
        }
        Ok(Self {
            fields: here.fields(),
            schema: known.iter(),
            known,
            section,
            offset: raw.offset,
        })
    }

    /// The next field.
    ///
    /// # Errors
    /// See [`Record::parse`].
    pub fn take<V: Value<'a>>(&mut self) -> Result<V> {
        self.step().map_err(|e| e.placed(self.section, self.offset))
    }

    fn step<V: Value<'a>>(&mut self) -> Result<V> {
        let want = self.schema.next().ok_or(Error::rule("REC-8"))?;
        let field = self.fields.next().ok_or(Error::rule("REC-8"))??;
        if field.id != want.id {
            return Err(self.stranger(field));
        }
        // CAST: the discriminant of a `repr(u8)` enum.
        ensure(
            field.wire == want.wire && field.hint == want.hint as u8,
            "REC-9",
        )?;
        Ok(V::decode(field.payload))
    }

    fn stranger(&self, field: RawField<'_>) -> Error {
        if self.known.iter().any(|k| k.id == field.id) {
            Error::rule("REC-8")
        } else {
            Error::unsupported("field of a record")
        }
    }

    /// All fields are taken.
    ///
    /// # Errors
    /// `Unsupported` if there is one more.
    pub fn end(mut self) -> Result {
        match self.fields.next() {
            None => Ok(()),
            Some(Ok(field)) => Err(self.stranger(field).placed(self.section, self.offset)),
            Some(Err(e)) => Err(e),
        }
    }
}

/// Puts one record, field by field in the order of its schema.
pub struct FieldWriter<'s> {
    out: &'s mut dyn Sink,
    schema: core::slice::Iter<'static, FieldSchema>,
}

impl<'s> FieldWriter<'s> {
    /// Puts the record header. `total` is the length of the whole record.
    ///
    /// # Errors
    /// `OverLimit` for a record longer than a chunk, and those of `out`.
    pub fn new(
        out: &'s mut dyn Sink,
        record_type: u16,
        id: u32,
        total: usize,
        schema: &'static [FieldSchema],
    ) -> Result<Self> {
        if total as u64 > RECORD_MAX {
            return Err(Error::over_limit(total as u64, RECORD_MAX));
        }
        // CAST: both are small, checked above and by the schema tables' length.
        let (len, nfields) = (
            total.saturating_sub(RECORD_HEADER) as u32,
            schema.len() as u16,
        );
        let mut head = [0; RECORD_HEADER];
        Put(&mut head)
            .u16(record_type)
            .u16(0)
            .u32(len)
            .u32(id)
            .u16(nfields)
            .u16(0);
        out.put(&head)?;
        Ok(Self {
            out,
            schema: schema.iter(),
        })
    }

    /// Puts the next field.
    ///
    /// # Errors
    /// See [`Record::write`].
    pub fn put<'a, V: Value<'a>>(&mut self, value: &V) -> Result {
        let Some(field) = self.schema.next() else {
            return Ok(());
        };
        ensure(field.wire != Wire::Text || !value.has_nul(), "REC-7")?;
        let len = value.payload_len();
        let mut head = [0; FIELD_HEADER];
        // CAST: discriminants of `repr(u8)` enums; `len` is at most `total`, so at most 1 MiB.
        Put(&mut head)
            .u16(field.id)
            .bytes(&[field.wire as u8, field.hint as u8])
            .u32(len as u32);
        self.out.put(&head)?;
        value.put(self.out)?;
        let padding = pad8(len).saturating_sub(len);
        self.out.put([0; 8].get(..padding).unwrap_or(&[]))
    }
}

/// Defines a record type: the struct, its schema, both directions. One line per field:
/// `id name: kind Hint;` where kind is `u64`, `i64`, `bytes`, `text` or `array`.
macro_rules! record {
    ($(#[$doc:meta])* $name:ident<$lt:lifetime> in $section:ident, type $type:literal, $word:literal {
        $($(#[$fdoc:meta])* $id:literal $field:ident: $kind:ident $hint:ident;)+
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name<$lt> {
            /// Record id.
            pub id: u32,
            $($(#[$fdoc])* pub $field: record!(@type $lt $kind),)+
        }
        impl<$lt> $crate::record::Record<$lt> for $name<$lt> {
            record!(@items $lt $section $type $word [$($id $field $kind $hint)+]);
        }
    };
    ($(#[$doc:meta])* $name:ident in $section:ident, type $type:literal, $word:literal {
        $($(#[$fdoc:meta])* $id:literal $field:ident: $kind:ident $hint:ident;)+
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name {
            /// Record id.
            pub id: u32,
            $($(#[$fdoc])* pub $field: $kind,)+
        }
        impl<'r> $crate::record::Record<'r> for $name {
            record!(@items 'r $section $type $word [$($id $field $kind $hint)+]);
        }
    };
    (@items $lt:lifetime $section:ident $type:literal $word:literal [$($id:literal $field:ident $kind:ident $hint:ident)+]) => {
        const SECTION: u16 = $crate::sections::$section;
        const TYPE: u16 = $type;
        const NAME: &'static str = $word;
        const FIELDS: &'static [$crate::record::FieldSchema] = &[$($crate::record::FieldSchema {
            id: $id,
            name: stringify!($field),
            wire: record!(@wire $kind),
            hint: $crate::record::Hint::$hint,
        }),+];

        fn parse(raw: $crate::record::RawRecord<$lt>) -> $crate::error::Result<Self> {
            let mut fields = $crate::record::FieldReader::new(raw, Self::SECTION, Self::TYPE, Self::FIELDS)?;
            let record = Self { id: raw.id, $($field: fields.take()?),+ };
            fields.end()?;
            Ok(record)
        }
        fn id(&self) -> u32 {
            self.id
        }
        fn encoded_len(&self) -> usize {
            $crate::record::RECORD_HEADER
                $(.saturating_add($crate::record::field_len(&self.$field)))+
        }
        fn write(&self, out: &mut dyn $crate::record::Sink) -> $crate::error::Result {
            let total = self.encoded_len();
            let mut fields = $crate::record::FieldWriter::new(out, Self::TYPE, self.id, total, Self::FIELDS)?;
            $(fields.put(&self.$field)?;)+
            Ok(())
        }
    };
    (@type $lt:lifetime u64) => { u64 };
    (@type $lt:lifetime i64) => { i64 };
    (@type $lt:lifetime bytes) => { &$lt [u8] };
    (@type $lt:lifetime text) => { &$lt [u8] };
    (@type $lt:lifetime array) => { $crate::record::U64s<$lt> };
    (@wire u64) => { $crate::record::Wire::U64 };
    (@wire i64) => { $crate::record::Wire::I64 };
    (@wire bytes) => { $crate::record::Wire::Bytes };
    (@wire text) => { $crate::record::Wire::Text };
    (@wire array) => { $crate::record::Wire::Array };
}
pub(crate) use record;

/// Bytes of a field with this value, header and padding included.
pub fn field_len<'a, V: Value<'a>>(value: &V) -> usize {
    pad8(value.payload_len()).saturating_add(FIELD_HEADER)
}
