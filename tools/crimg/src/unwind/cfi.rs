// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! A step by the unwind tables of the program.

use super::{Registers, R12, RBP, RBX, RIP, RSP};
use crate::symbols::Symbolizer;
use gimli::{
    CfaRule, Encoding, EvaluationResult, RegisterRule, UnwindContext, UnwindExpression,
    UnwindSection, Value,
};

/// Operations of an expression, at most.
const OPERATIONS: u32 = 1000;

/// What the tables say.
pub enum Found {
    /// The registers of the caller.
    Caller(Box<Registers>),
    /// There is none.
    Outermost,
    /// They have nothing about this function, or nothing that can be used.
    Nothing,
}

/// The caller, as the tables of the program say.
pub fn step(symbols: &Symbolizer<'_, '_>, regs: &Registers, inside: u64) -> Found {
    try_step(symbols, regs, inside).unwrap_or(Found::Nothing)
}

fn try_step(symbols: &Symbolizer<'_, '_>, regs: &Registers, inside: u64) -> Option<Found> {
    let (binary, bias) = symbols.binary(inside)?;
    let cfi = binary.cfi()?;
    let address = inside.wrapping_sub(bias);
    let by_table = || {
        let header = cfi.header.as_ref()?.parse(&cfi.bases, 8).ok()?;
        let table = header.table()?;
        // gimli has this as one call, which overflows when the table points in front of what it is for.
        let found = table.lookup(address, &cfi.bases).ok()?.direct().ok()?;
        let first = header.eh_frame_ptr().direct().ok()?;
        let offset = usize::try_from(found.checked_sub(first)?).ok()?;
        let get = gimli::EhFrame::cie_from_offset;
        let fde = cfi.frames.fde_from_offset(&cfi.bases, offset.into(), get);
        fde.ok().filter(|fde| fde.contains(address))
    };
    let in_order = || {
        let get = gimli::EhFrame::cie_from_offset;
        cfi.frames.fde_for_address(&cfi.bases, address, get).ok()
    };
    let fde = by_table().or_else(in_order)?;
    let mut context = UnwindContext::new();
    let row = fde
        .unwind_info_for_address(&cfi.frames, &cfi.bases, &mut context, address)
        .ok()?;
    let unit = Unit {
        symbols,
        frames: &cfi.frames,
        encoding: fde.cie().encoding(),
        regs,
        bias,
    };
    let cfa = match *row.cfa() {
        CfaRule::RegisterAndOffset { register, offset } => {
            unit.register(register.0)?.wrapping_add_signed(offset)
        }
        CfaRule::Expression(e) => unit.evaluate(&e, None)?,
    };
    let mut next: Registers = [None; 17];
    for (n, to) in next.iter_mut().enumerate() {
        // CAST: below 17.
        *to = match row.register(gimli::Register(n as u16)) {
            Some(RegisterRule::Undefined) if n == RIP => return Some(Found::Outermost),
            Some(RegisterRule::Undefined) => None,
            Some(RegisterRule::SameValue) => unit.register(n as u16),
            Some(RegisterRule::Offset(at)) => unit.word(cfa.wrapping_add_signed(at)),
            Some(RegisterRule::ValOffset(at)) => Some(cfa.wrapping_add_signed(at)),
            Some(RegisterRule::Register(other)) => unit.register(other.0),
            Some(RegisterRule::Expression(e)) => {
                unit.evaluate(&e, Some(cfa)).and_then(|at| unit.word(at))
            }
            Some(RegisterRule::ValExpression(e)) => unit.evaluate(&e, Some(cfa)),
            Some(RegisterRule::Constant(value)) => Some(value),
            Some(_) => None,
            // The stack pointer of the caller is the CFA; what the convention makes the callee keep, it kept.
            None if n == RSP => Some(cfa),
            None if n == RBX || n == RBP || (R12..RIP).contains(&n) => unit.register(n as u16),
            None => None,
        };
    }
    next[RIP]?;
    Some(Found::Caller(Box::new(next)))
}

/// What expressions need.
struct Unit<'a, 'm, 'f> {
    symbols: &'a Symbolizer<'m, 'f>,
    frames: &'a gimli::EhFrame<super::super::symbols::Reading>,
    encoding: Encoding,
    regs: &'a Registers,
    bias: u64,
}

impl Unit<'_, '_, '_> {
    fn register(&self, n: u16) -> Option<u64> {
        self.regs.get(usize::from(n)).copied().flatten()
    }

    fn word(&self, address: u64) -> Option<u64> {
        self.symbols.memory().word(address).ok()?
    }

    /// The value of an expression that begins with `first` on its stack.
    fn evaluate(&self, expression: &UnwindExpression<usize>, first: Option<u64>) -> Option<u64> {
        let expression = expression.get(self.frames).ok()?;
        let mut run = expression.evaluation(self.encoding);
        run.set_max_iterations(OPERATIONS);
        if let Some(first) = first {
            run.set_initial_value(first);
        }
        let mut state = run.evaluate().ok()?;
        // Each round is at least one operation, and those are counted.
        loop {
            state = match state {
                EvaluationResult::Complete => break,
                EvaluationResult::RequiresMemory { address, size, .. } => {
                    let mut bytes = [0; 8];
                    let part = bytes.get_mut(..usize::from(size))?;
                    self.symbols.memory().read_exact(address, part).ok()??;
                    let value = Value::Generic(u64::from_le_bytes(bytes));
                    run.resume_with_memory(value).ok()?
                }
                EvaluationResult::RequiresRegister { register, .. } => {
                    let value = Value::Generic(self.register(register.0)?);
                    run.resume_with_register(value).ok()?
                }
                EvaluationResult::RequiresRelocatedAddress(at) => run
                    .resume_with_relocated_address(at.wrapping_add(self.bias))
                    .ok()?,
                _ => return None,
            };
        }
        if let Some(value) = run.value_result() {
            return value.to_u64(u64::MAX).ok();
        }
        match run.as_result().first()?.location {
            gimli::Location::Address { address } => Some(address),
            _ => None,
        }
    }
}
