// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! The memory map, drawn: the whole address space in one picture, then one bar for each area.
//!
//! Areas stand in the order of addresses. Sizes span twelve orders of magnitude, so widths grow with the
//! logarithm, of gaps too. The bar of an area shows where in it pages are stored, repeated or zero.

use super::html::Html;
use crate::{
    load::{Image, PageRun},
    memory::{areas, Area},
    names, number,
};
use cr_format::{
    limits::PAGE, runs::RunKind, PROT_EXEC, PROT_READ, PROT_WRITE, VMA_FILE, VMA_RING, VMA_SHARED,
    VMA_SHARED_ANON, VMA_SPECIAL,
};

/// Areas that get a bar of their own.
const AREAS: usize = 600;
/// Columns of the picture of all areas.
const COLUMNS: usize = 2000;
/// Pieces of the bar of an area.
const BINS: u64 = 96;

/// What pages of a range are.
#[derive(Clone, Copy, Default)]
pub struct Residency {
    /// Stored pages.
    pub stored: u64,
    /// Pages that equal a stored one.
    pub duplicate: u64,
    /// Zero pages.
    pub zero: u64,
}

/// The runs of section memory, ascending, and the areas.
pub struct Map {
    areas: Vec<Area>,
    runs: Vec<PageRun>,
}

impl Map {
    /// From an image, as far as it was read.
    pub fn new(image: &Image) -> Self {
        let memory = image.runs.iter().filter(|r| image.is_own(r));
        let mut runs: Vec<PageRun> = memory.copied().collect();
        runs.sort_by_key(|r| r.start);
        Self {
            areas: areas(&image.sections),
            runs,
        }
    }

    /// The areas, ascending.
    pub fn areas(&self) -> &[Area] {
        &self.areas
    }

    /// Bytes of all areas.
    pub fn mapped(&self) -> u64 {
        self.areas.iter().fold(0, |n, a| n.saturating_add(a.len()))
    }

    /// Counts the pages of `start..end`.
    pub fn residency(&self, start: u64, end: u64) -> Residency {
        let mut r = Residency::default();
        let run_end = |run: &PageRun| run.start.saturating_add(run.npages.saturating_mul(PAGE));
        let first = self.runs.partition_point(|run| run_end(run) <= start);
        let rest = self.runs.get(first..).unwrap_or(&[]);
        for run in rest.iter().take_while(|run| run.start < end) {
            let bytes = run_end(run).min(end).saturating_sub(run.start.max(start));
            let pages = bytes.checked_div(PAGE).unwrap_or(0);
            let n = match run.kind {
                RunKind::Data => &mut r.stored,
                RunKind::Duplicate => &mut r.duplicate,
                RunKind::Zero => &mut r.zero,
                RunKind::Parent => continue,
            };
            *n = n.saturating_add(pages);
        }
        r
    }

    /// The section of the page.
    pub fn draw(&self, h: &mut Html) {
        h.section("memory", "Memory map");
        if self.areas.is_empty() {
            h.raw("<p class=\"none\">No memory areas are recorded.</p>")
                .end();
            return;
        }
        self.sky(h);
        legend(h);
        let mut end = 0;
        for area in self.areas.iter().take(AREAS) {
            if end != 0 && area.start > end {
                h.raw("<div class=\"gap\"><span>");
                h.text(number::size(area.start.saturating_sub(end)));
                h.raw(" not mapped</span></div>\n");
            }
            self.row(area, h);
            end = area.end;
        }
        if let Some(more @ 1..) = self.areas.len().checked_sub(AREAS) {
            h.raw("<p class=\"none\">And ").text(more);
            h.raw(" more areas; the picture above has all.</p>");
        }
        h.end();
    }

