// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! The image itself: verdict, history, what takes how much room.

use super::{html::Html, safe, Verdict};
use crate::{
    cmd::repack::percent,
    error::{remedy, Outcome},
    load::Image,
    number,
    view::{all, generic::Schema, strangers},
};
use cr_format::{chunk::CODEC_RAW, records_in, validate::MetaSet, EditRecord};
use std::collections::BTreeMap;

/// Defects that are shown.
const DEFECTS: usize = 50;

/// Section `verdict`.
pub fn verdict(image: &Image, verdict: &Verdict, schema: &Schema, h: &mut Html) {
    h.section("verdict", "Verification");
    let (class, text) = match (verdict.outcome, verdict.complete) {
        (Outcome::Sound, true) => ("<div class=\"note good\">", "Sound: every checksum matches and every rule of the format is obeyed, page data included."),
        (Outcome::Sound, false) => ("<div class=\"note warn\">", "The metadata is sound. The page data was not read, because the image came through a pipe."),
        (Outcome::Unsupported, _) => ("<div class=\"note bad\">", "Newer than this crimg or over its limits."),
        _ => ("<div class=\"note bad\">", "Malformed: damaged, or against a rule of the format. A restart refuses it."),
    };
    h.raw(class).raw(text);
    for e in verdict.defects.iter().take(DEFECTS) {
        h.raw("<p><code>");
        let word = match e.section {
            0 => "container".to_owned(),
            id => schema.word(id),
        };
        h.text(format_args!(
            "{word} at {:#x}",
            image.sections.file_offset(e)
        ));
        h.raw("</code> ")
            .text(e.kind)
            .raw(" — ")
            .raw(remedy(&e.kind));
        h.raw("</p>");
    }
    if let Some(more @ 1..) = verdict.defects.len().checked_sub(DEFECTS) {
        h.raw("<p>And ")
            .text(more)
            .raw(" more: crimg verify lists them.</p>");
    }
    h.raw("</div>");
    if image.superblock.is_some_and(|s| !s.is_restartable()) {
        h.raw("<div class=\"note warn\">Made for looking at only: a restart refuses it.</div>");
    }
    h.end();
}

/// Section `history`.
pub fn history(image: &Image, h: &mut Html) {
    h.section("history", "History");
    if all::<EditRecord<'_>>(image).next().is_none() {
        h.raw("<p class=\"none\">As it was written at the checkpoint; no tool has changed it since.</p>");
    } else {
        let rows = all::<EditRecord<'_>>(image).map(|e| {
            [
                number::time(e.time_ns),
                safe(e.tool),
                safe(e.operation),
                safe(e.description),
            ]
        });
        h.table(["When", "Tool", "Operation", "What"], rows);
    }
    h.end();
}

#[derive(Default)]
struct Share {
    chunks: u64,
    compressed: u64,
    stored: u64,
    raw: u64,
}

/// Section `storage`.
pub fn storage(image: &Image, schema: &Schema, h: &mut Html) {
    h.section("storage", "What takes how much room");
    let mut shares: BTreeMap<(String, String), Share> = BTreeMap::new();
    for c in &image.chunks {
        let kind = String::from_utf8_lossy(&c.header.chunk_type.code()).into_owned();
        let word = match c.header.section {
            0 => String::new(),
            id => schema.word(id),
        };
        let share = shares.entry((kind, word)).or_default();
        share.chunks = share.chunks.saturating_add(1);
        share.compressed += u64::from(c.header.codec != CODEC_RAW);
        share.stored = share.stored.saturating_add(c.header.chunk_len());
        share.raw = share.raw.saturating_add(c.header.raw_len.into());
    }
    let mut shares: Vec<_> = shares.into_iter().collect();
    shares.sort_by_key(|(_, s)| std::cmp::Reverse(s.stored));
    let rows = shares.iter().map(|((kind, word), s)| {
        let records = |id: u16| records_in(id, image.sections.section(id)).count();
        let id = image
            .sections
            .0
            .keys()
            .find(|id| schema.word(**id) == *word);
        let items = match (kind.as_str(), id) {
            ("META", Some(id)) => match strangers(image, *id) {
                0 => format!("{} records", records(*id)),
                n => format!("{} records, {n} unknown", records(*id)),
            },
            _ => String::new(),
        };
        let packed = match s.compressed {
            0 => String::new(),
            n => format!("{n}, of {}", number::size(s.raw)),
        };
        [
            format!("{kind} {word}"),
            s.chunks.to_string(),
            packed,
            number::size(s.stored),
            percent(s.stored, image.len),
            items,
        ]
    });
    h.table(
        ["Part", "Chunks", "Compressed", "Bytes", "Share", "Contents"],
        rows,
    );
    h.end();
}
