// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! The interface between the crkit kernel modules and user space.
//!
//! One device node, `/dev/crkit` (mode 0600, see README "Safety and permissions"). Every `open` is one
//! *session*: at most one checkpoint or one restart. Closing the last reference thaws a frozen process and
//! kills a half-built one. The calls of a session and their order:
//!
//! ```text
//! checkpoint:  CHECKPOINT (image streamed to out_fd) → [FINISH, only with KEEP_FROZEN] → read() the report
//! restart:     LOAD (parses everything before the page data) → read() report
//!              → clone3(set_tid) → child: RESTART (never returns on success)
//!                                 parent: COORDINATE (returns when the process runs, or an error) → read()
//! ```
//!
//! `read(2)` on the device returns the session's report: whole records in the encoding of `cr_format`
//! (section `report`), oldest first, each once; 0 when there is nothing more. Every failed call leaves a
//! `failure` record that says cause and place.
//!
//! Every argument struct begins with its own size: the kernel refuses a size it does not know with `E2BIG`
//! when the unknown tail is not zero, and treats missing fields as zero. All integers are native-endian,
//! all structs have no padding.
#![no_std]

/// Path of the device node.
pub const DEVICE_PATH: &str = "/dev/crkit";
/// Name of the misc device, without the directory.
pub const DEVICE_NAME: &str = "crkit";
/// Version of this interface; [`Query::abi`] must be equal.
pub const ABI: u32 = 3;

/// ioctl letter; with `_IOWR` sizes these numbers cannot collide with the ones the VFS handles itself.
pub const MAGIC: u8 = 0xC7;

const fn iowr(nr: u8, size: usize) -> u32 {
    // CAST: all argument structs are far below the 16 KiB an ioctl number can express.
    (3 << 30) | ((size as u32 & 0x3fff) << 16) | ((MAGIC as u32) << 8) | nr as u32
}

/// `QUERY`: what the loaded core is. Argument [`Query`].
pub const QUERY: u32 = iowr(1, core::mem::size_of::<Query>());
/// `CHECKPOINT`: freeze, write the image, thaw. Argument [`Checkpoint`].
pub const CHECKPOINT: u32 = iowr(2, core::mem::size_of::<Checkpoint>());
/// `FINISH`: ends a checkpoint made with [`CHECKPOINT_KEEP_FROZEN`]. Argument [`Finish`].
pub const FINISH: u32 = iowr(3, core::mem::size_of::<Finish>());
/// `LOAD`: reads and checks everything of an image up to its page data. Argument [`Load`].
pub const LOAD: u32 = iowr(4, core::mem::size_of::<Load>());
/// `RESTART`: replaces the calling, single-threaded process by the one in the image. Argument [`Restart`].
pub const RESTART: u32 = iowr(5, core::mem::size_of::<Restart>());
/// `COORDINATE`: serves the restart from outside until it has committed or failed. Argument [`Coordinate`].
pub const COORDINATE: u32 = iowr(6, core::mem::size_of::<Coordinate>());
/// `EXTENSION`: the n-th registered extension. Argument [`ExtensionInfo`].
pub const EXTENSION: u32 = iowr(7, core::mem::size_of::<ExtensionInfo>());
/// `LANDLOCK_PROBE`: teaches the core where a task keeps its Landlock domain. Argument [`LandlockProbe`].
pub const LANDLOCK_PROBE: u32 = iowr(8, core::mem::size_of::<LandlockProbe>());
/// `STEP`: used only by the restart stub of a half-built process; takes the syscall result by value.
pub const STEP: u32 = iowr(64, 8);

/// Answer of [`QUERY`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Query {
    /// In: size of this struct.
    pub size: u32,
    /// Out: [`ABI`] of the core.
    pub abi: u32,
    /// Out: image format version the core writes, major in the high half.
    pub format: u32,
    /// Out: number of registered extensions.
    pub extensions: u32,
    /// Out: number of open sessions, this one included.
    pub sessions: u32,
    /// Out: 1 if the Landlock slot is known (see [`LANDLOCK_PROBE`]), 2 if the kernel has no Landlock.
    pub landlock: u32,
}

