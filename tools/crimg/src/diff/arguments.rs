// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Arguments and environment, read from the stack where the program sees them.

use super::{value::Shown, Change, FieldChange, Kind, Pair};
use crate::{escape, memory::Memory, process::Process};
use std::collections::{BTreeMap, BTreeSet};

/// Most bytes of arguments or environment that are read: what `execve(2)` takes with the usual stack limit.
const MOST: u64 = 8 << 20;

/// Strings that are NUL-terminated one behind the other.
type Strings = Vec<Vec<u8>>;

/// Arguments and environment of one image; `None`: the image does not have them.
fn strings(pair: &Pair<'_>, side: usize) -> [Option<Strings>; 2] {
    let Some(file) = pair.files.get(side) else {
        return [None, None];
    };
    let process = Process::new(&file.image.sections);
    let memory = Memory::new(file, None);
    let read = |start: u64, end: u64| -> Option<Strings> {
        let len = end.checked_sub(start).filter(|n| (1..=MOST).contains(n))?;
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        // Damage to page data is found and told by the comparison of pages.
        memory.read_exact(start, &mut bytes).ok()??;
        if bytes.iter().all(|b| *b == 0) {
            return None;
        }
        Some(split(&bytes))
    };
    let Some(mm) = process.mm else {
        return [None, None];
    };
    [
        read(mm.arg_start, mm.arg_end),
        read(mm.env_start, mm.env_end),
    ]
}

fn split(bytes: &[u8]) -> Strings {
    let text = bytes.strip_suffix(b"\0").unwrap_or(bytes);
    text.split(|b| *b == 0).map(<[u8]>::to_vec).collect()
}

/// Compares both, if both images have them. True: arguments were, and the copy in record `process` says
/// nothing else.
pub(super) fn compare(pair: &Pair<'_>, out: &mut Vec<Change>) -> bool {
    let ([args_a, env_a], [args_b, env_b]) = (strings(pair, 0), strings(pair, 1));
    if let (Some(a), Some(b)) = (&env_a, &env_b) {
        environment(pair, a, b, out);
    }
    let (Some(a), Some(b)) = (&args_a, &args_b) else {
        return false;
    };
    arguments(pair, a, b, out);
    let copy = |side: usize, list: &Strings| {
        let sections = pair.files.get(side).map(|f| &f.image.sections);
        let process = sections.and_then(|s| Process::new(s).process);
        process.is_some_and(|p| split(p.args) == *list)
    };
    copy(0, a) && copy(1, b)
}

fn push(
    pair: &Pair<'_>,
    record: &str,
    object: String,
    field: &str,
    old: Option<&[u8]>,
    new: Option<&[u8]>,
    out: &mut Vec<Change>,
) {
    if old == new || pair.options.ignores("memory", record, field) {
        return;
    }
    let kind = match (old, new) {
        (None, _) => Kind::Added,
        (_, None) => Kind::Removed,
        _ => Kind::Changed,
    };
    out.push(Change {
        process: None,
        section: "memory".to_owned(),
        record: record.to_owned(),
        object,
        kind,
        note: None,
        fields: vec![FieldChange {
            field: field.to_owned(),
            old: old.map(Shown::of_text),
            new: new.map(Shown::of_text),
            note: None,
        }],
    });
}

/// By place; those at the beginning and end that are the same are passed over, so that one that is
/// inserted does not move all others.
fn arguments(pair: &Pair<'_>, a: &Strings, b: &Strings, out: &mut Vec<Change>) {
    let head = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    let most = a.len().min(b.len()).saturating_sub(head);
    let tail = a.iter().rev().zip(b.iter().rev()).take(most);
    let tail = tail.take_while(|(x, y)| x == y).count();
    let middle = |list: &Strings| list.len().saturating_sub(tail);
    for n in head..middle(a).max(middle(b)) {
        let of = |list: &'_ Strings| (n < middle(list)).then(|| list.get(n).cloned()).flatten();
        let (old, new) = (of(a), of(b));
        let (old, new) = (old.as_deref(), new.as_deref());
        push(
            pair,
            "argument",
            format!("argument {n}"),
            "value",
            old,
            new,
            out,
        );
    }
}

/// By name; what is there twice by its order.
fn environment(pair: &Pair<'_>, a: &Strings, b: &Strings, out: &mut Vec<Change>) {
    type Variables<'s> = BTreeMap<(&'s [u8], u32), Option<&'s [u8]>>;
    fn variables(list: &Strings) -> Variables<'_> {
        let mut map = BTreeMap::new();
        let mut seen: BTreeMap<&[u8], u32> = BTreeMap::new();
        for line in list.iter().filter(|l| !l.is_empty()) {
            let at = line.iter().position(|b| *b == b'=');
            let (name, value) = match at {
                Some(at) => (line.get(..at), line.get(at.saturating_add(1)..)),
                None => (Some(&line[..]), None),
            };
            let name = name.unwrap_or(line);
            let same = seen.entry(name).or_insert(0_u32);
            map.insert((name, *same), value);
            *same = same.saturating_add(1);
        }
        map
    }
    let (old, new) = (variables(a), variables(b));
    let keys: BTreeSet<&(&[u8], u32)> = old.keys().chain(new.keys()).collect();
    for key in keys {
        // A name without a sign is not a name with an empty value, but nobody can tell the difference.
        let value = |map: &Variables<'_>| map.get(key).map(|v| v.unwrap_or(&[]).to_vec());
        let (x, y) = (value(&old), value(&new));
        let name = escape::text(key.0);
        let object = format!("environment {name}");
        push(
            pair,
            "environment",
            object,
            &name,
            x.as_deref(),
            y.as_deref(),
            out,
        );
    }
}
