// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Page data: which pages have other contents, counted per memory area or deleted file.
//!
//! Contents are compared, not checksums, and not how they are stored: a compressed page equals a raw one,
//! a zero page that is stored equals one that is only noted, and in anonymous memory one that no image
//! mentions. Work is cut at the chunks of both images and done by all processors; each holds two chunks.

use super::{areas, descriptors::Files, value::Shown, Mem, Pair};
use crate::{
    error::Failure,
    escape,
    file::{ImageFile, PageData},
    json,
    memory::{Area, Memory},
    number, progress,
};
use cr_format::{
    index::IndexEntry,
    limits::PAGE,
    runs::{Run, RunKind},
    FileRecord, FILES, FILE_DELETED, FILE_MEMFD, FILE_REGULAR, MEMORY, VMA_ANON, VMA_FILE,
    VMA_SHARED_ANON,
};
use rayon::prelude::*;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{json, Value};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicBool, Ordering},
};

/// Units that one processor takes at once.
const BATCH: usize = 32;
/// Bytes in a line of the hexdump.
pub(super) const LINE: u64 = 16;

/// Counts of pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Contents in both, equal.
    pub same: u64,
    /// Contents in both, not equal; zero counts as contents.
    pub changed: u64,
    /// Contents in A; in B not mapped, or from a file.
    pub only_a: u64,
    /// The other way round.
    pub only_b: u64,
    /// Zero in both.
    pub zero: u64,
    /// Of these, mentioned by one image only.
    pub zero_or_absent: u64,
    /// In a parent image of one of them: not compared.
    pub parent: u64,
    /// Bytes that differ in changed pages.
    pub bytes: u64,
}

impl Counts {
    fn add(&mut self, other: &Self) {
        for (to, from) in [
            (&mut self.same, other.same),
            (&mut self.changed, other.changed),
            (&mut self.only_a, other.only_a),
            (&mut self.only_b, other.only_b),
            (&mut self.zero, other.zero),
            (&mut self.zero_or_absent, other.zero_or_absent),
            (&mut self.parent, other.parent),
            (&mut self.bytes, other.bytes),
        ] {
            *to = to.saturating_add(from);
        }
    }
    /// Pages that differ.
    pub fn different(&self) -> u64 {
        self.changed
            .saturating_add(self.only_a)
            .saturating_add(self.only_b)
    }
    fn json(&self) -> Value {
        json!({
            "same": json::integer(self.same),
            "changed": json::integer(self.changed),
            "only_a": json::integer(self.only_a),
            "only_b": json::integer(self.only_b),
            "zero": json::integer(self.zero),
            "zero_or_absent": json::integer(self.zero_or_absent),
            "parent": json::integer(self.parent),
            "bytes_changed": json::integer(self.bytes),
        })
    }
}

/// An area or deleted file with its counts.
#[derive(Clone, Debug)]
pub struct Row {
    /// Id of the process, if an image has several.
    pub process: Option<u64>,
    /// What it is; escaped.
    pub name: String,
    /// Its pages.
    pub counts: Counts,
}

/// Bytes that differ, in whole lines of the hexdump.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Number of the row.
    pub row: usize,
    /// Address or offset in A.
    pub a: u64,
    /// Address or offset in B.
    pub b: u64,
    /// Contents in A.
    pub old: Vec<u8>,
    /// Contents in B, as long.
    pub new: Vec<u8>,
}

/// The result.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Areas and files with pages that are in an image.
    pub rows: Vec<Row>,
    /// All of them.
    pub total: Counts,
    /// With [`Mem::Bytes`], what differs, up to the limit.
    pub pieces: Vec<Piece>,
    /// Bytes that differ and are not in `pieces`, in whole lines.
    pub left_out: u64,
}

impl Report {
    /// Does no page differ?
    pub fn is_same(&self) -> bool {
        self.total.different() == 0
    }

    /// Bytes of `pieces`, per side.
    pub(super) fn shown(&self) -> u64 {
        let len = |p: &Piece| p.old.len() as u64;
        self.pieces.iter().map(len).fold(0, u64::saturating_add)
    }

