// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! What a plan changes, field by field, for people and machines.

use super::{
    draft::{Draft, Rec, PAGE, PAGE_LEN},
    strings::{Edited, Told},
};
use crate::{error::Failure, escape, number::hex, view::generic};
use cr_format::{
    sections, DescriptorRecord, FileRecord, LimitRecord, MappedFileRecord, PipeRecord, RawField,
    TaskRecord, U64s, Wire, FILES, REG_NAMES, RESOURCE_NAMES,
};
use serde::Serialize;

/// Most bytes of memory that are shown of one stretch.
const SHOWN: usize = 32;
/// Equal bytes between different ones that do not end a stretch.
const JOINED: usize = 8;

/// One change. All texts are escaped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Resource word of the section.
    pub section: String,
    /// Name of the record type; `bytes` for memory.
    pub record: String,
    /// Which one: `descriptor 3`, `thread 1234`, an address; empty if there is only one.
    pub object: String,
    /// Name of the field.
    pub field: String,
    /// Before; nothing if it was not there.
    pub before: Option<String>,
    /// After; nothing if it is gone.
    pub after: Option<String>,
}

/// All changes of a draft, in the order of the image.
///
/// # Errors
/// Those of reading the image.
pub fn all(draft: &Draft<'_>, strings: &Edited) -> Result<Vec<Change>, Failure> {
    let mut changes = Vec::new();
    for (old, new) in draft.compared()? {
        records(&old, new, &mut changes);
    }
    changes.extend(strings.told.iter().map(told));
    memory(draft, &strings.places, &mut changes)?;
    Ok(changes)
}

fn records(old: &[Rec], new: &[Rec], out: &mut Vec<Change>) {
    let mut old_left = old.iter().peekable();
    for rec in new {
        // Records are added, never removed or moved.
        let key = |r: &Rec| (r.record_type, r.id);
        match old_left.next_if(|o| key(o) == key(rec)) {
            Some(before) => fields(before, rec, new, out),
            None => fields(
                &Rec {
                    fields: Vec::new(),
                    ..rec.clone()
                },
                rec,
                new,
                out,
            ),
        }
    }
}

fn fields(old: &Rec, new: &Rec, all: &[Rec], out: &mut Vec<Change>) {
    if old == new {
        return;
    }
    let known = sections::record_of(new.section, new.record_type);
    let mut push = |field: String, before: Option<String>, after: Option<String>| {
        out.push(Change {
            section: sections::word(new.section).unwrap_or("?").to_owned(),
            record: known.map_or_else(
                || format!("type_{}", new.record_type),
                |k| k.name.to_owned(),
            ),
            object: object(new, all),
            field,
            before,
            after,
        });
    };
    for f in &new.fields {
        let before = old.fields.iter().find(|o| o.id == f.id);
        if before == Some(f) {
            continue;
        }
        let name = known.and_then(|k| k.fields.iter().find(|s| s.id == f.id));
        let name = name.map_or_else(|| format!("field_{}", f.id), |s| s.name.to_owned());
        let raw = |payload: &[u8]| -> Option<String> {
            let wire = Wire::from_u8(f.wire)?;
            Some(generic::value(&RawField {
                id: f.id,
                wire,
                hint: f.hint,
                payload,
            }))
        };
        match before {
            Some(before) if name == "regs" => {
                let (a, b) = (
                    U64s::from_le_bytes(&before.payload),
                    U64s::from_le_bytes(&f.payload),
                );
                for ((reg, a), b) in REG_NAMES
                    .iter()
                    .zip(a.iter())
                    .zip(b.iter())
                    .filter(|x| x.0 .1 != x.1)
                {
                    push(
                        format!("regs.{reg}"),
                        Some(format!("{a:#x}")),
                        Some(format!("{b:#x}")),
                    );
                }
            }
            Some(before) if name == "xstate" => {
                for (from, to) in stretches(&before.payload, &f.payload) {
                    let of = |p: &[u8]| Some(shown(p.get(from..to).unwrap_or(&[])));
                    push(
                        format!("xstate+{from:#x}"),
                        of(&before.payload),
                        of(&f.payload),
                    );
                }
            }
            before => push(name, before.and_then(|b| raw(&b.payload)), raw(&f.payload)),
        }
    }
}

