// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Backtraces of hostile stacks and of hostile programs.

use super::{
    input::{byte, number},
    printed,
    tool::{crimg, open, path, take, write},
};
use crimg::{
    patch::{self, edit::Edit, Options},
    rewrite::Target,
};
use std::fs;

const IMAGE: &[u8] = include_bytes!("../../../../tests/images/real/bt.ckpt");
const PROGRAM: &[u8] = include_bytes!("../../../../tests/images/real/bt.elf");
const REGISTERS: [&str; 6] = ["rip", "rsp", "rbp", "rbx", "r12", "rax"];

/// Registers and words of the stack of the second thread, then its backtrace with the true program.
pub fn bt(data: &[u8]) {
    let mut rest = data;
    let file = open("bt.ckpt", IMAGE).unwrap_or_else(|e| panic!("{e}"));
    let process = crimg::process::Process::new(&file.image.sections);
    let task = process.tasks.get(1).expect("a second thread");
    let rsp = crimg::process::register(task, "rsp").expect("a stack pointer");
    let mut script = String::new();
    while !rest.is_empty() && script.len() < 2000 {
        let (what, value) = (byte(&mut rest), number(&mut rest));
        // Near where it was, or anywhere.
        let near = rsp.wrapping_add(value % 0x400);
        let value = if what & 0x80 != 0 { value } else { near };
        let line = match usize::from(what & 0x7f) {
            n if n < 8 => format!("reg {}:{}={value:#x}\n", task.tid, REGISTERS[n % 6]),
            n => {
                let at = rsp & !7 | (n as u64) << 3;
                let bytes: String = value
                    .to_le_bytes()
                    .iter()
                    .map(|b| format!("{b:02x}"))
                    .collect();
                format!("poke {at:#x}={bytes}\n")
            }
        };
        script.push_str(&line);
    }
    let edits = Edit::script(script.as_bytes()).unwrap_or_else(|e| panic!("{e:?}"));
    let Ok(plan) = patch::apply(&file, &edits, &Options::default()) else {
        return;
    };
    let image = path("bt-edited.ckpt");
    let target = Target::File {
        path: image.clone().into(),
        force: true,
    };
    plan.write(target, false).unwrap_or_else(|e| panic!("{e}"));
    trace(&image, PROGRAM);
    take(&image);
}

/// The program with other bytes: how many bytes at a time, how often, then offsets of two bytes with the new ones.
pub fn elf(data: &[u8]) {
    let mut program = PROGRAM.to_vec();
    let (head, tail) = data.split_at(data.len().min(2));
    let (width, count) = (
        head.first().unwrap_or(&0) % 8 + 1,
        head.get(1).unwrap_or(&1) % 64 + 1,
    );
    let mut rest = tail;
    for _ in 0..count {
        if rest.is_empty() {
            break;
        }
        let at = (usize::from(byte(&mut rest)) << 8 | usize::from(byte(&mut rest))) % program.len();
        for n in 0..usize::from(width) {
            let new = byte(&mut rest);
            if let Some(b) = program.get_mut(at + n) {
                *b = new;
            }
        }
    }
    trace(&write("bt.ckpt", IMAGE), &program);
}

fn trace(image: &str, program: &[u8]) {
    let root = path("root");
    let folder = format!("{root}/opt/crkit/programs");
    fs::create_dir_all(&folder).unwrap();
    fs::write(format!("{folder}/bt"), program).unwrap();
    let said = crimg(&["bt", image, "--sysroot", &root]);
    printed::text(said.done().expect("a backtrace"));
    let said = crimg(&["bt", image, "--sysroot", &root, "--json", "--past-main"]);
    printed::json(said.done().expect("a backtrace"));
}
