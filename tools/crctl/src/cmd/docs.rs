// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `crctl completions` and `crctl man`: generated from the definition of the command line.

use super::print;
use crate::cli::Cli;
use crate::error::{Class, Failure, Result};
use crate::escape;
use clap::CommandFactory;
use clap_complete::Shell;

/// Prints the completion script for `shell`.
pub fn completions(shell: Shell) -> Result<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "crctl", &mut script);
    print(&String::from_utf8_lossy(&script)).map(|()| 0)
}

/// Prints the manual page of the program or of one sub-command.
pub fn man(command: Option<&str>) -> Result<u8> {
    let mut root = Cli::command();
    root.build();
    let command = match command {
        None => root,
        Some(name) => match root.find_subcommand(name) {
            Some(found) => found.clone(),
            None => {
                let text = format!("there is no sub-command {}", escape::text(name.as_bytes()));
                return Err(Failure::new(Class::Usage, text).remedy("List them with: crctl --help"));
            }
        },
    };
    let mut page = Vec::new();
    clap_mangen::Man::new(command)
        .render(&mut page)
        .map_err(|e| Failure::io("manual page", &e))?;
    print(&String::from_utf8_lossy(&page)).map(|()| 0)
}
