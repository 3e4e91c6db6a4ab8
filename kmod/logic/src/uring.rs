// SPDX-License-Identifier: GPL-2.0
//! Rings of `io_uring`: what of them can be made again, and by which calls.

use crate::{
    files::Trouble,
    plan::{Arg, Expect, Op, OpSink, PlanError},
};
use cr_format::{
    RegisteredRingRecord, RingEventfdRecord, RingRecord, RING_CQSIZE, RING_DISABLED, RING_FLAGS,
    RING_SINGLE_ISSUER,
};

const SYS_IO_URING_ENTER: i64 = 426;
const SYS_IO_URING_REGISTER: i64 = 427;
const REGISTER_EVENTFD: u64 = 4;
const REGISTER_EVENTFD_ASYNC: u64 = 7;
const REGISTER_ENABLE_RINGS: u64 = 12;
const REGISTER_RING_FDS: u64 = 20;
const ENOSYS: i64 = -38;
/// `IORING_SETUP_SQPOLL`.
const SQPOLL: u64 = 1 << 1;
/// `IORING_SETUP_ATTACH_WQ`: of rings without [`SQPOLL`] it only says that the caller has another ring.
const ATTACH_WQ: u64 = 1 << 5;
/// `IORING_SETUP_NO_MMAP`, and `IORING_SETUP_REGISTERED_FD_ONLY`, which needs it.
const NO_MMAP: u64 = 1 << 14 | 1 << 15;

/// Bytes of `struct io_uring_params`.
pub const PARAMS: usize = 120;

/// Object of the obstacle that goes away by itself when the program runs on; `crctl` tries again for a while.
pub const IN_FLIGHT: &[u8] = b"io_uring requests in flight";

/// The setup flags of the record, or why such a ring cannot be made again.
///
/// # Errors
/// [`Trouble`].
pub fn flags(setup: u32) -> Result<u64, Trouble> {
    let flags = u64::from(setup);
    if flags & SQPOLL != 0 {
        return Err(Trouble {
            reason:
                "a kernel thread polls the ring (SQPOLL) and works on while the process is frozen",
            remedy: "run the program without it (libuv and node: UV_USE_IO_URING=0)",
        });
    }
    if flags & NO_MMAP != 0 {
        return Err(Trouble {
            reason: "the ring lies in memory of the program (NO_MMAP), which would have to be there before it",
            remedy: "have the program let the kernel allocate the ring",
        });
    }
    let kept = flags & !ATTACH_WQ;
    if kept & !RING_FLAGS != 0 {
        return Err(Trouble {
            reason: "it was made with flags that this release does not know",
            remedy: "use a newer release",
        });
    }
    Ok(kept)
}

/// What is registered with a ring: `CRS_RING_*` of `shims.h` in ascending order, what each is, and a remedy.
pub const REGISTERED: [(u32, &str, &str); 14] = [
    (1, "files are registered with the ring", UNREGISTER),
    (2, "buffers are registered with the ring", UNREGISTER),
    (
        4,
        "an eventfd is registered with the ring in a way that is not understood",
        UNREGISTER,
    ),
    (8, "credentials are registered with the ring", UNREGISTER),
    (
        16,
        "the ring has provided buffers (IORING_OP_PROVIDE_BUFFERS, IORING_REGISTER_PBUF_RING)",
        UNREGISTER,
    ),
    (
        32,
        "the ring receives from the network without copies",
        CLOSE,
    ),
    (
        64,
        "the ring is restricted (IORING_REGISTER_RESTRICTIONS), and the restrictions are not kept",
        CLOSE,
    ),
    (
        128,
        "the number of workers of the ring is limited (IORING_REGISTER_IOWQ_MAX_WORKERS)",
        CLOSE,
    ),
    (
        256,
        "the ring waits by another clock (IORING_REGISTER_CLOCK)",
        CLOSE,
    ),
    (
        512,
        "memory for arguments is registered with the ring (IORING_REGISTER_MEM_REGION)",
        CLOSE,
    ),
    (1024, "a BPF program runs in the ring", CLOSE),
    (2048, "the ring polls network devices (NAPI)", UNREGISTER),
    (4096, "the ring was made by a 32-bit call", CLOSE),
    (
        8192,
        "events wait in the kernel because the completion ring is full",
        "let the program take its events, and try again",
    ),
];
const UNREGISTER: &str = "have the program unregister them before the checkpoint";
const CLOSE: &str = "have the program close the ring before the checkpoint";

