// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! The kernel modules: opening the device (loading the core when needed), loading, unloading, and why it fails.

use crate::device::Device;
use crate::error::{Class, Failure, Result};
use crate::escape;
use crate::sys::{self, process};
use std::ffi::CString;
use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Module name of the core.
pub const CORE: &str = "cr_core";

/// Where `modprobe` can be, whatever `PATH` says.
const MODPROBE: [&str; 5] = [
    "/usr/sbin/modprobe",
    "/sbin/modprobe",
    "/usr/bin/modprobe",
    "/bin/modprobe",
    "/usr/local/sbin/modprobe",
];

/// How long the device node may take to appear after the module was loaded.
const NODE_PATIENCE: Duration = Duration::from_secs(2);

/// How long threads may take to leave a module that is to be removed.
const LEAVING_PATIENCE: Duration = Duration::from_secs(1);

/// Opens a session, loading the core if necessary, and checks that it speaks our interface.
pub fn open() -> Result<Device> {
    let device = match Device::open() {
        Err(e) if is_missing(&e) => {
            load(CORE)?;
            wait_for_node()?
        }
        other => other.map_err(|e| explain_open(&e))?,
    };
    check_interface(&device)?;
    Ok(device)
}

/// Opens a session only if the core is loaded.
pub fn open_if_loaded() -> Result<Option<Device>> {
    match Device::open() {
        Ok(device) => Ok(Some(device)),
        Err(e) if is_missing(&e) => Ok(None),
        Err(e) => Err(explain_open(&e)),
    }
}

/// What the loaded core is.
pub fn query(device: &Device) -> Result<cr_uapi::Query> {
    device.query().map_err(|e| {
        let path = cr_uapi::DEVICE_PATH;
        let text = format!(
            "{path} does not answer as this crctl expects: {}",
            sys::error_text(&e)
        );
        Failure::new(Class::Modules, text).remedy(REINSTALL)
    })
}

/// Loads one module and what it needs.
pub fn load(module: &str) -> Result<()> {
    let Some(modprobe) = MODPROBE.into_iter().find(|path| Path::new(path).exists()) else {
        return Err(Failure::new(
            Class::Modules,
            format!("cannot load {module}: there is no modprobe"),
        )
        .remedy("Install the package kmod, then try again."));
    };
    let output = Command::new(modprobe)
        .arg("--")
        .arg(module)
        .env_remove("MODPROBE_OPTIONS")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .map_err(|e| {
            Failure::new(
                Class::Modules,
                format!("cannot run {modprobe}: {}", sys::error_text(&e)),
            )
        })?;
    if output.status.success() {
        return Ok(());
    }
    let lockdown = fs::read_to_string("/sys/kernel/security/lockdown").unwrap_or_default();
    Err(explain_modprobe(
        module,
        &output.stderr,
        process::effective_uid() == 0,
        &lockdown,
    ))
}

