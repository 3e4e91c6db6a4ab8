//! `cargo xtask bench`: the toolkit against other programs, here or in the VM beside crit, gcore and gdb.

use crate::build::{build, Parts, Project};
use crate::cache::Cache;
use crate::command::{exists, run, step};
use crate::setup::{comparison, setup};
use crate::vm::{Vm, VmOptions, VmResult};
use anyhow::{ensure, Context, Result};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Builds `crimg`, makes its images, and measures it on this machine: see `benches/toolkit.py`, which gets `arguments`.
///
/// # Errors
/// When ripgrep or another program of a row is missing, or the script says so.
pub fn bench(workspace: &Path, arguments: &[String]) -> Result<()> {
    for (program, package) in [
        ("rg", "ripgrep"),
        ("python3", "python3"),
        ("strings", "binutils"),
    ] {
        ensure!(
            exists(program),
            "{program} is missing\n  Install it: apt-get install {package}"
        );
    }
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace);
    cargo.args(["build", "--release", "-p", "crimg", "--bins", "--examples"]);
    step("build", || run(&mut cargo))?;
    run(Command::new("python3")
        .arg(workspace.join("benches/toolkit.py"))
        .args(arguments))
}

/// Measures in the VM on one and the same process: see `benches/side_by_side.py`, which gets `arguments`. Its numbers are left
/// in `target/side-by-side`.
///
/// # Errors
/// When something does not build, packages cannot be had, or the VM cannot be started.
pub fn side_by_side(cache: &Cache, workspace: &Path, arguments: &[String]) -> Result<VmResult> {
    let script = workspace.join("benches/side_by_side.py");
    let script =
        fs::read_to_string(&script).with_context(|| format!("cannot read {}", script.display()))?;
    let kernel = setup(cache)?;
    let project = Project::new(cache, workspace)?;
    build(cache, &kernel, &project, &Parts::default())?;
    let out = workspace.join("target/side-by-side");
    let _ = fs::remove_dir_all(&out);
    fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
    Vm::open()?.run(&VmOptions {
        script,
        arguments: arguments.to_vec(),
        files: vec![(comparison(cache)?, "/opt/comparison.tar".into())],
        timeout: Duration::from_secs(3600),
        out_dir: Some(out),
        echo: true,
        ..VmOptions::default()
    })
}
