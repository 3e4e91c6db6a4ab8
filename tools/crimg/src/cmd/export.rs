// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `crimg export`: an image in the form of other programs.

use crate::{
    atomic::AtomicFile,
    core_file::{export, Exported, Options, Sink},
    error::{Failure, Outcome},
    escape,
    file::ImageFile,
    json::{integer, text, SCHEMA},
    json_image,
    memory::Memory,
    number,
    output::Output,
};
use serde_json::json;
use std::{
    fs::File,
    io::{self, Seek, Write},
    os::fd::AsFd,
    path::PathBuf,
};

/// Write an image in the form of other programs.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    Core(Core),
    Json(json_image::export::Args),
}

/// Write an ELF core that gdb and others open, with all threads, registers and memory.
///
/// Pages that the process has not changed since they were mapped from a file are not in the image, and not in
/// the core either: gdb reads them from the file, as with the kernel's cores. With --sysroot they are put in,
/// so that the core can be read where the files are not. Memory that the process wants in no core
/// (MADV_DONTDUMP) is left out.
#[derive(clap::Args)]
struct Core {
    /// The image; `-` is standard input, of which a copy is made in $TMPDIR.
    image: String,
    /// The core; `-` is standard output, which gets every zero unless it is a new file.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// The process, by its id. Only an image of several processes needs it.
    #[arg(long, value_name = "N")]
    pid: Option<u64>,
    /// Put in the pages of private file mappings, from the files below this directory; `/` is this host.
    /// Without it the core has what the image has.
    #[arg(long, value_name = "DIR")]
    sysroot: Option<PathBuf>,
    /// Replace an existing file. Without it that is refused.
    #[arg(long)]
    force: bool,
    /// Print what was written as JSON.
    #[arg(long)]
    json: bool,
}

/// # Errors
/// [`Failure`].
pub fn run(args: &Args, out: &mut Output) -> Result<Outcome, Failure> {
    match &args.what {
        What::Core(args) => core(args, out),
        What::Json(args) => json_image::export::run(args, out),
    }
}

fn core(args: &Core, out: &mut Output) -> Result<Outcome, Failure> {
    let file = ImageFile::open_process(&args.image, args.pid)?;
    if let Some(e) = file.image.damage.first() {
        return Err(file.defect(*e, e.offset));
    }
    let memory = Memory::new(&file, args.sysroot.clone());
    let mut options = Options {
        files: args.sysroot.is_some(),
        progress: true,
    };
    if args.output.as_os_str() == "-" {
        if args.json {
            return Err(Failure::Usage {
                message: "--json cannot be printed where the core goes".to_owned(),
                remedy: "Name a file with -o.".to_owned(),
            });
        }
        options.progress = false;
        to_stdout(&file, &memory, options)?;
        return Ok(Outcome::Sound);
    }
    let target = AtomicFile::create(&args.output, args.force)?;
    let done = export(
        &file,
        &memory,
        options,
        &mut Sink::File(&target.file),
        &|e| target.failed(e),
    )?;
    target.commit()?;
    let name = args.output.as_os_str().as_encoded_bytes();
    if args.json {
        out.json(&json!({
            "crimg_schema": SCHEMA,
            "command": "export-core",
            "image": text(args.image.as_bytes()),
            "core": text(name),
            "bytes": integer(done.bytes),
            "stored_bytes": integer(done.stored),
            "threads": integer(done.threads),
            "segments": integer(done.segments),
            "segments_with_contents": integer(done.with_contents),
            "file_mappings": integer(done.files),
            "cuts_registers": done.cuts_registers,
        }))?;
    } else {
        print(&done, name, out)?;
    }
    Ok(Outcome::Sound)
}

fn print(done: &Exported, name: &[u8], out: &mut Output) -> Result<(), Failure> {
    out.field("core", escape::text(name))?;
    out.field(
        "size",
        format_args!(
            "{}, {} of it stored",
            number::size(done.bytes),
            number::size(done.stored)
        ),
    )?;
    out.field("threads", done.threads)?;
    out.field(
        "segments",
        format_args!("{}, {} with contents", done.segments, done.with_contents),
    )?;
    out.field(
        "files",
        number::count(done.files, "mapping of a file", "mappings of files"),
    )?;
    if done.cuts_registers {
        out.field(
            "registers",
            "state behind AVX-512 and PKRU (AMX) is left out: gdb cannot place it",
        )?;
    }
    Ok(())
}

fn to_stdout(file: &ImageFile, memory: &Memory<'_>, options: Options) -> Result<(), Failure> {
    if Output::is_terminal() {
        return Err(Failure::Usage {
            message: "a core is no text for a terminal".to_owned(),
            remedy: "Name a file with -o, or send it on with a pipe.".to_owned(),
        });
    }
    let mut stdout = io::stdout().lock();
    // A new file, as the shell makes for `>`: with holes.
    let owned = stdout
        .as_fd()
        .try_clone_to_owned()
        .map_err(Failure::Write)?;
    let mut regular = File::from(owned);
    let meta = regular.metadata().map_err(Failure::Write)?;
    let begins = meta.is_file() && meta.len() == 0;
    if begins && regular.stream_position().is_ok_and(|at| at == 0) {
        let mut sink = Sink::File(&regular);
        export(file, memory, options, &mut sink, &Failure::Write)?;
        return Ok(());
    }
    let mut sink = Sink::Stream(&mut stdout, 0);
    export(file, memory, options, &mut sink, &Failure::Write)?;
    stdout.flush().map_err(Failure::Write)
}
