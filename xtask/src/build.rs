//! `cargo xtask build`: the tools by cargo, the kernel modules by Kbuild, the test programs by gcc-14.
//!
//! Kbuild runs inside the build tree on a copy of `kmod/` and `format/`, because it writes its objects beside the
//! sources. A file is copied only when its content changed, so that make builds only what must be built. What the VM
//! gets is collected in the *stage*, a small image of the guest's folders.

use crate::cache::Cache;
use crate::command::{in_tree, output, run};
use crate::setup::{remove_tree, write_whole, Kernel};
use anyhow::{bail, ensure, Context, Result};
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// One checkout and the folder its results are built in.
#[derive(Debug, Clone)]
pub struct Project {
    /// The checkout.
    pub workspace: PathBuf,
    /// Its build folder in the cache.
    pub folder: PathBuf,
}

impl Project {
    /// The checkout at `workspace`; its build folder is created.
    ///
    /// # Errors
    /// When the build folder cannot be created.
    pub fn new(cache: &Cache, workspace: &Path) -> Result<Self> {
        let folder = cache.build_folder(workspace);
        for sub in ["src", "programs-src", "programs", "stage"] {
            fs::create_dir_all(folder.join(sub))
                .with_context(|| format!("cannot create {}", folder.display()))?;
        }
        Ok(Self {
            workspace: workspace.to_path_buf(),
            folder,
        })
    }

    /// The name of the lock that a build, and everyone who reads the stage, must hold.
    pub fn lock_name(&self) -> String {
        let name = self.folder.file_name().unwrap_or_default();
        format!("build-{}", name.to_string_lossy())
    }

    /// What is laid over the guest's root: tools, modules, test programs.
    pub fn stage(&self) -> PathBuf {
        self.folder.join("stage")
    }

    /// The stripped modules.
    pub fn modules(&self, kernel: &Kernel) -> PathBuf {
        self.stage()
            .join(format!("usr/lib/modules/{}/updates/crkit", kernel.release))
    }

    /// The tools as cargo built them.
    pub fn tools(&self) -> PathBuf {
        self.workspace.join("target/release")
    }
}

/// Which parts to build.
#[derive(Debug, Clone)]
pub struct Parts {
    /// `crctl` and `crimg`.
    pub tools: bool,
    /// The kernel modules.
    pub modules: bool,
    /// `tests/programs/*.c`.
    pub programs: bool,
    /// More words for Kbuild's command line, such as `W=1` or `V=1`.
    pub make: Vec<String>,
}

impl Default for Parts {
    fn default() -> Self {
        Self {
            tools: true,
            modules: true,
            programs: true,
            make: Vec::new(),
        }
    }
}

/// Builds the parts and puts them on the stage.
///
/// # Errors
/// When a compiler refuses something; its messages have been printed.
pub fn build(cache: &Cache, kernel: &Kernel, project: &Project, parts: &Parts) -> Result<()> {
    if parts.tools {
        tools(project)?;
    }
    let _lock = cache.lock(&project.lock_name())?;
    if parts.tools {
        stage_tools(project)?;
    }
    if parts.modules {
        modules(cache, kernel, project, &parts.make)?;
    }
    if parts.programs {
        programs(cache, project)?;
    }
    Ok(())
}

/// Builds the tools on this machine.
fn tools(project: &Project) -> Result<()> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(&project.workspace);
    cargo.args(["build", "--release", "-p", "crctl", "-p", "crimg"]);
    run(&mut cargo).context("the tools do not build")
}

