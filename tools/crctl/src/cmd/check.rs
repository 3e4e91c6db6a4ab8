// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `crctl check`: a dry run that lists every obstacle at once.

use super::patience::Patience;
use super::{notes_json, print, print_notes};
use crate::cli::{CheckArgs, Droppable, TargetArgs};
use crate::device::Device;
use crate::error::{Failure, Result};
use crate::report::{render_obstacles, Note, Obstacle};
use crate::sys::process::Pid;
use crate::{autogroup, labels, landlock, modules, say, target};
use serde_json::json;

/// What a dry run found.
pub struct Look {
    /// Number of processes, and of all their threads.
    pub processes: u32,
    /// Number of threads.
    pub threads: u32,
    /// Everything in the way, the kernel's findings and ours.
    pub obstacles: Vec<Obstacle>,
    /// The kernel's notes.
    pub notes: Vec<Note>,
}

/// Runs the command.
pub fn run(args: &CheckArgs, json: bool) -> Result<u8> {
    let process = target::inspect(target::first(&args.target)?)?;
    let mut device = modules::open()?;
    landlock::ensure(&device, drops_landlock(&args.target))?;
    let mut patience = Patience::new();
    let found = loop {
        let found = look(&device, process.pid, &args.target)?;
        if !patience.again(&found.obstacles) {
            break found;
        }
        // A session is for one attempt.
        device = modules::open()?;
    };

    let is_possible = found.obstacles.is_empty();
    let code = u8::from(!is_possible);
    if json {
        let object = json!({
            "command": "check",
            "ok": is_possible,
            "exit_code": code,
            "pid": process.pid,
            "comm": process.comm,
            "processes": found.processes,
            "threads": found.threads,
            "obstacles": found.obstacles.iter().map(Obstacle::to_json).collect::<Vec<_>>(),
            "notes": notes_json(&found.notes),
        });
        print(&format!("{object}\n"))?;
        return Ok(code);
    }
    print_notes("check", &found.notes);
    if is_possible {
        let threads = extent(found.processes, found.threads);
        print(&format!(
            "{} can be checkpointed: {threads}\n",
            process.title()
        ))?;
    } else {
        let count = say::count(found.obstacles.len() as u64, "obstacle"); // CAST: usize is 64 bits wide
        let list = render_obstacles(&found.obstacles);
        print(&format!(
            "{} cannot be checkpointed: {count}\n{list}\n",
            process.title()
        ))?;
    }
    Ok(code)
}

/// Does the dry run.
pub fn look(device: &Device, pid: Pid, args: &TargetArgs) -> Result<Look> {
    let flags = cr_uapi::CHECKPOINT_DRY_RUN | flags(args);
    let (answer, result) = device.checkpoint((pid, scope(args)), flags, None, &args.fds, 0);
    let report = device.report();
    if let Err(e) = result {
        return Err(Failure::from_checkpoint(pid, &e, report));
    }
    let mut obstacles = report.obstacles;
    obstacles.extend(labels::obstacles(pid, args.single));
    let mut notes = report.notes;
    notes.extend(autogroup::notes(pid, args.single));
    Ok(Look {
        processes: answer.processes,
        threads: answer.threads,
        obstacles,
        notes,
    })
}

/// `CHECKPOINT_*` bits that the options ask for.
pub fn flags(args: &TargetArgs) -> u32 {
    let bit = |is_set: bool, flag: u32| if is_set { flag } else { 0 };
    bit(drops_landlock(args), cr_uapi::CHECKPOINT_DROP_LANDLOCK)
        | bit(args.single, cr_uapi::CHECKPOINT_SINGLE)
        | bit(args.pgrp.is_some(), cr_uapi::CHECKPOINT_PGRP)
        | bit(args.session.is_some(), cr_uapi::CHECKPOINT_SESSION)
}

/// The process group or session that the options ask for, 0 none.
pub fn scope(args: &TargetArgs) -> u32 {
    args.pgrp.or(args.session).map_or(0, i32::unsigned_abs)
}

/// `3 threads`, or `2 processes, 3 threads`.
pub fn extent(processes: u32, threads: u32) -> String {
    let threads = say::count(threads.into(), "thread");
    match processes {
        0 | 1 => threads,
        n => format!("{n} processes, {threads}"),
    }
}

/// True if a Landlock domain may be lost.
pub fn drops_landlock(args: &TargetArgs) -> bool {
    args.drop.contains(&Droppable::Landlock)
}
