// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! The image as it will be: records that can be changed, and pages of memory laid over those of the image.
//!
//! Records are kept field by field as they are, so that what this release does not know stays (`EDIT-5`).

use super::Options;
use crate::{
    error::Failure,
    file::ImageFile,
    load::is_own_file_record,
    memory::{Area, Content, Memory},
    rewrite::Bytes,
};
use cr_format::{
    limits, record::field_len, records_in, sections, validate::MetaSet, RawRecord, Record, Sink,
    U64s, FILES, VMA_ANON, VMA_DROPPABLE, VMA_FILE, VMA_RING, VMA_SHARED, VMA_SHARED_ANON,
};
use std::{cell::RefCell, collections::BTreeMap};

/// Most pages of memory that one run changes: 32 MiB.
pub const PAGES_MAX: usize = 8192;
/// Bytes of a page.
pub const PAGE: u64 = limits::PAGE;
/// The same as a length.
pub const PAGE_LEN: usize = limits::PAGE as usize;

/// One field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Field id.
    pub id: u16,
    /// `cr_format::Wire` as a number.
    pub wire: u8,
    /// Display hint.
    pub hint: u8,
    /// The payload without padding.
    pub payload: Vec<u8>,
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rec {
    /// Section it belongs to.
    pub section: u16,
    /// Number of the record type.
    pub record_type: u16,
    /// Record id.
    pub id: u32,
    /// Its fields.
    pub fields: Vec<Field>,
}

impl Rec {
    fn new(section: u16, raw: &RawRecord<'_>) -> Result<Self, cr_format::Error> {
        let fields = raw.fields().map(|f| {
            f.map(|f| Field {
                id: f.id,
                wire: f.wire as u8,
                hint: f.hint,
                payload: f.payload.to_vec(),
            })
        });
        Ok(Self {
            section,
            record_type: raw.record_type,
            id: raw.id,
            fields: fields.collect::<Result<_, _>>()?,
        })
    }

    /// Is it of type `R`?
    pub fn is<'r, R: Record<'r>>(&self) -> bool {
        self.section == R::SECTION && self.record_type == R::TYPE
    }

    fn find(&self, name: &str) -> Option<usize> {
        let known = sections::record_of(self.section, self.record_type)?;
        let id = known.fields.iter().find(|f| f.name == name)?.id;
        self.fields.iter().position(|f| f.id == id)
    }

    /// Bytes of field `name`; empty if it is not there, which a sound image does not have.
    pub fn bytes(&self, name: &str) -> &[u8] {
        let field = self.find(name).and_then(|n| self.fields.get(n));
        field.map_or(&[], |f| f.payload.as_slice())
    }

    /// Number in field `name`.
    pub fn number(&self, name: &str) -> u64 {
        let bytes = self.bytes(name);
        bytes.first_chunk().map_or(0, |b| u64::from_le_bytes(*b))
    }

    /// Replaces the bytes of field `name`.
    pub fn put(&mut self, name: &str, payload: &[u8]) {
        if let Some(field) = self.find(name).and_then(|n| self.fields.get_mut(n)) {
            field.payload = payload.to_vec();
        }
    }

    /// Replaces the number in field `name`.
    pub fn set(&mut self, name: &str, value: u64) {
        self.put(name, &value.to_le_bytes());
    }

    /// Replaces a signed number.
    pub fn set_signed(&mut self, name: &str, value: i64) {
        self.put(name, &value.to_le_bytes());
    }

    /// Replaces number `n` of an array.
    pub fn set_in(&mut self, name: &str, n: usize, value: u64) {
        let at = n.saturating_mul(8);
        let field = self.find(name).and_then(|n| self.fields.get_mut(n));
        let place = field.and_then(|f| f.payload.get_mut(at..at.saturating_add(8)));
        if let Some(place) = place {
            place.copy_from_slice(&value.to_le_bytes());
        }
    }

    /// Number `n` of an array.
    pub fn get_in(&self, name: &str, n: usize) -> Option<u64> {
        U64s::from_le_bytes(self.bytes(name)).get(n)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let len = self.fields.iter().fold(0_usize, |sum, f| {
            sum.saturating_add(field_len(&f.payload.as_slice()))
        });
        // Lengths beyond 32 bits are refused by the rules of the format, for no chunk can hold them.
        let short = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let count = u16::try_from(self.fields.len()).unwrap_or(u16::MAX);
        out.extend(self.record_type.to_le_bytes());
        out.extend([0; 2]);
        out.extend(short(len).to_le_bytes());
        out.extend(self.id.to_le_bytes());
        out.extend(count.to_le_bytes());
        out.extend([0; 2]);
        for f in &self.fields {
            out.extend(f.id.to_le_bytes());
            out.extend([f.wire, f.hint]);
            out.extend(short(f.payload.len()).to_le_bytes());
            out.extend(&f.payload);
            let rest = f.payload.len() % 8;
            out.extend([0; 8].get(rest..).filter(|_| rest != 0).unwrap_or(&[]));
        }
    }
}

