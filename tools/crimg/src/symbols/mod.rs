// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Names of addresses: which program or library, function, source line.
//!
//! The files come from below a sysroot and are used only if they are those that the process had mapped; what is
//! wrong with one is in [`Symbolizer::problems`]. Without a file, what the image has of it is used: the vDSO, and
//! in imported cores often the whole library.

mod binary;
mod debug;
mod table;

pub use binary::{Binary, Cfi, Reading};
pub use table::Table;

use crate::{
    elf::{vdso, Object, Slice, Source},
    memory::{below, Area, Memory},
    number,
    process::Process,
};
use cr_format::{records_of, validate::MetaSet, MappedFileRecord, MEMORY, PROT_EXEC, VMA_FILE};
use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs::File,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    rc::Rc,
};

/// A function, or a part of one that was put into another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// Name, demangled; of the file: escape it.
    pub function: Option<String>,
    /// Bytes from the beginning of the function, if it comes from the symbol table.
    pub offset: Option<u64>,
    /// Source file.
    pub file: Option<String>,
    /// Line, from 1.
    pub line: Option<u32>,
    /// Column, from 1.
    pub column: Option<u32>,
    /// Was it put into the function that follows?
    pub inlined: bool,
}

type Binaries<'m> = BTreeMap<(u64, u64), Option<Rc<Binary<'m>>>>;

/// Finds names. Not for several threads: make one for each.
pub struct Symbolizer<'m, 'f> {
    memory: &'m Memory<'f>,
    sysroot: Option<PathBuf>,
    /// By kind and object of the area; objects of special areas are their address.
    binaries: RefCell<Binaries<'m>>,
    problems: RefCell<Vec<String>>,
}

impl<'m, 'f> Symbolizer<'m, 'f> {
    /// Looks for files below `sysroot`; without one, only in the image.
    pub fn new(memory: &'m Memory<'f>, sysroot: Option<PathBuf>) -> Self {
        Self {
            memory,
            sysroot,
            binaries: RefCell::default(),
            problems: RefCell::default(),
        }
    }

    /// The address space.
    pub fn memory(&self) -> &'m Memory<'f> {
        self.memory
    }

    /// What was wrong with files so far; sentences with text of image and files escaped.
    pub fn problems(&self) -> Vec<String> {
        self.problems.borrow().clone()
    }

    /// Can instructions be at this address?
    pub fn is_code(&self, address: u64) -> bool {
        self.memory
            .area_at(address)
            .is_some_and(|a| a.prot & PROT_EXEC != 0)
    }

    /// Program or library at an address, and the difference between addresses in the process and in the file.
    pub fn binary(&self, address: u64) -> Option<(Rc<Binary<'m>>, u64)> {
        let area = self.memory.area_at(address)?;
        let special = is_vdso(area);
        if area.kind != VMA_FILE && !special {
            return None;
        }
        let key = (area.kind, if special { area.start } else { area.object });
        let known = self.binaries.borrow().get(&key).cloned();
        let binary = match known {
            Some(binary) => binary,
            None => {
                let binary = self.open(area).map(Rc::new);
                self.binaries.borrow_mut().insert(key, binary.clone());
                binary
            }
        }?;
        let within = address.checked_sub(area.start)?;
        let offset = if special {
            within
        } else {
            area.offset.checked_add(within)?
        };
        let code = area.prot & PROT_EXEC != 0;
        let in_file = binary.object.address_of(offset, code)?;
        Some((binary, address.wrapping_sub(in_file)))
    }

    /// Path of the file at an address, or `[vdso]`. Bytes of the image: escape them.
    pub fn module(&self, address: u64) -> Option<Vec<u8>> {
        let area = self.memory.area_at(address)?;
        (area.kind == VMA_FILE || is_vdso(area)).then(|| area.name.clone())
    }

    /// The functions at an address, the innermost first; empty if nothing is known.
    pub fn lines(&self, address: u64) -> Vec<Line> {
        match self.binary(address) {
            Some((binary, bias)) => binary.lines(address.wrapping_sub(bias)),
            None => Vec::new(),
        }
    }

    /// Name of an address for people: `main+16`; not escaped.
    pub fn name(&self, address: u64) -> Option<String> {
        let (binary, bias) = self.binary(address)?;
        let (name, offset) = binary.symbol(address.wrapping_sub(bias))?;
        Some(match offset {
            0 => name,
            n => format!("{name}+{n}"),
        })
    }

    /// Bytes of the program, which the image need not have.
    pub fn code(&self, address: u64, buf: &mut [u8]) -> Option<()> {
        if let Ok(Some(())) = self.memory.read_exact(address, buf) {
            return Some(());
        }
        let (binary, bias) = self.binary(address)?;
        let offset = binary.object.offset_of(address.wrapping_sub(bias))?;
        binary.source.read(offset, buf)
    }

    fn problem(&self, text: String) {
        self.problems.borrow_mut().push(text);
    }

