// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `show --threads`: every thread with its registers.

use crate::{
    error::Failure,
    escape,
    load::Image,
    names, number,
    output::{self, Output},
    view::all,
};
use cr_format::{TaskRecord, REG_NAMES};

/// `orig_rax` outside of a system call.
const NO_CALL: u64 = u64::MAX;
const ORIG_RAX: usize = 15;
const RIP: usize = 16;

/// # Errors
/// [`Failure::Write`].
pub fn threads(image: &Image, out: &mut Output) -> Result<(), Failure> {
    for (n, task) in all::<TaskRecord<'_>>(image).enumerate() {
        if n > 0 {
            out.line("")?;
        }
        out.line(format_args!(
            "thread {} {}",
            task.tid,
            escape::text(task.comm)
        ))?;
        describe(&task, out)?;
        registers(&task, out)?;
    }
    Ok(())
}

fn describe(task: &TaskRecord<'_>, out: &mut Output) -> Result<(), Failure> {
    let reg = |i| task.regs.get(i).unwrap_or(0);
    let call = match reg(ORIG_RAX) {
        NO_CALL => String::new(),
        call => format!(", system call {call}"),
    };
    let restart = match names::restart_kind(task.restart_kind) {
        "" => String::new(),
        kind => format!(", {kind}"),
    };
    out.field("  at", format_args!("{:#018x}{call}{restart}", reg(RIP)))?;
    let mut scheduling = format!("{}, nice {}", names::policy(task.policy), task.nice);
    if task.rt_priority != 0 {
        scheduling += &format!(", priority {}", task.rt_priority);
    }
    let pinned = if task.pinned == 1 {
        "pinned to"
    } else {
        "allowed on"
    };
    out.field(
        "  scheduling",
        format_args!("{scheduling}, {pinned} CPU {}", names::cpus(task.affinity)),
    )?;
    let features = task
        .xstate
        .get(512..520)
        .map_or(0, |b| b.iter().rev().fold(0, |n, &b| n << 8 | u64::from(b)));
    let size = number::size(task.xstate.len() as u64);
    out.field(
        "  fpu",
        format_args!("{size}, features in use {features:#x}"),
    )?;
    if task.rseq_registered == 1 {
        out.field(
            "  rseq",
            format_args!("{:#x}, {} bytes", task.rseq_ptr, task.rseq_len),
        )?;
    }
    Ok(())
}

/// Width of a column of registers.
const COLUMN: u16 = 29;

/// As many columns as the terminal is wide, four at most.
fn registers(task: &TaskRecord<'_>, out: &mut Output) -> Result<(), Failure> {
    let columns = output::width().map_or(4, |w| (w / COLUMN).clamp(1, 4));
    let cells: Vec<String> = REG_NAMES
        .iter()
        .zip(task.regs.iter())
        .map(|(name, value)| format!("{name:<8} {value:#018x}"))
        .collect();
    for row in cells.chunks(columns.into()) {
        out.line(format_args!("  {}", row.join("  ")))?;
    }
    Ok(())
}
