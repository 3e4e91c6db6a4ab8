// SPDX-License-Identifier: GPL-2.0
//! What becomes of an open file: how it is kept, or why it cannot be.
//!
//! The module `files` gathers [`Facts`] about every open file of the frozen process; [`classify`] and
//! [`fate`] judge them. The restart asks [`reopen_flags`], [`judge`] and [`placement`].

use cr_format::sections::{
    FILE_DELETED, FILE_DEVICE, FILE_DIRECTORY, FILE_MEMFD, FILE_PATH, FILE_REGULAR,
};

/// Open flags as `F_GETFL` shows them (x86-64).
pub mod flag {
    #![allow(missing_docs)]
    pub const O_ACCMODE: u32 = 0o3;
    pub const O_RDONLY: u32 = 0;
    pub const O_WRONLY: u32 = 1;
    pub const O_RDWR: u32 = 2;
    pub const O_EXCL: u32 = 0o200;
    pub const O_NOCTTY: u32 = 0o400;
    pub const O_APPEND: u32 = 0o2000;
    pub const O_NONBLOCK: u32 = 0o4000;
    pub const O_DSYNC: u32 = 0o10000;
    pub const O_ASYNC: u32 = 0o20000;
    pub const O_DIRECT: u32 = 0o40000;
    pub const O_LARGEFILE: u32 = 0o100000;
    pub const O_DIRECTORY: u32 = 0o200000;
    pub const O_NOFOLLOW: u32 = 0o400000;
    pub const O_NOATIME: u32 = 0o1000000;
    pub const O_CLOEXEC: u32 = 0o2000000;
    pub const O_SYNC: u32 = 0o4010000;
    pub const O_PATH: u32 = 0o10000000;
    /// The bit of `O_TMPFILE` that is not `O_DIRECTORY`.
    pub const O_TMPFILE_BIT: u32 = 0o20000000;
}
use flag::*;

const S_IFMT: u32 = 0o170_000;
const S_IFSOCK: u32 = 0o140_000;
const S_IFREG: u32 = 0o100_000;
const S_IFBLK: u32 = 0o060_000;
const S_IFDIR: u32 = 0o040_000;
const S_IFCHR: u32 = 0o020_000;
const S_IFIFO: u32 = 0o010_000;

/// `s_magic` of file systems that are no storage (`include/uapi/linux/magic.h`).
mod magic {
    pub(super) const ANON_INODES: u64 = 0x0904_1934;
    pub(super) const PROC: u64 = 0x9fa0;
    pub(super) const SYSFS: u64 = 0x6265_6572;
    pub(super) const CGROUP: u64 = 0x0027_e0eb;
    pub(super) const CGROUP2: u64 = 0x6367_7270;
    pub(super) const SECRETMEM: u64 = 0x5345_434d;
    pub(super) const PIDFS: u64 = 0x5049_4446;
    pub(super) const NSFS: u64 = 0x6e73_6673;
    pub(super) const MQUEUE: u64 = 0x1980_0202;
    pub(super) const HUGETLB: u64 = 0x9584_58f6;
    pub(super) const TMPFS: u64 = 0x0102_1994;
    pub(super) const DMA_BUF: u64 = 0x444d_4142;
    pub(super) const DEVPTS: u64 = 0x1cd1;
    /// debugfs, tracefs, securityfs, selinuxfs, smackfs, configfs, pstore, efivarfs, binfmt_misc, bpf, apparmorfs,
    /// resctrl, binderfs, functionfs, xenfs, openpromfs: their open files can carry state of their own.
    pub(super) const STATEFUL: [u64; 16] = [
        0x6462_6720,
        0x7472_6163,
        0x7363_6673,
        0xf97c_ff8c,
        0x4341_5d53,
        0x6265_6570,
        0x6165_676c,
        0xde5e_81e4,
        0x4249_4e4d,
        0xcafe_4a11,
        0x5a3c_69f0,
        0x0765_5821,
        0x6c6f_6f70,
        0x0a64_7361,
        0xabba_1974,
        0x9fa1,
    ];
}

/// What is known about an open file of the frozen process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts<'a> {
    /// `i_mode`.
    pub mode: u32,
    /// Device number of a device node, as `stat(2)` gives it.
    pub rdev: u64,
    /// `s_magic` of the file system.
    pub magic: u64,
    /// `i_nlink`.
    pub nlink: u32,
    /// `f_flags`.
    pub flags: u32,
    /// The name it was opened by has been removed.
    pub unlinked: bool,
    /// It is the root of its file system.
    pub fs_root: bool,
    /// Its file system exists inside the kernel only and has no paths.
    pub internal: bool,
    /// The NFS client has renamed it because it was removed while open.
    pub silly: bool,
    /// Last part of its path, or the name of an anonymous inode.
    pub name: &'a [u8],
}

impl Facts<'_> {
    fn is(&self, file_type: u32) -> bool {
        self.mode & S_IFMT == file_type
    }
}

/// Why something would be lost, and what the user can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Reason.
    pub reason: &'static str,
    /// Remedy.
    pub remedy: &'static str,
}

/// How an open file could be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Opened again by its path; a `FILE_*` kind.
    ByPath(u64),
    /// Without a name (removed, or a memory file): its contents go into the image; a `FILE_*` kind.
    Contents(u64),
    /// Its name has been removed, but it has others, which are not known.
    Renamed(Trouble),
    /// Pipe or FIFO.
    Pipe,
    /// Socket.
    Socket,
    /// Terminal.
    Terminal,
    /// Only another extension could keep it.
    Special(Trouble),
    /// Nobody can.
    Lost(Trouble),
}

const CLOSE_OR_EXTEND: &str =
    "have the program close it first, or install an extension module that keeps it";

const fn special(reason: &'static str) -> Class {
    Class::Special(Trouble {
        reason,
        remedy: CLOSE_OR_EXTEND,
    })
}

