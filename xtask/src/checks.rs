//! `cargo xtask test` and `cargo xtask demo`: everything that judges the project, and the story that shows it.

use crate::build::{build, Parts, Project};
use crate::cache::Cache;
use crate::command::{run, step};
use crate::fuzz::{fuzz, has_compiler, FuzzOptions};
use crate::rules::rules;
use crate::setup::{setup, Kernel};
use crate::vm::{Vm, VmOptions, VmResult};
use anyhow::{bail, ensure, Context, Result};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Runs the checks that need no VM, builds everything, then runs the scenes in the VM.
///
/// `filter` is handed to the test program of the scenes.
///
/// # Errors
/// At the first check that fails; its output has been printed.
pub fn test(cache: &Cache, workspace: &Path, filter: &[String]) -> Result<()> {
    let cargo = |arguments: &[&str]| {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.current_dir(workspace).args(arguments);
        command
    };
    step("formatting", || {
        run(&mut cargo(&["fmt", "--all", "--check"]))
    })?;
    step("lints", || {
        run(&mut cargo(&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ]))
    })?;
    // The scenes are a test target that runs only when it is named.
    step("tests without a VM", || {
        run(&mut cargo(&["test", "--workspace"]))
    })?;
    step("rules of the specification", || rules(workspace))?;
    if has_compiler() {
        step("a minute of fuzzing", || {
            fuzz(
                workspace,
                &FuzzOptions {
                    time: Duration::from_secs(54),
                    targets: Vec::new(),
                    // What it finds is to be about the change under test, not about chance.
                    seed: 1,
                    record: false,
                    keep: false,
                },
            )
        })?;
    } else {
        println!("[xtask] a minute of fuzzing: left out, for there is no C++ compiler (apt-get install g++)");
    }
    let kernel = setup(cache)?;
    let project = Project::new(cache, workspace)?;
    step("build", || {
        build(cache, &kernel, &project, &Parts::default())
    })?;
    step("scenes in the VM", || {
        let mut scenes = cargo(&["test", "-p", "cr-tests", "--test", "vm", "--"]);
        run(scenes.args(filter))
    })
}

/// Where the demo lies, in the checkout.
const DEMO: &str = "tests/demo";

/// Runs the demo in the VM and prints its transcript while it goes.
///
/// # Errors
/// When something does not build or the VM cannot be started.
pub fn demo(cache: &Cache, workspace: &Path) -> Result<VmResult> {
    let script = demo_script(workspace)?;
    let kernel = setup(cache)?;
    let project = Project::new(cache, workspace)?;
    build(cache, &kernel, &project, &Parts::default())?;
    Vm::open()?.run(&VmOptions {
        script,
        files: vec![(workspace.join(DEMO), "/opt/crkit/demo".into())],
        environment: vec![("CRKIT_DEMO".into(), "/opt/crkit/demo".into())],
        timeout: Duration::from_secs(300),
        echo: true,
        ..VmOptions::default()
    })
}

/// Runs the demo on this machine. Its kernel must be the one that the modules are for, and they must be installed.
///
/// # Errors
/// When the modules cannot be loaded here, or the demo fails.
pub fn demo_on_host(cache: &Cache, workspace: &Path) -> Result<()> {
    demo_script(workspace)?;
    let running = fs::read_to_string("/proc/sys/kernel/osrelease")
        .context("cannot read the running kernel's release")?;
    let running = running.trim();
    let kernel = Kernel::chosen(cache)?;
    ensure!(
        running == kernel.release,
        "the modules are for kernel {} and this machine runs {running}\n  Run the demo in the VM: cargo xtask demo",
        kernel.release
    );
    if !Path::new("/dev/crkit").exists() && run(Command::new("modprobe").arg("cr_core")).is_err() {
        bail!("the modules are not installed here\n  Run: cargo xtask dist && target/dist/install");
    }
    let project = Project::new(cache, workspace)?;
    build(
        cache,
        &kernel,
        &project,
        &Parts {
            modules: false,
            ..Parts::default()
        },
    )?;
    let path = std::env::var("PATH").unwrap_or_default();
    let own = format!(
        "{}:{}:{path}",
        project.tools().display(),
        project.stage().join("opt/crkit/programs").display()
    );
    run(Command::new("bash")
        .arg(workspace.join(DEMO).join("demo.sh"))
        .env("PATH", own)
        .env("CRKIT_DEMO", workspace.join(DEMO)))
}

fn demo_script(workspace: &Path) -> Result<String> {
    let path = workspace.join(DEMO).join("demo.sh");
    fs::read_to_string(&path).with_context(|| format!("cannot read the demo {}", path.display()))
}
