//! The test machine: boots the stock kernel under QEMU with what was built, runs one script, brings its output back.
//!
//! Nothing of a run is shared with another run: the root disk is opened as a snapshot, and a folder in the cache holds
//! the run's own disks and files. The script's standard output, standard error and exit status come over three virtio
//! ports; the kernel's console is a serial port whose log is read for complaints afterwards. Files that the script leaves
//! in `/out` come back through an ext4 disk, so that they are there even if the guest crashed.
//!
//! In the guest: `/data` (on a named disk that outlives the run, if one was asked for), `/out`, `/scratch` (on the root
//! disk, thrown away), `/tmp` (in memory), `crctl` and `crimg` in `PATH`, the test programs in `/opt/crkit/programs`
//! (in `PATH`), the modules where `modprobe` finds them (none is loaded). No network but the loopback.
//!
//! ```no_run
//! use xtask::vm::{Vm, VmOptions};
//! # fn main() -> anyhow::Result<()> {
//! let vm = Vm::open()?;
//! let result = vm.run(&VmOptions { script: "#!/bin/sh\nuname -r\n".into(), ..VmOptions::default() })?;
//! assert_eq!(result.status, Some(0));
//! assert!(result.complaints.is_empty(), "{:?}", result.complaints);
//! println!("{}", result.stdout);
//! # Ok(()) }
//! ```

mod clock;
mod complaints;
mod disks;
mod qemu;
mod run_folder;

pub use complaints::complaints;

use crate::build::Project;
use crate::cache::Cache;
use crate::command::output;
use crate::setup::Kernel;
use anyhow::{Context, Result};
use run_folder::{wait, wait_for_boot, Boot, Ports, RunFolder};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// What to run and on what kind of machine.
#[derive(Debug, Clone)]
pub struct VmOptions {
    /// The text of the script. Its first line may name an interpreter (`#!`); without one bash runs it.
    pub script: String,
    /// Arguments of the script.
    pub arguments: Vec<String>,
    /// Files to put into the guest: host path, absolute guest path. The mode is kept; a folder is copied whole.
    pub files: Vec<(PathBuf, PathBuf)>,
    /// Variables for the script.
    pub environment: Vec<(String, String)>,
    /// Memory of the guest in MiB.
    pub mem_mb: u32,
    /// Processors of the guest.
    pub smp: u32,
    /// The name of a disk that outlives the run, mounted at `/data`. It is made at its first use.
    pub disk: Option<String>,
    /// The root disk also has the runtimes and the compiler of `tests/scenes/runtimes`. It is made at its first use.
    pub runtimes: bool,
    /// After this time, beside that of the boot, the guest is switched off and [`VmResult::status`] is `None`.
    pub timeout: Duration,
    /// Where the files of `/out` are put. Without it a folder in the cache, removed when the result is dropped.
    pub out_dir: Option<PathBuf>,
    /// More words for the kernel's command line.
    pub append: String,
    /// Also show the script's output on our own standard output and error while it runs.
    pub echo: bool,
    /// An interactive shell on this terminal instead of the script.
    pub interactive: bool,
    /// Keep a copy of the console log in this file, also when the run fails.
    pub console_log: Option<PathBuf>,
}

impl Default for VmOptions {
    fn default() -> Self {
        Self {
            script: String::new(),
            arguments: Vec::new(),
            files: Vec::new(),
            environment: Vec::new(),
            mem_mb: 3072,
            smp: 2,
            disk: None,
            runtimes: false,
            timeout: Duration::from_secs(600),
            out_dir: None,
            append: String::new(),
            echo: false,
            interactive: false,
            console_log: None,
        }
    }
}

/// What a run brought back.
#[derive(Debug)]
pub struct VmResult {
    /// The script's exit status, 128 + signal if it was killed; `None` if the guest did not get that far.
    pub status: Option<i32>,
    /// How the run ended if there is no status, in words.
    pub ending: String,
    /// What the script wrote to standard output.
    pub stdout: String,
    /// What the script wrote to standard error.
    pub stderr: String,
    /// The kernel's console from the first line.
    pub console: String,
    /// Lines of the console that say that something is wrong in the kernel; see [`complaints`].
    pub complaints: Vec<String>,
    /// The files of `/out`.
    pub out_dir: PathBuf,
    /// Wall time of the whole run.
    pub elapsed: Duration,
    /// Seconds from the kernel's start to the script's start, on the guest's clock.
    pub boot_seconds: Option<f64>,
    _folder: RunFolder,
}

/// The test machine of this checkout.
#[derive(Debug)]
pub struct Vm {
    cache: Cache,
    kernel: Kernel,
    project: Project,
}

