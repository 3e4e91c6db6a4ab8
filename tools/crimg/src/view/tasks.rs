// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `show --threads`: every thread with its registers, general and extended, and what it was doing.

use crate::{
    error::Failure,
    escape, json, names, number,
    output::{self, Output},
    process::{exit_code, registers},
    style, syscalls,
    view::{all, first, tree::system_call, Show},
    xsave::State,
};
use cr_format::{AttributesRecord, ImageRecord, TaskRecord, REG_NAMES};
use serde_json::{json, Map, Value};

const RIP: usize = 16;
const RFLAGS: usize = 18;
/// Width of the labels.
const LABEL: usize = 12;

/// # Errors
/// [`Failure::Write`].
pub fn threads(show: &Show<'_>, out: &mut Output) -> Result<(), Failure> {
    let features = features(show);
    for (n, task) in show.tasks().enumerate() {
        if n > 0 {
            out.line("")?;
        }
        out.line(style::bold(&format!(
            "thread {} {}",
            task.tid,
            escape::text(task.comm)
        )))?;
        let ended = exit_code(&show.image.sections, &task);
        if let Some(code) = ended {
            field(
                "ended",
                format_args!("with code {code}; the others go on"),
                out,
            )?;
        }
        let attributes = attributes(show, task.id);
        describe(&task, attributes.as_ref(), ended.is_some(), out)?;
        if ended.is_some() {
            continue;
        }
        general(&task, out)?;
        extended(&State::new(task.xstate, features), task.xstate.len(), out)?;
    }
    Ok(())
}

fn features(show: &Show<'_>) -> u64 {
    first::<ImageRecord<'_>>(show.image).map_or(u64::MAX, |i| i.xfeatures)
}

fn field(label: &str, value: impl std::fmt::Display, out: &mut Output) -> Result<(), Failure> {
    out.line(format_args!("  {label:<LABEL$} {value}"))
}

