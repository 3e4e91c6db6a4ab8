// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `crimg bt`: which functions the threads were in.

use crate::{
    error::{remedy, Failure, Outcome},
    escape,
    file::ImageFile,
    json::{integer, text, SCHEMA},
    memory::Memory,
    output::Output,
    process::{exit_code, Process},
    symbols::{Line, Symbolizer},
    unwind::{backtrace, Backtrace, End, Frame, How, Options},
};
use cr_format::{records_of, validate::MetaSet, TaskRecord, TASKS};
use serde_json::{json, Map, Value};
use std::path::PathBuf;

/// Show the functions that each thread was in, with source lines where debug information is there.
///
/// Programs and libraries are read below --sysroot, and only if they are those that the process had mapped (build
/// id, else size). Debug information is also taken from /usr/lib/debug there, by build id or .gnu_debuglink.
/// Frames that were found by the frame pointer, for want of unwind tables, say so: functions between such a one
/// and the one above it can be missing.
#[derive(clap::Args)]
pub struct Args {
    /// The image; `-` is standard input, of which a copy is made in $TMPDIR.
    image: String,
    /// Only this thread; may be repeated.
    #[arg(long, value_name = "TID")]
    tid: Vec<u64>,
    /// Only this process, by its id. Without it, all processes of the image.
    #[arg(long, value_name = "N")]
    pid: Option<u64>,
    /// Read programs and libraries below this directory; without it, those of this host.
    #[arg(
        long,
        value_name = "DIR",
        default_value = "/",
        hide_default_value = true
    )]
    sysroot: PathBuf,
    /// Show at most so many frames of a thread.
    #[arg(long, value_name = "N", default_value_t = 256)]
    limit: usize,
    /// Go on behind main; without it a backtrace ends there.
    #[arg(long)]
    past_main: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Most frames that can be asked for.
const LIMIT_MAX: usize = 65_536;

/// # Errors
/// [`Failure`].
pub fn run(args: &Args, out: &mut Output) -> Result<Outcome, Failure> {
    let mut file = ImageFile::open(&args.image)?;
    if args.pid.is_some() {
        file = file.choose(args.pid)?;
    }
    known_threads(args, &file)?;
    let mut done = Done {
        names: file.is_tree(),
        ..Done::default()
    };
    file.for_each_process(|process| one(args, process, &mut done, out))?;
    if args.json {
        let damage = &file.image.damage;
        out.json(&json!({
            "crimg_schema": SCHEMA,
            "command": "bt",
            "image": text(args.image.as_bytes()),
            "damaged": !damage.is_empty(),
            "threads": done.threads,
            "problems": done.problems,
        }))?;
    }
    out.finish()?;
    let mut outcome = Outcome::Sound;
    let name = escape::text(args.image.as_bytes());
    if !args.json {
        for problem in &done.problems {
            out.message(format_args!("crimg bt: {problem}"));
        }
    }
    for e in &file.image.damage {
        out.message(format_args!(
            "crimg bt: {name}: at {:#x}: {}\n  {}",
            e.offset,
            e.kind,
            remedy(&e.kind)
        ));
        outcome = outcome.worse(Outcome::of(&e.kind));
    }
    Ok(outcome)
}

/// Every thread that was asked for is there.
fn known_threads(args: &Args, file: &ImageFile) -> Result<(), Failure> {
    let sections = &file.image.sections;
    let mut all: Vec<u64> = Vec::new();
    for n in 0..sections.processes() {
        let tasks = records_of::<TaskRecord<'_>>(sections.of(n, TASKS)).map_while(Result::ok);
        all.extend(tasks.map(|t| t.tid));
    }
    let Some(tid) = args.tid.iter().find(|tid| !all.contains(tid)) else {
        return Ok(());
    };
    let all: Vec<String> = all.iter().map(u64::to_string).collect();
    Err(Failure::Usage {
        message: format!("--tid: the image has no thread {tid}"),
        remedy: format!("Its threads are: {}.", all.join(" ")),
    })
}

/// What has been told so far.
#[derive(Default)]
struct Done {
    /// Are there several processes, so that each is named?
    names: bool,
    /// For JSON.
    threads: Vec<Value>,
    problems: Vec<String>,
    /// Has something been printed?
    any: bool,
}

