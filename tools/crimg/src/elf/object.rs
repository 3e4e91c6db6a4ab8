// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Headers of one ELF file: segments and sections.

use super::{notes, u16_at, u32_at, u64_at, Source, EM_X86_64, PT_LOAD, PT_NOTE};

/// `ET_CORE`.
pub const ET_CORE: u16 = 4;
/// Most program headers that are read: those of a core of the largest process that an image can have, twice.
const SEGMENTS_MAX: u64 = 2 << 20;
/// Most sections that are read.
const SECTIONS_MAX: u64 = 65_536;
/// Most bytes of section names.
const NAMES_MAX: u64 = 4 << 20;
/// Most bytes of notes that are searched for a build id.
const NOTES_MAX: u64 = 64 << 10;
const PHDR_LEN: u64 = 56;
const SHDR_LEN: u64 = 64;
/// `PN_XNUM`: the number of program headers is in the first section header.
const PN_XNUM: u16 = 0xffff;

/// A program header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// `PT_*`.
    pub kind: u32,
    /// 1 execute, 2 write, 4 read.
    pub flags: u32,
    /// Offset in the file.
    pub offset: u64,
    /// Address.
    pub vaddr: u64,
    /// Bytes in the file.
    pub filesz: u64,
    /// Bytes in memory.
    pub memsz: u64,
}

/// A section header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// Its name.
    pub name: Vec<u8>,
    /// `SHT_*`.
    pub kind: u32,
    /// `SHF_*`.
    pub flags: u64,
    /// Address.
    pub addr: u64,
    /// Offset in the file.
    pub offset: u64,
    /// Bytes.
    pub size: u64,
    /// Number of another section that belongs to it.
    pub link: u32,
    /// Bytes of an entry.
    pub entsize: u64,
}

/// The headers of an ELF file for x86-64.
#[derive(Clone, Debug)]
pub struct Object {
    /// `ET_*`.
    pub kind: u16,
    /// `EM_*`.
    pub machine: u16,
    /// Program headers.
    pub segments: Vec<Segment>,
    /// Section headers; empty if there are none or they cannot be read.
    pub sections: Vec<Section>,
}

impl Object {
    /// Reads the headers. `None` if it is no ELF file of 64 bits and little-endian, or one whose program
    /// headers are not all there.
    pub fn read(source: &dyn Source) -> Option<Self> {
        let head = source.bytes(0, 64, 64)?;
        let ident = head.get(..7)?;
        if ident != b"\x7fELF\x02\x01\x01" {
            return None;
        }
        let (kind, machine) = (u16_at(&head, 16)?, u16_at(&head, 18)?);
        let (phoff, shoff) = (u64_at(&head, 32)?, u64_at(&head, 40)?);
        let (phentsize, phnum) = (u16_at(&head, 54)?, u16_at(&head, 56)?);
        let mut count = u64::from(phnum);
        if phnum == PN_XNUM {
            let first = source.bytes(shoff, SHDR_LEN, SHDR_LEN)?;
            count = u64::from(u32_at(&first, 44)?);
        }
        if count > 0 && u64::from(phentsize) != PHDR_LEN {
            return None;
        }
        let most = SEGMENTS_MAX.checked_mul(PHDR_LEN)?;
        let table = source.bytes(phoff, count.checked_mul(PHDR_LEN)?, most)?;
        let segments = table.chunks_exact(56).map_while(segment).collect();
        let sections = sections(source, &head, shoff).unwrap_or_default();
        Some(Self {
            kind,
            machine,
            segments,
            sections,
        })
    }

    /// Is it for x86-64?
    pub fn is_x86_64(&self) -> bool {
        self.machine == EM_X86_64
    }

    /// The address, as the file counts, of a byte of the file that is mapped. Where two segments share a page
    /// of the file, that of `code` or the other one.
    pub fn address_of(&self, offset: u64, code: bool) -> Option<u64> {
        let loads = || self.segments.iter().filter(|s| s.kind == PT_LOAD);
        let find = |s: &Segment| {
            // Whole pages are mapped, also what the segment leaves over of them.
            let slack = s.offset & 0xfff;
            let start = s.offset.checked_sub(slack)?;
            let end = s.offset.checked_add(s.filesz)?;
            let end = end.checked_next_multiple_of(4096)?;
            let within = offset.checked_sub(start)?;
            let address = s.vaddr.wrapping_sub(slack).wrapping_add(within);
            (offset < end).then_some(address)
        };
        let fitting = loads().filter(|s| (s.flags & 1 != 0) == code);
        fitting.chain(loads()).find_map(find)
    }

    /// The offset in the file of an address as the file counts.
    pub fn offset_of(&self, address: u64) -> Option<u64> {
        self.segments
            .iter()
            .filter(|s| s.kind == PT_LOAD)
            .find_map(|s| {
                let within = address.checked_sub(s.vaddr)?;
                (within < s.filesz).then(|| s.offset.checked_add(within))?
            })
    }

    /// The section with this name.
    pub fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|s| s.name == name.as_bytes())
    }

    /// The build id in its notes.
    pub fn build_id(&self, source: &dyn Source) -> Option<Vec<u8>> {
        self.segments
            .iter()
            .filter(|s| s.kind == PT_NOTE)
            .find_map(|s| notes::build_id(&source.bytes(s.offset, s.filesz, NOTES_MAX)?))
    }
}

fn segment(bytes: &[u8]) -> Option<Segment> {
    Some(Segment {
        kind: u32_at(bytes, 0)?,
        flags: u32_at(bytes, 4)?,
        offset: u64_at(bytes, 8)?,
        vaddr: u64_at(bytes, 16)?,
        filesz: u64_at(bytes, 32)?,
        memsz: u64_at(bytes, 40)?,
    })
}

fn sections(source: &dyn Source, head: &[u8], shoff: u64) -> Option<Vec<Section>> {
    let (entsize, mut count) = (u16_at(head, 58)?, u64::from(u16_at(head, 60)?));
    let mut names_at = u32::from(u16_at(head, 62)?);
    if shoff == 0 || u64::from(entsize) != SHDR_LEN {
        return None;
    }
    let first = source.bytes(shoff, SHDR_LEN, SHDR_LEN)?;
    if count == 0 {
        count = u64_at(&first, 32)?;
    }
    if names_at == u32::from(PN_XNUM) {
        names_at = u32_at(&first, 40)?;
    }
    let most = SECTIONS_MAX.checked_mul(SHDR_LEN)?;
    let table = source.bytes(shoff, count.checked_mul(SHDR_LEN)?, most)?;
    let headers: Vec<&[u8]> = table.chunks_exact(64).collect();
    let strings = headers.get(usize::try_from(names_at).ok()?)?;
    let names = source.bytes(u64_at(strings, 24)?, u64_at(strings, 32)?, NAMES_MAX)?;
    let section = |h: &&[u8]| {
        let name = names.get(usize::try_from(u32_at(h, 0)?).ok()?..)?;
        Some(Section {
            name: name.split(|b| *b == 0).next()?.to_vec(),
            kind: u32_at(h, 4)?,
            flags: u64_at(h, 8)?,
            addr: u64_at(h, 16)?,
            offset: u64_at(h, 24)?,
            size: u64_at(h, 32)?,
            link: u32_at(h, 40)?,
            entsize: u64_at(h, 56)?,
        })
    };
    Some(headers.iter().map_while(section).collect())
}