/// Sections whose records were touched; the others are those of the image.
pub type Touched = BTreeMap<u16, Vec<Rec>>;

/// Sections that have changed, by number of the process and id.
pub type Encoded = BTreeMap<(u32, u16), Vec<u8>>;

/// Records of a section as they are, and as they will be.
pub type Pair<'d> = (Vec<Rec>, &'d [Rec]);

/// The image as it will be.
pub struct Draft<'f> {
    /// The image as it is.
    pub file: &'f ImageFile,
    /// Its address space.
    pub memory: Memory<'f>,
    /// How to work.
    pub options: &'f Options,
    touched: Touched,
    encoded: Encoded,
    /// Pages by the address where they are stored.
    pages: BTreeMap<u64, Box<[u8; PAGE_LEN]>>,
    /// What the user should know.
    pub notes: RefCell<Vec<String>>,
}

/// Why bytes of memory cannot be had or changed, for people.
pub type Reason = String;

impl<'f> Draft<'f> {
    /// Nothing is changed yet.
    pub fn new(file: &'f ImageFile, options: &'f Options) -> Self {
        Self {
            file,
            memory: Memory::new(file, options.sysroot.clone()),
            options,
            touched: BTreeMap::new(),
            encoded: BTreeMap::new(),
            pages: BTreeMap::new(),
            notes: RefCell::default(),
        }
    }

    /// Tells the user something that is no error.
    pub fn note(&self, text: String) {
        let mut notes = self.notes.borrow_mut();
        if !notes.contains(&text) {
            notes.push(text);
        }
    }

    /// The records of a section, to be changed.
    ///
    /// # Errors
    /// [`Failure::Defect`] for records that cannot be decoded.
    pub fn records(&mut self, section: u16) -> Result<&mut Vec<Rec>, Failure> {
        if !self.touched.contains_key(&section) {
            let records = decode(self.file, section)?;
            self.touched.insert(section, records);
        }
        Ok(self.touched.entry(section).or_default())
    }

    /// The first record of type `R` for which `which` holds.
    ///
    /// # Errors
    /// [`Failure::Defect`].
    pub fn find<'r, R: Record<'r>>(
        &mut self,
        which: impl Fn(&Rec) -> bool,
    ) -> Result<Option<&mut Rec>, Failure> {
        let records = self.records(R::SECTION)?;
        Ok(records.iter_mut().find(|r| r.is::<R>() && which(r)))
    }

