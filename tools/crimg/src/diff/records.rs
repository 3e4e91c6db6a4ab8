// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Pairs the records of a section by what they are about, and compares the pairs field by field.
//!
//! Records that nobody here knows are paired by type and id, with names from section `schema`.

use super::{
    descriptors::Files,
    value::{self, record_name, Shown},
    Change, FieldChange, Kind, Pair,
};
use crate::{error::Failure, escape, names};
use cr_format::{
    records_in, ActionRecord, CredRecord, DescriptorRecord, FileRecord, FsRecord, GuardRecord,
    HugeRecord, ImageRecord, ItimerRecord, KeysRecord, LimitRecord, MappedFileRecord, MmRecord,
    PendingRecord, PipeRecord, PlaceRecord, ProcessRecord, RawField, RawRecord, Record,
    StatsRecord, TaskRecord, TaskSignalsRecord, TimerRecord, VmaRecord, WatchRecord, FILES, MEMORY,
    PIPES, TASKS,
};
use std::collections::BTreeMap;

/// What tells objects of one type apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// There is one.
    Only,
    /// A number: tid, signal, resource, address, record id.
    Number(u64),
    /// Two numbers.
    Numbers(u64, u64),
    /// A path.
    Bytes(Vec<u8>),
}

/// An object of one image: where it stands in the order of output, and its record.
struct Object<'a> {
    raw: RawRecord<'a>,
    name: String,
}

/// Order of types, identity, and a number for what has the same identity.
type Place = (u16, Key, u32);

/// Compares a section, but for the record types that have a comparison of their own.
///
/// # Errors
/// [`Failure::Defect`] when the structure of a record is broken.
pub(super) fn section(
    pair: &Pair<'_>,
    files: &[Files<'_>; 2],
    id: u16,
    out: &mut Vec<Change>,
) -> Result<(), Failure> {
    if id == cr_format::SCHEMA {
        return schema(pair, out);
    }
    let a = objects(pair, files, 0, id)?;
    let mut b = objects(pair, files, 1, id)?;
    let mut found: Vec<(Place, Change)> = Vec::new();
    for (place, old) in a {
        let change = match b.remove(&place) {
            Some(new) => changed(pair, files, &old, &new),
            None => Some(alone(pair, 0, &old)),
        };
        found.extend(change.map(|c| (place, c)));
    }
    for (place, new) in &b {
        found.push((place.clone(), alone(pair, 1, new)));
    }
    found.sort_by(|x, y| x.0.cmp(&y.0));
    out.extend(found.into_iter().map(|(_, change)| change));
    Ok(())
}

/// Names only: one line is enough.
fn schema(pair: &Pair<'_>, out: &mut Vec<Change>) -> Result<(), Failure> {
    let id = cr_format::SCHEMA;
    let (a, b) = (pair.section(0, id), pair.section(1, id));
    if a != b {
        let count = |bytes| Shown::number(records_in(id, bytes).count() as u64);
        out.push(Change {
            process: None,
            section: pair.word(id),
            record: "schema".to_owned(),
            object: "schema".to_owned(),
            kind: Kind::Changed,
            note: None,
            fields: vec![FieldChange::new("records", count(a), count(b))],
        });
    }
    Ok(())
}

fn objects<'a>(
    pair: &'a Pair<'_>,
    files: &[Files<'_>; 2],
    side: usize,
    id: u16,
) -> Result<BTreeMap<Place, Object<'a>>, Failure> {
    let mut out = BTreeMap::new();
    let section = pair.section(side, id);
    let leader = leader(pair, side);
    let mut seen: BTreeMap<(u16, Key), u32> = BTreeMap::new();
    for raw in records_in(id, section) {
        let raw = raw.map_err(|e| defect(pair, side, e))?;
        for field in raw.fields() {
            field.map_err(|e| defect(pair, side, e))?;
        }
        let elsewhere = match id {
            MEMORY => raw.record_type == VmaRecord::TYPE,
            FILES => matches!(raw.record_type, FileRecord::TYPE | DescriptorRecord::TYPE),
            // Pipes are compared with the descriptors that are their ends.
            PIPES => raw.record_type <= 3,
            _ => false,
        };
        if elsewhere {
            continue;
        }
        let (key, name) = identity(pair, files, side, &raw, leader);
        let same = seen.entry((raw.record_type, key.clone())).or_insert(0_u32);
        out.insert((raw.record_type, key, *same), Object { raw, name });
        *same = same.saturating_add(1);
    }
    Ok(out)
}