impl Vm {
    /// The machine that `cargo xtask setup` prepared, with what `cargo xtask build` last built.
    ///
    /// # Errors
    /// When `setup` has not been run.
    pub fn open() -> Result<Self> {
        let cache = Cache::open()?;
        let kernel = Kernel::chosen(&cache)?;
        let project = Project::new(&cache, &crate::workspace_root())?;
        Ok(Self {
            cache,
            kernel,
            project,
        })
    }

    /// Like [`Vm::open`], but first sets the machine up if it is not, and builds what is out of date.
    ///
    /// # Errors
    /// Those of [`crate::setup::setup`] and [`crate::build::build`].
    pub fn prepare() -> Result<Self> {
        let cache = Cache::open()?;
        let kernel = crate::setup::setup(&cache)?;
        let project = Project::new(&cache, &crate::workspace_root())?;
        crate::build::build(&cache, &kernel, &project, &crate::build::Parts::default())?;
        Ok(Self {
            cache,
            kernel,
            project,
        })
    }

    /// The kernel that it boots.
    pub fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    /// Starts the machine and waits until the script begins. A guest that a busy host kept from booting, or whose clock
    /// runs wrong from the start, is switched off and started again: nothing of ours has run in it yet.
    fn boot(
        &self,
        run: &Path,
        options: &VmOptions,
        disk: Option<&disks::DataDisk>,
        ports: &mut Ports,
    ) -> Result<Child> {
        const TRIES: usize = 4;
        let accel = self.accelerator();
        let mut attempt = 0;
        loop {
            attempt += 1;
            let mut copy = Command::new("cp");
            copy.args(["--sparse=always", "--reflink=auto"]);
            output(
                copy.arg(self.cache.path("boot/out.ext4"))
                    .arg(run.join("out.ext4")),
            )?;
            ports.clear(run)?;
            let mut qemu = self.qemu(run, options, disk.map(|d| d.path.as_path()), accel)?;
            if options.interactive || attempt == TRIES {
                return Ok(qemu);
            }
            match wait_for_boot(&mut qemu, run, options.timeout)? {
                Boot::Done => return Ok(qemu),
                Boot::Failed(why) => eprintln!("[vm] {why}: started again"),
            }
        }
    }

    /// Boots, runs the script, switches off. A script that fails is not an error here: look at the status.
    ///
    /// # Errors
    /// When the machine cannot be started or a file cannot be copied.
    pub fn run(&self, options: &VmOptions) -> Result<VmResult> {
        let start = Instant::now();
        if options.runtimes {
            crate::setup::runtimes(&self.cache, &self.kernel)?;
        }
        let folder = RunFolder::new(&self.cache)?;
        let disk = options
            .disk
            .as_deref()
            .map(|name| self.data_disk(name))
            .transpose()?;
        self.make_payload(&folder.path, options)?;
        let mut ports = Ports::new(&folder.path, options.echo)?;
        let mut qemu = self.boot(&folder.path, options, disk.as_ref(), &mut ports)?;
        let ended = wait(&mut qemu, Instant::now() + options.timeout, &mut ports);
        ports.pump();
        let ended = ended?;

        let read = |name: &str| {
            let bytes = fs::read(folder.path.join(name)).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let (report, console) = (read("status"), read("console").replace('\r', ""));
        if let Some(path) = &options.console_log {
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)
                    .with_context(|| format!("cannot create {}", parent.display()))?;
            }
            fs::write(path, &console)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        let reported = |key: &str| {
            report
                .lines()
                .rev()
                .find_map(|l| l.strip_prefix(key))
                .map(|v| v.trim().to_owned())
        };
        let status = reported("exit ").and_then(|v| v.parse().ok());
        let out_dir = options
            .out_dir
            .clone()
            .unwrap_or_else(|| folder.path.join("out"));
        fs::create_dir_all(&out_dir)
            .with_context(|| format!("cannot create {}", out_dir.display()))?;
        if reported("files ").as_deref() != Some("0") {
            self.fetch_out(&folder.path, &out_dir)?;
        }
        let ending = match (status, ended) {
            (Some(status), _) => format!("the script ended with status {status}"),
            (None, None) => format!(
                "no answer after {} s: switched off",
                options.timeout.as_secs()
            ),
            (None, Some(status)) if report.is_empty() => {
                format!(
                    "the guest did not boot; QEMU ended with {status}: {}",
                    read("qemu-errors").trim()
                )
            }
            (None, Some(_)) => "the guest went down before the script ended".to_owned(),
        };
        Ok(VmResult {
            status,
            ending,
            stdout: read("stdout"),
            stderr: read("stderr"),
            complaints: complaints(&console),
            console,
            out_dir,
            elapsed: start.elapsed(),
            boot_seconds: reported("up ").and_then(|v| v.parse().ok()),
            _folder: folder,
        })
    }
}