    /// Puts the report of another process behind this one.
    pub(super) fn append(&mut self, other: Self) {
        let before = self.rows.len();
        self.rows.extend(other.rows);
        self.total.add(&other.total);
        self.left_out = self.left_out.saturating_add(other.left_out);
        self.pieces
            .extend(other.pieces.into_iter().map(|piece| Piece {
                row: piece.row.saturating_add(before),
                ..piece
            }));
    }
}

impl Serialize for Report {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut m = s.serialize_map(None)?;
        m.serialize_entry("pages", &self.total.json())?;
        let of = |row: Option<&Row>, mut object: Value| {
            let process = row.and_then(|r| r.process);
            if let (Some(process), Some(m)) = (process, object.as_object_mut()) {
                m.insert("process".into(), json::integer(process));
            }
            object
        };
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|r| of(Some(r), json!({"area": r.name, "pages": r.counts.json()})))
            .collect();
        m.serialize_entry("areas", &rows)?;
        let pieces: Vec<Value> = self
            .pieces
            .iter()
            .map(|p| {
                let row = self.rows.get(p.row);
                let piece = json!({
                    "area": row.map(|r| r.name.clone()),
                    "address": Shown::hex(p.a).json,
                    "address_b": Shown::hex(p.b).json,
                    "old": number::hex(&p.old),
                    "new": number::hex(&p.new),
                });
                of(row, piece)
            })
            .collect();
        m.serialize_entry("bytes", &pieces)?;
        m.serialize_entry("bytes_left_out", &json::integer(self.left_out))?;
        m.end()
    }
}

/// What an address has that the image does not mention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Absent {
    Zero,
    /// Contents of a file, or nothing at all.
    Unknown,
}

/// A stretch of one side: the chunks that its pages are in, and where it begins there.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    /// Number among the spaces of the side.
    space: usize,
    start: u64,
    absent: Absent,
    /// Address that is shown, which is not where shared memory is stored.
    shown: u64,
}

/// Stretches that face each other.
#[derive(Clone, Debug)]
struct Segment {
    sides: [Option<Stretch>; 2],
    len: u64,
    row: usize,
}

/// The chunks of one section and owner, ascending.
type Space = Vec<IndexEntry>;

/// A piece of a segment that lies in one chunk of each side at most.
#[derive(Clone, Copy, Debug)]
struct Unit {
    segment: usize,
    from: u64,
    to: u64,
    chunks: [Option<usize>; 2],
}

struct Job<'a> {
    files: [&'a ImageFile; 2],
    spaces: [Vec<Space>; 2],
    segments: Vec<Segment>,
    rows: Vec<String>,
    options: &'a super::Options,
    stop: AtomicBool,
}

/// What one processor has found.
#[derive(Default)]
struct Found {
    counts: BTreeMap<usize, Counts>,
    pieces: Vec<Piece>,
    kept: u64,
    left_out: u64,
}

