// SPDX-License-Identifier: GPL-2.0
//! Running a plan: a list of system calls with expectations, made in advance by `cr_logic`.

use crate::{
    context::Restart,
    extension::{At, Next, Syscall},
};
use cr_logic::plan::{Arg, Expect, Op, OpSink, PlanError};
use kernel::prelude::*;

/// A list of operations in kernel memory.
#[derive(Default)]
pub struct Plan {
    ops: KVVec<OwnedOp>,
}

struct OwnedOp {
    nr: u32,
    args: [Arg; 6],
    expect: Expect,
    what: &'static str,
    data: KVec<u8>,
}

impl Plan {
    /// An empty plan.
    pub const fn new() -> Self {
        Self { ops: KVVec::new() }
    }

    /// Number of operations.
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Nothing to do?
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// What operation `at.step - 1` was for, if its result did not meet its expectation: for extensions that
    /// explain some failures better than [`Plan::step`] does.
    pub fn failed(&self, at: At) -> Option<&'static str> {
        let op = (at.step as usize).checked_sub(1).and_then(|i| self.ops.get(i))?;
        (!op.expect.is_met(at.prev)).then_some(op.what)
    }

    /// The step function of an extension whose phase is just this plan: checks the result of
    /// operation `at.step - 1`, prepares operation `at.step`.
    ///
    /// # Errors
    /// The errno of a system call that did not meet its expectation; explained in the report.
    pub fn step(&self, cx: &Restart<'_>, word: &str, at: At) -> Result<Next> {
        if let Some(op) = (at.step as usize).checked_sub(1).and_then(|i| self.ops.get(i)) {
            if !op.expect.is_met(at.prev) {
                let e = if (-4095..0).contains(&at.prev) { Error::from_errno(at.prev as i32) } else { EPROTO };
                return Err(cx.fail(
                    e,
                    word,
                    "",
                    op.what.as_bytes(),
                    "the system call was made with the rights of the caller of the restart",
                ));
            }
        }
        let Some(op) = self.ops.get(at.step as usize) else { return Ok(Next::Done) };
        let base = if op.data.is_empty() { cx.scratch(at.task).0 } else { cx.to_scratch(at.task, 0, &op.data)? };
        let mut args = [0u64; 6];
        for (to, from) in args.iter_mut().zip(op.args) {
            *to = match from {
                Arg::Value(v) => v,
                Arg::Data(offset) => base.checked_add(offset.into()).ok_or(EOVERFLOW)?,
            };
        }
        Ok(Next::Call(Syscall { nr: op.nr, args }))
    }
}

impl OpSink for Plan {
    fn push(&mut self, op: Op<'_>) -> core::result::Result<(), PlanError> {
        let mut data = KVec::new();
        data.extend_from_slice(op.data, GFP_KERNEL).map_err(|_| PlanError::NoMemory)?;
        let op = OwnedOp { nr: op.nr, args: op.args, expect: op.expect, what: op.what, data };
        self.ops.push(op, GFP_KERNEL).map_err(|_| PlanError::NoMemory)
    }
}
