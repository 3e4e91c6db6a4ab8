// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Writes a core from an image.
//!
//! ```text
//! ELF header · program headers · [section header, if there are 65535 or more of them] · notes · page data
//! ```
//!
//! Into a file, each thread reads, checks and writes chunks of its own. Into a stream, one thread reads them and
//! another writes them in order.

use super::{
    layout::Struct,
    notes::Notes,
    plan::{plan, Load, Source},
    scattered, Sink,
};
use crate::{
    elf::{vdso, EM_X86_64, ET_CORE, PT_LOAD, PT_NOTE},
    error::Failure,
    file::{ImageFile, PageData},
    memory::Memory,
    process::Process,
    progress,
};
use cr_format::{index::IndexEntry, limits, runs::RunKind};
use std::{
    io,
    os::unix::fs::FileExt,
    sync::mpsc::{channel, sync_channel},
    thread,
};

const EHDR_LEN: u64 = 64;
const PHDR_LEN: u64 = 56;
const SHDR_LEN: u64 = 64;
const PN_XNUM: u64 = 0xffff;
/// Bytes that are read from a mapped file at once.
const PIECE: u64 = 1 << 20;
/// Chunks that are read ahead, at most 1 MiB each.
const AHEAD: usize = 4;

/// How to export.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Put in the contents of private file mappings; the memory must have a sysroot.
    pub files: bool,
    /// Show a progress bar.
    pub progress: bool,
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// Length of the core, with holes.
    pub bytes: u64,
    /// Bytes of the headers, the notes and the page data. A file has zeros in short gaps between page data besides.
    pub stored: u64,
    /// Program headers for memory.
    pub segments: u64,
    /// Those of them that have contents.
    pub with_contents: u64,
    /// Threads.
    pub threads: u64,
    /// Mappings of files in `NT_FILE`.
    pub files: u64,
    /// Extended registers that debuggers cannot place were left out.
    pub cuts_registers: bool,
}

/// Writes the core of the process in `file` to `out`.
///
/// `failed` makes the failure of a write.
///
/// # Errors
/// [`Failure::Malformed`] for an image without a process, [`Failure::Read`], [`Failure::Defect`] for page
/// data that is damaged, and those of `failed`.
pub fn export(
    file: &ImageFile,
    memory: &Memory<'_>,
    options: Options,
    out: &mut Sink<'_>,
    failed: &dyn Fn(io::Error) -> Failure,
) -> Result<Exported, Failure> {
    let sections = &file.image.sections;
    let notes = Notes::new(sections, memory).filter(|n| n.threads() > 0);
    let Some(notes) = notes else {
        return Err(Failure::Malformed {
            file: file.image.name.clone(),
            place: "section tasks".to_owned(),
            message: "there is no process in it".to_owned(),
            remedy: "See what is there with: crimg show".to_owned(),
        });
    };
    let vdso = vdso::bytes(&Process::new(sections));
    let loads = plan(memory, options.files, vdso.is_some())?;
    let note_len: u64 = notes.pieces().map(|p| p.len() as u64).sum();
    let layout = Layout::new(&loads, note_len);
    let mut done = Exported {
        bytes: layout.end,
        segments: loads.len() as u64,
        with_contents: loads.iter().filter(|l| l.filesz() > 0).count() as u64,
        threads: notes.threads(),
        files: notes.file_count,
        cuts_registers: notes.cuts_registers(),
        stored: layout.notes.saturating_add(note_len),
    };
    layout.head(&loads, out).map_err(failed)?;
    let mut at = layout.notes;
    for piece in notes.pieces() {
        out.put(at, &piece).map_err(failed)?;
        at = at.saturating_add(piece.len() as u64);
    }
    drop(notes);
    let mut writer = Writer {
        memory,
        vdso: vdso.unwrap_or_default(),
        loads: &loads,
        next: 0,
        offset: layout.data,
        out,
        failed,
        stored: 0,
    };
    if let Sink::File(to) = writer.out {
        // What is left for the writer is in front of, between and behind the page data.
        writer.stored = scattered::pages(file, memory, options, &loads, layout.data, to, failed)?;
    } else {
        pages(file, memory, options, &mut writer)?;
    }
    writer.skip_to(u64::MAX)?;
    done.stored = done.stored.saturating_add(writer.stored);
    out.end(layout.end).map_err(failed)?;
    Ok(done)
}