/// Compares the page data.
///
/// # Errors
/// [`Failure::Read`], [`Failure::Defect`] for damaged page data.
pub(super) fn compare(
    pair: &Pair<'_>,
    files: &[Files<'_>; 2],
    warnings: &mut Vec<String>,
) -> Result<Report, Failure> {
    let job = Job::new(pair, files);
    let units = job.units();
    let mut report = Report::default();
    let mut counts: BTreeMap<usize, Counts> = BTreeMap::new();
    let mut kept = 0_u64;
    let label = if pair.options.progress {
        "comparing"
    } else {
        ""
    };
    let total = if pair.options.progress {
        units.len() as u64
    } else {
        0
    };
    let bar = progress::bar(total.saturating_mul(1 << 20), label);
    let wave = BATCH
        .saturating_mul(rayon::current_num_threads().max(1))
        .saturating_mul(4);
    for wave in units.chunks(wave) {
        let results: Vec<Result<Found, Failure>> = wave
            .par_chunks(BATCH)
            .map(|batch| job.batch(batch))
            .collect();
        for found in results {
            let found = found?;
            for (row, c) in &found.counts {
                counts.entry(*row).or_default().add(c);
                report.total.add(c);
            }
            report.left_out = report.left_out.saturating_add(found.left_out);
            for piece in found.pieces {
                let len = piece.old.len() as u64;
                if kept.saturating_add(len) <= pair.options.max_bytes {
                    kept = kept.saturating_add(len);
                    join(&mut report.pieces, piece);
                } else {
                    report.left_out = report.left_out.saturating_add(len);
                }
            }
        }
        bar.inc((wave.len() as u64).saturating_mul(1 << 20));
        if job.stop.load(Ordering::Relaxed) {
            break;
        }
    }
    bar.finish_and_clear();
    if report.total.parent > 0 {
        warnings.push(format!(
            "{} in a parent image could not be compared",
            number::count(report.total.parent, "page is", "pages are")
        ));
    }
    // Rows without pages say nothing.
    let mut renumbered = BTreeMap::new();
    for (row, counts) in counts {
        renumbered.insert(row, report.rows.len());
        let name = job.rows.get(row).cloned().unwrap_or_default();
        report.rows.push(Row {
            process: None,
            name,
            counts,
        });
    }
    for piece in &mut report.pieces {
        piece.row = renumbered.get(&piece.row).copied().unwrap_or(0);
    }
    Ok(report)
}

/// Appends a piece, or lengthens the last one.
fn join(pieces: &mut Vec<Piece>, piece: Piece) {
    if let Some(last) = pieces.last_mut() {
        let len = last.old.len() as u64;
        let next = last.row == piece.row
            && last.a.checked_add(len) == Some(piece.a)
            && last.b.checked_add(len) == Some(piece.b);
        if next {
            last.old.extend(piece.old);
            last.new.extend(piece.new);
            return;
        }
    }
    pieces.push(piece);
}

impl<'a> Job<'a> {
    fn new(pair: &Pair<'a>, files: &[Files<'_>; 2]) -> Self {
        let mut this = Self {
            files: pair.files,
            spaces: [Vec::new(), Vec::new()],
            segments: Vec::new(),
            rows: Vec::new(),
            options: pair.options,
            stop: AtomicBool::new(false),
        };
        let chunks = pair.files.map(by_owner);
        let space = |this: &mut Self, side: usize, key: (u16, u32)| -> usize {
            let found = chunks.get(side).and_then(|c| c.get(&key));
            let Some(spaces) = this.spaces.get_mut(side) else {
                return 0;
            };
            spaces.push(found.cloned().unwrap_or_default());
            spaces.len().saturating_sub(1)
        };
        if pair.options.wants(MEMORY) {
            this.memory(pair, &chunks);
        }
        let keys: BTreeSet<(u16, u32)> = chunks.iter().flat_map(|c| c.keys().copied()).collect();
        let mut seen = [BTreeSet::new(), BTreeSet::new()];
        for key in keys {
            if key.0 == MEMORY || !pair.options.wants(key.0) || is_of_others(pair, files, key) {
                continue;
            }
            // Deleted files belong together by their descriptors, other owners by their number.
            for side in [0, 1_usize] {
                let there = chunks.get(side).is_some_and(|c| c.contains_key(&key));
                let done = seen.get(side).is_some_and(|s| s.contains(&key));
                if !there || done {
                    continue;
                }
                let (name, other) = partner(pair, files, side, key);
                let keys = match side {
                    0 => [Some(key), other],
                    _ => [other, Some(key)],
                };
                let row = this.rows.len();
                this.rows.push(name);
                let mut sides = [None, None];
                for (side, key) in keys.into_iter().enumerate() {
                    let Some(key) = key else { continue };
                    if let (Some(to), Some(seen)) = (sides.get_mut(side), seen.get_mut(side)) {
                        seen.insert(key);
                        *to = Some(Stretch {
                            space: space(&mut this, side, key),
                            start: 0,
                            absent: Absent::Zero,
                            shown: 0,
                        });
                    }
                }
                this.segments.push(Segment {
                    sides,
                    len: i64::MAX as u64,
                    row,
                });
            }
        }
        this
    }

    /// Segments of the address space.
    fn memory(&mut self, pair: &Pair<'_>, chunks: &[Chunks; 2]) {
        // Shared memory of several processes is stored with one of them.
        let mut spaces: BTreeMap<(usize, u32), usize> = BTreeMap::new();
        let ([a, b], facing) = areas::facing(pair);
        let memories = pair.files.map(|f| Memory::new(f, None));
        let mut rows: BTreeMap<(bool, usize), usize> = BTreeMap::new();
        for f in facing {
            let key = match f.areas {
                [Some(x), _] => (false, x),
                [None, y] => (true, y.unwrap_or(0)),
            };
            let names = &mut self.rows;
            let row = *rows.entry(key).or_insert_with(|| {
                let area = if key.0 { b.get(key.1) } else { a.get(key.1) };
                names.push(area.map_or_else(String::new, areas::name));
                names.len().saturating_sub(1)
            });
            // Shared memory that is mapped twice is stored at its first address: cut where that jumps.
            let mut done = 0;
            while done < f.len {
                let mut len = f.len.saturating_sub(done);
                let mut sides = [None, None];
                let starts = [(f.a, &a), (f.b, &b)];
                for (side, ((start, areas), to)) in starts.into_iter().zip(&mut sides).enumerate() {
                    let area = f
                        .areas
                        .get(side)
                        .copied()
                        .flatten()
                        .and_then(|n| areas.get(n));
                    let (Some(start), Some(area)) = (start, area) else {
                        continue;
                    };
                    let shown = start.saturating_add(done);
                    let Some(memory) = memories.get(side) else {
                        continue;
                    };
                    let home = memory.home(area, shown);
                    len = len.min(home.reach.max(PAGE));
                    let all = &mut self.spaces;
                    let space = *spaces.entry((side, home.owner)).or_insert_with(|| {
                        let found = chunks.get(side);
                        let found = found.and_then(|c| c.get(&(MEMORY, home.owner)));
                        let all = all.get_mut(side);
                        all.map_or(0, |all| {
                            all.push(found.cloned().unwrap_or_default());
                            all.len().saturating_sub(1)
                        })
                    });
                    *to = Some(Stretch {
                        space,
                        start: home.address,
                        absent: absent(area),
                        shown,
                    });
                }
                self.segments.push(Segment { sides, len, row });
                done = done.saturating_add(len.max(1));
            }
        }
    }

    /// Cuts the segments at the chunks of both sides; parts without any are left out.
    fn units(&self) -> Vec<Unit> {
        let mut units = Vec::new();
        for (number, segment) in self.segments.iter().enumerate() {
            let mut cuts = vec![0, segment.len];
            let chunks = [0, 1_usize].map(|side| {
                let stretch = segment.sides.get(side).copied().flatten();
                let space = stretch.and_then(|s| self.spaces.get(side)?.get(s.space));
                (stretch, space.map_or(&[][..], Vec::as_slice))
            });
            for (stretch, space) in &chunks {
                let Some(stretch) = stretch else { continue };
                let end = stretch.start.saturating_add(segment.len);
                let first = space.partition_point(|c| c.key <= stretch.start);
                let rest = space.get(first..).unwrap_or(&[]);
                let within = rest.iter().take_while(|c| c.key < end);
                cuts.extend(within.map(|c| c.key.saturating_sub(stretch.start)));
            }
            cuts.sort_unstable();
            cuts.dedup();
            for pair in cuts.windows(2) {
                let &[from, to] = pair else { continue };
                let chunks = chunks.map(|(stretch, space)| {
                    let at = stretch?.start.saturating_add(from);
                    space.partition_point(|c| c.key <= at).checked_sub(1)
                });
                if chunks.iter().any(Option::is_some) {
                    units.push(Unit {
                        segment: number,
                        from,
                        to,
                        chunks,
                    });
                }
            }
        }
        units
    }

    fn batch(&self, units: &[Unit]) -> Result<Found, Failure> {
        let mut found = Found::default();
        let mut readers = [Reader::default(), Reader::default()];
        for unit in units {
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            let Some(segment) = self.segments.get(unit.segment) else {
                continue;
            };
            self.unit(unit, segment, &mut readers, &mut found)?;
            let different = found.counts.values().any(|c| c.different() > 0);
            if self.options.first_only && different {
                self.stop.store(true, Ordering::Relaxed);
            }
        }
        Ok(found)
    }

    fn unit(
        &self,
        unit: &Unit,
        segment: &Segment,
        readers: &mut [Reader; 2],
        found: &mut Found,
    ) -> Result<(), Failure> {
        let entries = [0, 1_usize].map(|side| {
            let stretch = segment.sides.get(side).copied().flatten()?;
            let n = unit.chunks.get(side).copied().flatten()?;
            let entry = self.spaces.get(side)?.get(stretch.space)?.get(n)?;
            Some((stretch, n, entry))
        });
        let trusted = self.options.trust_crc && self.trusted(&entries)?;
        let mut spans = [Vec::new(), Vec::new()];
        for (side, entry) in entries.iter().enumerate() {
            let (Some((stretch, n, entry)), Some(reader), Some(file), Some(to)) = (
                entry,
                readers.get_mut(side),
                self.files.get(side),
                spans.get_mut(side),
            ) else {
                continue;
            };
            let runs = if trusted {
                reader.tables_only(file, entry)?
            } else {
                reader.load(file, (stretch.space, *n), entry)?
            };
            *to = cut(runs, stretch.start, unit.from, unit.to);
        }
        let [a, b] = readers;
        let counts = found.counts.entry(segment.row).or_default();
        let before = *counts;
        let [old, new] = &spans;
        let mut meet = Meet {
            segment,
            data: [&a.bytes, &b.bytes],
            trusted,
            counts: *counts,
            bytes: (self.options.mem == Mem::Bytes).then_some(self.options.max_bytes),
            found: (
                std::mem::take(&mut found.pieces),
                found.kept,
                found.left_out,
            ),
        };
        overlap(old, new, &mut meet);
        let after = meet.counts;
        (found.pieces, found.kept, found.left_out) = meet.found;
        if after == Counts::default() && before == after {
            found.counts.remove(&segment.row);
        } else {
            found.counts.insert(segment.row, after);
        }
        Ok(())
    }

    /// Do both chunks say that they hold the same, page by page?
    fn trusted(
        &self,
        entries: &[Option<(Stretch, usize, &IndexEntry)>; 2],
    ) -> Result<bool, Failure> {
        let [Some((x, _, a)), Some((y, _, b))] = entries else {
            return Ok(false);
        };
        let alike = (a.raw_crc, a.raw_len, a.items, a.key)
            == (b.raw_crc, b.raw_len, b.items, b.key)
            && x.start == y.start;
        let [f, g] = self.files;
        Ok(alike && f.runs(a)?.1 == g.runs(b)?.1)
    }
}

