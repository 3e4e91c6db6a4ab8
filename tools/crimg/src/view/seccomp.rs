// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! `show --section seccomp`: which system calls threads have left themselves, filters in words.

use crate::{
    error::Failure,
    load::Image,
    output::{print, table, Output},
    syscalls,
    view::all,
};
use cr_format::{ConfinedRecord, FilterRecord, SECCOMP_INSTRUCTION, SECCOMP_STRICT};

/// Who is confined by what, and what each filter says.
///
/// # Errors
/// [`Failure::Write`].
pub fn section(image: &Image, out: &mut Output) -> Result<(), Failure> {
    let mut rows = table(["THREAD", "CONFINED"]);
    for c in all::<ConfinedRecord>(image) {
        let what = match c.mode {
            SECCOMP_STRICT => "to read, write, _exit and sigreturn".to_owned(),
            _ => format!("by filters {}", chain(image, c.filter)),
        };
        rows.add_row([c.id.to_string(), what]);
    }
    print(&rows, out)?;
    if all::<FilterRecord<'_>>(image).next().is_none() {
        return Ok(());
    }
    out.line("")?;
    let mut rows = table(["FILTER", "AT", "INSTRUCTION"]);
    for f in all::<FilterRecord<'_>>(image) {
        let mut loaded = None;
        for (at, i) in instructions(f.program).enumerate() {
            let name = match at {
                0 if f.log == 1 => format!("{}, logged", f.id),
                0 => f.id.to_string(),
                _ => String::new(),
            };
            rows.add_row([name, at.to_string(), words(i, at, &mut loaded)]);
        }
    }
    print(&rows, out)
}

/// For the summary: how many threads are confined; nothing if none is.
pub fn summary(image: &Image) -> Option<String> {
    let threads = all::<ConfinedRecord>(image).count();
    let filters = all::<FilterRecord<'_>>(image).count();
    let s = |n: usize| if n == 1 { "" } else { "s" };
    (threads > 0).then(|| {
        format!(
            "{threads} thread{} by seccomp, {filters} filter{}",
            s(threads),
            s(filters)
        )
    })
}

/// A filter and those under it, the last one first, as they judge.
fn chain(image: &Image, last: u64) -> String {
    let mut ids = Vec::new();
    let mut at = last;
    while at != 0 {
        ids.push(at.to_string());
        let filter = all::<FilterRecord<'_>>(image).find(|f| u64::from(f.id) == at);
        // Also of a damaged image: what is under a filter has a lower number.
        at = filter.map_or(0, |f| f.under).min(at - 1);
    }
    ids.join(" ")
}

/// `struct sock_filter`.
#[derive(Clone, Copy)]
struct Instruction {
    code: u16,
    jt: u8,
    jf: u8,
    k: u32,
}

fn instructions(program: &[u8]) -> impl Iterator<Item = Instruction> + '_ {
    program.chunks_exact(SECCOMP_INSTRUCTION).map(|i| {
        let byte = |n: usize| i.get(n).copied().unwrap_or(0);
        Instruction {
            code: u16::from_le_bytes([byte(0), byte(1)]),
            jt: byte(2),
            jf: byte(3),
            k: u32::from_le_bytes([byte(4), byte(5), byte(6), byte(7)]),
        }
    })
}

/// An instruction in words. `a` and `x` are the two registers of classic BPF; `loaded` is what the last load took.
/// Source: `include/uapi/linux/bpf_common.h`, `include/uapi/linux/seccomp.h`.
fn words(i: Instruction, at: usize, loaded: &mut Option<u32>) -> String {
    let k = i.k;
    let target = |distance: u64| (at as u64).saturating_add(1).saturating_add(distance);
    let operand = || match i.code & 8 {
        0 => value(k, *loaded),
        _ => "x".to_owned(),
    };
    match i.code {
        0x20 => {
            *loaded = Some(k);
            format!("a = {}", data(k))
        }
        0x00 => format!("a = {k:#x}"),
        0x01 => format!("x = {k:#x}"),
        0x80 => "a = size of the data".to_owned(),
        0x81 => "x = size of the data".to_owned(),
        0x60 => format!("a = scratch {k}"),
        0x61 => format!("x = scratch {k}"),
        0x02 => format!("scratch {k} = a"),
        0x03 => format!("scratch {k} = x"),
        0x07 => "x = a".to_owned(),
        0x87 => "a = x".to_owned(),
        0x84 => "a = -a".to_owned(),
        0x05 => format!("go to {}", target(k.into())),
        0x06 => format!("return {}", action(k)),
        0x16 => "return a".to_owned(),
        0x15 | 0x1d => condition("=", &operand(), i, target),
        0x25 | 0x2d => condition(">", &operand(), i, target),
        0x35 | 0x3d => condition(">=", &operand(), i, target),
        0x45 | 0x4d => condition("&", &operand(), i, target),
        c if c & 7 == 4 => {
            let signs = ["+", "-", "*", "/", "|", "&", "<<", ">>"];
            let sign = signs.get(usize::from(c >> 4)).copied();
            let sign = sign.or((c >> 4 == 0xa).then_some("^"));
            let operand = if c & 8 == 0 {
                format!("{k:#x}")
            } else {
                "x".to_owned()
            };
            match sign {
                Some(sign) => format!("a = a {sign} {operand}"),
                None => unknown(i),
            }
        }
        _ => unknown(i),
    }
}

