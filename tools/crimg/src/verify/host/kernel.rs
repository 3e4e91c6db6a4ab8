// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Kernel release, vDSO, modules, clocks, settings of the kernel.

use super::{all, Answer, Finding, Host, Severity};
use crate::{escape, load::Sections, number};
use cr_format::{
    superblock::{Superblock, ZSTD},
    ImageRecord, MmRecord, PipeRecord, SectionRecord, StatsRecord, TaskRecord, VmaRecord, IMAGE,
    VMA_SPECIAL,
};
use std::fs;

/// Where the modules are described to users.
const INSTALL: &str = "Install the kernel modules where modprobe finds them (see README).";

pub(super) fn judge(
    sections: &Sections,
    superblock: Option<&Superblock>,
    host: &Host,
    answer: &mut Answer,
) {
    let image = all::<ImageRecord<'_>>(sections).next();
    if let Some(image) = &image {
        release(image, host, answer);
        clocks(image, host, answer);
    }
    vdso(sections, host, answer);
    let mut needed = vec!["cr_core".to_owned()];
    for s in
        all::<SectionRecord<'_>>(sections).filter(|s| s.critical == 1 && s.id != u32::from(IMAGE))
    {
        needed.push(format!("cr_{}", escape::text(s.word)));
    }
    if superblock.is_some_and(|s| s.feature_incompat & ZSTD != 0) {
        needed.push("cr_zstd".to_owned());
    }
    modules(&needed, host, answer);
    settings(sections, host, answer);
}

fn release(image: &ImageRecord<'_>, host: &Host, answer: &mut Answer) {
    answer.looked("kernel");
    if image.kernel_release != host.release.as_bytes() {
        let was = escape::text(image.kernel_release);
        answer.add(
            Finding::new(
                "kernel",
                Severity::Blocks,
                "the image was made on another kernel",
            )
            .values(&was, escape::text(host.release.as_bytes()))
            .remedy(format!("Boot the kernel {was}.")),
        );
    }
}

fn vdso(sections: &Sections, host: &Host, answer: &mut Answer) {
    let Some(mm) = all::<MmRecord<'_>>(sections).next() else {
        return;
    };
    let here = all::<VmaRecord<'_>>(sections).any(|v| v.kind == VMA_SPECIAL && v.start == mm.vdso);
    if mm.vdso == 0 || !here {
        return;
    }
    answer.looked("vdso");
    match host.vdso {
        Some((_, crc)) if u64::from(crc) == mm.vdso_crc => {}
        Some((_, crc)) => answer.add(
            Finding::new(
                "vdso",
                Severity::Blocks,
                "the vDSO of this kernel differs from that of the image",
            )
            .values(
                format!("CRC-32 {:#010x}", mm.vdso_crc),
                format!("CRC-32 {crc:#010x}"),
            )
            .remedy("Boot the kernel build of the checkpoint, on a processor of the same kind."),
        ),
        None => answer.add(
            Finding::new(
                "vdso",
                Severity::Warning,
                "the vDSO of this kernel could not be read, so it was not compared",
            )
            .values(format!("CRC-32 {:#010x}", mm.vdso_crc), "unknown")
            .remedy("Mount /proc, boot without vdso=0."),
        ),
    }
}

fn clocks(image: &ImageRecord<'_>, host: &Host, answer: &mut Answer) {
    answer.looked("clock");
    let same_boot = host.boot_id.is_some_and(|id| id == image.boot_id);
    let needs = !same_boot
        || image.timens_monotonic_ns.unsigned_abs() | image.timens_boottime_ns.unsigned_abs() != 0;
    if !needs {
        return;
    }
    if host.proc.join("self/ns/time_for_children").exists() {
        answer.add(
            Finding::new(
                "clock",
                Severity::Note,
                "the clocks of the process go on where they were, in a time namespace",
            )
            .remedy("Nothing to do: crctl restart makes it."),
        );
    } else {
        answer.add(
            Finding::new(
                "clock",
                Severity::Blocks,
                "the process's clocks need a time namespace, which this kernel does not have",
            )
            .remedy("Boot a kernel with CONFIG_TIME_NS."),
        );
    }
}

