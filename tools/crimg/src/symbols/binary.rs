// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! One program or library: its symbols, lines and unwind tables, each read when it is first asked for.

use super::{reading, Line, Table};
use crate::elf::{Object, Section, Source, PT_GNU_EH_FRAME};
use gimli::{BaseAddresses, EhFrame, EhFrameHdr, EndianRcSlice, LittleEndian, Pointer};
use std::{borrow::Cow, cell::OnceCell, fs::File};

/// Bytes as the readers of DWARF take them.
pub type Reading = EndianRcSlice<LittleEndian>;

/// Most bytes of unwind tables.
const FRAMES_MAX: u64 = 256 << 20;
/// Most bytes of all debug information of a file.
const DEBUG_MAX: u64 = 1 << 30;
/// Functions that are put into each other, at most.
const INLINED_MAX: usize = 64;
const SHF_COMPRESSED: u64 = 0x800;
const SHT_NOBITS: u32 = 8;

/// Unwind tables.
pub struct Cfi {
    pub frames: EhFrame<Reading>,
    pub bases: BaseAddresses,
    /// With a table to search in.
    pub header: Option<EhFrameHdr<Reading>>,
}

/// A program or library.
pub struct Binary<'m> {
    pub object: Object,
    pub source: Box<dyn Source + 'm>,
    separate: Option<(Object, File)>,
    table: OnceCell<Table>,
    cfi: OnceCell<Option<Cfi>>,
    lines: OnceCell<Option<addr2line::Context<Reading>>>,
}

impl<'m> Binary<'m> {
    /// One from these headers and bytes, with symbols or debug information in a separate file.
    pub fn new(
        object: Object,
        source: Box<dyn Source + 'm>,
        separate: Option<(Object, File)>,
    ) -> Self {
        Self {
            object,
            source,
            separate,
            table: OnceCell::new(),
            cfi: OnceCell::new(),
            lines: OnceCell::new(),
        }
    }

    /// The same, with what cannot be used of it.
    pub fn with_debug(
        object: Object,
        source: Box<dyn Source + 'm>,
        separate: Option<(Object, File)>,
    ) -> (Self, Vec<String>) {
        let binary = Self::new(object, source, separate);
        let (object, _) = binary.debug_source();
        let mut complaints = Vec::new();
        let debug = || {
            let sections = object.sections.iter();
            sections.filter(|s| s.name.starts_with(b".debug_"))
        };
        if debug().any(|s| s.flags & SHF_COMPRESSED != 0) {
            complaints.push(
                "its debug information is compressed and not used: no source lines; uncompress it with: \
                 objcopy --decompress-debug-sections"
                    .to_owned(),
            );
        }
        if debug().map(|s| s.size).fold(0, u64::saturating_add) > DEBUG_MAX {
            complaints
                .push("it has more than 1 GiB of debug information: no source lines".to_owned());
        }
        (binary, complaints)
    }

    fn debug_source(&self) -> (&Object, &dyn Source) {
        match &self.separate {
            Some((object, file)) => (object, file),
            None => (&self.object, &*self.source),
        }
    }

    fn table(&self) -> &Table {
        self.table.get_or_init(|| {
            if let Some((object, file)) = &self.separate {
                let table = Table::read(object, file);
                if !table.is_empty() {
                    return table;
                }
            }
            Table::read(&self.object, &*self.source)
        })
    }

    /// Demangled name of an address of the file, and the distance from the symbol.
    pub fn symbol(&self, address: u64) -> Option<(String, u64)> {
        let (name, distance) = self.table().find(address)?;
        let name = addr2line::demangle_auto(Cow::Borrowed(name), None);
        Some((name.into_owned(), distance))
    }

    /// The functions at an address of the file, the innermost first.
    pub fn lines(&self, address: u64) -> Vec<Line> {
        let mut found = self.debug_lines(address).unwrap_or_default();
        let symbol = self.symbol(address);
        match found.last_mut() {
            Some(outer) if outer.function.is_some() => {}
            Some(outer) => outer.function = symbol.map(|s| s.0),
            None => {
                if let Some((name, distance)) = symbol {
                    found.push(Line {
                        function: Some(name),
                        offset: Some(distance),
                        ..Line::default()
                    });
                }
            }
        }
        found
    }