fn unknown(i: Instruction) -> String {
    format!("code {:#x}, {}, {}, {:#x}", i.code, i.jt, i.jf, i.k)
}

fn condition(sign: &str, operand: &str, i: Instruction, target: impl Fn(u64) -> u64) -> String {
    let (yes, no) = (target(i.jt.into()), target(i.jf.into()));
    format!("if a {sign} {operand} go to {yes}, else to {no}")
}

/// A word of `struct seccomp_data`.
fn data(offset: u32) -> String {
    let half = |what: &str| match offset & 4 {
        0 => format!("{what}, low half"),
        _ => format!("{what}, high half"),
    };
    match offset {
        0 => "system call".to_owned(),
        4 => "architecture".to_owned(),
        8 | 12 => half("instruction pointer"),
        _ => half(&format!("argument {}", offset.saturating_sub(16) / 8)),
    }
}

/// A constant, by name if what it is held against has names.
fn value(k: u32, loaded: Option<u32>) -> String {
    match (loaded, k) {
        (Some(4), 0xc000_003e) => "x86_64".to_owned(),
        (Some(4), 0x4000_0003) => "i386".to_owned(),
        (Some(0), k) => match syscalls::name(k.into()) {
            Some(name) => name.to_owned(),
            None => format!("{k:#x}"),
        },
        _ => format!("{k:#x}"),
    }
}

/// `SECCOMP_RET_*` and its data.
fn action(k: u32) -> String {
    let data = k & 0xffff;
    match k & 0xffff_0000 {
        0x8000_0000 => "kill the process".to_owned(),
        0x0000_0000 => "kill the thread".to_owned(),
        0x0003_0000 => format!("signal SIGSYS, {data}"),
        0x0005_0000 => format!("error {data}"),
        0x7fc0_0000 => "ask the listener".to_owned(),
        0x7ff0_0000 => format!("tell the tracer, {data}"),
        0x7ffc_0000 => "log and allow".to_owned(),
        0x7fff_0000 => "allow".to_owned(),
        _ => format!("{k:#x}, which kills the process"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say(code: u16, jt: u8, jf: u8, k: u32, loaded: Option<u32>) -> String {
        words(Instruction { code, jt, jf, k }, 3, &mut { loaded })
    }

    #[test]
    fn instructions_are_told_in_words() {
        assert_eq!(say(0x20, 0, 0, 20, None), "a = argument 0, high half");
        assert_eq!(
            say(0x15, 0, 1, 101, Some(0)),
            "if a = ptrace go to 4, else to 5"
        );
        assert_eq!(
            say(0x25, 0, 1, 101, Some(16)),
            "if a > 0x65 go to 4, else to 5"
        );
        assert_eq!(say(0x1d, 2, 0, 9, None), "if a = x go to 6, else to 4");
        assert_eq!(say(0x54, 0, 0, 0xff, None), "a = a & 0xff");
        assert_eq!(say(0xac, 0, 0, 0, None), "a = a ^ x");
        assert_eq!(say(0x94, 0, 0, 2, None), "code 0x94, 0, 0, 0x2");
        assert_eq!(say(0x06, 0, 0, 0x0005_0001, None), "return error 1");
        assert_eq!(say(0x05, 0, 0, u32::MAX, None), "go to 4294967299");
    }
}
