// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `show` without options: the image on one screen, for someone who sees it for the first time.

use crate::{
    error::Failure,
    escape, json,
    load::Image,
    names, number,
    output::Output,
    style,
    view::{all, cgroups, files, first, generic::Schema, landlock, seccomp, Show},
};
use cr_format::{
    limits::PAGE, records_of, superblock::PARENT, validate, validate::MetaSet, ActionRecord,
    CredRecord, DescriptorRecord, EditRecord, FileRecord, ImageRecord, KinRecord, LeaderRecord,
    PendingRecord, ProcessRecord, SectionRecord, StatsRecord, TaskRecord, VmaRecord, FILE_EXTERNAL,
    TASKS,
};
use serde_json::{json, Value};
use std::collections::BTreeMap;

/// Items of a list that are shown before "and N more".
const SHOWN: usize = 6;

/// Counts of the page data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Pages with contents.
    pub pages: u64,
    /// Zero pages.
    pub zero: u64,
    /// Bytes of page data as stored; `None` unknown.
    pub stored: Option<u64>,
}

/// # Errors
/// [`Failure::Write`].
pub fn summary(show: &Show<'_>, totals: &Totals, out: &mut Output) -> Result<(), Failure> {
    let (image, schema) = (show.image, show.schema);
    container(image, out)?;
    process(image, out)?;
    processes(image, out)?;
    origin(image, out)?;
    edits(image, out)?;
    memory(image, totals, out)?;
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
        (n, Some(_)) => style::bad(&format!(
            "DAMAGED in {}",
            number::count(n as u64, "place", "places")
        )),
        (_, None) => style::bad("DAMAGED, the end is missing"),
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
    let confined = [landlock::summary(image), seccomp::summary(image)];
    let confined: Vec<String> = confined.into_iter().flatten().collect();
    if !confined.is_empty() {
        out.field("confined", confined.join("; "))?;
    }
    if let Some(group) = cgroups::group(image) {
        out.field("group", format_args!("{group} (control group)"))?;
    }
    out.field(
        "arguments",
        super::process::command_line(p.args).unwrap_or("none".to_owned()),
    )
}

/// The other processes, if it is a tree: parents before their children.
fn processes(image: &Image, out: &mut Output) -> Result<(), Failure> {
    let count = image.sections.processes();
    if count <= 1 {
        return leaders(image, out);
    }
    out.field(
        "processes",
        format_args!("{count}; the others (show one with --pid):"),
    )?;
    for (p, kin) in others(image) {
        let relation = match kin {
            Some(KinRecord { root: 1, .. }) => "root, parent outside".to_owned(),
            _ => format!("child of {}", p.ppid),
        };
        let state = match kin {
            Some(kin) if kin.zombie == 1 => format!("ended, wait status {:#x}", kin.wait_status),
            _ => number::count(p.threads, "thread", "threads"),
        };
        out.field(
            "",
            format_args!(
                "{} {}, {relation}, group {}, session {}, {state}",
                p.tgid,
                escape::text(p.comm),
                p.pgid,
                p.sid
            ),
        )?;
    }
    leaders(image, out)
}

/// Leaders that have ended, and whose groups or sessions go on.
fn leaders(image: &Image, out: &mut Output) -> Result<(), Failure> {
    for (n, leader) in ended_leaders(image).enumerate() {
        let of = if leader.sid == u64::from(leader.id) {
            "leader of a session".to_owned()
        } else {
            format!("leader of a group in session {}", leader.sid)
        };
        let title = if n == 0 { "have ended" } else { "" };
        out.field(title, format_args!("{} {of}", leader.id))?;
    }
    Ok(())
}

fn ended_leaders(image: &Image) -> impl Iterator<Item = LeaderRecord> + '_ {
    records_of::<LeaderRecord>(image.sections.of(0, TASKS)).filter_map(Result::ok)
}

/// Process and relation of every process but the first.
fn others(image: &Image) -> impl Iterator<Item = (ProcessRecord<'_>, Option<KinRecord>)> {
    (1..image.sections.processes()).filter_map(|n| {
        let bytes = image.sections.of(n, TASKS);
        let process = records_of::<ProcessRecord<'_>>(bytes).next()?.ok()?;
        let kin = records_of::<KinRecord>(bytes).next();
        Some((process, kin.and_then(Result::ok)))
    })
}