/// The failure for a record that cannot be read.
pub(super) fn defect(pair: &Pair<'_>, side: usize, e: cr_format::Error) -> Failure {
    let file = pair.files.get(side).copied().unwrap_or(pair.files[0]);
    let offset = file.image.sections.file_offset(&e);
    file.defect(e.placed(e.section, offset), offset)
}

/// Tid of the leader: leaders are the same thread of two runs of a program.
fn leader(pair: &Pair<'_>, side: usize) -> Option<u64> {
    let mut processes = cr_format::records_of::<ProcessRecord<'_>>(pair.section(side, TASKS));
    Some(processes.next()?.ok()?.tgid)
}

fn number(raw: &RawRecord<'_>, field: u16) -> u64 {
    raw.field(field).and_then(|f| f.u64()).unwrap_or(0)
}

fn bytes<'a>(raw: &RawRecord<'a>, field: u16) -> &'a [u8] {
    raw.field(field).map_or(&[], |f| f.payload)
}

/// What a record is about, and how the user calls it.
fn identity(
    pair: &Pair<'_>,
    files: &[Files<'_>; 2],
    side: usize,
    raw: &RawRecord<'_>,
    leader: Option<u64>,
) -> (Key, String) {
    let is = |section, number| raw.section == section && raw.record_type == number;
    let only = |name: &str| (Key::Only, name.to_owned());
    if is(TASKS, ProcessRecord::TYPE) {
        return only("process");
    }
    if is(TASKS, TaskRecord::TYPE) || is(cr_format::SIGNALS, TaskSignalsRecord::TYPE) {
        let tid = number(raw, 1);
        let comm = if raw.section == TASKS {
            format!(" {}", escape::text(bytes(raw, 2)))
        } else {
            String::new()
        };
        return if leader == Some(tid) {
            (Key::Number(0), format!("thread {tid}{comm} (leader)"))
        } else {
            (Key::Number(tid), format!("thread {tid}{comm}"))
        };
    }
    if is(MEMORY, MmRecord::TYPE) {
        return only("address space");
    }
    if is(MEMORY, MappedFileRecord::TYPE) {
        let path = bytes(raw, 1);
        return (
            Key::Bytes(path.to_vec()),
            format!("mapped file {}", escape::text(path)),
        );
    }
    if is(MEMORY, GuardRecord::TYPE) {
        let (start, end) = (number(raw, 1), number(raw, 2));
        return (Key::Number(start), format!("guard pages {start:x}-{end:x}"));
    }
    if is(MEMORY, KeysRecord::TYPE) {
        return only("protection keys");
    }
    if is(MEMORY, HugeRecord::TYPE) {
        let (start, end) = (number(raw, 1), number(raw, 2));
        return (Key::Number(start), format!("huge pages {start:x}-{end:x}"));
    }
    if is(FILES, FsRecord::TYPE) {
        return only("directories and umask");
    }
    if is(cr_format::SIGNALS, ActionRecord::TYPE) {
        let signo = number(raw, 1);
        return (
            Key::Number(signo),
            format!("action of {}", names::signal(signo)),
        );
    }
    if is(cr_format::SIGNALS, PendingRecord::TYPE) {
        let (tid, signo) = (number(raw, 1), number(raw, 2));
        let target = match tid {
            0 => "the process".to_owned(),
            tid => format!("thread {tid}"),
        };
        let tid = if leader == Some(tid) { u64::MAX } else { tid };
        return (
            Key::Numbers(tid, signo),
            format!("pending {} for {target}", names::signal(signo)),
        );
    }
    if is(cr_format::CREDS, CredRecord::TYPE) {
        return only("credentials");
    }
    if is(cr_format::LIMITS, LimitRecord::TYPE) {
        let resource = number(raw, 1);
        return (
            Key::Number(resource),
            format!("limit {}", value::resource(resource)),
        );
    }
    if is(cr_format::IMAGE, ImageRecord::TYPE) || is(cr_format::STATS, StatsRecord::TYPE) {
        return only(&record_name(
            pair.schema(side),
            raw.section,
            raw.record_type,
        ));
    }
    let kind = record_name(pair.schema(side), raw.section, raw.record_type);
    if is(cr_format::TIMERS, ItimerRecord::TYPE) || is(cr_format::TIMERS, TimerRecord::TYPE) {
        let number = number(raw, 1);
        return (Key::Number(number), format!("{kind} {number}"));
    }
    if is(cr_format::EPOLL, WatchRecord::TYPE) {
        let (key, what) = files
            .get(side)
            .unwrap_or(&files[0])
            .identity(number(raw, 1));
        let fd = number(raw, 2);
        let poll = match key {
            Key::Number(fd) => fd,
            _ => u64::MAX,
        };
        return (
            Key::Numbers(poll, fd),
            format!("watch of descriptor {fd} by {what}"),
        );
    }
    if is(cr_format::INOTIFY, PlaceRecord::TYPE) {
        let (key, what) = files
            .get(side)
            .unwrap_or(&files[0])
            .identity(number(raw, 1));
        let wd = number(raw, 2);
        let instance = match key {
            Key::Number(fd) => fd,
            _ => u64::MAX,
        };
        return (Key::Numbers(instance, wd), format!("watch {wd} of {what}"));
    }
    if let (Some(name), true) = (file_of(pair, side, raw), raw.section != FILES) {
        // An extension's record about an open file: ids of files are nobody's identity.
        let files = files.get(side).unwrap_or(&files[0]);
        let (key, what) = files.identity(name);
        return (key, format!("{kind} of {what}"));
    }
    (Key::Number(raw.id.into()), format!("{kind} {}", raw.id))
}

/// The open file that a record names in a field `file`.
fn file_of(pair: &Pair<'_>, side: usize, raw: &RawRecord<'_>) -> Option<u64> {
    let schema = pair.schema(side);
    let mut fields = raw.fields().map_while(Result::ok);
    let field = fields.find(|f| schema.field(raw.section, raw.record_type, f.id) == "file")?;
    field.u64()
}

/// An object that is there on one side only, with all its values.
fn alone(pair: &Pair<'_>, side: usize, object: &Object<'_>) -> Change {
    let schema = pair.schema(side);
    let fields = object.raw.fields().map_while(Result::ok).flat_map(|f| {
        let raw = &object.raw;
        let record = record_name(schema, raw.section, raw.record_type);
        let name = schema.field(raw.section, raw.record_type, f.id);
        let shown = value::field(schema, raw.section, &f, &name);
        value::parts(&f, raw.section, &record, &name).unwrap_or_else(|| vec![(name, shown)])
    });
    let fields = fields
        .map(|(field, shown)| FieldChange::alone(side, field, shown))
        .collect();
    Change {
        process: None,
        section: pair.word(object.raw.section),
        record: record_name(schema, object.raw.section, object.raw.record_type),
        object: object.name.clone(),
        kind: if side == 0 {
            Kind::Removed
        } else {
            Kind::Added
        },
        note: None,
        fields,
    }
}

fn changed(
    pair: &Pair<'_>,
    files: &[Files<'_>; 2],
    old: &Object<'_>,
    new: &Object<'_>,
) -> Option<Change> {
    let fields = fields(pair, files, &old.raw, &new.raw);
    (!fields.is_empty()).then(|| Change {
        process: None,
        section: pair.word(old.raw.section),
        record: record_name(pair.schema(0), old.raw.section, old.raw.record_type),
        object: old.name.clone(),
        kind: Kind::Changed,
        note: None,
        fields,
    })
}

/// The fields that two records of one type have differently.
pub(super) fn fields(
    pair: &Pair<'_>,
    files: &[Files<'_>; 2],
    old: &RawRecord<'_>,
    new: &RawRecord<'_>,
) -> Vec<FieldChange> {
    let (section, number) = (old.section, old.record_type);
    let mut found = Vec::new();
    let a: BTreeMap<u16, RawField<'_>> = by_id(old);
    let b: BTreeMap<u16, RawField<'_>> = by_id(new);
    let mut ids: Vec<u16> = a.keys().chain(b.keys()).copied().collect();
    ids.sort_unstable();
    ids.dedup();
    for id in ids {
        let side = usize::from(!a.contains_key(&id));
        let schema = pair.schema(side);
        let name = schema.field(section, number, id);
        let record = record_name(schema, section, number);
        match (a.get(&id), b.get(&id)) {
            (Some(x), Some(y)) => {
                field(pair, files, section, &record, &name, x, y, &mut found);
            }
            (x, y) => {
                let shown = |side: usize, f: Option<&RawField<'_>>| {
                    f.map(|f| value::field(pair.schema(side), section, f, &name))
                };
                found.push(FieldChange {
                    old: shown(0, x),
                    new: shown(1, y),
                    field: name.clone(),
                    note: None,
                });
            }
        }
    }
    let (section, record) = (
        pair.word(section),
        record_name(pair.schema(0), section, number),
    );
    found.retain(|f| !pair.options.ignores(&section, &record, &f.field));
    found
}

fn by_id<'a>(raw: &RawRecord<'a>) -> BTreeMap<u16, RawField<'a>> {
    raw.fields()
        .map_while(Result::ok)
        .map(|f| (f.id, f))
        .collect()
}