/// `PAGE` chunks by section and owner.
type Chunks = BTreeMap<(u16, u32), Space>;

/// Are these pages of a file that neither process has, or of an object of a third party? The first pair has the latter.
fn is_of_others(pair: &Pair<'_>, files: &[Files<'_>; 2], (section, owner): (u16, u32)) -> bool {
    if !pair.is_part {
        return false;
    }
    let first = pair.files.iter().any(|f| f.image.process == 0);
    match section {
        FILES => !files.iter().any(|f| f.files.contains_key(&owner.into())),
        _ => !first,
    }
}

fn by_owner(file: &ImageFile) -> Chunks {
    let mut map = Chunks::new();
    for entry in file.page_chunks() {
        map.entry((entry.section, entry.owner))
            .or_default()
            .push(*entry);
    }
    for space in map.values_mut() {
        // They ascend in a sound image; the search counts on it.
        space.sort_by_key(|e| e.key);
    }
    map
}

fn absent(area: &Area) -> Absent {
    match area.kind {
        VMA_ANON | VMA_SHARED_ANON => Absent::Zero,
        // Contents of the file, or made by the kernel.
        VMA_FILE => Absent::Unknown,
        _ => Absent::Unknown,
    }
}

/// The name of the owner of pages, and the owner on the other side that is the same object.
fn partner(
    pair: &Pair<'_>,
    files: &[Files<'_>; 2],
    side: usize,
    (section, owner): (u16, u32),
) -> (String, Option<(u16, u32)>) {
    let [a, b] = files;
    let (mine, theirs) = if side == 0 { (a, b) } else { (b, a) };
    if section != FILES {
        let word = pair.schema(side).word(section);
        return (format!("{word} {owner}"), Some((section, owner)));
    }
    let (key, name) = mine.identity(owner.into());
    let path = match mine.files.get(&owner.into()) {
        Some((_, Some(f))) => escape::text(f.path),
        _ => String::new(),
    };
    let is_twin = |id: u64, record: &Option<FileRecord<'_>>| {
        theirs.identity(id).0 == key
            && record
                .as_ref()
                .is_some_and(|f| matches!(f.kind, FILE_REGULAR | FILE_DELETED | FILE_MEMFD))
    };
    let mut twins = theirs.files.iter().filter(|(id, (_, f))| is_twin(**id, f));
    let same = (section, owner);
    let other = match (
        theirs.files.get(&owner.into()),
        mine.files.get(&owner.into()),
    ) {
        // Pages of a file that neither image has: a defect, but of both.
        (None, None) => Some(same),
        // Of several that nothing tells apart, the one with the same number.
        (Some((_, f)), _) if is_twin(owner.into(), f) => Some(same),
        _ => twins
            .next()
            .and_then(|(id, _)| Some((section, u32::try_from(*id).ok()?))),
    };
    let kind = match mine.files.get(&owner.into()) {
        Some((_, Some(f))) if f.kind == FILE_MEMFD => "memory",
        Some((_, Some(f))) if f.kind == FILE_REGULAR => "open",
        _ => "deleted",
    };
    (format!("{kind} file {path} ({name})"), other)
}

