// SPDX-License-Identifier: GPL-2.0
//! Owners of open files: whether one can be kept, when it is set again, and the calls for it.

use crate::{
    files::{flag::O_ASYNC, Trouble},
    plan::{Arg, Op, OpSink, PlanError},
};
use cr_format::OwnerRecord;

const SYS_FCNTL: u32 = 72;
const F_SETFL: u64 = 4;
const F_SETSIG: u64 = 10;
const F_SETOWN_EX: u64 = 15;

/// Real and effective user id. The kernel remembers those of whoever sets an owner, and signals with these rights.
pub type User = (u64, u64);

/// When the owner can be set so that the kernel remembers the recorded user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// While the process still has the credentials of whoever restarts it.
    Before,
    /// When it has its own.
    After,
}

/// When to set an owner that `user` had set; `None` when it cannot be done.
pub fn when(user: User, caller: User, process: User) -> Option<When> {
    match user {
        _ if user == process => Some(When::After),
        _ if user == caller => Some(When::Before),
        _ => None,
    }
}

/// Why an owner would be lost: `known` says that it is nobody or part of the checkpoint, `user` has set it.
pub fn trouble(known: bool, user: User, process: User) -> Option<Trouble> {
    if !known {
        return Some(Trouble {
            reason: "it signals somebody who is not part of the checkpoint",
            remedy: "have the program take the owner away first: fcntl(F_SETOWN, 0)",
        });
    }
    // Whoever restarts is root or the user of the process.
    (user != process && user != (0, 0)).then_some(Trouble {
        reason: "its owner was set with the rights of another user",
        remedy: "have the program set the owner again",
    })
}

/// The calls that set the owner of descriptor `fd` and its signal; `pid` is the owner's present id.
///
/// # Errors
/// `NoMemory` of the sink.
pub fn set(o: &OwnerRecord, pid: u32, fd: u32, sink: &mut dyn OpSink) -> Result<(), PlanError> {
    const WHAT: &str = "the owner of an open file cannot be set (F_SETOWN_EX)";
    let kind = u32::try_from(o.kind).map_err(|_| PlanError::Impossible("kind of an owner"))?;
    // struct f_owner_ex: int type, pid_t pid.
    let mut owner = [0_u8; 8];
    for (to, from) in owner
        .iter_mut()
        .zip(kind.to_ne_bytes().into_iter().chain(pid.to_ne_bytes()))
    {
        *to = from;
    }
    let args = [Arg::Value(fd.into()), Arg::Value(F_SETOWN_EX), Arg::Data(0)];
    sink.push(Op::with_data(SYS_FCNTL, &args, &owner, WHAT))?;
    if o.signo != 0 {
        const WHAT: &str = "the signal of an open file cannot be set (F_SETSIG)";
        sink.push(Op::values(SYS_FCNTL, &[fd.into(), F_SETSIG, o.signo], WHAT))?;
    }
    Ok(())
}

/// The call that lets descriptor `fd`, which has `flags` now, signal from now on.
///
/// # Errors
/// `NoMemory` of the sink.
pub fn enable(fd: u32, flags: u32, sink: &mut dyn OpSink) -> Result<(), PlanError> {
    const WHAT: &str = "signals of an open file cannot be switched on (O_ASYNC)";
    sink.push(Op::values(
        SYS_FCNTL,
        &[fd.into(), F_SETFL, (flags | O_ASYNC).into()],
        WHAT,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::Collect;
    use std::vec;

    #[test]
    fn an_owner_is_set_by_whoever_had_set_it() {
        let (root, user, other) = ((0, 0), (1000, 1000), (7, 7));
        assert_eq!(when(user, root, user), Some(When::After));
        assert_eq!(when(root, root, user), Some(When::Before));
        assert_eq!(when(root, root, root), Some(When::After));
        assert_eq!(when(root, user, user), None);
        assert_eq!(when(other, root, user), None);
        assert_eq!(when((1000, 0), root, (1000, 0)), Some(When::After));
    }

    #[test]
    fn strangers_and_other_users_are_named() {
        let user = (1000, 1000);
        assert_eq!(trouble(true, user, user), None);
        assert_eq!(trouble(true, (0, 0), user), None);
        assert!(trouble(true, (1000, 0), user).is_some());
        assert!(trouble(false, user, user).is_some_and(|t| t.reason.contains("not part")));
    }

    #[test]
    fn owner_and_signal_are_set_and_flags_stay() {
        let o = OwnerRecord {
            id: 1,
            file: 3,
            kind: 2,
            pid: 50,
            signo: 40,
            enabled: 1,
            uid: 0,
            euid: 0,
        };
        let mut sink = Collect::default();
        set(&o, 51, 9, &mut sink).unwrap();
        enable(9, 0o4002, &mut sink).unwrap();
        assert_eq!(sink.numbers(), [72, 72, 72]);
        assert_eq!(sink.ops[0].data, vec![2, 0, 0, 0, 51, 0, 0, 0]);
        assert_eq!(
            sink.ops[1].args[..3],
            [Arg::Value(9), Arg::Value(10), Arg::Value(40)]
        );
        assert_eq!(
            sink.ops[2].args[..3],
            [Arg::Value(9), Arg::Value(4), Arg::Value(0o24002)]
        );
        let mut sink = Collect::default();
        set(&OwnerRecord { signo: 0, ..o }, 0, 9, &mut sink).unwrap();
        assert_eq!(sink.ops.len(), 1);
    }
}
