// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Descriptors by number, seen through to what they are open on: path, position, flags, which others
//! share it, and the pipe it is an end of.
//!
//! Ids of open files and pipes mean nothing from one image to the next; a pipe is the one of its
//! descriptors.

use super::{
    records::{self, is, Key},
    value::{self, Shown},
    Change, FieldChange, Kind, Pair,
};
use crate::{escape, number};
use cr_format::{
    records_in, records_of, BufferRecord, DescriptorRecord, EndRecord, FileRecord, PipeRecord,
    RawRecord, FILES, PIPES,
};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// Descriptors, open files and pipes of one image.
pub(super) struct Files<'a> {
    /// Descriptor records by number.
    fds: BTreeMap<u64, RawRecord<'a>>,
    /// Open file of a descriptor.
    file_of: BTreeMap<u64, u64>,
    /// Open file records by id.
    pub files: BTreeMap<u64, (RawRecord<'a>, Option<FileRecord<'a>>)>,
    /// Descriptors of an open file.
    sharing: BTreeMap<u64, BTreeSet<u64>>,
    /// Pipe of an open file.
    ends: BTreeMap<u64, u64>,
    /// Descriptors of a pipe.
    pipe_fds: BTreeMap<u64, BTreeSet<u64>>,
    pipes: BTreeMap<u64, RawRecord<'a>>,
    buffers: BTreeMap<u64, Vec<BufferRecord<'a>>>,
}

impl<'a> Files<'a> {
    /// Those of A and B.
    pub fn both(pair: &'a Pair<'_>) -> [Self; 2] {
        [Self::new(pair, 0), Self::new(pair, 1)]
    }

    fn new(pair: &'a Pair<'_>, side: usize) -> Self {
        let mut this = Self {
            fds: BTreeMap::new(),
            file_of: BTreeMap::new(),
            files: BTreeMap::new(),
            sharing: BTreeMap::new(),
            ends: BTreeMap::new(),
            pipe_fds: BTreeMap::new(),
            pipes: BTreeMap::new(),
            buffers: BTreeMap::new(),
        };
        let section = pair.section(side, FILES);
        for raw in records_in(FILES, section).map_while(Result::ok) {
            if is::<FileRecord<'_>>(&raw) {
                let parsed = cr_format::Record::parse(raw).ok();
                this.files.insert(raw.id.into(), (raw, parsed));
            } else if is::<DescriptorRecord>(&raw) {
                let number = |id| raw.field(id).and_then(|f| f.u64()).unwrap_or(0);
                let (fd, file) = (number(1), number(2));
                this.fds.insert(fd, raw);
                this.file_of.insert(fd, file);
                this.sharing.entry(file).or_default().insert(fd);
            }
        }
        let section = pair.section(side, PIPES);
        for raw in records_in(PIPES, section).map_while(Result::ok) {
            if is::<PipeRecord<'_>>(&raw) {
                this.pipes.insert(raw.id.into(), raw);
            }
        }
        for end in records_of::<EndRecord>(section).map_while(Result::ok) {
            this.ends.insert(end.file, end.pipe);
            let fds = this.sharing.get(&end.file).into_iter().flatten();
            this.pipe_fds.entry(end.pipe).or_default().extend(fds);
        }
        for buffer in records_of::<BufferRecord<'_>>(section).map_while(Result::ok) {
            this.buffers.entry(buffer.pipe).or_default().push(buffer);
        }
        this
    }

    /// The descriptor with the smallest number that an open file has.
    fn lowest(&self, file: u64) -> Option<u64> {
        self.sharing.get(&file)?.first().copied()
    }

    /// What tells an open file apart, and how the user calls it.
    pub fn identity(&self, file: u64) -> (Key, String) {
        if let Some(fd) = self.lowest(file) {
            return (Key::Number(fd), format!("descriptor {fd}"));
        }
        match self.files.get(&file) {
            Some((_, Some(f))) => (
                Key::Bytes(f.path.to_vec()),
                format!("open file {}", escape::text(f.path)),
            ),
            _ => (Key::Numbers(file, 0), format!("open file {file}")),
        }
    }

    /// The name of an open file as a value.
    pub fn label(&self, file: u64) -> Shown {
        Shown::text(self.identity(file).1)
    }

    /// What tells a pipe apart, and how the user calls it.
    fn pipe_identity(&self, pipe: u64) -> (Key, String) {
        let none = BTreeSet::new();
        let fds = self.pipe_fds.get(&pipe).unwrap_or(&none);
        match fds.first() {
            Some(first) => {
                let word = if fds.len() == 1 {
                    "descriptor"
                } else {
                    "descriptors"
                };
                (Key::Number(*first), format!("pipe of {word} {}", list(fds)))
            }
            None => (
                Key::Numbers(pipe, 0),
                format!("pipe {pipe} without a descriptor"),
            ),
        }
    }
}

