// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! The records of an imported core. What a core does not say gets the value that says least; the image is
//! marked as not restartable.

use super::{
    areas::Area,
    arguments,
    read::{Core, Thread},
};
use crate::{elf::Source, error::Failure, rewrite::Bytes};
use cr_format::{
    limits, validate::MetaSet, CredRecord, EditRecord, FsRecord, ImageRecord, LimitRecord,
    MappedFileRecord, MmRecord, PendingRecord, ProcessRecord, Record, Result as FormatResult,
    SectionRecord, TaskRecord, TaskSignalsRecord, U64s, VmaRecord, CREDS, FILES, IMAGE, LIMITS,
    MEMORY, PROT_EXEC, PROT_READ, PROT_WRITE, PROVENANCE, SCHEMA, SECTIONS, SIGINFO_LEN, SIGNALS,
    TASKS, VMA_ANON, VMA_SPECIAL,
};
use std::collections::BTreeMap;

const AT_PHDR: u64 = 3;
const AT_ENTRY: u64 = 9;
const RLIM_INFINITY: u64 = u64::MAX;
const RLIMIT_CORE: u64 = 4;
/// Index of `rsp` in the registers.
const RSP: usize = 19;
const NOBODY: u64 = 65_534;

/// Sections by id.
#[derive(Default)]
pub struct Set(pub BTreeMap<u16, Bytes>);

impl MetaSet for Set {
    fn section(&self, id: u16) -> &[u8] {
        self.0.get(&id).map_or(&[], |b| &b.0)
    }
    fn ids(&self, visit: &mut dyn FnMut(u16) -> FormatResult) -> FormatResult {
        self.0.keys().try_for_each(|id| visit(*id))
    }
}

/// What the records are made from.
pub struct Facts<'c> {
    pub core: &'c Core,
    pub source: &'c dyn Source,
    pub areas: &'c [Area],
    /// Paths of the mapped files, by id from 1.
    pub paths: &'c [Vec<u8>],
    /// Build ids by the same.
    pub build_ids: &'c [Vec<u8>],
    pub created_ns: u64,
    /// For section provenance.
    pub description: String,
}

