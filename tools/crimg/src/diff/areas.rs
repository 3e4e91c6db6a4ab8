// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Memory areas by address: what was mapped, unmapped, moved, grown, split or merged.
//!
//! The kernel merges and splits areas as protections change, so areas are compared by what each address
//! is, and the words for it are found afterwards. The same pairing says which pages face each other.

use super::{
    value::{self, Shown},
    Change, FieldChange, Kind, Pair,
};
use crate::{
    escape,
    memory::{Area, Memory},
    number,
    view::memory::ring,
};
use cr_format::{
    records_in, RawRecord, Record, VmaRecord, MEMORY, VMA_FILE, VMA_RING, VMA_SHARED_ANON,
};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// An area with what can be compared of it.
struct Side<'a> {
    areas: Vec<Area>,
    raws: BTreeMap<u32, RawRecord<'a>>,
    /// First area of each shared anonymous object.
    homes: BTreeMap<u64, u64>,
}

impl<'a> Side<'a> {
    fn new(pair: &'a Pair<'_>, side: usize) -> Self {
        let file = pair.files.get(side).copied().unwrap_or(pair.files[0]);
        let mut areas = Memory::new(file, None).areas().to_vec();
        // Overlapping areas are malformed; everything below counts on their order.
        let mut end = 0;
        areas.retain(|a| {
            let sound = a.start >= end && a.start < a.end;
            end = if sound { a.end } else { end };
            sound
        });
        let raws = records_in(MEMORY, pair.section(side, MEMORY))
            .map_while(Result::ok)
            .filter(|r| r.record_type == VmaRecord::TYPE)
            .map(|r| (r.id, r))
            .collect();
        let mut homes = BTreeMap::new();
        for area in areas.iter().filter(|a| a.kind == VMA_SHARED_ANON) {
            homes.entry(area.object).or_insert(area.start);
        }
        Self { areas, raws, homes }
    }
}

/// How the user calls an area.
pub(super) fn name(area: &Area) -> String {
    let name = escape::text(&area.name);
    format!("{:x}-{:x} {} {name}", area.start, area.end, area.perms())
        .trim_end()
        .to_owned()
}

/// Addresses that face each other; one side may have nothing there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facing {
    pub a: Option<u64>,
    pub b: Option<u64>,
    pub len: u64,
    /// Areas they lie in, by their number among the areas.
    pub areas: [Option<usize>; 2],
}

/// How the areas of A and B belong together.
struct Pairing {
    /// Areas of both sides that overlap or are the same, ascending; one of each at least.
    groups: Vec<(Vec<usize>, Vec<usize>)>,
    moved: Vec<(usize, usize)>,
    removed: Vec<usize>,
    added: Vec<usize>,
}

impl Pairing {
    fn new(a: &[Area], b: &[Area]) -> Self {
        let mut this = Self {
            groups: Vec::new(),
            moved: Vec::new(),
            removed: Vec::new(),
            added: Vec::new(),
        };
        let (mut i, mut j) = (0, 0);
        while i < a.len() || j < b.len() {
            this.group(a, b, &mut i, &mut j);
        }
        this.find_moved(a, b);
        this
    }

    /// Takes the next areas that are connected by overlapping.
    fn group(&mut self, a: &[Area], b: &[Area], i: &mut usize, j: &mut usize) {
        let (mut xs, mut ys) = (Vec::new(), Vec::new());
        let next = |areas: &[Area], at: usize| areas.get(at).map(|x| (x.start, x.end));
        let mut reach = 0;
        loop {
            let (x, y) = (next(a, *i), next(b, *j));
            let start = xs.is_empty() && ys.is_empty();
            // The one that begins first, if it belongs to the group.
            let take_a = match (x, y) {
                (Some(x), Some(y)) => x.0 <= y.0,
                (Some(_), None) => true,
                _ => false,
            };
            let Some((from, to)) = (if take_a { x } else { y }) else {
                break;
            };
            if !start && from >= reach {
                break;
            }
            if take_a {
                xs.push(*i);
                *i = i.saturating_add(1);
            } else {
                ys.push(*j);
                *j = j.saturating_add(1);
            }
            reach = reach.max(to);
        }
        match (xs.as_slice(), ys.as_slice()) {
            (_, []) => self.removed.extend(xs),
            ([], _) => self.added.extend(ys),
            _ => self.groups.push((xs, ys)),
        }
    }