fn list(fds: &BTreeSet<u64>) -> String {
    let fds: Vec<String> = fds.iter().map(u64::to_string).collect();
    fds.join(", ")
}

/// Compares descriptors, open files without one, and pipes.
pub(super) fn compare(pair: &Pair<'_>, files: &[Files<'_>; 2], out: &mut Vec<Change>) {
    let [a, b] = files;
    let fds: BTreeSet<u64> = a.fds.keys().chain(b.fds.keys()).copied().collect();
    for fd in fds {
        let change = match (a.fds.contains_key(&fd), b.fds.contains_key(&fd)) {
            (true, true) => descriptor(pair, files, fd),
            (true, false) => Some(alone(pair, a, 0, fd)),
            _ => Some(alone(pair, b, 1, fd)),
        };
        out.extend(change);
    }
    orphans(pair, files, out);
    if pair.options.wants(PIPES) {
        pipes(pair, files, out);
    }
}

fn named(record: &str, object: String, kind: Kind, fields: Vec<FieldChange>) -> Change {
    Change {
        process: None,
        section: "files".to_owned(),
        record: record.to_owned(),
        object,
        kind,
        note: None,
        fields,
    }
}

/// Which others share the open file of a descriptor.
fn shares(files: &Files<'_>, fd: u64) -> Shown {
    let mut others = files
        .file_of
        .get(&fd)
        .and_then(|file| files.sharing.get(file))
        .cloned()
        .unwrap_or_default();
    others.remove(&fd);
    let text = if others.is_empty() {
        "shared with no other descriptor".to_owned()
    } else {
        format!("shared with {}", list(&others))
    };
    let json = json!({ "shared_with": others.into_iter().collect::<Vec<u64>>() });
    Shown { text, json }
}

/// The pipe that a descriptor is an end of.
fn pipe(files: &Files<'_>, fd: u64) -> Option<Shown> {
    let pipe = files.ends.get(files.file_of.get(&fd)?)?;
    Some(Shown::text(files.pipe_identity(*pipe).1))
}

fn descriptor(pair: &Pair<'_>, files: &[Files<'_>; 2], fd: u64) -> Option<Change> {
    let [a, b] = files;
    let mut found = Vec::new();
    let (old, new) = (a.fds.get(&fd)?, b.fds.get(&fd)?);
    // Number and open file are the identity; the rest is its own.
    let own = records::fields(pair, files, old, new);
    found.extend(
        own.into_iter()
            .filter(|f| f.field != "fd" && f.field != "file"),
    );
    let (before, after) = (shares(a, fd), shares(b, fd));
    if before != after {
        found.push(FieldChange::new("file", before, after));
    }
    let (file_a, file_b) = (a.file_of.get(&fd)?, b.file_of.get(&fd)?);
    // Said once, at the first of the descriptors that share it.
    let said = a.lowest(*file_a) == b.lowest(*file_b) && a.lowest(*file_a) != Some(fd);
    if !said {
        match (a.files.get(file_a), b.files.get(file_b)) {
            (Some((x, _)), Some((y, _))) => found.extend(records::fields(pair, files, x, y)),
            (x, y) if x.is_some() != y.is_some() => {
                let there = |f: Option<_>| match f {
                    Some(_) => Shown::text("in the image"),
                    None => Shown::text("not in the image"),
                };
                found.push(FieldChange::new("file", there(x), there(y)));
            }
            _ => {}
        }
        let (before, after) = (pipe(a, fd), pipe(b, fd));
        if before != after {
            found.push(FieldChange {
                field: "pipe".to_owned(),
                old: before,
                new: after,
                note: None,
            });
        }
    }
    found.retain(|f| {
        !pair.options.ignores("files", "descriptor", &f.field)
            && !pair.options.ignores("files", "file", &f.field)
    });
    let what = describe(a, fd);
    (!found.is_empty()).then(|| {
        named(
            "descriptor",
            format!("descriptor {fd}{what}"),
            Kind::Changed,
            found,
        )
    })
}