/// Offsets of the parts.
struct Layout {
    /// Number of program headers, with that of the notes.
    count: u64,
    /// Section header, if there is one.
    section: Option<u64>,
    notes: u64,
    note_len: u64,
    data: u64,
    end: u64,
}

impl Layout {
    fn new(loads: &[Load], note_len: u64) -> Self {
        let count = (loads.len() as u64).saturating_add(1);
        let headers = EHDR_LEN.saturating_add(count.saturating_mul(PHDR_LEN));
        let section = (count >= PN_XNUM).then_some(headers);
        let notes = headers.saturating_add(if section.is_some() { SHDR_LEN } else { 0 });
        let data = notes
            .saturating_add(note_len)
            .checked_next_multiple_of(limits::PAGE)
            .unwrap_or(u64::MAX);
        let all = loads.iter().map(Load::filesz);
        Self {
            count,
            section,
            notes,
            note_len,
            data,
            end: all.fold(data, u64::saturating_add),
        }
    }

    fn head(&self, loads: &[Load], out: &mut Sink<'_>) -> io::Result<()> {
        // CAST: below 0xffff there.
        let phnum = self.count.min(PN_XNUM) as u16;
        let (shoff, shnum) = self.section.map_or((0, 0), |at| (at, 1));
        let ehdr = Struct::default()
            .bytes(b"\x7fELF\x02\x01\x01\0")
            .zeros(8)
            .u16(ET_CORE)
            .u16(EM_X86_64)
            .u32(1)
            .u64(0)
            .u64(EHDR_LEN)
            .u64(shoff)
            .u32(0)
            .u16(64)
            .u16(56)
            .u16(phnum)
            .u16(if shnum == 0 { 0 } else { 64 })
            .u16(shnum)
            .u16(0);
        let note = phdr(PT_NOTE, 4, self.notes, 0, self.note_len, 0, 4);
        let mut head = ehdr.0;
        head.extend(note);
        let (mut at, mut offset) = (0_u64, self.data);
        for l in loads {
            let len = l.end.saturating_sub(l.start);
            let filesz = l.filesz();
            head.extend(phdr(
                PT_LOAD,
                l.flags,
                offset,
                l.start,
                filesz,
                len,
                limits::PAGE,
            ));
            offset = offset.saturating_add(filesz);
            if head.len() >= 1 << 16 {
                out.put(at, &head)?;
                at = at.saturating_add(head.len() as u64);
                head.clear();
            }
        }
        if self.section.is_some() {
            // Its sh_info has the number of program headers.
            let count = u32::try_from(self.count).unwrap_or(u32::MAX);
            head.extend(Struct::of(64, |s| s.zeros(32).u64(1).u32(0).u32(count)));
        }
        out.put(at, &head)
    }
}

fn phdr(
    kind: u32,
    flags: u32,
    offset: u64,
    vaddr: u64,
    filesz: u64,
    memsz: u64,
    align: u64,
) -> Vec<u8> {
    let s = Struct::default()
        .u32(kind)
        .u32(flags)
        .u64(offset)
        .u64(vaddr);
    s.u64(0).u64(filesz).u64(memsz).u64(align).0
}