/// `struct io_uring_params` for a ring that is to be made again. One of a single issuer is made disabled: the thread
/// that enables it is its issuer.
pub fn params(r: &RingRecord) -> [u8; PARAMS] {
    let mut flags = r.flags;
    if r.cq_entries != r.sq_entries.saturating_mul(2) {
        flags |= RING_CQSIZE;
    }
    if r.submitter != 0 {
        flags |= RING_DISABLED;
    }
    let mut out = [0; PARAMS];
    // sq_entries, cq_entries, flags; nothing else is read.
    for (to, word) in out.chunks_exact_mut(4).zip([0, r.cq_entries, flags]) {
        // CAST: 32 bits by URING-2 and the known flags.
        to.copy_from_slice(&(word as u32).to_le_bytes());
    }
    out
}

/// The thread that alone may submit to a ring with these flags, if there is one.
pub const fn has_issuer(flags: u64) -> bool {
    flags & (RING_SINGLE_ISSUER | RING_DISABLED) == RING_SINGLE_ISSUER
}

/// The call by which a thread gets its index for the ring at descriptor `fd`.
///
/// # Errors
/// `NoMemory` of the sink.
pub fn register(r: &RegisteredRingRecord, fd: u32, sink: &mut dyn OpSink) -> Result<(), PlanError> {
    // struct io_uring_rsrc_update: offset, resv (32 bits each), data.
    let mut data = [0; 16];
    for (to, word) in data.chunks_exact_mut(8).zip([r.index, fd.into()]) {
        to.copy_from_slice(&word.to_le_bytes());
    }
    let args = [
        Arg::Value(fd.into()),
        Arg::Value(REGISTER_RING_FDS),
        Arg::Data(0),
        Arg::Value(1),
    ];
    let what = "cannot register a ring by its index";
    // CAST: a small number.
    let op = Op::with_data(SYS_IO_URING_REGISTER as u32, &args, &data, what);
    sink.push(Op {
        expect: Expect::Exactly(1),
        ..op
    })
}

/// The call by which the ring at descriptor `ring` tells the event counter of the record.
///
/// # Errors
/// `NoMemory` of the sink.
pub fn tell(r: &RingEventfdRecord, ring: u32, sink: &mut dyn OpSink) -> Result<(), PlanError> {
    let how = if r.asynchronous != 0 {
        REGISTER_EVENTFD_ASYNC
    } else {
        REGISTER_EVENTFD
    };
    let args = [
        Arg::Value(ring.into()),
        Arg::Value(how),
        Arg::Data(0),
        Arg::Value(1),
    ];
    // CAST: a descriptor of the image, which is small; and a small number.
    let data = (r.fd as u32).to_le_bytes();
    let what = "cannot have a ring tell its event counter";
    let op = Op::with_data(SYS_IO_URING_REGISTER as u32, &args, &data, what);
    sink.push(Op {
        expect: Expect::Exactly(0),
        ..op
    })
}

/// The call by which a thread becomes the only issuer of the ring at descriptor `fd`.
///
/// # Errors
/// `NoMemory` of the sink.
pub fn enable(fd: u32, sink: &mut dyn OpSink) -> Result<(), PlanError> {
    let args = [fd.into(), REGISTER_ENABLE_RINGS, 0, 0];
    let what = "cannot enable a ring for its only issuer";
    // CAST: a small number.
    let op = Op::values(SYS_IO_URING_REGISTER as u32, &args, what);
    sink.push(Op {
        expect: Expect::Exactly(0),
        ..op
    })
}

/// Where a frozen thread is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// At the boundary to user mode, like all threads that do not use `io_uring`.
    Boundary,
    /// In `io_uring_enter`, where it only waits for events: the call can be made again.
    Waits,
    /// In a call of `io_uring` that has begun something.
    Busy,
}

/// Where a frozen thread is, by the number of its system call, its result so far, and the second argument.
///
/// `io_uring` runs the works of a task, and so the one that parks it, also while it waits inside of a call; the result
/// is then still what the entry to the kernel has put there.
pub const fn place(orig_ax: i64, ax: i64, to_submit: u64) -> Place {
    match (orig_ax, ax) {
        // CAST: the argument has 32 bits.
        (SYS_IO_URING_ENTER, ENOSYS) if to_submit as u32 == 0 => Place::Waits,
        (SYS_IO_URING_ENTER | SYS_IO_URING_REGISTER, ENOSYS) => Place::Busy,
        _ => Place::Boundary,
    }
}

