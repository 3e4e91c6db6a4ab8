// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `crimg man`: manual pages, from the definition of the command line itself.

use crate::{
    atomic::AtomicFile,
    error::{Failure, Outcome},
    output::Output,
};
use std::{
    io::Write,
    path::{Path, PathBuf},
};

/// Print the manual page, or write one page for each sub-command into a folder.
///
/// Read it at once with: crimg man | man -l -
#[derive(clap::Args)]
pub struct Args {
    /// Print the page of this sub-command.
    #[arg(value_name = "COMMAND", conflicts_with = "dir")]
    command: Option<String>,
    /// Write crimg.1, crimg-show.1, … into this folder, which must exist.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// # Errors
/// [`Failure`].
pub fn run(args: &Args, cli: clap::Command, out: &mut Output) -> Result<Outcome, Failure> {
    let pages = pages(cli).map_err(Failure::Write)?;
    if let Some(dir) = &args.dir {
        for (name, page) in &pages {
            write(&dir.join(format!("{name}.1")), page)?;
        }
        out.line(format_args!(
            "{} pages in {}",
            pages.len(),
            crate::escape::text(dir.as_os_str().as_encoded_bytes())
        ))?;
        return Ok(Outcome::Sound);
    }
    let wanted = match &args.command {
        Some(command) => format!("crimg-{}", command.replace(' ', "-")),
        None => "crimg".to_owned(),
    };
    match pages.iter().find(|(name, _)| *name == wanted) {
        Some((_, page)) => out.bytes(page)?,
        None => {
            let names = pages.iter().filter_map(|(n, _)| n.strip_prefix("crimg-"));
            return Err(Failure::Usage {
                message: "there is no such sub-command".to_owned(),
                remedy: format!("There are: {}.", names.collect::<Vec<_>>().join(" ")),
            });
        }
    }
    Ok(Outcome::Sound)
}

fn write(path: &Path, page: &[u8]) -> Result<(), Failure> {
    let mut file = AtomicFile::create(path, true)?;
    file.file.write_all(page).map_err(|e| file.failed(e))?;
    // Pages are for everyone.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    file.file
        .set_permissions(mode)
        .map_err(|e| file.failed(e))?;
    file.commit()
}

/// Name and contents of each page: the command and its sub-commands, whatever their depth.
///
/// # Errors
/// None in practice.
pub fn pages(mut cli: clap::Command) -> std::io::Result<Vec<(String, Vec<u8>)>> {
    cli.build();
    let mut pages = Vec::new();
    let mut todo = vec![(String::from("crimg"), cli)];
    while let Some((name, command)) = todo.pop() {
        for sub in command.get_subcommands().filter(|s| s.get_name() != "help") {
            todo.push((format!("{name}-{}", sub.get_name()), sub.clone()));
        }
        let mut page = Vec::new();
        clap_mangen::Man::new(command.display_name(name.clone()))
            .title(name.to_uppercase())
            .render(&mut page)?;
        pages.push((name, page));
    }
    pages.sort();
    Ok(pages)
}
