// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `show --tree`: the process and its threads, and what each was doing.

use crate::{
    error::Failure,
    escape, json, names,
    output::Output,
    process::{exit_code, registers},
    style, syscalls,
    view::{all, first, Show},
};
use cr_format::{ProcessRecord, TaskRecord};
use serde_json::{json, Value};

/// `orig_rax` outside of a system call.
const NO_CALL: u64 = u64::MAX;
const ORIG_RAX: usize = 15;
const RIP: usize = 16;

/// The number of the system call that a thread is in.
pub fn system_call(task: &TaskRecord<'_>) -> Option<u64> {
    let number = registers(task).get(ORIG_RAX).copied();
    number.filter(|n| *n != NO_CALL)
}

/// What a thread was doing, in a few words.
fn doing(show: &Show<'_>, task: &TaskRecord<'_>) -> String {
    if let Some(code) = exit_code(&show.image.sections, task) {
        return format!("has ended with code {code}");
    }
    let regs = registers(task);
    match system_call(task) {
        Some(n) => {
            let name = syscalls::name(n).map_or(format!("system call {n}"), str::to_owned);
            match names::restart_kind(task.restart_kind) {
                "" => format!("in {name}"),
                kind => format!("in {name}, {kind}"),
            }
        }
        None => format!("running at {:#x}", regs.get(RIP).copied().unwrap_or(0)),
    }
}

/// # Errors
/// [`Failure::Write`].
pub fn tree(show: &Show<'_>, out: &mut Output) -> Result<(), Failure> {
    let process = first::<ProcessRecord<'_>>(show.image);
    match &process {
        Some(p) => {
            let comm = escape::text(p.comm);
            let stopped = if p.stopped == 1 { ", stopped" } else { "" };
            out.line(format_args!(
                "{} {}{stopped}",
                style::bold(&p.tgid.to_string()),
                super::process::command_line(p.args).unwrap_or(comm)
            ))?;
            out.line(format_args!(
                "   program {}; parent {}, group {}, session {}",
                escape::text(p.exe),
                outside(p.ppid),
                outside(p.pgid),
                outside(p.sid)
            ))?;
        }
        None => out.line("(the process is not recorded, or damaged)")?,
    }
    let tasks: Vec<TaskRecord<'_>> = show.tasks().collect();
    for (n, t) in tasks.iter().enumerate() {
        let last = n.saturating_add(1) == tasks.len();
        let branch = if last { "└─" } else { "├─" };
        out.line(format_args!(
            "{branch} {} {}  {}",
            style::bold(&t.tid.to_string()),
            escape::text(t.comm),
            style::dim(&doing(show, t))
        ))?;
    }
    Ok(())
}

fn outside(pid: u64) -> String {
    match pid {
        0 => "outside".to_owned(),
        pid => pid.to_string(),
    }
}

/// Member `tree`.
pub fn json(show: &Show<'_>) -> Value {
    let threads: Vec<Value> = show
        .tasks()
        .map(|t| {
            json!({
                "tid": json::integer(t.tid),
                "comm": json::text(t.comm),
                "doing": doing(show, &t),
            })
        })
        .collect();
    let Some(p) = all::<ProcessRecord<'_>>(show.image).next() else {
        return json!({
            "pid": null,
            "comm": null,
            "program": null,
            "parent": null,
            "group": null,
            "session": null,
            "stopped": null,
            "threads": threads,
        });
    };
    let id = |pid: u64| match pid {
        0 => Value::Null,
        pid => json::integer(pid),
    };
    json!({
        "pid": json::integer(p.tgid),
        "comm": json::text(p.comm),
        "program": json::text(p.exe),
        "parent": id(p.ppid),
        "group": id(p.pgid),
        "session": id(p.sid),
        "stopped": p.stopped == 1,
        "threads": threads,
    })
}
