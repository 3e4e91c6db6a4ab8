// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! What is known about this host, gathered once, so that tests can judge by another one.

use crate::load::crc;
use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

/// What `crctl restart --files` would be given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Files {
    /// Files must be as they were
    #[default]
    Check,
    /// Files are taken as they are
    Ignore,
    /// What the process writes is cut back to its length
    Truncate,
}

/// A host.
#[derive(Clone, Debug)]
pub struct Host {
    /// Where the files of the image are looked up, `/` for this host.
    pub sysroot: PathBuf,
    /// Where `modules.dep` and the like are: `/lib/modules/RELEASE`.
    pub modules: PathBuf,
    /// `/proc` of the pid namespace that the restart goes to.
    pub proc: PathBuf,
    /// `/sys`.
    pub sys: PathBuf,
    /// `uname -r`.
    pub release: String,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: Option<[u8; 16]>,
    /// Length and CRC-32 of the vDSO.
    pub vdso: Option<(u64, u32)>,
    /// Features of the extended state that the kernel enables, as in XCR0.
    pub xfeatures: u64,
    /// Bytes of the extended state with all of them, 0 unknown.
    pub xsave_size: u64,
    /// Effective user id of the caller.
    pub euid: u64,
    /// Permitted capabilities of the caller.
    pub permitted: u64,
    /// Bounding set of the caller.
    pub bounding: u64,
    /// Hard limits of the caller by resource number.
    pub hard_limits: Vec<Option<u64>>,
    /// `/proc/self/oom_score_adj`.
    pub oom_score_adj: i64,
    /// Pid of this program: it is gone when the restart comes.
    pub pid: u64,
    /// The user's policy for files that have changed.
    pub files: Files,
}

impl Host {
    /// This host, as the caller sees it.
    pub fn here(sysroot: &Path, files: Files) -> Self {
        let proc = PathBuf::from("/proc");
        let release = text(&proc.join("sys/kernel/osrelease"));
        let status = text(&proc.join("self/status"));
        let id = |name: &str, nth: usize| {
            let line = status.lines().find_map(|l| l.strip_prefix(name));
            line.and_then(|l| l.split_whitespace().nth(nth))
                .map(str::to_owned)
        };
        let set = |name: &str| {
            id(name, 0)
                .and_then(|h| u64::from_str_radix(&h, 16).ok())
                .unwrap_or(0)
        };
        Self {
            sysroot: sysroot.to_owned(),
            modules: Path::new("/lib/modules").join(&release),
            sys: "/sys".into(),
            boot_id: boot_id(&text(&proc.join("sys/kernel/random/boot_id"))),
            vdso: vdso(),
            xfeatures: xfeatures(),
            xsave_size: xsave_size(),
            euid: id("Uid:", 1)
                .and_then(|n| n.parse().ok())
                .unwrap_or(u64::MAX),
            permitted: set("CapPrm:"),
            bounding: set("CapBnd:"),
            hard_limits: hard_limits(&text(&proc.join("self/limits"))),
            oom_score_adj: number(&proc.join("self/oom_score_adj")).unwrap_or(0),
            pid: std::process::id().into(),
            release,
            proc,
            files,
        }
    }

    /// May the caller do everything here, as far as user ids say?
    pub fn is_root(&self) -> bool {
        self.euid == 0
    }

    /// A setting below `/proc/sys`.
    pub fn sysctl(&self, name: &str) -> Option<u64> {
        number(&self.proc.join("sys").join(name)).and_then(|n| u64::try_from(n).ok())
    }
}

fn text(path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(&bytes).trim().to_owned()
}

fn number(path: &Path) -> Option<i64> {
    text(path).split_whitespace().next()?.parse().ok()
}

fn boot_id(text: &str) -> Option<[u8; 16]> {
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    let n = u128::from_str_radix(&digits, 16).ok()?;
    Some(n.to_be_bytes())
}

