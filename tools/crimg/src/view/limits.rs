// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `show --limits`: the resource limits by name.

use crate::{
    error::Failure,
    json,
    load::Image,
    number,
    output::{print, table, Output},
    view::all,
};
use cr_format::{LimitRecord, RESOURCE_NAMES};
use serde_json::{json, Value};

/// Resources that are counted in bytes.
const IN_BYTES: [&str; 8] = [
    "fsize", "data", "stack", "core", "rss", "memlock", "as", "msgqueue",
];

fn known(l: &LimitRecord) -> Option<&'static str> {
    let n = usize::try_from(l.resource).ok()?;
    RESOURCE_NAMES.get(n).copied()
}

fn name(l: &LimitRecord) -> String {
    known(l).map_or(l.resource.to_string(), str::to_owned)
}

/// # Errors
/// [`Failure::Write`].
pub fn section(image: &Image, out: &mut Output) -> Result<(), Failure> {
    let mut rows = table(["RESOURCE", "SOFT", "HARD"]);
    for l in all::<LimitRecord>(image) {
        let value = |n| match (n, known(&l)) {
            (u64::MAX, _) => "unlimited".to_owned(),
            (0, _) => "0".to_owned(),
            (n, Some(name)) if IN_BYTES.contains(&name) => number::size(n),
            (n, _) => n.to_string(),
        };
        rows.add_row([name(&l), value(l.soft), value(l.hard)]);
    }
    print(&rows, out)
}

/// Member `limits`.
pub fn json(image: &Image) -> Vec<Value> {
    let value = |n| match n {
        u64::MAX => Value::from("unlimited"),
        n => json::integer(n),
    };
    all::<LimitRecord>(image)
        .map(|l| json!({"resource": name(&l), "soft": value(l.soft), "hard": value(l.hard)}))
        .collect()
}
