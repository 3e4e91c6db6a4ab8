//! The Debian trees: one by debootstrap, and the two that are made from it.

use super::{log, remove_tree};
use crate::apt_sources::{self, Mirrors};
use crate::cache::Cache;
use crate::command::{exists, in_tree, output, run_logged, step};
use anyhow::{ensure, Context, Result};
use std::fs;
use std::path::Path;
use std::process::Command;

/// The Debian release of the trees. Its backports have the kernels.
pub(super) const RELEASE: &str = "trixie";

/// What the build tree needs beside the kernel packages.
pub(super) const BUILD_PACKAGES: &[&str] = &[
    "bc",
    "bindgen",
    "bison",
    "busybox-static",
    "bzip2",
    "cpio",
    "dwarves",
    "e2fsprogs",
    "flex",
    "gcc-14",
    "kmod",
    "libc6-dev",
    "libclang-dev",
    "libelf-dev",
    "libssl-dev",
    "make",
    "pahole",
    "python3",
    "qemu-system-x86",
    "rsync",
    "rust-clippy",
    "rust-src",
    "rustc",
    "rustfmt",
    "xz-utils",
    "zstd",
];

/// The programs of the guest.
pub(super) const GUEST_PACKAGES: &[&str] = &[
    "bash",
    "coreutils",
    "iproute2",
    "kmod",
    "lua5.4",
    "perl",
    "pigz",
    "procps",
    "psmisc",
    "python3",
    "sqlite3",
    "strace",
    "util-linux",
    "xz-utils",
    "zstd",
];

/// Installs debootstrap on this machine; everything else is installed in the trees.
pub(super) fn host_packages(cache: &Cache) -> Result<()> {
    if ["debootstrap", "unshare", "setpriv", "tar", "chroot"]
        .iter()
        .all(|p| exists(p))
    {
        return Ok(());
    }
    ensure!(
        exists("apt-get"),
        "this machine has no apt-get: set-up works on Debian 12 and 13\n  Install debootstrap, util-linux and tar by hand, then try again."
    );
    step("install debootstrap on this machine", || {
        let apt = |args: &[&str]| {
            run_logged(
                Command::new("apt-get")
                    .args(args)
                    .env("DEBIAN_FRONTEND", "noninteractive"),
                &log(cache, "host-packages"),
            )
        };
        apt(&["update"])?;
        apt(&[
            "install",
            "-y",
            "--no-install-recommends",
            "debootstrap",
            "util-linux",
            "tar",
        ])
    })
}

/// Makes the tree by debootstrap, with the apt sources of this machine turned to our release.
pub(super) fn base_tree(cache: &Cache) -> Result<()> {
    if cache.stamp("base").is_some() {
        return Ok(());
    }
    let mirrors = apt_sources::discover()?;
    let tree = cache.base_tree();
    step(
        &format!("debootstrap {RELEASE} from {}", mirrors.archive),
        || {
            let fresh = cache.path("base.new");
            remove_tree(&fresh)?;
            let mut debootstrap = Command::new("debootstrap");
            debootstrap.args(["--variant=minbase", "--include=ca-certificates", RELEASE]);
            debootstrap.arg(&fresh).arg(&mirrors.archive);
            if let Some(proxy) = apt_setting("Acquire::http::Proxy") {
                debootstrap
                    .env("http_proxy", &proxy)
                    .env("https_proxy", proxy);
            }
            run_logged(&mut debootstrap, &log(cache, "debootstrap"))?;
            configure_apt(&fresh, &mirrors)?;
            network_files(&fresh);
            run_logged(
                &mut in_tree(&fresh, &[], &["apt-get", "update"]),
                &log(cache, "debootstrap"),
            )
            .with_context(|| {
                format!(
                    "the mirror {} must have {RELEASE}, {RELEASE}-updates and {RELEASE}-backports",
                    mirrors.archive
                )
            })?;
            remove_tree(&tree)?;
            fs::rename(&fresh, &tree).context("cannot put the tree in its place")
        },
    )?;
    cache.set_stamp("base", "1")
}

