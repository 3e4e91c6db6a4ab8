//! `cargo xtask`: the table of commands.

use anyhow::{bail, Context, Result};
use clap::{Parser, Subcommand, ValueEnum};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use xtask::bench::{bench, side_by_side};
use xtask::build::{build, Parts, Project};
use xtask::cache::Cache;
use xtask::checks::{demo, demo_on_host, test};
use xtask::coverage::coverage;
use xtask::dist::dist;
use xtask::fuzz::{fuzz, FuzzOptions};
use xtask::rules::rules;
use xtask::setup::setup;
use xtask::vm::{Vm, VmOptions, VmResult};

/// Set-up, build, test machine, demo and distribution of this project.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Prepare this machine: Debian trees, kernel source, guest disk (root; once, some minutes)
    Setup,
    /// Build the tools, the kernel modules and the test programs
    Build {
        /// Only this part (may be repeated)
        #[arg(long, value_enum)]
        only: Vec<Part>,
        /// A word for Kbuild's command line, such as W=1 (may be repeated)
        #[arg(long, value_name = "WORD")]
        make: Vec<String>,
    },
    /// Boot the test machine with what was built; run a script in it, or give a shell on this terminal
    Vm {
        /// Memory in MiB
        #[arg(long, default_value_t = 3072)]
        mem: u32,
        /// Processors
        #[arg(long, default_value_t = 2)]
        smp: u32,
        /// Mount the disk of this name, which outlives the run, at /data
        #[arg(long, value_name = "NAME")]
        keep_disk: Option<String>,
        /// Boot from the disk that also has node, ruby, a compiler and the like
        #[arg(long)]
        runtimes: bool,
        /// Switch off after this many seconds (default: 600 for a script, never for a shell)
        #[arg(long, value_name = "SECONDS")]
        timeout: Option<u64>,
        /// Put the files that the script leaves in /out into this folder
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
        /// Put a file or folder into the guest (may be repeated)
        #[arg(long, value_name = "HOST:GUEST")]
        file: Vec<String>,
        /// Write the kernel's console log here (default: target/vm-console.log)
        #[arg(long, value_name = "FILE")]
        console: Option<PathBuf>,
        /// More words for the kernel's command line
        #[arg(long, default_value = "")]
        append: String,
        /// Build first what is not up to date
        #[arg(long)]
        build: bool,
        /// The script (a file of this machine), and its arguments
        #[arg(last = true)]
        script: Vec<String>,
    },
    /// Collect what a user installs in target/dist
    Dist,
    /// Show a checkpoint and a restart, in the VM
    Demo {
        /// On this machine instead of the VM; its kernel must be the one the modules are for
        #[arg(long)]
        host: bool,
    },
    /// Check everything: formatting, lints, tests, module build, scenes in the VM
    Test {
        /// Only the scenes whose name contains this, and other words for their test program
        #[arg(last = true)]
        filter: Vec<String>,
    },
    /// List the rules of the specification that have no test
    Rules,
    /// Measure crimg against ripgrep, cp and others, as ratios of one run
    Bench {
        /// In the VM, on one and the same process, beside crit, gcore and gdb (packages are downloaded once)
        #[arg(long)]
        side_by_side: bool,
        /// Arguments of the script in benches/
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Measure which lines of the format crate its tests and kept inputs reach
    Coverage,
    /// Run the fuzz targets, each for its share of the time
    Fuzz {
        /// Minutes for all of them together
        #[arg(long, default_value_t = 5.0)]
        minutes: f64,
        /// Only this target (may be repeated)
        #[arg(long, value_name = "TARGET")]
        target: Vec<String>,
        /// Append the result to fuzz/RUNS.md
        #[arg(long)]
        record: bool,
        /// Keep the inputs that are worth it in fuzz/corpus
        #[arg(long)]
        keep: bool,
    },
    /// Remove this checkout's module build
    Clean {
        /// Remove the whole cache: trees, kernel source, disks of every checkout
        #[arg(long)]
        all: bool,
    },
}

