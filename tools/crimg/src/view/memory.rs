// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `show --maps`: the memory areas, and where the bytes of each are.

use crate::{
    error::Failure,
    escape, json,
    load::PageRun,
    memory::nameless,
    names, number,
    output::{self, print, table, wrap_only, Output},
    view::{all, Show},
};
use cr_format::{
    limits::PAGE, runs::RunKind, FileRecord, KeysRecord, MappedFileRecord, MappedObjectRecord,
    MmRecord, VmaRecord, FILES, VMA_ANON, VMA_FILE, VMA_RING, VMA_SHARED_ANON, VMA_SPECIAL,
};
use serde_json::{json, Value};
use std::collections::BTreeMap;

/// What an area shows of ring number `n`.
pub fn ring(n: u64, offset: u64) -> String {
    match offset {
        cr_format::RING_OFFSET_SQES => format!("ring {n} entries"),
        _ => format!("ring {n}"),
    }
}

/// Pages of one area.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pages {
    /// With contents of their own.
    pub stored: u64,
    /// Equal to a stored one.
    pub duplicate: u64,
    /// Zero, and noted as such.
    pub zero: u64,
    /// In the parent image.
    pub parent: u64,
    /// Not in the image because they are in the mapped file.
    pub file: u64,
    /// In the image as contents of a file without a name, which several areas may show.
    pub object: u64,
    /// Of a mapped file, but written by the process: a part of those above.
    pub dirty: u64,
}

/// The pages of `start..end` in `runs`, which ascend.
fn count(runs: &[PageRun], start: u64, end: u64) -> Pages {
    let run_end = |r: &PageRun| r.start.saturating_add(r.npages.saturating_mul(PAGE));
    let first = runs.partition_point(|r| run_end(r) <= start);
    let mut pages = Pages::default();
    for run in runs.iter().skip(first).take_while(|r| r.start < end) {
        let bytes = run_end(run).min(end).saturating_sub(run.start.max(start));
        let n = bytes / PAGE;
        let count = match run.kind {
            RunKind::Data => &mut pages.stored,
            RunKind::Duplicate => &mut pages.duplicate,
            RunKind::Zero => &mut pages.zero,
            RunKind::Parent => &mut pages.parent,
        };
        *count = count.saturating_add(n);
    }
    pages
}

struct Maps<'a> {
    /// Paths of mapped files, and the open file that owns the contents of those without a name.
    files: BTreeMap<u64, (&'a [u8], Option<FileRecord<'a>>)>,
    runs: Vec<PageRun>,
    /// Of section `files`, by owner and then start.
    contents: BTreeMap<u32, Vec<PageRun>>,
    heap: (u64, u64),
    stack: u64,
}