/// The vDSO of this process: every process of a kernel has the same bytes.
fn vdso() -> Option<(u64, u32)> {
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    let line = maps.lines().find(|l| l.ends_with("[vdso]"))?;
    let (start, end) = line.split_whitespace().next()?.split_once('-')?;
    let start = u64::from_str_radix(start, 16).ok()?;
    let len = u64::from_str_radix(end, 16).ok()?.checked_sub(start)?;
    // The vDSO has a few pages.
    let mut bytes = vec![0; usize::try_from(len.min(1 << 20)).ok()?];
    let mem = File::open("/proc/self/mem").ok()?;
    mem.read_exact_at(&mut bytes, start).ok()?;
    Some((len, crc(0, &bytes)))
}

/// XCR0: the features that the kernel enables.
#[cfg(target_arch = "x86_64")]
fn xfeatures() -> u64 {
    #[target_feature(enable = "xsave")]
    fn xcr0() -> u64 {
        // SAFETY: register 0 exists where XGETBV does.
        unsafe { std::arch::x86_64::_xgetbv(0) }
    }
    if std::arch::is_x86_feature_detected!("xsave") {
        // SAFETY: the processor and the kernel have XSAVE, as has just been asked.
        unsafe { xcr0() }
    } else {
        0b11
    }
}

/// CPUID leaf 13: bytes of the extended state with all features that are enabled.
#[cfg(target_arch = "x86_64")]
#[allow(unused_unsafe)] // Newer compilers know that it has no requirements.
fn xsave_size() -> u64 {
    use std::arch::x86_64::__cpuid_count;
    // SAFETY: every x86-64 processor has CPUID.
    let leaves = unsafe { __cpuid_count(0, 0) }.eax;
    if leaves < 13 {
        return 0;
    }
    // SAFETY: as above; asking has no effects.
    unsafe { __cpuid_count(13, 0) }.ebx.into()
}

/// An image of x86-64 cannot be restarted here anyway.
#[cfg(not(target_arch = "x86_64"))]
fn xfeatures() -> u64 {
    0
}

/// An image of x86-64 cannot be restarted here anyway.
#[cfg(not(target_arch = "x86_64"))]
fn xsave_size() -> u64 {
    0
}

/// Lines of `/proc/self/limits` in the order of the resource numbers.
const LIMITS: [&str; 16] = [
    "Max cpu time",
    "Max file size",
    "Max data size",
    "Max stack size",
    "Max core file size",
    "Max resident set",
    "Max processes",
    "Max open files",
    "Max locked memory",
    "Max address space",
    "Max file locks",
    "Max pending signals",
    "Max msgqueue size",
    "Max nice priority",
    "Max realtime priority",
    "Max realtime timeout",
];

fn hard_limits(text: &str) -> Vec<Option<u64>> {
    let value = |name: &&str| {
        let rest = text.lines().find_map(|l| l.strip_prefix(name))?;
        let word = rest.split_whitespace().nth(1)?;
        match word {
            "unlimited" => Some(u64::MAX),
            n => n.parse().ok(),
        }
    };
    LIMITS.iter().map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_by_name() {
        let text = "Limit   Soft Limit  Hard Limit  Units\n\
                    Max open files            1024                 524288               files     \n\
                    Max nice priority         0                    0                    \n\
                    Max cpu time              unlimited            unlimited            seconds   \n";
        let limits = hard_limits(text);
        assert_eq!(limits.get(7), Some(&Some(524288)));
        assert_eq!(limits.get(13), Some(&Some(0)));
        assert_eq!(limits.first(), Some(&Some(u64::MAX)));
        assert_eq!(limits.get(9), Some(&None));
    }

    #[test]
    fn a_boot_id_has_sixteen_bytes() {
        let id = boot_id("27a1fe3d-27b2-4ddc-a837-2c6da766b3c6");
        assert_eq!(id.map(|b| (b[0], b[15])), Some((0x27, 0xc6)));
        assert_eq!(boot_id(""), None);
    }

    #[test]
    fn this_host_is_described() {
        let host = Host::here(Path::new("/"), Files::Check);
        assert!(!host.release.is_empty());
        assert!(host.xfeatures & 3 == 3 && host.xsave_size >= 576);
        assert!(host.vdso.is_some_and(|(len, _)| len >= 4096));
        assert_eq!(host.hard_limits.len(), 16);
    }
}
