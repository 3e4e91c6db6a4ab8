// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! What a core says: threads, process, mapped files, memory. The first step of an import; nothing of it is
//! believed further than it has been checked here, the rest is for the rules of the image format.

use super::{
    FXSAVE_LEN, NT_AUXV, NT_FILE, NT_FPREGSET, NT_PRPSINFO, NT_PRSTATUS, NT_X86_XSTATE,
    PRPSINFO_LEN, PRSTATUS_LEN, PRSTATUS_REGS, XCR0_AT,
};
use crate::{
    elf::{notes, u16_at, u32_at, u64_at, Object, Source, ET_CORE, PT_LOAD, PT_NOTE},
    error::Failure,
};
use cr_format::{limits, Error, REGS};

/// Most bytes of notes: those of more threads than metadata can hold.
const NOTES_MAX: u64 = 80 << 20;
const XSAVE_MIN: usize = 576;
const XSAVE_MAX: usize = 65_536;
const AUXV_WORDS: usize = 128;

/// One thread.
#[derive(Clone, Debug, Default)]
pub struct Thread {
    pub tid: u64,
    pub ppid: u64,
    pub pgid: u64,
    pub sid: u64,
    /// Signal that ended the process, 0 none.
    pub signal: u16,
    pub pending: u64,
    pub blocked: u64,
    pub regs: [u64; REGS],
    /// Standard layout of XSAVE.
    pub xstate: Vec<u8>,
    pub xcr0: u64,
}

/// A mapping of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    pub start: u64,
    pub end: u64,
    /// Offset in the file, bytes.
    pub offset: u64,
    pub path: Vec<u8>,
}

/// Memory with or without contents in the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    pub start: u64,
    pub end: u64,
    /// `PF_*`.
    pub flags: u32,
    /// Offset of its contents in the core.
    pub offset: u64,
    /// Bytes of contents; what is behind them is unknown or zero.
    pub filesz: u64,
}

/// A core.
#[derive(Clone, Debug, Default)]
pub struct Core {
    pub threads: Vec<Thread>,
    pub pid: Option<u64>,
    pub uid: u64,
    pub gid: u64,
    pub comm: Vec<u8>,
    pub args: Vec<u8>,
    pub nice: i64,
    pub auxv: Vec<u64>,
    pub mappings: Vec<Mapping>,
    /// Ascending, not overlapping.
    pub loads: Vec<Load>,
}

/// Reads everything but the memory.
///
/// # Errors
/// [`Failure::Malformed`], [`Failure::Unsupported`] for other machines.
pub fn read(name: &str, source: &dyn Source) -> Result<Core, Failure> {
    let bad = |place: &str, message: &str| Failure::Malformed {
        file: name.to_owned(),
        place: place.to_owned(),
        message: message.to_owned(),
        remedy: "Write the core again, with gcore or: crimg export core".to_owned(),
    };
    let unsupported = |message: &str| Failure::Unsupported {
        file: name.to_owned(),
        message: message.to_owned(),
        remedy: "Images are of 64-bit processes of x86-64 only.".to_owned(),
    };
    let head = source.bytes(0, 20, 20);
    let Some(head) = head.filter(|h| h.starts_with(b"\x7fELF")) else {
        return Err(bad("offset 0", "it is no ELF file"));
    };
    let machine = u16_at(&head, 18).unwrap_or(0);
    if head.get(4..6) != Some(&[2, 1]) || machine != crate::elf::EM_X86_64 {
        return Err(unsupported("the core is of another machine"));
    }
    let Some(object) = Object::read(source) else {
        return Err(bad("offset 0", "the program headers are not all there"));
    };
    if object.kind != ET_CORE {
        return Err(bad("offset 16", "it is a program or library, no core"));
    }
    let mut core = Core::default();
    let mut left = NOTES_MAX;
    for segment in object.segments.iter().filter(|s| s.kind == PT_NOTE) {
        if segment.filesz > left {
            return Err(over(name, segment.filesz, NOTES_MAX));
        }
        left = left.saturating_sub(segment.filesz);
        let place = format!("notes at {:#x}", segment.offset);
        let bytes = source.bytes(segment.offset, segment.filesz, NOTES_MAX);
        let bytes = bytes.ok_or_else(|| bad(&place, "the end is missing"))?;
        let mut used = 0_usize;
        for note in notes(&bytes) {
            used = used.saturating_add(note.desc.len()).saturating_add(12);
            core.note(note.kind, note.desc)
                .ok_or_else(|| bad(&place, &format!("note {} is malformed", note.kind)))?;
        }
        if used == 0 && !bytes.is_empty() {
            return Err(bad(&place, "there are no notes in it"));
        }
    }
    if core.threads.is_empty() {
        return Err(bad("notes", "there is no thread (NT_PRSTATUS)"));
    }
    if core.threads.len() as u64 > limits::THREADS {
        return Err(over(name, core.threads.len() as u64, limits::THREADS));
    }
    for s in object.segments.iter().filter(|s| s.kind == PT_LOAD) {
        let place = format!("segment of {:#x}", s.vaddr);
        // vsyscall, which every process has, lies above; so do broken ones.
        if s.memsz == 0 || s.vaddr >= limits::TASK_SIZE {
            continue;
        }
        let len = s.memsz.checked_next_multiple_of(limits::PAGE);
        let end = len.and_then(|len| s.vaddr.checked_add(len));
        let end = end.filter(|e| s.vaddr % limits::PAGE == 0 && *e <= limits::TASK_SIZE);
        let end = end.ok_or_else(|| bad(&place, "its addresses cannot be"))?;
        if s.filesz > s.memsz {
            return Err(bad(&place, "it has more contents than memory"));
        }
        if s.offset
            .checked_add(s.filesz)
            .is_none_or(|e| e > source.len())
        {
            return Err(bad(
                &place,
                "its contents are not all there: the core was cut",
            ));
        }
        core.loads.push(Load {
            start: s.vaddr,
            end,
            flags: s.flags,
            offset: s.offset,
            filesz: s.filesz,
        });
    }
    core.loads.sort_by_key(|l| l.start);
    core.mappings.sort_by_key(|m| m.start);
    let overlap = core.loads.windows(2).find(|w| match w {
        [a, b] => a.end > b.start,
        _ => false,
    });
    if let Some([_, second]) = overlap {
        let place = format!("segment of {:#x}", second.start);
        return Err(bad(&place, "it overlaps with another one"));
    }
    let most = limits::VMAS;
    if core.loads.len() as u64 > most || core.mappings.len() as u64 > most {
        return Err(over(
            name,
            core.loads.len().max(core.mappings.len()) as u64,
            most,
        ));
    }
    Ok(core)
}

