//! Packages that only some runs of the test machine need: they are not part of the guest's disk, so that the set-up and
//! every other run stay as quick as they are.
//!
//! What crit and gdb need for a comparison becomes one archive, which the guest unpacks over its root. The runtimes and
//! the compiler of the scenes are too big for that in an emulated machine: they become a second root disk, a copy of the
//! guest with the files of the packages. Nothing of the packages is run while they are unpacked.

use super::guest::{disks_key, ROOT_DISK_MIB};
use super::trees::{GUEST_PACKAGES, RELEASE};
use super::{log, Kernel};
use crate::cache::Cache;
use crate::command::{in_tree, run_logged, step};
use anyhow::Result;
use std::path::{Path, PathBuf};

/// `criu`, `crit` (in the second one), `gdb` and `gcore`, and `time`, which tells the memory of a program.
const COMPARISON: &[&str] = &["criu", "python3-pycriu", "gdb", "time"];

/// The programs of `tests/scenes/runtimes`.
const RUNTIMES: &[&str] = &[
    "gcc",
    "libc6-dev",
    "make",
    "nodejs",
    "openjdk-21-jdk-headless",
    "ruby",
    "stress-ng",
    "sysbench",
];

/// Downloads what the guest lacks of the packages and unpacks their files in `root`. Changes neither of the trees.
const UNPACK: &str = r#"
    cd /crkit/here
    rm -rf state root tree new.*
    mkdir -p state/lists/partial state/archives/partial root
    apt="apt-get -o Dir::State::status=/crkit/guest/var/lib/dpkg/status -o Dir::State::lists=/crkit/here/state/lists \
        -o Dir::Cache=/crkit/here/state -o Dir::Cache::archives=/crkit/here/state/archives -o APT::Sandbox::User=root"
    $apt update
    $apt install -y --no-install-recommends --download-only "$@"
    for deb in state/archives/*.deb; do dpkg-deb -x "$deb" root; done
    rm -rf root/usr/share/doc root/usr/share/man root/usr/share/locale
"#;

/// Packs the files in an archive.
const ARCHIVE: &str = r#"
    tar --owner=0 --group=0 -cf new.tar -C root .
    rm -rf state root
    mv new.tar comparison.tar
"#;

/// Makes a root disk of a copy of the guest and the files; `SIZE` is set.
const DISK: &str = r#"
    cp -a --reflink=auto /crkit/guest tree
    tar -cf - -C root . | tar -xf - -C tree --keep-directory-symlink
    rm -rf state root
    truncate -s "${SIZE}M" new.ext4
    mkfs.ext4 -q -F -L crkit-root -E lazy_itable_init=1,nodiscard -d tree new.ext4
    rm -rf tree
    mv new.ext4 /crkit/boot/runtimes.ext4
"#;

/// The archive with the programs that crkit is compared with; made at the first call.
///
/// # Errors
/// When the packages cannot be downloaded.
pub fn comparison(cache: &Cache) -> Result<PathBuf> {
    let archive = cache.path("comparison/comparison.tar");
    let script = format!("{UNPACK}{ARCHIVE}");
    let key = format!("{RELEASE} {}\n{script}", COMPARISON.join(" "));
    make(cache, "comparison", &key, &archive, &script, COMPARISON)?;
    Ok(archive)
}

/// The root disk with the runtimes and the compiler; made at the first call.
///
/// # Errors
/// When the packages cannot be downloaded or the disk is too small for them.
pub(crate) fn runtimes(cache: &Cache, kernel: &Kernel) -> Result<PathBuf> {
    let disk = cache.path("boot/runtimes.ext4");
    let script = format!("SIZE={ROOT_DISK_MIB}\n{UNPACK}{DISK}");
    let key = format!(
        "{RELEASE} {}\n{}\n{}\n{script}",
        RUNTIMES.join(" "),
        GUEST_PACKAGES.join(" "),
        disks_key(kernel)
    );
    make(cache, "runtimes", &key, &disk, &script, RUNTIMES)?;
    Ok(disk)
}

/// Runs the script in the build tree unless `result` is there and was made for the same `key`. In the script `/crkit/here`
/// is a folder of its own in the cache.
fn make(
    cache: &Cache,
    name: &str,
    key: &str,
    result: &Path,
    script: &str,
    packages: &[&str],
) -> Result<()> {
    let _lock = cache.lock(name)?;
    if cache.stamp(name).as_deref() == Some(key) && result.exists() {
        return Ok(());
    }
    step(
        &format!("download {} for the guest", packages.join(", ")),
        || {
            let (here, guest, boot) = (cache.path(name), cache.guest_tree(), cache.path("boot"));
            std::fs::create_dir_all(&here)?;
            let binds: [(&Path, &str); 3] = [
                (&here, "/crkit/here"),
                (&guest, "/crkit/guest"),
                (&boot, "/crkit/boot"),
            ];
            let mut command = vec!["sh", "-ec", script, name];
            command.extend(packages);
            run_logged(
                &mut in_tree(&cache.build_tree(), &binds, &command),
                &log(cache, name),
            )
        },
    )?;
    cache.set_stamp(name, key)
}
