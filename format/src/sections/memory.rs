// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Section `memory`: the address space, its areas, and the files mapped into it.
//!
//! Preserved: layout, protection, contents of private and shared anonymous memory, advice, locks, guard
//! ranges, NUMA policies of private areas. Not preserved: swap and residency, where pages are, where later mappings will be put. Areas with
//! a protection key are an obstacle in this release. Contents of file mappings come from the file, except
//! pages that were written privately; droppable memory comes back empty. Source: spec, "Section: memory".

use crate::record::record;

/// Bits of [`VmaRecord::prot`]: readable.
pub const PROT_READ: u64 = 1;
/// Writable.
pub const PROT_WRITE: u64 = 2;
/// Executable.
pub const PROT_EXEC: u64 = 4;

/// [`VmaRecord::kind`]: private anonymous memory.
pub const VMA_ANON: u64 = 0;
/// A mapped file.
pub const VMA_FILE: u64 = 1;
/// Shared anonymous memory.
pub const VMA_SHARED_ANON: u64 = 2;
/// vvar and vDSO: made by the kernel, only moved.
pub const VMA_SPECIAL: u64 = 3;
/// Memory of a ring of section `uring`.
pub const VMA_RING: u64 = 4;

/// Bits of [`VmaRecord::flags`], with the names that tools print.
pub const VMA_FLAG_NAMES: [(u64, &str); 19] = [
    (VMA_SHARED, "shared"),
    (VMA_GROWSDOWN, "growsdown"),
    (VMA_LOCKED, "locked"),
    (VMA_NORESERVE, "noreserve"),
    (VMA_DONTFORK, "dontfork"),
    (VMA_DONTDUMP, "dontdump"),
    (VMA_WIPEONFORK, "wipeonfork"),
    (VMA_MERGEABLE, "mergeable"),
    (VMA_HUGEPAGE, "hugepage"),
    (VMA_NOHUGEPAGE, "nohugepage"),
    (VMA_SEQ_READ, "seq_read"),
    (VMA_RAND_READ, "rand_read"),
    (VMA_LOCKONFAULT, "lockonfault"),
    (VMA_SEALED, "sealed"),
    (VMA_MAYWRITE, "maywrite"),
    (VMA_STACK, "stack"),
    (VMA_DROPPABLE, "droppable"),
    (VMA_HUGETLB_2M, "hugetlb_2m"),
    (VMA_HUGETLB_1G, "hugetlb_1g"),
];
/// `MAP_SHARED`.
pub const VMA_SHARED: u64 = 1;
/// `MAP_GROWSDOWN`.
pub const VMA_GROWSDOWN: u64 = 2;
/// `mlock(2)`.
pub const VMA_LOCKED: u64 = 4;
/// `MAP_NORESERVE`.
pub const VMA_NORESERVE: u64 = 8;
/// `MADV_DONTFORK`.
pub const VMA_DONTFORK: u64 = 16;
/// `MADV_DONTDUMP`.
pub const VMA_DONTDUMP: u64 = 32;
/// `MADV_WIPEONFORK`.
pub const VMA_WIPEONFORK: u64 = 64;
/// `MADV_MERGEABLE`.
pub const VMA_MERGEABLE: u64 = 128;
/// `MADV_HUGEPAGE`.
pub const VMA_HUGEPAGE: u64 = 256;
/// `MADV_NOHUGEPAGE`.
pub const VMA_NOHUGEPAGE: u64 = 512;
/// `MADV_SEQUENTIAL`.
pub const VMA_SEQ_READ: u64 = 1024;
/// `MADV_RANDOM`.
pub const VMA_RAND_READ: u64 = 2048;
/// `MLOCK_ONFAULT`.
pub const VMA_LOCKONFAULT: u64 = 4096;
/// `mseal(2)`.
pub const VMA_SEALED: u64 = 8192;
/// Shared file mapping whose file was opened for writing: `mprotect` may add write access.
pub const VMA_MAYWRITE: u64 = 16384;
/// The main stack.
pub const VMA_STACK: u64 = 32768;
/// `MAP_DROPPABLE`: contents may go at any time and are never stored.
pub const VMA_DROPPABLE: u64 = 65536;
/// Huge pages of hugetlbfs, of 2 MiB.
pub const VMA_HUGETLB_2M: u64 = 131_072;
/// Huge pages of hugetlbfs, of 1 GiB.
pub const VMA_HUGETLB_1G: u64 = 262_144;
/// All bits that have a meaning.
pub const VMA_FLAGS: u64 = 524_287;

/// Bytes of a huge page of [`VMA_HUGETLB_2M`].
pub const HUGE_2M: u64 = 2 << 20;
/// Bytes of a huge page of [`VMA_HUGETLB_1G`].
pub const HUGE_1G: u64 = 1 << 30;

/// Bytes of the huge pages of an area with these flags, 0 if it has none.
pub fn huge_page(flags: u64) -> u64 {
    if flags & VMA_HUGETLB_1G != 0 {
        HUGE_1G
    } else if flags & VMA_HUGETLB_2M != 0 {
        HUGE_2M
    } else {
        0
    }
}