impl Facts<'_> {
    /// All sections but `stats`.
    ///
    /// # Errors
    /// [`Failure::Write`] for what cannot be encoded, which does not happen.
    pub fn sections(&self) -> Result<Set, Failure> {
        let cannot = |e: cr_format::Error| Failure::Write(std::io::Error::other(e.to_string()));
        self.encode().map_err(cannot)
    }

    fn encode(&self) -> FormatResult<Set> {
        let mut set = Set::default();
        let threads = self.threads();
        self.tasks(set.0.entry(TASKS).or_default(), &threads)?;
        self.memory(set.0.entry(MEMORY).or_default())?;
        FsRecord {
            id: 1,
            cwd: b"/",
            root: b"/",
            umask: 0o22,
        }
        .write(set.0.entry(FILES).or_default())?;
        signals(set.0.entry(SIGNALS).or_default(), &threads)?;
        self.creds(set.0.entry(CREDS).or_default(), tgid(&threads))?;
        LimitRecord {
            id: u32::try_from(RLIMIT_CORE).unwrap_or(0).saturating_add(1),
            resource: RLIMIT_CORE,
            soft: RLIM_INFINITY,
            hard: RLIM_INFINITY,
        }
        .write(set.0.entry(LIMITS).or_default())?;
        cr_format::write_schema(set.0.entry(SCHEMA).or_default())?;
        EditRecord {
            id: 1,
            time_ns: self.created_ns,
            tool: concat!("crimg ", env!("CARGO_PKG_VERSION")).as_bytes(),
            source_uuid: &[0; 16],
            operation: b"import",
            description: self.description.as_bytes(),
        }
        .write(set.0.entry(PROVENANCE).or_default())?;
        let mut image = Bytes::default();
        self.image(&mut image, &set, &threads)?;
        set.0.insert(IMAGE, image);
        Ok(set)
    }

    /// The leader first.
    fn threads(&self) -> Vec<&Thread> {
        let mut threads: Vec<&Thread> = self.core.threads.iter().collect();
        let leader = threads.iter().position(|t| Some(t.tid) == self.core.pid);
        if let Some(head) = leader.and_then(|n| threads.get_mut(..=n)) {
            head.rotate_right(1);
        }
        threads
    }

    fn image(&self, out: &mut Bytes, set: &Set, threads: &[&Thread]) -> FormatResult {
        let xcr0 = threads.iter().fold(3, |all, t| all | t.xcr0);
        let size = threads.iter().map(|t| t.xstate.len()).max().unwrap_or(0);
        ImageRecord {
            id: 1,
            created_ns: self.created_ns,
            machine: b"x86_64",
            page_size: limits::PAGE,
            boot_id: &[0; 16],
            xfeatures: xcr0,
            xsave_size: (size as u64).clamp(576, 65_536),
            writer: concat!("crimg ", env!("CARGO_PKG_VERSION"), " import core").as_bytes(),
            ..ImageRecord::default()
        }
        .write(out)?;
        for s in SECTIONS {
            if s.id != IMAGE && set.0.contains_key(&s.id) {
                SectionRecord {
                    id: s.id.into(),
                    word: s.word.as_bytes(),
                    critical: s.critical.into(),
                    module: s.module.as_bytes(),
                    version: 1,
                }
                .write(out)?;
            }
        }
        Ok(())
    }

    /// Id of the file at an address of the program.
    fn exe(&self) -> u64 {
        let at = self.core.auxv(AT_ENTRY).or(self.core.auxv(AT_PHDR));
        let holds = |a: &&Area| at.is_some_and(|at| a.start <= at && at < a.end);
        self.areas.iter().find(holds).map_or(0, |a| a.object)
    }

    fn path(&self, id: u64) -> &[u8] {
        let n = id.checked_sub(1).and_then(|n| usize::try_from(n).ok());
        n.and_then(|n| self.paths.get(n)).map_or(&[], Vec::as_slice)
    }

    fn tasks(&self, out: &mut Bytes, threads: &[&Thread]) -> FormatResult {
        let core = self.core;
        let first = threads.first().copied();
        let id = |n: u64| if n <= limits::PID { n } else { 0 };
        let comm = core.comm.get(..15).unwrap_or(&core.comm);
        let at = arguments::find(core, self.source);
        let args = arguments::text(core, self.source, &at);
        ProcessRecord {
            id: u32::try_from(tgid(threads)).unwrap_or(0),
            tgid: tgid(threads),
            ppid: first.map_or(0, |t| id(t.ppid)),
            pgid: first.map_or(0, |t| id(t.pgid)),
            sid: first.map_or(0, |t| id(t.sid)),
            comm,
            exe: self.path(self.exe()),
            args: &args,
            dumpable: 1,
            threads: threads.len() as u64,
            ..ProcessRecord::default()
        }
        .write(out)?;
        for (n, t) in threads.iter().enumerate() {
            // Initial registers, if the core has none.
            let none = [0; 576];
            let xstate = Some(&t.xstate[..]).filter(|x| !x.is_empty());
            TaskRecord {
                id: u32::try_from(t.tid).unwrap_or(0),
                tid: t.tid,
                comm: if n == 0 { comm } else { b"" },
                regs: U64s::Native(&t.regs),
                xstate: xstate.unwrap_or(&none),
                nice: if n == 0 { core.nice } else { 0 },
                affinity: &[1],
                timerslack_ns: 50_000,
                tsc_mode: 1,
                ..TaskRecord::default()
            }
            .write(out)?;
        }
        Ok(())
    }

    fn memory(&self, out: &mut Bytes) -> FormatResult {
        let places = self.places();
        let vdso = self.areas.iter().find(|a| a.vdso);
        let vdso = vdso
            .filter(|a| a.kind == VMA_SPECIAL)
            .map_or(0, |a| a.start);
        MmRecord {
            id: 1,
            auxv: U64s::Native(&self.core.auxv),
            vdso,
            exe_object: self.exe(),
            coredump_filter: 0x33,
            ..places
        }
        .write(out)?;
        for (n, a) in (1..).zip(self.areas) {
            VmaRecord {
                id: n,
                start: a.start,
                end: a.end,
                prot: a.prot,
                kind: a.kind,
                offset: a.offset,
                object: a.object,
                name: if a.vdso { b"[vdso]" } else { b"" },
                ..VmaRecord::default()
            }
            .write(out)?;
        }
        for (n, path) in (1..).zip(self.paths) {
            let of = self.areas.iter().filter(|a| a.object == u64::from(n));
            let end = |a: &Area| a.offset.saturating_add(a.end.saturating_sub(a.start));
            let index = usize::try_from(n).unwrap_or(0).saturating_sub(1);
            MappedFileRecord {
                id: n,
                path,
                size: of.map(end).max().unwrap_or(0),
                build_id: self.build_ids.get(index).map_or(&[], Vec::as_slice),
                ..MappedFileRecord::default()
            }
            .write(out)?;
        }
        Ok(())
    }

    /// The addresses of the program: a core has none of them. Code and data are where the areas of the
    /// program say, the heap is the next area behind them, and the rest is at the stack.
    fn places(&self) -> MmRecord<'static> {
        let exe = self.exe();
        let own = || {
            self.areas
                .iter()
                .filter(move |a| a.object == exe && exe > 0)
        };
        let with = |prot: u64| move |a: &&Area| a.prot & prot != 0;
        let first = self.areas.first();
        let code = own().find(with(PROT_EXEC)).or(own().next()).or(first);
        let code = code.map_or((1, 2), |a| (a.start, a.end));
        let data = own().rfind(with(PROT_WRITE));
        let data = data.map_or((code.1, code.1), |a| (a.start, a.end));
        let behind = own().next_back().map_or(u64::MAX, |a| a.end);
        let heap = self.areas.iter().find(|a| a.start >= behind);
        let heap = heap.filter(|a| a.kind == VMA_ANON && a.prot == PROT_READ | PROT_WRITE);
        let heap = heap.map_or((data.1, data.1), |a| (a.start, a.end));
        let at = arguments::find(self.core, self.source);
        let known = at.start_stack > 0;
        let rsp = self.core.threads.first().map_or(0, |t| t.regs[RSP]);
        let holds = |a: &&Area| a.start <= rsp && rsp < a.end;
        let stack = self.areas.iter().find(holds).or(self.areas.last());
        let top = stack.map_or(1, |a| a.end.saturating_sub(8));
        let or_top = |n: u64| if known { n } else { top };
        // Address 0 and the end of user space are no places.
        let sound = |n: u64| n.clamp(1, limits::TASK_SIZE.saturating_sub(1));
        MmRecord {
            start_code: sound(code.0),
            end_code: sound(code.1).max(sound(code.0).saturating_add(1)),
            start_data: sound(data.0),
            end_data: sound(data.1),
            start_brk: sound(heap.0),
            brk: sound(heap.1),
            start_stack: sound(or_top(at.start_stack)),
            arg_start: sound(or_top(at.arg_start)),
            arg_end: sound(or_top(at.arg_end)),
            env_start: sound(or_top(at.env_start)),
            env_end: sound(or_top(at.env_end)),
            ..MmRecord::default()
        }
    }

    fn creds(&self, out: &mut Bytes, tgid: u64) -> FormatResult {
        let id = |n: u64| if n < u64::from(u32::MAX) { n } else { NOBODY };
        let (u, g) = (id(self.core.uid), id(self.core.gid));
        CredRecord {
            id: u32::try_from(tgid).unwrap_or(0),
            uid: u,
            euid: u,
            suid: u,
            fsuid: u,
            gid: g,
            egid: g,
            sgid: g,
            fsgid: g,
            ..CredRecord::default()
        }
        .write(out)
    }
}

fn tgid(threads: &[&Thread]) -> u64 {
    threads.first().map_or(0, |t| t.tid)
}

fn signals(out: &mut Bytes, threads: &[&Thread]) -> FormatResult {
    // SIGKILL and SIGSTOP cannot be blocked.
    const UNBLOCKABLE: u64 = (1 << 8) | (1 << 18);
    const SS_DISABLE: u64 = 2;
    for t in threads {
        TaskSignalsRecord {
            id: u32::try_from(t.tid).unwrap_or(0),
            tid: t.tid,
            blocked: t.blocked & !UNBLOCKABLE,
            altstack_flags: SS_DISABLE,
            ..TaskSignalsRecord::default()
        }
        .write(out)?;
    }
    let mut id = 0_u32;
    for t in threads {
        for n in (0..64_u8).filter(|n| t.pending & (1_u64 << n) != 0) {
            let signo = n.saturating_add(1);
            let mut info = [0; SIGINFO_LEN];
            info[0] = signo;
            id = id.saturating_add(1);
            PendingRecord {
                id,
                tid: t.tid,
                signo: signo.into(),
                info: &info,
            }
            .write(out)?;
        }
    }
    Ok(())
}
