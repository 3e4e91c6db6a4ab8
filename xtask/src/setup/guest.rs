//! What the test machine boots from: the stock kernel, a first root with its disk drivers, and the disks.

use super::{log, write_whole, Kernel};
use crate::cache::Cache;
use crate::command::{in_tree, output, run_logged, step};
use crate::cpio::Archive;
use anyhow::{ensure, Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// Size of the guest's root disk; it is sparse.
pub(super) const ROOT_DISK_MIB: u32 = 4096;
/// Size of the disk that carries `/out` back; it is sparse.
const OUT_DISK_MIB: u32 = 8192;

/// Drivers that the first root loads, in this order, with what they depend on.
const BOOT_MODULES: &[&str] = &[
    "virtio_pci",
    "virtio_blk",
    "virtio_console",
    "ext4",
    "crc32c_generic",
];

/// Puts the stock kernel and its modules into the guest tree. The package is unpacked, not installed: installing
/// would build a first root and a boot loader configuration that nothing uses.
pub(super) fn guest_kernel(cache: &Cache, kernel: &Kernel) -> Result<()> {
    const UNPACK: &str = r#"
        cd /tmp; rm -rf kernel; mkdir kernel; cd kernel
        packages=linux-image-$1=$2
        # Newer packages are split: the image package depends on its parts at the same version.
        for part in $(apt-cache show "linux-image-$1=$2" | sed -n 's/^Depends: //p' | tr ',|' '\n\n' | awk '{print $1}'); do
            case $part in linux-*-"$1") packages="$packages $part=$2" ;; esac
        done
        apt-get download $packages
        for deb in *.deb; do dpkg-deb -x "$deb" /; done
        cd /; rm -rf /tmp/kernel
        # The image is in /boot or, in newer packages, beside the modules.
        [ -e "/boot/vmlinuz-$1" ] || cp "/lib/modules/$1/vmlinuz" "/boot/vmlinuz-$1"
        depmod "$1"
    "#;
    let key = kernel.to_stamp();
    if cache.stamp("guest-kernel").as_deref() == Some(&key) {
        return Ok(());
    }
    step(
        &format!("put kernel {} into the guest", kernel.release),
        || {
            let command = [
                "sh",
                "-ec",
                UNPACK,
                "unpack",
                &kernel.release,
                &kernel.package_version,
            ];
            run_logged(
                &mut in_tree(&cache.guest_tree(), &[], &command),
                &log(cache, "guest-kernel"),
            )
        },
    )?;
    cache.clear_stamp("disks");
    cache.clear_stamp("first-root");
    cache.set_stamp("guest-kernel", &key)
}

pub(super) fn disks_key(kernel: &Kernel) -> String {
    format!("1 {ROOT_DISK_MIB} {OUT_DISK_MIB} {}", kernel.to_stamp())
}