/// Our exit status when the script succeeded but the kernel's log has complaints.
const KERNEL_COMPLAINED: u8 = 123;
/// Our exit status when the guest never told the script's status.
const NO_ANSWER: u8 = 124;

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// `crctl` and `crimg`
    Tools,
    /// The kernel modules
    Modules,
    /// The test programs
    Programs,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<ExitCode> {
    let cache = Cache::open()?;
    let workspace = xtask::workspace_root();
    match arguments.command {
        Task::Setup => {
            let kernel = setup(&cache)?;
            let at = cache.root().display();
            println!(
                "ready: kernel {} ({}), cache {at}",
                kernel.release, kernel.package_version
            );
        }
        Task::Build { only, make } => {
            let kernel = setup(&cache)?;
            let project = Project::new(&cache, &workspace)?;
            let has = |part| only.is_empty() || only.contains(&part);
            let parts = Parts {
                tools: has(Part::Tools),
                modules: has(Part::Modules),
                programs: has(Part::Programs),
                make,
            };
            build(&cache, &kernel, &project, &parts)?;
        }
        Task::Vm {
            mem,
            smp,
            keep_disk,
            runtimes,
            timeout,
            out,
            file,
            console,
            append,
            build: first,
            script,
        } => {
            let kernel = setup(&cache)?;
            if first {
                build(
                    &cache,
                    &kernel,
                    &Project::new(&cache, &workspace)?,
                    &Parts::default(),
                )?;
            }
            let mut options = VmOptions {
                mem_mb: mem,
                smp,
                disk: keep_disk,
                runtimes,
                out_dir: out,
                append,
                files: file
                    .iter()
                    .map(|pair| split_pair(pair))
                    .collect::<Result<_>>()?,
                console_log: Some(
                    console.unwrap_or_else(|| workspace.join("target/vm-console.log")),
                ),
                ..VmOptions::default()
            };
            return run_vm(&mut options, timeout, &script);
        }
        Task::Dist => {
            let kernel = setup(&cache)?;
            let folder = dist(&cache, &kernel, &Project::new(&cache, &workspace)?)?;
            println!("{}", folder.display());
        }
        Task::Demo { host: true } => demo_on_host(&cache, &workspace)?,
        Task::Demo { host: false } => {
            let result = demo(&cache, &workspace)?;
            let log = workspace.join("target/demo-console.log");
            std::fs::write(&log, &result.console)
                .with_context(|| format!("cannot write {}", log.display()))?;
            return Ok(report(&result, &log));
        }
        Task::Test { filter } => test(&cache, &workspace, &filter)?,
        Task::Rules => rules(&workspace)?,
        Task::Bench {
            side_by_side: true,
            arguments,
        } => {
            let result = side_by_side(&cache, &workspace, &arguments)?;
            let log = workspace.join("target/side-by-side/console.log");
            std::fs::write(&log, &result.console)
                .with_context(|| format!("cannot write {}", log.display()))?;
            return Ok(report(&result, &log));
        }
        Task::Bench { arguments, .. } => bench(&workspace, &arguments)?,
        Task::Coverage => coverage(&workspace)?,
        Task::Fuzz {
            minutes,
            target,
            record,
            keep,
        } => fuzz(
            &workspace,
            &FuzzOptions {
                time: Duration::from_secs_f64((minutes * 60.0).clamp(1.0, 1e7)),
                targets: target,
                seed: 0,
                record,
                keep,
            },
        )?,
        Task::Clean { all } => {
            let project = Project::new(&cache, &workspace)?;
            let _lock = cache.lock(&project.lock_name())?;
            let _setup = cache.lock("setup")?;
            let folder = if all { cache.root() } else { &project.folder };
            std::fs::remove_dir_all(folder)
                .with_context(|| format!("cannot remove {}", folder.display()))?;
            println!("removed {}", folder.display());
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// `HOST:GUEST` as two paths.
fn split_pair(pair: &str) -> Result<(PathBuf, PathBuf)> {
    match pair.rsplit_once(':') {
        Some((host, guest)) if guest.starts_with('/') => Ok((host.into(), guest.into())),
        _ => bail!("--file {pair}: write it as HOST:GUEST with an absolute guest path, for example --file notes.txt:/root/notes.txt"),
    }
}

/// Runs the script, or a shell; its status becomes ours.
fn run_vm(options: &mut VmOptions, timeout: Option<u64>, script: &[String]) -> Result<ExitCode> {
    match script.split_first() {
        Some((path, arguments)) => {
            options.script = std::fs::read_to_string(Path::new(path))
                .with_context(|| format!("cannot read the script {path}"))?;
            options.arguments = arguments.to_vec();
            options.echo = true;
            options.timeout = Duration::from_secs(timeout.unwrap_or(600));
        }
        None => {
            options.interactive = true;
            // A shell has no end by itself; ten years are as good as none.
            options.timeout = Duration::from_secs(timeout.unwrap_or(10 * 365 * 86_400));
        }
    }
    let result = Vm::open()?.run(options)?;
    let log = options.console_log.as_deref().unwrap_or(Path::new("-"));
    Ok(report(&result, log))
}

/// Says how the run ended; a script's failure and a kernel's complaint are ours.
fn report(result: &VmResult, log: &Path) -> ExitCode {
    for line in &result.complaints {
        eprintln!("[vm] kernel: {line}");
    }
    let boot = result
        .boot_seconds
        .map_or_else(|| "no boot".to_owned(), |s| format!("boot {s:.1} s"));
    eprintln!(
        "[vm] {} ({boot}, all {:.1} s, console log {})",
        result.ending,
        result.elapsed.as_secs_f64(),
        log.display()
    );
    match result.status {
        Some(0) if !result.complaints.is_empty() => ExitCode::from(KERNEL_COMPLAINED),
        Some(status) => ExitCode::from(u8::try_from(status & 0xff).unwrap_or(1)),
        None => ExitCode::from(NO_ANSWER),
    }
}
