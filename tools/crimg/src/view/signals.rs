// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `show --signals`: handlers, masks, alternate stacks, pending signals.

use crate::{
    error::Failure,
    json, names,
    output::{print, table, Output},
    view::{all, Show},
};
use cr_format::{ActionRecord, PendingRecord, TaskSignalsRecord};
use serde_json::{json, Value};

const SIG_IGN: u64 = 1;
const SS_DISABLE: u64 = 2;
const ACTION_FLAGS: [(u64, &str); 7] = [
    (1, "nocldstop"),
    (2, "nocldwait"),
    (4, "siginfo"),
    (0x0800_0000, "onstack"),
    (0x1000_0000, "restart"),
    (0x4000_0000, "nodefer"),
    (0x8000_0000, "resethand"),
];
/// `SA_RESTORER`: always there.
const RESTORER: u64 = 0x0400_0000;

/// # Errors
/// [`Failure::Write`].
pub fn signals(show: &Show<'_>, out: &mut Output) -> Result<(), Failure> {
    let mut rows = table(["SIGNAL", "ACTION", "FLAGS", "BLOCKS MEANWHILE"]);
    for a in all::<ActionRecord>(show.image) {
        let action = if a.handler == SIG_IGN {
            "ignored".to_owned()
        } else {
            format!("{:#x}", a.handler)
        };
        rows.add_row([
            names::signal(a.signo),
            action,
            flags(a.flags),
            names::signals(a.mask),
        ]);
    }
    section("actions other than the default", &rows, out)?;

    let mut rows = table(["TID", "BLOCKED", "ALTERNATE STACK"]);
    for t in masks(show) {
        let stack = if t.altstack_flags & SS_DISABLE != 0 || t.altstack_size == 0 {
            "none".to_owned()
        } else {
            format!("{:#x}, {} bytes", t.altstack_sp, t.altstack_size)
        };
        rows.add_row([t.tid.to_string(), names::signals(t.blocked), stack]);
    }
    out.line("")?;
    section("threads", &rows, out)?;

    let mut rows = table(["SIGNAL", "FOR", "CODE", "FROM"]);
    for p in all::<PendingRecord<'_>>(show.image) {
        let target = if p.tid == 0 {
            "the process".to_owned()
        } else {
            format!("thread {}", p.tid)
        };
        let (code, from) = (int(p.info, 8), int(p.info, 16));
        rows.add_row([
            names::signal(p.signo),
            target,
            code_name(code),
            origin(code, from),
        ]);
    }
    out.line("")?;
    section("pending", &rows, out)
}

/// The threads that are asked for.
fn masks<'a>(show: &Show<'a>) -> impl Iterator<Item = TaskSignalsRecord> + 'a {
    let tid = show.tid;
    all::<TaskSignalsRecord>(show.image).filter(move |t| tid.is_none_or(|tid| t.tid == tid))
}

/// Member `signals`.
pub fn json(show: &Show<'_>) -> Value {
    let words =
        |text: String| -> Vec<String> { text.split_whitespace().map(str::to_owned).collect() };
    let actions: Vec<Value> = all::<ActionRecord>(show.image)
        .map(|a| {
            json!({
                "signal": names::signal(a.signo),
                "number": json::integer(a.signo),
                "ignored": a.handler == SIG_IGN,
                "handler": (a.handler != SIG_IGN).then(|| format!("{:#x}", a.handler)),
                "restorer": format!("{:#x}", a.restorer),
                "flags": words(flags(a.flags)),
                "blocks": names::signal_list(a.mask),
            })
        })
        .collect();
    let threads: Vec<Value> = masks(show)
        .map(|t| {
            let has = t.altstack_flags & SS_DISABLE == 0 && t.altstack_size != 0;
            json!({
                "tid": json::integer(t.tid),
                "blocked": names::signal_list(t.blocked),
                "to_be_blocked": (t.has_saved == 1).then(|| names::signal_list(t.saved_blocked)),
                "alternate_stack": has.then(|| json!({
                    "address": format!("{:#x}", t.altstack_sp),
                    "bytes": json::integer(t.altstack_size),
                })),
            })
        })
        .collect();
    let pending: Vec<Value> = all::<PendingRecord<'_>>(show.image)
        .map(|p| {
            let (code, from) = (int(p.info, 8), int(p.info, 16));
            json!({
                "signal": names::signal(p.signo),
                "number": json::integer(p.signo),
                "tid": (p.tid != 0).then(|| json::integer(p.tid)),
                "code": code,
                "code_name": code_name(code),
                "from": (!origin(code, from).is_empty()).then_some(from),
            })
        })
        .collect();
    json!({"actions": actions, "threads": threads, "pending": pending})
}

fn section(title: &str, rows: &comfy_table::Table, out: &mut Output) -> Result<(), Failure> {
    if rows.is_empty() {
        return out.line(format_args!("{title}: none"));
    }
    out.line(format_args!("{title}:"))?;
    print(rows, out)
}

fn flags(flags: u64) -> String {
    let known: u64 = ACTION_FLAGS.iter().map(|(bit, _)| bit).sum();
    let rest = flags & !known & !RESTORER;
    let words = ACTION_FLAGS
        .iter()
        .filter(|(bit, _)| flags & bit != 0)
        .map(|(_, word)| (*word).to_owned());
    words
        .chain((rest != 0).then(|| format!("{rest:#x}")))
        .collect::<Vec<_>>()
        .join(" ")
}

/// A 32-bit number in a `siginfo_t`.
fn int(info: &[u8], at: usize) -> i32 {
    info.get(at..)
        .and_then(|b| b.first_chunk())
        .map_or(0, |b| i32::from_le_bytes(*b))
}

fn code_name(code: i32) -> String {
    match code {
        0 => "kill".to_owned(),
        -1 => "sigqueue".to_owned(),
        -2 => "timer".to_owned(),
        -3 => "message queue".to_owned(),
        -6 => "tgkill".to_owned(),
        128 => "kernel".to_owned(),
        code => code.to_string(),
    }
}

/// `kill`, `sigqueue`, `tgkill` name the sender.
fn origin(code: i32, pid: i32) -> String {
    if matches!(code, 0 | -1 | -6) && pid != 0 {
        format!("process {pid}")
    } else {
        String::new()
    }
}