    /// The whole address space: one column for each area, filled as far as it is in the image.
    fn sky(&self, h: &mut Html) {
        // Neighbours share a column when there are very many.
        let together = self.areas.len().div_ceil(COLUMNS).max(1);
        let mut columns = Vec::new();
        let (mut x, mut end) = (0_u64, 0_u64);
        for group in self.areas.chunks(together) {
            let (Some(area), Some(last)) = (group.first(), group.last()) else {
                continue;
            };
            if end != 0 && area.start > end {
                // Half as wide as an area of that size.
                x = x.saturating_add(width(area.start.saturating_sub(end)) / 2);
            }
            let bytes = group.iter().fold(0, |n: u64, a| n.saturating_add(a.len()));
            columns.push((x, width(bytes), bytes, area, last.end));
            x = x.saturating_add(width(bytes)).saturating_add(2);
            end = last.end;
        }
        h.raw("<svg class=\"sky\" role=\"img\" aria-label=\"All memory areas by address\" preserveAspectRatio=\"none\" viewBox=\"0 0 ");
        h.number(x.max(1)).raw(" 100\">\n");
        for (x, w, bytes, area, end) in columns {
            let class = class(area);
            let r = self.residency(area.start, end);
            let pages = (bytes / PAGE).max(1);
            let height = |n: u64| match n {
                0 => 0,
                n => (u128::from(n) * 96 / u128::from(pages)).clamp(3, 96) as u64,
            };
            h.raw("<g><title>");
            title(area, &r, h);
            h.raw("</title>");
            rect(h, class, "room", x, 4, w, 96);
            let (stored, dup, zero) = (height(r.stored), height(r.duplicate), height(r.zero));
            let mut top = 100_u64;
            for (n, shade) in [(stored, ""), (dup, "dup"), (zero, "pale")] {
                let n = n.min(top.saturating_sub(4));
                if n > 0 {
                    top = top.saturating_sub(n);
                    rect(h, class, shade, x, top, w, n);
                }
            }
            h.raw("</g>\n");
        }
        h.raw("</svg><div class=\"ends\"><span class=\"m\">");
        let first = self.areas.first().map_or(0, |a| a.start);
        let last = self.areas.last().map_or(0, |a| a.end);
        h.text(format_args!("{first:#x}"));
        h.raw("</span><span>width: size, logarithmic · height: share that is in the image</span><span class=\"m\">");
        h.text(format_args!("{last:#x}")).raw("</span></div>\n");
    }

    fn row(&self, area: &Area, h: &mut Html) {
        let r = self.residency(area.start, area.end);
        h.raw("<div class=\"area\"><div class=\"what\">");
        match (area.name.is_empty(), area.kind) {
            (false, _) => h.bytes(&area.name),
            (true, VMA_SHARED_ANON) => h.raw("<span class=\"none\">shared memory</span>"),
            (true, VMA_RING) => h.raw("<span class=\"none\">ring</span>"),
            (true, _) => h.raw("<span class=\"none\">anonymous</span>"),
        };
        h.raw("<span class=\"m\">");
        h.text(format_args!(
            "{:012x}-{:012x} {}",
            area.start,
            area.end,
            area.perms()
        ));
        h.raw("</span></div><div class=\"bar\">");
        self.bar(area, &r, h);
        h.raw("</div><div class=\"size\">");
        h.text(number::size(area.len())).raw("<span>");
        let have = r.stored.saturating_add(r.duplicate);
        match (have, r.zero) {
            (0, 0) if area.kind == VMA_SPECIAL => h.raw("the kernel's"),
            (0, 0) if area.owner.is_some() => h.raw("in a file without a name"),
            (0, 0) if area.kind == VMA_FILE => h.raw("in the file"),
            (0, 0) => h.raw("untouched"),
            (0, _) => h.raw("zero"),
            (n, _) => h.text(format_args!(
                "{} stored",
                number::size(n.saturating_mul(PAGE))
            )),
        };
        h.raw("</span></div></div>\n");
    }

