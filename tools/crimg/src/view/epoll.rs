// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `show --section epoll`: event polls and what they watch.

use crate::{
    error::Failure,
    load::Image,
    names,
    output::{print, table, Output},
    view::{all, fds_of},
};
use cr_format::{EpollRecord, WatchRecord};

/// # Errors
/// [`Failure::Write`].
pub fn section(image: &Image, out: &mut Output) -> Result<(), Failure> {
    let mut rows = table(["FILE", "FD", "WATCHES FD", "EVENTS", "DATA"]);
    for poll in all::<EpollRecord>(image) {
        let row = |fd: String, events: String, data: String| {
            let file = poll.file.to_string();
            [file, fds_of(image, poll.file), fd, events, data]
        };
        if poll.entries == 0 {
            rows.add_row(row("-".to_owned(), String::new(), String::new()));
        }
        for w in all::<WatchRecord>(image).filter(|w| w.epoll == poll.file) {
            rows.add_row(row(
                w.fd.to_string(),
                names::poll_events(w.events),
                format!("{:#x}", w.data),
            ));
        }
    }
    print(&rows, out)
}