    /// What was touched, and the same records as they were.
    ///
    /// # Errors
    /// [`Failure::Defect`].
    pub fn compared(&self) -> Result<Vec<Pair<'_>>, Failure> {
        self.touched
            .iter()
            .map(|(id, new)| Ok((decode(self.file, *id)?, new.as_slice())))
            .collect()
    }

    /// Encodes the touched sections, for [`MetaSet`].
    pub fn encode(&mut self) {
        let process = self.file.image.process;
        let mut encoded = Encoded::new();
        for (id, records) in &self.touched {
            let of_process = process != 0 && sections::is_of_process(*id);
            let (own, shared): (Vec<&Rec>, Vec<&Rec>) = records
                .iter()
                .partition(|r| of_process && (*id != FILES || is_own_file_record(r.record_type)));
            if !own.is_empty() {
                encoded.insert((process, *id), self.encoded_with(process, *id, &own));
            }
            if !shared.is_empty() {
                encoded.insert((0, *id), self.encoded_with(0, *id, &shared));
            }
        }
        let whole = self.file.image.all_sections();
        encoded.retain(|(process, id), bytes| bytes != whole.of(*process, *id));
        self.encoded = encoded;
    }

    /// The section of a process with these records. Of what several processes share, the view of one has a part: its
    /// records take the places of those with the same type and id, and the others stay.
    fn encoded_with(&self, process: u32, id: u16, records: &[&Rec]) -> Vec<u8> {
        let mut out = Vec::new();
        let shares = id == FILES || !sections::is_of_process(id);
        let Some(whole) = self
            .file
            .image
            .whole
            .as_ref()
            .filter(|_| process == 0 && shares)
        else {
            records.iter().for_each(|r| r.encode(&mut out));
            return out;
        };
        let keyed = records.iter().map(|r| ((r.record_type, r.id), *r));
        let mut left: BTreeMap<(u16, u32), &Rec> = keyed.collect();
        for raw in records_in(id, whole.section(id)).map_while(Result::ok) {
            match left.remove(&(raw.record_type, raw.id)) {
                Some(rec) => rec.encode(&mut out),
                None => out.extend(raw.bytes()),
            }
        }
        // None is added by an edit.
        left.values().for_each(|r| r.encode(&mut out));
        out
    }

    /// The sections that [`Draft::encode`] found to have changed.
    pub fn changed_sections(&self) -> &Encoded {
        &self.encoded
    }

    /// Pages that were written, by where they are stored.
    pub fn pages(&self) -> &BTreeMap<u64, Box<[u8; PAGE_LEN]>> {
        &self.pages
    }

    /// Gives the pages away.
    pub fn take_pages(&mut self) -> BTreeMap<u64, Box<[u8; PAGE_LEN]>> {
        std::mem::take(&mut self.pages)
    }

    /// Reads `len` bytes of memory as it will be.
    ///
    /// # Errors
    /// Why they cannot be had, or [`Failure`].
    pub fn read(&self, address: u64, len: usize) -> Result<Result<Vec<u8>, Reason>, Failure> {
        let mut out = vec![0; len];
        let mut have = 0_usize;
        while have < len {
            let at = address.saturating_add(have as u64);
            let within = usize::try_from(at % PAGE).unwrap_or(0);
            let n = PAGE_LEN
                .saturating_sub(within)
                .min(len.saturating_sub(have));
            let to = out.get_mut(have..have.saturating_add(n)).unwrap_or(&mut []);
            let home = self.area(at).ok();
            let home = home.map(|a| self.memory.home(a, at & !(PAGE - 1)));
            let home = home.filter(|h| h.owner == self.memory.owner());
            let home = home.map(|h| h.address);
            let from = home.and_then(|h| self.pages.get(&h));
            let from = from.and_then(|p| p.get(within..within.saturating_add(n)));
            match from {
                Some(from) => to.copy_from_slice(from),
                None => {
                    if let Err(why) = self.area(at) {
                        return Ok(Err(why));
                    }
                    if self.memory.read_exact(at, to)?.is_none() {
                        return Ok(Err(format!(
                            "the bytes at {at:#x} are not in the image: they come from a file, from the kernel, or are guarded"
                        )));
                    }
                }
            }
            have = have.saturating_add(n);
        }
        Ok(Ok(out))
    }

    fn area(&self, address: u64) -> Result<&Area, Reason> {
        self.memory
            .area_at(address)
            .ok_or_else(|| format!("nothing is mapped at {address:#x}"))
    }

    /// Writes bytes of memory.
    ///
    /// # Errors
    /// Why they cannot be changed, or [`Failure`]. Then some may be changed and others not.
    pub fn write(&mut self, address: u64, bytes: &[u8]) -> Result<Result<(), Reason>, Failure> {
        let mut done = 0_usize;
        while done < bytes.len() {
            let Some(at) = address.checked_add(done as u64) else {
                return Ok(Err("that is behind the end of memory".to_owned()));
            };
            let within = usize::try_from(at % PAGE).unwrap_or(0);
            let n = PAGE_LEN
                .saturating_sub(within)
                .min(bytes.len().saturating_sub(done));
            let from = bytes.get(done..done.saturating_add(n)).unwrap_or(&[]);
            let start = at & !(PAGE - 1);
            let home = match self.writable(at)? {
                Ok(home) => home,
                Err(why) => return Ok(Err(why)),
            };
            if !self.pages.contains_key(&home) {
                if self.pages.len() >= PAGES_MAX {
                    return Ok(Err(format!(
                        "more than {PAGES_MAX} pages are changed at once"
                    )));
                }
                let mut page = Box::new([0; PAGE_LEN]);
                if n < PAGE_LEN {
                    match self.read(start, PAGE_LEN)? {
                        Ok(old) => {
                            page.copy_from_slice(old.get(..PAGE_LEN).unwrap_or(&[0; PAGE_LEN]))
                        }
                        Err(_) => return Ok(Err(self.no_rest(at))),
                    }
                }
                self.pages.insert(home, page);
            }
            let page = self.pages.get_mut(&home);
            if let Some(to) = page.and_then(|p| p.get_mut(within..within.saturating_add(n))) {
                to.copy_from_slice(from);
            }
            done = done.saturating_add(n);
        }
        Ok(Ok(()))
    }

    fn no_rest(&self, at: u64) -> Reason {
        format!(
            "the rest of the page at {at:#x} is in a mapped file, which is not below --sysroot; give --sysroot, or a whole page"
        )
    }

    /// Where the page of `at` is stored, if a restart would take contents for it.
    fn writable(&self, at: u64) -> Result<Result<u64, Reason>, Failure> {
        let area = match self.area(at) {
            Ok(area) => area,
            Err(why) => return Ok(Err(why)),
        };
        let name = crate::escape::text(&area.name);
        let start = at & !(PAGE - 1);
        let stored = match area.kind {
            VMA_ANON => area.flags & VMA_DROPPABLE == 0,
            VMA_FILE => area.flags & VMA_SHARED == 0,
            VMA_SHARED_ANON | VMA_RING => true,
            _ => false,
        };
        if !stored {
            return Ok(Err(match area.kind {
                VMA_FILE => format!("the bytes at {at:#x} are those of the file {name}, which the process shares; change the file"),
                VMA_ANON => format!("the memory at {at:#x} is droppable: its contents are not restored"),
                _ => format!("the memory at {at:#x} is {name}, made by the kernel"),
            }));
        }
        let home = self.memory.home(area, start);
        if home.owner != self.memory.owner() {
            let number = home.owner.saturating_sub(1);
            let with = self.file.image.all_sections().process(number);
            let with = with.map_or(0, |p| p.tgid);
            return Ok(Err(format!(
                "the memory at {at:#x} is shared and stored with process {with}; edit it there with --pid {with}"
            )));
        }
        let home = home.address;
        if self.pages.contains_key(&home) {
            return Ok(Ok(home));
        }
        let spans = self.memory.spans(start, start.saturating_add(PAGE))?;
        let content = spans.first().map_or(Content::Absent, |s| s.content);
        Ok(match content {
            Content::Stored | Content::Zero | Content::Object | Content::File => {
                if content == Content::File {
                    if let Err(why) = super::files::same_file(self, area) {
                        return Ok(Err(why));
                    }
                }
                Ok(home)
            }
            Content::Parent => Err(format!(
                "the page at {at:#x} is in the parent image; edit that one"
            )),
            Content::Absent => Err(format!("the page at {at:#x} is a guard page")),
        })
    }
}

