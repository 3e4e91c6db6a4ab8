// SPDX-License-Identifier: GPL-2.0
//! What an area is, and why it cannot be kept. Everything that is not known to be kept is refused.

use super::{vm, PKEY_SHIFT};
use cr_format as f;

const TMPFS: u64 = 0x0102_1994;
const HUGETLBFS: u64 = 0x9584_58f6;
const SECRETMEM: u64 = 0x5345_434d;
/// Of the file system behind `io_setup(2)`.
pub const AIO_RING: u64 = 0xa10a_10a1;
const ANON_INODE: u64 = 0x0904_1934;
/// `/dev/zero`: major 1, minor 5, as the kernel packs it.
const DEV_ZERO: u32 = (1 << 20) | 5;

/// Facts about the file of an area.
#[derive(Clone, Copy, Debug, Default)]
pub struct FileFacts<'a> {
    /// `s_magic` of the file system.
    pub magic: u64,
    /// The file system is mounted for the kernel only (`SB_NOUSER`).
    pub internal: bool,
    /// Hidden from security modules (`S_PRIVATE`): made by the kernel for itself.
    pub private: bool,
    /// A regular file.
    pub regular: bool,
    /// A character device.
    pub character: bool,
    /// Its device number.
    pub rdev: u32,
    /// The directory entry is gone.
    pub unlinked: bool,
    /// The area is shared.
    pub shared: bool,
    /// `d_path`.
    pub path: &'a [u8],
}

/// What is behind an area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backing {
    /// Nothing: private memory, zero until written.
    Anonymous,
    /// vvar or vDSO.
    Special,
    /// `MAP_SHARED | MAP_ANONYMOUS`.
    SharedAnonymous,
    /// A regular file with a path.
    File,
    /// A file without a name, removed or made by `memfd_create`: `files` keeps its contents.
    Object,
    /// Memory of a ring of `io_uring`.
    Ring,
    /// Something that cannot be kept.
    Refused(Reason),
}

/// Why something cannot be kept, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason {
    /// What would be lost.
    pub reason: &'static str,
    /// What the user can do.
    pub remedy: &'static str,
}

const fn because(reason: &'static str, remedy: &'static str) -> Reason {
    Reason { reason, remedy }
}

const CLOSE_DEVICE: &str = "let the program close the device and unmap it before the checkpoint";
const UNMAP: &str = "let the program unmap it before the checkpoint";
const NEXT_RELEASE: &str = "not supported in this release; run the program without it";

const DEVICE: Reason = because(
    "memory of a device is mapped, it cannot be stored",
    CLOSE_DEVICE,
);
const SYSTEM_V: &str = "System V shared memory is attached";
const UNKNOWN: Reason = because("an area of a kind that this release does not know", UNMAP);
const UPROBES: Reason = because(
    "a tracer has set breakpoints (uprobes) in the program",
    "stop the tracer (perf, bpftrace) and restart the program",
);

/// Classifies an area by its file (if any), whether it lacks `vm_ops`, and its special name (if any).
pub fn backing(file: Option<&FileFacts<'_>>, anonymous: bool, special: Option<&[u8]>) -> Backing {
    use Backing::{Anonymous, Refused, Special};
    match (file, special) {
        (None, Some(b"[vdso]" | b"[vvar]" | b"[vvar_vclock]")) => Special,
        (None, Some(b"[uprobes]")) => Refused(UPROBES),
        (None, None) if anonymous => Anonymous,
        (None, _) => Refused(UNKNOWN),
        (Some(f), None) => file_backing(f, anonymous),
        (Some(_), Some(_)) => Refused(UNKNOWN),
    }
}

