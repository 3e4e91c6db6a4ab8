// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `show` without options: the image on one screen, for someone who sees it for the first time.

use crate::{
    error::Failure,
    escape,
    load::Image,
    names, number,
    output::Output,
    view::{all, files, first, generic::Schema},
};
use cr_format::{
    limits::PAGE, validate, ActionRecord, CredRecord, DescriptorRecord, FileRecord, ImageRecord,
    PendingRecord, ProcessRecord, SectionRecord, StatsRecord, TaskRecord, VmaRecord, FILE_EXTERNAL,
};
use std::collections::BTreeMap;

/// Items of a list that are shown before "and N more".
const SHOWN: usize = 6;

/// # Errors
/// [`Failure::Write`].
pub fn summary(image: &Image, schema: &Schema, out: &mut Output) -> Result<(), Failure> {
    container(image, out)?;
    process(image, out)?;
    origin(image, out)?;
    memory(image, out)?;
    descriptors(image, out)?;
    signals(image, out)?;
    creds(image, out)?;
    needs(image, schema, out)?;
    restart(image, out)
}

fn list(items: impl IntoIterator<Item = String>) -> String {
    let items: Vec<String> = items.into_iter().collect();
    let more = items.len().saturating_sub(SHOWN);
    let mut shown = items.into_iter().take(SHOWN).collect::<Vec<_>>().join(", ");
    if more > 0 {
        shown += &format!(" and {more} more");
    }
    shown
}

fn container(image: &Image, out: &mut Output) -> Result<(), Failure> {
    let version = image.superblock.map_or("unknown version".to_owned(), |s| {
        format!("format {}.{}", s.major, s.minor)
    });
    let state = match (image.damage.len(), image.end) {
        (0, _) => "complete".to_owned(),
        (n, Some(_)) => format!("DAMAGED in {}", number::count(n as u64, "place", "places")),
        (_, None) => "DAMAGED, the end is missing".to_owned(),
    };
    let name = escape::text(image.name.as_bytes());
    out.field(
        "image",
        format_args!("{name}, {version}, {}, {state}", number::size(image.len)),
    )?;
    if let Some(s) = image.superblock {
        out.field("id", number::uuid(&s.uuid))?;
    }
    Ok(())
}

fn process(image: &Image, out: &mut Output) -> Result<(), Failure> {
    let tasks = all::<TaskRecord<'_>>(image).count() as u64;
    let Some(p) = first::<ProcessRecord<'_>>(image) else {
        return out.field("process", "not recorded, or damaged");
    };
    let stopped = if p.stopped == 1 {
        ", stopped by a signal"
    } else {
        ""
    };
    let threads = number::count(tasks, "thread", "threads");
    out.field(
        "process",
        format_args!("{} {}, {threads}{stopped}", p.tgid, escape::text(p.comm)),
    )?;
    out.field("program", escape::text(p.exe))?;
    out.field("arguments", arguments(p.args))
}

/// The argument vector as one would type it, roughly.
fn arguments(args: &[u8]) -> String {
    let args = args.strip_suffix(b"\0").unwrap_or(args);
    let word = |a: &[u8]| {
        let text = escape::text(a);
        if text.is_empty()
            || text.contains([' ', '\'', '"', '$', '*', ';', '|', '&', '<', '>', '(', ')'])
        {
            format!("'{text}'")
        } else {
            text
        }
    };
    let line = args
        .split(|&b| b == 0)
        .map(word)
        .collect::<Vec<_>>()
        .join(" ");
    match line.char_indices().nth(200) {
        Some((at, _)) => format!("{}… ({} bytes)", &line[..at], args.len()),
        None => line,
    }
}

fn origin(image: &Image, out: &mut Output) -> Result<(), Failure> {
    let Some(i) = first::<ImageRecord<'_>>(image) else {
        return Ok(());
    };
    let frozen = match first::<StatsRecord>(image) {
        Some(s) => format!(", frozen for {}", number::span(s.frozen_ns)),
        None => String::new(),
    };
    let (host, writer) = (escape::text(i.hostname), escape::text(i.writer));
    out.field(
        "checkpoint",
        format_args!(
            "{} on {host}, by {writer}{frozen}",
            number::time(i.created_ns)
        ),
    )?;
    let timens = if i.in_timens == 1 {
        ", in its own time namespace"
    } else {
        ""
    };
    out.field(
        "kernel",
        format_args!(
            "{} {}{timens}",
            escape::text(i.kernel_release),
            escape::text(i.machine)
        ),
    )
}

fn memory(image: &Image, out: &mut Output) -> Result<(), Failure> {
    let (mut areas, mut bytes) = (0, 0_u64);
    for v in all::<VmaRecord<'_>>(image) {
        areas += 1;
        bytes = bytes.saturating_add(v.end.saturating_sub(v.start));
    }
    let (stored, zero) = image.page_counts();
    let areas = number::count(areas, "area", "areas");
    let pages = number::count(stored, "page", "pages");
    let zero = number::count(zero, "zero page", "zero pages");
    let data = number::size(stored.saturating_mul(PAGE));
    out.field(
        "memory",
        format_args!(
            "{areas}, {}; {pages} stored ({data}), {zero} noted",
            number::size(bytes)
        ),
    )
}

