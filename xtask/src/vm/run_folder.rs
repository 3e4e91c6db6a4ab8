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
