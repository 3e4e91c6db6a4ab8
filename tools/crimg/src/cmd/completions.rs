// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `crimg completions`: completion scripts for shells, from the definition of the command line itself.

use crate::{
    error::{Failure, Outcome},
    output::Output,
};
use clap_complete::Shell;

/// Print the completion script of a shell.
///
/// bash: crimg completions bash > /usr/share/bash-completion/completions/crimg ·
/// zsh: … > "${fpath[1]}/_crimg" · fish: … > ~/.config/fish/completions/crimg.fish
#[derive(clap::Args)]
pub struct Args {
    /// Which shell.
    shell: Shell,
}

/// # Errors
/// [`Failure::Write`].
pub fn run(args: &Args, mut cli: clap::Command, out: &mut Output) -> Result<Outcome, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut cli, "crimg", &mut script);
    out.bytes(&script)?;
    Ok(Outcome::Sound)
}
