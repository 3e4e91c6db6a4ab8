// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `crimg import core`.

use super::{import, Imported};
use crate::{
    atomic::AtomicFile,
    error::{Failure, Outcome},
    escape,
    json::{integer, text, SCHEMA},
    number,
    output::Output,
    spool::{self, Spooled},
};
use serde_json::json;
use std::{
    io::{BufWriter, Write},
    path::PathBuf,
};

/// Make an image from an ELF core, to look at with the other commands.
///
/// Takes cores of the kernel, of gdb's gcore and of crimg export. A core does not have descriptors, signal
/// handlers, limits and much else, so the image is marked as not restartable; section provenance says what is
/// missing.
#[derive(clap::Args)]
pub struct Args {
    /// The core; `-` is standard input, of which a copy is made in $TMPDIR.
    core: String,
    /// The image.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Replace an existing file. Without it that is refused.
    #[arg(long)]
    force: bool,
    /// Print what was made as JSON.
    #[arg(long)]
    json: bool,
}

/// # Errors
/// [`Failure`].
pub fn run(args: &Args, out: &mut Output) -> Result<Outcome, Failure> {
    let Spooled { file, name, .. } = spool::open(&args.core)?;
    let target = AtomicFile::create(&args.output, args.force)?;
    let mut buffered = BufWriter::with_capacity(1 << 20, &target.file);
    let done = import(&name, &file, &mut buffered, &|e| target.failed(e))?;
    buffered.flush().map_err(|e| target.failed(e))?;
    drop(buffered);
    target.commit()?;
    let name = args.output.as_os_str().as_encoded_bytes();
    if args.json {
        out.json(&json!({
            "crimg_schema": SCHEMA,
            "command": "import-core",
            "core": text(args.core.as_bytes()),
            "image": text(name),
            "uuid": number::uuid(&done.uuid),
            "bytes": integer(done.bytes),
            "threads": integer(done.threads),
            "areas": integer(done.areas),
            "mapped_files": integer(done.files),
            "pages": integer(done.pages),
            "zero_pages": integer(done.zero_pages),
            "areas_without_permissions": integer(done.guessed),
            "signal": done.signal,
            "restartable": false,
        }))?;
    } else {
        print(&done, name, out)?;
    }
    Ok(Outcome::Sound)
}

fn print(done: &Imported, name: &[u8], out: &mut Output) -> Result<(), Failure> {
    out.field("image", escape::text(name))?;
    out.field("size", number::size(done.bytes))?;
    out.field("threads", done.threads)?;
    out.field(
        "memory",
        format_args!(
            "{}, {} with contents, {} zero",
            number::count(done.areas, "area", "areas"),
            number::count(done.pages, "page", "pages"),
            done.zero_pages
        ),
    )?;
    out.field("files", format_args!("{} mapped", done.files))?;
    if done.signal > 0 {
        out.field("signal", format_args!("{} ended the process", done.signal))?;
    }
    out.field("restart", "not possible: a core does not have all it needs")
}