/// Does the memory that is mapped of a ring show all of it? `areas` are pairs of offset and length, `pages` those of the
/// rings and of the submission entries.
pub fn is_mapped(areas: impl Iterator<Item = (u64, u64)> + Clone, pages: (u32, u32)) -> bool {
    let covers = |offsets: [u64; 2], pages: u32| {
        let len = u64::from(pages).saturating_mul(crate::memory::PAGE);
        areas
            .clone()
            .any(|(at, n)| offsets.contains(&at) && n >= len)
    };
    use cr_format::{RING_OFFSET_CQ, RING_OFFSET_SQ, RING_OFFSET_SQES};
    covers([RING_OFFSET_SQ, RING_OFFSET_CQ], pages.0) && covers([RING_OFFSET_SQES; 2], pages.1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::Collect;
    use std::vec::Vec;

    fn ring(cq_entries: u64, flags: u64, submitter: u64) -> RingRecord {
        RingRecord {
            id: 1,
            file: 1,
            sq_entries: 64,
            cq_entries,
            flags,
            submitter,
            ..RingRecord::default()
        }
    }

    fn words(p: &[u8; PARAMS]) -> Vec<u32> {
        p.chunks(4)
            .map(|w| u32::from_le_bytes(w.try_into().unwrap()))
            .collect()
    }

    #[test]
    fn a_ring_is_made_with_its_flags_and_with_what_they_do_not_say() {
        assert_eq!(words(&params(&ring(128, 0x10, 0)))[..4], [0, 128, 0x10, 0]);
        assert_eq!(words(&params(&ring(64, 0, 0)))[2], 8, "CQSIZE");
        let single = 1 << 12 | 1 << 13;
        assert_eq!(words(&params(&ring(128, single, 7)))[2], 0x3040);
        assert_eq!(words(&params(&ring(128, single | 0x40, 0)))[2], 0x3040);
    }

    #[test]
    fn polling_threads_memory_of_the_program_and_unknown_flags_are_refused() {
        assert_eq!(flags(0), Ok(0));
        assert_eq!(flags(0x20 | 0x10), Ok(0x10), "ATTACH_WQ means nothing");
        for (bits, word) in [
            (0x2, "SQPOLL"),
            (0x6, "SQPOLL"),
            (0x4000, "NO_MMAP"),
            (0x8000, "NO_MMAP"),
            (1 << 21, "flags"),
        ] {
            let trouble = flags(bits).unwrap_err();
            assert!(trouble.reason.contains(word), "{bits:#x}: {trouble:?}");
        }
    }

    #[test]
    fn an_index_is_registered_and_an_issuer_enables() {
        let mut c = Collect::default();
        let r = RegisteredRingRecord {
            id: 1,
            tid: 5,
            index: 3,
            file: 2,
        };
        register(&r, 9, &mut c).unwrap();
        enable(9, &mut c).unwrap();
        assert_eq!(c.numbers(), [427, 427]);
        assert_eq!(
            c.ops[0].data[..],
            [3, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0]
        );
        assert_eq!(c.ops[0].expect, Expect::Exactly(1));
        assert_eq!(c.ops[1].args[1], Arg::Value(12));
        for (asynchronous, how) in [(0, 4), (1, 7)] {
            let mut c = Collect::default();
            let r = RingEventfdRecord {
                fd: 12,
                asynchronous,
                ..RingEventfdRecord::default()
            };
            tell(&r, 9, &mut c).unwrap();
            assert_eq!(c.ops[0].args[..2], [Arg::Value(9), Arg::Value(how)]);
            assert_eq!(c.ops[0].data[..], [12, 0, 0, 0]);
        }
        assert!(has_issuer(1 << 12) && !has_issuer(1 << 12 | 1 << 6) && !has_issuer(0));
    }

    #[test]
    fn a_thread_inside_of_a_call_is_not_at_the_boundary() {
        assert_eq!(place(426, -38, 0), Place::Waits);
        assert_eq!(place(426, -38, 1 << 32), Place::Waits, "32 bits count");
        assert_eq!(place(426, -38, 3), Place::Busy);
        assert_eq!(place(427, -38, 0), Place::Busy);
        assert_eq!(place(426, 0, 0), Place::Boundary, "it has its result");
        assert_eq!(place(426, -4, 3), Place::Boundary);
        assert_eq!(place(-1, -38, 0), Place::Boundary, "in no call");
    }

    #[test]
    fn all_of_a_ring_must_be_mapped() {
        let of = |areas: &[(u64, u64)]| is_mapped(areas.iter().copied(), (2, 1));
        assert!(of(&[(0, 0x2000), (0x1000_0000, 0x1000)]));
        assert!(of(&[(0x800_0000, 0x2000), (0x1000_0000, 0x2000)]));
        assert!(!of(&[
            (0, 0x1000),
            (0x800_0000, 0x1000),
            (0x1000_0000, 0x1000)
        ]));
        assert!(!of(&[(0, 0x2000)]) && !of(&[(0x1000_0000, 0x1000)]) && !of(&[]));
    }

    #[test]
    fn every_thing_that_can_be_registered_has_one_bit() {
        let bits: Vec<u32> = REGISTERED.iter().map(|r| r.0).collect();
        assert!(bits.iter().enumerate().all(|(i, b)| *b == 1 << i));
    }
}