/// Removes one module from the kernel, waiting a moment for threads that are just leaving it.
pub fn remove(module: &str) -> io::Result<()> {
    let name = CString::new(module)?;
    let start = Instant::now();
    loop {
        // SAFETY: `name` is NUL-terminated and outlives the call.
        let ret =
            unsafe { libc::syscall(libc::SYS_delete_module, name.as_ptr(), libc::O_NONBLOCK) };
        if ret == 0 {
            return Ok(());
        }
        let err = io::Error::last_os_error();
        if sys::errno(&err) != libc::EAGAIN || start.elapsed() > LEAVING_PATIENCE {
            return Err(err);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// True if the core is in the kernel, whether or not the device can be opened.
pub fn is_loaded() -> bool {
    Path::new("/sys/module").join(CORE).exists()
}

/// Version of the loaded core, if it carries one.
pub fn version() -> Option<String> {
    let text = fs::read(Path::new("/sys/module").join(CORE).join("version")).ok()?;
    Some(escape::text(text.trim_ascii()))
}

/// The running kernel's release.
pub fn kernel_release() -> String {
    escape::text(
        fs::read("/proc/sys/kernel/osrelease")
            .unwrap_or_default()
            .trim_ascii(),
    )
}

/// All installed modules that use the core.
pub fn installed_extensions() -> Vec<String> {
    let path = format!("/lib/modules/{}/modules.dep", kernel_release());
    extensions_in(&fs::read_to_string(path).unwrap_or_default())
}

/// The loaded modules that must go, in order, so that the core can go: it is the last.
pub fn unload_order() -> Vec<String> {
    order_in(&fs::read_to_string("/proc/modules").unwrap_or_default())
}

/// Modules in a `modules.dep` that depend on the core.
fn extensions_in(modules_dep: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in modules_dep.lines() {
        let Some((file, needs)) = line.split_once(':') else {
            continue;
        };
        if needs
            .split_whitespace()
            .any(|path| module_name(path) == CORE)
        {
            found.push(module_name(file));
        }
    }
    found.sort_unstable();
    found
}

/// Module name of a path such as `updates/cr-pipes.ko.xz`.
fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split(".ko").next().unwrap_or(file).replace('-', "_")
}

/// See [`unload_order`]; `proc_modules` has lines `name size users dependents, state address`.
fn order_in(proc_modules: &str) -> Vec<String> {
    fn visit(text: &str, module: &str, order: &mut Vec<String>) {
        let line = text
            .lines()
            .map(|l| l.split(' ').collect::<Vec<_>>())
            .find(|w| w.first() == Some(&module));
        let Some(words) = line else { return };
        let dependents = words.get(3).copied().unwrap_or("");
        // The kernel's own list cannot be circular.
        for dependent in dependents
            .split(',')
            .filter(|d| !d.is_empty() && !d.starts_with(['-', '[']))
        {
            visit(text, dependent, order);
        }
        if !order.iter().any(|m| m == module) {
            order.push(module.to_owned());
        }
    }
    let mut order = Vec::new();
    visit(proc_modules, CORE, &mut order);
    order
}

fn is_missing(err: &io::Error) -> bool {
    matches!(sys::errno(err), libc::ENOENT | libc::ENODEV | libc::ENXIO)
}

fn wait_for_node() -> Result<Device> {
    let start = Instant::now();
    loop {
        match Device::open() {
            Err(e) if is_missing(&e) && start.elapsed() < NODE_PATIENCE => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(e) if is_missing(&e) => return Err(explain_missing_node()),
            other => return other.map_err(|e| explain_open(&e)),
        }
    }
}

fn check_interface(device: &Device) -> Result<()> {
    let query = query(device)?;
    if query.abi != cr_uapi::ABI {
        let text = format!(
            "the loaded modules speak interface {}, this crctl speaks {}",
            query.abi,
            cr_uapi::ABI
        );
        return Err(Failure::new(Class::Modules, text).remedy(REINSTALL));
    }
    Ok(())
}

const REINSTALL: &str =
    "Install modules and crctl of one release (install script), then: crctl unload && crctl load";

fn explain_missing_node() -> Failure {
    let path = cr_uapi::DEVICE_PATH;
    let misc = fs::read_to_string("/proc/misc").unwrap_or_default();
    let minor = misc.lines().find_map(|line| {
        let (minor, name) = line.trim().split_once(' ')?;
        (name == cr_uapi::DEVICE_NAME).then(|| minor.to_owned())
    });
    let failure = Failure::new(
        Class::Modules,
        format!("{CORE} is loaded, but {path} does not appear"),
    );
    match minor {
        Some(minor) => failure.remedy(format!("Create it: mknod -m 600 {path} c 10 {minor}")),
        None => failure.remedy("Look at the kernel's messages: dmesg | tail"),
    }
}

fn explain_open(err: &io::Error) -> Failure {
    let path = cr_uapi::DEVICE_PATH;
    match sys::errno(err) {
        libc::EACCES | libc::EPERM => Failure::new(
            Class::NotPermitted,
            format!("{path}: {}", sys::error_text(err)),
        )
        .remedy("Only root may open it by default: use sudo."),
        _ => Failure::new(Class::Modules, format!("{path}: {}", sys::error_text(err)))
            .remedy("Look at the kernel's messages: dmesg | tail"),
    }
}

/// Why `modprobe` failed: what it said on stderr, whether root ran it, and the kernel's lockdown state.
fn explain_modprobe(module: &str, stderr: &[u8], is_root: bool, lockdown: &str) -> Failure {
    let said = escape::text(stderr.trim_ascii());
    let text = if said.is_empty() {
        format!("cannot load {module}")
    } else {
        format!("cannot load {module}: {said}")
    };
    let has = |needle: &str| said.contains(needle);
    if has("not found in directory") || has("not find module") || has("No such file or directory") {
        return Failure::new(Class::Modules, text).remedy(format!(
            "The modules are not installed for kernel {}: run the install script of the release.",
            kernel_release()
        ));
    }
    if !is_root && (has("not permitted") || has("Permission denied")) {
        return Failure::new(Class::NotPermitted, text)
            .remedy("Only root can load kernel modules: use sudo.");
    }
    let locked = lockdown.contains("[integrity]") || lockdown.contains("[confidentiality]");
    if has("Key was rejected")
        || has("Required key not available")
        || (locked && has("not permitted"))
    {
        return Failure::new(Class::Modules, text).remedy(
            "Secure Boot is on and the kernel takes only signed modules: sign them with a key enrolled by mokutil, \
             or switch Secure Boot off.",
        );
    }
    if has("Invalid module format") || has("Exec format error") || has("nknown symbol") {
        return Failure::new(Class::Modules, text).remedy(format!(
            "The installed modules were built for another kernel than {}: install those for this one.",
            kernel_release()
        ));
    }
    Failure::new(Class::Modules, text).remedy("Look at the kernel's messages: dmesg | tail")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn module_names_come_from_any_spelling_of_the_file() {
        assert_eq!(module_name("updates/crkit/cr_core.ko"), "cr_core");
        assert_eq!(module_name("extra/cr-pipes.ko.xz"), "cr_pipes");
        assert_eq!(module_name("cr_core"), "cr_core");
    }

    #[test]
    fn extensions_are_the_modules_that_need_the_core() {
        let dep = "kernel/fs/ext4/ext4.ko.xz: kernel/lib/crc16.ko.xz\n\
                   updates/cr_core.ko:\nupdates/cr_pipes.ko: updates/cr_core.ko\n\
                   updates/cr_files.ko: updates/other.ko updates/cr_core.ko\nbad line\n";
        assert_eq!(extensions_in(dep), ["cr_files", "cr_pipes"]);
    }

    #[test]
    fn dependents_are_unloaded_before_what_they_need() {
        let modules = "ext4 1 1 - Live 0x0\ncr_a 16384 1 cr_b, Live 0x0\ncr_b 16384 0 - Live 0x0\n\
                       cr_core 16384 2 cr_a,cr_b, Live 0x0\n";
        assert_eq!(order_in(modules), ["cr_b", "cr_a", "cr_core"]);
        assert!(order_in("ext4 1 1 - Live 0x0\n").is_empty());
        assert_eq!(order_in("cr_core 1 0 [permanent], Live 0x0\n"), ["cr_core"]);
    }

    #[test]
    fn the_reason_modprobe_gives_decides_the_remedy() {
        let explain =
            |said: &str, root, lockdown| explain_modprobe(CORE, said.as_bytes(), root, lockdown);
        let missing = explain(
            "modprobe: FATAL: Module cr_core not found in directory /lib/modules/7",
            true,
            "",
        );
        assert_eq!(missing.class, Class::Modules);
        assert!(missing.messages[0].remedy.contains("install script"));
        let key = explain(
            "modprobe: ERROR: could not insert 'cr_core': Key was rejected by service",
            true,
            "",
        );
        assert!(key.messages[0].remedy.contains("Secure Boot"));
        let said = "modprobe: ERROR: could not insert 'cr_core': Operation not permitted";
        assert!(explain(said, true, "none [integrity]").messages[0]
            .remedy
            .contains("Secure Boot"));
        assert_eq!(
            explain(said, false, "[none] integrity").class,
            Class::NotPermitted
        );
        assert!(explain("Invalid module format", true, "").messages[0]
            .remedy
            .contains("another kernel"));
        assert!(!explain("", true, "").messages[0].text.ends_with(' '));
    }
}
