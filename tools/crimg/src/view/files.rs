// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `show --fds`: the descriptors, what they are open on, and the unread bytes of pipes.

use crate::{
    error::Failure,
    escape, json,
    load::Image,
    names, number,
    output::{print, table, wrap_only, Output},
    view::{
        all, first, generic::Schema, inotify, owners, pidfd, pipes::Pipes, timerfd::expires, Show,
    },
};
use cr_format::{
    ContentsRecord, DescriptorRecord, EpollRecord, EventfdRecord, FileRecord, FsRecord,
    InotifyRecord, LockRecord, MemfdRecord, OwnerRecord, PidfdRecord, RingRecord, SignalfdRecord,
    TimerfdRecord, WatchRecord, FILE_DELETED, FILE_DEVICE, FILE_EXTERNAL, FILE_HANDLED, FILE_MEMFD,
    FILE_REGULAR, PIPES, TFD_ABSTIME,
};
use serde_json::{json, Value};
use std::collections::{BTreeMap, BTreeSet};

/// What the views of descriptors look up.
struct Table<'a> {
    files: BTreeMap<u64, FileRecord<'a>>,
    /// Descriptors of each open file.
    fds: BTreeMap<u64, Vec<u64>>,
    pipes: Pipes<'a>,
    /// What an extension's record says of an open file.
    details: BTreeMap<u64, String>,
    /// Of each open memory file: the record with its name and seals.
    memfds: BTreeMap<u64, MemfdRecord<'a>>,
    /// Open files that have a path, and whose contents are in the image.
    stored: BTreeSet<u64>,
    /// Number of locks that the process holds on an open file.
    locks: BTreeMap<u64, u64>,
    /// Whom an open file tells by signal that it is ready.
    owners: BTreeMap<u64, String>,
}

/// What the records of eventfd, timerfd, signalfd, epoll, inotify and uring say, by open file.
fn details(image: &Image) -> BTreeMap<u64, String> {
    let mut details = BTreeMap::new();
    for e in all::<EventfdRecord>(image) {
        let kind = if e.semaphore == 0 {
            "counter"
        } else {
            "semaphore"
        };
        details.insert(e.file, format!("{kind} {}", e.count));
    }
    for t in all::<TimerfdRecord>(image) {
        let wall = matches!(t.clock, 0 | 8) && t.settime_flags & TFD_ABSTIME != 0;
        let every = match t.interval_ns {
            0 => String::new(),
            ns => format!(", every {}", number::span(ns)),
        };
        let clock = names::clock(t.clock);
        let text = format!("{clock}, {}{every}", expires(t.value_ns, wall));
        details.insert(t.file, text);
    }
    for s in all::<SignalfdRecord>(image) {
        details.insert(s.file, names::signals(s.mask));
    }
    for e in all::<EpollRecord>(image) {
        let watched: Vec<u64> = all::<WatchRecord>(image)
            .filter(|w| w.epoll == e.file)
            .map(|w| w.fd)
            .collect();
        let text = match watched.as_slice() {
            [] => "watches nothing".to_owned(),
            fds => format!("watches {}", list(fds)),
        };
        details.insert(e.file, text);
    }
    for i in all::<InotifyRecord>(image) {
        details.insert(i.file, inotify::detail(&i));
    }
    for p in all::<PidfdRecord>(image) {
        details.insert(p.file, pidfd::detail(&p));
    }
    for r in all::<RingRecord>(image) {
        let (submit, complete) = (r.sq_entries, r.cq_entries);
        details.insert(r.file, format!("ring of {submit} and {complete} entries"));
    }
    details
}

fn memfds(image: &Image) -> BTreeMap<u64, MemfdRecord<'_>> {
    let all: BTreeMap<u64, MemfdRecord<'_>> = all::<MemfdRecord<'_>>(image)
        .map(|m| (m.id.into(), m))
        .collect();
    all.iter()
        .map(|(id, m)| (*id, *all.get(&m.contents).unwrap_or(m)))
        .collect()
}

impl<'a> Table<'a> {
    fn new(show: &Show<'a>) -> Self {
        let mut fds: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for d in all::<DescriptorRecord>(show.image) {
            fds.entry(d.file).or_default().push(d.fd);
        }
        Self {
            files: all::<FileRecord<'_>>(show.image)
                .map(|f| (f.id.into(), f))
                .collect(),
            fds,
            pipes: Pipes::new(show.image),
            details: details(show.image),
            memfds: memfds(show.image),
            stored: all::<ContentsRecord>(show.image)
                .map(|c| c.id.into())
                .collect(),
            locks: all::<LockRecord>(show.image).fold(BTreeMap::new(), |mut locks, l| {
                let n: &mut u64 = locks.entry(l.file).or_default();
                *n = n.saturating_add(1);
                locks
            }),
            owners: all::<OwnerRecord>(show.image)
                .filter_map(|o| owners::told(&o).map(|told| (o.file, told)))
                .collect(),
        }
    }