    fn debug_lines(&self, address: u64) -> Option<Vec<Line>> {
        let context = self.lines.get_or_init(|| self.context()).as_ref()?;
        let mut frames = context.find_frames(address).skip_all_loads().ok()?;
        let mut found: Vec<Line> = Vec::new();
        while found.len() < INLINED_MAX {
            let Ok(Some(frame)) = frames.next() else {
                break;
            };
            if let Some(inner) = found.last_mut() {
                inner.inlined = true;
            }
            let name = frame.function.as_ref();
            let location = frame.location.as_ref();
            found.push(Line {
                function: name.and_then(|n| Some(n.demangle().ok()?.into_owned())),
                offset: None,
                file: location.and_then(|l| l.file).map(ToOwned::to_owned),
                line: location.and_then(|l| l.line),
                column: location.and_then(|l| l.column).filter(|c| *c > 0),
                inlined: false,
            });
        }
        Some(found)
    }

    fn context(&self) -> Option<addr2line::Context<Reading>> {
        let (object, source) = self.debug_source();
        object.section(".debug_info")?;
        let mut left = DEBUG_MAX;
        let load = |id: gimli::SectionId| -> Result<Reading, gimli::Error> {
            let section = object.section(id.name());
            let usable = section.filter(|s| s.flags & SHF_COMPRESSED == 0 && s.kind != SHT_NOBITS);
            let bytes = usable.and_then(|s| source.bytes(s.offset, s.size, left));
            let bytes = bytes.unwrap_or_default();
            left = left.saturating_sub(bytes.len() as u64);
            Ok(reading(bytes))
        };
        let dwarf = gimli::Dwarf::load(load).ok()?;
        addr2line::Context::from_dwarf(dwarf).ok()
    }

    /// Its unwind tables.
    pub fn cfi(&self) -> Option<&Cfi> {
        self.cfi
            .get_or_init(|| self.by_section().or_else(|| self.by_segment()))
            .as_ref()
    }

    fn by_section(&self) -> Option<Cfi> {
        let load = |s: &Section| self.source.bytes(s.offset, s.size, FRAMES_MAX);
        let frames = self
            .object
            .section(".eh_frame")
            .filter(|s| s.kind != SHT_NOBITS)?;
        let mut bases = BaseAddresses::default().set_eh_frame(frames.addr);
        if let Some(text) = self.object.section(".text") {
            bases = bases.set_text(text.addr);
        }
        if let Some(got) = self.object.section(".got") {
            bases = bases.set_got(got.addr);
        }
        let header = self.object.section(".eh_frame_hdr");
        if let Some(header) = header {
            bases = bases.set_eh_frame_hdr(header.addr);
        }
        let header = header
            .and_then(load)
            .map(|bytes| EhFrameHdr::from(reading(bytes)));
        Some(Cfi {
            frames: EhFrame::from(reading(load(frames)?)),
            bases,
            header,
        })
    }

    /// Without sections, as in memory: the header says where the tables are, and their end is that of the
    /// segment.
    fn by_segment(&self) -> Option<Cfi> {
        let segment = self
            .object
            .segments
            .iter()
            .find(|s| s.kind == PT_GNU_EH_FRAME)?;
        let offset = self.object.offset_of(segment.vaddr)?;
        let bytes = self.source.bytes(offset, segment.filesz, FRAMES_MAX)?;
        let header = EhFrameHdr::from(reading(bytes));
        let bases = BaseAddresses::default().set_eh_frame_hdr(segment.vaddr);
        let parsed = header.parse(&bases, 8).ok()?;
        let Pointer::Direct(at) = parsed.eh_frame_ptr() else {
            return None;
        };
        let holds = |s: &&crate::elf::Segment| {
            s.kind == crate::elf::PT_LOAD && s.vaddr <= at && at < s.vaddr.saturating_add(s.filesz)
        };
        let load = self.object.segments.iter().find(holds)?;
        let len = load.vaddr.checked_add(load.filesz)?.checked_sub(at)?;
        let offset = self.object.offset_of(at)?;
        let frames = self.source.bytes(offset, len, FRAMES_MAX)?;
        Some(Cfi {
            frames: EhFrame::from(reading(frames)),
            bases: bases.set_eh_frame(at),
            header: Some(header),
        })
    }
}
