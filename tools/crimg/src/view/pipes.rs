// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `show --section pipes`: the pipes with what is unread in them; and which pipe an open file is.

use crate::{
    error::Failure,
    escape, json,
    load::Image,
    number,
    output::{print, table, Output},
    view::all,
};
use cr_format::{BufferRecord, EndRecord, PipeRecord, BUFFER_PACKET};
use serde_json::{json, Value};
use std::collections::BTreeMap;

/// Unread bytes that are shown.
const SHOWN: usize = 32;

/// The pipes by open file.
pub struct Pipes<'a> {
    pipes: BTreeMap<u64, PipeRecord<'a>>,
    ends: BTreeMap<u64, u64>,
}

impl<'a> Pipes<'a> {
    pub fn new(image: &'a Image) -> Self {
        Self {
            pipes: all::<PipeRecord<'_>>(image)
                .map(|p| (p.id.into(), p))
                .collect(),
            ends: all::<EndRecord>(image).map(|e| (e.file, e.pipe)).collect(),
        }
    }
    /// Open files that are ends of the same pipe as open file `file`.
    pub fn other_ends(&self, file: u64) -> impl Iterator<Item = u64> + '_ {
        let pipe = self.ends.get(&file).copied();
        self.ends
            .iter()
            .filter(move |(other, p)| **other != file && Some(**p) == pipe)
            .map(|(other, _)| *other)
    }
    /// The pipe of an open file, for JSON.
    pub fn json(&self, file: u32) -> Option<Value> {
        let p = self.pipes.get(self.ends.get(&file.into())?)?;
        Some(json!({
            "id": p.id,
            "capacity": json::integer(p.capacity),
            "unread": json::integer(p.queued),
            "fifo": (!p.fifo_path.is_empty()).then(|| json::text(p.fifo_path)),
        }))
    }
    /// What an open file is an end of.
    pub fn describe(&self, file: u32) -> Option<String> {
        let p = self.pipes.get(self.ends.get(&file.into())?)?;
        let fill = format!("{} of {} unread", p.queued, number::size(p.capacity));
        Some(if p.fifo_path.is_empty() {
            format!("pipe {} with {fill}", p.id)
        } else {
            format!("FIFO {} with {fill}", escape::text(p.fifo_path))
        })
    }
}

/// # Errors
/// [`Failure::Write`].
pub fn section(image: &Image, out: &mut Output) -> Result<(), Failure> {
    let mut ends: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    for e in all::<EndRecord>(image) {
        ends.entry(e.pipe).or_default().push(e.file.to_string());
    }
    let mut buffers: BTreeMap<u64, (u64, Vec<u8>)> = BTreeMap::new();
    for b in all::<BufferRecord<'_>>(image) {
        let (packets, head) = buffers.entry(b.pipe).or_default();
        *packets += u64::from(b.flags & BUFFER_PACKET != 0);
        let room = SHOWN.saturating_sub(head.len());
        head.extend(b.data.iter().take(room));
    }
    let mut rows = table([
        "PIPE",
        "CAPACITY",
        "UNREAD",
        "PACKETS",
        "OPEN FILES",
        "BEGINS WITH",
        "FIFO",
    ]);
    for p in all::<PipeRecord<'_>>(image) {
        let id = u64::from(p.id);
        let (packets, head) = buffers.remove(&id).unwrap_or_default();
        rows.add_row([
            id.to_string(),
            number::size(p.capacity),
            p.queued.to_string(),
            packets.to_string(),
            ends.remove(&id).unwrap_or_default().join(" "),
            escape::text(&head),
            escape::text(p.fifo_path),
        ]);
    }
    if rows.is_empty() {
        return out.line("no pipes");
    }
    print(&rows, out)
}