#[expect(
    clippy::too_many_arguments,
    reason = "a struct for one call would only move the names"
)]
fn field(
    pair: &Pair<'_>,
    files: &[Files<'_>; 2],
    section: u16,
    record: &str,
    name: &str,
    old: &RawField<'_>,
    new: &RawField<'_>,
    found: &mut Vec<FieldChange>,
) {
    let reference = reference(pair, files, section, record, name, old, new);
    if let Some((a, b)) = reference {
        if a != b {
            found.push(FieldChange::new(name, a, b));
        }
        return;
    }
    if old.wire == new.wire && old.payload == new.payload {
        // The hint never changes the meaning.
        return;
    }
    if old.wire == new.wire {
        let parts = |f| value::parts(f, section, record, name);
        if let (Some(a), Some(b)) = (parts(old), parts(new)) {
            let before = found.len();
            diff_parts(a, b, found);
            if found.len() > before {
                return;
            }
        }
    }
    let (a, b) = (
        value::field(pair.schema(0), section, old, name),
        value::field(pair.schema(1), section, new, name),
    );
    let note = match (old.u64(), new.u64()) {
        (Some(x), Some(y)) => value::gained(section, old, name, x, y),
        _ => place(old, new),
    };
    found.push(FieldChange {
        note,
        ..FieldChange::new(name, a, b)
    });
}

/// Where long bytes begin to differ.
fn place(old: &RawField<'_>, new: &RawField<'_>) -> Option<String> {
    if old.wire != cr_format::Wire::Bytes || old.payload.len().max(new.payload.len()) <= 16 {
        return None;
    }
    let (a, b) = (old.payload, new.payload);
    let at = a.iter().zip(b).position(|(x, y)| x != y);
    let at = at.unwrap_or(a.len().min(b.len()));
    Some(format!(
        "{} and {} bytes, the first difference is at byte {at}",
        a.len(),
        b.len()
    ))
}

fn diff_parts(a: Vec<(String, Shown)>, b: Vec<(String, Shown)>, found: &mut Vec<FieldChange>) {
    let mut rest: BTreeMap<(String, u32), Shown> = numbered(b).into_iter().collect();
    for (key, old) in numbered(a) {
        let new = rest.remove(&key);
        if new.as_ref() != Some(&old) {
            found.push(FieldChange {
                field: key.0,
                old: Some(old),
                new,
                note: None,
            });
        }
    }
    found.extend(rest.into_iter().map(|((field, _), new)| FieldChange {
        field,
        old: None,
        new: Some(new),
        note: None,
    }));
}

/// Parts of the same name are told apart by their order.
fn numbered(parts: Vec<(String, Shown)>) -> Vec<((String, u32), Shown)> {
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    parts
        .into_iter()
        .map(|(name, shown)| {
            let n = seen.entry(name.clone()).or_default();
            let key = (name, *n);
            *n = n.saturating_add(1);
            (key, shown)
        })
        .collect()
}

/// Fields that name another record: compared by what that is, for its id means nothing.
fn reference(
    pair: &Pair<'_>,
    files: &[Files<'_>; 2],
    section: u16,
    record: &str,
    name: &str,
    old: &RawField<'_>,
    new: &RawField<'_>,
) -> Option<(Shown, Shown)> {
    let (x, y) = (old.u64()?, new.u64()?);
    let [a, b] = files;
    match (section, record, name) {
        (MEMORY, "mm", "exe_object") => Some((mapped(pair, 0, x), mapped(pair, 1, y))),
        (FILES, _, "file") => None,
        (_, _, "file") if section != FILES => Some((a.label(x), b.label(y))),
        (cr_format::EPOLL, "watch", "epoll") => Some((a.label(x), b.label(y))),
        (cr_format::INOTIFY, _, "inotify") => Some((a.label(x), b.label(y))),
        (cr_format::INOTIFY, "place", "target") if x != 0 && y != 0 => {
            Some((a.label(x), b.label(y)))
        }
        _ => None,
    }
}

/// The path of a mapped file.
pub(super) fn mapped(pair: &Pair<'_>, side: usize, id: u64) -> Shown {
    if id == 0 {
        return Shown::text("none");
    }
    let mut files = cr_format::records_of::<MappedFileRecord<'_>>(pair.section(side, MEMORY))
        .map_while(Result::ok);
    match files.find(|f| u64::from(f.id) == id) {
        Some(f) => Shown::of_text(f.path),
        None => Shown::text(format!("mapped file {id} (not in the image)")),
    }
}

/// Is it a record of this type?
pub(super) fn is<'a, R: Record<'a>>(raw: &RawRecord<'_>) -> bool {
    raw.section == R::SECTION && raw.record_type == R::TYPE
}

/// Type numbers above 3 of section pipes are unknown and compared here.
const _: () = assert!(PipeRecord::TYPE <= 3);
