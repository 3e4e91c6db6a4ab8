// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! An exported core, read by a library that this project has not written.

mod tool;

use goblin::elf::{
    header::ET_CORE,
    program_header::{PT_LOAD, PT_NOTE},
    Elf,
};
use scroll::{Pread, LE};

/// `NT_PRSTATUS`, `NT_FPREGSET`, `NT_X86_XSTATE`, `NT_AUXV`, `NT_FILE`.
const NOTES: [u32; 5] = [1, 2, 0x202, 6, 0x4649_4c45];

#[test]
fn goblin_finds_the_threads_and_the_memory_of_an_exported_core() {
    let dir = tempfile::tempdir().unwrap();
    let core = dir.path().join("core");
    let run = tool::crimg(&[
        "export",
        "core",
        "real/bt.ckpt",
        "-o",
        core.to_str().unwrap(),
    ]);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    let bytes = std::fs::read(core).unwrap();
    let elf = Elf::parse(&bytes).unwrap();
    assert_eq!(elf.header.e_type, ET_CORE);
    assert!(elf.program_headers.iter().any(|p| p.p_type == PT_NOTE));

    let notes: Vec<_> = elf
        .iter_note_headers(&bytes)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let count = |kind| notes.iter().filter(|n| n.n_type == kind).count();
    assert_eq!(NOTES.map(count), [4, 4, 4, 1, 1], "four threads");
    // pr_pid of struct elf_prstatus.
    let mut tids: Vec<u32> = notes
        .iter()
        .filter(|n| n.n_type == NOTES[0])
        .map(|n| n.desc.pread_with(32, LE).unwrap())
        .collect();
    tids.sort_unstable();
    assert_eq!(tids, [363, 366, 367, 368]);

    let loads: Vec<_> = elf
        .program_headers
        .iter()
        .filter(|p| p.p_type == PT_LOAD)
        .collect();
    assert!(loads.windows(2).all(|w| w[0].p_vaddr < w[1].p_vaddr));
    // The stack of the leader: what its registers point at is in the core. rsp is number 19 of pr_reg.
    let rsp: u64 = notes[0].desc.pread_with(112 + 19 * 8, LE).unwrap();
    assert!(loads
        .iter()
        .any(|p| p.p_vaddr <= rsp && rsp < p.p_vaddr + p.p_filesz));
}
