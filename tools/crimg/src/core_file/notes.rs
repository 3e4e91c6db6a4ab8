// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! The notes of a core, made from the records of an image; thread by thread, so that they need not be held.

use super::{
    layout::{note, Struct},
    registers, NT_AUXV, NT_FILE, NT_FPREGSET, NT_PRPSINFO, NT_PRSTATUS, NT_SIGINFO, NT_X86_XSTATE,
    PRPSINFO_LEN, PRSTATUS_LEN,
};
use crate::{load::Sections, memory::Memory, process};
use cr_format::{
    limits, records_of, validate::MetaSet, CredRecord, ImageRecord, MmRecord, PendingRecord,
    ProcessRecord, TaskRecord, TaskSignalsRecord, CREDS, IMAGE, SIGNALS, TASKS, VMA_FILE,
};
use std::collections::BTreeMap;

/// What the notes are made from.
pub struct Notes<'s> {
    sections: &'s Sections,
    process: ProcessRecord<'s>,
    mm: Option<MmRecord<'s>>,
    cred: Option<CredRecord<'s>>,
    xcr0: u64,
    xsave_size: u64,
    /// Blocked and pending signals by thread.
    signals: BTreeMap<u64, (u64, u64)>,
    /// `NT_FILE`, complete.
    files: Vec<u8>,
    /// How many mappings of files it has.
    pub file_count: u64,
}

impl<'s> Notes<'s> {
    /// `None` without a process record.
    pub fn new(sections: &'s Sections, memory: &Memory<'_>) -> Option<Self> {
        let found = process::Process::new(sections);
        let image = records_of::<ImageRecord<'_>>(sections.section(IMAGE))
            .map_while(Result::ok)
            .next();
        let (files, file_count) = files(memory);
        Some(Self {
            sections,
            process: found.process?,
            mm: found.mm,
            cred: records_of::<CredRecord<'_>>(sections.section(CREDS))
                .map_while(Result::ok)
                .next(),
            xcr0: image.map_or(3, |i| i.xfeatures),
            xsave_size: image.map_or(576, |i| i.xsave_size),
            signals: signals(sections),
            files,
            file_count,
        })
    }

    fn tasks(&self) -> impl Iterator<Item = TaskRecord<'s>> {
        // One that has ended has nothing that a debugger could look at, and the kernel leaves it out as well.
        records_of::<TaskRecord<'_>>(self.sections.section(TASKS))
            .map_while(Result::ok)
            .filter(|t| process::exit_code(self.sections, t).is_none())
    }

    /// The notes in pieces, in the order of the kernel: what debuggers read as the current thread comes
    /// first, with the notes of the process behind its first one.
    pub fn pieces(&self) -> impl Iterator<Item = Vec<u8>> + '_ {
        self.tasks().enumerate().map(|(n, task)| {
            let mut piece = note(b"CORE", NT_PRSTATUS, &self.prstatus(&task));
            if n == 0 {
                piece.extend(note(b"CORE", NT_PRPSINFO, &self.prpsinfo(&task)));
                piece.extend(note(b"CORE", NT_SIGINFO, &[0; 128]));
                piece.extend(note(b"CORE", NT_AUXV, &self.auxv()));
                piece.extend(note(b"CORE", NT_FILE, &self.files));
            }
            let extended = registers::extended(task.xstate, self.xcr0, self.xsave_size);
            piece.extend(note(b"CORE", NT_FPREGSET, &extended.fpregset));
            piece.extend(note(b"LINUX", NT_X86_XSTATE, &extended.xstate));
            piece
        })
    }

    /// Number of threads.
    pub fn threads(&self) -> u64 {
        self.tasks().count() as u64
    }

    /// Does a part of the extended state not get into the notes?
    pub fn cuts_registers(&self) -> bool {
        registers::extended(&[], self.xcr0, self.xsave_size).cut
    }

    fn prstatus(&self, task: &TaskRecord<'_>) -> Vec<u8> {
        let p = &self.process;
        let (blocked, pending) = self.signals.get(&task.tid).copied().unwrap_or((0, 0));
        Struct::of(PRSTATUS_LEN, |s| {
            // pr_info and pr_cursig: no signal has ended it.
            let s = s.zeros(16).u64(pending).u64(blocked);
            let s = s.id(task.tid).id(p.ppid).id(p.pgid).id(p.sid).zeros(64);
            let regs = process::registers(task);
            regs.iter().fold(s, |s, r| s.u64(*r)).u32(1)
        })
    }

    fn prpsinfo(&self, leader: &TaskRecord<'_>) -> Vec<u8> {
        let p = &self.process;
        let (uid, gid) = self.cred.as_ref().map_or((0, 0), |c| (c.uid, c.gid));
        let (state, name) = if p.stopped == 1 { (3, b'T') } else { (0, b'R') };
        // CAST: a nice value is -20 to 19.
        let nice = leader.nice.clamp(-20, 19) as i8;
        let args: Vec<u8> = p
            .args
            .iter()
            .map(|b| if *b == 0 { b' ' } else { *b })
            .collect();
        Struct::of(PRPSINFO_LEN, |s| {
            let s = s.u8(state).u8(name).u8(0).u8(nice.cast_unsigned()).zeros(4);
            let s = s.u64(0).id(uid).id(gid);
            let s = s.id(p.tgid).id(p.ppid).id(p.pgid).id(p.sid);
            s.text(p.comm, 16).text(args.trim_ascii_end(), 80)
        })
    }

    fn auxv(&self) -> Vec<u8> {
        let Some(mm) = &self.mm else {
            return vec![0; 16];
        };
        let words: Vec<u64> = mm.auxv.iter().collect();
        let mut out: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
        let ends = words.chunks_exact(2).any(|p| p.first() == Some(&0));
        if !ends {
            out.extend([0; 16]);
        }
        out
    }
}

fn signals(sections: &Sections) -> BTreeMap<u64, (u64, u64)> {
    let section = sections.section(SIGNALS);
    let mut found: BTreeMap<u64, (u64, u64)> = records_of::<TaskSignalsRecord>(section)
        .map_while(Result::ok)
        .map(|t| (t.tid, (t.blocked, 0)))
        .collect();
    for p in records_of::<PendingRecord<'_>>(section).map_while(Result::ok) {
        let bit = p.signo.checked_sub(1).and_then(|n| u32::try_from(n).ok());
        let bit = bit.and_then(|n| 1_u64.checked_shl(n)).unwrap_or(0);
        // Those of the process as a whole have no place in a core.
        if let Some(thread) = found.get_mut(&p.tid) {
            thread.1 |= bit;
        }
    }
    found
}

/// `NT_FILE`: count, page size, start, end and offset in pages of each mapping, then the paths.
fn files(memory: &Memory<'_>) -> (Vec<u8>, u64) {
    let mapped = || {
        memory
            .areas()
            .iter()
            .filter(|a| a.kind == VMA_FILE && a.path.is_some())
    };
    let count = mapped().count() as u64;
    let mut out = Struct::default().u64(count).u64(limits::PAGE);
    for a in mapped() {
        let page = a.offset.checked_div(limits::PAGE).unwrap_or(0);
        out = out.u64(a.start).u64(a.end).u64(page);
    }
    for path in mapped().filter_map(|a| a.path.as_deref()) {
        out = out.bytes(path).u8(0);
    }
    (out.0, count)
}
