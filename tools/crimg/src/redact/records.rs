// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Redaction of the metadata: texts and bytes of records, in place, so that no length changes.
//!
//! A path keeps its `/`, a text gets no NUL, an argument vector keeps its NULs, and fields whose bytes have
//! a meaning to the kernel (siginfo, masks, ids) are left alone: the records obey the rules afterwards.

use super::{search::Search, spans::Spans, Fields};
use cr_format::{
    records_in, RawField, Wire, FILES, IMAGE, MEMORY, PIPES, PROVENANCE, SCHEMA, TASKS,
};

/// Display hint of paths.
const HINT_PATH: u8 = 6;
/// Record and field numbers, as the spec has them.
const PROCESS: (u16, u16) = (TASKS, 1);
const ARGS: u16 = 7;
const TASK: (u16, u16) = (TASKS, 2);
const XSTATE: u16 = 4;
const SECTION_RECORD: (u16, u16) = (IMAGE, 2);
const IMAGE_RECORD: (u16, u16) = (IMAGE, 1);
const HOSTNAME: u16 = 5;
const BUFFER: (u16, u16) = (PIPES, 2);
/// The registers themselves in the extended state: behind the control words, in front of the header.
const XMM: std::ops::Range<u64> = 160..416;
/// And behind the header.
const EXTENDED: u64 = 576;
/// Sections from here on belong to third parties.
const THIRD_PARTY: u16 = 0x8000;

/// What the bytes of a field are.
enum Role {
    /// Nothing of it may change.
    Fixed,
    /// A text, possibly a path.
    Text { path: bool },
    /// An argument vector.
    Args,
    /// Contents of any kind.
    Contents,
    /// Extended processor state.
    Xstate,
}

fn role(record: (u16, u16), field: &RawField<'_>) -> Role {
    match (record, field.wire) {
        (SECTION_RECORD, _) | ((SCHEMA, _), _) => Role::Fixed,
        (_, Wire::Text) => Role::Text {
            path: field.hint == HINT_PATH,
        },
        (PROCESS, Wire::Bytes) if field.id == ARGS => Role::Args,
        (TASK, Wire::Bytes) if field.id == XSTATE => Role::Xstate,
        (BUFFER, Wire::Bytes) => Role::Contents,
        ((THIRD_PARTY.., _), Wire::Bytes) => Role::Contents,
        _ => Role::Fixed,
    }
}

/// Overwrites what is to go in the records of one section. Gives back how many fields and bytes.
pub fn redact(
    section: u16,
    bytes: &mut [u8],
    search: &Search,
    what: &Fields,
    fill: u8,
) -> (u64, u64) {
    let mut marks: Vec<(usize, usize, Role)> = Vec::new();
    let base = bytes.as_ptr() as usize;
    let (mut fields, mut total) = (0_u64, 0_u64);
    for record in records_in(section, bytes).map_while(Result::ok) {
        let kind = (section, record.record_type);
        for field in record.fields().map_while(Result::ok) {
            let role = role(kind, &field);
            if matches!(role, Role::Fixed) {
                continue;
            }
            let spans = wanted(kind, &field, &role, search, what);
            let start = (field.payload.as_ptr() as usize).saturating_sub(base);
            fields = fields.saturating_add(u64::from(!spans.is_empty()));
            for (a, b) in spans.iter() {
                let (Ok(a), Ok(b)) = (usize::try_from(a), usize::try_from(b)) else {
                    continue;
                };
                let role = match &role {
                    Role::Text { path } => Role::Text { path: *path },
                    Role::Args => Role::Args,
                    _ => Role::Contents,
                };
                marks.push((start.saturating_add(a), start.saturating_add(b), role));
            }
        }
    }
    let visible = if fill == 0 { b'*' } else { fill };
    for (start, end, role) in marks {
        let part = bytes.get_mut(start..end).unwrap_or_default();
        total = total.saturating_add(part.len() as u64);
        for byte in part {
            match role {
                Role::Text { path: true } if *byte == b'/' => {}
                Role::Args if *byte == 0 => {}
                Role::Text { .. } | Role::Args => *byte = visible,
                _ => *byte = fill,
            }
        }
    }
    (fields, total)
}

/// The parts of a field that are to go.
fn wanted(
    record: (u16, u16),
    field: &RawField<'_>,
    role: &Role,
    search: &Search,
    what: &Fields,
) -> Spans {
    let mut spans = Spans::default();
    let len = field.payload.len() as u64;
    let known = record.0 < THIRD_PARTY && record.0 != PROVENANCE;
    let whole = match role {
        // What an external end was, or a pipe's name: shown like a path.
        Role::Text { path } => {
            (what.paths && known && (*path || record.0 == FILES))
                || (what.hostname && record == IMAGE_RECORD && field.id == HOSTNAME)
                || (what.paths && record == PROCESS)
                || (what.paths && record == TASK)
                || (what.paths && record.0 == MEMORY)
        }
        Role::Contents => what.pipes && record == BUFFER,
        _ => false,
    };
    if whole {
        spans.add(0, len);
        return spans;
    }
    if let (Role::Args, true) = (role, what.args) {
        let first = field.payload.iter().position(|b| *b == 0);
        spans.add(first.map_or(len, |n| n as u64), len);
    }
    search.find(field.payload, 0, &mut spans);
    spans.tidy();
    if matches!(role, Role::Xstate) {
        let all = std::mem::take(&mut spans);
        for (a, b) in all.within(XMM.start, XMM.end) {
            spans.add(a, b);
        }
        for (a, b) in all.within(EXTENDED, u64::MAX) {
            spans.add(a, b);
        }
    }
    spans
}
