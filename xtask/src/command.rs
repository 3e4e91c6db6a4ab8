//! Starting other programs: here, or inside one of the Debian trees, with readable failures.

use anyhow::{bail, Context, Result};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// Mounts what a Debian tree needs, then becomes the program. The mounts live in the private namespace that
/// `unshare --mount` made, so they vanish with the program, however it ends.
const ENTER: &str = r#"
tree=$1; shift
mount -t proc proc "$tree/proc"
mount --rbind /dev "$tree/dev"
mount -t tmpfs -o mode=1777 tmpfs "$tree/dev/shm" 2>/dev/null || :
mount -t sysfs -o ro sysfs "$tree/sys" 2>/dev/null || :
while [ "$1" != -- ]; do
    mkdir -p "$tree$2"
    mount --rbind "$1" "$tree$2"
    shift 2
done
shift
exec chroot "$tree" "$@"
"#;

/// A program to be run inside a Debian tree.
///
/// `binds` are pairs of a host folder and the absolute path under which it appears in the tree. The environment is
/// emptied except for the proxy variables. The program is killed when this thread dies.
pub fn in_tree(tree: &Path, binds: &[(&Path, &str)], program: &[&str]) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", "unshare", "--mount", "--"]);
    command.args(["sh", "-ec", ENTER, "xtask-enter"]).arg(tree);
    for (host, inside) in binds {
        command.arg(host).arg(inside);
    }
    command.arg("--").args(program);
    command.env_clear();
    command.env(
        "PATH",
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    );
    command
        .env("HOME", "/root")
        .env("LC_ALL", "C.UTF-8")
        .env("TERM", "linux");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    for name in ["http_proxy", "https_proxy", "no_proxy"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

/// Runs the program and gives its standard output; the error carries what it said.
///
/// # Errors
/// When it cannot be started or does not end with status 0.
pub fn output(command: &mut Command) -> Result<String> {
    let shown = show(command);
    let out = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {shown}"))?;
    if !out.status.success() {
        bail!(
            "{shown}: {}\n{}",
            out.status,
            String::from_utf8_lossy(&out.stderr).trim_end()
        );
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// Runs the program with our own standard output and error.
///
/// # Errors
/// When it cannot be started or does not end with status 0.
pub fn run(command: &mut Command) -> Result<()> {
    let shown = show(command);
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("cannot start {shown}"))?;
    if !status.success() {
        bail!("{shown}: {status}");
    }
    Ok(())
}

/// Runs the program with its output in `log`; a failure shows the last lines of it.
///
/// # Errors
/// When it cannot be started or does not end with status 0.
pub fn run_logged(command: &mut Command, log: &Path) -> Result<()> {
    let shown = show(command);
    let file = File::options()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("cannot write the log {}", log.display()))?;
    let status = command
        .stdin(Stdio::null())
        .stdout(file.try_clone().context("cannot duplicate the log file")?)
        .stderr(file)
        .status()
        .with_context(|| format!("cannot start {shown}"))?;
    if !status.success() {
        let text = fs::read(log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines[lines.len().saturating_sub(30)..].join("\n  ");
        bail!(
            "{shown}: {status}\n  {tail}\n  The whole output is in {}",
            log.display()
        );
    }
    Ok(())
}

/// Prints a progress line, runs `work`, and prints how long it took.
///
/// # Errors
/// Those of `work`, with the label in front.
pub fn step<T>(label: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    eprintln!("[xtask] {label} ...");
    let start = Instant::now();
    let result = work().with_context(|| format!("{label} failed"))?;
    eprintln!("[xtask] {label}: {:.1} s", start.elapsed().as_secs_f64());
    Ok(result)
}

/// Whether a program of this name is in `PATH`.
pub fn exists(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|dir: PathBuf| dir.join(program).is_file())
    })
}

/// The program and its last arguments, short enough for a message.
fn show(command: &Command) -> String {
    let all: Vec<String> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|s: &OsStr| s.to_string_lossy().into_owned())
        .collect();
    // Of a program inside a tree only the part after the separator says something.
    let inner = match all.iter().position(|a| a == "xtask-enter") {
        Some(at) => all[at..]
            .iter()
            .position(|a| a == "--")
            .map_or(&all[..], |separator| &all[at + separator + 1..]),
        None => &all[..],
    };
    let mut text = inner.join(" ").replace('\n', " ");
    if text.chars().count() > 160 {
        text = text.chars().take(160).collect::<String>() + " ...";
    }
    text
}