impl MetaSet for Draft<'_> {
    fn section(&self, id: u16) -> &[u8] {
        self.of(0, id)
    }
    fn processes(&self) -> u32 {
        self.file.image.all_sections().processes()
    }
    fn of(&self, process: u32, id: u16) -> &[u8] {
        match self.encoded.get(&(process, id)) {
            Some(bytes) => bytes,
            None => self.file.image.all_sections().of(process, id),
        }
    }
    fn ids(&self, visit: &mut dyn FnMut(u16) -> cr_format::Result) -> cr_format::Result {
        self.file.image.all_sections().ids(visit)
    }
}

fn decode(file: &ImageFile, section: u16) -> Result<Vec<Rec>, Failure> {
    records_in(section, file.image.sections.section(section))
        .map(|raw| raw.and_then(|raw| Rec::new(section, &raw)))
        .collect::<Result<_, _>>()
        .map_err(|e| file.defect(e, e.offset))
}

/// A record of this release, for one that is added.
pub fn record_of<'r, R: Record<'r>>(record: &R) -> Option<Rec> {
    let mut bytes = Bytes::default();
    record.write(&mut bytes as &mut dyn Sink).ok()?;
    let raw = records_in(R::SECTION, &bytes.0).next()?.ok()?;
    Rec::new(R::SECTION, &raw).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use cr_format::LimitRecord;

    #[test]
    fn a_record_is_encoded_as_it_was() {
        let mut bytes = Bytes::default();
        let limit = LimitRecord {
            id: 8,
            resource: 7,
            soft: 1,
            hard: 2,
        };
        limit.write(&mut bytes).unwrap();
        let mut rec = record_of(&limit).unwrap();
        let mut again = Vec::new();
        rec.encode(&mut again);
        assert_eq!(again, bytes.0);
        rec.set("soft", 2);
        assert_eq!((rec.number("soft"), rec.number("nonsense")), (2, 0));
        rec.set("nonsense", 5);
        rec.fields.push(Field {
            id: 77,
            wire: 3,
            hint: 0,
            payload: b"abc".to_vec(),
        });
        let mut out = Vec::new();
        rec.encode(&mut out);
        let raw = records_in(cr_format::LIMITS, &out).next().unwrap().unwrap();
        assert_eq!(Rec::new(cr_format::LIMITS, &raw).unwrap(), rec);
    }
}
