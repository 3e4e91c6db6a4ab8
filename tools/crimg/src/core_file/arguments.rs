// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Where arguments and environment are: found on the stack, at the copy of the auxiliary vector that the kernel
//! put behind the pointers to them.

use super::read::Core;
use crate::elf::{u64_at, Source};
use cr_format::limits;

const AT_RANDOM: u64 = 25;
const AT_EXECFN: u64 = 31;
/// Bytes below the top of the stack that are searched; the pointers of 2 MiB of arguments are in them.
const SEARCHED: u64 = 4 << 20;

/// Addresses as in the `mm` record; what is not known is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arguments {
    pub start_stack: u64,
    pub arg_start: u64,
    pub arg_end: u64,
    pub env_start: u64,
    pub env_end: u64,
}

/// Looks for them.
pub fn find(core: &Core, source: &dyn Source) -> Arguments {
    search(core, source).unwrap_or_default()
}

fn search(core: &Core, source: &dyn Source) -> Option<Arguments> {
    let anchor = core.auxv(AT_EXECFN).or_else(|| core.auxv(AT_RANDOM))?;
    let after = core.loads.partition_point(|l| l.start <= anchor);
    let stack = core.loads.get(after.checked_sub(1)?)?;
    if anchor >= stack.end {
        return None;
    }
    let from = stack.end.saturating_sub(SEARCHED).max(stack.start);
    let bytes = core.memory(source, from, SEARCHED)?;
    let words: Vec<u64> = bytes.chunks_exact(8).filter_map(|w| u64_at(w, 0)).collect();
    let vector = core.auxv.get(..core.auxv.len().min(8))?;
    let found =
        (!vector.is_empty()).then(|| words.windows(vector.len()).rposition(|w| w == vector))??;
    // Back over the NULL, the environment, a NULL, the arguments, to their count.
    let env_null = found.checked_sub(1)?;
    if words.get(env_null) != Some(&0) {
        return None;
    }
    let arg_null = words.get(..env_null)?.iter().rposition(|w| *w == 0)?;
    let environment = words.get(arg_null.checked_add(1)?..env_null)?;
    let argc_at = (0..arg_null).rev().find(|n| {
        let count = arg_null.saturating_sub(*n).saturating_sub(1) as u64;
        words.get(*n) == Some(&count)
    })?;
    let arguments = words.get(argc_at.checked_add(1)?..arg_null)?;
    let top = core.auxv(AT_EXECFN).unwrap_or(anchor);
    let env_start = environment.first().copied().unwrap_or(top);
    let arg_start = arguments.first().copied().unwrap_or(env_start);
    let all = [arg_start, env_start, env_start, top];
    let sound = all.is_sorted() && arg_start >= stack.start && top <= stack.end;
    let argc_at = u64::try_from(argc_at).ok()?.checked_mul(8)?;
    sound.then_some(Arguments {
        start_stack: from.checked_add(argc_at)?,
        arg_start,
        arg_end: env_start,
        env_start,
        env_end: top,
    })
}

/// The argument vector as in `/proc/PID/cmdline`, cut to what the record takes.
pub fn text(core: &Core, source: &dyn Source, at: &Arguments) -> Vec<u8> {
    let len = at.arg_end.saturating_sub(at.arg_start).min(limits::PATH);
    let found = (len > 0).then(|| core.memory(source, at.arg_start, len));
    match found.flatten() {
        Some(bytes) => bytes,
        // 80 characters, with blanks between.
        None => core.args.clone(),
    }
}