/// Only look: list every obstacle, write nothing; `out_fd` is ignored.
pub const CHECKPOINT_DRY_RUN: u32 = 1;
/// Leave the process frozen after success until [`FINISH`] or the end of the session.
pub const CHECKPOINT_KEEP_FROZEN: u32 = 2;
/// A Landlock domain is no obstacle; the restarted process runs without it.
pub const CHECKPOINT_DROP_LANDLOCK: u32 = 4;
/// Only the process itself, without its descendants.
pub const CHECKPOINT_SINGLE: u32 = 8;
/// The members of the process group [`Checkpoint::scope`] with all their descendants, which must be in it; `pid` is the first
/// of them.
pub const CHECKPOINT_PGRP: u32 = 16;
/// As [`CHECKPOINT_PGRP`], for a session.
pub const CHECKPOINT_SESSION: u32 = 32;

/// The contents of open regular files too, although they have paths.
pub const CHECKPOINT_WITH_FILES: u32 = 64;

/// Argument of [`CHECKPOINT`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Checkpoint {
    /// In: size of this struct.
    pub size: u32,
    /// In: `CHECKPOINT_*` bits; unknown ones are refused.
    pub flags: u32,
    /// In: process id (any of its thread ids is refused with `EINVAL`) in the caller's pid namespace.
    pub pid: i32,
    /// In: open descriptor to write the image to: file, pipe or socket.
    pub out_fd: i32,
    /// In: user pointer to `external_count` descriptor numbers (`u32`) whose other end is outside and
    /// that the user promises to connect at restart (`--fd N`).
    pub external: u64,
    /// In: number of entries, at most 1024.
    pub external_count: u32,
    /// Out: number of threads found, of all processes.
    pub threads: u32,
    /// Out: bytes of image written.
    pub image_bytes: u64,
    /// Out: pages stored with contents.
    pub pages: u64,
    /// Out: nanoseconds from the first freeze request to the thaw (0 while kept frozen).
    pub frozen_ns: u64,
    /// Out: nanoseconds of the whole call.
    pub total_ns: u64,
    /// Out: number of obstacles found; when not 0 the call fails with `EOPNOTSUPP`, or succeeds if dry run.
    pub obstacles: u32,
    /// In: 0: page data is stored as it is; 1 to 19: compressed with zstd at this level.
    pub zstd_level: u32,
    /// Out: bytes of page data in the image; without compression 4096 for each page with contents.
    pub stored_bytes: u64,
    /// Out: number of processes, those included that have ended and were not waited for.
    pub processes: u32,
    /// In: id of the process group or session that [`CHECKPOINT_PGRP`] or [`CHECKPOINT_SESSION`] asks for, else 0.
    pub scope: u32,
}

/// Let the process continue.
pub const FINISH_THAW: u32 = 0;
/// Kill the process (SIGKILL) without letting it run again.
pub const FINISH_KILL: u32 = 1;
/// Stop the process (SIGSTOP) without letting it run again.
pub const FINISH_STOP: u32 = 2;

/// Argument of [`FINISH`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Finish {
    /// In: size of this struct.
    pub size: u32,
    /// In: one of `FINISH_*`.
    pub action: u32,
    /// Out: nanoseconds from the first freeze request to now.
    pub frozen_ns: u64,
}

/// Reads and checks the whole image, to its last byte, and whether it could be restarted here; the session is
/// over then. Defects of the image are found before those of the host.
pub const LOAD_DRY_RUN: u32 = 1;
/// With [`LOAD_DRY_RUN`]: judge files as [`FILES_IGNORE`] would.
pub const LOAD_FILES_IGNORE: u32 = 2;
/// With [`LOAD_DRY_RUN`]: judge files as [`FILES_TRUNCATE`] would.
pub const LOAD_FILES_TRUNCATE: u32 = 4;

