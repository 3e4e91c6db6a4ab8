// SPDX-License-Identifier: GPL-2.0
//! Signal state, judged: which handlers, masks and pending signals a restarted thread may have, and the
//! system calls that put them back.

use crate::plan::{Arg, Expect, Op, OpSink, PlanError};
use cr_format::{ActionRecord, PendingRecord, TaskSignalsRecord};

/// Highest signal number.
pub const SIGNALS: u32 = 64;
/// SIGKILL and SIGSTOP: can be neither blocked nor handled nor wait in an image.
pub const UNBLOCKABLE: u64 = (1 << (9 - 1)) | (1 << (19 - 1));
/// Bytes of a `siginfo_t`.
pub const SIGINFO: usize = 128;

/// What a program may set in `sa_flags` (`UAPI_SA_FLAGS` of linux/signal_types.h, with `SA_RESTORER`).
const SA_FLAGS: u64 =
    0x1 | 0x2 | 0x4 | 0x800 | 0x0400_0000 | 0x0800_0000 | 0x1000_0000 | 0x4000_0000 | 0x8000_0000;

/// `SS_DISABLE`: no alternate stack.
pub const SS_DISABLE: u64 = 2;
/// `SS_AUTODISARM`, and the modes 0 and `SS_ONSTACK`.
const SS_FLAGS: u64 = 0x8000_0000 | 1 | SS_DISABLE;

const SYS_SIGALTSTACK: u32 = 131;
const SYS_RT_SIGQUEUEINFO: u32 = 129;
const SYS_RT_TGSIGQUEUEINFO: u32 = 297;

/// One signal action, in the widths of the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Action {
    /// Handler address, 0 the default, 1 ignore.
    pub handler: u64,
    /// `SA_*`.
    pub flags: u64,
    /// Restorer address.
    pub restorer: u64,
    /// Signals blocked while the handler runs.
    pub mask: u64,
}

/// Checks a recorded action; the same cleaning as `sigaction(2)`.
///
/// # Errors
/// What is wrong, for people.
pub fn action(r: &ActionRecord) -> Result<Action, &'static str> {
    if r.signo == 0 || r.signo > u64::from(SIGNALS) {
        return Err("a signal number is out of range");
    }
    if is_unblockable(r.signo) {
        return Err("SIGKILL and SIGSTOP cannot have handlers");
    }
    if r.handler >= crate::tasks::TASK_SIZE_MAX || r.restorer >= crate::tasks::TASK_SIZE_MAX {
        return Err("a signal handler is outside user space");
    }
    Ok(Action {
        handler: r.handler,
        flags: r.flags & SA_FLAGS,
        restorer: r.restorer,
        mask: r.mask & !UNBLOCKABLE,
    })
}

/// Does the kernel refuse to block or handle this signal?
pub fn is_unblockable(signo: u64) -> bool {
    signo
        .checked_sub(1)
        .and_then(|bit| u32::try_from(bit).ok())
        .and_then(|bit| 1u64.checked_shl(bit))
        .is_some_and(|b| b & UNBLOCKABLE != 0)
}

/// The masks of a thread: the one in force and, inside `sigsuspend` and the like, the one to go back to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Masks {
    /// Blocked now.
    pub blocked: u64,
    /// Blocked after the system call.
    pub saved: Option<u64>,
}

/// The masks of a record, without what cannot be blocked.
pub fn masks(r: &TaskSignalsRecord) -> Masks {
    Masks {
        blocked: r.blocked & !UNBLOCKABLE,
        saved: (r.has_saved != 0).then_some(r.saved_blocked & !UNBLOCKABLE),
    }
}