/// Reads the chunks in one thread and hands them to the writer in this one.
fn pages(
    file: &ImageFile,
    memory: &Memory<'_>,
    options: Options,
    writer: &mut Writer<'_, '_, '_>,
) -> Result<(), Failure> {
    let total = memory.chunks().iter().map(|c| u64::from(c.raw_len)).sum();
    let bar = progress::bar(if options.progress { total } else { 0 }, "exporting");
    thread::scope(|scope| {
        let (full, chunks) = sync_channel::<Result<PageData, Failure>>(AHEAD);
        let (empty, buffers) = channel::<Vec<u8>>();
        scope.spawn(move || {
            for n in 0..memory.chunks().len() {
                let mut buf = buffers.try_recv().unwrap_or_default();
                let data = page_data(file, memory.chunks(), n, &mut buf);
                let broken = data.is_err();
                // The writer has stopped, or has nothing more to come.
                if full.send(data).is_err() || broken {
                    return;
                }
            }
        });
        for data in chunks {
            let data = data?;
            writer.chunk(&data)?;
            bar.inc(data.bytes.len() as u64);
            // A reader that is through needs no more buffers.
            let _ = empty.send(data.bytes);
        }
        bar.finish_and_clear();
        Ok(())
    })
}

/// Page data of chunk `n`, which must end where the next one begins or before: only then is what is written the same in any
/// order.
///
/// # Errors
/// [`Failure::Read`], [`Failure::Defect`].
pub(super) fn page_data(
    file: &ImageFile,
    chunks: &[IndexEntry],
    n: usize,
    buf: &mut Vec<u8>,
) -> Result<PageData, Failure> {
    let Some(entry) = chunks.get(n) else {
        return Ok(PageData::default());
    };
    let data = file.page_data_in(entry, buf)?;
    let end = data.runs.last().map_or(0, |r| {
        let len = u64::from(r.npages).saturating_mul(limits::PAGE);
        r.start.saturating_add(len)
    });
    match chunks.get(n.saturating_add(1)) {
        Some(next) if next.key < end => {
            Err(file.defect(cr_format::Error::rule("PAGE-6"), next.offset))
        }
        _ => Ok(data),
    }
}

/// Calls `piece` with address and contents of all that a chunk stores, ascending by address.
pub(super) fn each_piece<'d, E>(
    data: &'d PageData,
    mut piece: impl FnMut(u64, &'d [u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut from = 0_usize;
    for run in &data.runs {
        let len = u64::from(run.npages).saturating_mul(limits::PAGE);
        match run.kind {
            RunKind::Data => {
                let to = from.saturating_add(usize::try_from(len).unwrap_or(usize::MAX));
                piece(run.start, data.bytes.get(from..to).unwrap_or(&[]))?;
                from = to;
            }
            RunKind::Duplicate => {
                for n in 0..u64::from(run.npages) {
                    let at = run.start.saturating_add(n.saturating_mul(limits::PAGE));
                    if let Some(crate::file::Page::Data(page)) = data.page(at) {
                        piece(at, page)?;
                    }
                }
            }
            RunKind::Zero | RunKind::Parent => {}
        }
    }
    Ok(())
}

struct Writer<'a, 'm, 'w> {
    memory: &'a Memory<'m>,
    vdso: Vec<u8>,
    loads: &'a [Load],
    /// The segment that is being written.
    next: usize,
    /// Its offset in the core.
    offset: u64,
    out: &'a mut Sink<'w>,
    failed: &'a dyn Fn(io::Error) -> Failure,
    stored: u64,
}