/// How the file could be kept, judged by itself.
pub fn classify(f: &Facts<'_>) -> Class {
    if f.flags & O_PATH != 0 {
        return classify_path(f);
    }
    if f.magic == magic::ANON_INODES {
        return special(anonymous_reason(f.name));
    }
    if let Some(class) = by_magic(f) {
        return class;
    }
    match f.mode & S_IFMT {
        S_IFREG => classify_regular(f),
        S_IFDIR if f.unlinked => LOST_FOLDER,
        S_IFDIR if f.internal => special("the folder has no path"),
        S_IFDIR => Class::ByPath(FILE_DIRECTORY),
        S_IFCHR => classify_character(f),
        S_IFBLK => special("block devices are not checkpointed"),
        S_IFIFO => Class::Pipe,
        S_IFSOCK => Class::Socket,
        _ => special("it is of a kind that this release does not know"),
    }
}

const LOST_FOLDER: Class = Class::Lost(Trouble {
    reason: "the folder has been removed; it cannot be opened again",
    remedy: "have the program leave and close it first",
});

const NO_PATH: Trouble = Trouble {
    reason: "it has no path to be opened again by",
    remedy: CLOSE_OR_EXTEND,
};

fn classify_path(f: &Facts<'_>) -> Class {
    if f.unlinked || f.silly {
        return Class::Lost(Trouble {
            reason: "the place that this O_PATH descriptor names has been removed",
            remedy: "have the program close it first",
        });
    }
    match f.internal || f.magic == magic::ANON_INODES || (f.magic == magic::PROC && !f.fs_root) {
        true => Class::Special(NO_PATH),
        false => Class::ByPath(FILE_PATH),
    }
}

fn by_magic(f: &Facts<'_>) -> Option<Class> {
    Some(match f.magic {
        magic::PROC if f.fs_root => return None,
        magic::PROC => special("files of /proc are not checkpointed"),
        magic::SECRETMEM => special("secret memory cannot be read by the kernel"),
        magic::PIDFS => special("pidfds are not checkpointed"),
        magic::NSFS => special("descriptors of namespaces are not checkpointed"),
        magic::MQUEUE if f.is(S_IFREG) => {
            special("POSIX message queues (mqueue) are not checkpointed")
        }
        magic::DMA_BUF => special("buffers of devices are not checkpointed"),
        m if magic::STATEFUL.contains(&m) && f.is(S_IFREG) => {
            special("open files of this kernel file system can carry state of their own")
        }
        _ => return None,
    })
}

fn classify_regular(f: &Facts<'_>) -> Class {
    if f.silly {
        return Class::Lost(Trouble {
            reason: "the file has been removed on NFS and vanishes when the process ends",
            remedy:
                "have the program close it first, or use another file system for temporary files",
        });
    }
    if f.internal {
        let memory = matches!(f.magic, magic::TMPFS | magic::HUGETLB);
        return match memory && memfd_name(f.name).is_some() {
            true => Class::Contents(FILE_MEMFD),
            false => Class::Special(NO_PATH),
        };
    }
    match (f.unlinked, f.nlink) {
        (false, _) => Class::ByPath(FILE_REGULAR),
        (true, 0) => Class::Contents(FILE_DELETED),
        (true, _) => Class::Renamed(Trouble {
            reason: "this name of the file has been removed, but the file has others, which are not known",
            remedy: "have the program close it first, or link the file at its old name again",
        }),
    }
}

/// The name that `memfd_create` was told, from that of the directory entry.
pub fn memfd_name(name: &[u8]) -> Option<&[u8]> {
    name.strip_prefix(b"memfd:")
}

fn classify_character(f: &Facts<'_>) -> Class {
    let (major, minor) = split_device(f.rdev);
    if is_terminal(f.mode, f.rdev) {
        return Class::Terminal;
    }
    match (major, minor) {
        (5, 2) => {
            special("the master side of a pseudo terminal cannot be re-created with its slave")
        }
        // null, zero, full, random, urandom: no state at all.
        (1, 3 | 5 | 7 | 8 | 9) if f.unlinked || f.internal => Class::Lost(Trouble {
            reason: "the node of the device has been removed",
            remedy: "create it again at its old path",
        }),
        (1, 3 | 5 | 7 | 8 | 9) => Class::ByPath(FILE_DEVICE),
        _ => special("the state of this device is not known to be stored nowhere else"),
    }
}

/// Major and minor number of a device number as `stat(2)` gives it.
pub fn split_device(rdev: u64) -> (u32, u32) {
    // CAST: masked to 12 and 20 bits.
    (
        ((rdev >> 8) & 0xfff) as u32,
        ((rdev & 0xff) | ((rdev >> 12) & 0xf_ff00)) as u32,
    )
}

/// Is it a terminal: a virtual console, serial line, the slave of a pseudo terminal, or `/dev/tty`?
///
/// Source: Documentation/admin-guide/devices.txt.
pub fn is_terminal(mode: u32, rdev: u64) -> bool {
    let (major, minor) = split_device(rdev);
    mode & S_IFMT == S_IFCHR
        && match major {
            // Legacy pseudo terminals, consoles and serial lines, Unix98 slaves, ACM, USB and SoC serial, hypervisor.
            3 | 4 | 136..=143 | 166 | 188 | 204 | 229 => true,
            // tty, console, ttyprintk and the call-out devices, but not ptmx.
            5 => minor != 2,
            _ => false,
        }
}

/// Is it `/dev/tty`, the controlling terminal under another name?
pub fn is_controlling_terminal(mode: u32, rdev: u64) -> bool {
    mode & S_IFMT == S_IFCHR && split_device(rdev) == (5, 0)
}