fn file_backing(f: &FileFacts<'_>, anonymous: bool) -> Backing {
    use Backing::{Anonymous, File, Object, Refused, SharedAnonymous};
    if f.character {
        // A private mapping of /dev/zero is plain anonymous memory; a shared one has another file.
        return if anonymous && f.rdev == DEV_ZERO {
            Anonymous
        } else {
            Refused(DEVICE)
        };
    }
    let no = |reason, remedy| Refused(because(reason, remedy));
    match f.magic {
        HUGETLBFS if f.internal => match f.path {
            b"/anon_hugepage (deleted)" if f.shared => SharedAnonymous,
            b"/anon_hugepage (deleted)" => Anonymous,
            p if p.starts_with(b"/memfd:") => Object,
            p if p.starts_with(b"/SYSV") => no(SYSTEM_V, NEXT_RELEASE),
            _ => Refused(UNKNOWN),
        },
        SECRETMEM => no(
            "memory of memfd_secret is hidden from the kernel by design",
            UNMAP,
        ),
        AIO_RING => no(
            "asynchronous I/O (io_setup) is in use",
            "let the program call io_destroy before the checkpoint",
        ),
        ANON_INODE if f.path.starts_with(b"anon_inode:[io_uring]") => Backing::Ring,
        ANON_INODE if f.path.starts_with(b"anon_inode:[perf_event]") => no(
            "a buffer of perf events is mapped",
            "stop profiling before the checkpoint",
        ),
        ANON_INODE => no("a kernel object is mapped that cannot be stored", UNMAP),
        TMPFS if f.internal => {
            if f.path.starts_with(b"/memfd:") {
                Object
            } else if f.path.starts_with(b"/SYSV") {
                no(SYSTEM_V, NEXT_RELEASE)
            } else if f.private && f.path == b"/dev/zero (deleted)" {
                SharedAnonymous
            } else {
                no(
                    "memory of a kernel object (graphics buffer, shared memory) is mapped",
                    CLOSE_DEVICE,
                )
            }
        }
        _ if !f.regular || anonymous => Refused(DEVICE),
        _ if f.unlinked => Object,
        _ => File,
    }
}

const fn rule(mask: u64, reason: &'static str, remedy: &'static str) -> (u64, Reason) {
    (mask, because(reason, remedy))
}

const RULES: [(u64, Reason); 4] = [
    (vm::IO | vm::PFNMAP | vm::MIXEDMAP, DEVICE),
    rule(
        vm::UFFD_MISSING | vm::UFFD_WP | vm::UFFD_MINOR | vm::UFFD_RWP,
        "page faults of this area are handled by userfaultfd",
        "let the program unregister it before the checkpoint",
    ),
    rule(
        vm::SHADOW_STACK,
        "a shadow stack (CET) is in use",
        "run the program without it: GLIBC_TUNABLES=glibc.cpu.x86_shstk=off",
    ),
    rule(
        vm::DONTEXPAND,
        "a driver has mapped this area",
        CLOSE_DEVICE,
    ),
];

/// How rings are mapped, so that what they hold can be read and written.
const RING_ACCESS: u64 = vm::READ | vm::WRITE | vm::MAYSHARE;
const RING: Reason = because(
    "a ring of io_uring is mapped privately, or without read or write access",
    UNMAP,
);

/// Flags that are kept, or that the kernel sets by itself.
const KNOWN: u64 = vm::READ
    | vm::WRITE
    | vm::EXEC
    | vm::SHARED
    | vm::MAYREAD
    | vm::MAYWRITE
    | vm::MAYEXEC
    | vm::MAYSHARE
    | vm::GROWSDOWN
    | vm::MAYBE_GUARD
    | vm::LOCKED
    | vm::SEQ_READ
    | vm::RAND_READ
    | vm::DONTCOPY
    | vm::LOCKONFAULT
    | vm::ACCOUNT
    | vm::NORESERVE
    | vm::HUGETLB
    | vm::WIPEONFORK
    | vm::DONTDUMP
    | vm::SOFTDIRTY
    | vm::HUGEPAGE
    | vm::NOHUGEPAGE
    | vm::MERGEABLE
    | vm::PKEY
    | vm::DROPPABLE
    | vm::SEALED;