fn modules(needed: &[String], host: &Host, answer: &mut Answer) {
    let read = |name: &str| fs::read(host.modules.join(name)).unwrap_or_default();
    let (dep, alias) = (read("modules.dep"), read("modules.alias"));
    let dep = String::from_utf8_lossy(&dep);
    let alias = String::from_utf8_lossy(&alias);
    let mut missing = Vec::new();
    for module in needed {
        answer.looked("module");
        let loaded = host.sys.join("module").join(module).exists();
        let word = module.strip_prefix("cr_").unwrap_or(module);
        let by_file = dep.lines().any(|l| {
            let file = l.split(':').next().unwrap_or("");
            let name = file.rsplit('/').next().unwrap_or("");
            name.split(".ko").next().unwrap_or("").replace('-', "_") == *module
        });
        let wanted = format!("crext-{word}");
        let by_alias = alias
            .lines()
            .any(|l| l.split_whitespace().nth(1) == Some(wanted.as_str()));
        if !(loaded || by_file || by_alias) {
            missing.push(module.clone());
        }
    }
    if !missing.is_empty() {
        let folder = escape::text(host.modules.as_os_str().as_encoded_bytes());
        answer.add(
            Finding::new(
                "module",
                Severity::Blocks,
                "kernel modules are neither loaded nor installed",
            )
            .about(missing.join(" "))
            .values(
                format!("{} needed", needed.len()),
                format!("{} missing in {folder}", missing.len()),
            )
            .remedy(INSTALL),
        );
    }
}

/// Numbers of the kernel that bound what can be restarted.
fn settings(sections: &Sections, host: &Host, answer: &mut Answer) {
    let areas = all::<VmaRecord<'_>>(sections).count() as u64;
    answer.looked("memory");
    // The restart has two areas of its own meanwhile.
    if let Some(max) = host
        .sysctl("vm/max_map_count")
        .filter(|max| areas.saturating_add(2) > *max)
    {
        answer.add(
            Finding::new(
                "memory",
                Severity::Blocks,
                "the process has more memory areas than this host allows",
            )
            .values(areas, max)
            .remedy(format!(
                "Raise it: sysctl vm.max_map_count={}",
                areas.saturating_mul(2)
            )),
        );
    }
    let needs = all::<StatsRecord>(sections)
        .next()
        .map_or(0, |s| s.page_bytes);
    let meminfo = fs::read_to_string(host.proc.join("meminfo")).unwrap_or_default();
    let free = meminfo
        .lines()
        .find_map(|l| l.strip_prefix("MemAvailable:"));
    let free = free
        .and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok())
        .map(|kib| kib.saturating_mul(1024));
    if let Some(free) = free.filter(|free| needs > *free) {
        answer.add(
            Finding::new(
                "memory",
                Severity::Warning,
                "the contents of the process's memory are larger than what is free here",
            )
            .values(number::size(needs), number::size(free))
            .remedy("Free some memory, add swap, or restart on a larger host."),
        );
    }
    let may = host.permitted & (1 << super::rights::CAP_SYS_RESOURCE) != 0;
    if let Some(max) = host.sysctl("fs/pipe-max-size") {
        for p in all::<PipeRecord<'_>>(sections) {
            answer.looked("pipe");
            if p.capacity > max && !may && p.capacity > 65536 {
                answer.add(
                    Finding::new(
                        "pipe",
                        Severity::Blocks,
                        "the pipe is larger than what the caller may have",
                    )
                    .about(format!("pipe {}", p.id))
                    .values(p.capacity, max)
                    .remedy(format!(
                        "Raise it: sysctl fs.pipe-max-size={}; or restart as root.",
                        p.capacity
                    )),
                );
            }
        }
    }
    cpus(sections, host, answer);
}

/// A thread that was bound to processors needs one of them.
fn cpus(sections: &Sections, host: &Host, answer: &mut Answer) {
    let Ok(online) = fs::read_to_string(host.sys.join("devices/system/cpu/online")) else {
        return;
    };
    let online = online.trim();
    let has = |n: usize| {
        online.split(',').any(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let bounds = first.parse::<usize>().ok().zip(last.parse::<usize>().ok());
            bounds.is_some_and(|(first, last)| first <= n && n <= last)
        })
    };
    for t in all::<TaskRecord<'_>>(sections).filter(|t| t.pinned == 1) {
        answer.looked("cpu");
        let mut wanted = t.affinity.iter().enumerate().flat_map(|(byte, bits)| {
            (0..8_usize)
                .filter(move |bit| bits & (1 << bit) != 0)
                .map(move |bit| byte.saturating_mul(8).saturating_add(bit))
        });
        if !wanted.any(has) {
            answer.add(
                Finding::new(
                    "cpu",
                    Severity::Blocks,
                    "the thread is bound to CPUs that are not online here",
                )
                .about(format!("thread {}", t.tid))
                .values(crate::names::cpus(t.affinity), online)
                .remedy("Bring one of them online."),
            );
        }
    }
}