/// The rare attributes of a thread.
fn attributes<'a>(show: &'a Show<'_>, tid: u32) -> Option<AttributesRecord<'a>> {
    all(show.image).find(|a: &AttributesRecord<'_>| a.id == tid)
}

fn describe(
    task: &TaskRecord<'_>,
    attributes: Option<&AttributesRecord<'_>>,
    ended: bool,
    out: &mut Output,
) -> Result<(), Failure> {
    let regs = registers(task);
    let reg = |i: usize| regs.get(i).copied().unwrap_or(0);
    if !ended {
        field("at", format_args!("{:#018x}", reg(RIP)), out)?;
    }
    if let Some(call) = system_call(task) {
        field("in", syscalls::call(call, &regs), out)?;
        let kind = names::restart_kind(task.restart_kind);
        if !kind.is_empty() {
            let expiry = match task.restart_expiry_ns {
                0 => String::new(),
                ns => format!(", until {ns} ns of its clock"),
            };
            field("restart", format_args!("{kind}{expiry}"), out)?;
        }
    }
    field("scheduling", scheduling(task), out)?;
    if task.rseq_registered == 1 {
        field(
            "rseq",
            format_args!(
                "{:#x}, {} bytes, signature {:#x}",
                task.rseq_ptr, task.rseq_len, task.rseq_sig
            ),
            out,
        )?;
    }
    if task.robust_list != 0 {
        field("robust list", format_args!("{:#x}", task.robust_list), out)?;
    }
    if task.clear_child_tid != 0 {
        field(
            "clear tid",
            format_args!("{:#x}", task.clear_child_tid),
            out,
        )?;
    }
    let mut others = Vec::new();
    if task.pdeath_signal != 0 {
        others.push(format!(
            "{} when its parent dies",
            names::signal(task.pdeath_signal)
        ));
    }
    if task.no_new_privs == 1 {
        others.push("no_new_privs".to_owned());
    }
    if task.tsc_mode == 2 {
        others.push("no RDTSC".to_owned());
    }
    if task.speculation != 0 {
        others.push(format!("speculation control {:#x}", task.speculation));
    }
    if let Some(a) = attributes {
        others.extend(rare(a));
    }
    if !others.is_empty() {
        field("others", others.join(", "), out)?;
    }
    Ok(())
}

/// Rare attributes in words.
fn rare(a: &AttributesRecord<'_>) -> Vec<String> {
    let mut all = Vec::new();
    match a.machine_check {
        0 => {}
        1 => all.push("told early of memory errors".to_owned()),
        _ => all.push("told late of memory errors".to_owned()),
    }
    if a.io_flusher != 0 {
        all.push("I/O flusher".to_owned());
    }
    if a.clamped & 1 != 0 {
        all.push(format!("utilisation at least {} of 1024", a.util_min));
    }
    if a.clamped & 2 != 0 {
        all.push(format!("utilisation at most {} of 1024", a.util_max));
    }
    if a.memory_policy != 0 {
        all.push(names::memory_policy(a.memory_policy, a.memory_nodes));
    }
    if a.timer_ids != 0 {
        all.push("chooses the ids of its timers".to_owned());
    }
    all
}

fn scheduling(task: &TaskRecord<'_>) -> String {
    let mut text = format!("{}, nice {}", names::policy(task.policy), task.nice);
    if task.rt_priority != 0 {
        text += &format!(", priority {}", task.rt_priority);
    }
    if task.sched_runtime | task.sched_deadline | task.sched_period != 0 {
        text += &format!(
            ", runtime {} deadline {} period {}",
            number::span(task.sched_runtime),
            number::span(task.sched_deadline),
            number::span(task.sched_period)
        );
    }
    let ioprio = names::ioprio(task.ioprio);
    if !ioprio.is_empty() {
        text += &format!(", I/O {ioprio}");
    }
    let pinned = if task.pinned == 1 {
        "pinned to"
    } else {
        "allowed on"
    };
    text + &format!(
        ", {pinned} CPU {}, timer slack {}",
        names::cpus(task.affinity),
        number::span(task.timerslack_ns)
    )
}

/// As many columns of `cells` as the terminal is wide, `most` at most.
fn columns(cells: &[String], most: usize, out: &mut Output) -> Result<(), Failure> {
    let wide = cells.iter().map(String::len).max().unwrap_or(0);
    let room = output::width().map_or(usize::MAX, usize::from);
    let n = room
        .checked_div(wide.saturating_add(2))
        .unwrap_or(most)
        .clamp(1, most.max(1));
    for row in cells.chunks(n) {
        let row: Vec<String> = row.iter().map(|c| format!("{c:<wide$}")).collect();
        out.line(format_args!("  {}", row.join("  ").trim_end()))?;
    }
    Ok(())
}

fn general(task: &TaskRecord<'_>, out: &mut Output) -> Result<(), Failure> {
    let regs = registers(task);
    let cells: Vec<String> = REG_NAMES
        .iter()
        .zip(regs)
        .map(|(name, value)| format!("{name:<8} {value:#018x}"))
        .collect();
    columns(&cells, 4, out)?;
    let flags = regs.get(RFLAGS).copied().unwrap_or(0);
    field("flags", names::rflags(flags).join(" "), out)
}

fn extended(state: &State, len: usize, out: &mut Output) -> Result<(), Failure> {
    field(
        "extended",
        format_args!(
            "{}, in use: {}",
            number::size(len as u64),
            names::xfeatures(state.in_use)
        ),
        out,
    )?;
    let l = &state.legacy;
    if !state.st.is_empty() {
        field(
            "x87",
            format_args!(
                "fcw {:#06x} fsw {:#06x} ftw {:#04x} fop {:#06x} fip {:#x} fdp {:#x}",
                l.fcw, l.fsw, l.ftw, l.fop, l.fip, l.fdp
            ),
            out,
        )?;
        let cells: Vec<String> = state
            .st
            .iter()
            .enumerate()
            .map(|(n, r)| format!("st{n} {}", reversed(r)))
            .collect();
        columns(&cells, 4, out)?;
    }
    if !state.vectors.is_empty() {
        field("mxcsr", format_args!("{:#010x}", l.mxcsr), out)?;
        let name = state.vector_name();
        let cells: Vec<String> = state
            .vectors
            .iter()
            .enumerate()
            .map(|(n, r)| format!("{:<6} {}", format!("{name}{n}"), reversed(r)))
            .collect();
        let most = if name == "xmm" { 2 } else { 1 };
        columns(&cells, most, out)?;
    }
    if !state.masks.is_empty() {
        let cells: Vec<String> = state
            .masks
            .iter()
            .enumerate()
            .map(|(n, k)| format!("k{n} {k:#018x}"))
            .collect();
        columns(&cells, 4, out)?;
    }
    if let Some(pkru) = state.pkru {
        field("pkru", format_args!("{pkru:#010x}"), out)?;
    }
    if !state.others.is_empty() {
        field("not decoded", state.others.join(" "), out)?;
    }
    Ok(())
}

/// A register as one number: most significant byte first.
fn reversed(bytes: &[u8]) -> String {
    let digits: String = bytes.iter().rev().map(|b| format!("{b:02x}")).collect();
    format!("0x{digits}")
}

/// Member `threads`.
pub fn json(show: &Show<'_>) -> Vec<Value> {
    let features = features(show);
    show.tasks()
        .map(|t| {
            let mut thread = thread(&t, attributes(show, t.id).as_ref(), features);
            if let Some(m) = thread.as_object_mut() {
                let code = exit_code(&show.image.sections, &t).map(json::integer);
                m.insert("exit_code".into(), code.unwrap_or(Value::Null));
            }
            thread
        })
        .collect()
}

fn thread(t: &TaskRecord<'_>, a: Option<&AttributesRecord<'_>>, features: u64) -> Value {
    let regs = registers(t);
    let hex = |n: u64| Value::from(format!("{n:#x}"));
    let named: Map<String, Value> = REG_NAMES
        .iter()
        .zip(regs)
        .map(|(name, value)| ((*name).to_owned(), hex(value)))
        .collect();
    let call = system_call(t).map(|n| {
        json!({
            "number": json::integer(n),
            "name": syscalls::name(n),
            "text": syscalls::call(n, &regs),
        })
    });
    let restart = match names::restart_kind(t.restart_kind) {
        "" => Value::Null,
        kind => json!({
            "kind": json::integer(t.restart_kind),
            "text": kind,
            "expiry_ns": t.restart_expiry_ns.to_string(),
            "arg": json::integer(t.restart_arg),
        }),
    };
    let rseq = (t.rseq_registered == 1).then(|| {
        json!({
            "address": hex(t.rseq_ptr),
            "bytes": json::integer(t.rseq_len),
            "signature": hex(t.rseq_sig),
        })
    });
    json!({
        "tid": json::integer(t.tid),
        "comm": json::text(t.comm),
        "registers": named,
        "rflags": names::rflags(regs.get(RFLAGS).copied().unwrap_or(0)),
        "system_call": call,
        "restart": restart,
        "scheduling": {
            "policy": names::policy(t.policy),
            "nice": t.nice,
            "rt_priority": json::integer(t.rt_priority),
            "runtime_ns": json::integer(t.sched_runtime),
            "deadline_ns": json::integer(t.sched_deadline),
            "period_ns": json::integer(t.sched_period),
            "flags": hex(t.sched_flags),
            "io_priority": names::ioprio(t.ioprio),
            "cpus": names::cpus(t.affinity),
            "pinned": t.pinned == 1,
            "timer_slack_ns": json::integer(t.timerslack_ns),
        },
        "rseq": rseq,
        "robust_list": hex(t.robust_list),
        "clear_child_tid": hex(t.clear_child_tid),
        "parent_death_signal": (t.pdeath_signal != 0).then(|| names::signal(t.pdeath_signal)),
        "no_new_privs": t.no_new_privs == 1,
        "attributes": a.map(|a| json!({
            "machine_check": json::integer(a.machine_check),
            "io_flusher": a.io_flusher == 1,
            "util_min": (a.clamped & 1 != 0).then(|| json::integer(a.util_min)),
            "util_max": (a.clamped & 2 != 0).then(|| json::integer(a.util_max)),
            "memory_policy": hex(a.memory_policy),
            "memory_nodes": names::cpus(a.memory_nodes),
            "timer_ids": a.timer_ids == 1,
        })),
        "extended": state(&State::new(t.xstate, features), t.xstate.len()),
    })
}

fn state(s: &State, len: usize) -> Value {
    let l = &s.legacy;
    let list = |of: Vec<String>| Value::from(of);
    let in_use: Vec<String> = (0..64)
        .filter(|b| s.in_use & (1_u64 << b) != 0)
        .map(crate::xsave::name)
        .collect();
    let mut value = json!({
        "bytes": len,
        "in_use": in_use,
        "not_decoded": s.others,
    });
    let Some(m) = value.as_object_mut() else {
        return value;
    };
    if !s.st.is_empty() {
        m.insert(
            "x87".into(),
            json!({
                "fcw": format!("{:#x}", l.fcw),
                "fsw": format!("{:#x}", l.fsw),
                "ftw": format!("{:#x}", l.ftw),
                "fop": format!("{:#x}", l.fop),
                "fip": format!("{:#x}", l.fip),
                "fdp": format!("{:#x}", l.fdp),
                "st": list(s.st.iter().map(|r| reversed(r)).collect()),
            }),
        );
    }
    if !s.vectors.is_empty() {
        m.insert("mxcsr".into(), format!("{:#x}", l.mxcsr).into());
        m.insert(
            s.vector_name().into(),
            list(s.vectors.iter().map(|r| reversed(r)).collect()),
        );
    }
    if !s.masks.is_empty() {
        m.insert(
            "k".into(),
            list(s.masks.iter().map(|k| format!("{k:#x}")).collect()),
        );
    }
    if let Some(pkru) = s.pkru {
        m.insert("pkru".into(), format!("{pkru:#x}").into());
    }
    value
}
