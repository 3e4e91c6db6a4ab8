// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `show --provenance`: where the image comes from, and what tools have done to it since.

use crate::{
    error::Failure,
    escape, json, number,
    output::Output,
    view::{all, first, Show},
};
use cr_format::{EditRecord, ImageRecord};
use serde_json::{json, Value};

/// # Errors
/// [`Failure::Write`].
pub fn section(show: &Show<'_>, out: &mut Output) -> Result<(), Failure> {
    if let Some(i) = first::<ImageRecord<'_>>(show.image) {
        out.line(format_args!(
            "{}  checkpoint by {} on {}, kernel {}",
            number::time(i.created_ns),
            escape::text(i.writer),
            escape::text(i.hostname),
            escape::text(i.kernel_release)
        ))?;
    }
    let mut edits = 0_u64;
    for e in all::<EditRecord<'_>>(show.image) {
        edits = edits.saturating_add(1);
        out.line(format_args!(
            "{}  {} by {}: {}",
            number::time(e.time_ns),
            escape::text(e.operation),
            escape::text(e.tool),
            escape::text(e.description)
        ))?;
        if let Some(uuid) = e.source_uuid.first_chunk() {
            out.line(format_args!("  made from image {}", number::uuid(uuid)))?;
        }
    }
    match edits {
        0 => out.line("No tool has changed the image since."),
        _ => Ok(()),
    }
}

/// Member `provenance`.
pub fn json(show: &Show<'_>) -> Value {
    let edits: Vec<Value> = all::<EditRecord<'_>>(show.image)
        .map(|e| {
            json!({
                "time": number::time(e.time_ns),
                "time_ns": json::integer(e.time_ns),
                "tool": json::text(e.tool),
                "operation": json::text(e.operation),
                "description": json::text(e.description),
                "source_uuid": e.source_uuid.first_chunk().map(number::uuid),
            })
        })
        .collect();
    let origin = first::<ImageRecord<'_>>(show.image).map(|i| {
        json!({
            "created": number::time(i.created_ns),
            "created_ns": json::integer(i.created_ns),
            "writer": json::text(i.writer),
            "hostname": json::text(i.hostname),
            "kernel_release": json::text(i.kernel_release),
            "kernel_version": json::text(i.kernel_version),
            "machine": json::text(i.machine),
        })
    });
    json!({"checkpoint": origin, "edits": edits})
}