/// Argument of [`LOAD`]. After it, `read` gives one `external` record for each descriptor that must be connected.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Load {
    /// In: size of this struct.
    pub size: u32,
    /// In: `LOAD_*` bits; unknown ones are refused.
    pub flags: u32,
    /// In: open descriptor the image is read from, at its current position: file, pipe or socket.
    pub image_fd: i32,
    /// Out: process id that `clone3(set_tid)` must create.
    pub tgid: i32,
    /// Out: number of threads of all processes.
    pub threads: u32,
    /// Out: lowest descriptor number not used by the image; the device must be moved to it or above.
    pub min_fd: u32,
    /// Out: 1 when the process must run in a time namespace with the two offsets below.
    pub time_namespace: u32,
    /// In: must be 0. Out: number of processes.
    pub processes: u32,
    /// Out: offset of CLOCK_MONOTONIC for `timens_offsets`, nanoseconds.
    pub monotonic_offset_ns: i64,
    /// Out: offset of CLOCK_BOOTTIME, nanoseconds.
    pub boottime_offset_ns: i64,
    /// Out: process group id in the image.
    pub pgid: i32,
    /// Out: session id in the image.
    pub sid: i32,
    /// Out: id of a session leader that has ended: a process with this id must make a session, then the process `tgid` as a
    /// sibling (`CLONE_PARENT`), and live until the restart is over; 0 if none is needed.
    pub session_leader: i32,
    /// Spare, 0.
    pub reserved: u32,
}

/// One descriptor to connect at restart instead of what the image says: `from` is open in the caller of
/// [`RESTART`] and becomes `fd` of the restarted process.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct FdMap {
    /// Descriptor number in the image.
    pub fd: u32,
    /// Open descriptor of the caller.
    pub from: i32,
}

/// Regular files that changed since the checkpoint make the restart fail (default).
pub const FILES_CHECK: u32 = 0;
/// Regular files are taken as they are.
pub const FILES_IGNORE: u32 = 1;
/// Files open for writing that have grown are cut back to their length at the checkpoint.
pub const FILES_TRUNCATE: u32 = 2;

/// The process stays in the control group of whoever restarts it.
pub const RESTART_CGROUPS_IGNORE: u32 = 1;
/// The restart fails if the process cannot join its control group; without it, there is a note.
pub const RESTART_CGROUPS_REQUIRE: u32 = 2;

/// Not for callers, only between the core and extensions: nothing is made, so judge all that could be judged later.
pub const RESTART_DRY_RUN: u32 = 1 << 31;

/// Argument of [`RESTART`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Restart {
    /// In: size of this struct.
    pub size: u32,
    /// In: `RESTART_*` bits; unknown ones are refused.
    pub flags: u32,
    /// In: the caller's descriptor of this very device session; at least [`Load::min_fd`].
    pub device_fd: i32,
    /// In: `FILES_*`.
    pub files: u32,
    /// In: user pointer to `fd_map_count` entries of [`FdMap`].
    pub fd_map: u64,
    /// In: number of entries, at most 1024.
    pub fd_map_count: u32,
    /// Spare, must be 0.
    pub reserved: u32,
}

/// Argument of [`COORDINATE`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Coordinate {
    /// In: size of this struct.
    pub size: u32,
    /// In: must be 0.
    pub flags: u32,
    /// Out: nanoseconds from the start of RESTART to the commit.
    pub restart_ns: u64,
    /// Out: bytes of image read.
    pub image_bytes: u64,
    /// Out: pages filled.
    pub pages: u64,
}

/// Argument of [`EXTENSION`]; `ENOENT` behind the last one.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ExtensionInfo {
    /// In: size of this struct.
    pub size: u32,
    /// In: index, from 0.
    pub index: u32,
    /// Out: section id in the image format.
    pub section: u32,
    /// Out: sessions that use it now.
    pub users: u32,
    /// Out: resource word, NUL-terminated.
    pub word: [u8; 32],
    /// Out: module name, NUL-terminated.
    pub module: [u8; 64],
}

/// First call: remember the caller's credential blob.
pub const LANDLOCK_BEFORE: u32 = 1;
/// Second call, by the same thread after `landlock_restrict_self` with one more ruleset: compare.
pub const LANDLOCK_AFTER: u32 = 2;
/// The kernel has no Landlock (`landlock_create_ruleset` said `ENOSYS` or `EOPNOTSUPP`).
pub const LANDLOCK_ABSENT: u32 = 3;

/// Argument of [`LANDLOCK_PROBE`]; made by a short-lived helper process of `crctl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct LandlockProbe {
    /// In: size of this struct.
    pub size: u32,
    /// In: one of `LANDLOCK_*`.
    pub stage: u32,
}
