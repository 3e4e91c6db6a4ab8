// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `show --chunks`: what the image is made of, and how well it is packed.

use crate::{
    error::Failure,
    json,
    load::Chunk,
    number,
    output::{print, table, Output},
    view::Show,
};
use cr_format::{
    chunk::{ChunkType, CODEC_RAW},
    limits::PAGE,
    runs::RunKind,
    writer::PAGE_HEAD_LEN,
};
use serde_json::{json, Value};
use std::collections::BTreeMap;

/// Chunks of one type and section.
#[derive(Clone, Copy, Default)]
struct Group {
    raw_chunks: u64,
    zstd_chunks: u64,
    items: u64,
    stored: u64,
    raw: u64,
}

struct Statistics {
    /// By type in the order of the image, and section.
    groups: BTreeMap<(u8, u16), (ChunkType, Group)>,
    pages: [u64; 4],
    /// Headers, run tables, padding, index, end.
    overhead: u64,
    metadata: u64,
    page_data: u64,
}

fn order(kind: ChunkType) -> u8 {
    match kind {
        ChunkType::Meta => 0,
        ChunkType::Pad => 1,
        ChunkType::Page => 2,
        ChunkType::Index => 3,
        ChunkType::End => 4,
    }
}

fn statistics(show: &Show<'_>) -> Statistics {
    let mut s = Statistics {
        groups: BTreeMap::new(),
        pages: [0; 4],
        overhead: 4096,
        metadata: 0,
        page_data: 0,
    };
    for c in &show.image.chunks {
        let h = &c.header;
        let key = (order(h.chunk_type), h.section);
        let (_, g) = s
            .groups
            .entry(key)
            .or_insert((h.chunk_type, Group::default()));
        let count = if h.codec == CODEC_RAW {
            &mut g.raw_chunks
        } else {
            &mut g.zstd_chunks
        };
        *count = count.saturating_add(1);
        g.items = g.items.saturating_add(h.items.into());
        g.stored = g.stored.saturating_add(h.stored_len.into());
        g.raw = g.raw.saturating_add(h.raw_len.into());
        let (kind, head) = match h.chunk_type {
            ChunkType::Meta => (&mut s.metadata, 64),
            ChunkType::Page => (&mut s.page_data, PAGE_HEAD_LEN as u64),
            _ => (&mut s.overhead, 64),
        };
        *kind = kind.saturating_add(h.stored_len.into());
        s.overhead = s.overhead.saturating_add(head);
    }
    for r in &show.image.runs {
        let n = match r.kind {
            RunKind::Data => 0,
            RunKind::Duplicate => 1,
            RunKind::Zero => 2,
            RunKind::Parent => 3,
        };
        if let Some(count) = s.pages.get_mut(n) {
            *count = count.saturating_add(r.npages);
        }
    }
    s
}