    fn bar(&self, area: &Area, all: &Residency, h: &mut Html) {
        let class = class(area);
        let pages = (area.len() / PAGE).max(1);
        let bins = pages.min(BINS);
        h.raw("<svg preserveAspectRatio=\"none\" viewBox=\"0 0 ");
        h.number(bins).raw(" 10\"><title>");
        title(area, all, h);
        h.raw("</title>");
        rect(h, class, "room", 0, 0, bins, 10);
        // Neighbours of the same shade are one rectangle.
        let mut open: Option<(u64, &'static str)> = None;
        for bin in 0..=bins {
            let shade = (bin < bins).then(|| {
                let at = |n: u64| {
                    let page = u128::from(n) * u128::from(pages) / u128::from(bins);
                    area.start
                        .saturating_add((page as u64).saturating_mul(PAGE))
                };
                let r = self.residency(at(bin), at(bin + 1));
                if r.stored > 0 {
                    Some("full")
                } else if r.duplicate > 0 {
                    Some("dup")
                } else if r.zero > 0 {
                    Some("pale")
                } else {
                    None
                }
            });
            let shade = shade.flatten();
            if let Some((from, old)) = open {
                if shade == Some(old) {
                    continue;
                }
                rect(h, class, old, from, 0, bin.saturating_sub(from), 10);
            }
            open = shade.map(|s| (bin, s));
        }
        h.raw("</svg>");
    }
}

fn rect(h: &mut Html, class: &'static str, shade: &'static str, x: u64, y: u64, w: u64, high: u64) {
    h.raw("<rect class=\"")
        .raw(class)
        .raw(" ")
        .raw(shade)
        .raw("\" x=\"");
    h.number(x).raw("\" y=\"").number(y).raw("\" width=\"");
    h.number(w).raw("\" height=\"").number(high).raw("\"/>");
}

/// Width of so many bytes in the picture: 4 for a page, 2 more for each doubling.
fn width(bytes: u64) -> u64 {
    let doublings = (bytes / PAGE).max(1).ilog2();
    4_u64.saturating_add(u64::from(doublings).saturating_mul(2))
}

/// Colour of an area.
fn class(area: &Area) -> &'static str {
    match area {
        a if a.kind == VMA_SPECIAL => "special",
        a if a.flags & VMA_SHARED != 0 => "shared",
        a if a.prot & PROT_EXEC != 0 => "code",
        a if a.prot & PROT_WRITE != 0 => "data",
        a if a.prot & PROT_READ != 0 => "ro",
        _ => "off",
    }
}

/// What one reads when the pointer rests on an area.
fn title(area: &Area, r: &Residency, h: &mut Html) {
    h.text(format_args!(
        "{:#x}-{:#x} {}",
        area.start,
        area.end,
        area.perms()
    ));
    h.raw(" ").bytes(&area.name).raw(", ");
    h.text(number::size(area.len())).raw(": ");
    h.text(r.stored).raw(" pages stored, ");
    h.text(r.duplicate).raw(" repeated, ");
    h.text(r.zero).raw(" zero");
    if area.kind == VMA_FILE {
        h.raw("; the others are in the file");
    }
    let flags = names::vma_flags(area.flags);
    if !flags.is_empty() {
        h.raw("; ").text(flags);
    }
}

fn legend(h: &mut Html) {
    h.raw("<div class=\"legend\">");
    let colours: [(&'static str, &'static str, &'static str); 10] = [
        ("code", "", "code (x)"),
        ("data", "", "writable"),
        ("ro", "", "read-only"),
        ("shared", "", "shared"),
        ("special", "", "kernel's own"),
        ("off", "", "no access"),
        ("data", "full", "stored"),
        ("data", "dup", "repeated"),
        ("data", "pale", "zero"),
        ("data", "room", "not in the image"),
    ];
    for (class, shade, text) in colours {
        h.raw("<span><svg viewBox=\"0 0 16 12\" aria-hidden=\"true\">");
        rect(h, class, shade, 0, 0, 16, 12);
        h.raw("</svg>").raw(text).raw("</span>");
    }
    h.raw("</div>\n");
}
