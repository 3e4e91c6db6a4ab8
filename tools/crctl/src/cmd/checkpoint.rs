// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `crctl checkpoint`: writes an image, all or nothing.
//!
//! The `CHECKPOINT` call runs in a second thread, the first waits for it and for signals. All signals that would
//! end crctl are blocked from before the temporary file exists until the image has its name; when one arrives, the
//! first thread removes the file and lets the signal end the whole program, which closes the session: the kernel
//! thaws the process. Stop signals are held back too, because a stopped crctl would leave the process frozen.

use super::patience::Patience;
use super::{check, notes_json, print, print_notes, unexpected};
use crate::cli::CheckpointArgs;
use crate::device::Device;
use crate::error::{Failure, Family, Result};
use crate::output::{Destination, Image};
use crate::progress::{Line, INTERVAL};
use crate::report::Report;
use crate::sys::{
    self,
    process::{self, Pid},
    signal,
};
use crate::target::Process;
use crate::{autogroup, labels, landlock, modules, say, target};
use cr_uapi as uapi;
use serde_json::json;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::time::Instant;

/// Signals that must not happen while a process is frozen; an over-long file is an error, not a signal.
const HELD: [libc::c_int; 4] = [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU, libc::SIGXFSZ];

/// What becomes of the process after the checkpoint.
#[derive(Clone, Copy, PartialEq, Eq)]
enum After {
    Continued,
    Killed,
    Stopped,
}

/// Numbers of a finished checkpoint.
struct Done {
    answer: uapi::Checkpoint,
    frozen_ns: u64,
    total_ns: u64,
    report: Report,
}

/// Runs the command.
pub fn run(args: &CheckpointArgs, json: bool) -> Result<u8> {
    let after = match (args.kill, args.stop) {
        (true, _) => After::Killed,
        (_, true) => After::Stopped,
        _ => After::Continued,
    };
    let destination = Destination::new(&args.output, args.force)?;
    let process = target::inspect(target::first(&args.target)?)?;
    let mut device = modules::open()?;
    landlock::ensure(&device, check::drops_landlock(&args.target))?;
    if !labels::obstacles(process.pid, args.target.single).is_empty() {
        let found = check::look(&device, process.pid, &args.target)?;
        if !found.obstacles.is_empty() {
            return Err(Failure::obstacles(process.pid, found.obstacles));
        }
    }

    let signals = Signals::hold()?;
    let mut patience = Patience::new();
    let done = loop {
        match write(
            &device,
            (process.pid, args),
            after,
            destination.open()?,
            &signals,
        ) {
            // Nothing has been written. A session is for one attempt.
            Err(failure) if patience.again(&failure.obstacles) => device = modules::open()?,
            result => break result?,
        }
    };
    summarise(&done, &process, &destination, (after, args.zstd), json)?;
    Ok(0)
}

/// Writes the image, gives it its name, and ends the session.
fn write(
    device: &Device,
    (pid, args): (Pid, &CheckpointArgs),
    after: After,
    image: Image<'_>,
    signals: &Signals,
) -> Result<Done> {
    let begin = Instant::now();
    let keep = if after == After::Continued {
        0
    } else {
        uapi::CHECKPOINT_KEEP_FROZEN
    };
    let with_files = if args.with_files {
        uapi::CHECKPOINT_WITH_FILES
    } else {
        0
    };
    let flags = check::flags(&args.target) | keep | with_files;
    let work = || {
        let level = args.zstd.unwrap_or(0);
        let (answer, result) = device.checkpoint(
            (pid, check::scope(&args.target)),
            flags,
            Some(image.as_fd()),
            &args.target.fds,
            level,
        );
        let synced = if result.is_ok() { image.sync() } else { Ok(()) };
        (answer, result, synced)
    };
    let (answer, result, synced) =
        watch(work, &image, signals).map_err(|e| unexpected("waiting", &e))?;
    signals.die_if_pending(&image);

    let mut report = device.report();
    if let Err(e) = result {
        return Err(Failure::from_checkpoint(pid, &e, report));
    }
    report
        .notes
        .extend(autogroup::notes(pid, args.target.single));
    synced.map_err(|e| Failure::io("cannot sync the image", &e))?;
    image.publish()?;

    // From here on the image exists: nothing takes it back.
    let frozen_ns = match after {
        After::Continued => answer.frozen_ns,
        After::Killed => finish(device, uapi::FINISH_KILL, "killed", pid)?,
        After::Stopped => finish(device, uapi::FINISH_STOP, "stopped", pid)?,
    };
    Ok(Done {
        answer,
        frozen_ns,
        // Until now: syncing and renaming the image belong to it.
        total_ns: u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX),
        report,
    })
}

