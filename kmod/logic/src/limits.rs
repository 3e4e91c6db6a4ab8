// SPDX-License-Identifier: GPL-2.0
//! Resource limits: which of them a restart has to set.

use crate::plan::{Arg, Op, OpSink, PlanError};
use cr_format::LimitRecord;

/// Number of resources (`RLIM_NLIMITS`).
pub const RESOURCES: usize = 16;

const SYS_PRLIMIT64: u32 = 302;

/// One limit: soft and hard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limit {
    /// What the kernel enforces.
    pub soft: u64,
    /// Up to where the soft limit may be raised.
    pub hard: u64,
}

/// For the user, when a limit cannot be set: raising a hard limit needs `CAP_SYS_RESOURCE`.
const WHAT: [&str; RESOURCES] = [
    "cannot set the limit on CPU time (RLIMIT_CPU)",
    "cannot set the limit on file size (RLIMIT_FSIZE)",
    "cannot set the limit on data (RLIMIT_DATA)",
    "cannot set the limit on the stack (RLIMIT_STACK)",
    "cannot set the limit on core files (RLIMIT_CORE)",
    "cannot set the limit on resident memory (RLIMIT_RSS)",
    "cannot set the limit on processes (RLIMIT_NPROC)",
    "cannot set the limit on open files (RLIMIT_NOFILE)",
    "cannot set the limit on locked memory (RLIMIT_MEMLOCK)",
    "cannot set the limit on address space (RLIMIT_AS)",
    "cannot set the limit on file locks (RLIMIT_LOCKS)",
    "cannot set the limit on queued signals (RLIMIT_SIGPENDING)",
    "cannot set the limit on message queues (RLIMIT_MSGQUEUE)",
    "cannot set the limit on the nice value (RLIMIT_NICE)",
    "cannot set the limit on real-time priority (RLIMIT_RTPRIO)",
    "cannot set the limit on real-time CPU time (RLIMIT_RTTIME)",
];

/// Checks the recorded limits and sorts them by resource.
///
/// # Errors
/// What is wrong, for people.
pub fn wanted(
    records: impl Iterator<Item = LimitRecord>,
) -> Result<[Limit; RESOURCES], &'static str> {
    let mut out: [Option<Limit>; RESOURCES] = [None; RESOURCES];
    for r in records {
        let place = usize::try_from(r.resource)
            .ok()
            .and_then(|i| out.get_mut(i))
            .ok_or("a resource number is out of range")?;
        if r.soft > r.hard {
            return Err("a soft limit is above its hard limit");
        }
        if place
            .replace(Limit {
                soft: r.soft,
                hard: r.hard,
            })
            .is_some()
        {
            return Err("a limit is there twice");
        }
    }
    let mut all = [Limit::default(); RESOURCES];
    for (to, from) in all.iter_mut().zip(out) {
        *to = from.ok_or("a limit is missing")?;
    }
    Ok(all)
}

/// Sets the limits that differ.
///
/// # Errors
/// `NoMemory` of the sink.
pub fn plan(
    current: &[Limit; RESOURCES],
    wanted: &[Limit; RESOURCES],
    sink: &mut dyn OpSink,
) -> Result<(), PlanError> {
    for (resource, ((now, then), what)) in (0u64..).zip(current.iter().zip(wanted).zip(WHAT)) {
        if now == then {
            continue;
        }
        let mut data = [0u8; 16];
        for (to, w) in data.chunks_exact_mut(8).zip([then.soft, then.hard]) {
            to.copy_from_slice(&w.to_le_bytes());
        }
        let args = [
            Arg::Value(0),
            Arg::Value(resource),
            Arg::Data(0),
            Arg::Value(0),
        ];
        sink.push(Op::with_data(SYS_PRLIMIT64, &args, &data, what))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::Collect;

    fn all() -> impl Iterator<Item = LimitRecord> {
        (0..16).map(|resource| LimitRecord {
            id: resource as u32 + 1,
            resource,
            soft: resource,
            hard: u64::MAX,
        })
    }

    #[test]
    fn every_limit_must_be_there_once() {
        assert!(wanted(all()).is_ok());
        assert_eq!(wanted(all().skip(1)), Err("a limit is missing"));
        assert_eq!(
            wanted(all().chain(all().take(1))),
            Err("a limit is there twice")
        );
        let bad = LimitRecord {
            id: 17,
            resource: 16,
            soft: 0,
            hard: 0,
        };
        assert!(wanted(all().chain([bad])).is_err());
        assert!(
            wanted(all().map(|l| LimitRecord { hard: 3, ..l })).is_err(),
            "soft above hard"
        );
    }

    #[test]
    fn only_what_differs_is_set() {
        let want = wanted(all()).unwrap();
        let mut now = want;
        let mut c = Collect::default();
        plan(&now, &want, &mut c).unwrap();
        assert!(c.ops.is_empty());
        now[7].soft = 1024;
        plan(&now, &want, &mut c).unwrap();
        assert_eq!(c.numbers(), [SYS_PRLIMIT64]);
        assert_eq!(c.ops[0].args[1], Arg::Value(7));
        assert_eq!(
            c.ops[0].data,
            [7, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255]
        );
    }
}
