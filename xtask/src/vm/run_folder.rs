//! The folder of one run and the files behind the guest's ports.

use crate::cache::Cache;
use crate::setup::remove_tree;
use anyhow::{Context, Result};
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The folder of one run; removed when the run's result is dropped.
#[derive(Debug)]
pub(super) struct RunFolder {
    pub(super) path: PathBuf,
}

impl RunFolder {
    pub(super) fn new(cache: &Cache) -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        sweep(cache);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = cache.path(format!("runs/{}-{number}", std::process::id()));
        remove_tree(&path)?;
        fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self { path })
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        // What cannot be removed now is swept by a later run.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Removes folders of runs whose process is gone.
fn sweep(cache: &Cache) {
    let Ok(entries) = fs::read_dir(cache.path("runs")) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some((pid, _)) = name.split_once('-') else {
            continue;
        };
        if !Path::new("/proc").join(pid).exists() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// The files behind the virtio ports, and how much of them was shown.
pub(super) struct Ports {
    shown: Vec<(File, bool)>,
}

/// How the start of a guest went.
pub(super) enum Boot {
    /// The script begins, or QEMU ended by itself.
    Done,
    /// QEMU was stopped; why.
    Failed(String),
}

impl Ports {
    pub(super) fn new(run: &Path, echo: bool) -> Result<Self> {
        let mut shown = Vec::new();
        for (name, is_error) in [("stdout", false), ("stderr", true)] {
            let path = run.join(name);
            File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
            if echo {
                let file =
                    File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
                shown.push((file, is_error));
            }
        }
        Ok(Self { shown })
    }

    /// Empties the files, for another start of the guest.
    pub(super) fn clear(&mut self, run: &Path) -> Result<()> {
        for name in ["stdout", "stderr", "status", "console"] {
            let path = run.join(name);
            File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
        }
        for (file, _) in &mut self.shown {
            file.rewind().context("cannot read a port again")?;
        }
        Ok(())
    }

    /// Shows what has arrived since the last call. A closed output of our own is no reason to stop the guest.
    pub(super) fn pump(&mut self) {
        for (file, is_error) in &mut self.shown {
            let mut bytes = Vec::new();
            let at = file.stream_position().unwrap_or(0);
            if file.read_to_end(&mut bytes).is_err() {
                let _ = file.seek(SeekFrom::Start(at));
                continue;
            }
            if bytes.is_empty() {
                continue;
            }
            if *is_error {
                let _ = std::io::stderr().write_all(&bytes);
            } else {
                let mut stdout = std::io::stdout();
                let _ = stdout.write_all(&bytes);
                let _ = stdout.flush();
            }
        }
    }
}

/// Waits until the guest says that it is up, at most two minutes. If it does not, or says a time that cannot be, QEMU is
/// stopped.
pub(super) fn wait_for_boot(qemu: &mut Child, run: &Path, timeout: Duration) -> Result<Boot> {
    const BOOT_TIME: Duration = Duration::from_secs(120);
    let start = Instant::now();
    let failure = loop {
        if qemu.try_wait().context("cannot wait for QEMU")?.is_some() {
            return Ok(Boot::Done);
        }
        let report = fs::read_to_string(run.join("status")).unwrap_or_default();
        if let Some(up) = up_seconds(&report) {
            match clock_fault(up, start.elapsed().as_secs_f64()) {
                None => return Ok(Boot::Done),
                Some(fault) => break fault,
            }
        }
        if start.elapsed() >= timeout.min(BOOT_TIME) {
            break format!("the guest is not up after {} s", start.elapsed().as_secs());
        }
        std::thread::sleep(Duration::from_millis(30));
    };
    qemu.kill().context("cannot stop QEMU")?;
    qemu.wait().context("cannot wait for QEMU")?;
    Ok(Boot::Failed(failure))
}

/// The time of the guest's clock when the script began, once the whole line has arrived.
fn up_seconds(report: &str) -> Option<f64> {
    let whole = &report[..report.rfind('\n')?];
    whole
        .lines()
        .find_map(|line| line.strip_prefix("up ")?.trim().parse().ok())
}

/// What is wrong with a guest's clock that shows `up` seconds when QEMU has run for `real` seconds.
fn clock_fault(up: f64, real: f64) -> Option<String> {
    let is_right = up < real * 1.5 + 2.0 && real < up * 2.0 + 30.0;
    (!is_right).then(|| format!("the guest's clock runs wrong ({up:.0} s in {real:.0} s)"))
}

/// Waits for QEMU; `None` means that the time was over and it was killed.
pub(super) fn wait(
    qemu: &mut Child,
    until: Instant,
    ports: &mut Ports,
) -> Result<Option<ExitStatus>> {
    loop {
        ports.pump();
        if let Some(status) = qemu.try_wait().context("cannot wait for QEMU")? {
            return Ok(Some(status));
        }
        if Instant::now() >= until {
            qemu.kill().context("cannot stop QEMU")?;
            qemu.wait().context("cannot wait for QEMU")?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(30));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_the_boot_is_read_when_its_line_is_whole() {
        assert_eq!(up_seconds(""), None);
        assert_eq!(up_seconds("up 6.1"), None);
        assert_eq!(up_seconds("up 6.12\n"), Some(6.12));
        assert_eq!(up_seconds("other 1\nup 6.12\nex"), Some(6.12));
    }

    #[test]
    fn a_clock_that_runs_ten_times_too_fast_or_slow_is_a_fault_and_a_slow_boot_is_not() {
        assert!(clock_fault(6.0, 8.0).is_none());
        assert!(clock_fault(80.0, 85.0).is_none());
        assert!(clock_fault(4.0, 30.0).is_none());
        assert!(clock_fault(620.9, 20.0).is_some());
        assert!(clock_fault(6.0, 70.0).is_some());
    }
}