/// Why an area cannot be kept: calls `tell` once per reason, not at all if it can.
pub fn refusals<E>(
    flags: u64,
    backing: Backing,
    mut tell: impl FnMut(Reason) -> Result<(), E>,
) -> Result<(), E> {
    if backing == Backing::Special {
        return Ok(());
    }
    let mut told = false;
    if let Backing::Refused(r) = backing {
        tell(r)?;
        told = true;
    }
    let mut rest = flags & !KNOWN;
    if flags & vm::HUGETLB != 0 {
        // Set with it, whoever made the area.
        rest &= !vm::DONTEXPAND;
    }
    if backing == Backing::Ring {
        // Set by the driver.
        rest &= !(vm::MIXEDMAP | vm::DONTEXPAND);
    }
    for (mask, reason) in RULES {
        if rest & mask != 0 {
            rest &= !mask;
            // What a driver maps has one reason, the best that is known.
            if !(told && mask & (vm::IO | vm::DONTEXPAND) != 0) {
                tell(reason)?;
            }
            told = true;
        }
    }
    if rest != 0 && !told {
        tell(UNKNOWN)?;
        told = true;
    }
    if told {
        return Ok(());
    }
    if backing == Backing::Ring && flags & RING_ACCESS != RING_ACCESS {
        return tell(RING);
    }
    // Memory that some flag makes unlike any that we can create.
    let shared = flags & vm::MAYSHARE != 0;
    let odd = match backing {
        Backing::SharedAnonymous => !shared || flags & vm::MAYREAD == 0,
        Backing::Anonymous => shared || flags & vm::MAYREAD == 0,
        _ => !shared && flags & vm::MAYWRITE == 0,
    };
    if odd {
        tell(UNKNOWN)
    } else {
        Ok(())
    }
}

/// `kind` of the record.
pub fn record_kind(backing: Backing) -> u64 {
    match backing {
        Backing::Anonymous => f::VMA_ANON,
        Backing::SharedAnonymous => f::VMA_SHARED_ANON,
        Backing::Special => f::VMA_SPECIAL,
        Backing::Ring => f::VMA_RING,
        Backing::File | Backing::Object | Backing::Refused(_) => f::VMA_FILE,
    }
}

/// `prot` of the record.
pub fn record_prot(flags: u64) -> u64 {
    let mut prot = 0;
    for (bit, to) in [
        (vm::READ, f::PROT_READ),
        (vm::WRITE, f::PROT_WRITE),
        (vm::EXEC, f::PROT_EXEC),
    ] {
        if flags & bit != 0 {
            prot |= to;
        }
    }
    prot
}

const FLAGS: [(u64, u64); 15] = [
    (vm::MAYSHARE, f::VMA_SHARED),
    (vm::GROWSDOWN, f::VMA_GROWSDOWN),
    (vm::LOCKED, f::VMA_LOCKED),
    (vm::NORESERVE, f::VMA_NORESERVE),
    (vm::DONTCOPY, f::VMA_DONTFORK),
    (vm::DONTDUMP, f::VMA_DONTDUMP),
    (vm::WIPEONFORK, f::VMA_WIPEONFORK),
    (vm::MERGEABLE, f::VMA_MERGEABLE),
    (vm::HUGEPAGE, f::VMA_HUGEPAGE),
    (vm::NOHUGEPAGE, f::VMA_NOHUGEPAGE),
    (vm::SEQ_READ, f::VMA_SEQ_READ),
    (vm::RAND_READ, f::VMA_RAND_READ),
    (vm::LOCKONFAULT, f::VMA_LOCKONFAULT),
    (vm::SEALED, f::VMA_SEALED),
    (vm::DROPPABLE, f::VMA_DROPPABLE),
];

