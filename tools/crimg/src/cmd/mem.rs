// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `crimg mem`: look into the memory of the process.

use crate::{
    error::{Failure, Outcome},
    mem::{disassemble, extract, find_ptr, grep, hex, strings},
    output::Output,
};

/// Look into the memory of the process: dump, search, extract, disassemble.
///
/// All commands take the same options to choose memory: --at, --vma, --prot. Pages of mapped files are not in
/// an image; --sysroot reads them from files. Text from the image is escaped.
#[derive(clap::Args)]
#[command(
    after_help = "Exit status: 0 found or done · 1 nothing found · 2 used wrongly · 3 the image is malformed · \
4 the image is newer than this crimg or over its limits · 6 the image cannot be read or the output not written."
)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    Hex(hex::Args),
    Grep(grep::Args),
    Strings(strings::Args),
    FindPtr(find_ptr::Args),
    Extract(extract::Args),
    Disasm(disassemble::Args),
}

/// # Errors
/// [`Failure`].
pub fn run(args: &Args, out: &mut Output) -> Result<Outcome, Failure> {
    match &args.command {
        Command::Hex(args) => hex::run(args, out),
        Command::Grep(args) => grep::run(args, out),
        Command::Strings(args) => strings::run(args, out),
        Command::FindPtr(args) => find_ptr::run(args, out),
        Command::Extract(args) => extract::run(args, out),
        Command::Disasm(args) => disassemble::run(args, out),
    }
}
