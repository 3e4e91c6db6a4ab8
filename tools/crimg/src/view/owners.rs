// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `show --section owners`: whom open files tell by signal that they are ready.

use crate::{
    error::Failure,
    load::Image,
    names,
    output::{print, table, Output},
    view::{all, fds_of},
};
use cr_format::{OwnerRecord, OWNER_GROUP, OWNER_PROCESS, OWNER_THREAD};

/// # Errors
/// [`Failure::Write`].
pub fn section(image: &Image, out: &mut Output) -> Result<(), Failure> {
    let mut rows = table(["FILE", "FD", "OWNER", "SIGNAL", "SENT", "SET BY"]);
    for o in all::<OwnerRecord>(image) {
        let by = match o.uid == o.euid {
            true => format!("user {}", o.uid),
            false => format!("user {}, effective {}", o.uid, o.euid),
        };
        rows.add_row([
            o.file.to_string(),
            fds_of(image, o.file),
            owner(&o),
            signal(&o),
            if o.enabled == 1 { "yes" } else { "no" }.to_owned(),
            by,
        ]);
    }
    print(&rows, out)
}

/// `process 1234`.
fn owner(o: &OwnerRecord) -> String {
    let kind = match o.kind {
        _ if o.pid == 0 => return "nobody".to_owned(),
        OWNER_THREAD => "thread",
        OWNER_PROCESS => "process",
        OWNER_GROUP => "group",
        _ => "?",
    };
    format!("{kind} {}", o.pid)
}

fn signal(o: &OwnerRecord) -> String {
    match o.signo {
        0 => "SIGIO".to_owned(),
        n => format!("{} with data", names::signal(n)),
    }
}

/// What the view of descriptors says: `process 1234 by SIGIO`; nothing when no signal is sent.
pub fn told(o: &OwnerRecord) -> Option<String> {
    let by = match o.signo {
        0 => "SIGIO".to_owned(),
        n => names::signal(n),
    };
    (o.enabled == 1).then(|| format!("{} by {by}", owner(o)))
}