/// `a / b` with two decimals.
fn ratio(raw: u64, stored: u64) -> String {
    let hundredths = u128::from(raw)
        .saturating_mul(100)
        .checked_div(stored.into())
        .unwrap_or(100);
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

fn name(kind: ChunkType) -> String {
    String::from_utf8_lossy(&kind.code()).into_owned()
}

fn section(show: &Show<'_>, id: u16) -> String {
    match id {
        0 => "-".to_owned(),
        id => show.schema.word(id),
    }
}

/// # Errors
/// [`Failure::Write`].
pub fn summary(show: &Show<'_>, out: &mut Output) -> Result<(), Failure> {
    let s = statistics(show);
    let mut rows = table([
        "TYPE", "SECTION", "CHUNKS", "CODEC", "ITEMS", "STORED", "DECODED", "RATIO",
    ]);
    for column in [2, 4, 5, 6, 7] {
        if let Some(column) = rows.column_mut(column) {
            column.set_cell_alignment(comfy_table::CellAlignment::Right);
        }
    }
    for ((_, id), (kind, g)) in &s.groups {
        let codec = match (g.raw_chunks, g.zstd_chunks) {
            (_, 0) => "raw".to_owned(),
            (0, _) => "zstd".to_owned(),
            (raw, zstd) => format!("{raw} raw, {zstd} zstd"),
        };
        rows.add_row([
            name(*kind),
            section(show, *id),
            g.raw_chunks.saturating_add(g.zstd_chunks).to_string(),
            codec,
            g.items.to_string(),
            number::size(g.stored),
            number::size(g.raw),
            ratio(g.raw, g.stored),
        ]);
    }
    print(&rows, out)?;
    out.line("")?;
    let [stored, duplicate, zero, parent] = s.pages;
    let described = stored
        .saturating_add(duplicate)
        .saturating_add(zero)
        .saturating_add(parent)
        .saturating_mul(PAGE);
    out.field(
        "pages",
        format_args!(
            "{} stored, {duplicate} equal to stored ones, {zero} zero{}",
            stored,
            if parent > 0 {
                format!(", {parent} in the parent image")
            } else {
                String::new()
            }
        ),
    )?;
    out.field(
        "page data",
        format_args!(
            "{} describe {} of memory, ratio {}",
            number::size(s.page_data),
            number::size(described),
            ratio(described, s.page_data)
        ),
    )?;
    out.field("metadata", number::size(s.metadata))?;
    out.field(
        "overhead",
        format_args!(
            "{} (superblock, headers, run tables, padding, index, end) of {}",
            number::size(s.overhead),
            number::size(show.image.len)
        ),
    )
}

/// # Errors
/// [`Failure::Write`].
pub fn list(show: &Show<'_>, out: &mut Output) -> Result<(), Failure> {
    // Long lists: one line each, no table that would have to be held.
    out.line(format_args!(
        "{:>14} {:<4} {:<10} {:>6} {:>6} {:<5} {:>8} {:>8} {:>6} {:<10} KEY",
        "OFFSET", "TYPE", "SECTION", "OWNER", "SEQ", "CODEC", "STORED", "DECODED", "ITEMS", "CRC"
    ))?;
    show.image.chunks.iter().try_for_each(|c| {
        let h = &c.header;
        let key = if h.key == 0 {
            String::new()
        } else {
            format!("{:#x}", h.key)
        };
        let line = format!(
            "{:>14} {:<4} {:<10} {:>6} {:>6} {:<5} {:>8} {:>8} {:>6} {:#010x} {key}",
            format!("{:#x}", c.offset),
            name(h.chunk_type),
            section(show, h.section),
            h.owner,
            h.seq,
            codec(c),
            h.stored_len,
            h.raw_len,
            h.items,
            h.payload_crc,
        );
        out.line(line.trim_end())
    })
}

/// Name of the codec of a chunk.
pub fn codec(c: &Chunk) -> &'static str {
    if c.header.codec == CODEC_RAW {
        "raw"
    } else {
        "zstd"
    }
}

/// Member `chunk_statistics`.
pub fn json(show: &Show<'_>) -> Value {
    let s = statistics(show);
    let groups: Vec<Value> = s
        .groups
        .iter()
        .map(|((_, id), (kind, g))| {
            json!({
                "type": name(*kind),
                "section": if *id == 0 { Value::Null } else { section(show, *id).into() },
                "raw_chunks": json::integer(g.raw_chunks),
                "zstd_chunks": json::integer(g.zstd_chunks),
                "items": json::integer(g.items),
                "stored_bytes": json::integer(g.stored),
                "decoded_bytes": json::integer(g.raw),
            })
        })
        .collect();
    let [stored, duplicate, zero, parent] = s.pages;
    json!({
        "groups": groups,
        "pages": {
            "stored": json::integer(stored),
            "duplicate": json::integer(duplicate),
            "zero": json::integer(zero),
            "parent": json::integer(parent),
        },
        "page_data_bytes": json::integer(s.page_data),
        "metadata_bytes": json::integer(s.metadata),
        "overhead_bytes": json::integer(s.overhead),
        "bytes": json::integer(show.image.len),
    })
}