fn stage_tools(project: &Project) -> Result<()> {
    let bin = project.stage().join("usr/local/bin");
    fs::create_dir_all(&bin).with_context(|| format!("cannot create {}", bin.display()))?;
    for tool in ["crctl", "crimg"] {
        let from = project.tools().join(tool);
        let to = bin.join(tool);
        let _ = fs::remove_file(&to);
        fs::copy(&from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
    }
    Ok(())
}

/// Runs Kbuild over `kmod/` and stages stripped modules with a fresh module index.
fn modules(cache: &Cache, kernel: &Kernel, project: &Project, more: &[String]) -> Result<()> {
    const MAKE: &str = r#"
        RUST_LIB_SRC=$(echo /usr/src/rustc-*/library); export RUST_LIB_SRC
        cd "$1"
        release=$2
        shift 2
        exec make --no-print-directory -j"$(nproc)" CC=x86_64-linux-gnu-gcc-14 HOSTCC=gcc-14 KERNELRELEASE="$release" \
            M=/crkit/src/kmod "$@" modules 2>&1
    "#;
    let kbuild = project.workspace.join("kmod/Kbuild");
    ensure!(
        kbuild.is_file(),
        "there are no kernel modules to build: {} is missing\n  The folder kmod/ needs a Kbuild file with 'obj-m' lines.",
        kbuild.display()
    );
    let source = project.folder.join("src");
    for part in ["kmod", "format"] {
        sync(&project.workspace.join(part), &source.join(part))?;
    }
    let folder = kernel.source_folder();
    let mut words = vec!["sh", "-c", MAKE, "make", &folder, &kernel.release];
    words.extend(more.iter().map(String::as_str));
    let mut make = in_tree(&cache.build_tree(), &[(&source, "/crkit/src")], &words);
    run_mapped(&mut make, "kmod", &source.join("kmod"))
        .context("the kernel modules do not build")?;
    stage_modules(cache, kernel, project)
}

/// Runs a compiler of the build tree and prints what it says with paths of the checkout. `folder` is where its
/// relative paths start: as the checkout calls it, and the copy of it.
fn run_mapped(command: &mut Command, folder: &str, copy: &Path) -> Result<()> {
    const NOISE: &[&str] = &[
        "make[",
        "Failed to run rustfmt",
        "Skipping BTF generation",
        "  BTF [M]",
    ];
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start the build")?;
    if let Some(pipe) = child.stdout.take() {
        for line in BufReader::new(pipe).split(b'\n') {
            let line = line.context("cannot read the build's output")?;
            let line = String::from_utf8_lossy(&line);
            if !NOISE.iter().any(|n| line.starts_with(n)) {
                eprintln!("{}", map_paths(&line, folder, copy));
            }
        }
    }
    let status = child.wait().context("cannot wait for the build")?;
    ensure!(status.success(), "make ended with {status}");
    Ok(())
}

/// Turns the paths of one compiler message into paths of the checkout: absolute ones of the copy, and the relative one
/// that a message of rustc (`--> path:1:2`) or gcc (`path:1:2: error`) starts with.
fn map_paths(line: &str, folder: &str, copy: &Path) -> String {
    let line = line.replace("/crkit/src/", "");
    let start = line
        .find("--> ")
        .or_else(|| line.find("::: "))
        .map_or(0, |at| at + 4);
    let (before, rest) = line.split_at(start);
    let path = rest.split([':', ' ']).next().unwrap_or_default();
    if path.is_empty() || path.starts_with('/') || !copy.join(path).is_file() {
        return line;
    }
    format!("{before}{folder}/{rest}").replace("kmod/../", "")
}

/// Strips the modules into the stage and makes the module index of the guest anew.
fn stage_modules(cache: &Cache, kernel: &Kernel, project: &Project) -> Result<()> {
    const STRIP: &str = r#"
        rm -rf /crkit/modules/*
        # Kbuild lists the modules it built; a stale .ko of a removed module is not in the list.
        while read -r object; do
            object=${object#/crkit/src/kmod/}
            ko=/crkit/src/kmod/${object%.o}.ko
            x86_64-linux-gnu-strip -d -o "/crkit/modules/${ko##*/}" "$ko"
        done < /crkit/src/kmod/modules.order
    "#;
    const INDEX: &str = r#"depmod -o /crkit/stage/usr "$1""#;
    let source = project.folder.join("src");
    let modules = project.modules(kernel);
    fs::create_dir_all(&modules).with_context(|| format!("cannot create {}", modules.display()))?;
    let binds: [(&Path, &str); 2] = [(&source, "/crkit/src"), (&modules, "/crkit/modules")];
    output(&mut in_tree(
        &cache.build_tree(),
        &binds,
        &["sh", "-ec", STRIP],
    ))?;
    let stage = project.stage();
    let inside = format!("/usr/lib/modules/{}/updates/crkit", kernel.release);
    let binds: [(&Path, &str); 2] = [(&stage, "/crkit/stage"), (&modules, &inside)];
    output(&mut in_tree(
        &cache.guest_tree(),
        &binds,
        &["sh", "-ec", INDEX, "depmod", &kernel.release],
    ))?;
    Ok(())
}

/// Compiles the test programs inside the build tree, so that they run in the guest whatever this machine is.
fn programs(cache: &Cache, project: &Project) -> Result<()> {
    let source = project.workspace.join("tests/programs");
    if !source.is_dir() {
        return Ok(());
    }
    let copy = project.folder.join("programs-src");
    sync(&source, &copy)?;
    let rules = project.folder.join("programs.mk");
    write_whole(&rules, include_bytes!("../scripts/programs.mk"))?;
    let mut compile = in_tree(
        &cache.build_tree(),
        &[(&project.folder, "/crkit/src")],
        &["sh", "-c", "cd /crkit/src && exec make --no-print-directory -j\"$(nproc)\" -C programs-src -f ../programs.mk 2>&1"],
    );
    run_mapped(&mut compile, "tests/programs", &copy).context("the test programs do not build")?;
    let staged = project.stage().join("opt/crkit/programs");
    remove_tree(&staged)?;
    fs::create_dir_all(&staged).with_context(|| format!("cannot create {}", staged.display()))?;
    let built = project.folder.join("programs");
    for entry in fs::read_dir(&built).with_context(|| format!("cannot list {}", built.display()))? {
        let entry = entry.context("cannot list the test programs")?;
        fs::copy(entry.path(), staged.join(entry.file_name()))
            .with_context(|| format!("cannot copy {}", entry.path().display()))?;
    }
    Ok(())
}

