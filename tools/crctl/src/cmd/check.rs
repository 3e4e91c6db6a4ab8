// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `crctl check`: a dry run that lists every obstacle at once.

use super::{notes_json, print, print_notes};
use crate::cli::{CheckArgs, Droppable, TargetArgs};
use crate::device::Device;
use crate::error::{Failure, Result};
use crate::report::{render_obstacles, Note, Obstacle};
use crate::{labels, landlock, modules, say, target};
use serde_json::json;

/// What a dry run found.
pub struct Look {
    /// Number of threads.
    pub threads: u32,
    /// Everything in the way, the kernel's findings and ours.
    pub obstacles: Vec<Obstacle>,
    /// The kernel's notes.
    pub notes: Vec<Note>,
}

/// Runs the command.
pub fn run(args: &CheckArgs, json: bool) -> Result<u8> {
    let process = target::inspect(args.target.pid)?;
    let device = modules::open()?;
    landlock::ensure(&device, drops_landlock(&args.target))?;
    let found = look(&device, &args.target)?;

    let is_possible = found.obstacles.is_empty();
    let code = u8::from(!is_possible);
    if json {
        let object = json!({
            "command": "check",
            "ok": is_possible,
            "exit_code": code,
            "pid": process.pid,
            "comm": process.comm,
            "threads": found.threads,
            "obstacles": found.obstacles.iter().map(Obstacle::to_json).collect::<Vec<_>>(),
            "notes": notes_json(&found.notes),
        });
        print(&format!("{object}\n"))?;
        return Ok(code);
    }
    print_notes("check", &found.notes);
    if is_possible {
        let threads = say::count(found.threads.into(), "thread");
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
pub fn look(device: &Device, args: &TargetArgs) -> Result<Look> {
    let flags = cr_uapi::CHECKPOINT_DRY_RUN | flags(args);
    let (answer, result) = device.checkpoint(args.pid, flags, None, &args.fds, 0);
    let report = device.report();
    if let Err(e) = result {
        return Err(Failure::from_checkpoint(args.pid, &e, report));
    }
    let mut obstacles = report.obstacles;
    obstacles.extend(labels::obstacles(args.pid));
    Ok(Look {
        threads: answer.threads,
        obstacles,
        notes: report.notes,
    })
}

/// `CHECKPOINT_*` bits that the options ask for.
pub fn flags(args: &TargetArgs) -> u32 {
    if drops_landlock(args) {
        cr_uapi::CHECKPOINT_DROP_LANDLOCK
    } else {
        0
    }
}

/// True if a Landlock domain may be lost.
pub fn drops_landlock(args: &TargetArgs) -> bool {
    args.drop.contains(&Droppable::Landlock)
}