    fn open(&self, area: &Area) -> Option<Binary<'m>> {
        if is_vdso(area) {
            return self.vdso(area);
        }
        if let Some(binary) = self.open_file(area) {
            return Some(binary);
        }
        let source = InMemory {
            memory: self.memory,
            object: area.object,
            owner: area.owner,
        };
        let object = Object::read(&source).filter(Object::is_x86_64)?;
        Some(Binary::new(object, Box::new(source), None))
    }

    fn vdso(&self, area: &Area) -> Option<Binary<'m>> {
        if area.len() > 1 << 20 {
            return None;
        }
        let mut bytes = vec![0; usize::try_from(area.len()).ok()?];
        let bytes = match self.memory.read_exact(area.start, &mut bytes) {
            Ok(Some(())) => bytes,
            _ => vdso::bytes(&Process::new(&self.memory.image().image.sections))?,
        };
        let source = Slice(bytes);
        let object = Object::read(&source).filter(Object::is_x86_64)?;
        Some(Binary::new(object, Box::new(source), None))
    }

    fn open_file(&self, area: &Area) -> Option<Binary<'m>> {
        if area.owner.is_some() {
            // The image has all of it.
            return None;
        }
        let sysroot = self.sysroot.as_deref()?;
        let path = area.path.as_deref()?;
        let shown = crate::escape::text(path);
        let place = below(sysroot, path);
        let Some(file) = regular(&place) else {
            self.problem(format!(
                "{shown}: there is no such file below the sysroot: no names from it"
            ));
            return None;
        };
        let Some(object) = Object::read(&file).filter(Object::is_x86_64) else {
            self.problem(format!("{shown}: the file is no ELF file for x86-64"));
            return None;
        };
        let id = object.build_id(&file);
        self.check(area, &file, id.as_deref(), &shown)?;
        let separate = debug::find(sysroot, path, &object, &file, id.as_deref());
        let (separate, complaint) = separate;
        if let Some(text) = complaint {
            self.problem(format!("{shown}: {text}"));
        }
        let (binary, complaints) = Binary::with_debug(object, Box::new(file), separate);
        for text in complaints {
            self.problem(format!("{shown}: {text}"));
        }
        Some(binary)
    }

    /// Is it the file that the process had mapped?
    fn check(&self, area: &Area, file: &File, id: Option<&[u8]>, shown: &str) -> Option<()> {
        let section = self.memory.image().image.sections.section(MEMORY);
        let record = records_of::<MappedFileRecord<'_>>(section)
            .map_while(Result::ok)
            .find(|f| u64::from(f.id) == area.object)?;
        let hex = |id: Option<&[u8]>| id.map_or("none".to_owned(), number::hex);
        let in_memory = || {
            let source = InMemory {
                memory: self.memory,
                object: area.object,
                owner: area.owner,
            };
            Object::read(&source)?.build_id(&source)
        };
        let recorded = Some(record.build_id.to_vec()).filter(|id| !id.is_empty());
        if let Some(recorded) = recorded.or_else(in_memory) {
            if id == Some(recorded.as_slice()) {
                return Some(());
            }
            self.problem(format!(
                "{shown}: the file below the sysroot has the build id {}, the process had {}: it is not used",
                hex(id),
                number::hex(&recorded)
            ));
            return None;
        }
        let meta = file.metadata().ok()?;
        // Imported cores do not know it.
        let unknown = record.mtime_s == 0 && record.ino == 0;
        if !unknown && meta.len() != record.size {
            self.problem(format!(
                "{shown}: the file below the sysroot has {} bytes, the process had one of {}: it is not used",
                meta.len(),
                record.size
            ));
            return None;
        }
        if !unknown && meta.mtime() != record.mtime_s {
            self.problem(format!(
                "{shown}: the file below the sysroot has the same size but was modified at another time: if it is \
                 another build, its names are wrong"
            ));
        }
        Some(())
    }
}

/// In imported cores it is an area like others, with contents.
fn is_vdso(area: &Area) -> bool {
    area.kind != VMA_FILE && area.name == b"[vdso]"
}

fn regular(path: &Path) -> Option<File> {
    let meta = std::fs::metadata(path).ok()?;
    // A FIFO would be waited for.
    let file = meta.is_file().then(|| File::open(path))?;
    file.ok()
}

/// A file as far as the process has it in memory.
struct InMemory<'m, 'f> {
    memory: &'m Memory<'f>,
    object: u64,
    owner: Option<u32>,
}

impl Source for InMemory<'_, '_> {
    fn read(&self, offset: u64, buf: &mut [u8]) -> Option<()> {
        let end = offset.checked_add(buf.len() as u64)?;
        if let Some(owner) = self.owner {
            return self.memory.read_object(owner, offset, buf).ok()?;
        }
        let area = self.memory.areas().iter().find(|a| {
            let fits = a.offset <= offset && end <= a.offset.saturating_add(a.len());
            a.kind == VMA_FILE && a.object == self.object && fits
        })?;
        let within = offset.checked_sub(area.offset)?;
        let at = area.start.checked_add(within)?;
        self.memory.read_exact(at, buf).ok()?
    }
    fn len(&self) -> u64 {
        if let Some(owner) = self.owner {
            return self.memory.object_len(owner);
        }
        let mapped = self.memory.areas().iter();
        let mapped = mapped.filter(|a| a.kind == VMA_FILE && a.object == self.object);
        mapped
            .map(|a| a.offset.saturating_add(a.len()))
            .max()
            .unwrap_or(0)
    }
}

/// A shared piece of bytes for the readers of DWARF.
fn reading(bytes: Vec<u8>) -> Reading {
    Reading::new(Rc::from(bytes), gimli::LittleEndian)
}