fn descriptors(image: &Image, out: &mut Output) -> Result<(), Failure> {
    let by_id: BTreeMap<u64, FileRecord<'_>> = all::<FileRecord<'_>>(image)
        .map(|f| (f.id.into(), f))
        .collect();
    let schema = Schema::new(image);
    let mut kinds: BTreeMap<String, u64> = BTreeMap::new();
    let mut external: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    let mut count = 0;
    for d in all::<DescriptorRecord>(image) {
        count += 1;
        let file = by_id.get(&d.file);
        *kinds
            .entry(file.map_or("unknown".to_owned(), |f| files::kind(f, &schema)))
            .or_default() += 1;
        if file.is_some_and(|f| f.kind == FILE_EXTERNAL) {
            external.entry(d.file).or_default().push(d.fd);
        }
    }
    let kinds = list(kinds.into_iter().map(|(kind, n)| format!("{n} {kind}")));
    out.field(
        "descriptors",
        if count == 0 {
            "none".to_owned()
        } else {
            format!("{count}: {kinds}")
        },
    )?;
    for (file, fds) in external.iter().take(SHOWN) {
        let fds = fds
            .iter()
            .map(u64::to_string)
            .collect::<Vec<_>>()
            .join(", ");
        let was = by_id
            .get(file)
            .map_or(String::new(), |f| escape::text(f.description));
        out.field(
            "",
            format_args!("to be connected at restart: {fds} (was {was})"),
        )?;
    }
    if external.len() > SHOWN {
        out.field(
            "",
            format_args!("and {} more, see --fds", external.len() - SHOWN),
        )?;
    }
    Ok(())
}

fn signals(image: &Image, out: &mut Output) -> Result<(), Failure> {
    let handlers = all::<ActionRecord>(image)
        .filter(|a| a.handler != 1)
        .count() as u64;
    let pending = list(all::<PendingRecord<'_>>(image).map(|p| match p.tid {
        0 => names::signal(p.signo),
        tid => format!("{} for thread {tid}", names::signal(p.signo)),
    }));
    let pending = if pending.is_empty() {
        "none".to_owned()
    } else {
        pending
    };
    out.field(
        "signals",
        format_args!(
            "{}; pending: {pending}",
            number::count(handlers, "handler", "handlers")
        ),
    )
}

fn creds(image: &Image, out: &mut Output) -> Result<(), Failure> {
    let Some(c) = first::<CredRecord<'_>>(image) else {
        return Ok(());
    };
    let id = |real, effective| {
        if real == effective {
            format!("{real}")
        } else {
            format!("{real} (effective {effective})")
        }
    };
    let (uid, gid) = (id(c.uid, c.euid), id(c.gid, c.egid));
    out.field(
        "user",
        format_args!(
            "uid {uid}, gid {gid}, capabilities: {}",
            names::capabilities(c.cap_effective)
        ),
    )
}

fn needs(image: &Image, schema: &Schema, out: &mut Output) -> Result<(), Failure> {
    let modules: Vec<String> = all::<SectionRecord<'_>>(image)
        .filter(|s| s.critical == 1)
        .map(|s| {
            if s.module.is_empty() {
                escape::text(s.word)
            } else {
                escape::text(s.module)
            }
        })
        .collect();
    if !modules.is_empty() {
        out.field(
            "needs",
            format_args!("the kernel modules {}", modules.join(" ")),
        )?;
    }
    let strangers: Vec<String> = image
        .sections
        .0
        .keys()
        .filter(|id| cr_format::sections::by_id(**id).is_none())
        .map(|id| schema.word(*id))
        .collect();
    if !strangers.is_empty() {
        out.field(
            "",
            format_args!("sections of other parties: {}", strangers.join(", ")),
        )?;
    }
    Ok(())
}

fn restart(image: &Image, out: &mut Output) -> Result<(), Failure> {
    if let Some(e) = image.damage.first() {
        out.field(
            "restart",
            format_args!("no, the image is damaged: at {:#x}: {}", e.offset, e.kind),
        )?;
        return out.field("", "list every defect with: crimg verify");
    }
    if image.superblock.is_some_and(|s| !s.is_restartable()) {
        return out.field("restart", "no, the image was made for looking at only");
    }
    match validate::meta(&image.sections) {
        Ok(()) => out.field(
            "restart",
            "possible as far as the image says; check the page data with: crimg verify",
        ),
        Err(e) => {
            out.field("restart", format_args!("no: {}", e.kind))?;
            out.field("", "list every defect with: crimg verify")
        }
    }
}
