// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! What people see: one file per resource word, `summary` for all of them, `generic` for any section.

pub mod creds;
pub mod epoll;
pub mod eventfd;
pub mod files;
pub mod generic;
pub mod limits;
pub mod locks;
pub mod memory;
pub mod pipes;
pub mod signalfd;
pub mod signals;
pub mod summary;
pub mod tasks;
pub mod timerfd;
pub mod timers;

use crate::load::Image;
use cr_format::{records_of, validate::MetaSet, Record};

/// The records of one type that can be decoded; `verify` is there for the others.
pub fn all<'a, R: Record<'a> + 'a>(image: &'a Image) -> impl Iterator<Item = R> + 'a {
    let mut records = records_of::<R>(image.sections.section(R::SECTION));
    std::iter::from_fn(move || loop {
        match records.next()? {
            Ok(record) => return Some(record),
            Err(_) => continue,
        }
    })
}

/// The descriptors of an open file, as `3 7`; `-` for none.
pub fn fds_of(image: &Image, file: u64) -> String {
    let fds: Vec<String> = all::<cr_format::DescriptorRecord>(image)
        .filter(|d| d.file == file)
        .map(|d| d.fd.to_string())
        .collect();
    match fds.is_empty() {
        true => "-".to_owned(),
        false => fds.join(" "),
    }
}

/// The first record of one type.
pub fn first<'a, R: Record<'a> + 'a>(image: &'a Image) -> Option<R> {
    all(image).next()
}

/// How many records of the section cannot be decoded or are of an unknown type.
pub fn strangers(image: &Image, section: u16) -> usize {
    let known = |number| cr_format::sections::record_of(section, number);
    cr_format::records_in(section, image.sections.section(section))
        .filter(|raw| match raw {
            Err(_) => true,
            Ok(raw) => match known(raw.record_type) {
                None => true,
                Some(kind) => {
                    raw.fields().any(|f| f.is_err_and(|_| true))
                        || usize::from(raw.nfields) != kind.fields.len()
                }
            },
        })
        .count()
}
