// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Names for numbers that the kernel's headers name: signals, flags, modes, capabilities.

use cr_format::{
    CpuClock, PROT_EXEC, PROT_READ, PROT_WRITE, SEAL_NAMES, VMA_FLAG_NAMES, VMA_SHARED,
};

const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// `SIGTERM`, `SIGRTMIN+3`.
pub fn signal(n: u64) -> String {
    match n {
        1..=31 => {
            let at = usize::try_from(n).map_or(0, |n| n.saturating_sub(1));
            format!("SIG{}", SIGNALS.get(at).copied().unwrap_or("?"))
        }
        // 32 and 33 belong to the C library.
        32 | 33 => format!("signal {n}"),
        34 => "SIGRTMIN".to_owned(),
        35..=64 => format!("SIGRTMIN+{}", n - 34),
        _ => format!("signal {n}"),
    }
}

/// The signals of a set by name, all of them.
pub fn signal_list(set: u64) -> Vec<String> {
    (0..64_u64)
        .filter(|b| set & (1 << b) != 0)
        .map(|b| signal(b.saturating_add(1)))
        .collect()
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
        8 => "memfd",
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

/// What kind of memory area.
pub fn vma_kind(kind: u64) -> String {
    match kind {
        0 => "anonymous",
        1 => "file",
        2 => "shared_anonymous",
        3 => "special",
        _ => return format!("kind_{kind}"),
    }
    .to_owned()
}

/// The seals of a memory file, `none` if it has none.
pub fn seals(seals: u64) -> String {
    let names: Vec<&str> = SEAL_NAMES
        .iter()
        .filter(|(bit, _)| seals & bit != 0)
        .map(|(_, name)| *name)
        .collect();
    match names.as_slice() {
        [] => "none".to_owned(),
        names => names.join(","),
    }
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

/// The capabilities of a set by name, all of them.
pub fn capability_list(set: u64) -> Vec<String> {
    let name = |b: usize| {
        CAPABILITIES
            .get(b)
            .map_or(format!("capability_{b}"), |n| (*n).to_owned())
    };
    (0..64)
        .filter(|b| set & (1_u64 << b) != 0)
        .map(name)
        .collect()
}

/// A set of capabilities.
pub fn capabilities(set: u64) -> String {
    let all = (1 << CAPABILITIES.len()) - 1;
    if set == 0 {
        "none".to_owned()
    } else if set & all == all {
        "all".to_owned()
    } else if set.count_ones() > 32 {
        format!("all but {}", capability_list(all & !set).join(" "))
    } else {
        capability_list(set).join(" ")
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

/// Features of the extended processor state, by name.
pub fn xfeatures(set: u64) -> String {
    let names: Vec<String> = (0..64)
        .filter(|bit| set & (1_u64 << bit) != 0)
        .map(crate::xsave::name)
        .collect();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(" ")
    }
}

/// What the type bits of a mode say.
pub fn file_type(mode: u64) -> &'static str {
    match mode & 0o170_000 {
        0o140_000 => "socket",
        0o120_000 => "symbolic link",
        0o100_000 => "regular file",
        0o060_000 => "block device",
        0o040_000 => "directory",
        0o020_000 => "character device",
        0o010_000 => "FIFO",
        _ => "something unknown",
    }
}

/// The flags register.
const RFLAGS: [(u64, &str); 17] = [
    (1, "CF"),
    (1 << 2, "PF"),
    (1 << 4, "AF"),
    (1 << 6, "ZF"),
    (1 << 7, "SF"),
    (1 << 8, "TF"),
    (1 << 9, "IF"),
    (1 << 10, "DF"),
    (1 << 11, "OF"),
    (0b11 << 12, "IOPL"),
    (1 << 14, "NT"),
    (1 << 16, "RF"),
    (1 << 17, "VM"),
    (1 << 18, "AC"),
    (1 << 19, "VIF"),
    (1 << 20, "VIP"),
    (1 << 21, "ID"),
];

/// Flags of the processor that are set, without bit 1, which always is.
pub fn rflags(flags: u64) -> Vec<&'static str> {
    RFLAGS
        .iter()
        .filter(|(bits, _)| flags & bits != 0)
        .map(|(_, name)| *name)
        .collect()
}

const AUXV: [(u64, &str); 33] = [
    (0, "NULL"),
    (1, "IGNORE"),
    (2, "EXECFD"),
    (3, "PHDR"),
    (4, "PHENT"),
    (5, "PHNUM"),
    (6, "PAGESZ"),
    (7, "BASE"),
    (8, "FLAGS"),
    (9, "ENTRY"),
    (10, "NOTELF"),
    (11, "UID"),
    (12, "EUID"),
    (13, "GID"),
    (14, "EGID"),
    (15, "PLATFORM"),
    (16, "HWCAP"),
    (17, "CLKTCK"),
    (23, "SECURE"),
    (24, "BASE_PLATFORM"),
    (25, "RANDOM"),
    (26, "HWCAP2"),
    (27, "RSEQ_FEATURE_SIZE"),
    (28, "RSEQ_ALIGN"),
    (29, "HWCAP3"),
    (30, "HWCAP4"),
    (31, "EXECFN"),
    (32, "SYSINFO"),
    (33, "SYSINFO_EHDR"),
    (40, "L1I_CACHESIZE"),
    (42, "L1D_CACHESIZE"),
    (44, "L2_CACHESIZE"),
    (51, "MINSIGSTKSZ"),
];

/// An entry type of the auxiliary vector, without `AT_`.
pub fn auxv(kind: u64) -> String {
    AUXV.iter()
        .find(|(k, _)| *k == kind)
        .map_or(kind.to_string(), |(_, name)| (*name).to_owned())
}

const SECUREBITS: [&str; 8] = [
    "noroot",
    "noroot_locked",
    "no_setuid_fixup",
    "no_setuid_fixup_locked",
    "keep_caps",
    "keep_caps_locked",
    "no_cap_ambient_raise",
    "no_cap_ambient_raise_locked",
];

/// The bits of `PR_GET_SECUREBITS` by name.
pub fn securebit_list(bits: u64) -> Vec<String> {
    (0..64_usize)
        .filter(|b| bits & (1_u64 << b) != 0)
        .map(|b| {
            SECUREBITS
                .get(b)
                .map_or(format!("bit_{b}"), |n| (*n).to_owned())
        })
        .collect()
}

/// `PR_GET_SECUREBITS`.
pub fn securebits(bits: u64) -> String {
    match securebit_list(bits) {
        list if list.is_empty() => "none".to_owned(),
        list => list.join(" "),
    }
}

/// A NUMA memory policy (`set_mempolicy(2)`) and its nodes.
pub fn memory_policy(value: u64, nodes: &[u8]) -> String {
    const MODES: [&str; 7] = [
        "default",
        "preferred",
        "bind",
        "interleave",
        "local",
        "preferred-many",
        "weighted-interleave",
    ];
    // CAST: an index, looked up.
    let mode = MODES.get((value & 0x1fff) as usize).unwrap_or(&"?");
    let flags = [
        (0x8000, " static"),
        (0x4000, " relative"),
        (0x2000, " balancing"),
    ];
    let flags: String = flags
        .iter()
        .filter(|(bit, _)| value & bit != 0)
        .map(|f| f.1)
        .collect();
    let nodes = if nodes.is_empty() {
        String::new()
    } else {
        format!(" nodes {}", cpus(nodes))
    };
    format!("memory {mode}{flags}{nodes}")
}

/// An I/O priority (`ioprio_get(2)`); empty if none was set.
pub fn ioprio(value: u64) -> String {
    let level = value & 7;
    match value >> 13 {
        0 => String::new(),
        1 => format!("real-time {level}"),
        2 => format!("best-effort {level}"),
        3 => "idle".to_owned(),
        class => format!("class {class} level {level}"),
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

/// A clock by name.
pub fn clock(n: u64) -> String {
    let name = match n {
        0 => "realtime",
        1 => "monotonic",
        7 => "boottime",
        8 => "realtime_alarm",
        9 => "boottime_alarm",
        11 => "tai",
        n => return cpu_clock(n).unwrap_or_else(|| n.to_string()),
    };
    name.to_owned()
}

/// `IORING_SETUP_*` bits by name.
pub fn ring_flags(flags: u64) -> String {
    let known = |(bit, name): &(u64, &str)| (flags & bit != 0).then(|| (*name).to_owned());
    let rest = flags & !cr_format::RING_FLAGS;
    let names = cr_format::RING_FLAG_NAMES.iter().filter_map(known);
    names
        .chain((rest != 0).then(|| format!("{rest:#x}")))
        .collect::<Vec<_>>()
        .join(" ")
}

/// A clock of CPU time.
fn cpu_clock(n: u64) -> Option<String> {
    let clock = CpuClock::of(n)?;
    let kind = match clock.which {
        0 => "_prof",
        1 => "_virt",
        _ => "",
    };
    let whose = if clock.thread { "thread" } else { "process" };
    Some(match clock.id {
        0 => format!("{whose}_cputime{kind}"),
        id => format!("{whose}_cputime{kind} of {id}"),
    })
}

/// `EPOLL*` bits by name.
pub fn poll_events(events: u64) -> String {
    const NAMES: [(u64, &str); 15] = [
        (0x1, "in"),
        (0x2, "pri"),
        (0x4, "out"),
        (0x8, "err"),
        (0x10, "hup"),
        (0x40, "rdnorm"),
        (0x80, "rdband"),
        (0x100, "wrnorm"),
        (0x200, "wrband"),
        (0x400, "msg"),
        (0x2000, "rdhup"),
        (0x1000_0000, "exclusive"),
        (0x2000_0000, "wakeup"),
        (0x4000_0000, "oneshot"),
        (0x8000_0000, "edge"),
    ];
    words(events, &NAMES)
}

/// The names of the bits of a set; what has none as a number.
fn words(set: u64, names: &[(u64, &str)]) -> String {
    let mut left = set;
    let mut words: Vec<String> = Vec::new();
    for (bit, name) in names {
        if left & bit != 0 {
            words.push((*name).to_owned());
            left &= !bit;
        }
    }
    if left != 0 {
        words.push(format!("{left:#x}"));
    }
    words.join(" ")
}

/// `IN_*` bits by name, and those of an event that only the kernel sees.
pub fn file_events(events: u64) -> String {
    words(
        events,
        &[
            (0x1, "access"),
            (0x2, "modify"),
            (0x4, "attrib"),
            (0x8, "close_write"),
            (0x10, "close_nowrite"),
            (0x20, "open"),
            (0x40, "moved_from"),
            (0x80, "moved_to"),
            (0x100, "create"),
            (0x200, "delete"),
            (0x400, "delete_self"),
            (0x800, "move_self"),
            (0x1000, "open_exec"),
            (0x2000, "unmount"),
            (0x4000, "overflow"),
            (0x8000, "ignored"),
            (0x0400_0000, "excl_unlink"),
            (0x0800_0000, "on_child"),
            (0x4000_0000, "isdir"),
            (0x8000_0000, "oneshot"),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_of_cpu_time_have_names() {
        assert_eq!(clock(0xffff_fffa), "process_cputime");
        assert_eq!(clock(0xffff_fffe), "thread_cputime");
        let id = |n: u32| u64::from(!n << 3);
        assert_eq!(clock(id(1234) | 6), "thread_cputime of 1234");
        assert_eq!(clock(id(1234) | 1), "process_cputime_virt of 1234");
        assert_eq!((cpu_clock(id(1) | 3), clock(77)), (None, "77".to_owned()));
    }

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
