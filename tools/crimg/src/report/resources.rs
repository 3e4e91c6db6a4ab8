// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! What the process has: descriptors, signals, rights, limits, mapped files.

use super::{html::Html, safe};
use crate::{
    load::Image,
    names, number,
    view::{
        all, files, first,
        generic::{one_line, Schema},
        pipes::Pipes,
    },
};
use cr_format::{
    records_in, validate::MetaSet, ActionRecord, CredRecord, DescriptorRecord, FileRecord,
    LimitRecord, MappedFileRecord, PendingRecord, CREDS, FILES, FILE_EXTERNAL, FILE_HANDLED, IMAGE,
    LIMITS, MEMORY, PIPES, PROVENANCE, RESOURCE_NAMES, SCHEMA, SIGNALS, STATS, TASKS,
};
use std::collections::BTreeMap;

/// Section `files`.
pub fn descriptors(image: &Image, h: &mut Html) {
    h.section("files", "Descriptors");
    let by_id: BTreeMap<u64, FileRecord<'_>> = all::<FileRecord<'_>>(image)
        .map(|f| (f.id.into(), f))
        .collect();
    let (pipes, schema) = (Pipes::new(image), Schema::new(image));
    let mut seen: BTreeMap<u64, u64> = BTreeMap::new();
    let rows = all::<DescriptorRecord>(image).map(|d| {
        let shared = *seen.entry(d.file).or_insert(d.fd);
        let fd = match d.cloexec {
            1 => format!("{} cloexec", d.fd),
            _ => d.fd.to_string(),
        };
        let Some(f) = by_id.get(&d.file) else {
            let missing = format!("file {} (not in the image)", d.file);
            return [fd, "?".into(), String::new(), String::new(), missing];
        };
        let mut what = match f.kind {
            FILE_EXTERNAL => format!("{} (to be connected at restart)", safe(f.description)),
            FILE_HANDLED => pipes.describe(f.id).unwrap_or_else(|| safe(f.path)),
            _ => safe(f.path),
        };
        if shared != d.fd {
            what += &format!(" (same open file as {shared})");
        }
        let place = if f.size > 0 || f.pos > 0 {
            format!("{} of {}", f.pos, number::size(f.size))
        } else {
            String::new()
        };
        let kind = files::kind(f, &schema);
        [fd, kind, names::open_flags(f.flags), place, what]
    });
    h.table(["Number", "Kind", "Open", "Position", "What"], rows);
    h.end();
}

/// Section `signals`.
pub fn signals(image: &Image, h: &mut Html) {
    h.section("signals", "Signals");
    h.raw("<h3>Actions other than the default</h3>");
    let rows = all::<ActionRecord>(image).map(|a| {
        let action = match a.handler {
            1 => "ignored".to_owned(),
            handler => format!("handler at {handler:#x}"),
        };
        let blocks = match a.mask {
            0 => String::new(),
            mask => names::signals(mask),
        };
        [names::signal(a.signo), action, blocks]
    });
    h.table(["Signal", "Action", "Blocks meanwhile"], rows);
    h.raw("<h3>Pending</h3>");
    let rows = all::<PendingRecord<'_>>(image).map(|p| {
        let target = match p.tid {
            0 => "the process".to_owned(),
            tid => format!("thread {tid}"),
        };
        [names::signal(p.signo), target]
    });
    h.small_table(["Signal", "For"], rows);
    h.end();
}

/// Section `rights`: credentials and limits.
pub fn rights(image: &Image, h: &mut Html) {
    h.section("rights", "Credentials and limits");
    if let Some(c) = first::<CredRecord<'_>>(image) {
        let four = |ids: [u64; 4]| {
            let [real, effective, saved, files] = ids;
            if [effective, saved, files].iter().all(|id| *id == real) {
                real.to_string()
            } else {
                format!("real {real}, effective {effective}, saved {saved}, files {files}")
            }
        };
        let groups: Vec<String> = c.groups.iter().take(64).map(|g| g.to_string()).collect();
        h.facts(&[
            ("User", four([c.uid, c.euid, c.suid, c.fsuid])),
            ("Group", four([c.gid, c.egid, c.sgid, c.fsgid])),
            ("Groups", groups.join(" ")),
            ("Effective", names::capabilities(c.cap_effective)),
            ("Permitted", names::capabilities(c.cap_permitted)),
            ("Inheritable", names::capabilities(c.cap_inheritable)),
            ("Bounding", names::capabilities(c.cap_bounding)),
            ("Ambient", names::capabilities(c.cap_ambient)),
        ]);
    }
    h.raw("<h3>Limits</h3>");
    let rows = all::<LimitRecord>(image).map(|l| {
        let known = usize::try_from(l.resource).ok();
        let name = known.and_then(|n| RESOURCE_NAMES.get(n));
        let value = |n: u64| match n {
            u64::MAX => "unlimited".to_owned(),
            n => n.to_string(),
        };
        [
            name.map_or(l.resource.to_string(), |n| (*n).to_owned()),
            value(l.soft),
            value(l.hard),
        ]
    });
    h.small_table(["Resource", "Soft", "Hard"], rows);
    h.end();
}

/// Sections that have a chapter of their own on the page, or nothing to show.
const SHOWN: [u16; 11] = [
    IMAGE, SCHEMA, PROVENANCE, TASKS, MEMORY, FILES, PIPES, SIGNALS, CREDS, LIMITS, STATS,
];
/// Records of each other section that are shown.
const RECORDS: usize = 200;

/// Section `others`: every resource without a chapter of its own, also those of later releases and third
/// parties.
pub fn others(image: &Image, schema: &Schema, h: &mut Html) {
    let mut others = image.sections.0.keys().filter(|id| !SHOWN.contains(id));
    let others: Vec<u16> = others.by_ref().copied().collect();
    if others.is_empty() {
        return;
    }
    h.section("others", "Other resources");
    for id in others {
        let mut records = records_in(id, image.sections.section(id)).map_while(Result::ok);
        h.raw("<h3>").safe(&schema.word(id)).raw("</h3><ul>");
        for record in records.by_ref().take(RECORDS) {
            h.raw("<li>")
                .safe(&one_line(schema, &record))
                .raw("</li>\n");
        }
        h.raw("</ul>");
        if let more @ 1.. = records.count() {
            h.raw("<p class=\"none\">And ").text(more).raw(" more.</p>");
        }
    }
    h.end();
}

/// Section `mapped`.
pub fn mapped_files(image: &Image, h: &mut Html) {
    h.section("mapped", "Mapped files");
    h.raw("<p class=\"none\">Their contents are not in the image: a restart needs the same files.</p>");
    let rows = all::<MappedFileRecord<'_>>(image).map(|f| {
        let seconds = u64::try_from(f.mtime_s).unwrap_or(0);
        [
            safe(f.path),
            number::size(f.size),
            number::time(seconds.saturating_mul(1_000_000_000)),
            number::hex(f.build_id),
        ]
    });
    h.table(["Path", "Size", "Changed", "Build id"], rows);
    h.end();
}