    /// Areas that are gone and look like one that is new. Without a name the length must be the same, too.
    fn find_moved(&mut self, a: &[Area], b: &[Area]) {
        type Look = (u64, u64, Vec<u8>, u64, u64);
        let look = |x: &Area| -> Look {
            let named = !x.name.is_empty();
            let offset = if x.kind == VMA_FILE { x.offset } else { 0 };
            (
                x.kind,
                x.prot,
                x.name.clone(),
                offset,
                if named { 0 } else { x.len() },
            )
        };
        let mut new: BTreeMap<Look, VecDeque<usize>> = BTreeMap::new();
        for &j in &self.added {
            if let Some(y) = b.get(j) {
                new.entry(look(y)).or_default().push_back(j);
            }
        }
        let mut moved = Vec::new();
        self.removed.retain(|&i| {
            let target = a
                .get(i)
                .and_then(|x| new.get_mut(&look(x)))
                .and_then(VecDeque::pop_front);
            moved.extend(target.map(|j| (i, j)));
            target.is_none()
        });
        let taken: BTreeSet<usize> = moved.iter().map(|m| m.1).collect();
        self.added.retain(|j| !taken.contains(j));
        self.moved = moved;
    }
}

/// Compares the areas.
pub(super) fn compare(pair: &Pair<'_>, out: &mut Vec<Change>) {
    let (a, b) = (Side::new(pair, 0), Side::new(pair, 1));
    let pairing = Pairing::new(&a.areas, &b.areas);
    let mut found: Vec<(u64, Change)> = Vec::new();
    for (xs, ys) in &pairing.groups {
        let x: Vec<&Area> = xs.iter().filter_map(|i| a.areas.get(*i)).collect();
        let y: Vec<&Area> = ys.iter().filter_map(|j| b.areas.get(*j)).collect();
        if let (Some(at), Some(change)) = (x.first(), group(pair, (&a, &x), (&b, &y))) {
            found.push((at.start, change));
        }
    }
    for (i, j) in &pairing.moved {
        if let (Some(x), Some(y)) = (a.areas.get(*i), b.areas.get(*j)) {
            let fields = fields(pair, (&a, x), (&b, y), true);
            let kind = Kind::Moved;
            let note = format!("to {:x}-{:x}", y.start, y.end);
            found.extend(change(x, kind, Some(note), fields).map(|c| (x.start, c)));
        }
    }
    for (side, list, kind) in [
        (&a, &pairing.removed, Kind::Removed),
        (&b, &pairing.added, Kind::Added),
    ] {
        for area in list.iter().filter_map(|i| side.areas.get(*i)) {
            let fields = alone(pair, side, area, kind == Kind::Removed);
            found.extend(change(area, kind, None, fields).map(|c| (area.start, c)));
        }
    }
    found.sort_by_key(|f| f.0);
    out.extend(found.into_iter().map(|f| f.1));
}

fn change(
    area: &Area,
    kind: Kind,
    note: Option<String>,
    fields: Vec<FieldChange>,
) -> Option<Change> {
    (!fields.is_empty()).then(|| Change {
        process: None,
        section: "memory".to_owned(),
        record: "vma".to_owned(),
        object: format!("area {}", name(area)),
        kind,
        note,
        fields,
    })
}

