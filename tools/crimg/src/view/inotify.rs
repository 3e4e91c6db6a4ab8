// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `show --section inotify`: what instances of inotify watch, and what was not read.

use crate::{
    error::Failure,
    escape,
    load::Image,
    names, number,
    output::{print, table, wrap_only, Output},
    view::{all, fds_of},
};
use cr_format::{InotifyRecord, NotifyRecord, PlaceRecord};

/// # Errors
/// [`Failure::Write`].
pub fn section(image: &Image, out: &mut Output) -> Result<(), Failure> {
    let mut rows = table(["FILE", "FD", "WATCH", "EVENTS", "PLACE"]);
    for i in all::<InotifyRecord>(image) {
        let row = |watch: String, events: String, place: String| {
            let file = i.file.to_string();
            [file, fds_of(image, i.file), watch, events, place]
        };
        if i.watches == 0 {
            rows.add_row(row("-".to_owned(), String::new(), String::new()));
        }
        for p in all::<PlaceRecord<'_>>(image).filter(|p| p.inotify == i.file) {
            let place = match p.target {
                0 => escape::text(p.path),
                file => format!("open file {file} (descriptor {})", fds_of(image, file)),
            };
            rows.add_row(row(p.wd.to_string(), names::file_events(p.mask), place));
        }
    }
    wrap_only(&mut rows, 4);
    print(&rows, out)?;
    let mut rows = table(["FILE", "WATCH", "UNREAD EVENT", "COOKIE", "NAME"]);
    let mut any = false;
    for e in all::<NotifyRecord<'_>>(image) {
        any = true;
        let or_none = |n: i64, none: i64| {
            if n == none {
                String::new()
            } else {
                n.to_string()
            }
        };
        rows.add_row([
            e.inotify.to_string(),
            or_none(e.wd, -1),
            names::file_events(e.mask),
            or_none(i64::try_from(e.cookie).unwrap_or(i64::MAX), 0),
            escape::text(e.name),
        ]);
    }
    if any {
        out.line("")?;
        wrap_only(&mut rows, 4);
        print(&rows, out)?;
    }
    Ok(())
}

/// What the view of descriptors says: `2 watches, 4 unread events`.
pub fn detail(i: &InotifyRecord) -> String {
    let mut text = number::count(i.watches, "watch", "watches");
    if i.events != 0 {
        text += &format!(
            ", {}",
            number::count(i.events, "unread event", "unread events")
        );
    }
    text
}