/// The last chunk of a side.
#[derive(Default)]
struct Reader {
    at: Option<(usize, usize)>,
    runs: Vec<Run>,
    bytes: Vec<u8>,
}

impl Reader {
    fn load(
        &mut self,
        file: &ImageFile,
        at: (usize, usize),
        entry: &IndexEntry,
    ) -> Result<&[Run], Failure> {
        if self.at != Some(at) {
            self.at = None;
            let PageData { runs, bytes } = file.page_data_in(entry, &mut self.bytes)?;
            (self.runs, self.bytes) = (runs, bytes);
            self.at = Some(at);
        }
        Ok(&self.runs)
    }

    /// The runs without their pages.
    fn tables_only(&mut self, file: &ImageFile, entry: &IndexEntry) -> Result<&[Run], Failure> {
        self.at = None;
        self.runs = file.runs(entry)?.1;
        Ok(&self.runs)
    }
}

/// Where the pages of a span are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// In the page data from here on.
    Data(usize),
    /// All of them equal the page here.
    Duplicate(usize),
    Zero,
    Parent,
}

/// Pages from `from` to `to`, counted from the beginning of the segment.
#[derive(Clone, Copy, Debug)]
struct Span {
    from: u64,
    to: u64,
    source: Source,
}

/// The runs of a chunk as spans of a segment that begins at `start` and is looked at from `from` to `to`.
fn cut(runs: &[Run], start: u64, from: u64, to: u64) -> Vec<Span> {
    let mut out = Vec::new();
    let mut position = 0_u64;
    let low = start.saturating_add(from);
    let high = start.saturating_add(to);
    for run in runs {
        let end = run.end().unwrap_or(run.start);
        let (x, y) = (run.start.max(low), end.min(high));
        if x < y {
            let at = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
            let source = match run.kind {
                RunKind::Data => {
                    Source::Data(at(position.saturating_add(x.saturating_sub(run.start))))
                }
                RunKind::Zero => Source::Zero,
                RunKind::Duplicate => Source::Duplicate(at(position_of(runs, run.source))),
                RunKind::Parent => Source::Parent,
            };
            out.push(Span {
                from: x.saturating_sub(start),
                to: y.saturating_sub(start),
                source,
            });
        }
        position = position.saturating_add(run.stored_bytes());
    }
    out
}

