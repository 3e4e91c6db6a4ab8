// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Memory areas from the segments and file mappings of a core.

use super::read::{Core, Load};
use cr_format::{PROT_EXEC, PROT_READ, PROT_WRITE, VMA_ANON, VMA_FILE, VMA_SPECIAL};
use std::collections::BTreeMap;

/// `AT_SYSINFO_EHDR`: address of the vDSO.
const AT_SYSINFO_EHDR: u64 = 33;

/// One area, as the image will have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Area {
    pub start: u64,
    pub end: u64,
    pub prot: u64,
    pub kind: u64,
    /// Offset in the file.
    pub offset: u64,
    /// Id of the file, else 0.
    pub object: u64,
    pub vdso: bool,
}

/// The areas, ascending, and the paths of the files by id, from 1. The last number says of how many areas the
/// core has no permissions.
pub fn areas(core: &Core) -> (Vec<Area>, Vec<Vec<u8>>, u64) {
    let mut ids: BTreeMap<&[u8], u64> = BTreeMap::new();
    let mut paths: Vec<Vec<u8>> = Vec::new();
    let mut id = |path| {
        *ids.entry(path).or_insert_with(|| {
            paths.push(path.to_vec());
            paths.len() as u64
        })
    };
    let vdso = core.auxv(AT_SYSINFO_EHDR).filter(|at| *at != 0);
    let mut found: Vec<Area> = Vec::new();
    // The mapping that the last area belongs to.
    let mut of: Option<usize> = None;
    for load in &core.loads {
        let prot = prot(load);
        let mapping = mapping(core, load);
        if let (Some(n), Some(last)) = (mapping, found.last_mut()) {
            // Parts with and without contents of one mapping.
            if of == Some(n) && last.end == load.start && last.prot == prot {
                last.end = load.end;
                continue;
            }
        }
        of = mapping;
        let file = mapping.and_then(|n| core.mappings.get(n));
        let is_vdso = file.is_none() && vdso == Some(load.start);
        found.push(Area {
            start: load.start,
            end: load.end,
            prot,
            kind: match file {
                Some(_) => VMA_FILE,
                // With contents it is memory like any other: images have none for what the kernel makes.
                None if is_vdso && load.filesz == 0 => VMA_SPECIAL,
                None => VMA_ANON,
            },
            offset: file.map_or(0, |m| {
                m.offset.saturating_add(load.start.saturating_sub(m.start))
            }),
            object: file.map_or(0, |m| id(&m.path)),
            vdso: is_vdso,
        });
    }
    // gdb leaves out what it can read from the file, segment and all.
    let mut unknown = 0_u64;
    let mut more = Vec::new();
    for m in &core.mappings {
        let first = found.partition_point(|a| a.end <= m.start);
        let mut at = m.start;
        let inside = found.get(first..).unwrap_or(&[]).iter();
        let inside = inside.take_while(|a| a.start < m.end);
        let gaps: Vec<(u64, u64)> = inside
            .map(|a| (a.start, a.end))
            .chain([(m.end, m.end)])
            .filter_map(|(start, end)| {
                let gap = (at, start);
                at = at.max(end);
                (gap.0 < gap.1).then_some(gap)
            })
            .collect();
        for (start, end) in gaps {
            unknown = unknown.saturating_add(1);
            more.push(Area {
                start,
                end,
                prot: PROT_READ | PROT_EXEC,
                kind: VMA_FILE,
                offset: m.offset.saturating_add(start.saturating_sub(m.start)),
                object: id(&m.path),
                vdso: false,
            });
        }
    }
    // Mappings that overlap each other cannot be; the later ones are left out.
    found.extend(more);
    found.sort_by_key(|a| a.start);
    let mut end = 0;
    found.retain(|a| {
        let fits = a.start >= end;
        if fits {
            end = a.end;
        }
        fits
    });
    (found, paths, unknown)
}

/// The mapping that a segment lies in.
fn mapping(core: &Core, load: &Load) -> Option<usize> {
    let after = core.mappings.partition_point(|m| m.start <= load.start);
    let n = after.checked_sub(1)?;
    let m = core.mappings.get(n)?;
    (load.end <= m.end).then_some(n)
}

fn prot(load: &Load) -> u64 {
    [(4, PROT_READ), (2, PROT_WRITE), (1, PROT_EXEC)]
        .iter()
        .filter(|(flag, _)| load.flags & flag != 0)
        .map(|(_, prot)| prot)
        .sum()
}

impl Core {
    /// Value of an entry of the auxiliary vector.
    pub fn auxv(&self, kind: u64) -> Option<u64> {
        let pair = |p: &[u64]| (p.first() == Some(&kind)).then(|| p.last().copied())?;
        self.auxv.chunks_exact(2).find_map(pair)
    }

    /// Reads memory as far as the core has it at this address.
    pub fn memory(
        &self,
        source: &dyn crate::elf::Source,
        address: u64,
        len: u64,
    ) -> Option<Vec<u8>> {
        let after = self.loads.partition_point(|l| l.start <= address);
        let load = self.loads.get(after.checked_sub(1)?)?;
        let within = address.checked_sub(load.start)?;
        let there = load.filesz.checked_sub(within)?;
        source.bytes(load.offset.checked_add(within)?, len.min(there), 16 << 20)
    }
}