/// The threads of one process.
fn one(args: &Args, file: &ImageFile, done: &mut Done, out: &mut Output) -> Result<(), Failure> {
    let process = Process::new(&file.image.sections);
    let wanted = |t: &&TaskRecord<'_>| args.tid.is_empty() || args.tid.contains(&t.tid);
    // The stack comes from the image alone; files are looked at by the symbolizer, which checks them.
    let memory = Memory::new(file, None);
    let symbols = Symbolizer::new(&memory, Some(args.sysroot.clone()));
    let options = Options {
        limit: args.limit.min(LIMIT_MAX),
        past_main: args.past_main,
    };
    let pid = process.process.as_ref().map(|p| p.tgid);
    let mut first = true;
    for task in process.tasks.iter().filter(wanted) {
        let trace = match exit_code(&file.image.sections, task) {
            Some(_) => Backtrace::ENDED,
            None => backtrace(&symbols, task, options),
        };
        if args.json {
            done.threads.push(thread(pid, task, &trace));
            continue;
        }
        if std::mem::replace(&mut done.any, true) {
            out.line("")?;
        }
        if let (true, true, Some(p)) = (done.names, first, &process.process) {
            out.line(format_args!(
                "Process {} \"{}\":",
                p.tgid,
                escape::text(p.comm)
            ))?;
        }
        first = false;
        print(task, &trace, out)?;
    }
    for problem in symbols.problems() {
        if !done.problems.contains(&problem) {
            done.problems.push(problem);
        }
    }
    Ok(())
}

fn print(task: &TaskRecord<'_>, trace: &Backtrace, out: &mut Output) -> Result<(), Failure> {
    out.line(format_args!(
        "Thread {} \"{}\":",
        task.tid,
        escape::text(task.comm)
    ))?;
    let mut n = 0_usize;
    for frame in &trace.frames {
        for line in lines(frame) {
            out.line(format_args!("#{n:<3} {line}"))?;
            n = n.saturating_add(1);
        }
    }
    match trace.end {
        End::Outermost | End::Main => Ok(()),
        End::Ended => out.line("     (the thread has ended; others of its process go on)"),
        End::Limit => out.line("     (more frames follow: see --limit)"),
        End::Unknown => out.line("     (nothing says which function called this one)"),
        End::Corrupt => out.line("     (the stack is corrupt: it goes on below itself)"),
    }
}

/// The lines of a frame, as gdb has them; one for each function.
fn lines(frame: &Frame) -> Vec<String> {
    let unknown = [Line::default()];
    let functions: &[Line] = if frame.lines.is_empty() {
        &unknown
    } else {
        &frame.lines
    };
    if frame.signal {
        return vec!["<signal handler called>".to_owned()];
    }
    let line = |(n, f): (usize, &Line)| {
        let mut text = String::new();
        if n == 0 {
            text = format!("{:#018x} in ", frame.address);
        }
        match &f.function {
            Some(name) => text.push_str(&escape::text(name.as_bytes())),
            None => text.push_str("??"),
        }
        // Demangled names have their parameters.
        if !text.ends_with(')') {
            text.push_str(" ()");
        }
        match (&f.file, f.line, &frame.module) {
            (Some(file), Some(line), _) => {
                text.push_str(&format!(" at {}:{line}", escape::text(file.as_bytes())));
            }
            (Some(file), None, _) => {
                text.push_str(&format!(" at {}", escape::text(file.as_bytes())));
            }
            (None, _, Some(module)) => text.push_str(&format!(" from {}", escape::text(module))),
            (None, _, None) => {}
        }
        match frame.how {
            How::FramePointer if n == 0 => text.push_str(" [by frame pointer]"),
            How::Top if n == 0 => text.push_str(" [by the top of the stack]"),
            _ => {}
        }
        text
    };
    functions.iter().enumerate().map(line).collect()
}

fn thread(pid: Option<u64>, task: &TaskRecord<'_>, trace: &Backtrace) -> Value {
    json!({
        "pid": pid.map_or(Value::Null, integer),
        "tid": integer(task.tid),
        "comm": text(task.comm),
        "frames": trace.frames.iter().map(frame).collect::<Vec<Value>>(),
        "end": trace.end.word(),
    })
}

fn frame(frame: &Frame) -> Value {
    let mut m = Map::new();
    m.insert("address".into(), hex(frame.address));
    m.insert("sp".into(), hex(frame.sp));
    m.insert("how".into(), frame.how.word().into());
    m.insert("signal_handler".into(), frame.signal.into());
    let module = frame.module.as_deref().map_or(Value::Null, text);
    m.insert("module".into(), module);
    let functions = frame.lines.iter().map(|l| {
        json!({
            "function": l.function,
            "offset": l.offset.map_or(Value::Null, integer),
            "file": l.file,
            "line": l.line,
            "column": l.column,
            "inlined": l.inlined,
        })
    });
    m.insert("functions".into(), functions.collect());
    m.into()
}

fn hex(n: u64) -> Value {
    format!("{n:#x}").into()
}