fn over(name: &str, asked: u64, limit: u64) -> Failure {
    Failure::Defect {
        image: name.to_owned(),
        error: Error::over_limit(asked, limit),
    }
}

impl Core {
    /// Takes a note; `None` if it is broken.
    fn note(&mut self, kind: u32, desc: &[u8]) -> Option<()> {
        match kind {
            NT_PRSTATUS => self.threads.push(thread(desc)?),
            NT_FPREGSET => {
                let legacy = desc.get(..FXSAVE_LEN)?;
                let thread = self.threads.last_mut()?;
                if thread.xstate.is_empty() {
                    thread.xstate = xsave(legacy, 3);
                    thread.xcr0 = 3;
                }
            }
            NT_X86_XSTATE => {
                let thread = self.threads.last_mut()?;
                // Older kernels cut it to what gdb of then knew.
                let desc = desc.get(..XSAVE_MAX).unwrap_or(desc);
                desc.get(..XSAVE_MIN)?;
                thread.xcr0 = u64_at(desc, XCR0_AT)? | 3;
                thread.xstate = desc.to_vec();
                // Bytes for software: here is what the note says about itself.
                thread.xstate.get_mut(416..512)?.fill(0);
            }
            NT_PRPSINFO => {
                desc.get(..PRPSINFO_LEN)?;
                self.nice = i64::from(desc.get(3)?.cast_signed()).clamp(-20, 19);
                self.uid = u32_at(desc, 16)?.into();
                self.gid = u32_at(desc, 20)?.into();
                self.pid = Some(u32_at(desc, 24)?.into());
                self.comm = text(desc.get(40..56)?);
                self.args = text(desc.get(56..136)?);
            }
            NT_AUXV => {
                let words = desc.chunks_exact(8).take(AUXV_WORDS);
                self.auxv = words.filter_map(|w| u64_at(w, 0)).collect();
                // Pairs, up to the end.
                let pairs = self.auxv.chunks_exact(2);
                let n = pairs.take_while(|p| p.first() != Some(&0)).count();
                let len = n.saturating_add(1).saturating_mul(2);
                let len = len.min(self.auxv.len() & !1);
                self.auxv.truncate(len);
            }
            NT_FILE => self.mappings = files(desc)?,
            _ => {}
        }
        Some(())
    }
}

fn text(bytes: &[u8]) -> Vec<u8> {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    bytes.get(..end).unwrap_or(bytes).to_vec()
}

/// An area of the standard layout around what FXSAVE wrote.
fn xsave(legacy: &[u8], used: u64) -> Vec<u8> {
    let mut area = legacy.to_vec();
    area.resize(XSAVE_MIN, 0);
    if let Some(bytes) = area.get_mut(416..512) {
        bytes.fill(0);
    }
    if let Some(bytes) = area.get_mut(512..520) {
        bytes.copy_from_slice(&used.to_le_bytes());
    }
    area
}

fn thread(desc: &[u8]) -> Option<Thread> {
    desc.get(..PRSTATUS_LEN)?;
    let id = |at| u32_at(desc, at).map(u64::from);
    let mut regs = [0; REGS];
    for (n, reg) in regs.iter_mut().enumerate() {
        *reg = u64_at(desc, PRSTATUS_REGS.checked_add(n.checked_mul(8)?)?)?;
    }
    Some(Thread {
        signal: u16_at(desc, 12)?,
        pending: u64_at(desc, 16)?,
        blocked: u64_at(desc, 24)?,
        tid: id(32)?,
        ppid: id(36)?,
        pgid: id(40)?,
        sid: id(44)?,
        regs,
        ..Thread::default()
    })
}

fn files(desc: &[u8]) -> Option<Vec<Mapping>> {
    let count = usize::try_from(u64_at(desc, 0)?).ok()?;
    let page = u64_at(desc, 8)?;
    let names = count.checked_mul(24)?.checked_add(16)?;
    let mut paths = desc.get(names..)?.split(|b| *b == 0);
    // At most as many as there are bytes for.
    let mut found = Vec::new();
    for entry in desc.get(16..names)?.chunks_exact(24) {
        let path = paths.next()?;
        let (start, end) = (u64_at(entry, 0)?, u64_at(entry, 8)?);
        let offset = u64_at(entry, 16)?.checked_mul(page)?;
        let aligned = [start, end, offset].iter().all(|n| n % limits::PAGE == 0);
        let fits = aligned && start < end && end <= limits::TASK_SIZE;
        let len = end.saturating_sub(start);
        let ends = offset
            .checked_add(len)
            .is_some_and(|e| i64::try_from(e).is_ok());
        let named = path.first() == Some(&b'/') && (path.len() as u64) < limits::PATH;
        if fits && ends && named {
            found.push(Mapping {
                start,
                end,
                offset,
                path: path.to_vec(),
            });
        }
    }
    Some(found)
}
