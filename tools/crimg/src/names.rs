// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Names for numbers that the kernel's headers name: signals, flags, modes, capabilities.

use cr_format::{PROT_EXEC, PROT_READ, PROT_WRITE, VMA_FLAG_NAMES, VMA_SHARED};

const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// `SIGTERM`, `SIGRTMIN+3`.
pub fn signal(n: u64) -> String {
    match n {
        1..=31 => format!("SIG{}", SIGNALS[n as usize - 1]),
        // 32 and 33 belong to the C library.
        32 | 33 => format!("signal {n}"),
        34 => "SIGRTMIN".to_owned(),
        35..=64 => format!("SIGRTMIN+{}", n - 34),
        _ => format!("signal {n}"),
    }
}

/// A set of signals; bit n is signal n+1.
pub fn signals(set: u64) -> String {
    match set.count_ones() {
        0 => "none".to_owned(),
        ones if ones > 32 => {
            let missing = !set;
            if missing == 0 {
                "all".to_owned()
            } else {
                format!("all but {}", signals(missing))
            }
        }
        _ => (0..64)
            .filter(|b| set & (1 << b) != 0)
            .map(|b: u64| signal(b + 1))
            .collect::<Vec<_>>()
            .join(" "),
    }
}

const OPEN_FLAGS: [(u64, &str); 15] = [
    (0o2000, "append"),
    (0o4000, "nonblock"),
    (0o4010000, "sync"),
    (0o10000, "dsync"),
    (0o20000, "async"),
    (0o40000, "direct"),
    (0o200000, "directory"),
    (0o400000, "nofollow"),
    (0o1000000, "noatime"),
    (0o10000000, "path"),
    (0o20200000, "tmpfile"),
    (0o100, "creat"),
    (0o200, "excl"),
    (0o400, "noctty"),
    (0o1000, "trunc"),
];
/// `O_LARGEFILE`: always there on 64 bits, so not worth a word.
const LARGEFILE: u64 = 0o100000;

/// Access mode and flags of an open file.
pub fn open_flags(flags: u64) -> String {
    let mut words = vec![match flags & 3 {
        0 => "r",
        1 => "w",
        2 => "rw",
        _ => "ioctl",
    }
    .to_owned()];
    let mut rest = flags & !3 & !LARGEFILE;
    for (bits, word) in OPEN_FLAGS {
        if rest & bits == bits {
            words.push(word.to_owned());
            rest &= !bits;
        }
    }
    if rest != 0 {
        words.push(format!("{rest:#o}"));
    }
    words.join(",")
}

/// What kind of open file.
pub fn file_kind(kind: u64) -> String {
    match kind {
        1 => "file",
        2 => "directory",
        3 => "device",
        4 => "path only",
        5 => "deleted file",
        6 => "handled",
        7 => "external",
        _ => return format!("kind {kind}"),
    }
    .to_owned()
}

/// `rwxp` as in `/proc/PID/maps`.
pub fn protection(prot: u64, flags: u64) -> String {
    [
        (prot & PROT_READ != 0, 'r'),
        (prot & PROT_WRITE != 0, 'w'),
        (prot & PROT_EXEC != 0, 'x'),
    ]
    .map(|(set, c)| if set { c } else { '-' })
    .into_iter()
    .chain([if flags & VMA_SHARED != 0 { 's' } else { 'p' }])
    .collect()
}

/// The flags of a memory area, without what other columns show.
pub fn vma_flags(flags: u64) -> String {
    let known: u64 = VMA_FLAG_NAMES.iter().map(|(bit, _)| bit).sum();
    let shown = VMA_FLAG_NAMES
        .iter()
        .filter(|(bit, _)| flags & bit != 0 && *bit != VMA_SHARED)
        .map(|(_, name)| (*name).to_owned());
    shown
        .chain((flags & !known != 0).then(|| format!("{:#x}", flags & !known)))
        .collect::<Vec<_>>()
        .join(" ")
}

const CAPABILITIES: [&str; 41] = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];

/// A set of capabilities.
pub fn capabilities(set: u64) -> String {
    let all = (1 << CAPABILITIES.len()) - 1;
    if set == 0 {
        "none".to_owned()
    } else if set & all == all {
        "all".to_owned()
    } else {
        let name = |b: usize| {
            CAPABILITIES
                .get(b)
                .map_or(format!("capability {b}"), |n| (*n).to_owned())
        };
        (0..64)
            .filter(|b| set & (1 << b) != 0)
            .map(name)
            .collect::<Vec<_>>()
            .join(" ")
    }
}

/// A scheduling policy.
pub fn policy(n: u64) -> String {
    match n {
        0 => "other",
        1 => "fifo",
        2 => "rr",
        3 => "batch",
        5 => "idle",
        6 => "deadline",
        _ => return format!("policy {n}"),
    }
    .to_owned()
}

/// The interrupted system call of a thread.
pub fn restart_kind(n: u64) -> &'static str {
    match n {
        1 => "restarts with its arguments",
        2 => "continues its sleep",
        3 => "continues its poll",
        4 => "continues its futex wait",
        _ => "",
    }
}

/// The CPUs in a little-endian mask, as ranges.
pub fn cpus(mask: &[u8]) -> String {
    let set = |n: usize| mask.get(n / 8).is_some_and(|b| b & (1 << (n % 8)) != 0);
    let mut ranges = Vec::new();
    let mut n = 0;
    while n < mask.len() * 8 {
        if set(n) {
            let first = n;
            while set(n + 1) {
                n += 1;
            }
            ranges.push(if first == n {
                first.to_string()
            } else {
                format!("{first}-{n}")
            });
        }
        n += 1;
    }
    ranges.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_their_names() {
        assert_eq!(signal(15), "SIGTERM");
        assert_eq!(signal(34), "SIGRTMIN");
        assert_eq!(signal(64), "SIGRTMIN+30");
        assert_eq!(signals(0), "none");
        assert_eq!(signals(u64::MAX), "all");
        assert_eq!(signals(0b101), "SIGHUP SIGQUIT");
        assert_eq!(signals(!(1 << 8)), "all but SIGKILL");
    }

    #[test]
    fn open_flags_name_the_access_first() {
        assert_eq!(open_flags(0o102001), "w,append");
        assert_eq!(open_flags(0o2), "rw");
        assert_eq!(open_flags(0o40000000), "r,0o40000000");
    }

    #[test]
    fn cpu_masks_are_ranges() {
        assert_eq!(cpus(&[0xff, 0x05]), "0-8,10");
        assert_eq!(cpus(&[0]), "");
    }
}