/// Writes the sources and settings of apt in a new tree.
fn configure_apt(tree: &Path, mirrors: &Mirrors) -> Result<()> {
    let archive = &mirrors.archive;
    let mut list = String::new();
    for suite in [
        RELEASE.to_owned(),
        format!("{RELEASE}-updates"),
        format!("{RELEASE}-backports"),
    ] {
        list += &format!("deb {archive} {suite} main\n");
    }
    if let Some(security) = &mirrors.security {
        list += &format!("deb {security} {RELEASE}-security main\n");
    }
    // How this machine reaches its mirror (proxies, certificates, time checks) holds for the tree as well.
    let settings = output(Command::new("apt-config").arg("dump")).unwrap_or_default();
    let mut conf =
        String::from("APT::Install-Recommends \"false\";\nAPT::Install-Suggests \"false\";\n");
    for line in settings.lines() {
        let wanted = [
            "Acquire::http",
            "Acquire::https",
            "Acquire::Check-Valid-Until",
            "Acquire::Retries",
        ];
        if wanted.iter().any(|w| line.starts_with(w)) && !line.contains("Auto-Detect") {
            conf += line;
            conf.push('\n');
        }
    }
    let write = |path: &str, text: &str| {
        let path = tree.join(path);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    write("etc/apt/sources.list", &list)?;
    write("etc/apt/apt.conf.d/90xtask", &conf)?;
    // Packages must not start services in a tree.
    write("usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n")?;
    output(
        Command::new("chmod")
            .arg("755")
            .arg(tree.join("usr/sbin/policy-rc.d")),
    )?;
    Ok(())
}

/// Copies what name resolution and TLS need; a machine without one of these files does without.
fn network_files(tree: &Path) {
    for file in [
        "/etc/resolv.conf",
        "/etc/hosts",
        "/etc/ssl/certs/ca-certificates.crt",
    ] {
        if let Ok(text) = fs::read(file) {
            // The tree may have a dangling link in its place.
            let target = tree.join(file.trim_start_matches('/'));
            let _ = fs::remove_file(&target);
            let _ = fs::write(target, text);
        }
    }
}

/// One setting of this machine's apt, if it is set.
fn apt_setting(name: &str) -> Option<String> {
    let text = output(Command::new("apt-config").args(["dump", name])).ok()?;
    let value = text.split('"').nth(1)?.to_owned();
    (!value.is_empty() && value != "DIRECT").then_some(value)
}

/// Copies the base tree and installs packages in the copy. A tree that has an older list of packages only gets the
/// new ones.
fn derive_tree(cache: &Cache, name: &str, tree: &Path, packages: &[&str]) -> Result<()> {
    let key = packages.join(" ");
    let stamp = cache.stamp(name);
    if stamp.as_deref() == Some(&key) {
        return Ok(());
    }
    let is_there = stamp.is_some() && tree.is_dir();
    step(
        &format!("install {} packages in the {name} tree", packages.len()),
        || {
            let work = if is_there {
                tree.to_path_buf()
            } else {
                cache.path(format!("{name}.new"))
            };
            if !is_there {
                remove_tree(&work)?;
                output(
                    Command::new("cp")
                        .args(["-a", "--reflink=auto"])
                        .arg(cache.base_tree())
                        .arg(&work),
                )?;
            }
            network_files(&work);
            let log = log(cache, name);
            run_logged(&mut in_tree(&work, &[], &["apt-get", "update"]), &log)?;
            let mut install = vec!["apt-get", "install", "-y", "--no-install-recommends"];
            install.extend(packages);
            run_logged(&mut in_tree(&work, &[], &install), &log)?;
            run_logged(&mut in_tree(&work, &[], &["apt-get", "clean"]), &log)?;
            if !is_there {
                remove_tree(tree)?;
                fs::rename(&work, tree).context("cannot put the tree in its place")?;
            }
            Ok(())
        },
    )?;
    cache.set_stamp(name, &key)
}

pub(super) fn build_tree(cache: &Cache) -> Result<()> {
    if cache.stamp("tree").is_none() {
        // A new tree has no kernel source in it.
        cache.clear_stamp("kernel-packages");
        cache.clear_stamp("kernel-prepared");
    }
    derive_tree(cache, "tree", &cache.build_tree(), BUILD_PACKAGES)
}

pub(super) fn guest_tree(cache: &Cache) -> Result<()> {
    if cache.stamp("guest").as_deref() != Some(&GUEST_PACKAGES.join(" ")) {
        cache.clear_stamp("disks");
    }
    if cache.stamp("guest").is_none() {
        cache.clear_stamp("guest-kernel");
    }
    derive_tree(cache, "guest", &cache.guest_tree(), GUEST_PACKAGES)
}
