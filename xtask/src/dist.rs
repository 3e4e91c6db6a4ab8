//! `cargo xtask dist`: the folder `target/dist` that a user copies to a machine and installs from.

use crate::build::{build, Parts, Project};
use crate::cache::Cache;
use crate::setup::{remove_tree, Kernel};
use anyhow::{Context, Result};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Builds and collects `modules/<release>/*.ko`, `bin/crctl`, `bin/crimg` and `install`. Gives the folder.
///
/// # Errors
/// When something does not build or cannot be copied.
pub fn dist(cache: &Cache, kernel: &Kernel, project: &Project) -> Result<PathBuf> {
    build(
        cache,
        kernel,
        project,
        &Parts {
            programs: false,
            ..Parts::default()
        },
    )?;
    let _lock = cache.lock(&project.lock_name())?;
    let folder = project.workspace.join("target/dist");
    remove_tree(&folder)?;
    copy_folder(
        &project.modules(kernel),
        &folder.join("modules").join(&kernel.release),
    )?;
    copy_folder(&project.stage().join("usr/local/bin"), &folder.join("bin"))?;
    let install = folder.join("install");
    fs::write(&install, include_str!("../scripts/install"))
        .and_then(|()| fs::set_permissions(&install, fs::Permissions::from_mode(0o755)))
        .with_context(|| format!("cannot write {}", install.display()))?;
    Ok(folder)
}

/// Copies the files of one folder.
fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot create {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot list {}", from.display()))? {
        let entry = entry.with_context(|| format!("cannot list {}", from.display()))?;
        fs::copy(entry.path(), to.join(entry.file_name()))
            .with_context(|| format!("cannot copy {}", entry.path().display()))?;
    }
    Ok(())
}
