// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Rules of section `seccomp`. A program is sound if seccomp(2) takes it: `bpf_check_classic` of `net/core/filter.c` and
//! `seccomp_check_filter` of `kernel/seccomp.c`.

use super::{each, ids, is_bool, known_records, MetaSet};
use crate::{
    error::{ensure, Error, Result},
    record::Record,
    sections::{
        ConfinedRecord, FilterRecord, TaskRecord, SECCOMP, SECCOMP_FILTER, SECCOMP_INSTRUCTION,
        SECCOMP_INSTRUCTIONS, SECCOMP_STRICT, TASKS,
    },
};

pub(super) fn check(set: &dyn MetaSet) -> Result {
    known_records(set, SECCOMP)?;
    let mut filters = 0_u32;
    each(set, |f: FilterRecord<'_>| {
        let is_known = f.under <= u64::from(filters);
        filters = filters.saturating_add(1);
        ensure(f.id == filters && is_known && is_bool(f.log), "SECCOMP-1")?;
        ensure(is_sound(f.program), "SECCOMP-2")
    })?;
    each(set, |c: ConfinedRecord| {
        let good = match c.mode {
            SECCOMP_STRICT => c.filter == 0,
            SECCOMP_FILTER => (1..=u64::from(filters)).contains(&c.filter),
            _ => false,
        };
        ensure(good, "SECCOMP-3")
    })?;
    let confined = ids::record_ids(SECCOMP, set.section(SECCOMP), ConfinedRecord::TYPE);
    let threads = ids::record_ids(TASKS, set.section(TASKS), TaskRecord::TYPE);
    let twice = ids::duplicate(confined.clone());
    match twice.or_else(|| ids::dangling(confined, threads)) {
        Some(at) => Err(Error::rule("SECCOMP-3").placed(SECCOMP, at)),
        None => Ok(()),
    }
}

/// One instruction: `struct sock_filter`.
#[derive(Clone, Copy)]
struct Instruction {
    code: u16,
    jt: u8,
    jf: u8,
    k: u32,
}

/// Codes of `include/uapi/linux/bpf_common.h`, those that seccomp takes.
mod code {
    pub(super) const LD_ABS: u16 = 0x20;
    pub(super) const LD_IMM: u16 = 0x00;
    pub(super) const LDX_IMM: u16 = 0x01;
    pub(super) const LD_LEN: u16 = 0x80;
    pub(super) const LDX_LEN: u16 = 0x81;
    pub(super) const LD_MEM: u16 = 0x60;
    pub(super) const LDX_MEM: u16 = 0x61;
    pub(super) const ST: u16 = 0x02;
    pub(super) const STX: u16 = 0x03;
    pub(super) const DIV_K: u16 = 0x34;
    pub(super) const LSH_K: u16 = 0x64;
    pub(super) const RSH_K: u16 = 0x74;
    pub(super) const NEG: u16 = 0x84;
    pub(super) const JA: u16 = 0x05;
    pub(super) const RET_K: u16 = 0x06;
    pub(super) const RET_A: u16 = 0x16;
    pub(super) const TAX: u16 = 0x07;
    pub(super) const TXA: u16 = 0x87;
    /// Class of an instruction.
    pub(super) const CLASS: u16 = 0x07;
    pub(super) const ALU: u16 = 0x04;
    pub(super) const JMP: u16 = 0x05;
    /// The second operand is X.
    pub(super) const X: u16 = 0x08;
}

/// Bytes of `struct seccomp_data`.
const DATA: u32 = 64;
/// Words of scratch memory: `BPF_MEMWORDS`.
const WORDS: u32 = 16;

fn instructions(program: &[u8]) -> impl Iterator<Item = Instruction> + Clone + '_ {
    program.chunks_exact(SECCOMP_INSTRUCTION).map(|i| match i {
        [c0, c1, jt, jf, k0, k1, k2, k3] => Instruction {
            code: u16::from_le_bytes([*c0, *c1]),
            jt: *jt,
            jf: *jf,
            k: u32::from_le_bytes([*k0, *k1, *k2, *k3]),
        },
        // `chunks_exact` gives eight bytes.
        _ => Instruction {
            code: u16::MAX,
            jt: 0,
            jf: 0,
            k: 0,
        },
    })
}

/// Does seccomp(2) take this program?
fn is_sound(program: &[u8]) -> bool {
    let len = program.len() / SECCOMP_INSTRUCTION;
    let whole = program.len() % SECCOMP_INSTRUCTION == 0;
    let returns = |i: Instruction| matches!(i.code, code::RET_K | code::RET_A);
    whole
        && (1..=SECCOMP_INSTRUCTIONS).contains(&len)
        && instructions(program).last().is_some_and(returns)
        && instructions(program)
            .enumerate()
            .all(|(at, i)| is_known(i, len.saturating_sub(at).saturating_sub(1)))
        && (0..WORDS).all(|word| is_stored_first(program, word))
}

