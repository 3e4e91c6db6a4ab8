// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! What people see: one file per resource word or question, `summary` for all of them, `generic` for any section.
//!
//! Each view prints for people and gives the same as a member of the JSON document.

pub mod cgroups;
pub mod chunks;
pub mod creds;
pub mod epoll;
pub mod eventfd;
pub mod files;
pub mod generic;
pub mod head;
pub mod inotify;
pub mod landlock;
pub mod limits;
pub mod locks;
pub mod memory;
pub mod modules;
pub mod owners;
pub mod pidfd;
pub mod pipes;
pub mod proc;
pub mod process;
pub mod provenance;
pub mod seccomp;
pub mod signalfd;
pub mod signals;
pub mod summary;
pub mod tasks;
pub mod timerfd;
pub mod timers;
pub mod tree;
pub mod uring;

use crate::{file::ImageFile, load::Image};
use cr_format::{records_of, validate::MetaSet, Record, TaskRecord};
use generic::Schema;
use std::path::Path;

/// What a view looks at.
#[derive(Clone, Copy)]
pub struct Show<'a> {
    /// The image.
    pub image: &'a Image,
    /// Names of its records.
    pub schema: &'a Schema,
    /// The same image for random access, if it is in a regular file and the view needs contents.
    pub file: Option<&'a ImageFile>,
    /// Only this thread.
    pub tid: Option<u64>,
    /// Below it are the files that the process maps; `None`: they are not looked at.
    pub sysroot: Option<&'a Path>,
}

impl<'a> Show<'a> {
    /// The threads that are asked for.
    pub fn tasks(&self) -> impl Iterator<Item = TaskRecord<'a>> + 'a {
        let tid = self.tid;
        all::<TaskRecord<'a>>(self.image).filter(move |t| tid.is_none_or(|tid| t.tid == tid))
    }
}

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
