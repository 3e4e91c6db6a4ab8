// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `show --maps`: the memory areas, and how much of each is stored.

use crate::{
    error::Failure,
    escape,
    load::{Image, PageRun},
    names, number,
    output::{print, table, wrap_only, Output},
    view::all,
};
use cr_format::{
    limits::PAGE, runs::RunKind, MappedFileRecord, VmaRecord, MEMORY, VMA_ANON, VMA_FILE,
    VMA_SHARED_ANON, VMA_SPECIAL,
};
use std::collections::BTreeMap;

/// # Errors
/// [`Failure::Write`].
pub fn maps(image: &Image, out: &mut Output) -> Result<(), Failure> {
    let files: BTreeMap<u64, MappedFileRecord<'_>> = all::<MappedFileRecord<'_>>(image)
        .map(|f| (f.id.into(), f))
        .collect();
    let mut runs: Vec<PageRun> = image
        .runs
        .iter()
        .filter(|r| r.section == MEMORY)
        .copied()
        .collect();
    runs.sort_by_key(|r| r.start);
    let mut rows = table(["ADDRESSES", "SIZE", "PROT", "STORED", "ZERO", "WHAT"]);
    for column in [1, 3, 4] {
        if let Some(column) = rows.column_mut(column) {
            column.set_cell_alignment(comfy_table::CellAlignment::Right);
        }
    }
    for vma in all::<VmaRecord<'_>>(image) {
        let (stored, zero) = pages(&runs, &vma);
        rows.add_row([
            format!("{:012x}-{:012x}", vma.start, vma.end),
            number::size(vma.end.saturating_sub(vma.start)),
            names::protection(vma.prot, vma.flags),
            number::size(stored * PAGE),
            number::size(zero * PAGE),
            what(&vma, &files),
        ]);
    }
    wrap_only(&mut rows, 5);
    print(&rows, out)
}

/// Pages of the area that are stored, and that are zero.
fn pages(runs: &[PageRun], vma: &VmaRecord<'_>) -> (u64, u64) {
    let first = runs.partition_point(|r| r.start + r.npages * PAGE <= vma.start);
    let (mut stored, mut zero) = (0, 0);
    for run in runs.iter().skip(first).take_while(|r| r.start < vma.end) {
        let end = (run.start + run.npages * PAGE).min(vma.end);
        let pages = end.saturating_sub(run.start.max(vma.start)) / PAGE;
        match run.kind {
            RunKind::Data | RunKind::Duplicate | RunKind::Parent => stored += pages,
            RunKind::Zero => zero += pages,
        }
    }
    (stored, zero)
}

/// What the area maps, and its flags.
fn what(vma: &VmaRecord<'_>, files: &BTreeMap<u64, MappedFileRecord<'_>>) -> String {
    let name = escape::text(vma.name);
    let what = match vma.kind {
        VMA_FILE => match files.get(&vma.object) {
            Some(file) if vma.offset == 0 => escape::text(file.path),
            Some(file) => format!("{} +{:#x}", escape::text(file.path), vma.offset),
            None => format!("file {} (not in the image)", vma.object),
        },
        VMA_SHARED_ANON => format!("shared memory {} {name}", vma.object),
        VMA_ANON | VMA_SPECIAL => name,
        kind => format!("kind {kind} {name}"),
    };
    match names::vma_flags(vma.flags).as_str() {
        "" => what.trim_end().to_owned(),
        flags => format!("{what} ({flags})").trim_start().to_owned(),
    }
}