/// Which record it is, as the user knows it.
fn object(rec: &Rec, all: &[Rec]) -> String {
    if rec.is::<TaskRecord<'_>>() {
        return format!("thread {}", rec.number("tid"));
    }
    if rec.is::<FileRecord<'_>>() {
        let of = |d: &&Rec| {
            rec.section == FILES
                && d.is::<DescriptorRecord>()
                && d.number("file") == u64::from(rec.id)
        };
        let mut fds: Vec<String> = all
            .iter()
            .filter(of)
            .map(|d| d.number("fd").to_string())
            .take(9)
            .collect();
        if fds.len() == 9 {
            fds.truncate(8);
            fds.push("…".to_owned());
        }
        return match fds.len() {
            0 => format!("open file {}", rec.id),
            1 => format!("descriptor {}", fds.join("")),
            _ => format!("descriptors {}", fds.join(" ")),
        };
    }
    if rec.is::<LimitRecord>() {
        let name = usize::try_from(rec.number("resource"))
            .ok()
            .and_then(|n| RESOURCE_NAMES.get(n));
        return name.map_or_else(|| rec.number("resource").to_string(), |n| (*n).to_owned());
    }
    if rec.is::<MappedFileRecord<'_>>() {
        return format!("file {}", rec.id);
    }
    if rec.is::<PipeRecord<'_>>() {
        return format!("pipe {}", rec.id);
    }
    String::new()
}

fn told(t: &Told) -> Change {
    let text = |b: &Option<Vec<u8>>| b.as_ref().map(|b| format!("\"{}\"", escape::text(b)));
    Change {
        section: "memory".to_owned(),
        record: t.record.to_owned(),
        object: t.object.clone(),
        field: "value".to_owned(),
        before: text(&t.before),
        after: text(&t.after),
    }
}

fn shown(bytes: &[u8]) -> String {
    let some = bytes.get(..SHOWN.min(bytes.len())).unwrap_or(bytes);
    if some.len() < bytes.len() {
        format!("{}… ({} bytes)", hex(some), bytes.len())
    } else {
        hex(some)
    }
}

/// Where two rows of bytes differ; small gaps are closed.
fn stretches(a: &[u8], b: &[u8]) -> Vec<(usize, usize)> {
    let mut out: Vec<(usize, usize)> = Vec::new();
    for (n, _) in a.iter().zip(b).enumerate().filter(|(_, (x, y))| x != y) {
        let end = n.saturating_add(1);
        match out.last_mut() {
            Some(last) if n.saturating_sub(last.1) < JOINED => last.1 = end,
            _ => out.push((n, end)),
        }
    }
    out
}

fn memory(draft: &Draft<'_>, places: &[(u64, u64)], out: &mut Vec<Change>) -> Result<(), Failure> {
    for (home, page) in draft.pages() {
        let old = original(draft, *home)?;
        let known = old.is_some();
        let old = old.unwrap_or([0; PAGE_LEN]);
        let mut list = stretches(&old, &page[..]);
        if !known && list.is_empty() {
            list.push((0, PAGE_LEN));
        }
        for (from, to) in list {
            let at = home.saturating_add(from as u64);
            if places.iter().any(|p| p.0 <= at && at < p.1) {
                continue;
            }
            out.push(Change {
                section: "memory".to_owned(),
                record: "bytes".to_owned(),
                object: format!("{at:#x}"),
                field: "bytes".to_owned(),
                before: known.then(|| shown(old.get(from..to).unwrap_or(&[]))),
                after: Some(shown(page.get(from..to).unwrap_or(&[]))),
            });
        }
    }
    Ok(())
}

/// A page as it is in the image or in the file that it comes from.
///
/// # Errors
/// Those of reading.
pub fn original(draft: &Draft<'_>, home: u64) -> Result<Option<[u8; PAGE_LEN]>, Failure> {
    debug_assert_eq!(home % PAGE, 0);
    let mut page = [0; PAGE_LEN];
    let got = draft.memory.read_exact(home, &mut page)?;
    Ok(got.map(|()| page))
}