/// ` (/path)`, as far as it is known.
fn describe(files: &Files<'_>, fd: u64) -> String {
    let file = files.file_of.get(&fd).and_then(|f| files.files.get(f));
    match file.and_then(|f| f.1.as_ref()) {
        Some(f) if f.path.is_empty() && f.description.is_empty() => String::new(),
        Some(f) if f.path.is_empty() => format!(" ({})", escape::text(f.description)),
        Some(f) => format!(" ({})", escape::text(f.path)),
        None => String::new(),
    }
}

fn alone(pair: &Pair<'_>, files: &Files<'_>, side: usize, fd: u64) -> Change {
    let schema = pair.schema(side);
    let one = |field, shown| FieldChange::alone(side, field, shown);
    let mut fields = Vec::new();
    let file = files.file_of.get(&fd).and_then(|f| files.files.get(f));
    for raw in files.fds.get(&fd).into_iter().chain(file.map(|f| &f.0)) {
        for f in raw.fields().map_while(Result::ok) {
            let name = schema.field(raw.section, raw.record_type, f.id);
            if raw.record_type == <FileRecord<'_> as cr_format::Record<'_>>::TYPE || name != "file"
            {
                let shown = value::field(schema, raw.section, &f, &name);
                fields.push(one(name, shown));
            }
        }
    }
    fields.push(one("file".to_owned(), shares(files, fd)));
    fields.extend(pipe(files, fd).map(|p| one("pipe".to_owned(), p)));
    let kind = if side == 0 {
        Kind::Removed
    } else {
        Kind::Added
    };
    named(
        "descriptor",
        format!("descriptor {fd}{}", describe(files, fd)),
        kind,
        fields,
    )
}

/// Open files that no descriptor has, by path.
fn orphans(pair: &Pair<'_>, files: &[Files<'_>; 2], out: &mut Vec<Change>) {
    let of = |files: &Files<'_>| {
        let mut map: BTreeMap<(Vec<u8>, u32), u64> = BTreeMap::new();
        let mut seen: BTreeMap<Vec<u8>, u32> = BTreeMap::new();
        for (id, (_, f)) in &files.files {
            if files.sharing.contains_key(id) {
                continue;
            }
            let path = f.as_ref().map_or(Vec::new(), |f| f.path.to_vec());
            let same = seen.entry(path.clone()).or_insert(0_u32);
            map.insert((path, *same), *id);
            *same = same.saturating_add(1);
        }
        map
    };
    let [a, b] = files;
    let (old, new) = (of(a), of(b));
    let keys: BTreeSet<&(Vec<u8>, u32)> = old.keys().chain(new.keys()).collect();
    for key in keys {
        let object = format!("open file {} without a descriptor", escape::text(&key.0));
        match (old.get(key), new.get(key)) {
            (Some(x), Some(y)) => {
                if let (Some(x), Some(y)) = (a.files.get(x), b.files.get(y)) {
                    let fields = records::fields(pair, files, &x.0, &y.0);
                    if !fields.is_empty() {
                        out.push(named("file", object, Kind::Changed, fields));
                    }
                }
            }
            (Some(_), None) => out.push(named("file", object, Kind::Removed, Vec::new())),
            _ => out.push(named("file", object, Kind::Added, Vec::new())),
        }
    }
}

