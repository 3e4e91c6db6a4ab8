// SPDX-License-Identifier: GPL-2.0
//! Locks on files: which can be taken again through which file, and the calls for it.

use crate::{
    files::is_writable,
    plan::{Arg, Op, OpSink, PlanError},
};
use cr_format::{LockRecord, LOCK_FLOCK, LOCK_OFD};

const SYS_FCNTL: u32 = 72;
const SYS_FLOCK: u32 = 73;
const F_SETLK: u64 = 6;
const F_OFD_SETLK: u64 = 37;
const LOCK_SH: u64 = 1;
const LOCK_EX: u64 = 2;
const LOCK_NB: u64 = 4;
/// Last byte of a lock that reaches to the end of the file: `OFFSET_MAX`.
const OFFSET_MAX: u64 = i64::MAX as u64;

/// Can a record lock be taken through an open file with these flags? (`do_fcntl_add_lock`: a shared lock needs
/// read access, an exclusive one write access.)
pub fn suits(flags: u32, exclusive: bool) -> bool {
    let writes = is_writable(flags);
    let reads = flags & 3 != 1;
    if exclusive {
        writes
    } else {
        reads
    }
}

/// Length as `fcntl` has it, of a lock whose last byte is `last`.
pub fn len(start: u64, last: u64) -> Option<u64> {
    if last == OFFSET_MAX {
        return Some(0);
    }
    last.checked_sub(start)?.checked_add(1)
}

/// The call that takes a lock again through descriptor `fd`; it does not wait.
///
/// # Errors
/// `NoMemory` of the sink.
pub fn plan(l: &LockRecord, fd: u32, sink: &mut dyn OpSink) -> Result<(), PlanError> {
    const WHAT: &str = "cannot take a file lock again: another process holds it (see /proc/locks)";
    if l.kind == LOCK_FLOCK {
        let how = if l.exclusive != 0 { LOCK_EX } else { LOCK_SH };
        return sink.push(Op::values(SYS_FLOCK, &[fd.into(), how | LOCK_NB], WHAT));
    }
    // struct flock: l_type, l_whence (16 bits each), padding, l_start, l_len, l_pid.
    let mut data = [0_u8; 32];
    let kind = u64::from(l.exclusive != 0);
    for (to, word) in data.chunks_exact_mut(8).zip([kind, l.start, l.len, 0]) {
        to.copy_from_slice(&word.to_le_bytes());
    }
    let command = if l.kind == LOCK_OFD {
        F_OFD_SETLK
    } else {
        F_SETLK
    };
    let args = [Arg::Value(fd.into()), Arg::Value(command), Arg::Data(0)];
    sink.push(Op::with_data(SYS_FCNTL, &args, &data, WHAT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::Collect;

    #[test]
    fn a_lock_needs_its_access() {
        assert!(suits(0, false) && !suits(0, true), "read only");
        assert!(!suits(1, false) && suits(1, true), "write only");
        assert!(suits(2, false) && suits(2, true));
    }

    #[test]
    fn a_lock_to_the_end_has_length_zero() {
        assert_eq!(len(5, OFFSET_MAX), Some(0));
        assert_eq!(len(5, 5), Some(1));
        assert_eq!(len(6, 4), None);
    }

    #[test]
    fn calls_do_not_wait() {
        let lock = |kind, exclusive| LockRecord {
            id: 1,
            file: 1,
            kind,
            exclusive,
            start: 5,
            len: 7,
        };
        let mut c = Collect::default();
        plan(&lock(0, 1), 9, &mut c).unwrap();
        plan(&lock(1, 0), 9, &mut c).unwrap();
        plan(&lock(2, 0), 9, &mut c).unwrap();
        assert_eq!(c.numbers(), [SYS_FCNTL, SYS_FCNTL, SYS_FLOCK]);
        assert_eq!(c.ops[0].args[1], Arg::Value(F_SETLK));
        assert_eq!(
            c.ops[0].data[..24],
            [1_u64, 5, 7].map(u64::to_le_bytes).concat()
        );
        assert_eq!(c.ops[1].args[1], Arg::Value(F_OFD_SETLK));
        assert_eq!(c.ops[2].args[1], Arg::Value(LOCK_SH | LOCK_NB));
    }
}
