// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `show --section uring`: rings, who may use them, and by which index threads call them.

use crate::{
    error::Failure,
    load::Image,
    names,
    output::{print, table, Output},
    view::{all, fds_of},
};
use cr_format::{RegisteredRingRecord, RingEventfdRecord, RingRecord};

/// # Errors
/// [`Failure::Write`].
pub fn section(image: &Image, out: &mut Output) -> Result<(), Failure> {
    let mut rows = table([
        "FILE",
        "FD",
        "ENTRIES",
        "TAKEN",
        "EVENTS",
        "FLAGS",
        "ISSUER",
        "REGISTERED",
        "TELLS",
    ]);
    for ring in all::<RingRecord>(image) {
        let registered: Vec<String> = all::<RegisteredRingRecord>(image)
            .filter(|r| r.file == ring.file)
            .map(|r| format!("{} by {}", r.index, r.tid))
            .collect();
        rows.add_row([
            ring.file.to_string(),
            fds_of(image, ring.file),
            format!("{} {}", ring.sq_entries, ring.cq_entries),
            ring.sq_head.to_string(),
            ring.cq_tail.to_string(),
            names::ring_flags(ring.flags),
            match ring.submitter {
                0 => "any".to_owned(),
                tid => tid.to_string(),
            },
            registered.join(", "),
            all::<RingEventfdRecord>(image)
                .find(|e| e.ring == ring.file)
                .map_or_else(String::new, |e| format!("fd {}", e.fd)),
        ]);
    }
    print(&rows, out)
}
