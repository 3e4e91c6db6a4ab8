//! `cargo xtask setup`: Debian trees, the prepared kernel source, the guest's root disk and first root.
//!
//! One tree by debootstrap is the start of two: the *build tree* has the kernel source, the compilers and QEMU, so that
//! every machine uses the same versions; the *guest tree* has the programs that run in the VM beside the stock kernel.
//! The kernel is the newest 7.x cloud image in backports for which the Rust compiler of the release is the one it was
//! built with: modules can only be made with that compiler. Every step leaves a stamp and is skipped from then on.

mod guest;
mod kernel;
mod packages;
mod trees;

pub use packages::comparison;
pub(crate) use packages::runtimes;

use crate::cache::Cache;
use anyhow::{bail, ensure, Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// The kernel everything is built for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// What `uname -r` says, for example `7.3.4+deb13-cloud-amd64`.
    pub release: String,
    /// The version of its Debian package.
    pub package_version: String,
    /// The name of the source package and of the folder it unpacks to, for example `linux-source-7.3`.
    pub source: String,
}

impl Kernel {
    /// The kernel that an earlier `setup` chose.
    ///
    /// # Errors
    /// When `setup` has not been run, or was not finished.
    pub fn chosen(cache: &Cache) -> Result<Self> {
        let text = cache
            .stamp("done")
            .context("this machine is not set up yet\n  Run: cargo xtask setup")?;
        Self::from_stamp(&text)
    }

    fn from_stamp(text: &str) -> Result<Self> {
        let mut words = text.split_whitespace().map(str::to_owned);
        match (words.next(), words.next(), words.next()) {
            (Some(release), Some(package_version), Some(source)) => Ok(Self { release, package_version, source }),
            _ => bail!("a stamp in the cache is damaged: {text:?}\n  Run: cargo xtask clean --all && cargo xtask setup"),
        }
    }

    fn to_stamp(&self) -> String {
        format!(
            "{} {} {}\n",
            self.release, self.package_version, self.source
        )
    }

    /// The prepared source as an absolute path inside the build tree.
    pub fn source_folder(&self) -> String {
        format!("/usr/src/{}", self.source)
    }
}

/// Makes everything that is missing. Quick when nothing is.
///
/// # Errors
/// When this is not root on a Debian machine, or a step fails; finished steps are kept.
pub fn setup(cache: &Cache) -> Result<Kernel> {
    if let Some(kernel) = finished(cache) {
        return Ok(kernel);
    }
    ensure!(
        rustix::process::geteuid().is_root(),
        "setup needs root: it installs a package, makes Debian trees and mounts inside them\n  \
         Run it as root, for example: sudo -E cargo xtask setup"
    );
    let _lock = cache.lock("setup")?;
    trees::host_packages(cache)?;
    trees::base_tree(cache)?;
    trees::build_tree(cache)?;
    let kernel = kernel::kernel_packages(cache)?;
    kernel::prepare_kernel(cache, &kernel)?;
    trees::guest_tree(cache)?;
    guest::guest_kernel(cache, &kernel)?;
    guest::disks(cache, &kernel)?;
    guest::first_root(cache, &kernel)?;
    cache.set_stamp("done", &kernel.to_stamp())?;
    Ok(kernel)
}

/// The kernel, if every step is finished in the form that this version of the program wants.
fn finished(cache: &Cache) -> Option<Kernel> {
    let kernel = Kernel::chosen(cache).ok()?;
    let wanted = [
        ("tree", trees::BUILD_PACKAGES.join(" ")),
        ("guest", trees::GUEST_PACKAGES.join(" ")),
        ("kernel-prepared", kernel::prepare_key(&kernel)),
        ("disks", guest::disks_key(&kernel)),
        ("first-root", guest::first_root_key(&kernel)),
    ];
    let is_done = |(name, key): &(&str, String)| cache.stamp(name).as_ref() == Some(key);
    wanted.iter().all(is_done).then_some(kernel)
}

/// The log of a step.
fn log(cache: &Cache, name: &str) -> PathBuf {
    cache.path(format!("logs/{name}.log"))
}

/// Writes a file so that a reader sees the old one or the new one, never a part.
pub(crate) fn write_whole(path: &Path, content: &[u8]) -> Result<()> {
    let temporary = path.with_extension(format!("new{}", std::process::id()));
    fs::write(&temporary, content)
        .and_then(|()| fs::rename(&temporary, path))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Removes a tree that an earlier run may have left.
pub(crate) fn remove_tree(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
