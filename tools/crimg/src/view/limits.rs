// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `show --section limits`: the resource limits by name.

use crate::{
    error::Failure,
    load::Image,
    number,
    output::{print, table, Output},
    view::all,
};
use cr_format::{LimitRecord, RESOURCE_NAMES};

/// Resources that are counted in bytes.
const IN_BYTES: [&str; 8] = [
    "fsize", "data", "stack", "core", "rss", "memlock", "as", "msgqueue",
];

/// # Errors
/// [`Failure::Write`].
pub fn section(image: &Image, out: &mut Output) -> Result<(), Failure> {
    let mut rows = table(["RESOURCE", "SOFT", "HARD"]);
    for l in all::<LimitRecord>(image) {
        let known = usize::try_from(l.resource)
            .ok()
            .and_then(|n| RESOURCE_NAMES.get(n).copied());
        let name = known.map_or(l.resource.to_string(), str::to_owned);
        let value = |n| match (n, known) {
            (u64::MAX, _) => "unlimited".to_owned(),
            (0, _) => "0".to_owned(),
            (n, Some(name)) if IN_BYTES.contains(&name) => number::size(n),
            (n, _) => n.to_string(),
        };
        rows.add_row([name, value(l.soft), value(l.hard)]);
    }
    print(&rows, out)
}
