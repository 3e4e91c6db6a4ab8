// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Checkpoints and restarts Linux processes through the crkit kernel modules.
//!
//! The kernel modules do all work on processes and images; this program parses arguments, prepares what only
//! user space can (namespaces, descriptors, one `clone3`), and explains the outcome. It never parses an image.
//!
//! Code map: `cli` arguments and help, `cmd/*` one file per sub-command, `device` the only caller of the
//! device's ioctls, `report` what the kernel says about a session, `error` failures and exit codes,
//! `sys` safe wrappers of system calls.

mod autogroup;
mod cli;
mod cmd;
mod decode;
mod device;
mod error;
mod escape;
mod labels;
mod landlock;
mod modules;
mod output;
mod progress;
mod report;
mod say;
mod sys;
mod target;
mod tree;

use std::process::ExitCode;

fn main() -> ExitCode {
    cmd::run(&cli::parse())
}