fn finish(device: &Device, action: u32, word: &str, pid: i32) -> Result<u64> {
    match device.finish(action) {
        Ok(frozen_ns) => Ok(frozen_ns),
        // Somebody else has killed it: that is the wanted state.
        Err(e) if action == uapi::FINISH_KILL && sys::errno(&e) == libc::ESRCH => Ok(0),
        Err(e) => {
            let report = device.report();
            let what = format!("process {pid} could not be {word}");
            let mut failure = Failure::from_device(&what, &e, &report, Family::Checkpoint);
            if let Some(message) = failure.messages.first_mut() {
                message.remedy = format!(
                    "The image is complete; the process continues. {}",
                    message.remedy
                );
            }
            Err(failure)
        }
    }
}

/// Runs `work` in a second thread, shows progress, and ends the program if a signal arrives meanwhile.
fn watch<T: Send>(
    work: impl FnOnce() -> T + Send,
    image: &Image<'_>,
    signals: &Signals,
) -> io::Result<T> {
    let ready = sys::fs::eventfd()?;
    let mut line = Line::new("crctl checkpoint");
    // CAST: a quarter of a second.
    let interval = INTERVAL.as_millis() as i32;
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            let result = work();
            // Cannot fail: the counter of a fresh eventfd has room for one.
            let _ = (&ready).write(&1u64.to_ne_bytes());
            result
        });
        while !worker.is_finished() {
            let [_, signalled] =
                sys::fs::poll_readable([ready.as_fd(), signals.pending.as_fd()], interval)?;
            if signalled {
                drop(line);
                signals.die_if_pending(image);
                line = Line::new("crctl checkpoint");
            }
            line.show(image.len(), None);
        }
        worker
            .join()
            .map_err(|_| io::Error::other("the worker thread failed"))
    })
}

/// The signals that are held back, and the descriptor that tells of the ending ones.
struct Signals {
    ending: signal::Set,
    pending: File,
}

impl Signals {
    fn hold() -> Result<Self> {
        let ending = signal::Set::of_not_ignored(&signal::ENDING);
        ending.block();
        signal::Set::of(&HELD).block();
        let pending = ending
            .descriptor()
            .map_err(|e| unexpected("signalfd", &e))?;
        Ok(Self { ending, pending })
    }

    /// If an ending signal has arrived, removes the file and lets the signal end the program.
    fn die_if_pending(&self, image: &Image<'_>) {
        if let Ok([true]) = sys::fs::poll_readable([self.pending.as_fd()], 0) {
            if let Ok(received) = self.ending.wait() {
                image.unlink();
                let name = signal::name(received.signal);
                say::stderr(&format!("crctl checkpoint: ended by {name}: no image was written, the process continues"));
                process::die_by(received.signal);
            }
        }
    }
}

fn summarise(
    done: &Done,
    process: &Process,
    to: &Destination,
    (after, zstd): (After, Option<u32>),
    json: bool,
) -> Result<()> {
    let word = match after {
        After::Continued => "continued",
        After::Killed => "killed",
        After::Stopped => "stopped",
    };
    let answer = &done.answer;
    let page_bytes = answer.pages.saturating_mul(4096);
    if json {
        let mut object = json!({
            "command": "checkpoint",
            "ok": true,
            "exit_code": 0,
            "pid": process.pid,
            "comm": process.comm,
            "output": to.title(),
            "processes": answer.processes,
            "threads": answer.threads,
            "image_bytes": answer.image_bytes,
            "pages": answer.pages,
            "page_bytes": page_bytes,
            "stored_bytes": answer.stored_bytes,
            "frozen_ns": done.frozen_ns,
            "total_ns": done.total_ns,
            "after": word,
            "notes": notes_json(&done.report.notes),
        });
        if let Some(level) = zstd {
            object["zstd"] = level.into();
        }
        if matches!(to, Destination::Stdout) {
            say::stderr(&object.to_string());
            return Ok(());
        }
        return print(&format!("{object}\n"));
    }
    print_notes("checkpoint", &done.report.notes);
    let packed = match zstd {
        Some(_) => format!(
            " (memory {} stored as {})",
            say::bytes(page_bytes),
            say::bytes(answer.stored_bytes)
        ),
        None => String::new(),
    };
    say::stderr(&format!(
        "crctl checkpoint: {}: {}, {}{packed}, frozen {}, total {}, {word}: {}",
        process.title(),
        check::extent(answer.processes, answer.threads),
        say::bytes(answer.image_bytes),
        say::millis(done.frozen_ns),
        say::millis(done.total_ns),
        to.title(),
    ));
    Ok(())
}