/// Is this an instruction that seccomp takes, with `behind` more behind it?
fn is_known(i: Instruction, behind: usize) -> bool {
    let within = |distance: u64| distance < behind as u64;
    match i.code {
        code::LD_ABS => i.k < DATA && i.k & 3 == 0,
        code::LD_MEM | code::LDX_MEM | code::ST | code::STX => i.k < WORDS,
        code::DIV_K => i.k != 0,
        code::LSH_K | code::RSH_K => i.k < 32,
        code::JA => within(i.k.into()),
        code::LD_IMM | code::LDX_IMM | code::LD_LEN | code::LDX_LEN | code::RET_K | code::RET_A => {
            true
        }
        code::NEG | code::TAX | code::TXA => true,
        c if c & code::CLASS == code::JMP && c >> 8 == 0 => {
            let is_test = matches!(c & !code::X, 0x15 | 0x25 | 0x35 | 0x45);
            is_test && within(i.jt.into()) && within(i.jf.into())
        }
        c if c & code::CLASS == code::ALU && c >> 8 == 0 => {
            // Add, subtract, multiply, divide, or, and, shifts, exclusive or.
            let operation = c >> 4;
            operation <= 7 || operation == 0xa
        }
        _ => false,
    }
}

/// On every way through the program, is this word of scratch memory stored before it is loaded?
///
/// As the kernel has it: what is stored at an instruction is what is stored on all ways that lead there; jumps lead forward only.
fn is_stored_first(program: &[u8], word: u32) -> bool {
    // A bit for each instruction that some jump reaches without the word being stored.
    let mut without = [0_u64; SECCOMP_INSTRUCTIONS / 64];
    let mut stored = false;
    for (at, i) in instructions(program).enumerate() {
        let bit = without
            .get(at >> 6)
            .is_some_and(|w| w >> (at & 63) & 1 == 1);
        stored &= !bit;
        let mut reach = |distance: u64| {
            // CAST: a distance within the program, as has been checked.
            let to = at.saturating_add(1).saturating_add(distance as usize);
            if let (false, Some(w)) = (stored, without.get_mut(to >> 6)) {
                *w |= 1 << (to & 63);
            }
        };
        match i.code {
            code::ST | code::STX => stored |= i.k == word,
            code::LD_MEM | code::LDX_MEM if i.k == word && !stored => return false,
            code::JA => {
                reach(i.k.into());
                stored = true;
            }
            c if c & code::CLASS == code::JMP => {
                reach(i.jt.into());
                reach(i.jf.into());
                stored = true;
            }
            _ => {}
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(list: &[(u16, u8, u8, u32)]) -> std::vec::Vec<u8> {
        let bytes = |(code, jt, jf, k): &(u16, u8, u8, u32)| {
            let mut all = code.to_le_bytes().to_vec();
            all.extend([*jt, *jf]);
            all.extend(k.to_le_bytes());
            all
        };
        list.iter().flat_map(bytes).collect()
    }

    const ALLOW: (u16, u8, u8, u32) = (code::RET_K, 0, 0, 0x7fff_0000);

    #[test]
    fn programs_of_seccomp_are_sound() {
        for good in [
            &[ALLOW][..],
            &[(code::LD_ABS, 0, 0, 60), (0x15, 0, 1, 39), ALLOW, ALLOW],
            &[
                (code::LD_LEN, 0, 0, 0),
                (0xa4, 0, 0, 7),
                (code::RET_A, 0, 0, 0),
            ],
            &[(code::ST, 0, 0, 15), (code::LD_MEM, 0, 0, 15), ALLOW],
            &[(code::JA, 0, 0, 0), ALLOW],
            // Stored on both ways.
            &[
                (0x15, 1, 0, 0),
                (code::ST, 0, 0, 1),
                (code::ST, 0, 0, 1),
                (code::LD_MEM, 0, 0, 1),
                ALLOW,
            ],
        ] {
            assert!(is_sound(&program(good)), "{good:x?}");
        }
        assert!(is_sound(&program(&[ALLOW; SECCOMP_INSTRUCTIONS])));
    }

    #[test]
    fn programs_that_the_kernel_refuses_are_not() {
        for bad in [
            &[][..],
            &[(code::LD_ABS, 0, 0, 0)],
            &[(code::LD_ABS, 0, 0, 64), ALLOW],
            &[(code::LD_ABS, 0, 0, 2), ALLOW],
            &[(0x28, 0, 0, 0), ALLOW],
            &[(0x94, 0, 0, 3), ALLOW],
            &[(code::DIV_K, 0, 0, 0), ALLOW],
            &[(code::LSH_K, 0, 0, 32), ALLOW],
            &[(code::JA, 0, 0, 1), ALLOW],
            &[(0x15, 0, 1, 0), ALLOW],
            &[(code::ST, 0, 0, 16), ALLOW],
            &[(code::LD_MEM, 0, 0, 0), ALLOW],
            // Stored on one way only.
            &[
                (0x15, 0, 1, 0),
                (code::ST, 0, 0, 1),
                (code::LD_MEM, 0, 0, 1),
                ALLOW,
            ],
            &[(0x115, 0, 0, 0), ALLOW],
        ] {
            assert!(!is_sound(&program(bad)), "{bad:x?}");
        }
        assert!(!is_sound(&program(&[ALLOW; SECCOMP_INSTRUCTIONS + 1])));
        assert!(!is_sound(&program(&[ALLOW])[..7]));
    }
}