/// Sets the alternate stack. The leader drops one that it inherited, other threads begin without.
///
/// # Errors
/// `NoMemory` of the sink.
pub fn plan_altstack(
    r: &TaskSignalsRecord,
    leader: bool,
    sink: &mut dyn OpSink,
) -> Result<(), PlanError> {
    let disabled = r.altstack_size == 0 || r.altstack_flags & SS_DISABLE != 0;
    if disabled && !leader && r.altstack_flags & !SS_DISABLE == 0 {
        return Ok(());
    }
    let flags = if disabled {
        (r.altstack_flags & SS_FLAGS & !1) | SS_DISABLE
    } else {
        r.altstack_flags & SS_FLAGS
    };
    // stack_t: pointer, flags and padding, size.
    let mut stack = [0u8; 24];
    for (to, w) in stack
        .chunks_exact_mut(8)
        .zip([r.altstack_sp, flags, r.altstack_size])
    {
        to.copy_from_slice(&w.to_le_bytes());
    }
    sink.push(Op::with_data(
        SYS_SIGALTSTACK,
        &[Arg::Data(0), Arg::Value(0)],
        &stack,
        "cannot set the alternate signal stack",
    ))
}

/// Checks a pending signal.
///
/// # Errors
/// What is wrong, for people.
pub fn check_pending(r: &PendingRecord<'_>) -> Result<(), &'static str> {
    if r.signo == 0 || r.signo > u64::from(SIGNALS) {
        return Err("the number of a pending signal is out of range");
    }
    if is_unblockable(r.signo) {
        return Err("SIGKILL and SIGSTOP cannot wait");
    }
    if r.info.len() != SIGINFO {
        return Err("the siginfo of a pending signal does not have 128 bytes");
    }
    if si_signo(r.info).map(u64::from) != Some(r.signo) {
        return Err("the siginfo of a pending signal is that of another signal");
    }
    Ok(())
}

fn si_signo(info: &[u8]) -> Option<u32> {
    info.first_chunk::<4>().map(|b| u32::from_le_bytes(*b))
}

/// Queues a pending signal, as the thread it is for (or the leader, for the process) to itself: to
/// oneself any origin may be claimed.
///
/// # Errors
/// `NoMemory` of the sink.
pub fn plan_pending(
    r: &PendingRecord<'_>,
    tgid: u32,
    sink: &mut dyn OpSink,
) -> Result<(), PlanError> {
    let (nr, args): (u32, [Arg; 4]) = if r.tid == 0 {
        (
            SYS_RT_SIGQUEUEINFO,
            [
                Arg::Value(tgid.into()),
                Arg::Value(r.signo),
                Arg::Data(0),
                Arg::Value(0),
            ],
        )
    } else {
        (
            SYS_RT_TGSIGQUEUEINFO,
            [
                Arg::Value(tgid.into()),
                Arg::Value(r.tid),
                Arg::Value(r.signo),
                Arg::Data(0),
            ],
        )
    };
    let op = Op::with_data(nr, &args, r.info, "cannot queue a pending signal again");
    sink.push(Op {
        expect: Expect::Exactly(0),
        ..op
    })
}

/// `siginfo_t` of a signal that was pending without one: the queue was full when it was sent. The
/// kernel delivers it like this (`collect_signal`).
pub fn bare_siginfo(signo: u32) -> [u8; SIGINFO] {
    let mut out = [0u8; SIGINFO];
    for (to, from) in out.iter_mut().zip(signo.to_le_bytes()) {
        *to = from;
    }
    out
}

/// `siginfo_t` from the part that the kernel keeps; the rest of the 128 bytes is zero.
pub fn siginfo(kernel: &[u8]) -> [u8; SIGINFO] {
    let mut out = [0u8; SIGINFO];
    for (to, from) in out.iter_mut().zip(kernel) {
        *to = *from;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::Collect;

    fn usr1() -> ActionRecord {
        ActionRecord {
            id: 10,
            signo: 10,
            handler: 0x40_0000,
            flags: 0x0400_0004,
            restorer: 0x40_1000,
            mask: 0,
        }
    }

    #[test]
    fn actions_are_cleaned_as_sigaction_does() {
        let a = action(&ActionRecord {
            flags: u64::MAX,
            mask: u64::MAX,
            ..usr1()
        });
        assert_eq!(a.map(|a| a.mask), Ok(!UNBLOCKABLE));
        assert_eq!(
            a.map(|a| a.flags & 0x0080_0000),
            Ok(0),
            "SA_IMMUTABLE is the kernel's own"
        );
        assert_eq!(a.map(|a| a.flags >> 32), Ok(0));
        for (bad, what) in [
            (ActionRecord { signo: 0, ..usr1() }, "zero"),
            (
                ActionRecord {
                    signo: 65,
                    ..usr1()
                },
                "behind the last",
            ),
            (ActionRecord { signo: 9, ..usr1() }, "SIGKILL"),
            (
                ActionRecord {
                    signo: 19,
                    ..usr1()
                },
                "SIGSTOP",
            ),
            (
                ActionRecord {
                    handler: 1 << 47,
                    ..usr1()
                },
                "kernel handler",
            ),
            (
                ActionRecord {
                    restorer: u64::MAX,
                    ..usr1()
                },
                "kernel restorer",
            ),
        ] {
            assert!(action(&bad).is_err(), "{what}");
        }
        assert!(action(&ActionRecord {
            signo: 64,
            handler: 1,
            ..usr1()
        })
        .is_ok());
    }

    #[test]
    fn kill_and_stop_cannot_be_blocked() {
        let r = TaskSignalsRecord {
            blocked: u64::MAX,
            saved_blocked: u64::MAX,
            has_saved: 1,
            ..Default::default()
        };
        assert_eq!(
            masks(&r),
            Masks {
                blocked: !UNBLOCKABLE,
                saved: Some(!UNBLOCKABLE)
            }
        );
        assert_eq!(
            masks(&TaskSignalsRecord {
                saved_blocked: 5,
                ..Default::default()
            })
            .saved,
            None
        );
    }

    #[test]
    fn the_leader_drops_an_inherited_stack() {
        let none = TaskSignalsRecord {
            altstack_flags: SS_DISABLE,
            ..Default::default()
        };
        let mut c = Collect::default();
        plan_altstack(&none, false, &mut c).unwrap();
        assert!(c.ops.is_empty());
        plan_altstack(&none, true, &mut c).unwrap();
        assert_eq!(c.numbers(), [SYS_SIGALTSTACK]);
        assert_eq!(c.ops[0].data[8], 2, "SS_DISABLE");
        let some = TaskSignalsRecord {
            altstack_sp: 0x1000,
            altstack_size: 8192,
            ..Default::default()
        };
        plan_altstack(&some, false, &mut c).unwrap();
        assert_eq!(c.ops[1].data[..2], [0, 0x10]);
        assert_eq!(c.ops[1].data[8], 0);
        assert_eq!(c.ops[1].data[16..18], [0, 0x20]);
    }

    #[test]
    fn pending_signals_are_checked_and_sent_to_oneself() {
        let info = bare_siginfo(34);
        let r = PendingRecord {
            id: 1,
            tid: 0,
            signo: 34,
            info: &info,
        };
        assert!(check_pending(&r).is_ok());
        assert!(
            check_pending(&PendingRecord { signo: 35, ..r }).is_err(),
            "another signal"
        );
        assert!(check_pending(&PendingRecord {
            info: &info[..127],
            ..r
        })
        .is_err());
        let kill = bare_siginfo(9);
        assert!(check_pending(&PendingRecord {
            signo: 9,
            info: &kill,
            ..r
        })
        .is_err());
        let mut c = Collect::default();
        plan_pending(&r, 100, &mut c).unwrap();
        plan_pending(&PendingRecord { tid: 101, ..r }, 100, &mut c).unwrap();
        assert_eq!(c.numbers(), [SYS_RT_SIGQUEUEINFO, SYS_RT_TGSIGQUEUEINFO]);
        assert_eq!(
            c.ops[0].args[..3],
            [Arg::Value(100), Arg::Value(34), Arg::Data(0)]
        );
        assert_eq!(
            c.ops[1].args[..4],
            [
                Arg::Value(100),
                Arg::Value(101),
                Arg::Value(34),
                Arg::Data(0)
            ]
        );
    }
}