impl<'a> Maps<'a> {
    fn new(show: &Show<'a>) -> Self {
        let mut runs: Vec<PageRun> = show
            .image
            .runs
            .iter()
            .filter(|r| show.image.is_own(r))
            .copied()
            .collect();
        runs.sort_by_key(|r| r.start);
        let mut contents: BTreeMap<u32, Vec<PageRun>> = BTreeMap::new();
        for run in show.image.runs.iter().filter(|r| r.section == FILES) {
            contents.entry(run.owner).or_default().push(*run);
        }
        let mut files: BTreeMap<u64, (&[u8], Option<FileRecord<'_>>)> =
            all::<MappedFileRecord<'_>>(show.image)
                .map(|f| (f.id.into(), (f.path, None)))
                .collect();
        let nameless = nameless(&show.image.sections);
        for o in all::<MappedObjectRecord>(show.image) {
            let owner = u32::try_from(o.file).ok().and_then(|id| nameless.get(&id));
            if let Some(f) = owner {
                files.insert(o.id.into(), (f.path, Some(*f)));
            }
        }
        let mm = all::<MmRecord<'_>>(show.image).next();
        let (heap, stack) = mm.map_or(((0, 0), 0), |m| ((m.start_brk, m.brk), m.start_stack));
        Self {
            files,
            contents,
            runs,
            heap,
            stack,
        }
    }

    fn pages(&self, vma: &VmaRecord<'_>) -> Pages {
        let mut pages = count(&self.runs, vma.start, vma.end);
        if vma.kind == VMA_FILE {
            let all = vma.end.saturating_sub(vma.start) / PAGE;
            pages.dirty = pages
                .stored
                .saturating_add(pages.duplicate)
                .saturating_add(pages.zero)
                .saturating_add(pages.parent);
            pages.file = all.saturating_sub(pages.dirty);
            // What the file below has, if the image has it. A private page that hides one of the file is counted twice.
            if let Some((_, Some(f))) = self.files.get(&vma.object) {
                let runs = self.contents.get(&f.id).map_or(&[][..], Vec::as_slice);
                let len = vma.end.saturating_sub(vma.start);
                let below = count(runs, vma.offset, vma.offset.saturating_add(len));
                pages.object = below.stored.saturating_add(below.duplicate);
                pages.file = 0;
            }
        }
        pages
    }

    /// What `/proc/PID/maps` shows.
    fn name(&self, vma: &VmaRecord<'_>) -> String {
        let name = escape::text(vma.name);
        match vma.kind {
            VMA_FILE => match self.files.get(&vma.object) {
                Some((path, None)) => escape::text(path),
                Some((path, Some(f))) => format!("{} = file {}", escape::text(path), f.id),
                None => format!("file {} (not in the image)", vma.object),
            },
            VMA_ANON if vma.start <= self.stack && self.stack < vma.end => "[stack]".to_owned(),
            VMA_ANON if vma.start < self.heap.1 && self.heap.0 < vma.end => "[heap]".to_owned(),
            VMA_ANON if !name.is_empty() && !name.starts_with('[') => format!("[anon:{name}]"),
            VMA_SHARED_ANON => format!("shared memory {} {name}", vma.object),
            VMA_RING => ring(vma.object, vma.offset),
            VMA_ANON | VMA_SPECIAL => name,
            kind => format!("kind {kind} {name}"),
        }
    }

    /// What the area maps, and its flags.
    fn what(&self, vma: &VmaRecord<'_>) -> String {
        let mut what = self.name(vma);
        if vma.kind == VMA_FILE && vma.offset != 0 {
            what += &format!(" +{:#x}", vma.offset);
        }
        let mut flags = names::vma_flags(vma.flags);
        if vma.pkey != 0 {
            flags = format!("{flags} key {}", vma.pkey);
        }
        match flags.trim_start() {
            "" => what.trim_end().to_owned(),
            flags => format!("{what} ({flags})").trim_start().to_owned(),
        }
    }
}

/// Columns of a terminal on which all columns of the table have room.
const NARROW: u16 = 100;

fn full_table() -> comfy_table::Table {
    table([
        "ADDRESSES",
        "SIZE",
        "PROT",
        "STORED",
        "SAME",
        "ZERO",
        "IN FILE",
        "WHAT",
    ])
}

/// # Errors
/// [`Failure::Write`].
pub fn maps(show: &Show<'_>, out: &mut Output) -> Result<(), Failure> {
    let maps = Maps::new(show);
    // On a narrow terminal there is no room for everything.
    let narrow = output::width().is_some_and(|w| w < NARROW);
    let mut rows = if narrow {
        table(["ADDRESSES", "SIZE", "PROT", "STORED", "WHAT"])
    } else {
        full_table()
    };
    let right: &[usize] = if narrow { &[1, 3] } else { &[1, 3, 4, 5, 6] };
    for &column in right {
        if let Some(column) = rows.column_mut(column) {
            column.set_cell_alignment(comfy_table::CellAlignment::Right);
        }
    }
    let size = |pages: u64| match pages {
        0 => "-".to_owned(),
        n => number::size(n.saturating_mul(PAGE)),
    };
    let (mut total, mut bytes, mut areas) = (Pages::default(), 0_u64, 0_u64);
    for vma in all::<VmaRecord<'_>>(show.image) {
        let p = maps.pages(&vma);
        let len = vma.end.saturating_sub(vma.start);
        bytes = bytes.saturating_add(len);
        areas = areas.saturating_add(1);
        total.stored = total.stored.saturating_add(p.stored);
        total.duplicate = total.duplicate.saturating_add(p.duplicate);
        total.zero = total.zero.saturating_add(p.zero);
        total.parent = total.parent.saturating_add(p.parent);
        total.file = total.file.saturating_add(p.file);
        total.dirty = total.dirty.saturating_add(p.dirty);
        let mut row = vec![
            format!("{:012x}-{:012x}", vma.start, vma.end),
            number::size(len),
            names::protection(vma.prot, vma.flags),
            size(p.stored),
        ];
        if !narrow {
            row.extend([p.duplicate, p.zero].map(size));
            row.push(match p.object {
                0 => size(p.file),
                n => format!("{} stored", size(n)),
            });
        }
        row.push(maps.what(&vma));
        rows.add_row(row);
    }
    wrap_only(&mut rows, if narrow { 4 } else { 7 });
    print(&rows, out)?;
    out.line("")?;
    out.line(format_args!(
        "{}, {}: {} stored, {} equal to stored ones, {} zero, {} in mapped files; {} of mapped files written",
        number::count(areas, "area", "areas"),
        number::size(bytes),
        number::count(total.stored, "page", "pages"),
        total.duplicate,
        total.zero,
        total.file,
        number::count(total.dirty, "page", "pages"),
    ))?;
    if total.parent > 0 {
        out.line(format_args!(
            "{} pages are in the parent image",
            total.parent
        ))?;
    }
    for keys in all::<KeysRecord>(show.image) {
        let numbers: Vec<String> = (1..16)
            .filter(|n| keys.allocated >> n & 1 == 1)
            .map(|n| n.to_string())
            .collect();
        let numbers = numbers.join(" ");
        match keys.execute_only {
            0 => out.line(format_args!("protection keys {numbers}"))?,
            n => out.line(format_args!(
                "protection keys {numbers}; {n} is that of execute-only memory"
            ))?,
        }
    }
    Ok(())
}

