// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! The differences for people: by section, one object per line, its values below; then the pages.

use super::{
    pages::{Counts, Piece, Report, Row, LINE},
    Change, Diff, FieldChange, Kind,
};
use crate::{
    error::Failure,
    number,
    output::{print as print_table, table, Output},
    style,
};
use comfy_table::CellAlignment;

/// Values of an added or removed object are shown if there are not more.
const FEW: usize = 6;

/// The colour of what became of an object.
fn paint(kind: Kind, text: &str) -> String {
    match kind {
        Kind::Added => style::good(text),
        Kind::Removed => style::bad(text),
        _ => style::warn(text),
    }
}

/// Prints everything.
///
/// # Errors
/// [`Failure::Write`].
pub fn diff(diff: &Diff, out: &mut Output) -> Result<(), Failure> {
    sides(diff, out)?;
    if !diff.header.is_empty() {
        out.line("")?;
        out.line(style::bold(
            "about the images (no difference of the processes)",
        ))?;
        for change in &diff.header {
            object(change, out)?;
        }
    }
    let (mut section, mut process) = (None, None);
    for change in &diff.changes {
        if let Some(pid) = change.process.filter(|p| process != Some(*p)) {
            out.line("")?;
            out.line(style::bold(&format!("process {pid}")))?;
            (process, section) = (Some(pid), None);
        }
        if section != Some(&change.section) {
            out.line("")?;
            out.line(style::bold(&change.section))?;
            section = Some(&change.section);
        }
        object(change, out)?;
    }
    if let Some(report) = &diff.memory {
        pages(report, out)?;
    }
    for warning in &diff.warnings {
        out.line("")?;
        out.line(format_args!("note: {warning}"))?;
    }
    out.line("")?;
    out.line(verdict(diff))
}

fn sides(diff: &Diff, out: &mut Output) -> Result<(), Failure> {
    for (letter, side) in ["A", "B"].iter().zip(&diff.sides) {
        let text = |name: &str| {
            let value = side.get(name).filter(|v| !v.is_null())?;
            Some(match value.as_str() {
                Some(s) => crate::escape::text(s.as_bytes()),
                None => value.to_string(),
            })
        };
        let part = |name: &str| text(name).unwrap_or_else(|| "?".to_owned());
        let bytes = side.get("bytes").and_then(serde_json::Value::as_u64);
        let bytes = bytes.map_or_else(|| part("bytes"), number::size);
        let processes = side.get("processes").and_then(serde_json::Value::as_u64);
        let several = processes.is_some_and(|n| n > 1);
        let damaged = side.get("damaged") == Some(&serde_json::Value::Bool(true));
        out.line(format_args!(
            "{letter}  {}: {} {}, {}, {bytes}{}{}",
            part("image"),
            part("pid"),
            part("comm"),
            part("created"),
            if several {
                format!(", {} processes", part("processes"))
            } else {
                String::new()
            },
            if damaged { ", DAMAGED" } else { "" },
        ))?;
    }
    Ok(())
}

fn object(change: &Change, out: &mut Output) -> Result<(), Failure> {
    let sign = match change.kind {
        Kind::Added => "+",
        Kind::Removed => "-",
        _ => "~",
    };
    let mut line = format!("{sign} {}", change.object);
    if !matches!(change.kind, Kind::Added | Kind::Removed | Kind::Changed) {
        line += &format!(": {}", change.kind.word());
    }
    if let Some(note) = &change.note {
        line += &format!(" {note}");
    }
    out.line(format_args!("  {}", paint(change.kind, &line)))?;
    let alone = matches!(change.kind, Kind::Added | Kind::Removed);
    let told = |f: &&FieldChange| {
        let shown = f.old.as_ref().or(f.new.as_ref());
        shown.is_some_and(|s| !matches!(s.text.as_str(), "0" | "0x0" | "\"\"" | ""))
    };
    if alone {
        let fields: Vec<&FieldChange> = change.fields.iter().filter(told).collect();
        if fields.len() > FEW {
            return Ok(());
        }
        for f in fields {
            let shown = f.old.as_ref().or(f.new.as_ref());
            let text = shown.map_or("", |s| s.text.as_str());
            out.line(format_args!("      {:<18} {text}", f.field))?;
        }
        return Ok(());
    }
    for f in &change.fields {
        // Where it moved to is in the line above.
        let told = change.kind == Kind::Moved && matches!(f.field.as_str(), "start" | "end");
        if !told {
            field(f, out)?;
        }
    }
    Ok(())
}

fn field(f: &FieldChange, out: &mut Output) -> Result<(), Failure> {
    let text = |side: &Option<super::value::Shown>| {
        side.as_ref()
            .map_or_else(|| "(none)".to_owned(), |s| s.text.clone())
    };
    let (old, new) = (text(&f.old), text(&f.new));
    match &f.note {
        // Long sets are told by what they have gained and lost.
        Some(note) if old.len().saturating_add(new.len()) > 100 => {
            out.line(format_args!("      {:<18} {note}", f.field))
        }
        Some(note) => out.line(format_args!("      {:<18} {old} → {new} ({note})", f.field)),
        None if old.chars().count().saturating_add(new.chars().count()) > 100 => {
            out.line(format_args!("      {:<18} {old}", f.field))?;
            out.line(format_args!("      {:>18} {new}", "→"))
        }
        None => out.line(format_args!("      {:<18} {old} → {new}", f.field)),
    }
}