record! {
    /// The address space as a whole; exactly one, id 1. The addresses are those of `PR_SET_MM_MAP`.
    MmRecord<'a> in MEMORY, type 1, "mm" {
        /// Program code.
        1 start_code: u64 Hex;
        /// Its end.
        2 end_code: u64 Hex;
        /// Program data.
        3 start_data: u64 Hex;
        /// Its end.
        4 end_data: u64 Hex;
        /// Heap.
        5 start_brk: u64 Hex;
        /// Its end.
        6 brk: u64 Hex;
        /// Top of the stack at exec.
        7 start_stack: u64 Hex;
        /// Arguments.
        8 arg_start: u64 Hex;
        /// Their end.
        9 arg_end: u64 Hex;
        /// Environment.
        10 env_start: u64 Hex;
        /// Its end.
        11 env_end: u64 Hex;
        /// The auxiliary vector: pairs of type and value.
        12 auxv: array Hex;
        /// Address of the vDSO, 0 none.
        13 vdso: u64 Hex;
        /// Mapped file or object that `/proc/PID/exe` names, 0 none.
        14 exe_object: u64 Dec;
        /// `PR_GET_THP_DISABLE`.
        15 thp_disable: u64 Dec;
        /// `/proc/PID/coredump_filter`.
        16 coredump_filter: u64 Hex;
        /// CRC-32 of the bytes of the vDSO: equal on another kernel means that addresses in it are valid; 0 none.
        17 vdso_crc: u64 Hex;
        /// `mlockall(2)` for later mappings: 0 none, 1 MCL_FUTURE, 2 with MCL_ONFAULT.
        18 lock_future: u64 Dec;
        /// `PR_GET_MEMORY_MERGE`.
        19 memory_merge: u64 Dec;
    }
}

record! {
    /// One memory area; ids count from 1 in the order of the addresses.
    VmaRecord<'a> in MEMORY, type 2, "vma" {
        /// First address.
        1 start: u64 Hex;
        /// Address behind the last.
        2 end: u64 Hex;
        /// 1 read, 2 write, 4 execute.
        3 prot: u64 Flags;
        /// `VMA_*` bits.
        4 flags: u64 Flags;
        /// 0 private anonymous, 1 file, 2 shared anonymous, 3 special, 4 ring.
        5 kind: u64 Dec;
        /// Byte offset of `start` in the object.
        6 offset: u64 Hex;
        /// Mapped file or object (kind 1), shared anonymous object (kind 2) or ring (kind 4: its place among the rings), else 0.
        7 object: u64 Dec;
        /// Name given with `PR_SET_VMA_ANON_NAME`, or `[vdso]`, `[vvar]`, …
        8 name: text None;
        /// Protection key.
        9 pkey: u64 Dec;
    }
}

record! {
    /// A file that is mapped.
    MappedFileRecord<'a> in MEMORY, type 3, "mapped_file" {
        /// Path in the mount namespace of the process.
        1 path: text Path;
        /// Length, bytes.
        2 size: u64 Dec;
        /// Last modification, seconds.
        3 mtime_s: i64 Dec;
        /// Last modification, nanoseconds of the second.
        4 mtime_ns: u64 Dec;
        /// Device number.
        5 dev: u64 Hex;
        /// Inode number.
        6 ino: u64 Dec;
        /// Type and permissions.
        7 mode: u64 Octal;
        /// GNU build id, empty if there is none.
        8 build_id: bytes Hex;
        /// 1 if it must be opened for writing.
        9 writable: u64 Dec;
    }
}

record! {
    /// A range of guard pages (`MADV_GUARD_INSTALL`); ids count from 1 in the order of the addresses.
    GuardRecord in MEMORY, type 4, "guard" {
        /// First address.
        1 start: u64 Hex;
        /// Address behind the last.
        2 end: u64 Hex;
    }
}

record! {
    /// The NUMA policy of an area (`mbind(2)`); its record id is that of the area.
    PolicyRecord<'a> in MEMORY, type 5, "policy" {
        /// Mode with its flags, as in `get_mempolicy(2)`; not 0.
        1 mode: u64 Hex;
        /// Nodes as the process gave them: bit n of the little-endian bytes is node n.
        2 nodes: bytes None;
        /// `set_mempolicy_home_node(2)`, -1 none.
        3 home: i64 Dec;
    }
}

record! {
    /// A range of private anonymous memory that the kernel had in transparent huge pages; ids count from 1 in the order of
    /// the addresses.
    HugeRecord in MEMORY, type 7, "huge" {
        /// First address.
        1 start: u64 Hex;
        /// Address behind the last.
        2 end: u64 Hex;
    }
}

record! {
    /// The memory protection keys that the process has allocated (`pkeys(7)`); not there if neither it nor any area has one.
    /// A key can be freed while areas have it.
    KeysRecord in MEMORY, type 8, "keys" {
        /// Bit n is key n. Key 0, which every process has, is not told.
        1 allocated: u64 Hex;
        /// The key of memory that may only be executed, which the kernel has allocated; 0 none.
        2 execute_only: u64 Dec;
    }
}

record! {
    /// A mapped file that has no path any more, or never had one: its contents are in section `files`. Ids are in one row
    /// with those of mapped files.
    MappedObjectRecord in MEMORY, type 6, "mapped_object" {
        /// The open file of kind 5 or 8 that owns the contents.
        1 file: u64 Dec;
    }
}