/// Member `maps`.
pub fn json(show: &Show<'_>) -> Vec<Value> {
    let maps = Maps::new(show);
    all::<VmaRecord<'_>>(show.image)
        .map(|vma| {
            let p = maps.pages(&vma);
            let path = maps.files.get(&vma.object);
            let path = path.filter(|_| vma.kind == VMA_FILE);
            let owner = path.and_then(|p| p.1.as_ref()).map(|f| f.id);
            let flags: Vec<String> = names::vma_flags(vma.flags)
                .split_whitespace()
                .map(str::to_owned)
                .collect();
            json!({
                "start": format!("{:#x}", vma.start),
                "end": format!("{:#x}", vma.end),
                "bytes": json::integer(vma.end.saturating_sub(vma.start)),
                "protection": names::protection(vma.prot, vma.flags),
                "kind": names::vma_kind(vma.kind),
                "name": maps.name(&vma),
                "path": path.map(|p| json::text(p.0)),
                "file": owner,
                "offset": format!("{:#x}", vma.offset),
                "flags": flags,
                "key": vma.pkey,
                "pages": {
                    "stored": json::integer(p.stored),
                    "duplicate": json::integer(p.duplicate),
                    "zero": json::integer(p.zero),
                    "parent": json::integer(p.parent),
                    "file": json::integer(p.file),
                    "object": json::integer(p.object),
                    "dirty": json::integer(p.dirty),
                },
            })
        })
        .collect()
}
