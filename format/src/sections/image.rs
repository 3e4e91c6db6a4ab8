// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Section `image`: where the image comes from, what the kernel must be, which sections follow.
//!
//! Preserved: the clocks of the process (through a time namespace). Not preserved: the wall clock, the
//! host name; they are recorded to be shown and compared. Source: spec, "Section: image".

use crate::record::record;

record! {
    /// The image as a whole; exactly one, the first record of the image.
    ImageRecord<'a> in IMAGE, type 1, "image" {
        /// Time of the checkpoint, nanoseconds since 1970 UTC.
        1 created_ns: u64 Ns;
        /// `uname -r` of the kernel that was left.
        2 kernel_release: text None;
        /// `uname -v`.
        3 kernel_version: text None;
        /// `uname -m`.
        4 machine: text None;
        /// Host name in the process's UTS namespace.
        5 hostname: text None;
        /// Page size, bytes.
        6 page_size: u64 Dec;
        /// `/proc/sys/kernel/random/boot_id`, 16 bytes.
        7 boot_id: bytes None;
        /// CLOCK_MONOTONIC as the process saw it at the freeze.
        8 monotonic_ns: i64 Ns;
        /// CLOCK_BOOTTIME as the process saw it at the freeze.
        9 boottime_ns: i64 Ns;
        /// Offset of CLOCK_MONOTONIC in its time namespace.
        10 timens_monotonic_ns: i64 Ns;
        /// Offset of CLOCK_BOOTTIME in its time namespace.
        11 timens_boottime_ns: i64 Ns;
        /// Features of the extended processor state that `xstate` may have, as in XCR0.
        12 xfeatures: u64 Flags;
        /// Bytes of the extended processor state in user format.
        13 xsave_size: u64 Dec;
        /// Program and version that wrote the image.
        14 writer: text None;
        /// 1 if the process was in a time namespace other than the initial one.
        15 in_timens: u64 Dec;
    }
}

record! {
    /// One section that the image has or needs; the record id is the section id.
    SectionRecord<'a> in IMAGE, type 2, "section" {
        /// Resource word.
        1 word: text None;
        /// 1: a reader that does not know it must refuse.
        2 critical: u64 Dec;
        /// Kernel module that wrote it; empty for the core.
        3 module: text None;
        /// Version of the section, from 1.
        4 version: u64 Dec;
    }
}