    /// Descriptors at other open files of the same pipe.
    fn peers(&self, file: u64) -> Vec<u64> {
        let mut fds: Vec<u64> = self
            .pipes
            .other_ends(file)
            .filter_map(|f| self.fds.get(&f))
            .flatten()
            .copied()
            .collect();
        fds.sort_unstable();
        fds
    }

    fn what(&self, f: &FileRecord<'_>) -> String {
        let path = escape::text(f.path);
        match f.kind {
            FILE_EXTERNAL => escape::text(f.description),
            FILE_REGULAR if self.stored.contains(&f.id.into()) => format!("{path} (with contents)"),
            FILE_DEVICE => format!("{path} ({})", device(f.rdev)),
            FILE_MEMFD => match self.memfds.get(&f.id.into()) {
                Some(m) => format!("{}{}", escape::text(m.name), memfd_traits(m)),
                None => path,
            },
            FILE_HANDLED => {
                let Some(pipe) = self.pipes.describe(f.id) else {
                    return self.details.get(&f.id.into()).cloned().unwrap_or(path);
                };
                match self.peers(f.id.into()).as_slice() {
                    [] => pipe,
                    peers => format!("{pipe}, other ends {}", list(peers)),
                }
            }
            _ => path,
        }
    }
}

/// ` (seals write,grow; pages of 2 MiB)`.
fn memfd_traits(m: &MemfdRecord<'_>) -> String {
    let mut traits = Vec::new();
    if m.seals != 0 {
        traits.push(format!("seals {}", names::seals(m.seals)));
    }
    if m.huge != 0 {
        traits.push(format!("pages of {}", number::size(m.huge)));
    }
    match traits.as_slice() {
        [] => String::new(),
        traits => format!(" ({})", traits.join("; ")),
    }
}

fn list(fds: &[u64]) -> String {
    fds.iter().map(u64::to_string).collect::<Vec<_>>().join(" ")
}

/// `1:3`, as `ls -l` shows a device.
fn device(rdev: u64) -> String {
    let major = (rdev >> 8) & 0xfff | (rdev >> 32) & 0xffff_f000;
    let minor = rdev & 0xff | (rdev >> 12) & 0xffff_ff00;
    format!("{major}:{minor}")
}

fn is_sized(f: &FileRecord<'_>) -> bool {
    !f.path.is_empty() && f.kind <= FILE_REGULAR || matches!(f.kind, FILE_DELETED | FILE_MEMFD)
}

/// # Errors
/// [`Failure::Write`].
pub fn fds(show: &Show<'_>, out: &mut Output) -> Result<(), Failure> {
    if let Some(fs) = first::<FsRecord<'_>>(show.image) {
        out.field("directory", escape::text(fs.cwd))?;
        if fs.root != b"/" {
            out.field("root", escape::text(fs.root))?;
        }
        out.field("umask", format_args!("{:04o}", fs.umask))?;
        out.line("")?;
    }
    let of = Table::new(show);
    let mut seen: BTreeMap<u64, u64> = BTreeMap::new();
    let mut rows = table(["FD", "KIND", "OPEN", "POSITION", "SIZE", "WHAT"]);
    for d in all::<DescriptorRecord>(show.image) {
        let mut fd = d.fd.to_string();
        if d.cloexec == 1 {
            fd += " cloexec";
        }
        let shared = *seen.entry(d.file).or_insert(d.fd);
        let none = String::new;
        let Some(f) = of.files.get(&d.file) else {
            let what = format!("file {} (not in the image)", d.file);
            rows.add_row([fd, "?".into(), none(), none(), none(), what]);
            continue;
        };
        let sized = is_sized(f);
        let mut what = of.what(f);
        if let Some(n) = of.locks.get(&d.file) {
            what += &format!(" ({})", number::count(*n, "lock", "locks"));
        }
        if let Some(told) = of.owners.get(&d.file) {
            what += &format!(" (signals {told})");
        }
        if shared != d.fd {
            what += &format!(" (same open file as {shared})");
        }
        rows.add_row([
            fd,
            kind(f, show.schema),
            names::open_flags(f.flags),
            if sized { f.pos.to_string() } else { none() },
            if sized { number::size(f.size) } else { none() },
            what,
        ]);
    }
    let open: std::collections::BTreeSet<u64> = all::<DescriptorRecord>(show.image)
        .map(|d| d.file)
        .collect();
    for f in of.files.values().filter(|f| !open.contains(&f.id.into())) {
        rows.add_row([
            "mapped".to_owned(),
            kind(f, show.schema),
            names::open_flags(f.flags),
            String::new(),
            number::size(f.size),
            of.what(f),
        ]);
    }
    wrap_only(&mut rows, 5);
    print(&rows, out)
}