/// Pipes by their descriptors: capacity and what is unread.
fn pipes(pair: &Pair<'_>, files: &[Files<'_>; 2], out: &mut Vec<Change>) {
    let of = |files: &Files<'_>| -> BTreeMap<Key, (u64, String)> {
        let ids = files.pipes.keys();
        ids.map(|id| {
            let (key, name) = files.pipe_identity(*id);
            (key, (*id, name))
        })
        .collect()
    };
    let [a, b] = files;
    let (old, mut new) = (of(a), of(b));
    let push = |object: &str, kind, fields: Vec<FieldChange>, out: &mut Vec<Change>| {
        out.push(Change {
            process: None,
            section: "pipes".to_owned(),
            ..named("pipe", object.to_owned(), kind, fields)
        });
    };
    for (key, (x, name)) in &old {
        let Some((y, _)) = new.remove(key) else {
            push(name, Kind::Removed, Vec::new(), out);
            continue;
        };
        let mut found = match (a.pipes.get(x), b.pipes.get(&y)) {
            (Some(x), Some(y)) => records::fields(pair, files, x, y),
            _ => Vec::new(),
        };
        unread(a, b, *x, y, &mut found);
        found.retain(|f| !pair.options.ignores("pipes", "buffer", &f.field));
        if !found.is_empty() {
            push(name, Kind::Changed, found, out);
        }
    }
    for (_, name) in new.values() {
        push(name, Kind::Added, Vec::new(), out);
    }
}

/// The bytes in two pipes, and how they are packed.
fn unread(a: &Files<'_>, b: &Files<'_>, x: u64, y: u64, found: &mut Vec<FieldChange>) {
    let bytes = |files: &Files<'_>, pipe: u64| -> Vec<u8> {
        let buffers = files.buffers.get(&pipe).into_iter().flatten();
        buffers.flat_map(|b| b.data.iter().copied()).collect()
    };
    // Only packets have boundaries; other bytes may lie in buffers as they like.
    let packets = |files: &Files<'_>, pipe: u64| -> Vec<(u64, usize)> {
        let buffers = files.buffers.get(&pipe).into_iter().flatten();
        let mut out: Vec<(u64, usize)> = Vec::new();
        for b in buffers {
            match out.last_mut() {
                Some((0, len)) if b.flags == 0 => *len = len.saturating_add(b.data.len()),
                _ => out.push((b.flags, b.data.len())),
            }
        }
        out
    };
    let (old, new) = (bytes(a, x), bytes(b, y));
    if old != new {
        let at = old.iter().zip(&new).position(|(x, y)| x != y);
        let at = at.unwrap_or(old.len().min(new.len()));
        found.push(FieldChange {
            note: Some(format!(
                "{} and {} unread bytes, the first difference is at byte {at}",
                old.len(),
                new.len()
            )),
            ..FieldChange::new("data", preview(&old, at), preview(&new, at))
        });
    }
    let (old, new) = (packets(a, x), packets(b, y));
    if old != new {
        let shown = |list: &[(u64, usize)]| {
            let words: Vec<String> = list
                .iter()
                .take(16)
                .map(|(flags, len)| match flags {
                    0 => format!("{len} bytes"),
                    1 => format!("packet of {len}"),
                    flags => format!("{len} bytes with flags {flags:#x}"),
                })
                .collect();
            Shown::text(words.join(", "))
        };
        found.push(FieldChange::new("flags", shown(&old), shown(&new)));
    }
}

/// Bytes around a difference for people, all of them (up to 4 KiB) for machines.
fn preview(bytes: &[u8], at: usize) -> Shown {
    let from = at.saturating_sub(8).min(bytes.len());
    let to = at.saturating_add(24).min(bytes.len());
    let part = bytes.get(from..to).unwrap_or(&[]);
    let dots = |more: bool| if more { "…" } else { "" };
    let kept = bytes.get(..bytes.len().min(4096)).unwrap_or(bytes);
    Shown {
        text: format!(
            "{}\"{}\"{}",
            dots(from > 0),
            escape::text(part),
            dots(to < bytes.len())
        ),
        json: number::hex(kept).into(),
    }
}