fn position_of(runs: &[Run], address: u64) -> u64 {
    let mut before = 0_u64;
    for run in runs {
        let end = run.end().unwrap_or(run.start);
        if run.kind == RunKind::Data && run.start <= address && address < end {
            return before.saturating_add(address.saturating_sub(run.start));
        }
        before = before.saturating_add(run.stored_bytes());
    }
    // A table that has been checked has every source.
    u64::MAX
}

/// Calls `meet` for every stretch that one side or both have pages for.
fn overlap(old: &[Span], new: &[Span], meet: &mut Meet<'_>) {
    let (mut i, mut j) = (0_usize, 0_usize);
    let mut at = 0_u64;
    loop {
        let (x, y) = (old.get(i), new.get(j));
        let begin = match (x, y) {
            (None, None) => return,
            (Some(s), None) | (None, Some(s)) => s.from,
            (Some(x), Some(y)) => x.from.min(y.from),
        };
        at = at.max(begin);
        let here = |s: Option<&Span>| s.copied().filter(|s| s.from <= at);
        let (a, b) = (here(x), here(y));
        // Up to where nothing changes.
        let edge =
            |s: Option<&Span>| s.map_or(u64::MAX, |s| if s.from > at { s.from } else { s.to });
        let end = edge(x).min(edge(y));
        meet.stretch(at, end, a, b);
        at = end;
        if x.is_some_and(|s| s.to <= at) {
            i = i.saturating_add(1);
        }
        if y.is_some_and(|s| s.to <= at) {
            j = j.saturating_add(1);
        }
    }
}

