// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `show --modules`: the mapped files with their addresses and build ids.

use crate::{
    elf::{self, Origin},
    error::Failure,
    escape, json,
    memory::Memory,
    number,
    output::{print, table, wrap_only, Output},
    view::{all, Show},
};
use cr_format::{MappedFileRecord, VmaRecord, PROT_EXEC, VMA_FILE};
use serde_json::{json, Value};
use std::{collections::BTreeMap, path::Path};

struct Module<'a> {
    file: MappedFileRecord<'a>,
    /// Of the record; else from the memory of the process, or from the file below the sysroot.
    build_id: Option<Vec<u8>>,
    from: Origin,
    start: u64,
    end: u64,
    areas: u64,
    executable: bool,
}

/// Mapped files by the address of their first area.
fn modules<'a>(show: &Show<'a>) -> Vec<Module<'a>> {
    let mut of: BTreeMap<u64, (u64, u64, u64, bool)> = BTreeMap::new();
    for v in all::<VmaRecord<'_>>(show.image).filter(|v| v.kind == VMA_FILE) {
        let m = of.entry(v.object).or_insert((v.start, v.end, 0, false));
        m.0 = m.0.min(v.start);
        m.1 = m.1.max(v.end);
        m.2 = m.2.saturating_add(1);
        m.3 |= v.prot & PROT_EXEC != 0;
    }
    let found: BTreeMap<u64, elf::Module> = match show.file {
        Some(file) => elf::modules(&Memory::new(file, show.sysroot.map(Path::to_owned)))
            .into_iter()
            .map(|m| (m.base, m))
            .collect(),
        None => BTreeMap::new(),
    };
    let mut list: Vec<Module<'a>> = all::<MappedFileRecord<'_>>(show.image)
        .filter_map(|file| {
            let (start, end, areas, executable) = *of.get(&file.id.into())?;
            let recorded = (!file.build_id.is_empty()).then(|| file.build_id.to_vec());
            let elf = found.get(&start).filter(|_| recorded.is_none());
            let from = elf.map_or(Origin::Record, |m| m.from);
            Some(Module {
                build_id: recorded.or_else(|| elf.and_then(|m| m.build_id.clone())),
                from,
                file,
                start,
                end,
                areas,
                executable,
            })
        })
        .collect();
    list.sort_by_key(|m| m.start);
    list
}

/// # Errors
/// [`Failure::Write`].
pub fn section(show: &Show<'_>, out: &mut Output) -> Result<(), Failure> {
    let mut rows = table(["ADDRESSES", "BUILD ID", "SIZE", "MODIFIED", "PATH"]);
    for m in modules(show) {
        let id = m.build_id.as_deref().map_or("-".to_owned(), number::hex);
        rows.add_row([
            format!("{:012x}-{:012x}", m.start, m.end),
            id,
            number::size(m.file.size),
            modified(m.file.mtime_s),
            escape::text(m.file.path),
        ]);
    }
    if rows.is_empty() {
        return out.line("no mapped files");
    }
    wrap_only(&mut rows, 4);
    print(&rows, out)
}

fn modified(seconds: i64) -> String {
    match u64::try_from(seconds) {
        Ok(s) => number::time(s.saturating_mul(1_000_000_000)),
        Err(_) => format!("{seconds} s"),
    }
}

/// Member `modules`.
pub fn json(show: &Show<'_>) -> Vec<Value> {
    modules(show)
        .iter()
        .map(|m| {
            json!({
                "start": format!("{:#x}", m.start),
                "end": format!("{:#x}", m.end),
                "areas": json::integer(m.areas),
                "executable": m.executable,
                "path": json::text(m.file.path),
                "build_id": m.build_id.as_deref().map(number::hex),
                "build_id_from": m.build_id.is_some().then(|| m.from.word()),
                "bytes": json::integer(m.file.size),
                "mtime_s": m.file.mtime_s,
                "mtime_ns": json::integer(m.file.mtime_ns),
            })
        })
        .collect()
}