/// Makes the guest's root disk and an empty disk for `/out`, without mounting anything.
pub(super) fn disks(cache: &Cache, kernel: &Kernel) -> Result<()> {
    const MAKE: &str = r#"
        cd /crkit/boot
        rm -f root.new out.new
        rm -rf /crkit/guest/var/lib/apt/lists/* /crkit/guest/var/cache/apt/*.bin
        truncate -s "$1M" root.new
        mkfs.ext4 -q -F -L crkit-root -E lazy_itable_init=1,nodiscard -d /crkit/guest root.new
        truncate -s "$2M" out.new
        mkfs.ext4 -q -F -L crkit-out -m 0 -E lazy_itable_init=1,lazy_journal_init=1,nodiscard out.new
        mv root.new root.ext4
        mv out.new out.ext4
    "#;
    if cache.stamp("disks").as_deref() == Some(&disks_key(kernel)) {
        return Ok(());
    }
    step("make the guest's disks", || {
        let (boot, guest) = (cache.path("boot"), cache.guest_tree());
        let binds: [(&Path, &str); 2] = [(&boot, "/crkit/boot"), (&guest, "/crkit/guest")];
        let sizes = [ROOT_DISK_MIB.to_string(), OUT_DISK_MIB.to_string()];
        let command = ["sh", "-ec", MAKE, "disks", &sizes[0], &sizes[1]];
        run_logged(
            &mut in_tree(&cache.build_tree(), &binds, &command),
            &log(cache, "disks"),
        )
    })?;
    cache.set_stamp("disks", &disks_key(kernel))
}

pub(super) fn first_root_key(kernel: &Kernel) -> String {
    let init = include_str!("../../scripts/initramfs-init");
    format!("{}{}\n{init}", kernel.to_stamp(), BOOT_MODULES.join(" "))
}

/// Makes the first root: busybox, the stock disk drivers, and a script that hands over to the root disk.
pub(super) fn first_root(cache: &Cache, kernel: &Kernel) -> Result<()> {
    let key = first_root_key(kernel);
    if cache.stamp("first-root").as_deref() == Some(&key) {
        return Ok(());
    }
    step("make the guest's first root", || {
        let guest = cache.guest_tree();
        let mut archive = Archive::default();
        for dir in ["bin", "dev", "proc", "root", "modules"] {
            archive.folder(dir);
        }
        archive.char_device("dev/console", 0o600, 5, 1);
        let busybox = cache.build_tree().join("usr/bin/busybox");
        let busybox =
            fs::read(&busybox).with_context(|| format!("cannot read {}", busybox.display()))?;
        archive.file("bin/busybox", 0o755, &busybox);
        let mut order = String::new();
        for path in boot_module_paths(&guest, kernel)? {
            let Some(name) = path.file_name().map(|n| n.to_string_lossy().into_owned()) else {
                continue;
            };
            let (name, content) = uncompressed(&guest, &path, &name)?;
            archive.file(&format!("modules/{name}"), 0o644, &content);
            order += &name;
            order.push('\n');
        }
        archive.file("modules/order", 0o644, order.as_bytes());
        for applet in [
            "sh",
            "mount",
            "umount",
            "insmod",
            "cat",
            "echo",
            "usleep",
            "chroot",
            "switch_root",
        ] {
            // A wrapper instead of a link keeps the archive writer small.
            archive.file(
                &format!("bin/{applet}"),
                0o755,
                format!("#!/bin/busybox sh\nexec /bin/busybox {applet} \"$@\"\n").as_bytes(),
            );
        }
        let init = include_str!("../../scripts/initramfs-init").replacen(
            "#!/bin/sh",
            "#!/bin/busybox sh",
            1,
        );
        archive.file("init", 0o755, init.as_bytes());
        write_whole(&cache.path("boot/initrd"), &archive.finish())?;
        let image = guest.join(format!("boot/vmlinuz-{}", kernel.release));
        let image = fs::read(&image).with_context(|| format!("cannot read {}", image.display()))?;
        write_whole(&cache.path("boot/vmlinuz"), &image)
    })?;
    cache.set_stamp("first-root", &key)
}

/// The files of the boot drivers in load order; drivers that are built into the kernel have none.
fn boot_module_paths(guest: &Path, kernel: &Kernel) -> Result<Vec<PathBuf>> {
    let mut paths: Vec<PathBuf> = Vec::new();
    for module in BOOT_MODULES {
        let command = ["modprobe", "-S", &kernel.release, "--show-depends", module];
        // A driver this kernel does not have at all is found out when the boot fails, with its name in the console log.
        let Ok(text) = output(&mut in_tree(guest, &[], &command)) else {
            continue;
        };
        for line in text.lines() {
            let Some(path) = line
                .strip_prefix("insmod ")
                .and_then(|l| l.split_whitespace().next())
            else {
                continue;
            };
            let path = guest.join(path.trim_start_matches('/'));
            if !paths.contains(&path) {
                paths.push(path);
            }
        }
    }
    Ok(paths)
}

/// The module without compression, as busybox loads it. The guest tree has the programs for it.
fn uncompressed(guest: &Path, path: &Path, name: &str) -> Result<(String, Vec<u8>)> {
    let (tool, suffix) = match name.rsplit_once('.') {
        Some((_, "xz")) => ("xz", ".xz"),
        Some((_, "zst")) => ("zstd", ".zst"),
        Some((_, "gz")) => ("gzip", ".gz"),
        _ => {
            let content =
                fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            return Ok((name.to_owned(), content));
        }
    };
    let inside = Path::new("/").join(path.strip_prefix(guest).unwrap_or(path));
    let out = in_tree(
        guest,
        &[],
        &[tool, "-q", "-d", "-c", &inside.to_string_lossy()],
    )
    .output()
    .with_context(|| format!("cannot start {tool}"))?;
    ensure!(out.status.success(), "cannot decompress {}", path.display());
    Ok((name.trim_end_matches(suffix).to_owned(), out.stdout))
}