/// Makes `to` have the files of `from`, rewriting only those that differ; files that an earlier call copied and that
/// are gone from `from` are removed, and everything else in `to` (objects, generated files) stays.
fn sync(from: &Path, to: &Path) -> Result<()> {
    let mut files = BTreeSet::new();
    collect(from, Path::new(""), &mut files)?;
    fs::create_dir_all(to).with_context(|| format!("cannot create {}", to.display()))?;
    let list = to.join(".xtask-files");
    let before = fs::read_to_string(&list).unwrap_or_default();
    for gone in before.lines().filter(|old| !files.contains(*old)) {
        // Already gone is as good.
        let _ = fs::remove_file(to.join(gone));
    }
    for file in &files {
        let (source, target) = (from.join(file), to.join(file));
        let content =
            fs::read(&source).with_context(|| format!("cannot read {}", source.display()))?;
        if fs::read(&target).is_ok_and(|old| old == content) {
            continue;
        }
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)
                .with_context(|| format!("cannot create {}", parent.display()))?;
        }
        fs::write(&target, content)
            .with_context(|| format!("cannot write {}", target.display()))?;
        let mode = fs::metadata(&source).map_or(0o644, |m| m.permissions().mode());
        fs::set_permissions(&target, fs::Permissions::from_mode(mode))
            .with_context(|| format!("cannot set the mode of {}", target.display()))?;
    }
    let text: String = files.iter().flat_map(|f| [f.as_str(), "\n"]).collect();
    fs::write(&list, text).with_context(|| format!("cannot write {}", list.display()))
}

/// Lists the source files below `folder`, without what a build leaves.
fn collect(folder: &Path, below: &Path, files: &mut BTreeSet<String>) -> Result<()> {
    let here = folder.join(below);
    for entry in fs::read_dir(&here).with_context(|| format!("cannot list {}", here.display()))? {
        let entry = entry.with_context(|| format!("cannot list {}", here.display()))?;
        let path = below.join(entry.file_name());
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') || name == "target" {
            continue;
        }
        let metadata = fs::metadata(entry.path())
            .with_context(|| format!("cannot read {}", entry.path().display()))?;
        if metadata.is_dir() {
            collect(folder, &path, files)?;
            continue;
        }
        let product = path.extension().is_some_and(|e| {
            ["o", "ko", "mod", "cmd", "order", "symvers"]
                .iter()
                .any(|p| e == *p)
        });
        if !product {
            let Some(text) = path.to_str() else {
                bail!("the name of {} is not UTF-8", entry.path().display());
            };
            files.insert(text.to_owned());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{map_paths, sync};
    use std::fs;

    #[test]
    fn compiler_messages_get_the_paths_of_the_checkout() {
        let own = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let map = |line: &str| map_paths(line, "kmod", own);
        assert_eq!(map("  --> src/lib.rs:1:2"), "  --> kmod/src/lib.rs:1:2");
        assert_eq!(
            map("src/lib.rs:3:4: error: x"),
            "kmod/src/lib.rs:3:4: error: x"
        );
        assert_eq!(
            map("  --> /crkit/src/format/src/a.rs:1:2"),
            "  --> format/src/a.rs:1:2"
        );
        assert_eq!(map("  CC [M]  core/x.o"), "  CC [M]  core/x.o");
    }

    #[test]
    fn sync_copies_changes_removes_what_is_gone_and_keeps_products() {
        let top = std::env::temp_dir().join(format!("xtask-sync-{}", std::process::id()));
        let (from, to) = (top.join("a"), top.join("b"));
        fs::create_dir_all(from.join("sub")).expect("folder");
        fs::write(from.join("sub/x.rs"), "1").expect("write");
        fs::write(from.join("y.c"), "1").expect("write");
        sync(&from, &to).expect("first");
        fs::write(to.join("y.o"), "object").expect("write");
        let before = fs::metadata(to.join("y.c"))
            .and_then(|m| m.modified())
            .expect("time");
        fs::remove_file(from.join("sub/x.rs")).expect("remove");
        sync(&from, &to).expect("second");
        assert!(!to.join("sub/x.rs").exists());
        assert!(to.join("y.o").exists());
        let after = fs::metadata(to.join("y.c"))
            .and_then(|m| m.modified())
            .expect("time");
        assert_eq!(before, after, "an unchanged file is not rewritten");
        fs::remove_dir_all(&top).expect("clean");
    }
}
