//! The cache folder: everything big that `xtask` makes, outside the checkout so that `cargo clean` keeps it.
//!
//! `$CRKIT_CACHE`, else `$XDG_CACHE_HOME/crkit`, else `~/.cache/crkit`. Each finished step leaves a *stamp* that is
//! written last, so an interrupted step is simply done again. A named lock keeps two runs out of the same step.

use anyhow::{bail, Context, Result};
use rustix::fs::{flock, FlockOperation};
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

/// The cache folder and the names of what is in it.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
}

/// An exclusive lock on one part of the cache; dropping it releases the lock.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Cache {
    /// Finds the cache folder and creates it if it is not there.
    ///
    /// # Errors
    /// When no home folder is known or the folder cannot be created.
    pub fn open() -> Result<Self> {
        let from_env = |name: &str| {
            std::env::var_os(name)
                .filter(|v| !v.is_empty())
                .map(PathBuf::from)
        };
        let root = if let Some(dir) = from_env("CRKIT_CACHE") {
            dir
        } else if let Some(dir) = from_env("XDG_CACHE_HOME") {
            dir.join("crkit")
        } else if let Some(home) = from_env("HOME") {
            home.join(".cache/crkit")
        } else {
            bail!("no place for the cache: HOME is not set\n  Name a folder with CRKIT_CACHE=DIR.");
        };
        fs::create_dir_all(&root)
            .with_context(|| format!("cannot create the cache folder {}", root.display()))?;
        let root = root
            .canonicalize()
            .with_context(|| format!("cannot resolve {}", root.display()))?;
        let cache = Self { root };
        for sub in ["stamps", "locks", "logs", "runs", "disks", "boot", "build"] {
            let dir = cache.root.join(sub);
            fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        }
        Ok(cache)
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A path below the cache folder.
    pub fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.root.join(relative)
    }

    /// The plain debootstrap result that the other two trees start from.
    pub fn base_tree(&self) -> PathBuf {
        self.path("base")
    }

    /// The Debian tree that compiles modules and runs QEMU.
    pub fn build_tree(&self) -> PathBuf {
        self.path("tree")
    }

    /// The Debian tree that becomes the guest's root disk.
    pub fn guest_tree(&self) -> PathBuf {
        self.path("guest")
    }

    /// The build folder of one checkout, so that two clones never mix their objects.
    pub fn build_folder(&self, workspace: &Path) -> PathBuf {
        let mut hasher = DefaultHasher::new();
        workspace.hash(&mut hasher);
        self.path(format!("build/{:016x}", hasher.finish()))
    }

    /// Takes the lock `name`, waiting for another run that holds it.
    ///
    /// # Errors
    /// When the lock file cannot be opened or locked.
    pub fn lock(&self, name: &str) -> Result<Lock> {
        let path = self.path(format!("locks/{name}"));
        let file = File::create(&path)
            .with_context(|| format!("cannot open the lock file {}", path.display()))?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            eprintln!("[xtask] waiting for another run that holds the lock '{name}'");
            flock(&file, FlockOperation::LockExclusive)
                .with_context(|| format!("cannot lock {}", path.display()))?;
        }
        Ok(Lock { _file: file })
    }

    /// Takes the lock `name` if nobody holds it.
    ///
    /// # Errors
    /// When the lock file cannot be opened, or somebody holds it (the message says so).
    pub fn try_lock(&self, name: &str) -> Result<Lock> {
        let path = self.path(format!("locks/{name}"));
        let file = File::create(&path)
            .with_context(|| format!("cannot open the lock file {}", path.display()))?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)
            .with_context(|| format!("'{name}' is in use by another run"))?;
        Ok(Lock { _file: file })
    }

    /// What the finished step `name` left in its stamp, or `None` if it is not finished.
    pub fn stamp(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.path(format!("stamps/{name}"))).ok()
    }

    /// Declares the step `name` finished. `key` is what the step depended on.
    ///
    /// # Errors
    /// When the stamp cannot be written.
    pub fn set_stamp(&self, name: &str, key: &str) -> Result<()> {
        let path = self.path(format!("stamps/{name}"));
        let temporary = self.path(format!("stamps/.{name}.{}", std::process::id()));
        fs::write(&temporary, key)
            .and_then(|()| fs::rename(&temporary, &path))
            .with_context(|| format!("cannot write the stamp {}", path.display()))
    }

    /// Makes the step `name` unfinished again.
    pub fn clear_stamp(&self, name: &str) {
        // A stamp that is not there is already cleared.
        let _ = fs::remove_file(self.path(format!("stamps/{name}")));
    }
}
