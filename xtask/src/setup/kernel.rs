//! Which kernel everything is built for, and its source, prepared for Rust modules.

use super::trees::RELEASE;
use super::{log, Kernel};
use crate::cache::Cache;
use crate::command::{in_tree, output, run_logged, step};
use anyhow::{bail, Result};
use std::path::Path;

/// Chooses the kernel and installs its headers and source in the build tree.
pub(super) fn kernel_packages(cache: &Cache) -> Result<Kernel> {
    if let Some(text) = cache.stamp("kernel-packages") {
        return Kernel::from_stamp(&text);
    }
    let tree = cache.build_tree();
    let kernel = step("choose the kernel", || choose_kernel(&tree))?;
    let label = format!(
        "install the source of kernel {} ({})",
        kernel.release, kernel.package_version
    );
    step(&label, || {
        let headers = format!(
            "linux-headers-{}={}",
            kernel.release, kernel.package_version
        );
        let source = format!("{}={}", kernel.source, kernel.package_version);
        let log = log(cache, "kernel-packages");
        let install = [
            "apt-get",
            "install",
            "-y",
            "--no-install-recommends",
            &headers,
            &source,
        ];
        run_logged(&mut in_tree(&tree, &[], &install), &log)?;
        run_logged(&mut in_tree(&tree, &[], &["apt-get", "clean"]), &log)
    })?;
    cache.set_stamp("kernel-packages", &kernel.to_stamp())?;
    Ok(kernel)
}

/// The newest 7.x cloud kernel that has its source at the same version and was built with the tree's Rust compiler.
fn choose_kernel(tree: &Path) -> Result<Kernel> {
    // Prints "release version source rustc", newest first. The rustc number is how the configuration writes it.
    const LIST: &str = r#"
        cd /tmp
        have=$(rustc --version | sed -E 's/^rustc ([0-9]+)\.([0-9]+)\.([0-9]+).*/\1 \2 \3/')
        set -- $have; have=$(($1 * 100000 + $2 * 100 + $3))
        for image in $(apt-cache pkgnames linux-image-7 | grep -E '^linux-image-7[^-]*-cloud-amd64$' | sort -rV); do
            release=${image#linux-image-}
            version=$(apt-cache show --no-all-versions "$image" | sed -n 's/^Version: //p' | head -n 1)
            source=linux-source-$(echo "$release" | sed -E 's/^([0-9]+\.[0-9]+).*/\1/')
            if ! apt-cache madison "$source" 2>/dev/null | grep -qF " $version "; then
                echo "skip $release: $source $version is not in the archive"; continue
            fi
            rm -rf headers; mkdir headers
            if ! (cd headers && apt-get download -qq "linux-headers-$release=$version" && dpkg-deb -x ./*.deb .) >&2; then
                echo "skip $release: its headers are not in the archive"; continue
            fi
            need=$(sed -n 's/^CONFIG_RUSTC_VERSION=//p' "headers/usr/src/linux-headers-$release/.config")
            rust=$(sed -n 's/^CONFIG_RUST=//p' "headers/usr/src/linux-headers-$release/.config")
            rm -rf headers
            if [ "$rust" != y ]; then echo "skip $release: it was built without Rust"; continue; fi
            if [ "$need" != "$have" ]; then echo "skip $release: built with rustc $need, the tree has $have"; continue; fi
            echo "take $release $version $source"
            exit 0
        done
    "#;
    let text = output(&mut in_tree(tree, &[], &["sh", "-c", LIST]))?;
    for line in text.lines() {
        if let Some(taken) = line.strip_prefix("take ") {
            return Kernel::from_stamp(taken);
        }
        eprintln!("[xtask]   {line}");
    }
    bail!(
        "no 7.x cloud kernel in {RELEASE}-backports can be used\n  {}\n  Check that the mirror of this machine is complete and up to date.",
        text.trim().replace('\n', "\n  ")
    )
}

/// The program that prepares the kernel source inside the build tree.
const PREPARE: &str = include_str!("../../scripts/prepare-kernel.sh");

pub(super) fn prepare_key(kernel: &Kernel) -> String {
    format!("{}{PREPARE}", kernel.to_stamp())
}

/// Unpacks and prepares the kernel source.
pub(super) fn prepare_kernel(cache: &Cache, kernel: &Kernel) -> Result<()> {
    let key = prepare_key(kernel);
    if cache.stamp("kernel-prepared").as_deref() == Some(&key) {
        return Ok(());
    }
    step(
        "unpack and prepare the kernel source for Rust modules",
        || {
            let command = [
                "bash",
                "-c",
                PREPARE,
                "prepare-kernel.sh",
                &kernel.release,
                &kernel.source,
            ];
            run_logged(
                &mut in_tree(&cache.build_tree(), &[], &command),
                &log(cache, "prepare-kernel"),
            )
        },
    )?;
    cache.set_stamp("kernel-prepared", &key)
}