/// What tools have done to it.
fn edits(image: &Image, out: &mut Output) -> Result<(), Failure> {
    let edits: Vec<EditRecord<'_>> = all::<EditRecord<'_>>(image).collect();
    let Some(last) = edits.last() else {
        return Ok(());
    };
    let times = match edits.len() as u64 {
        1 => "once".to_owned(),
        n => format!("{n} times, last"),
    };
    out.field(
        "edited",
        format_args!(
            "{times} {}: {}: {}",
            number::time(last.time_ns),
            escape::text(last.operation),
            escape::text(last.description)
        ),
    )
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

fn memory(image: &Image, totals: &Totals, out: &mut Output) -> Result<(), Failure> {
    let (mut areas, mut bytes) = (0, 0_u64);
    for v in all::<VmaRecord<'_>>(image) {
        areas += 1;
        bytes = bytes.saturating_add(v.end.saturating_sub(v.start));
    }
    let areas = number::count(areas, "area", "areas");
    let pages = number::count(totals.pages, "page", "pages");
    let zero = number::count(totals.zero, "zero page", "zero pages");
    let all = totals.pages.saturating_mul(PAGE);
    let data = match totals.stored {
        Some(stored) if stored < all => {
            format!("{} in {}", number::size(all), number::size(stored))
        }
        _ => number::size(all),
    };
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

/// Why a restart is refused, as far as the image says.
fn refusal(image: &Image) -> Option<String> {
    if let Some(e) = image.damage.first() {
        return Some(format!(
            "the image is damaged: at {:#x}: {}",
            e.offset, e.kind
        ));
    }
    if image.superblock.is_some_and(|s| !s.is_restartable()) {
        return Some("the image was made for looking at only".to_owned());
    }
    if image
        .superblock
        .is_some_and(|s| s.feature_incompat & PARENT != 0)
    {
        return Some(
            "the image needs its parent image; this release cannot restart such images".to_owned(),
        );
    }
    let e = validate::meta(&image.sections).err()?;
    Some(format!(
        "{}: {}",
        Schema::new(image).word(e.section),
        e.kind
    ))
}

fn restart(image: &Image, out: &mut Output) -> Result<(), Failure> {
    let Some(why) = refusal(image) else {
        return out.field(
            "restart",
            "possible as far as the image says; check page data and this host: crimg verify --level host",
        );
    };
    out.field("restart", format_args!("{}, {why}", style::bad("no")))?;
    if image.superblock.is_none_or(|s| s.is_restartable()) {
        out.field("", "list every defect with: crimg verify")?;
    }
    Ok(())
}

/// Member `summary`.
pub fn json(show: &Show<'_>, totals: &Totals) -> Value {
    let image = show.image;
    let process = first::<ProcessRecord<'_>>(image);
    let (mut areas, mut bytes) = (0_u64, 0_u64);
    for v in all::<VmaRecord<'_>>(image) {
        areas = areas.saturating_add(1);
        bytes = bytes.saturating_add(v.end.saturating_sub(v.start));
    }
    let refusal = refusal(image);
    let pending: Vec<String> = all::<PendingRecord<'_>>(image)
        .map(|p| names::signal(p.signo))
        .collect();
    let modules: Vec<Value> = all::<SectionRecord<'_>>(image)
        .filter(|s| s.critical == 1 && !s.module.is_empty())
        .map(|s| json::text(s.module))
        .collect();
    json!({
        "pid": process.as_ref().map(|p| json::integer(p.tgid)),
        "comm": process.as_ref().map(|p| json::text(p.comm)),
        "program": process.as_ref().map(|p| json::text(p.exe)),
        "threads": all::<TaskRecord<'_>>(image).count(),
        "other_processes": others(image).map(|(p, kin)| json!({
            "pid": json::integer(p.tgid),
            "ppid": json::integer(p.ppid),
            "pgid": json::integer(p.pgid),
            "sid": json::integer(p.sid),
            "comm": json::text(p.comm),
            "threads": json::integer(p.threads),
            "root": kin.as_ref().is_some_and(|k| k.root == 1),
            "zombie": kin.as_ref().is_some_and(|k| k.zombie == 1),
            "wait_status": kin.as_ref().map(|k| json::integer(k.wait_status)),
        })).collect::<Vec<Value>>(),
        "ended_leaders": ended_leaders(image).map(|l| json!({
            "pid": l.id,
            "session": json::integer(l.sid),
        })).collect::<Vec<Value>>(),
        "areas": json::integer(areas),
        "mapped_bytes": json::integer(bytes),
        "pages": json::integer(totals.pages),
        "zero_pages": json::integer(totals.zero),
        "stored_bytes": totals.stored.map(json::integer),
        "descriptors": all::<DescriptorRecord>(image).count(),
        "pending_signals": pending,
        "frozen_ns": first::<StatsRecord>(image).map(|s| json::integer(s.frozen_ns)),
        "edits": all::<EditRecord<'_>>(image).count(),
        "modules": modules,
        "restart": {"possible": refusal.is_none(), "reason": refusal},
    })
}