fn anonymous_reason(name: &[u8]) -> &'static str {
    match name {
        b"[eventfd]" => "eventfds are not checkpointed",
        b"[eventpoll]" => "epoll instances are not checkpointed",
        b"[timerfd]" => "timerfds are not checkpointed",
        b"[signalfd]" => "signalfds are not checkpointed",
        b"inotify" => "inotify instances are not checkpointed",
        b"[fanotify]" => "fanotify groups are not checkpointed",
        b"[pidfd]" => "pidfds are not checkpointed",
        b"[io_uring]" => "io_uring instances are not checkpointed",
        b"[perf_event]" => "performance events are not checkpointed",
        b"[userfaultfd]" => "userfaultfds are not checkpointed",
        b"[landlock-ruleset]" => "Landlock rule sets are not checkpointed",
        b"seccomp notify" => "listeners of seccomp filters are not checkpointed",
        n if n.starts_with(b"bpf") => "BPF objects are not checkpointed",
        n if n.starts_with(b"kvm") => "virtual machines are not checkpointed",
        _ => "this kind of descriptor is not checkpointed",
    }
}

/// Longest name of a kind, bytes.
pub const KIND_LEN: usize = 40;

/// Name of the kind of a file, for the alias `crext-file-<kind>` of the module that keeps it.
#[derive(Clone, Copy, Debug)]
pub struct KindName {
    text: [u8; KIND_LEN],
    len: usize,
}

impl KindName {
    const fn new() -> Self {
        Self {
            text: [0; KIND_LEN],
            len: 0,
        }
    }
    /// The name, NUL-terminated.
    pub fn with_nul(&self) -> &[u8] {
        self.text.get(..=self.len).unwrap_or(b"\0")
    }
    fn push(&mut self, bytes: &[u8]) {
        for b in bytes {
            // One byte stays free for the NUL.
            if self.len.saturating_add(1) < KIND_LEN {
                if let Some(to) = self.text.get_mut(self.len) {
                    *to = *b;
                    self.len = self.len.saturating_add(1);
                }
            }
        }
    }
    fn push_number(&mut self, n: u32) {
        let mut digits = [0u8; 10];
        let (mut n, mut at) = (n, digits.len());
        loop {
            at = at.saturating_sub(1);
            if let Some(d) = digits.get_mut(at) {
                // CAST: below 10.
                *d = b'0'.saturating_add((n % 10) as u8);
            }
            n /= 10;
            if n == 0 {
                break;
            }
        }
        self.push(digits.get(at..).unwrap_or(&[]));
    }
}

/// The kind: `fifo`, `sock`, `chr-MAJOR-MINOR`, `blk`, `memfd`, `proc`, `anon-<name>`, or `other`.
pub fn kind_name(f: &Facts<'_>) -> KindName {
    let mut k = KindName::new();
    if f.magic == magic::ANON_INODES {
        k.push(b"anon-");
        let mut last = b'-';
        for b in f.name {
            let c = if b.is_ascii_alphanumeric() { *b } else { b'-' };
            // "[io_uring]" becomes "io-uring": no dash at the ends, none twice.
            if c != b'-' || last != b'-' {
                k.push(&[c]);
            }
            last = c;
        }
        while k.len > 5 && k.text.get(k.len.saturating_sub(1)) == Some(&b'-') {
            k.len = k.len.saturating_sub(1);
            if let Some(end) = k.text.get_mut(k.len) {
                *end = 0;
            }
        }
        return k;
    }
    match f.mode & S_IFMT {
        S_IFIFO => k.push(b"fifo"),
        S_IFSOCK => k.push(b"sock"),
        S_IFBLK => k.push(b"blk"),
        S_IFCHR => {
            let (major, minor) = split_device(f.rdev);
            k.push(b"chr-");
            k.push_number(major);
            k.push(b"-");
            k.push_number(minor);
        }
        _ => k.push(match f.magic {
            magic::PROC => b"proc".as_slice(),
            magic::PIDFS => b"anon-pidfd",
            magic::NSFS => b"namespace",
            magic::MQUEUE => b"mqueue",
            magic::SECRETMEM => b"secretmem",
            _ if f.internal && f.name.starts_with(b"memfd:") => b"memfd",
            _ => b"other",
        }),
    }
    k
}

/// Who uses the inode of a file without a name.
#[derive(Clone, Copy, Debug, Default)]
pub struct Uses {
    /// References to its directory entry.
    pub names: u64,
    /// Open files of the process, mapped or with descriptors.
    pub open: u64,
    /// References to them by somebody else.
    pub foreign: u64,
    /// Mapped files that an overlay made for open files which are closed by now.
    pub backing_alone: u64,
    /// References by open files of the overlay to those of others.
    pub backing_open: u64,
}

impl Uses {
    /// Is there anybody but the process? An open file of an overlay has two references to the directory entry: its own,
    /// and that of the file below.
    pub fn are_outside(&self, overlay: bool) -> bool {
        let own = if overlay {
            self.open
                .saturating_mul(2)
                .saturating_add(self.backing_alone)
        } else {
            self.open
        };
        self.names > own || self.foreign > 0 || self.backing_open > self.open
    }
}

/// Is this `s_magic` that of an overlay?
pub fn is_overlay(fs_magic: u64) -> bool {
    fs_magic == 0x794c_7630
}

/// Where the ends of a file with two sides are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ends {
    /// One of its descriptors is 0, 1 or 2.
    pub stdio: bool,
    /// Descriptor 0, 1 or 2 is the same pipe or terminal, opened separately.
    pub like_stdio: bool,
    /// The user has promised to connect one of its descriptors.
    pub promised: bool,
    /// Its other end is (also) held outside of the process.
    pub outside: bool,
    /// The process maps it.
    pub mapped: bool,
    /// The process has no descriptor of it, and all its mappings are private: a copy is as good as the file.
    pub copied: bool,
}

/// What is done with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Opened again by path.
    ByPath(u64),
    /// Contents in the image; a `FILE_*` kind.
    Contents(u64),
    /// Connected by the user at restart.
    External,
    /// An extension that claims it keeps it; if there is none, this is the obstacle.
    Claim(Trouble),
    /// An obstacle.
    Obstacle(Trouble),
}

const PROMISE: &str =
    "promise to connect it at restart: --fd N, for every number of its descriptors";

