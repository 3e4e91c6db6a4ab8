// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Section `files`: working directory, open files, descriptors.
//!
//! Preserved: paths, flags, positions, which descriptors share an open file, close-on-exec, contents of
//! deleted files and of memory files (memfd) with their seals, and of other files if that was asked for. Not preserved: leases, `F_NOTIFY`: their presence refuses the checkpoint.
//! Source: spec, "Section: files".

use crate::record::record;

/// [`FileRecord::kind`]: regular file, opened again by path.
pub const FILE_REGULAR: u64 = 1;
/// Directory.
pub const FILE_DIRECTORY: u64 = 2;
/// Device node.
pub const FILE_DEVICE: u64 = 3;
/// Opened with O_PATH.
pub const FILE_PATH: u64 = 4;
/// Deleted file: its contents are page data of this section.
pub const FILE_DELETED: u64 = 5;
/// Made by the extension of section `handler`.
pub const FILE_HANDLED: u64 = 6;
/// Its other end is outside; the user connects it at restart.
pub const FILE_EXTERNAL: u64 = 7;
/// Memory file of `memfd_create(2)`: its contents are page data of this section, see [`MemfdRecord`].
pub const FILE_MEMFD: u64 = 8;

/// Bits of [`MemfdRecord::seals`], with the names that tools print.
pub const SEAL_NAMES: [(u64, &str); 6] = [
    (1, "seal"),
    (2, "shrink"),
    (4, "grow"),
    (8, "write"),
    (16, "future_write"),
    (32, "exec"),
];
/// All bits that have a meaning.
pub const SEALS: u64 = 63;

record! {
    /// What `fs_struct` has; exactly one.
    FsRecord<'a> in FILES, type 1, "fs" {
        /// Working directory.
        1 cwd: text Path;
        /// Root directory.
        2 root: text Path;
        /// File mode creation mask.
        3 umask: u64 Octal;
    }
}

record! {
    /// One open file (open file description); ids count from 1.
    FileRecord<'a> in FILES, type 2, "file" {
        /// 1 regular, 2 directory, 3 device, 4 path, 5 deleted, 6 handled, 7 external, 8 memfd.
        1 kind: u64 Dec;
        /// Path in the mount namespace of the process; empty if it has none.
        2 path: text Path;
        /// `O_*` as `F_GETFL` says, with O_PATH, O_DIRECTORY and the like.
        3 flags: u64 Octal;
        /// File position.
        4 pos: i64 Dec;
        /// Type and permissions.
        5 mode: u64 Octal;
        /// Length, bytes.
        6 size: u64 Dec;
        /// Last modification, seconds.
        7 mtime_s: i64 Dec;
        /// Last modification, nanoseconds of the second.
        8 mtime_ns: u64 Dec;
        /// Inode number.
        9 ino: u64 Dec;
        /// Device number of the file system.
        10 dev: u64 Hex;
        /// Device number of a device node.
        11 rdev: u64 Hex;
        /// Section of the extension that makes it (kind 6), else 0.
        12 handler: u64 Hex;
        /// Number of links.
        13 nlink: u64 Dec;
        /// What an external end was, for people.
        14 description: text None;
    }
}

record! {
    /// One descriptor; its record id is the number plus 1.
    DescriptorRecord in FILES, type 3, "descriptor" {
        /// Descriptor number.
        1 fd: u64 Dec;
        /// Open file.
        2 file: u64 Dec;
        /// 1: closed on exec.
        3 cloexec: u64 Dec;
    }
}

record! {
    /// What an open file of kind 8 has besides; its id is that of the open file.
    MemfdRecord<'a> in FILES, type 4, "memfd" {
        /// The first open file of the same memory file: the one whose record has the rest, and that owns the page data.
        1 contents: u64 Dec;
        /// Name given to `memfd_create`.
        2 name: text None;
        /// `F_SEAL_*`.
        3 seals: u64 Flags;
        /// Bytes of a huge page (`MFD_HUGETLB`), 0 for normal ones.
        4 huge: u64 Dec;
    }
}

record! {
    /// The contents of an open file of kind 1 are page data of this section too; its id is that of the open file, the first of
    /// its inode.
    ContentsRecord in FILES, type 5, "contents" {
        /// User that the file belongs to.
        1 uid: u64 Dec;
        /// Group that it belongs to.
        2 gid: u64 Dec;
    }
}
