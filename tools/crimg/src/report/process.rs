// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! The process of the report: who it is, where it came from, its threads.

use super::{html::Html, safe};
use crate::{
    load::Image,
    names, number,
    process::exit_code,
    syscalls,
    view::{all, first},
    xsave,
};
use cr_format::{
    validate::MetaSet, CredRecord, FsRecord, ImageRecord, ProcessRecord, StatsRecord, TaskRecord,
    TaskSignalsRecord, REG_NAMES,
};
use std::collections::BTreeMap;

/// Threads that are shown with their registers.
const THREADS: usize = 256;
/// Other processes that are named.
const OTHERS: usize = 64;
const ORIG_RAX: usize = 15;
const RIP: usize = 16;
const RFLAGS: usize = 18;

/// Section `process`.
pub fn process(image: &Image, h: &mut Html) {
    h.section("process", "Process");
    let mut facts = Vec::new();
    if let Some(p) = first::<ProcessRecord<'_>>(image) {
        let args: Vec<String> = p.args.split(|b| *b == 0).map(safe).collect();
        facts.extend([
            ("Program", safe(p.exe)),
            ("Arguments", args.join(" ").trim_end().to_owned()),
            ("Process id", p.tgid.to_string()),
            ("Group, session", format!("{}, {}", p.pgid, p.sid)),
            ("Parent was", p.ppid.to_string()),
        ]);
        let all = image.all_sections();
        let others: Vec<String> = (0..all.processes())
            .filter_map(|n| all.process(n))
            .filter(|o| o.tgid != p.tgid)
            .map(|o| format!("{} {}", o.tgid, safe(o.comm)))
            .collect();
        if let Some(more) = others.len().checked_sub(1) {
            let more = more.saturating_add(1).saturating_sub(OTHERS);
            let mut text = others
                .into_iter()
                .take(OTHERS)
                .collect::<Vec<_>>()
                .join(", ");
            if more > 0 {
                text.push_str(&format!(" and {more} more"));
            }
            facts.push(("Other processes", text));
        }
        if p.stopped == 1 {
            facts.push(("State", "stopped by a signal".to_owned()));
        }
    }
    if let Some(fs) = first::<FsRecord<'_>>(image) {
        facts.push(("Directory", safe(fs.cwd)));
        if fs.root != b"/" {
            facts.push(("Root", safe(fs.root)));
        }
        facts.push(("Umask", format!("{:04o}", fs.umask)));
    }
    if let Some(c) = first::<CredRecord<'_>>(image) {
        facts.push(("User, group", format!("uid {}, gid {}", c.uid, c.gid)));
    }
    if let Some(i) = first::<ImageRecord<'_>>(image) {
        facts.extend([
            ("Checkpoint", number::time(i.created_ns)),
            ("Host", safe(i.hostname)),
            (
                "Kernel",
                format!("{} {}", safe(i.kernel_release), safe(i.machine)),
            ),
            ("Written by", safe(i.writer)),
        ]);
        if i.in_timens == 1 {
            facts.push(("Clocks", "in a time namespace of its own".to_owned()));
        }
    }
    if let Some(s) = first::<StatsRecord>(image) {
        facts.push(("Frozen for", number::span(s.frozen_ns)));
    }
    h.facts(&facts).end();
}

/// Section `threads`.
pub fn threads(image: &Image, h: &mut Html) {
    h.section("threads", "Threads");
    let signals: BTreeMap<u64, TaskSignalsRecord> = all::<TaskSignalsRecord>(image)
        .map(|t| (t.tid, t))
        .collect();
    let mut tasks = all::<TaskRecord<'_>>(image);
    let mut some = false;
    for (n, task) in tasks.by_ref().take(THREADS).enumerate() {
        some = true;
        let open = if n == 0 {
            "<details open>"
        } else {
            "<details>"
        };
        h.raw(open).raw("<summary><b>");
        h.text(task.tid).raw(" ").bytes(task.comm).raw("</b><span>");
        if let Some(code) = exit_code(&image.sections, &task) {
            h.raw("has ended with code ").text(code);
            h.raw("</span></summary></details>\n");
            continue;
        }
        h.text(doing(&task)).raw("</span></summary><div>");
        describe(&task, signals.get(&task.tid), h);
        registers(&task, h);
        h.raw("</div></details>\n");
    }
    match tasks.count() {
        0 if !some => h.raw("<p class=\"none\">No threads are recorded.</p>"),
        0 => h,
        n => h
            .raw("<p class=\"none\">And ")
            .text(n)
            .raw(" more threads.</p>"),
    };
    h.end();
}

fn regs(task: &TaskRecord<'_>) -> Vec<u64> {
    task.regs.iter().take(REG_NAMES.len()).collect()
}

fn doing(task: &TaskRecord<'_>) -> String {
    let regs = regs(task);
    match regs.get(ORIG_RAX) {
        Some(&u64::MAX) | None => "running".to_owned(),
        Some(call) => format!(
            "in {}",
            syscalls::name(*call).map_or(format!("system call {call}"), str::to_owned)
        ),
    }
}

fn describe(task: &TaskRecord<'_>, signals: Option<&TaskSignalsRecord>, h: &mut Html) {
    let regs = regs(task);
    let mut facts = vec![(
        "At",
        regs.get(RIP)
            .map_or(String::new(), |rip| format!("{rip:#x}")),
    )];
    if let Some(call) = regs.get(ORIG_RAX).filter(|c| **c != u64::MAX) {
        facts.push(("Call", syscalls::call(*call, &regs)));
    }
    facts.push(("Restart", names::restart_kind(task.restart_kind).to_owned()));
    let mut scheduling = format!("{}, nice {}", names::policy(task.policy), task.nice);
    if task.rt_priority != 0 {
        scheduling += &format!(", priority {}", task.rt_priority);
    }
    facts.push(("Scheduling", scheduling));
    facts.push(("CPUs", names::cpus(task.affinity)));
    if let Some(s) = signals {
        facts.push(("Blocked", names::signals(s.blocked)));
    }
    if let Some(flags) = regs.get(RFLAGS) {
        facts.push(("Flags", names::rflags(*flags).join(" ")));
    }
    let size = number::size(task.xstate.len() as u64);
    let features = names::xfeatures(xsave::in_use(task.xstate));
    facts.push(("FPU state", format!("{size}: {features}")));
    h.facts(&facts);
}

fn registers(task: &TaskRecord<'_>, h: &mut Html) {
    h.raw("<div class=\"regs m\">");
    for (name, value) in REG_NAMES.iter().zip(task.regs.iter()) {
        h.raw("<div><i>").raw(name).raw("</i>");
        h.text(format_args!("{value:#018x}")).raw("</div>");
    }
    h.raw("</div>");
}