/// What is done with a file of this class whose ends are there.
pub fn fate(class: Class, ends: Ends) -> Fate {
    let near = ends.stdio || ends.like_stdio;
    match class {
        // What is mapped cannot come from outside: the promise is about descriptors.
        Class::Contents(_) if ends.promised && !ends.mapped => Fate::External,
        Class::Contents(kind) if ends.outside && !ends.copied => Fate::Obstacle(Trouble {
            reason: match kind {
                FILE_MEMFD => "the memory file is also in use by another process; the two would have different contents",
                _ => "the removed file is also in use by another process; the two would have different contents",
            },
            remedy: "end the other process first; if it is not mapped, it can be promised instead: --fd N",
        }),
        Class::Contents(kind) => Fate::Contents(kind),
        Class::Renamed(_) if ends.copied => Fate::Contents(FILE_DELETED),
        _ if ends.promised => Fate::External,
        Class::Terminal if near => Fate::External,
        Class::Terminal => Fate::Obstacle(Trouble {
            reason: "it is a terminal, but not the one of standard input and output",
            remedy: PROMISE,
        }),
        Class::Pipe if ends.outside && near => Fate::External,
        Class::Pipe if ends.outside => {
            Fate::Obstacle(Trouble { reason: "the other end of the pipe is outside of the process", remedy: PROMISE })
        }
        Class::Pipe => Fate::Claim(Trouble {
            reason: "no loaded module keeps pipes",
            remedy: "install the module cr_pipes where modprobe finds it (see README)",
        }),
        Class::Socket if ends.stdio => Fate::External,
        Class::Socket => Fate::Claim(Trouble { reason: "sockets are not checkpointed", remedy: PROMISE }),
        Class::ByPath(kind) => Fate::ByPath(kind),
        Class::Special(_) if ends.outside => Fate::Obstacle(Trouble {
            reason: "it is also open in another process; the two would not share it any more after a restart",
            remedy: "end the other process first, or promise to connect it: --fd N",
        }),
        Class::Special(t) => Fate::Claim(t),
        Class::Renamed(t) | Class::Lost(t) => Fate::Obstacle(t),
    }
}

/// Locks and the like that an open file has (bits of `crs_file_locks`).
pub mod lock {
    /// `fcntl(F_SETLK)` of this process.
    pub const POSIX: u32 = 1;
    /// `fcntl(F_OFD_SETLK)`.
    pub const OFD: u32 = 2;
    /// `flock(2)`.
    pub const FLOCK: u32 = 4;
    /// `fcntl(F_SETLEASE)` or a delegation.
    pub const LEASE: u32 = 8;
    /// What the extension `locks` keeps.
    pub const KEPT: u32 = POSIX | OFD | FLOCK;
}

/// State of an open file that is not stored: `locks` are bits of [`lock`], `told` says that it has an owner, a signal
/// of its own or `O_ASYNC`, `dnotify` that it is a folder which reports changes.
pub fn unstored(locks: u32, told: bool, dnotify: bool) -> Option<Trouble> {
    let reason = if locks & lock::POSIX != 0 {
        "the process holds a POSIX record lock (fcntl) on it, and no loaded module keeps locks"
    } else if locks & lock::OFD != 0 {
        "it holds an open file description lock (fcntl), and no loaded module keeps locks"
    } else if locks & lock::FLOCK != 0 {
        "it holds a lock (flock), and no loaded module keeps locks"
    } else if locks & lock::LEASE != 0 {
        "it holds a lease"
    } else if dnotify {
        "it has an owner and its folder is watched: it may report changes by signal (dnotify, F_NOTIFY)"
    } else if told {
        "it sends signals when it becomes ready (F_SETOWN, F_SETSIG, O_ASYNC), and no loaded module keeps that"
    } else {
        return None;
    };
    let remedy = match locks {
        0 if dnotify => "have the program close it first, or use inotify",
        0 => "install the module cr_owners where modprobe finds it (see README), or have the program switch that off first",
        lock::LEASE => "have the program give up the lease first",
        _ => "install the module cr_locks where modprobe finds it (see README), or have the program unlock it first",
    };
    Some(Trouble { reason, remedy })
}

/// May an open file report changes of its folder by signal (`F_NOTIFY`)? That leaves no other public trace than an
/// owner, and a mark on the inode, which can be anybody's.
pub fn may_be_dnotify(mode: u32, has_owner: bool, watched: bool) -> bool {
    mode & S_IFMT == S_IFDIR && has_owner && watched
}

/// The flags that are restored by opening the file with them.
const REOPENED: u32 = O_ACCMODE
    | O_APPEND
    | O_NONBLOCK
    | O_SYNC
    | O_DIRECT
    | O_LARGEFILE
    | O_DIRECTORY
    | O_NOFOLLOW
    | O_NOATIME;

/// Flags in a record that this release does not know.
pub fn unknown_flags(flags: u32) -> u32 {
    flags & !(REOPENED | O_PATH | O_TMPFILE_BIT | O_CLOEXEC)
}

/// Flags to open a file of `kind` with by its path. Never creates, never cuts off, never takes a
/// controlling terminal.
pub fn reopen_flags(kind: u64, flags: u32) -> u32 {
    if kind == FILE_PATH {
        return O_PATH | (flags & (O_DIRECTORY | O_NOFOLLOW));
    }
    // O_TMPFILE contains O_DIRECTORY; the file has got a name since.
    let drop = if flags & O_TMPFILE_BIT != 0 {
        O_DIRECTORY
    } else {
        0
    };
    (flags & REOPENED & !drop) | O_NOCTTY
}

/// Is a descriptor with these flags open for writing?
pub fn is_writable(flags: u32) -> bool {
    flags & O_PATH == 0 && matches!(flags & O_ACCMODE, O_WRONLY | O_RDWR)
}

/// Access of an external descriptor as the report says it: 0 read, 1 write, 2 both.
pub fn access(flags: u32) -> u64 {
    match flags & O_ACCMODE {
        O_RDONLY => 0,
        O_WRONLY => 1,
        _ => 2,
    }
}