/// An area, with its process if there are several.
fn named(row: &Row) -> String {
    match row.process {
        Some(pid) => format!("{pid}: {}", row.name),
        None => row.name.clone(),
    }
}

fn pages(report: &Report, out: &mut Output) -> Result<(), Failure> {
    if report.is_same() {
        return Ok(());
    }
    out.line("")?;
    out.line(style::bold("pages"))?;
    let mut rows = table([
        "  AREA",
        "SAME",
        "CHANGED",
        "ONLY IN A",
        "ONLY IN B",
        "ZERO",
    ]);
    for column in 1..6 {
        if let Some(column) = rows.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let row = |name: String, c: &Counts| {
        let mut row = vec![name];
        let counts = [c.same, c.changed, c.only_a, c.only_b, c.zero];
        row.extend(counts.map(|n| n.to_string()));
        row
    };
    let differing = |c: &Counts| c.different() > 0;
    for r in report.rows.iter().filter(|r| differing(&r.counts)) {
        rows.add_row(row(named(r), &r.counts));
    }
    let equal = report.rows.iter().filter(|r| !differing(&r.counts)).count();
    if equal > 0 {
        let mut sum = Counts::default();
        for r in report.rows.iter().filter(|r| !differing(&r.counts)) {
            sum.same = sum.same.saturating_add(r.counts.same);
            sum.zero = sum.zero.saturating_add(r.counts.zero);
        }
        let name = number::count(
            equal as u64,
            "area without a difference",
            "areas without a difference",
        );
        rows.add_row(row(name, &sum));
    }
    print_table(&rows, out)?;
    bytes(report, out)
}

fn bytes(report: &Report, out: &mut Output) -> Result<(), Failure> {
    let mut last = None;
    for piece in &report.pieces {
        if last != Some(piece.row) {
            let name = report.rows.get(piece.row).map_or_else(String::new, named);
            out.line("")?;
            out.line(format_args!("bytes of {name}"))?;
            last = Some(piece.row);
        } else {
            out.line("")?;
        }
        lines(piece, out)?;
    }
    if report.left_out > 0 {
        out.line("")?;
        out.line(format_args!(
            "{} more in lines that differ: see --max-bytes",
            number::size(report.left_out)
        ))?;
    }
    Ok(())
}

/// Old lines above new ones.
fn lines(piece: &Piece, out: &mut Output) -> Result<(), Failure> {
    let sides = [
        ("-", Kind::Removed, piece.a, &piece.old),
        ("+", Kind::Added, piece.b, &piece.new),
    ];
    for (sign, kind, start, bytes) in sides {
        for (n, line) in bytes.chunks(LINE as usize).enumerate() {
            let address = start.saturating_add((n as u64).saturating_mul(LINE));
            let hex: Vec<String> = line.iter().map(|b| format!("{b:02x}")).collect();
            let text: String = line
                .iter()
                .map(|b| match b {
                    b' '..=b'~' => char::from(*b),
                    _ => '.',
                })
                .collect();
            let line = format!("  {sign} {address:012x}  {}  |{text}|", hex.join(" "));
            out.line(paint(kind, &line))?;
        }
    }
    Ok(())
}

/// The last line.
fn verdict(diff: &Diff) -> String {
    let of =
        |kinds: &dyn Fn(Kind) -> bool| diff.changes.iter().filter(|c| kinds(c.kind)).count() as u64;
    let added = of(&|k| k == Kind::Added);
    let removed = of(&|k| k == Kind::Removed);
    let changed = (diff.changes.len() as u64)
        .saturating_sub(added)
        .saturating_sub(removed);
    let mut parts = Vec::new();
    for (n, word) in [(changed, "changed"), (added, "added"), (removed, "removed")] {
        if n > 0 {
            parts.push(format!("{n} {word}"));
        }
    }
    let objects = if parts.is_empty() {
        "no object".to_owned()
    } else {
        format!("objects: {}", parts.join(", "))
    };
    let pages = match &diff.memory {
        None => "page data was not compared".to_owned(),
        Some(r) if r.is_same() => {
            let n = r.total.same.saturating_add(r.total.zero);
            format!("all {} equal", number::count(n, "page is", "pages are"))
        }
        Some(r) => {
            let all = r.total.same.saturating_add(r.total.zero);
            let all = all.saturating_add(r.total.different());
            format!(
                "{} of {} differ",
                r.total.different(),
                number::count(all, "page", "pages")
            )
        }
    };
    if diff.is_same() {
        format!("same; {pages}")
    } else {
        format!("different; {objects}; {pages}")
    }
}
