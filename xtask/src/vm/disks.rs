//! What goes into the guest and comes out of it: the payload archive, the `/out` disk, disks that outlive a run.

use super::{Vm, VmOptions};
use crate::cache::Lock;
use crate::command::{in_tree, output};
use anyhow::{ensure, Context, Result};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A disk that outlives runs, in use by this one.
#[derive(Debug)]
pub(super) struct DataDisk {
    pub(super) path: PathBuf,
    _lock: Lock,
}

impl Vm {
    /// Removes a disk that outlives runs.
    ///
    /// # Errors
    /// When a run is using it, or it cannot be removed.
    pub fn remove_disk(&self, name: &str) -> Result<()> {
        let _lock = self.cache.try_lock(&format!("disk-{name}"))?;
        let path = self.cache.path(format!("disks/{name}.ext4"));
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", path.display()))
            }
            _ => Ok(()),
        }
    }

    /// Opens the named disk, making it at its first use.
    pub(super) fn data_disk(&self, name: &str) -> Result<DataDisk> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        ensure!(
            !name.is_empty() && !name.starts_with('.') && name.chars().all(is_plain),
            "the disk name {name:?} is not usable: letters, digits, '-', '_' and '.' are"
        );
        let lock = self.cache.try_lock(&format!("disk-{name}"))?;
        let path = self.cache.path(format!("disks/{name}.ext4"));
        if !path.exists() {
            let fresh = self.cache.path(format!("disks/.{name}.new"));
            let mut copy = Command::new("cp");
            copy.args(["--sparse=always", "--reflink=auto"]);
            output(copy.arg(self.cache.path("boot/out.ext4")).arg(&fresh))?;
            fs::rename(&fresh, &path).with_context(|| format!("cannot make {}", path.display()))?;
        }
        Ok(DataDisk { path, _lock: lock })
    }

    /// Writes the tar archive that the guest unpacks over its root.
    pub(super) fn make_payload(&self, run: &Path, options: &VmOptions) -> Result<()> {
        let over = run.join("over");
        let own = over.join("opt/crkit/run");
        let lib = over.join("opt/crkit/lib");
        for dir in [&own, &lib] {
            fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        }
        executable(
            &lib.join("guest-init"),
            include_str!("../../scripts/guest-init"),
        )?;
        let script = match options.script.starts_with("#!") {
            true => options.script.clone(),
            false => format!("#!/bin/bash\n{}", options.script),
        };
        executable(&own.join("script"), &script)?;
        if options.interactive {
            executable(&own.join("interactive"), "")?;
        }
        let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
        let mut environment = String::new();
        for (name, value) in &options.environment {
            environment += &format!("export {name}={}\n", quoted(value));
        }
        let arguments: Vec<String> = options.arguments.iter().map(|a| quoted(a)).collect();
        environment += &format!("arguments=({})\n", arguments.join(" "));
        executable(&own.join("environment"), &environment)?;
        for (host, guest) in &options.files {
            let target = over.join(usr_merged(guest)?);
            if let Some(parent) = target.parent() {
                fs::create_dir_all(parent)
                    .with_context(|| format!("cannot create {}", parent.display()))?;
            }
            output(
                Command::new("cp")
                    .args(["-rLT", "--preserve=mode"])
                    .arg(host)
                    .arg(&target),
            )
            .with_context(|| format!("cannot bring {} into the guest", host.display()))?;
        }
        let _lock = self.cache.lock(&self.project.lock_name())?;
        let mut tar = Command::new("tar");
        tar.args(["--owner=0", "--group=0", "-cf"])
            .arg(run.join("payload.tar"));
        tar.arg("-C").arg(self.project.stage()).arg(".");
        tar.arg("-C").arg(&over).arg(".");
        output(&mut tar).context("cannot pack the files for the guest")?;
        Ok(())
    }

    /// Reads the files of the `/out` disk, repairing it first if the guest went down without unmounting.
    pub(super) fn fetch_out(&self, run: &Path, out_dir: &Path) -> Result<()> {
        const FETCH: &str = r#"
            e2fsck -p /crkit/run/out.ext4 >/dev/null || [ $? -le 2 ] || e2fsck -fy /crkit/run/out.ext4 >/dev/null || [ $? -le 2 ]
            debugfs -R 'rdump / /crkit/out' /crkit/run/out.ext4
            rmdir /crkit/out/lost+found
        "#;
        let binds: [(&Path, &str); 2] = [(run, "/crkit/run"), (out_dir, "/crkit/out")];
        output(&mut in_tree(
            &self.cache.build_tree(),
            &binds,
            &["sh", "-c", FETCH],
        ))
        .context("cannot read the guest's /out")?;
        Ok(())
    }
}

/// A guest path as it is written in the payload: `/lib` and its like are links in the guest, and an archive entry
/// of that name would replace the link.
fn usr_merged(guest: &Path) -> Result<PathBuf> {
    let relative = guest
        .strip_prefix("/")
        .with_context(|| format!("the guest path {} must be absolute", guest.display()))?;
    let first = relative.components().next();
    let is_link = first.is_some_and(|c| {
        ["bin", "sbin", "lib", "lib64"]
            .iter()
            .any(|l| c.as_os_str() == *l)
    });
    Ok(if is_link {
        Path::new("usr").join(relative)
    } else {
        relative.to_path_buf()
    })
}

fn executable(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o755)))
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::usr_merged;
    use std::path::Path;

    #[test]
    fn payload_paths_respect_the_links_of_a_merged_root() {
        assert_eq!(
            usr_merged(Path::new("/lib/x")).expect("absolute"),
            Path::new("usr/lib/x")
        );
        assert_eq!(
            usr_merged(Path::new("/data/lib/x")).expect("absolute"),
            Path::new("data/lib/x")
        );
        assert!(usr_merged(Path::new("x")).is_err());
    }
}
