// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `crctl restart`: makes a running process of an image.
//!
//! Order: load the image's description, connect descriptors, namespaces, one `clone3` with the old pid whose child
//! hands itself to the kernel, serve the kernel until the process runs, then mirror its end.

mod contents;
mod descriptors;
mod foreground;
mod namespaces;
mod spawn;

use super::{check, notes_json, print, print_notes};
use crate::cli::{Cgroups, Files, RestartArgs};
use crate::device::Device;
use crate::error::{self, Class, Failure, Family, Result};
use crate::output::{Target, Temporary};
use crate::report::Report;
use crate::sys::process::{self, Change, Pid};
use crate::{modules, say, sys};
use cr_uapi as uapi;
use namespaces::Init;
use serde_json::json;
use spawn::{Outcome, Plan};
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::path::Path;

/// Runs the command.
pub fn run(args: &RestartArgs, json: bool) -> Result<u8> {
    if args.dry_run {
        return dry_run(args, json);
    }
    let started = start(args, json)?;
    if args.detach {
        return Ok(0);
    }
    // Of several the last one counts, as for a shell that waits for a pipeline; the others are waited for too.
    let last = started.siblings.last().copied().unwrap_or(started.pid);
    let mut others: Vec<Pid> = vec![started.pid];
    others.extend(started.siblings);
    others.retain(|&pid| pid != last);
    let end = foreground::mirror(last, &others);
    while let Some(pid) = others.pop() {
        foreground::mirror(pid, &others);
    }
    // Whatever the program left behind in its pid namespace ends with it.
    if let Some(init) = started.init {
        init.end();
    }
    match end {
        // CAST: an exit status has 8 bits.
        Change::Exited(status) => Ok(status as u8),
        Change::Killed(signal) => process::die_by(signal),
        Change::Stopped(_) | Change::Continued => Ok(Class::Other.exit_code(Family::Restart)),
    }
}

/// A restarted process.
struct Started {
    pid: Pid,
    /// Siblings that were restarted with it.
    siblings: Vec<Pid>,
    init: Option<Init>,
}

/// Everything up to the moment when the process runs. What is open here (device, image, descriptors for the
/// process) is closed on return, so that crctl keeps nothing of it while the program runs.
fn start(args: &RestartArgs, json: bool) -> Result<Started> {
    let image = Image::open(&args.image)?;
    let device = modules::open()?;
    let restored = match args.files {
        Files::Content => contents::bring_back(&args.image, image.is_stdin)?,
        _ => Vec::new(),
    };
    let (load, mut report) = load(&device, &image, 0)?;
    report.notes.extend(restored);

    let pidfile = args
        .pidfile
        .as_deref()
        .map(|path| Target::new(path, true))
        .transpose()?;
    let pidfile = pidfile
        .as_ref()
        .map(|target| target.create(0o644))
        .transpose()?;
    let sources = descriptors::plan(&report.externals, &args.fds, image.is_stdin)
        .map_err(|failure| failure.about(&image.title))?;
    let descriptors = descriptors::open(&sources, load.min_fd)?;
    let device_fd = device.duplicate_from(descriptors.floor).map_err(|e| {
        Failure::io(
            format_args!("cannot move the device to descriptor {}", descriptors.floor),
            &e,
        )
    })?;

    // An image of pid 1 becomes the init of the new namespace itself.
    let is_init = args.new_pidns && load.tgid == 1;
    let plan = Plan {
        tgid: load.tgid,
        session_leader: load.session_leader,
        // CAST: a flag.
        clone_flags: if is_init {
            libc::CLONE_NEWPID as u64
        } else {
            0
        },
        files: match args.files {
            // What could be brought back has been.
            Files::Check | Files::Content => uapi::FILES_CHECK,
            Files::Ignore => uapi::FILES_IGNORE,
            Files::Truncate => uapi::FILES_TRUNCATE,
        },
        flags: match args.cgroups {
            Cgroups::Join => 0,
            Cgroups::Require => uapi::RESTART_CGROUPS_REQUIRE,
            Cgroups::Ignore => uapi::RESTART_CGROUPS_IGNORE,
        },
        device: &device,
        device_fd: &device_fd,
        map: &descriptors.map,
        size: image.size,
    };
    let outcome = spawn::run(&plan, || {
        if load.time_namespace != 0 {
            namespaces::enter_time(load.monotonic_offset_ns, load.boottime_offset_ns)?;
        }
        let wants_init = args.new_pidns && !is_init;
        wants_init.then(|| Init::start(load.tgid)).transpose()
    });
    append(&mut report, device.report());
    match outcome {
        Outcome::Runs {
            pid,
            siblings,
            answer,
            init,
        } => {
            if let Some(temporary) = pidfile {
                write_pidfile(temporary, pid, args.detach)?;
            }
            announce(args, json, pid, &load, &answer, &report)?;
            Ok(Started {
                pid,
                siblings,
                init: init.map(Init::release),
            })
        }
        Outcome::Refused(failure) => Err(failure),
        Outcome::Failed(e) => {
            Err(
                Failure::from_device("cannot restart", &e, &report, Family::Restart)
                    .about(&image.title),
            )
        }
        Outcome::Interrupted(signal) => {
            // Dying runs no destructors.
            drop(pidfile);
            let name = sys::signal::name(signal);
            say::stderr(&format!(
                "crctl restart: ended by {name}: no process was restarted"
            ));
            process::die_by(signal);
        }
    }
}