/// How well a file with flags `offered` stands in for one with flags `wanted`: 2 every access, 1 writing if
/// that was possible, 0 less.
pub fn fitness(wanted: u32, offered: u32) -> u32 {
    let reads = |f: u32| matches!(f & O_ACCMODE, O_RDONLY | O_RDWR);
    let write = !is_writable(wanted) || is_writable(offered);
    let read = !reads(wanted) || reads(offered);
    match (read, write) {
        (true, true) => 2,
        (false, true) => 1,
        _ => 0,
    }
}

/// Size and time of last modification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Bytes.
    pub size: u64,
    /// Seconds.
    pub mtime_s: i64,
    /// Nanoseconds of the second.
    pub mtime_ns: u64,
}

/// What the user wants with files that have changed (`FILES_*` of the device interface).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Refuse.
    Check,
    /// Take them as they are.
    Ignore,
    /// Cut back what has grown.
    Truncate,
}

/// What to do with a regular file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Take,
    /// Cut it back to its recorded size, at the very end.
    Cut,
    /// It has changed.
    Changed,
    /// It has become shorter; cutting back does not help.
    Shorter,
}

/// Compares a regular file with its record. `written` says that the process has it open for writing,
/// by this descriptor or another.
pub fn judge(policy: Policy, written: bool, recorded: Stamp, present: Stamp) -> Verdict {
    match policy {
        Policy::Ignore => Verdict::Take,
        _ if recorded == present => Verdict::Take,
        Policy::Truncate if written && present.size > recorded.size => Verdict::Cut,
        Policy::Truncate if written && present.size == recorded.size => Verdict::Take,
        Policy::Truncate if written => Verdict::Shorter,
        _ => Verdict::Changed,
    }
}

/// Do size and time of a regular file of this file system say anything about its contents?
pub fn has_meaningful_stamp(fs_magic: u64) -> bool {
    !matches!(
        fs_magic,
        magic::SYSFS | magic::CGROUP | magic::CGROUP2 | magic::PROC | magic::DEVPTS
    )
}

/// What a file got the lowest free number is missing to the number it must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// It is there.
    Done,
    /// It must be duplicated to its number, and the number it got be closed.
    Move,
}

/// Descriptors are made in ascending order, so the lowest free number is never above the wanted one.
/// `None` when it is: the table was not empty.
pub fn placement(got: u32, want: u32) -> Option<Placement> {
    match got {
        g if g == want => Some(Placement::Done),
        g if g < want => Some(Placement::Move),
        _ => None,
    }
}

/// Making memory files again.
pub mod memfd {
    const MFD_ALLOW_SEALING: u32 = 2;
    const MFD_HUGETLB: u32 = 4;
    const MFD_NOEXEC_SEAL: u32 = 8;
    const MFD_EXEC: u32 = 16;
    const MFD_HUGE_SHIFT: u32 = 26;
    const F_SEAL_EXEC: u64 = 32;

    /// Flags of `memfd_create` for a file with these seals, bytes of a huge page (0: none) and mode, which has no seals
    /// yet but, if need be, the one that cannot be had otherwise where `vm.memfd_noexec` is 2.
    pub fn flags(seals: u64, huge: u64, mode: u32) -> u32 {
        let exec = if seals & F_SEAL_EXEC != 0 && mode & 0o111 == 0 {
            MFD_NOEXEC_SEAL
        } else {
            MFD_EXEC
        };
        let size = match huge.checked_ilog2() {
            Some(log) => MFD_HUGETLB | log << MFD_HUGE_SHIFT,
            None => 0,
        };
        MFD_ALLOW_SEALING | exec | size
    }
}

/// The folder a removed file was in, from the path as `d_path` gave it; `/` if there is none.
pub fn folder_of_deleted(path: &[u8]) -> &[u8] {
    let path = path.strip_suffix(b" (deleted)").unwrap_or(path);
    match path.iter().rposition(|c| *c == b'/') {
        Some(at) if at > 0 && path.first() == Some(&b'/') => path.get(..at).unwrap_or(b"/"),
        _ => b"/",
    }
}

/// Pages of a file for one chunk of page data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct PageRun {
    /// Byte offset of the first page.
    pub start: u64,
    /// Number of pages.
    pub npages: u32,
    /// All zero, nothing stored.
    pub zero: bool,
}

/// Most runs of a chunk.
pub const RUNS: usize = cr_format::limits::CHUNK_RUNS as usize;
/// Most stored pages of a chunk.
pub const PAGES: u32 = cr_format::limits::CHUNK_PAGES;
const PAGE: u64 = cr_format::limits::PAGE;

/// The runs of one chunk while it is being filled.
pub struct ChunkRuns {
    runs: [PageRun; RUNS],
    len: usize,
    stored: u32,
}

impl ChunkRuns {
    /// No runs.
    pub const fn new() -> Self {
        Self {
            runs: [PageRun {
                start: 0,
                npages: 0,
                zero: false,
            }; RUNS],
            len: 0,
            stored: 0,
        }
    }

    /// Appends pages, joining them with the last run if they continue it; false when the chunk is full,
    /// and then nothing was appended.
    pub fn push(&mut self, run: PageRun) -> bool {
        let stored = if run.zero { 0 } else { run.npages };
        let Some(stored) = self.stored.checked_add(stored).filter(|n| *n <= PAGES) else {
            return false;
        };
        let last = self.len.checked_sub(1).and_then(|i| self.runs.get_mut(i));
        if let Some(last) = last {
            let end = u64::from(last.npages)
                .saturating_mul(PAGE)
                .saturating_add(last.start);
            if last.zero == run.zero && end == run.start {
                if let Some(sum) = last.npages.checked_add(run.npages) {
                    last.npages = sum;
                    self.stored = stored;
                    return true;
                }
            }
        }
        let Some(slot) = self.runs.get_mut(self.len) else {
            return false;
        };
        *slot = run;
        self.len = self.len.saturating_add(1);
        self.stored = stored;
        true
    }