/// `flags` of the record, without [`f::VMA_STACK`]; `huge` are the bytes of a huge page of hugetlbfs, 0 for other areas.
pub fn record_flags(flags: u64, backing: Backing, huge: u64) -> u64 {
    if backing == Backing::Special {
        return 0;
    }
    let mut out = match huge {
        f::HUGE_2M => f::VMA_HUGETLB_2M,
        f::HUGE_1G => f::VMA_HUGETLB_1G,
        _ => 0,
    };
    for (bit, to) in FLAGS {
        if flags & bit != 0 {
            out |= to;
        }
    }
    if matches!(backing, Backing::File | Backing::Object)
        && flags & vm::MAYSHARE != 0
        && flags & vm::MAYWRITE != 0
    {
        out |= f::VMA_MAYWRITE;
    }
    out
}

/// Protection key of an area.
pub fn record_pkey(flags: u64) -> u64 {
    (flags & vm::PKEY) >> PKEY_SHIFT
}

/// Flags of the record that the finished area must have, exactly: all that [`record_flags`] gives but
/// those that depend on the host (overcommit) or on the whole process.
pub fn compared_flags(merge_any: bool) -> u64 {
    let mut mask = f::VMA_STACK | f::VMA_NORESERVE | f::VMA_MAYWRITE;
    if merge_any {
        mask |= f::VMA_MERGEABLE;
    }
    f::VMA_FLAGS & !mask
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{vec, vec::Vec};

    const RW: u64 = vm::READ | vm::WRITE | vm::MAYREAD | vm::MAYWRITE | vm::MAYEXEC;

    fn reasons(flags: u64, backing: Backing) -> Vec<&'static str> {
        let mut v = vec![];
        let _: Result<(), ()> = refusals(flags, backing, |r| {
            v.push(r.reason);
            Ok(())
        });
        v
    }

    fn shmem(path: &[u8], private: bool) -> Backing {
        backing(
            Some(&FileFacts {
                magic: TMPFS,
                internal: true,
                private,
                regular: true,
                path,
                ..Default::default()
            }),
            false,
            None,
        )
    }

    #[test]
    fn plain_memory_and_files_are_kept() {
        assert_eq!(backing(None, true, None), Backing::Anonymous);
        assert_eq!(reasons(RW | vm::ACCOUNT, Backing::Anonymous), [""; 0]);
        let lib = FileFacts {
            magic: 0xef53,
            regular: true,
            path: b"/lib/libc.so",
            ..Default::default()
        };
        assert_eq!(backing(Some(&lib), false, None), Backing::File);
        assert_eq!(
            reasons(
                vm::READ | vm::EXEC | vm::MAYREAD | vm::MAYWRITE | vm::MAYEXEC,
                Backing::File
            ),
            [""; 0]
        );
        assert_eq!(
            shmem(b"/dev/zero (deleted)", true),
            Backing::SharedAnonymous
        );
        let zero = FileFacts {
            character: true,
            rdev: DEV_ZERO,
            path: b"/dev/zero",
            ..Default::default()
        };
        assert_eq!(backing(Some(&zero), true, None), Backing::Anonymous);
    }

    #[test]
    fn the_vdso_is_special_whatever_its_flags() {
        for name in [b"[vdso]".as_slice(), b"[vvar]", b"[vvar_vclock]"] {
            assert_eq!(backing(None, false, Some(name)), Backing::Special);
        }
        assert_eq!(
            reasons(
                vm::READ | vm::IO | vm::PFNMAP | vm::DONTEXPAND,
                Backing::Special
            ),
            [""; 0]
        );
    }

    #[test]
    fn everything_else_is_refused_and_named() {
        assert_eq!(
            backing(None, false, Some(b"[uprobes]")),
            Backing::Refused(UPROBES)
        );
        assert_eq!(backing(None, false, None), Backing::Refused(UNKNOWN));
        let cases: [(u64, bool, &[u8], &str); 7] = [
            (TMPFS, true, b"/SYSV00000000 (deleted)", "System V"),
            (TMPFS, true, b"/drm mm object (deleted)", "kernel object"),
            (TMPFS, true, b"/dev/zero (deleted)", "kernel object"),
            (HUGETLBFS, true, b"/SYSV00000001 (deleted)", "System V"),
            (SECRETMEM, true, b"/secretmem (deleted)", "secret"),
            (AIO_RING, true, b"/[aio] (deleted)", "io_setup"),
            (ANON_INODE, true, b"anon_inode:bpf-map", "kernel object"),
        ];
        for (magic, internal, path, word) in cases {
            let f = FileFacts {
                magic,
                internal,
                regular: true,
                path,
                ..Default::default()
            };
            let Backing::Refused(r) = backing(Some(&f), false, None) else {
                panic!("{word} was not refused")
            };
            assert!(r.reason.contains(word), "{} does not say {word}", r.reason);
        }
        let gone = FileFacts {
            regular: true,
            unlinked: true,
            path: b"/x (deleted)",
            ..Default::default()
        };
        assert_eq!(backing(Some(&gone), false, None), Backing::Object);
        let memfd = FileFacts {
            magic: TMPFS,
            internal: true,
            path: b"/memfd:x (deleted)",
            ..gone
        };
        assert_eq!(backing(Some(&memfd), false, None), Backing::Object);
        let huge = FileFacts {
            magic: HUGETLBFS,
            path: b"/anon_hugepage (deleted)",
            ..memfd
        };
        assert_eq!(backing(Some(&huge), false, None), Backing::Anonymous);
        let shared = FileFacts {
            shared: true,
            ..huge
        };
        let is = backing(Some(&shared), false, None);
        assert_eq!(is, Backing::SharedAnonymous);
        assert_eq!(
            reasons(RW | vm::HUGETLB | vm::DONTEXPAND, Backing::Anonymous),
            [""; 0]
        );
        assert_eq!(
            record_flags(RW | vm::HUGETLB, Backing::Anonymous, f::HUGE_1G),
            f::VMA_HUGETLB_1G
        );
    }

    #[test]
    fn a_device_is_told_once_and_unknown_flags_are_refused() {
        assert_eq!(
            reasons(
                vm::READ | vm::IO | vm::PFNMAP | vm::DONTEXPAND,
                Backing::Refused(DEVICE)
            )
            .len(),
            1
        );
        assert_eq!(
            reasons(
                vm::READ | vm::IO | vm::PFNMAP | vm::DONTEXPAND,
                Backing::File
            )
            .len(),
            1
        );
        assert_eq!(
            reasons(RW | vm::UFFD_WP | vm::IO, Backing::Anonymous).len(),
            2
        );
        assert!(
            reasons(RW | 1 << 32, Backing::Anonymous).is_empty(),
            "a key"
        );
        assert_eq!(reasons(RW | 1 << 60, Backing::Anonymous), [UNKNOWN.reason]);
        assert_eq!(
            reasons(RW | 1 << 23, Backing::File),
            [UNKNOWN.reason],
            "VM_SYNC"
        );
        assert_eq!(
            reasons(RW | vm::MAYSHARE, Backing::Anonymous),
            [UNKNOWN.reason]
        );
    }

    #[test]
    fn records_say_what_mmap_was_told() {
        assert_eq!(
            record_prot(vm::READ | vm::EXEC | vm::MAYWRITE),
            f::PROT_READ | f::PROT_EXEC
        );
        assert_eq!(
            record_flags(RW | vm::MAYSHARE | vm::SHARED, Backing::File, 0),
            f::VMA_SHARED | f::VMA_MAYWRITE
        );
        // A shared mapping of a file that was opened for reading only.
        assert_eq!(
            record_flags(vm::READ | vm::MAYREAD | vm::MAYSHARE, Backing::File, 0),
            f::VMA_SHARED
        );
        assert_eq!(
            record_flags(RW | vm::LOCKED | vm::LOCKONFAULT, Backing::Anonymous, 0),
            f::VMA_LOCKED | f::VMA_LOCKONFAULT
        );
        assert_eq!(
            record_flags(vm::READ | vm::DONTDUMP | vm::SEALED, Backing::Special, 0),
            0
        );
        assert_eq!(record_pkey(RW | 5 << 32), 5);
    }
}
