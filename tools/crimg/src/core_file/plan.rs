// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Which program headers a core gets, and where the contents of each come from.
//!
//! One header per memory area, as the kernel makes them. An area that is partly in the image and partly in a
//! file is cut into several: a header can only say that contents end, not that they begin later, and
//! debuggers find the rest in the file when the core says that it has none.

use crate::{
    error::Failure,
    memory::{Area, Content, Memory},
};
use cr_format::{
    PROT_EXEC, PROT_READ, PROT_WRITE, VMA_ANON, VMA_DONTDUMP, VMA_FILE, VMA_SHARED, VMA_SHARED_ANON,
};
use std::collections::BTreeSet;

/// Untouched memory of so many bytes gets a header of its own without contents: sparse files have their
/// limits too, and pipes would get all the zeros.
const GAP: u64 = 1 << 30;
/// Addresses that are looked at in one go.
const WINDOW: u64 = 256 << 20;

/// Where the contents of a segment are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The core has none.
    Nowhere,
    /// Page data stored with these addresses.
    Image,
    /// Page data stored with another area that shows the same object, perhaps of another process.
    Shared,
    /// The mapped file, from this offset on; the number is the index of the area.
    File(usize, u64),
    /// The vDSO, from this offset on.
    Vdso(u64),
}

/// One program header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// First address.
    pub start: u64,
    /// Address behind the last.
    pub end: u64,
    /// `PF_*`.
    pub flags: u32,
    /// Contents; all of them or none.
    pub source: Source,
}

impl Load {
    /// Bytes in the core.
    pub fn filesz(&self) -> u64 {
        match self.source {
            Source::Nowhere => 0,
            _ => self.end.saturating_sub(self.start),
        }
    }

    /// Where in the segment page data at `address`, which is below its end, goes, and how much of it; `None` for what is
    /// not in it: a run lies in one area, and what the process wants in no core is passed over.
    pub fn piece<'b>(&self, address: u64, bytes: &'b [u8]) -> Option<(u64, &'b [u8])> {
        let within = address.checked_sub(self.start)?;
        if self.source != Source::Image {
            return None;
        }
        let room = self.filesz().saturating_sub(within);
        let fits = usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len());
        Some((within, bytes.get(..fits)?))
    }
}

/// The program headers, ascending by address. `files`: put in what the mapped files have; `vdso`: is the
/// vDSO known?
///
/// # Errors
/// [`Failure::Read`], [`Failure::Defect`] in the run tables.
pub fn plan(memory: &Memory<'_>, files: bool, vdso: bool) -> Result<Vec<Load>, Failure> {
    let mut loads = Vec::new();
    let mut shown = BTreeSet::new();
    for (n, area) in memory.areas().iter().enumerate() {
        let other =
            area.kind == VMA_SHARED_ANON && (!shown.insert(area.object) || !memory.is_home(area));
        let mut pieces = Pieces {
            own: loads.len(),
            loads: &mut loads,
            flags: flags(area),
        };
        if area.flags & VMA_DONTDUMP != 0 {
            // The process does not want it in cores.
            pieces.push(area.start, area.end, Source::Nowhere);
        } else if area.kind == VMA_ANON || area.kind == VMA_SHARED_ANON {
            let stored = if other { Source::Shared } else { Source::Image };
            anonymous(memory, area, stored, &mut pieces)?;
        } else {
            let from_file = files && area.kind == VMA_FILE && area.flags & VMA_SHARED == 0;
            let from_file = from_file && memory.open_mapped(area).is_some();
            for span in memory.spans(area.start, area.end)? {
                let within = span.start.saturating_sub(area.start);
                let source = match span.content {
                    Content::Stored | Content::Zero => Source::Image,
                    Content::Object => Source::Shared,
                    Content::File if from_file => {
                        Source::File(n, area.offset.saturating_add(within))
                    }
                    Content::Absent if vdso && area.name == b"[vdso]" => Source::Vdso(within),
                    _ => Source::Nowhere,
                };
                pieces.push(span.start, span.end, source);
            }
        }
    }
    Ok(loads)
}

struct Pieces<'l> {
    loads: &'l mut Vec<Load>,
    /// Index of the first of this area.
    own: usize,
    flags: u32,
}

impl Pieces<'_> {
    fn push(&mut self, start: u64, end: u64, source: Source) {
        if start >= end {
            return;
        }
        // Data and zeros of one area go together.
        let joins = matches!(source, Source::Image | Source::Nowhere);
        let own = self.loads.get_mut(self.own..).and_then(<[Load]>::last_mut);
        match own {
            Some(last) if joins && last.source == source && last.end == start => last.end = end,
            _ => self.loads.push(Load {
                start,
                end,
                flags: self.flags,
                source,
            }),
        }
    }
}

fn anonymous(
    memory: &Memory<'_>,
    area: &Area,
    stored: Source,
    pieces: &mut Pieces<'_>,
) -> Result<(), Failure> {
    // Begin of what has contents, and the end of the last of them.
    let mut open: Option<(u64, u64)> = None;
    let mut done = area.start;
    let mut at = area.start;
    while at < area.end {
        let to = area.end.min(at.saturating_add(WINDOW));
        for span in memory.spans(at, to)? {
            if span.content != Content::Stored {
                continue;
            }
            open = match open {
                Some((start, end)) if span.start.saturating_sub(end) < GAP => {
                    Some((start, span.end))
                }
                Some((start, end)) => {
                    pieces.push(done, start, Source::Nowhere);
                    pieces.push(start, end, stored);
                    done = end;
                    Some((span.start, span.end))
                }
                // A small gap in front belongs to it, so that most areas are one segment.
                None if span.start.saturating_sub(area.start) < GAP => Some((area.start, span.end)),
                None => Some((span.start, span.end)),
            };
        }
        at = to;
    }
    if let Some((start, end)) = open {
        let end = if area.end.saturating_sub(end) < GAP {
            area.end
        } else {
            end
        };
        pieces.push(done, start, Source::Nowhere);
        pieces.push(start, end, stored);
        done = end;
    }
    pieces.push(done, area.end, Source::Nowhere);
    Ok(())
}

fn flags(area: &Area) -> u32 {
    [(PROT_READ, 4), (PROT_WRITE, 2), (PROT_EXEC, 1)]
        .iter()
        .filter(|(prot, _)| area.prot & prot != 0)
        .map(|(_, flag)| flag)
        .sum()
}