impl Writer<'_, '_, '_> {
    fn chunk(&mut self, data: &PageData) -> Result<(), Failure> {
        each_piece(data, |address, bytes| self.bytes(address, bytes))
    }

    /// Page data, ascending by address.
    fn bytes(&mut self, address: u64, bytes: &[u8]) -> Result<(), Failure> {
        self.skip_to(address)?;
        let Some(load) = self.loads.get(self.next) else {
            return Ok(());
        };
        match load.piece(address, bytes) {
            Some((within, bytes)) => self.put(within, bytes),
            None => Ok(()),
        }
    }

    fn put(&mut self, within: u64, bytes: &[u8]) -> Result<(), Failure> {
        let at = self.offset.saturating_add(within);
        self.stored = self.stored.saturating_add(bytes.len() as u64);
        self.out.put(at, bytes).map_err(self.failed)
    }

    /// Finishes the segments in front of `address`.
    fn skip_to(&mut self, address: u64) -> Result<(), Failure> {
        while let Some(load) = self.loads.get(self.next).copied() {
            if address < load.end {
                break;
            }
            self.whole(&load)?;
            self.offset = self.offset.saturating_add(load.filesz());
            self.next = self.next.saturating_add(1);
        }
        Ok(())
    }

    /// Contents of a segment that does not come from the page data in order.
    fn whole(&mut self, load: &Load) -> Result<(), Failure> {
        let len = load.filesz();
        match load.source {
            Source::Nowhere | Source::Image => Ok(()),
            Source::Vdso(from) => {
                let from = usize::try_from(from).unwrap_or(usize::MAX);
                let bytes = std::mem::take(&mut self.vdso);
                let fits = usize::try_from(len).unwrap_or(0);
                let to = from.saturating_add(fits).min(bytes.len());
                self.put(0, bytes.get(from..to).unwrap_or(&[]))?;
                self.vdso = bytes;
                Ok(())
            }
            Source::Shared => self.pieces(len, |this, at, buf| {
                let n = this.memory.read(load.start.saturating_add(at), buf)?;
                Ok(n)
            }),
            Source::File(area, offset) => {
                let area = self.memory.areas().get(area);
                let Some(file) = area.and_then(|a| self.memory.open_mapped(a)) else {
                    return Ok(());
                };
                self.pieces(len, |_, at, buf| {
                    let at = offset.saturating_add(at);
                    // Behind the end of the file, and where it cannot be read, there are zeros.
                    Ok(file.read_at(buf, at).unwrap_or(0))
                })
            }
        }
    }

    /// Copies `len` bytes that `read` gives; pages of zeros become holes.
    fn pieces(
        &mut self,
        len: u64,
        read: impl Fn(&Self, u64, &mut [u8]) -> Result<usize, Failure>,
    ) -> Result<(), Failure> {
        let mut buf = vec![0; PIECE as usize];
        let mut at = 0_u64;
        while at < len {
            let n = PIECE.min(len.saturating_sub(at));
            let piece = buf.get_mut(..n as usize).unwrap_or(&mut []);
            let got = read(self, at, piece)?;
            if got == 0 {
                // Nothing to be had at this page.
                at = at.saturating_add(limits::PAGE);
                continue;
            }
            let whole = buf.get(..got).unwrap_or(&[]);
            for (i, page) in whole.chunks(limits::PAGE as usize).enumerate() {
                if page.iter().any(|b| *b != 0) {
                    let within = at.saturating_add((i as u64).saturating_mul(limits::PAGE));
                    self.put(within, page)?;
                }
            }
            at = at.saturating_add(got as u64);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf::{Object, Slice};

    fn loads(n: u64) -> Vec<Load> {
        let load = |i: u64| Load {
            start: 0x1_0000 + i * 0x2000,
            end: 0x1_1000 + i * 0x2000,
            flags: 6,
            source: if i.is_multiple_of(2) {
                Source::Image
            } else {
                Source::Nowhere
            },
        };
        (0..n).map(load).collect()
    }

    #[test]
    fn headers_are_counted_in_the_section_header_when_they_are_too_many() {
        // With the header of the notes there are 65534, 65535 and 70001.
        for (n, section) in [(65_533, false), (65_534, true), (70_000, true)] {
            let loads = loads(n);
            let layout = Layout::new(&loads, 4000);
            let mut out = Vec::new();
            layout.head(&loads, &mut Sink::Stream(&mut out, 0)).unwrap();
            assert_eq!(layout.section.is_some(), section);
            assert_eq!(out.len() as u64, layout.notes);
            let object = Object::read(&Slice(out)).unwrap();
            assert_eq!(object.kind, ET_CORE);
            assert_eq!(object.segments.len() as u64, n + 1);
            assert_eq!(object.segments[0].filesz, 4000);
            let last = object.segments.last().unwrap();
            assert_eq!(last.vaddr, loads.last().unwrap().start);
            assert_eq!(last.offset + last.filesz, layout.end);
            assert!(layout.data.is_multiple_of(4096) && layout.data >= layout.notes + 4000);
        }
    }
}