/// Areas of both sides that overlap.
fn group(
    pair: &Pair<'_>,
    (a, xs): (&Side<'_>, &[&Area]),
    (b, ys): (&Side<'_>, &[&Area]),
) -> Option<Change> {
    let first = xs.first()?;
    if let ([x], [y]) = (xs, ys) {
        let found = fields(pair, (a, x), (b, y), false);
        let same_ends = (x.start == y.start, x.end == y.end);
        let (kind, note) = match same_ends {
            (true, true) => (Kind::Changed, None),
            (false, false) => (Kind::Remapped, None),
            _ if y.len() > x.len() => (Kind::Grown, Some(by(y.len().saturating_sub(x.len())))),
            _ => (Kind::Shrunk, Some(by(x.len().saturating_sub(y.len())))),
        };
        return change(x, kind, note, found);
    }
    let parts = parts(pair, (a, xs), (b, ys));
    let covered = |areas: &[&Area]| areas.iter().map(|x| x.len()).fold(0, u64::saturating_add);
    let ends = |areas: &[&Area]| Some((areas.first()?.start, areas.last()?.end));
    let same = ends(xs) == ends(ys) && covered(xs) == covered(ys);
    let (kind, note) = match (xs.len(), ys.len()) {
        (1, n) if same => (Kind::Split, format!("into {n}")),
        (n, 1) if same => (Kind::Merged, format!("of {n} areas")),
        (n, m) => (
            Kind::Remapped,
            format!("{} {}", number::count(n as u64, "area", "areas"), became(m)),
        ),
    };
    let list = |areas: &[&Area]| {
        let names: Vec<String> = areas.iter().map(|x| name(x)).collect();
        Shown {
            text: names.join(", "),
            json: json!(names),
        }
    };
    let mut found = vec![FieldChange::new("areas", list(xs), list(ys))];
    found.extend(parts);
    let ignored = |f: &FieldChange| {
        // `areas` stands for the ends of all of them.
        let field = match f.field.as_str() {
            "areas" => "start",
            other => other.split(' ').next().unwrap_or(other),
        };
        pair.options.ignores("memory", "vma", field)
    };
    found.retain(|f| !ignored(f));
    change(first, kind, Some(note), found)
}

fn by(bytes: u64) -> String {
    format!("by {}", number::size(bytes))
}

fn became(n: usize) -> String {
    format!("became {}", number::count(n as u64, "area", "areas"))
}

/// The fields that two areas have differently. `moved`: ends differ anyway, and offsets with them not.
fn fields(
    pair: &Pair<'_>,
    (a, x): (&Side<'_>, &Area),
    (b, y): (&Side<'_>, &Area),
    moved: bool,
) -> Vec<FieldChange> {
    let mut found = Vec::new();
    let (Some(old), Some(new)) = (a.raws.get(&x.id), b.raws.get(&y.id)) else {
        return found;
    };
    let schema = [pair.schema(0), pair.schema(1)];
    let ids: Vec<u16> = old.fields().map_while(Result::ok).map(|f| f.id).collect();
    let more = new.fields().map_while(Result::ok).map(|f| f.id);
    let ids: BTreeSet<u16> = ids.into_iter().chain(more).collect();
    for id in ids {
        let name = schema[0].field(MEMORY, VmaRecord::TYPE, id);
        let (f, g) = (old.field(id), new.field(id));
        if name == "object" {
            let (p, q) = (object(a, x), object(b, y));
            // Ids of shared objects count anew in every image.
            if p != q {
                found.push(FieldChange::new(name, p, q));
            }
            continue;
        }
        if name == "offset" && !moved && same_backing(x, y) {
            // It follows the start.
            continue;
        }
        if let (Some(f), Some(g)) = (&f, &g) {
            if f.wire == g.wire && f.payload == g.payload {
                continue;
            }
        }
        let shown = |side: usize, f: Option<cr_format::RawField<'_>>| {
            f.map(|f| value::field(pair.schema(side), MEMORY, &f, &name))
        };
        found.push(FieldChange {
            old: shown(0, f),
            new: shown(1, g),
            field: name,
            note: None,
        });
    }
    found.retain(|f| !pair.options.ignores("memory", "vma", &f.field));
    found
}

/// Is an address of both areas the same place of the same object?
fn same_backing(x: &Area, y: &Area) -> bool {
    let base = |v: &Area| v.offset.wrapping_sub(v.start);
    base(x) == base(y)
}

/// What an area maps, without ids.
fn object(side: &Side<'_>, area: &Area) -> Shown {
    match (&area.path, area.kind) {
        (Some(path), _) => Shown::of_text(path),
        (None, VMA_FILE) => Shown::text(format!("mapped file {} (not in the image)", area.object)),
        (None, VMA_SHARED_ANON) => match side.homes.get(&area.object) {
            Some(start) if *start != area.start => {
                Shown::text(format!("the shared memory of {start:x}"))
            }
            _ => Shown::text("shared memory"),
        },
        (None, VMA_RING) => Shown::text(ring(area.object, area.offset)),
        _ => Shown::text("none"),
    }
}

fn alone(pair: &Pair<'_>, side: &Side<'_>, area: &Area, removed: bool) -> Vec<FieldChange> {
    let schema = pair.schema(usize::from(!removed));
    let raw = side.raws.get(&area.id);
    let fields = raw
        .into_iter()
        .flat_map(|r| r.fields().map_while(Result::ok));
    fields
        .map(|f| {
            let name = schema.field(MEMORY, VmaRecord::TYPE, f.id);
            let shown = match name.as_str() {
                "object" => object(side, area),
                _ => value::field(schema, MEMORY, &f, &name),
            };
            let (old, new) = if removed {
                (Some(shown), None)
            } else {
                (None, Some(shown))
            };
            FieldChange {
                field: name,
                old,
                new,
                note: None,
            }
        })
        .collect()
}

/// Stretches of a group that both sides have, with other values: `prot 1000-2000`.
fn parts(
    pair: &Pair<'_>,
    (a, xs): (&Side<'_>, &[&Area]),
    (b, ys): (&Side<'_>, &[&Area]),
) -> Vec<FieldChange> {
    let mut found: Vec<FieldChange> = Vec::new();
    for x in xs {
        for y in ys {
            let (start, end) = (x.start.max(y.start), x.end.min(y.end));
            if start >= end {
                continue;
            }
            let mut fields = fields(pair, (a, x), (b, y), false);
            fields.retain(|f| !matches!(f.field.as_str(), "start" | "end"));
            if same_backing(x, y) {
                fields.retain(|f| f.field != "offset");
            }
            found.extend(fields.into_iter().map(|f| FieldChange {
                field: format!("{} {start:x}-{end:x}", f.field),
                ..f
            }));
        }
    }
    found
}

/// Which addresses face each other, for the comparison of pages; ascending by the address in A, what is
/// only in B at last. Also the areas of both sides.
pub(super) fn facing(pair: &Pair<'_>) -> ([Vec<Area>; 2], Vec<Facing>) {
    let (a, b) = (Side::new(pair, 0).areas, Side::new(pair, 1).areas);
    let pairing = Pairing::new(&a, &b);
    let mut out = Vec::new();
    let mut push = |a: Option<(u64, usize)>, b: Option<(u64, usize)>, len: u64| {
        if len > 0 {
            out.push(Facing {
                a: a.map(|a| a.0),
                b: b.map(|b| b.0),
                len,
                areas: [a.map(|a| a.1), b.map(|b| b.1)],
            });
        }
    };
    for (xs, ys) in &pairing.groups {
        overlay((&a, xs), (&b, ys), &mut push);
    }
    for &(i, j) in &pairing.moved {
        let (Some(x), Some(y)) = (a.get(i), b.get(j)) else {
            continue;
        };
        let len = x.len().min(y.len());
        push(Some((x.start, i)), Some((y.start, j)), len);
        push(
            Some((x.start.saturating_add(len), i)),
            None,
            x.len().saturating_sub(len),
        );
        push(
            None,
            Some((y.start.saturating_add(len), j)),
            y.len().saturating_sub(len),
        );
    }
    for &i in &pairing.removed {
        if let Some(x) = a.get(i) {
            push(Some((x.start, i)), None, x.len());
        }
    }
    for &j in &pairing.added {
        if let Some(y) = b.get(j) {
            push(None, Some((y.start, j)), y.len());
        }
    }
    out.sort_by_key(|f| (f.a.is_none(), f.a, f.b));
    ([a, b], out)
}

/// Cuts the areas of a group at all their ends.
fn overlay(
    (a, xs): (&[Area], &[usize]),
    (b, ys): (&[Area], &[usize]),
    push: &mut impl FnMut(Option<(u64, usize)>, Option<(u64, usize)>, u64),
) {
    let ends = |areas: &[Area], list: &[usize]| -> Vec<(u64, u64, usize)> {
        let found = list.iter().filter_map(|i| areas.get(*i).map(|x| (x, *i)));
        found.map(|(x, i)| (x.start, x.end, i)).collect()
    };
    let (xs, ys) = (ends(a, xs), ends(b, ys));
    let mut cuts: Vec<u64> = xs.iter().chain(&ys).flat_map(|x| [x.0, x.1]).collect();
    cuts.sort_unstable();
    cuts.dedup();
    let (mut i, mut j) = (0, 0);
    for pair in cuts.windows(2) {
        let &[from, to] = pair else { continue };
        let at = |list: &[(u64, u64, usize)], n: &mut usize| {
            while list.get(*n).is_some_and(|x| x.1 <= from) {
                *n = n.saturating_add(1);
            }
            let here = list.get(*n).filter(|x| x.0 <= from);
            here.map(|x| (from, x.2))
        };
        let (x, y) = (at(&xs, &mut i), at(&ys, &mut j));
        if x.is_some() || y.is_some() {
            push(x, y, to.saturating_sub(from));
        }
    }
}