/// What one page is.
#[derive(Clone, Copy)]
enum Page<'p> {
    Bytes(&'p [u8]),
    /// Stored; the chunks are believed, so it is not read.
    Believed,
    Zero,
    Unknown,
    Parent,
}

static ZERO: [u8; PAGE as usize] = [0; PAGE as usize];

struct Meet<'m> {
    segment: &'m Segment,
    data: [&'m [u8]; 2],
    trusted: bool,
    counts: Counts,
    /// Most bytes to keep, if they are to be shown at all.
    bytes: Option<u64>,
    /// Pieces, bytes in them, bytes left out.
    found: (Vec<Piece>, u64, u64),
}

impl Meet<'_> {
    /// From `from` to `to` nothing but the page changes.
    fn stretch(&mut self, from: u64, to: u64, a: Option<Span>, b: Option<Span>) {
        let pages = to.saturating_sub(from) / PAGE;
        let constant = |s: &Option<Span>| s.is_none_or(|s| !matches!(s.source, Source::Data(_)));
        if constant(&a) && constant(&b) || self.trusted {
            // Runs of zero pages and duplicates can be as long as memory.
            self.count(from, pages, a, b);
            return;
        }
        for n in 0..pages {
            let at = from.saturating_add(n.saturating_mul(PAGE));
            self.count(at, 1, a, b);
        }
    }

    /// What page `at` of a side is.
    fn page(&self, side: usize, at: u64, span: Option<Span>) -> Page<'_> {
        let Some(span) = span else {
            let stretch = self.segment.sides.get(side).copied().flatten();
            return match stretch.map(|s| s.absent) {
                Some(Absent::Zero) => Page::Zero,
                _ => Page::Unknown,
            };
        };
        let position = match span.source {
            Source::Zero => return Page::Zero,
            Source::Parent => return Page::Parent,
            _ if self.trusted => return Page::Believed,
            Source::Data(p) => {
                let more = usize::try_from(at.saturating_sub(span.from)).unwrap_or(usize::MAX);
                p.saturating_add(more)
            }
            Source::Duplicate(p) => p,
        };
        let data = self.data.get(side).copied().unwrap_or(&[]);
        match data.get(position..position.saturating_add(PAGE as usize)) {
            Some(bytes) => Page::Bytes(bytes),
            None => Page::Unknown,
        }
    }

    fn count(&mut self, at: u64, pages: u64, a: Option<Span>, b: Option<Span>) {
        let (x, y) = (self.page(0, at, a), self.page(1, at, b));
        let zero = |p: &[u8]| p == &ZERO[..];
        let mut add = Counts::default();
        let mut bytes = None;
        match (x, y) {
            (Page::Parent, _) | (_, Page::Parent) => add.parent = pages,
            (Page::Bytes(p), Page::Bytes(q)) if p == q => {
                if zero(p) {
                    add.zero = pages;
                } else {
                    add.same = pages;
                }
            }
            (Page::Bytes(p), Page::Zero) | (Page::Zero, Page::Bytes(p)) if zero(p) => {
                add.zero = pages;
            }
            (Page::Zero, Page::Zero) => add.zero = pages,
            (Page::Believed, _) | (_, Page::Believed) => add.same = pages,
            (Page::Bytes(p), Page::Bytes(q)) => bytes = Some((p, q)),
            (Page::Bytes(p), Page::Zero) => bytes = Some((p, &ZERO[..])),
            (Page::Zero, Page::Bytes(q)) => bytes = Some((&ZERO[..], q)),
            (Page::Unknown, Page::Unknown) => {}
            // Zero that no image mentions is nothing that a side has.
            (Page::Zero, Page::Unknown) => add.only_a = if a.is_some() { pages } else { 0 },
            (Page::Unknown, Page::Zero) => add.only_b = if b.is_some() { pages } else { 0 },
            (_, Page::Unknown) => add.only_a = pages,
            (Page::Unknown, _) => add.only_b = pages,
        }
        if add.zero > 0 && (a.is_none() || b.is_none()) {
            add.zero_or_absent = add.zero;
        }
        let mut pieces = Vec::new();
        if let Some((p, q)) = bytes {
            add.changed = pages;
            let different = p.iter().zip(q).filter(|(x, y)| x != y).count() as u64;
            add.bytes = different.saturating_mul(pages);
            if self.bytes.is_some() {
                pieces = self.lines(at, p, q);
                // Of pages that are all alike the first is shown.
                let len: u64 = pieces.iter().map(|p| p.old.len() as u64).sum();
                let more = len.saturating_mul(pages.saturating_sub(1));
                self.found.2 = self.found.2.saturating_add(more);
            }
        }
        self.counts.add(&add);
        for piece in pieces {
            let len = piece.old.len() as u64;
            if self.found.1.saturating_add(len) <= self.bytes.unwrap_or(0) {
                self.found.1 = self.found.1.saturating_add(len);
                join(&mut self.found.0, piece);
            } else {
                self.found.2 = self.found.2.saturating_add(len);
            }
        }
    }

    /// The lines of a page that differ.
    fn lines(&self, at: u64, p: &[u8], q: &[u8]) -> Vec<Piece> {
        let address = |side: usize, n: u64| {
            let stretch = self.segment.sides.get(side).copied().flatten();
            stretch
                .map_or(0, |s| s.shown)
                .saturating_add(at)
                .saturating_add(n)
        };
        let lines = p.chunks(LINE as usize).zip(q.chunks(LINE as usize));
        let mut out = Vec::new();
        for (n, (x, y)) in lines.enumerate() {
            let n = (n as u64).saturating_mul(LINE);
            if x != y {
                let piece = Piece {
                    row: self.segment.row,
                    a: address(0, n),
                    b: address(1, n),
                    old: x.to_vec(),
                    new: y.to_vec(),
                };
                join(&mut out, piece);
            }
        }
        out
    }
}