/// Lets the kernel read the image.
fn load(device: &Device, image: &Image, flags: u32) -> Result<(uapi::Load, Report)> {
    let loaded = device.load(image.file.as_fd(), flags);
    let report = device.report();
    match loaded {
        Ok(load) => Ok((load, report)),
        Err(e) => Err(
            Failure::from_device("cannot load the image", &e, &report, Family::Restart)
                .about(&image.title),
        ),
    }
}

/// `--dry-run`: what a restart would find before it makes anything.
fn dry_run(args: &RestartArgs, json: bool) -> Result<u8> {
    let image = Image::open(&args.image)?;
    let device = modules::open()?;
    let policy = match args.files {
        // Not together with --dry-run.
        Files::Check | Files::Content => 0,
        Files::Ignore => uapi::LOAD_FILES_IGNORE,
        Files::Truncate => uapi::LOAD_FILES_TRUNCATE,
    };
    let (load, report) = load(&device, &image, uapi::LOAD_DRY_RUN | policy)?;
    descriptors::plan(&report.externals, &args.fds, image.is_stdin)
        .map_err(|failure| failure.about(&image.title))?;
    let taken = !args.new_pidns && Path::new("/proc").join(load.tgid.to_string()).exists();
    if taken {
        let text = format!("process id {} is in use", load.tgid);
        return Err(Failure::new(Class::Host, text)
            .remedy("End that process, or restart in a pid namespace: --new-pidns")
            .about(&image.title));
    }
    print_notes("restart", &report.notes);
    if json {
        let object = json!({
            "command": "restart",
            "ok": true,
            "dry_run": true,
            "tgid": load.tgid,
            "processes": load.processes,
            "threads": load.threads,
            "time_namespace": load.time_namespace != 0,
            "notes": notes_json(&report.notes),
        });
        print(&format!("{object}\n"))?;
    } else {
        say::stderr(&format!(
            "crctl restart: {}: can be restarted here as process {}, {}",
            image.title,
            load.tgid,
            check::extent(load.processes, load.threads),
        ));
    }
    Ok(0)
}

/// Where the image comes from.
struct Image {
    file: File,
    title: String,
    is_stdin: bool,
    /// Length, unless it is a pipe or the like.
    size: Option<u64>,
}

impl Image {
    fn open(path: &Path) -> Result<Self> {
        let is_stdin = path == Path::new("-");
        let (file, title) = if is_stdin {
            if io::stdin().is_terminal() {
                return Err(Failure::new(
                    Class::Usage,
                    "an image is binary data, and standard input is a terminal",
                )
                .remedy("Name a file, or redirect: ... | crctl restart -"));
            }
            let stdin = io::stdin().as_fd().try_clone_to_owned();
            (stdin.map(File::from), "standard input".to_owned())
        } else {
            (File::open(path), error::file(path))
        };
        let file = file.map_err(|e| Failure::io(&title, &e))?;
        let meta = file.metadata().map_err(|e| Failure::io(&title, &e))?;
        if meta.is_dir() {
            return Err(Failure::new(
                Class::Io,
                format!("{title}: is a directory, not an image"),
            ));
        }
        sys::fs::enlarge_pipe(file.as_fd());
        let size = meta.is_file().then_some(meta.len());
        Ok(Self {
            file,
            title,
            is_stdin,
            size,
        })
    }
}

/// The process runs: a pid file that cannot be written no longer stops it, but is said, and is the exit status if
/// nobody waits for the program's.
fn write_pidfile(temporary: Temporary<'_>, pid: Pid, detach: bool) -> Result<()> {
    let written = temporary.file().write_all(format!("{pid}\n").as_bytes());
    let written = written
        .map_err(|e| Failure::io("pid file", &e))
        .and_then(|()| temporary.publish());
    match written {
        Err(failure) if detach => Err(failure.remedy(format!("The process runs as pid {pid}."))),
        Err(failure) => {
            say::stderr(
                &failure
                    .remedy(format!("The process runs as pid {pid}."))
                    .render("restart"),
            );
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

fn announce(
    args: &RestartArgs,
    json: bool,
    pid: Pid,
    load: &uapi::Load,
    answer: &uapi::Coordinate,
    report: &Report,
) -> Result<()> {
    print_notes("restart", &report.notes);
    if json {
        let object = json!({
            "command": "restart",
            "ok": true,
            "pid": pid,
            "tgid": load.tgid,
            "processes": load.processes,
            "threads": load.threads,
            "image_bytes": answer.image_bytes,
            "pages": answer.pages,
            "restart_ns": answer.restart_ns,
            "time_namespace": load.time_namespace != 0,
            "pid_namespace": args.new_pidns,
            "notes": notes_json(&report.notes),
        });
        // The program runs whether or not anybody reads this.
        let _ = print(&format!("{object}\n"));
    } else if args.detach {
        say::stderr(&format!(
            "crctl restart: process {pid}: {}, {}, restarted in {}",
            check::extent(load.processes, load.threads),
            say::bytes(answer.image_bytes),
            say::millis(answer.restart_ns),
        ));
    }
    Ok(())
}

fn append(report: &mut Report, more: Report) {
    report.obstacles.extend(more.obstacles);
    report.failures.extend(more.failures);
    report.externals.extend(more.externals);
    report.notes.extend(more.notes);
}