/// The kind of an open file; those of extensions have the resource word.
pub fn kind(f: &FileRecord<'_>, schema: &Schema) -> String {
    match f.kind {
        FILE_HANDLED if f.handler == u64::from(PIPES) => "pipe".to_owned(),
        FILE_HANDLED => {
            u16::try_from(f.handler).map_or("?".to_owned(), |section| schema.word(section))
        }
        kind => names::file_kind(kind),
    }
}

/// Member `descriptors`.
pub fn json(show: &Show<'_>) -> Vec<Value> {
    let of = Table::new(show);
    all::<DescriptorRecord>(show.image)
        .map(|d| {
            let mut value = json!({
                "fd": json::integer(d.fd),
                "cloexec": d.cloexec == 1,
                "file": json::integer(d.file),
            });
            let others: Vec<u64> = of
                .fds
                .get(&d.file)
                .map(|fds| fds.iter().filter(|fd| **fd != d.fd).copied().collect())
                .unwrap_or_default();
            if let (Some(m), Some(f)) = (value.as_object_mut(), of.files.get(&d.file)) {
                m.insert("kind".into(), kind(f, show.schema).into());
                m.insert("shared_with".into(), others.into());
                describe(f, &of, m);
            }
            value
        })
        .collect()
}

fn describe(f: &FileRecord<'_>, of: &Table<'_>, m: &mut serde_json::Map<String, Value>) {
    let flags: Vec<String> = names::open_flags(f.flags)
        .split(',')
        .map(str::to_owned)
        .collect();
    m.insert("flags".into(), flags.into());
    m.insert("mode".into(), format!("{:#o}", f.mode).into());
    m.insert("type".into(), names::file_type(f.mode).into());
    let path = (!f.path.is_empty()).then(|| json::text(f.path));
    m.insert("path".into(), path.into());
    m.insert("external".into(), (f.kind == FILE_EXTERNAL).into());
    m.insert("deleted".into(), (f.kind == FILE_DELETED).into());
    if of.stored.contains(&f.id.into()) {
        m.insert("with_contents".into(), true.into());
    }
    if is_sized(f) {
        m.insert("position".into(), f.pos.into());
        m.insert("size".into(), json::integer(f.size));
        m.insert("mtime_s".into(), f.mtime_s.into());
        m.insert("mtime_ns".into(), json::integer(f.mtime_ns));
    }
    if f.kind == FILE_DEVICE {
        m.insert("device".into(), device(f.rdev).into());
    }
    if let Some(memfd) = of.memfds.get(&f.id.into()) {
        m.insert(
            "memfd".into(),
            json!({
                "contents": json::integer(memfd.contents),
                "name": json::text(memfd.name),
                "seals": names::seals(memfd.seals).split(',').collect::<Vec<_>>(),
                "huge": json::integer(memfd.huge),
            }),
        );
    }
    if !f.description.is_empty() {
        m.insert("description".into(), json::text(f.description));
    }
    if let Some(detail) = of.details.get(&f.id.into()) {
        m.insert("detail".into(), detail.as_str().into());
    }
    let locks = of.locks.get(&f.id.into()).copied().unwrap_or(0);
    m.insert("locks".into(), json::integer(locks));
    if let Some(told) = of.owners.get(&f.id.into()) {
        m.insert("signals".into(), told.as_str().into());
    }
    if let Some(mut pipe) = of.pipes.json(f.id) {
        if let Some(p) = pipe.as_object_mut() {
            p.insert("other_ends".into(), of.peers(f.id.into()).into());
        }
        m.insert("pipe".into(), pipe);
    }
}

#[cfg(test)]
mod tests {
    use super::device;

    #[test]
    fn device_numbers_are_those_of_stat() {
        assert_eq!(device(0x103), "1:3");
        assert_eq!(device(0x8803), "136:3");
    }
}
