// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `show --creds`: user and group ids, capabilities.

use crate::{
    error::Failure,
    json,
    load::Image,
    names,
    output::{print, table, Output},
    view::{all, first},
};
use cr_format::CredRecord;
use serde_json::{json, Value};

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
        for (name, set) in sets(&c) {
            out.field(name, names::capabilities(set))?;
        }
        out.field("securebits", names::securebits(c.securebits))?;
    }
    Ok(())
}

fn sets(c: &CredRecord<'_>) -> [(&'static str, u64); 5] {
    [
        ("effective", c.cap_effective),
        ("permitted", c.cap_permitted),
        ("inheritable", c.cap_inheritable),
        ("bounding", c.cap_bounding),
        ("ambient", c.cap_ambient),
    ]
}

/// Member `creds`.
pub fn json(image: &Image) -> Value {
    let Some(c) = first::<CredRecord<'_>>(image) else {
        return Value::Null;
    };
    let ids = |ids: [u64; 4]| {
        let [real, effective, saved, files] = ids;
        json!({"real": real, "effective": effective, "saved": saved, "files": files})
    };
    let groups: Vec<Value> = c.groups.iter().map(json::integer).collect();
    let capabilities: serde_json::Map<String, Value> = sets(&c)
        .into_iter()
        .map(|(name, set)| (name.to_owned(), names::capability_list(set).into()))
        .collect();
    json!({
        "user": ids([c.uid, c.euid, c.suid, c.fsuid]),
        "group": ids([c.gid, c.egid, c.sgid, c.fsgid]),
        "groups": groups,
        "capabilities": capabilities,
        "securebits": names::securebit_list(c.securebits),
    })
}
