// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Images of several processes: each is compared with the one of the same id.
//!
//! What several processes share (open files, pipes, shared memory) is compared with each that has it. The first
//! processes belong together also if their ids differ, so that the trees of two runs can be compared.

use super::{processes, value::Shown, Change, Diff, FieldChange, Kind, Options, Pair};
use crate::{
    error::Failure,
    file::{ImageFile, Processes},
    load::Sections,
    view::generic::Schema,
};
use cr_format::validate::MetaSet;
use std::collections::BTreeMap;

/// Compares the processes of both images.
///
/// # Errors
/// As [`super::compare`].
pub(super) fn compare(
    a: &ImageFile,
    b: &ImageFile,
    options: &Options,
    diff: &mut Diff,
) -> Result<(), Failure> {
    let (a, b) = (a.processes(), b.processes());
    let (old, mut new) = (ids(a.sections()), ids(b.sections()));
    let (first_a, first_b) = (id(a.sections(), 0), id(b.sections(), 0));
    let roots = !new.contains_key(&first_a) && !old.contains_key(&first_b);
    for number in 0..a.sections().processes() {
        if options.first_only && !diff.is_same() {
            return Ok(());
        }
        let pid = id(a.sections(), number);
        if old.get(&pid) != Some(&number) {
            // Two with one id: that is a defect, and verify says so.
            continue;
        }
        let twin = match new.remove(&pid) {
            None if roots && number == 0 => new.remove(&first_b),
            twin => twin,
        };
        match twin {
            Some(twin) => pair([&a.get(number), &b.get(twin)], pid, options, diff)?,
            None => diff.changes.push(alone(&a, number, Kind::Removed)),
        }
    }
    // In the order of the image.
    let mut added: Vec<u32> = new.into_values().collect();
    added.sort_unstable();
    let added = added.into_iter().map(|n| alone(&b, n, Kind::Added));
    diff.changes.extend(added);
    Ok(())
}

/// Id of a process; 0 if it cannot be read.
fn id(sections: &Sections, number: u32) -> u64 {
    sections.process(number).map_or(0, |p| p.tgid)
}

/// Numbers of the processes by id.
fn ids(sections: &Sections) -> BTreeMap<u64, u32> {
    let numbers = (0..sections.processes()).rev();
    numbers.map(|n| (id(sections, n), n)).collect()
}

fn pair(
    files: [&ImageFile; 2],
    pid: u64,
    options: &Options,
    diff: &mut Diff,
) -> Result<(), Failure> {
    let shown = diff.memory.as_ref().map_or(0, |m| m.shown());
    let options = Options {
        max_bytes: options.max_bytes.saturating_sub(shown),
        ..options.clone()
    };
    let (changes, rows) = (
        diff.changes.len(),
        diff.memory.as_ref().map_or(0, |m| m.rows.len()),
    );
    let [a, b] = files;
    let both = Pair {
        files,
        schemas: [Schema::new(&a.image), Schema::new(&b.image)],
        options: &options,
        is_part: true,
    };
    processes(&both, diff)?;
    for change in diff.changes.iter_mut().skip(changes) {
        change.process = Some(pid);
    }
    let memory = diff.memory.iter_mut();
    for row in memory.flat_map(|m| m.rows.iter_mut().skip(rows)) {
        row.process = Some(pid);
    }
    Ok(())
}

/// A process that only one image has.
fn alone(processes: &Processes<'_>, number: u32, kind: Kind) -> Change {
    let sections = processes.sections();
    let process = sections.process(number);
    let pid = process.as_ref().map_or(0, |p| p.tgid);
    let side = usize::from(kind == Kind::Added);
    let fields = process.map_or_else(Vec::new, |p| {
        vec![
            FieldChange::alone(side, "comm".to_owned(), Shown::of_text(p.comm)),
            FieldChange::alone(side, "ppid".to_owned(), Shown::number(p.ppid)),
            FieldChange::alone(side, "threads".to_owned(), Shown::number(p.threads)),
        ]
    });
    Change {
        process: Some(pid),
        section: "tasks".to_owned(),
        record: "process".to_owned(),
        object: format!("process {pid}"),
        kind,
        note: sections
            .has_ended(number)
            .then(|| "had ended, and waited for its parent".to_owned()),
        fields,
    }
}
