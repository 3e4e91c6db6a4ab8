// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `show --section creds`: user and group ids, capabilities.

use crate::{
    error::Failure,
    load::Image,
    names,
    output::{print, table, Output},
    view::all,
};
use cr_format::CredRecord;

/// # Errors
/// [`Failure::Write`].
pub fn section(image: &Image, out: &mut Output) -> Result<(), Failure> {
    for c in all::<CredRecord<'_>>(image) {
        let mut rows = table(["", "REAL", "EFFECTIVE", "SAVED", "FILES"]);
        let row = |name: &str, ids: [u64; 4]| {
            let mut row = vec![name.to_owned()];
            row.extend(ids.map(|id| id.to_string()));
            row
        };
        rows.add_row(row("user", [c.uid, c.euid, c.suid, c.fsuid]));
        rows.add_row(row("group", [c.gid, c.egid, c.sgid, c.fsgid]));
        print(&rows, out)?;
        let groups: Vec<String> = c.groups.iter().map(|g| g.to_string()).collect();
        out.field(
            "groups",
            if groups.is_empty() {
                "none".to_owned()
            } else {
                groups.join(" ")
            },
        )?;
        for (name, set) in [
            ("effective", c.cap_effective),
            ("permitted", c.cap_permitted),
            ("inheritable", c.cap_inheritable),
            ("bounding", c.cap_bounding),
            ("ambient", c.cap_ambient),
        ] {
            out.field(name, names::capabilities(set))?;
        }
        out.field("securebits", format_args!("{:#x}", c.securebits))?;
    }
    Ok(())
}
