// SPDX-License-Identifier: GPL-2.0
//! Plans: lists of system calls that bring the restarted task into the recorded state.
//!
//! A restart never writes kernel structures where a system call exists: the task itself makes the call
//! with the rights of whoever asked for the restart, so the kernel's own checks apply. A planner turns
//! records (and facts about the present) into [`Op`]s; the module runs them one by one.

/// One argument of a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arg {
    /// A number.
    Value(u64),
    /// The user address of the op's data, plus this offset in bytes.
    Data(u32),
}

/// Which results are good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Not an errno.
    Success,
    /// Exactly this.
    Exactly(i64),
    /// Success, or exactly this errno (negative).
    SuccessOr(i64),
    /// Anything, for calls that only try.
    Any,
}

impl Expect {
    /// Does `result` meet the expectation?
    pub fn is_met(self, result: i64) -> bool {
        match self {
            Expect::Success => !(-4095..0).contains(&result),
            Expect::Exactly(v) => result == v,
            Expect::SuccessOr(e) => result == e || Expect::Success.is_met(result),
            Expect::Any => true,
        }
    }
}

/// One system call of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Op<'a> {
    /// System call number (x86-64).
    pub nr: u32,
    /// Arguments.
    pub args: [Arg; 6],
    /// Bytes that must be in user memory during the call, at most 4096.
    pub data: &'a [u8],
    /// Which results are good.
    pub expect: Expect,
    /// For the user, when it fails: "cannot set the CPU affinity".
    pub what: &'static str,
}

impl<'a> Op<'a> {
    /// A call with plain numbers that must succeed; missing arguments are 0.
    pub fn values(nr: u32, args: &[u64], what: &'static str) -> Self {
        let mut a = [Arg::Value(0); 6];
        for (to, from) in a.iter_mut().zip(args) {
            *to = Arg::Value(*from);
        }
        Op {
            nr,
            args: a,
            data: &[],
            expect: Expect::Success,
            what,
        }
    }

    /// A call with data; the arguments say where its address goes.
    pub fn with_data(nr: u32, args: &[Arg], data: &'a [u8], what: &'static str) -> Self {
        let mut a = [Arg::Value(0); 6];
        for (to, from) in a.iter_mut().zip(args) {
            *to = *from;
        }
        Op {
            nr,
            args: a,
            data,
            expect: Expect::Success,
            what,
        }
    }
}

/// Why a plan could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanError {
    /// The sink is out of memory.
    NoMemory,
    /// The record asks for something that cannot be done; the text says what.
    Impossible(&'static str),
}

/// Where a planner puts its operations.
pub trait OpSink {
    /// Appends one operation; copies its data.
    ///
    /// # Errors
    /// [`PlanError::NoMemory`].
    fn push(&mut self, op: Op<'_>) -> Result<(), PlanError>;
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::vec::Vec;

    /// An operation with its data, for tests of planners.
    pub(crate) struct Collected {
        pub(crate) nr: u32,
        pub(crate) args: [Arg; 6],
        pub(crate) data: Vec<u8>,
        pub(crate) expect: Expect,
    }

    /// A sink that keeps everything.
    #[derive(Default)]
    pub(crate) struct Collect {
        pub(crate) ops: Vec<Collected>,
    }

    impl Collect {
        /// The system call numbers, in order.
        pub(crate) fn numbers(&self) -> Vec<u32> {
            self.ops.iter().map(|o| o.nr).collect()
        }
    }

    impl OpSink for Collect {
        fn push(&mut self, op: Op<'_>) -> Result<(), PlanError> {
            self.ops.push(Collected {
                nr: op.nr,
                args: op.args,
                data: op.data.to_vec(),
                expect: op.expect,
            });
            Ok(())
        }
    }

    #[test]
    fn errnos_are_no_success_and_addresses_are() {
        assert!(!Expect::Success.is_met(-1));
        assert!(!Expect::Success.is_met(-4095));
        assert!(Expect::Success.is_met(-4096));
        assert!(Expect::Success.is_met(0));
        assert!(Expect::Exactly(7).is_met(7));
        assert!(!Expect::Exactly(7).is_met(0));
    }
}
