// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Machine instructions of x86-64 as text.
//!
//! ```text
//! disasm::at(bytes, address, most) → [Instruction { address, bytes, text, target }]
//! ```
//!
//! The decoder never fails: a byte that begins no instruction is shown as `(bad)` and passed over, as gdb and
//! objdump do. Names of addresses come from the caller ([`Instruction::with_names`]), so that this needs no
//! image and no ELF file.

use yaxpeax_arch::LengthedInstruction;
use yaxpeax_x86::long_mode::{InstDecoder, Instruction as Decoded, Opcode, Operand, RegSpec};

/// Most bytes of an instruction.
pub const LONGEST: usize = 15;

/// One instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Its address.
    pub address: u64,
    /// Its bytes, 1 to 15.
    pub bytes: Vec<u8>,
    /// What it is, in the syntax of Intel; `(bad)` if it is none.
    pub text: String,
    /// Address that it jumps to, calls or reads relative to itself, if it has one.
    pub target: Option<u64>,
    /// Can the next instruction only be reached from elsewhere (`ret`, `jmp`, `ud2`, `hlt`)?
    pub ends_flow: bool,
}

impl Instruction {
    /// The text with the name of its target behind it: `call 0x401136 <main+16>`.
    ///
    /// `name` gives the name of an address, escaped for where it is printed, or nothing.
    pub fn with_names(&self, name: &dyn Fn(u64) -> Option<String>) -> String {
        match self.target.and_then(name) {
            Some(name) => format!("{} <{name}>", self.text),
            None => self.text.clone(),
        }
    }
}

/// The first `most` instructions of `bytes`, the first of which is at `address`.
///
/// An instruction that the end of `bytes` cuts is left out, unless it is the first: then it is `(bad)`.
pub fn at(bytes: &[u8], address: u64, most: usize) -> Vec<Instruction> {
    let decoder = InstDecoder::default();
    let mut found = Vec::new();
    let mut at = 0_usize;
    while found.len() < most {
        let Some(rest) = bytes.get(at..).filter(|r| !r.is_empty()) else {
            break;
        };
        let here = address.wrapping_add(at as u64);
        let instruction = match decoder.decode_slice(rest) {
            Ok(decoded) => instruction(&decoded, rest, here),
            // The end may have cut it; a whole instruction has at most 15 bytes.
            Err(_) if rest.len() < LONGEST && !found.is_empty() => break,
            Err(_) => None,
        };
        let instruction = instruction.unwrap_or_else(|| bad(rest, here));
        at = at.saturating_add(instruction.bytes.len());
        found.push(instruction);
    }
    found
}

fn bad(rest: &[u8], address: u64) -> Instruction {
    Instruction {
        address,
        bytes: rest.iter().take(1).copied().collect(),
        text: "(bad)".to_owned(),
        target: None,
        ends_flow: false,
    }
}

fn instruction(decoded: &Decoded, rest: &[u8], address: u64) -> Option<Instruction> {
    let len = usize::try_from(decoded.len().to_const()).ok()?;
    let bytes = rest.get(..len).filter(|b| !b.is_empty())?;
    let next = address.wrapping_add(len as u64);
    let jump = jump(decoded, next);
    let (text, target) = match jump {
        Some(to) => (format!("{} {to:#x}", decoded.opcode()), Some(to)),
        None => {
            let relative = relative(decoded, next);
            let text = decoded.to_string();
            let text = match relative {
                Some(to) => format!("{text} # {to:#x}"),
                None => text,
            };
            (text, relative)
        }
    };
    Some(Instruction {
        address,
        bytes: bytes.to_vec(),
        text,
        target,
        ends_flow: matches!(
            decoded.opcode(),
            Opcode::RETURN
                | Opcode::RETF
                | Opcode::JMP
                | Opcode::JMPF
                | Opcode::UD2
                | Opcode::HLT
                | Opcode::IRETQ
                | Opcode::SYSRET
        ),
    })
}

