// SPDX-License-Identifier: GPL-2.0
//! Pipes: who holds their ends, how their contents are cut into records, how their ends are opened.

use crate::files::flag::*;

/// Longest contents of one `buffer` record, bytes; a multiple of the page size, so that writing the
/// records one after the other fills whole buffers.
pub const RECORD_BYTES: usize = 64 << 10;
/// Longest packet, bytes.
pub const PACKET_BYTES: usize = 4096;

/// Who holds the ends of a pipe.
#[derive(Clone, Copy, Debug, Default)]
pub struct Holders {
    /// Open files of the pipe (`files`).
    pub files: u32,
    /// Those among them that the process has.
    pub own: u32,
    /// References to the process's open files by others: inherited, or sent over a socket.
    pub foreign: u64,
}

impl Holders {
    /// Is there anybody but the process who could read or write?
    pub fn is_outside(&self) -> bool {
        self.files > self.own || self.foreign > 0
    }
}

/// Capacity in bytes of a pipe with this many slots, as `F_GETPIPE_SZ` reports it.
pub fn capacity(slots: u32) -> u64 {
    u64::from(slots).saturating_mul(4096)
}

/// What stands in one record so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Piece {
    /// Bytes.
    pub len: usize,
    /// It is a packet.
    pub packet: bool,
}

/// Bytes of the next buffer that still go into this record; 0: it must be written out first.
///
/// Packets stand alone; stream bytes are joined up to [`RECORD_BYTES`].
pub fn joins(current: Piece, next_len: usize, next_packet: bool) -> usize {
    match (current.len, current.packet || next_packet) {
        (0, _) => next_len.min(if next_packet {
            PACKET_BYTES
        } else {
            RECORD_BYTES
        }),
        (_, true) => 0,
        (have, false) => next_len.min(RECORD_BYTES.saturating_sub(have)),
    }
}

/// Flags that an end of a pipe or FIFO can have.
const END_FLAGS: u32 =
    O_ACCMODE | O_APPEND | O_NONBLOCK | O_SYNC | O_DIRECT | O_LARGEFILE | O_NOFOLLOW | O_NOATIME;

/// Flags to open one more end with: never blocks, no packets yet (a FIFO cannot be opened with `O_DIRECT`).
pub fn open_flags(flags: u32) -> u32 {
    (flags & END_FLAGS & !O_DIRECT) | O_NONBLOCK
}

/// The flags that an end has in the end.
pub fn final_flags(flags: u32) -> u32 {
    flags & END_FLAGS
}

/// Flags in a record that an end cannot have.
pub fn impossible_flags(flags: u32) -> bool {
    flags & !(END_FLAGS | O_CLOEXEC) != 0 || flags & O_ACCMODE == O_ACCMODE
}

/// Can an end with these flags read?
pub fn reads(flags: u32) -> bool {
    matches!(flags & O_ACCMODE, O_RDONLY | O_RDWR)
}

/// Can an end with these flags write?
pub fn writes(flags: u32) -> bool {
    matches!(flags & O_ACCMODE, O_WRONLY | O_RDWR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_is_inside_only_when_nobody_else_holds_anything() {
        assert!(!Holders {
            files: 2,
            own: 2,
            foreign: 0
        }
        .is_outside());
        assert!(
            !Holders {
                files: 1,
                own: 1,
                foreign: 0
            }
            .is_outside(),
            "the other end is closed"
        );
        assert!(Holders {
            files: 2,
            own: 1,
            foreign: 0
        }
        .is_outside());
        assert!(
            Holders {
                files: 2,
                own: 2,
                foreign: 1
            }
            .is_outside(),
            "a parent kept the descriptors"
        );
    }

    #[test]
    fn stream_bytes_join_and_packets_stand_alone() {
        let empty = Piece::default();
        assert_eq!(joins(empty, 5, false), 5);
        assert_eq!(joins(empty, 5, true), 5);
        assert_eq!(joins(empty, 5000, true), PACKET_BYTES);
        let stream = Piece {
            len: RECORD_BYTES - 3,
            packet: false,
        };
        assert_eq!(joins(stream, 10, false), 3);
        assert_eq!(joins(stream, 10, true), 0);
        assert_eq!(
            joins(
                Piece {
                    len: RECORD_BYTES,
                    packet: false
                },
                10,
                false
            ),
            0
        );
        assert_eq!(
            joins(
                Piece {
                    len: 1,
                    packet: true
                },
                10,
                false
            ),
            0
        );
        assert_eq!(
            joins(
                Piece {
                    len: 1,
                    packet: true
                },
                10,
                true
            ),
            0
        );
    }

    #[test]
    fn ends_are_opened_without_blocking() {
        assert_eq!(open_flags(O_WRONLY | O_DIRECT), O_WRONLY | O_NONBLOCK);
        assert_eq!(final_flags(O_WRONLY | O_DIRECT), O_WRONLY | O_DIRECT);
        assert_eq!(
            open_flags(O_RDONLY | 0o100),
            O_RDONLY | O_NONBLOCK,
            "never creates"
        );
        assert!(
            impossible_flags(O_PATH)
                && impossible_flags(3)
                && !impossible_flags(O_RDWR | O_NONBLOCK | O_DIRECT)
        );
        assert!(reads(O_RDONLY) && reads(O_RDWR) && !reads(O_WRONLY));
        assert!(writes(O_WRONLY) && writes(O_RDWR) && !writes(O_RDONLY));
    }

    #[test]
    fn capacity_counts_pages() {
        assert_eq!(capacity(16), 65536);
        assert_eq!(capacity(u32::MAX), u64::from(u32::MAX) * 4096);
    }
}
