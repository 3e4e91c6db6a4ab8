// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! The programs and libraries that a process has mapped, with their build ids.

use super::{Object, Source};
use crate::memory::{Area, Memory};
use cr_format::{records_of, validate::MetaSet, MappedFileRecord, MEMORY, PROT_EXEC, VMA_FILE};
use std::collections::BTreeMap;

/// Most bytes of a module that are read from memory of the process.
const MODULE_MAX: u64 = 1 << 32;

/// Where a build id comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The record of the mapped file.
    Record,
    /// Pages of the process.
    Memory,
    /// The file below the sysroot.
    File,
}

impl Origin {
    /// The word in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Record => "record",
            Self::Memory => "memory",
            Self::File => "file",
        }
    }
}

/// A program or library in the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// Path in the mount namespace of the process, or `[vdso]`. Bytes of the image: escape them.
    pub path: Vec<u8>,
    /// First address of its areas.
    pub base: u64,
    /// Address behind its last area.
    pub end: u64,
    /// GNU build id, if it can be known.
    pub build_id: Option<Vec<u8>>,
    /// Where the build id comes from, or would have been looked for last.
    pub from: Origin,
}

/// Files that are mapped with execute permission, and the vDSO; ascending by address. A file that is mapped
/// twice from its beginning is there twice.
pub fn modules(memory: &Memory<'_>) -> Vec<Module> {
    let section = memory.image().image.sections.section(MEMORY);
    let recorded: BTreeMap<u64, Vec<u8>> = records_of::<MappedFileRecord<'_>>(section)
        .map_while(Result::ok)
        .filter(|f| !f.build_id.is_empty())
        .map(|f| (f.id.into(), f.build_id.to_vec()))
        .collect();
    let mut found: Vec<(Module, bool, &Area)> = Vec::new();
    // The last module of each file.
    let mut last: BTreeMap<(u64, u64), usize> = BTreeMap::new();
    for area in memory.areas() {
        let vdso = area.kind != VMA_FILE && area.name == b"[vdso]";
        if area.kind != VMA_FILE && !vdso {
            continue;
        }
        let runs = area.prot & PROT_EXEC != 0;
        let key = (area.kind, area.object);
        // Unless the file begins anew here.
        let open = last.get(&key).filter(|_| area.offset != 0);
        let open = open.and_then(|n| found.get_mut(*n));
        match open {
            Some((module, is_code, _)) => {
                module.end = area.end;
                *is_code |= runs;
            }
            None => {
                last.insert(key, found.len());
                let module = Module {
                    path: area.name.clone(),
                    base: area.start,
                    end: area.end,
                    build_id: None,
                    from: Origin::Record,
                };
                found.push((module, runs, area));
            }
        }
    }
    found
        .into_iter()
        .filter(|m| m.1)
        .map(|(mut module, _, area)| {
            (module.build_id, module.from) = match recorded.get(&area.object) {
                Some(id) if area.kind == VMA_FILE => (Some(id.clone()), Origin::Record),
                _ => identify(memory, area),
            };
            module
        })
        .collect()
}

fn identify(memory: &Memory<'_>, area: &Area) -> (Option<Vec<u8>>, Origin) {
    if let Some(file) = memory.open_mapped(area) {
        let id = Object::read(&*file).and_then(|o| o.build_id(&*file));
        return (id, Origin::File);
    }
    let source = Mapped { memory, area };
    let id = Object::read(&source).and_then(|o| o.build_id(&source));
    (id, Origin::Memory)
}

/// The beginning of a module as it is in memory: file offset n is address `start + n`, as it is for what the
/// first segment of every usual linker has (headers and notes).
struct Mapped<'m, 'f> {
    memory: &'m Memory<'f>,
    area: &'m Area,
}

impl Source for Mapped<'_, '_> {
    fn read(&self, offset: u64, buf: &mut [u8]) -> Option<()> {
        let offset = offset.checked_sub(self.area.offset)?;
        let at = self.area.start.checked_add(offset)?;
        self.memory.read_exact(at, buf).ok()?
    }
    fn len(&self) -> u64 {
        self.area.len().min(MODULE_MAX)
    }
}
