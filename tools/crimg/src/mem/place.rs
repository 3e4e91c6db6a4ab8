// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Names of addresses: the area and the distance from its start, for people and for JSON.

use crate::{
    escape, json,
    memory::{Area, Memory},
};
use cr_format::VMA_FILE;
use serde_json::{Map, Value};

/// The name of an area as shown: the last part of a path, `[anon]` if it has none; escaped.
pub fn name(area: &Area) -> String {
    if area.name.is_empty() {
        return "[anon]".to_owned();
    }
    let base = area
        .name
        .rsplit(|b| *b == b'/')
        .next()
        .unwrap_or(&area.name);
    // A path never ends in a slash; a name can.
    escape::text(if base.is_empty() { &area.name } else { base })
}

/// `libc.so.6+0x1234`: the distance is from the start of the area. Empty outside of all areas.
pub fn place(memory: &Memory<'_>, address: u64) -> String {
    match memory.area_at(address) {
        Some(area) => format!("{}+{:#x}", name(area), address.saturating_sub(area.start)),
        None => String::new(),
    }
}

/// `0x7ffd12345000`, as wide as all addresses of user space.
pub fn address(address: u64) -> String {
    format!("{address:#014x}")
}

/// Members `address`, `vma`, `offset` and, in a mapped file, `file_offset`.
pub fn members(memory: &Memory<'_>, at: u64) -> Map<String, Value> {
    let mut m = Map::new();
    m.insert("address".into(), format!("{at:#x}").into());
    if let Some(area) = memory.area_at(at) {
        let offset = at.saturating_sub(area.start);
        m.insert("vma".into(), json::text(&area.name));
        m.insert("offset".into(), format!("{offset:#x}").into());
        if area.kind == VMA_FILE {
            let offset = area.offset.saturating_add(offset);
            m.insert("file_offset".into(), format!("{offset:#x}").into());
        }
    }
    m
}