    /// The runs.
    pub fn runs(&self) -> &[PageRun] {
        self.runs.get(..self.len).unwrap_or(&[])
    }

    /// Forgets all runs.
    pub fn clear(&mut self) {
        self.len = 0;
        self.stored = 0;
    }
}

impl Default for ChunkRuns {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{string::String, vec::Vec};

    const REG: u32 = S_IFREG | 0o644;

    fn facts(mode: u32) -> Facts<'static> {
        Facts {
            mode,
            nlink: 1,
            magic: 0xef53,
            ..Facts::default()
        }
    }
    fn kind(f: &Facts<'_>) -> String {
        let k = kind_name(f);
        let (nul, text) = k.with_nul().split_last().unwrap();
        assert_eq!(*nul, 0);
        assert!(!text.contains(&0));
        String::from_utf8(text.to_vec()).unwrap()
    }
    fn device(major: u64, minor: u64) -> u64 {
        (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
    }

    #[test]
    fn storage_is_opened_again_by_path() {
        assert_eq!(classify(&facts(REG)), Class::ByPath(FILE_REGULAR));
        assert_eq!(classify(&facts(S_IFDIR)), Class::ByPath(FILE_DIRECTORY));
        assert_eq!(
            classify(&Facts {
                magic: magic::SYSFS,
                ..facts(REG)
            }),
            Class::ByPath(FILE_REGULAR)
        );
        for minor in [3, 5, 7, 8, 9] {
            let f = Facts {
                rdev: device(1, minor),
                ..facts(S_IFCHR)
            };
            assert_eq!(classify(&f), Class::ByPath(FILE_DEVICE), "1:{minor}");
        }
        assert_eq!(
            classify(&Facts {
                flags: O_PATH,
                ..facts(REG)
            }),
            Class::ByPath(FILE_PATH)
        );
        assert_eq!(
            classify(&Facts {
                flags: O_PATH,
                ..facts(0o120_777)
            }),
            Class::ByPath(FILE_PATH)
        );
    }

    #[test]
    fn a_removed_file_is_kept_only_when_no_name_is_left() {
        let gone = Facts {
            unlinked: true,
            nlink: 0,
            ..facts(REG)
        };
        assert_eq!(classify(&gone), Class::Contents(FILE_DELETED));
        assert!(matches!(
            classify(&Facts { nlink: 1, ..gone }),
            Class::Renamed(_)
        ));
        assert!(matches!(
            classify(&Facts {
                mode: S_IFDIR,
                ..gone
            }),
            Class::Lost(_)
        ));
        assert!(matches!(
            classify(&Facts {
                flags: O_PATH,
                ..gone
            }),
            Class::Lost(_)
        ));
        assert!(matches!(
            classify(&Facts {
                unlinked: false,
                nlink: 1,
                silly: true,
                ..gone
            }),
            Class::Lost(_)
        ));
        let memfd = Facts {
            internal: true,
            // TMPFS_MAGIC.
            magic: 0x0102_1994,
            name: b"memfd:x",
            ..gone
        };
        assert_eq!(classify(&memfd), Class::Contents(FILE_MEMFD));
        assert_eq!(kind(&memfd), "memfd");
    }

    #[test]
    fn what_carries_hidden_state_is_never_opened_by_path() {
        for magic in [
            magic::PROC,
            magic::PIDFS,
            magic::NSFS,
            magic::MQUEUE,
            magic::STATEFUL[0],
            magic::SECRETMEM,
        ] {
            assert!(
                matches!(
                    classify(&Facts {
                        magic,
                        ..facts(REG)
                    }),
                    Class::Special(_)
                ),
                "{magic:#x}"
            );
        }
        let anonymous = Facts {
            magic: magic::ANON_INODES,
            name: b"[eventfd]",
            internal: true,
            ..facts(REG)
        };
        assert!(matches!(classify(&anonymous), Class::Special(_)));
        assert!(
            matches!(
                classify(&Facts {
                    rdev: device(1, 11),
                    ..facts(S_IFCHR)
                }),
                Class::Special(_)
            ),
            "kmsg"
        );
        assert!(matches!(classify(&facts(S_IFBLK)), Class::Special(_)));
        assert!(matches!(classify(&facts(0)), Class::Special(_)));
        let proc = Facts {
            magic: magic::PROC,
            ..facts(S_IFDIR)
        };
        assert!(matches!(classify(&proc), Class::Special(_)));
        assert_eq!(
            classify(&Facts {
                fs_root: true,
                ..proc
            }),
            Class::ByPath(FILE_DIRECTORY)
        );
    }

    #[test]
    fn terminals_are_known_by_their_numbers() {
        for (major, minor) in [
            (4, 1),
            (4, 64),
            (5, 0),
            (5, 1),
            (136, 0),
            (143, 255),
            (229, 0),
            (204, 64),
        ] {
            assert!(
                is_terminal(S_IFCHR, device(major, minor)),
                "{major}:{minor}"
            );
        }
        for (major, minor) in [(5, 2), (1, 3), (135, 0), (144, 0), (10, 200)] {
            assert!(
                !is_terminal(S_IFCHR, device(major, minor)),
                "{major}:{minor}"
            );
        }
        assert!(!is_terminal(S_IFREG, device(136, 0)));
        assert!(is_controlling_terminal(S_IFCHR, device(5, 0)));
    }

    #[test]
    fn device_numbers_survive_both_halves_of_the_minor() {
        assert_eq!(split_device(device(0xabc, 0x12345)), (0xabc, 0x12345));
        assert_eq!(split_device(0x8803), (136, 3));
    }

    #[test]
    fn kinds_have_names_that_module_aliases_can_have() {
        assert_eq!(kind(&facts(S_IFIFO)), "fifo");
        assert_eq!(kind(&facts(S_IFSOCK)), "sock");
        assert_eq!(kind(&facts(S_IFBLK)), "blk");
        assert_eq!(
            kind(&Facts {
                rdev: device(10, 1_048_575),
                ..facts(S_IFCHR)
            }),
            "chr-10-1048575"
        );
        assert_eq!(
            kind(&Facts {
                rdev: 0,
                ..facts(S_IFCHR)
            }),
            "chr-0-0"
        );
        for (name, want) in [
            ("[eventfd]", "anon-eventfd"),
            ("[io_uring]", "anon-io-uring"),
            ("inotify", "anon-inotify"),
            ("seccomp notify", "anon-seccomp-notify"),
            ("", "anon-"),
            ("[]", "anon-"),
        ] {
            let f = Facts {
                magic: magic::ANON_INODES,
                name: name.as_bytes(),
                ..facts(REG)
            };
            assert_eq!(kind(&f), want);
        }
        let long: Vec<u8> = std::vec![b'x'; 100];
        let f = Facts {
            magic: magic::ANON_INODES,
            name: &long,
            ..facts(REG)
        };
        assert_eq!(kind(&f).len(), KIND_LEN - 1);
        assert_eq!(
            kind(&Facts {
                magic: magic::PROC,
                ..facts(REG)
            }),
            "proc"
        );
        assert_eq!(kind(&facts(0)), "other");
    }

    #[test]
    fn only_standard_descriptors_are_connected_without_a_promise() {
        let outside = Ends {
            outside: true,
            ..Ends::default()
        };
        assert!(matches!(fate(Class::Pipe, outside), Fate::Obstacle(_)));
        assert_eq!(
            fate(
                Class::Pipe,
                Ends {
                    stdio: true,
                    ..outside
                }
            ),
            Fate::External
        );
        assert_eq!(
            fate(
                Class::Pipe,
                Ends {
                    like_stdio: true,
                    ..outside
                }
            ),
            Fate::External
        );
        assert_eq!(
            fate(
                Class::Pipe,
                Ends {
                    promised: true,
                    ..outside
                }
            ),
            Fate::External
        );
        assert!(matches!(
            fate(
                Class::Pipe,
                Ends {
                    stdio: true,
                    ..Ends::default()
                }
            ),
            Fate::Claim(_)
        ));
        assert!(matches!(
            fate(Class::Terminal, Ends::default()),
            Fate::Obstacle(_)
        ));
        assert_eq!(
            fate(
                Class::Terminal,
                Ends {
                    stdio: true,
                    ..Ends::default()
                }
            ),
            Fate::External
        );
        assert_eq!(
            fate(
                Class::Socket,
                Ends {
                    stdio: true,
                    ..Ends::default()
                }
            ),
            Fate::External
        );
        assert!(matches!(
            fate(Class::Socket, Ends::default()),
            Fate::Claim(_)
        ));
        let regular = Class::ByPath(FILE_REGULAR);
        assert_eq!(
            fate(
                regular,
                Ends {
                    stdio: true,
                    ..Ends::default()
                }
            ),
            Fate::ByPath(FILE_REGULAR)
        );
        assert_eq!(
            fate(
                regular,
                Ends {
                    promised: true,
                    ..Ends::default()
                }
            ),
            Fate::External
        );
        let deleted = Class::Contents(FILE_DELETED);
        assert!(matches!(fate(deleted, outside), Fate::Obstacle(_)));
    }

    #[test]
    fn a_memory_file_is_made_so_that_it_can_get_its_seals() {
        assert_eq!(memfd::flags(1, 0, 0o100_777), 2 | 16);
        assert_eq!(memfd::flags(32 | 1, 0, 0o100_666), 2 | 8);
        assert_eq!(
            memfd::flags(32 | 8, 0, 0o100_777),
            2 | 16,
            "programs stay programs"
        );
        assert_eq!(memfd::flags(1, 2 << 20, 0o100_777), 2 | 16 | 4 | 21 << 26);
        assert_eq!(memfd_name(b"memfd:"), Some(b"".as_slice()));
        assert_eq!(memfd_name(b"memf"), None);
    }

    #[test]
    fn nobody_else_may_use_what_gets_a_new_inode() {
        let uses = |names, open, foreign| Uses {
            names,
            open,
            foreign,
            ..Uses::default()
        };
        assert!(!uses(2, 2, 0).are_outside(false));
        assert!(uses(3, 2, 0).are_outside(false), "opened by somebody else");
        assert!(uses(2, 2, 1).are_outside(false), "inherited by a child");
        // An overlay: the file of the user and the one below it, closed or not.
        assert!(!uses(4, 2, 0).are_outside(true));
        let alone = Uses {
            backing_alone: 1,
            ..uses(1, 0, 0)
        };
        assert!(!alone.are_outside(true));
        let inherited = Uses {
            backing_open: 1,
            ..uses(2, 0, 0)
        };
        assert!(inherited.are_outside(true));
    }

    #[test]
    fn what_is_mapped_is_kept_whatever_was_promised() {
        let memory = Class::Contents(FILE_MEMFD);
        let mapped = Ends {
            mapped: true,
            promised: true,
            ..Ends::default()
        };
        assert_eq!(fate(memory, mapped), Fate::Contents(FILE_MEMFD));
        let promised = Ends {
            mapped: false,
            ..mapped
        };
        assert_eq!(fate(memory, promised), Fate::External);
        let gone = Facts {
            unlinked: true,
            nlink: 1,
            ..facts(REG)
        };
        let copied = Ends {
            mapped: true,
            copied: true,
            outside: true,
            ..Ends::default()
        };
        let class = classify(&gone);
        assert!(matches!(fate(class, Ends::default()), Fate::Obstacle(_)));
        assert_eq!(
            fate(class, copied),
            Fate::Contents(FILE_DELETED),
            "a library that was replaced"
        );
    }

    #[test]
    fn every_lock_is_named() {
        assert_eq!(unstored(0, false, false), None);
        for bit in [lock::POSIX, lock::OFD, lock::FLOCK, lock::LEASE] {
            assert!(unstored(bit, false, false).is_some());
        }
        let module = unstored(0, true, false).map(|t| t.remedy.contains("cr_owners"));
        assert_eq!(module, Some(true));
        let dnotify = unstored(0, true, true).map(|t| t.reason.contains("dnotify"));
        assert_eq!(dnotify, Some(true));
    }

    #[test]
    fn only_a_watched_folder_with_an_owner_may_be_dnotify() {
        assert!(may_be_dnotify(S_IFDIR | 0o755, true, true));
        assert!(!may_be_dnotify(S_IFDIR | 0o755, false, true));
        assert!(!may_be_dnotify(S_IFDIR | 0o755, true, false));
        assert!(!may_be_dnotify(REG, true, true));
    }

    #[test]
    fn opening_again_never_changes_a_file() {
        let f = reopen_flags(FILE_REGULAR, O_RDWR | O_APPEND | O_LARGEFILE);
        assert_eq!(f, O_RDWR | O_APPEND | O_LARGEFILE | O_NOCTTY);
        let odd = 0o100 | O_EXCL | 0o1000 | O_TMPFILE_BIT | O_DIRECTORY | O_WRONLY;
        assert_eq!(
            reopen_flags(FILE_REGULAR, odd),
            O_WRONLY | O_NOCTTY,
            "no O_CREAT, O_EXCL, O_TRUNC, O_TMPFILE"
        );
        assert_eq!(
            reopen_flags(FILE_PATH, O_PATH | O_NOFOLLOW | O_RDWR),
            O_PATH | O_NOFOLLOW
        );
        assert_eq!(unknown_flags(O_RDWR | O_SYNC | O_NOATIME | O_PATH), 0);
        assert_eq!(unknown_flags(0o100 | O_ASYNC), 0o100 | O_ASYNC);
        assert!(
            is_writable(O_WRONLY)
                && is_writable(O_RDWR)
                && !is_writable(O_RDONLY)
                && !is_writable(O_PATH | O_RDWR)
        );
    }

    #[test]
    fn changed_files_are_judged_by_policy() {
        let old = Stamp {
            size: 10,
            mtime_s: 5,
            mtime_ns: 6,
        };
        let touched = Stamp { mtime_ns: 7, ..old };
        let grown = Stamp {
            size: 11,
            ..touched
        };
        let cut = Stamp { size: 9, ..touched };
        for policy in [Policy::Check, Policy::Ignore, Policy::Truncate] {
            for written in [false, true] {
                assert_eq!(judge(policy, written, old, old), Verdict::Take);
            }
        }
        for present in [touched, grown, cut] {
            assert_eq!(judge(Policy::Ignore, true, old, present), Verdict::Take);
            assert_eq!(judge(Policy::Check, true, old, present), Verdict::Changed);
            assert_eq!(judge(Policy::Check, false, old, present), Verdict::Changed);
            assert_eq!(
                judge(Policy::Truncate, false, old, present),
                Verdict::Changed
            );
        }
        assert_eq!(judge(Policy::Truncate, true, old, grown), Verdict::Cut);
        assert_eq!(judge(Policy::Truncate, true, old, touched), Verdict::Take);
        assert_eq!(judge(Policy::Truncate, true, old, cut), Verdict::Shorter);
    }

    #[test]
    fn a_redirected_terminal_is_replaced_by_what_can_be_written() {
        assert!(fitness(O_RDWR, O_WRONLY) > fitness(O_RDWR, O_RDONLY));
        assert!(fitness(O_RDWR, O_RDWR) > fitness(O_RDWR, O_WRONLY));
        assert_eq!(fitness(O_RDONLY, O_RDONLY), fitness(O_RDONLY, O_RDWR));
        assert!(fitness(O_RDONLY, O_RDWR) > fitness(O_RDONLY, O_WRONLY));
    }

    #[test]
    fn descriptors_move_up_only() {
        assert_eq!(placement(3, 3), Some(Placement::Done));
        assert_eq!(placement(0, 700), Some(Placement::Move));
        assert_eq!(placement(4, 3), None);
    }

    #[test]
    fn the_folder_of_a_removed_file() {
        assert_eq!(folder_of_deleted(b"/tmp/#123 (deleted)"), b"/tmp");
        assert_eq!(folder_of_deleted(b"/x (deleted)"), b"/");
        assert_eq!(folder_of_deleted(b"/a/b/c"), b"/a/b");
        assert_eq!(folder_of_deleted(b""), b"/");
        assert_eq!(folder_of_deleted(b"strange/x"), b"/");
    }

    #[test]
    fn runs_join_and_a_chunk_fills_up() {
        let mut c = ChunkRuns::new();
        let page = |n: u64, zero| PageRun {
            start: n * PAGE,
            npages: 1,
            zero,
        };
        assert!(
            c.push(page(0, false))
                && c.push(page(1, false))
                && c.push(page(2, true))
                && c.push(page(4, true))
        );
        let want = [
            PageRun {
                start: 0,
                npages: 2,
                zero: false,
            },
            PageRun {
                start: 2 * PAGE,
                npages: 1,
                zero: true,
            },
            PageRun {
                start: 4 * PAGE,
                npages: 1,
                zero: true,
            },
        ];
        assert_eq!(c.runs(), want);
        c.clear();
        for n in 0..u64::from(PAGES) {
            assert!(c.push(page(n, false)));
        }
        assert!(!c.push(page(900, false)), "no room for another stored page");
        assert!(c.push(page(900, true)), "but for a run of zeroes");
        c.clear();
        for n in 0..RUNS as u64 {
            assert!(c.push(page(2 * n, true)));
        }
        assert!(!c.push(page(1000, true)));
        assert_eq!(c.runs().len(), RUNS);
        c.clear();
        assert!(c.push(PageRun {
            start: 0,
            npages: u32::MAX,
            zero: true
        }));
        assert!(
            c.push(PageRun {
                start: u64::from(u32::MAX) * PAGE,
                npages: 2,
                zero: true
            }),
            "a second run"
        );
        assert_eq!(c.runs().len(), 2);
    }
}