/// Where a jump or call with a distance goes.
fn jump(decoded: &Decoded, next: u64) -> Option<u64> {
    use Opcode::{
        CALL, JA, JB, JG, JGE, JL, JLE, JMP, JNA, JNB, JNO, JNP, JNS, JNZ, JO, JP, JRCXZ, JS, JZ,
        LOOP, LOOPNZ, LOOPZ, XBEGIN,
    };
    let jumps = matches!(
        decoded.opcode(),
        CALL | JMP
            | JO
            | JNO
            | JB
            | JNB
            | JZ
            | JNZ
            | JA
            | JNA
            | JS
            | JNS
            | JP
            | JNP
            | JL
            | JGE
            | JG
            | JLE
            | JRCXZ
            | LOOP
            | LOOPZ
            | LOOPNZ
            | XBEGIN
    );
    let distance = match decoded.operand(0) {
        Operand::ImmediateI8 { imm } => i64::from(imm),
        Operand::ImmediateI16 { imm } => i64::from(imm),
        Operand::ImmediateI32 { imm } => i64::from(imm),
        _ => return None,
    };
    jumps.then(|| next.wrapping_add_signed(distance))
}

/// The address that an operand names relative to the instruction.
fn relative(decoded: &Decoded, next: u64) -> Option<u64> {
    (0..decoded.operand_count()).find_map(|n| match decoded.operand(n) {
        Operand::Disp { base, disp } | Operand::DispMasked { base, disp, .. }
            if base == RegSpec::rip() =>
        {
            Some(next.wrapping_add_signed(i64::from(disp)))
        }
        Operand::MemDeref { base } if base == RegSpec::rip() => Some(next),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(bytes: &[u8], address: u64) -> Vec<String> {
        let found = at(bytes, address, usize::MAX);
        found.into_iter().map(|i| i.text).collect()
    }

    #[test]
    fn jumps_and_calls_show_where_they_go() {
        // push rbp; mov rbp,rsp; call +0; jne -2; ret
        let code = [0x55, 0x48, 0x89, 0xe5, 0xe8, 0, 0, 0, 0, 0x75, 0xfe, 0xc3];
        let found = at(&code, 0x1000, 100);
        let text: Vec<&str> = found.iter().map(|i| i.text.as_str()).collect();
        assert_eq!(
            text,
            [
                "push rbp",
                "mov rbp, rsp",
                "call 0x1009",
                "jnz 0x1009",
                "ret"
            ]
        );
        assert_eq!(found[2].target, Some(0x1009));
        assert!(found[4].ends_flow && !found[2].ends_flow);
        let name = |at| (at == 0x1009).then(|| "here".to_owned());
        assert_eq!(found[2].with_names(&name), "call 0x1009 <here>");
        assert_eq!(found[0].with_names(&name), "push rbp");
    }

    #[test]
    fn operands_relative_to_the_instruction_show_their_address() {
        // lea rdi,[rip+0x10]
        let found = at(&[0x48, 0x8d, 0x3d, 0x10, 0, 0, 0], 0x2000, 1);
        assert_eq!(found[0].text, "lea rdi, qword [rip + 0x10] # 0x2017");
        assert_eq!(found[0].target, Some(0x2017));
        // At the ends of the address space it wraps.
        let found = at(&[0x48, 0x8d, 0x3d, 0x10, 0, 0, 0], u64::MAX, 1);
        assert_eq!(found[0].target, Some(0x16));
    }

    #[test]
    fn what_is_no_instruction_is_passed_over_byte_by_byte() {
        assert_eq!(texts(&[0x06, 0x90], 0), ["(bad)", "nop"]);
        assert_eq!(texts(&[0xe8], 0), ["(bad)"]);
        // Cut at the end.
        assert_eq!(texts(&[0x90, 0xe8, 0], 0), ["nop"]);
        assert!(texts(&[], 0).is_empty());
        assert_eq!(at(&[0x90; 100], 0, 3).len(), 3);
    }

    #[test]
    fn every_pair_of_bytes_is_taken() {
        for a in 0..=255 {
            for b in 0..=255 {
                let mut code = [0x41; 20];
                code[..2].copy_from_slice(&[a, b]);
                let all: usize = at(&code, u64::MAX - 5, 50)
                    .iter()
                    .map(|i| i.bytes.len())
                    .sum();
                assert!(all <= 20 && all > 0);
            }
        }
    }
}
