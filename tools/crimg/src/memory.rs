// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! The address space of the process: areas, and what each byte of them is.
//!
//! A page is *stored* in the image, *zero*, or comes from a *file* that is mapped (and is not in the
//! image), or from an *object*: a file without a name (removed, or a memfd), whose contents are page data of section `files`. Shared anonymous memory that is mapped twice is stored with the first area that shows it; here
//! it is found through every one. Source: spec, chapters "Page data" and "Section: memory".

use crate::{
    error::Failure,
    file::{ImageFile, Page, PageData, ZERO_PAGE},
};
use cr_format::{
    index::IndexEntry, limits, records_of, runs::RunKind, validate::MetaSet, FileRecord,
    GuardRecord, MappedFileRecord, MappedObjectRecord, MemfdRecord, MmRecord, VmaRecord, FILES,
    FILE_DELETED, MEMORY, PROT_EXEC, PROT_READ, PROT_WRITE, VMA_ANON, VMA_FILE, VMA_SHARED,
    VMA_SHARED_ANON,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    os::unix::{ffi::OsStrExt, fs::FileExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

const PAGE: u64 = limits::PAGE;
/// Decoded chunks that are kept for random reads, at most 1 MiB each.
const CACHED: usize = 8;

/// One memory area.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Area {
    /// Record id.
    pub id: u32,
    /// First address.
    pub start: u64,
    /// Address behind the last.
    pub end: u64,
    /// `PROT_*` bits.
    pub prot: u64,
    /// `VMA_*` bits.
    pub flags: u64,
    /// `VMA_ANON`, `VMA_FILE`, `VMA_SHARED_ANON`, `VMA_SPECIAL`.
    pub kind: u64,
    /// Byte offset of `start` in the object.
    pub offset: u64,
    /// Mapped file or shared object, else 0.
    pub object: u64,
    /// What `/proc/PID/maps` shows: path, `[heap]`, `[stack]`, `[vdso]`, `[anon:name]`, or empty.
    /// Bytes of the image: escape them.
    pub name: Vec<u8>,
    /// Path of the mapped file.
    pub path: Option<Vec<u8>>,
    /// The open file that owns the contents, if the mapped file has no name.
    pub owner: Option<u32>,
}

impl Area {
    /// `rw-p`, as in `/proc/PID/maps`.
    pub fn perms(&self) -> String {
        let bit = |on: bool, c| if on { c } else { '-' };
        let shared = if self.flags & VMA_SHARED != 0 {
            's'
        } else {
            'p'
        };
        [
            bit(self.prot & PROT_READ != 0, 'r'),
            bit(self.prot & PROT_WRITE != 0, 'w'),
            bit(self.prot & PROT_EXEC != 0, 'x'),
            shared,
        ]
        .iter()
        .collect()
    }
    /// Length, bytes.
    pub fn len(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }
    /// Never in a sound image.
    pub fn is_empty(&self) -> bool {
        self.end <= self.start
    }
}

/// Where bytes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Content {
    /// In the image, as data or as duplicates of it.
    Stored,
    /// Zero.
    Zero,
    /// In the image, as contents of a file without a name.
    Object,
    /// In the mapped file, not in the image.
    File,
    /// In the parent image.
    Parent,
    /// Not mapped, a guard, or made by the kernel (vvar, vDSO).
    Absent,
}

/// Neighbouring bytes of the same origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First address.
    pub start: u64,
    /// Address behind the last.
    pub end: u64,
    /// Where they come from.
    pub content: Content,
}

/// Where a page is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Home {
    /// Owner of the page data: one more than the number of the process.
    pub owner: u32,
    /// The address that it has there.
    pub address: u64,
    /// For how many bytes from there on the same holds.
    pub reach: u64,
}

/// A shared anonymous object: the process that its contents are with, and its areas there.
struct Shared {
    owner: u32,
    /// Start, offset, length; ascending.
    areas: Vec<(u64, u64, u64)>,
}

/// A file without a name.
#[derive(Default)]
struct Object {
    size: u64,
    /// Its `PAGE` chunks.
    chunks: Vec<IndexEntry>,
}

/// The address space of an image file.
pub struct Memory<'f> {
    file: &'f ImageFile,
    areas: Vec<Area>,
    guards: Vec<(u64, u64)>,
    /// `PAGE` chunks of the section; their keys ascend, and so do all their runs (`PAGE-6`).
    chunks: Vec<IndexEntry>,
    objects: BTreeMap<u32, Object>,
    /// Shared anonymous objects by their number.
    shared: BTreeMap<u64, Shared>,
    /// `PAGE` chunks of other processes that shared objects are with, by owner.
    others: BTreeMap<u32, Vec<IndexEntry>>,
    sysroot: Option<PathBuf>,
    cache: Mutex<Vec<(u64, Arc<PageData>)>>,
    files: Mutex<BTreeMap<Vec<u8>, Option<Arc<File>>>>,
}

impl<'f> Memory<'f> {
    /// Decodes the areas. With a `sysroot`, pages that are in mapped files are read from below it
    /// (`/` is this host); without, they are [`Content::File`] and not readable.
    pub fn new(file: &'f ImageFile, sysroot: Option<PathBuf>) -> Self {
        let section = file.image.sections.section(MEMORY);
        let guards = records_of::<GuardRecord>(section).map_while(Result::ok);
        let areas = areas(&file.image.sections);
        let shared = shared(file, &areas);
        let chunks = |owner: u32| -> Vec<IndexEntry> {
            let of = |e: &&IndexEntry| e.section == MEMORY && e.owner == owner;
            file.page_chunks().filter(of).copied().collect()
        };
        let own = owner_of(file);
        let others = shared.values().map(|s| s.owner).filter(|o| *o != own);
        Self {
            file,
            objects: objects(file),
            guards: guards.map(|g| (g.start, g.end)).collect(),
            chunks: chunks(own),
            others: others.map(|owner| (owner, chunks(owner))).collect(),
            shared,
            areas,
            sysroot,
            cache: Mutex::default(),
            files: Mutex::default(),
        }
    }

    /// The image.
    pub fn image(&self) -> &'f ImageFile {
        self.file
    }

    /// The areas, ascending.
    pub fn areas(&self) -> &[Area] {
        &self.areas
    }

    /// The area that holds `address`.
    pub fn area_at(&self, address: u64) -> Option<&Area> {
        let after = self.areas.partition_point(|a| a.start <= address);
        let area = self.areas.get(after.checked_sub(1)?)?;
        (address < area.end).then_some(area)
    }

    /// Units of work for scans in parallel: the chunks, ascending; read them with
    /// [`ImageFile::page_data`].
    pub fn chunks(&self) -> &[IndexEntry] {
        &self.chunks
    }

    /// What the bytes of `start..end` are, ascending and without gaps. Reads run tables, no pages.
    ///
    /// # Errors
    /// [`Failure::Read`], [`Failure::Defect`].
    pub fn spans(&self, start: u64, end: u64) -> Result<Vec<Span>, Failure> {
        let mut spans = Vec::new();
        let mut at = start;
        let first = self.areas.partition_point(|a| a.end <= start);
        for area in self.areas.get(first..).unwrap_or(&[]) {
            if area.start >= end {
                break;
            }
            push(&mut spans, at, area.start, Content::Absent);
            let (from, to) = (area.start.max(at), area.end.min(end));
            self.area_spans(area, from, to, &mut spans)?;
            at = to;
        }
        push(&mut spans, at, end, Content::Absent);
        Ok(spans)
    }

    fn area_spans(
        &self,
        area: &Area,
        from: u64,
        to: u64,
        spans: &mut Vec<Span>,
    ) -> Result<(), Failure> {
        let mut at = from;
        while at < to {
            // Up to where does one origin reach, guards and the home of shared pages considered?
            if let Some(&(_, end)) = self.guards.iter().find(|g| g.0 <= at && at < g.1) {
                let stop = end.min(to);
                push(spans, at, stop, Content::Absent);
                at = stop;
                continue;
            }
            let guard = self.guards.iter().map(|g| g.0).filter(|g| *g > at).min();
            let mut stop = to.min(guard.unwrap_or(u64::MAX));
            let home = self.home(area, at);
            stop = stop.min(at.saturating_add(home.reach));
            self.run_spans(area, home, stop.saturating_sub(at), at, spans)?;
            at = stop;
        }
        Ok(())
    }

    /// Owner of the page data of this process.
    pub fn owner(&self) -> u32 {
        owner_of(self.file)
    }

    /// The chunks of one owner.
    fn chunks_of(&self, owner: u32) -> &[IndexEntry] {
        if owner == self.owner() {
            return &self.chunks;
        }
        self.others.get(&owner).map_or(&[], Vec::as_slice)
    }

    /// Are the contents of the area stored with this process?
    pub fn is_home(&self, area: &Area) -> bool {
        let shared = self.shared.get(&area.object);
        let shared = shared.filter(|_| area.kind == VMA_SHARED_ANON);
        shared.is_none_or(|s| s.owner == self.owner())
    }

    /// Where the page of `address` is stored.
    pub fn home(&self, area: &Area, address: u64) -> Home {
        let mut here = Home {
            owner: self.owner(),
            address,
            reach: area.end.saturating_sub(address),
        };
        let shared = self.shared.get(&area.object);
        let Some(shared) = shared.filter(|_| area.kind == VMA_SHARED_ANON) else {
            return here;
        };
        let within = address.saturating_sub(area.start);
        let offset = area.offset.saturating_add(within);
        for (start, from, len) in &shared.areas {
            let to = from.saturating_add(*len);
            if shared.owner == here.owner && *start >= area.start {
                break;
            }
            if *from <= offset && offset < to {
                return Home {
                    owner: shared.owner,
                    address: start.saturating_add(offset.saturating_sub(*from)),
                    reach: here.reach.min(to.saturating_sub(offset)),
                };
            }
            if *from > offset {
                here.reach = here.reach.min(from.saturating_sub(offset));
            }
        }
        here
    }

    /// Spans of `len` bytes that are stored from `home` on and seen from `seen` on.
    fn run_spans(
        &self,
        area: &Area,
        home: Home,
        len: u64,
        seen: u64,
        spans: &mut Vec<Span>,
    ) -> Result<(), Failure> {
        let (owner, home) = (home.owner, home.address);
        let end = home.saturating_add(len);
        let show = |address: u64| seen.saturating_add(address.saturating_sub(home));
        let other = match area.kind {
            VMA_ANON | VMA_SHARED_ANON => Content::Zero,
            VMA_FILE => Content::File,
            _ => Content::Absent,
        };
        let object = area.owner.and_then(|id| self.objects.get(&id));
        let gap = |spans: &mut Vec<Span>, from: u64, to: u64| match object {
            Some(object) => {
                let offset = area.offset.saturating_add(from.saturating_sub(area.start));
                self.object_spans(object, offset, to.saturating_sub(from), from, spans)
            }
            None => {
                push(spans, show(from), show(to), other);
                Ok(())
            }
        };
        let mut at = home;
        for run in self.runs(self.chunks_of(owner), home, end)? {
            let (from, to) = (run.0.max(at), run.1.min(end));
            gap(spans, at, from)?;
            let content = match run.2 {
                RunKind::Data | RunKind::Duplicate => Content::Stored,
                RunKind::Zero => Content::Zero,
                RunKind::Parent => Content::Parent,
            };
            push(spans, show(from), show(to), content);
            at = to;
        }
        gap(spans, at, end)
    }

    /// Spans of `len` bytes from `offset` of a file without a name, seen from `seen` on.
    fn object_spans(
        &self,
        object: &Object,
        offset: u64,
        len: u64,
        seen: u64,
        spans: &mut Vec<Span>,
    ) -> Result<(), Failure> {
        let show = |at: u64| seen.saturating_add(at.saturating_sub(offset));
        let end = offset.saturating_add(len);
        // Whole pages behind the end of the file cannot be read.
        let last = object.size.next_multiple_of(PAGE).clamp(offset, end);
        let mut at = offset;
        for run in self.runs(&object.chunks, offset, last)? {
            let (from, to) = (run.0.max(at), run.1.min(last));
            push(spans, show(at), show(from), Content::Zero);
            let content = match run.2 {
                RunKind::Data | RunKind::Duplicate => Content::Object,
                RunKind::Zero => Content::Zero,
                RunKind::Parent => Content::Parent,
            };
            push(spans, show(from), show(to), content);
            at = to;
        }
        push(spans, show(at), show(last), Content::Zero);
        push(spans, show(last), show(end), Content::Absent);
        Ok(())
    }

    /// The runs of `chunks` that touch `from..end`: start, end, kind.
    fn runs(
        &self,
        chunks: &[IndexEntry],
        from: u64,
        end: u64,
    ) -> Result<Vec<(u64, u64, RunKind)>, Failure> {
        let mut found = Vec::new();
        let first = chunks.partition_point(|c| c.key <= from);
        for chunk in chunks.get(first.saturating_sub(1)..).unwrap_or(&[]) {
            if chunk.key >= end {
                break;
            }
            for run in self.file.runs(chunk)?.1 {
                let run_end = run.end().unwrap_or(u64::MAX);
                if run_end > from && run.start < end {
                    found.push((run.start, run_end, run.kind));
                }
            }
        }
        Ok(found)
    }

    /// Reads from `address` on, as far as bytes can be had without a gap; says how many.
    ///
    /// # Errors
    /// [`Failure::Read`], [`Failure::Defect`].
    pub fn read(&self, address: u64, buf: &mut [u8]) -> Result<usize, Failure> {
        let mut have = 0_usize;
        while have < buf.len() {
            let at = address.saturating_add(have as u64);
            let within = at % PAGE;
            let n = usize::try_from(PAGE.saturating_sub(within)).unwrap_or(0);
            let n = n.min(buf.len().saturating_sub(have));
            let Some(to) = buf.get_mut(have..have.saturating_add(n)) else {
                break;
            };
            let mut page = [0; PAGE as usize];
            if !self.page(at.saturating_sub(within), &mut page)? {
                break;
            }
            let within = usize::try_from(within).unwrap_or(0);
            let Some(from) = page.get(within..within.saturating_add(n)) else {
                break;
            };
            to.copy_from_slice(from);
            have = have.saturating_add(n);
        }
        Ok(have)
    }

    /// Reads all of `buf`; `None` if a byte of it cannot be had.
    ///
    /// # Errors
    /// [`Failure::Read`], [`Failure::Defect`].
    pub fn read_exact(&self, address: u64, buf: &mut [u8]) -> Result<Option<()>, Failure> {
        let n = self.read(address, buf)?;
        Ok((n == buf.len()).then_some(()))
    }

    /// The little-endian word at `address`, if it can be had.
    ///
    /// # Errors
    /// [`Failure::Read`], [`Failure::Defect`].
    pub fn word(&self, address: u64) -> Result<Option<u64>, Failure> {
        let mut bytes = [0; 8];
        let got = self.read_exact(address, &mut bytes)?;
        Ok(got.map(|()| u64::from_le_bytes(bytes)))
    }

    /// Fills `page` with the page at `address`; false if it cannot be had.
    fn page(&self, address: u64, page: &mut [u8; PAGE as usize]) -> Result<bool, Failure> {
        let Some(area) = self.area_at(address) else {
            return Ok(false);
        };
        if self.guards.iter().any(|g| g.0 <= address && address < g.1) {
            return Ok(false);
        }
        let home = self.home(area, address);
        if let Some(had) = self.stored(self.chunks_of(home.owner), home.address, page)? {
            return Ok(had);
        }
        match area.kind {
            VMA_ANON | VMA_SHARED_ANON => {
                page.fill(0);
                Ok(true)
            }
            VMA_FILE => match area.owner {
                Some(owner) => {
                    let within = address.saturating_sub(area.start);
                    self.object_page(owner, area.offset.saturating_add(within), page)
                }
                None => Ok(self.mapped(area, address, page)),
            },
            _ => Ok(false),
        }
    }

    /// The page that `chunks` have with this key; `None` if they say nothing of it, false if it is in the parent.
    fn stored(
        &self,
        chunks: &[IndexEntry],
        key: u64,
        page: &mut [u8; PAGE as usize],
    ) -> Result<Option<bool>, Failure> {
        let after = chunks.partition_point(|c| c.key <= key);
        let Some(entry) = after.checked_sub(1).and_then(|n| chunks.get(n)) else {
            return Ok(None);
        };
        Ok(match self.cached(entry)?.page(key) {
            Some(Page::Data(bytes)) => {
                page.copy_from_slice(bytes.get(..PAGE as usize).unwrap_or(&ZERO_PAGE));
                Some(true)
            }
            Some(Page::Zero) => {
                page.fill(0);
                Some(true)
            }
            Some(Page::Parent) => Some(false),
            None => None,
        })
    }

    fn object_page(
        &self,
        owner: u32,
        offset: u64,
        page: &mut [u8; PAGE as usize],
    ) -> Result<bool, Failure> {
        let Some(object) = self.objects.get(&owner).filter(|o| offset < o.size) else {
            return Ok(false);
        };
        if let Some(had) = self.stored(&object.chunks, offset, page)? {
            return Ok(had);
        }
        page.fill(0);
        Ok(true)
    }

    /// Reads all of `buf` from the contents of a file without a name; `None` if a byte of it cannot be had.
    ///
    /// # Errors
    /// [`Failure::Read`], [`Failure::Defect`].
    pub fn read_object(
        &self,
        owner: u32,
        offset: u64,
        buf: &mut [u8],
    ) -> Result<Option<()>, Failure> {
        let (mut at, mut to) = (offset, buf);
        let mut page = [0; PAGE as usize];
        while !to.is_empty() {
            let within = at % PAGE;
            if !self.object_page(owner, at.saturating_sub(within), &mut page)? {
                return Ok(None);
            }
            // CAST: below 4096.
            let from = page.get(within as usize..).unwrap_or(&[]);
            let n = from.len().min(to.len());
            let (now, rest) = to.split_at_mut(n);
            now.copy_from_slice(from.get(..n).unwrap_or(&[]));
            at = at.saturating_add(n as u64);
            to = rest;
        }
        Ok(Some(()))
    }

    /// Length of a file without a name.
    pub fn object_len(&self, owner: u32) -> u64 {
        self.objects.get(&owner).map_or(0, |o| o.size)
    }

    fn cached(&self, entry: &IndexEntry) -> Result<Arc<PageData>, Failure> {
        if let Ok(cache) = self.cache.lock() {
            if let Some((_, data)) = cache.iter().find(|c| c.0 == entry.offset) {
                return Ok(data.clone());
            }
        }
        let data = Arc::new(self.file.page_data(entry)?);
        if let Ok(mut cache) = self.cache.lock() {
            if cache.len() >= CACHED {
                cache.remove(0);
            }
            cache.push((entry.offset, data.clone()));
        }
        Ok(data)
    }

    /// The file that an area maps, from below the sysroot; `None` without one, or if it cannot be opened.
    pub fn open_mapped(&self, area: &Area) -> Option<Arc<File>> {
        if area.owner.is_some() {
            return None;
        }
        let (sysroot, path) = (self.sysroot.as_ref()?, area.path.as_ref()?);
        let mut files = self.files.lock().ok()?;
        let open = || {
            let file = File::open(below(sysroot, path)).ok()?;
            file.metadata().ok()?.is_file().then(|| Arc::new(file))
        };
        files.entry(path.clone()).or_insert_with(open).clone()
    }

    fn mapped(&self, area: &Area, address: u64, page: &mut [u8; PAGE as usize]) -> bool {
        let Some(file) = self.open_mapped(area) else {
            return false;
        };
        let offset = area
            .offset
            .saturating_add(address.saturating_sub(area.start));
        // Behind the end of the file the last page is zero, and whole pages cannot be read.
        page.fill(0);
        let mut have = 0_usize;
        while let Some(rest) = page.get_mut(have..).filter(|r| !r.is_empty()) {
            match file.read_at(rest, offset.saturating_add(have as u64)) {
                Ok(0) => break,
                Ok(n) => have = have.saturating_add(n),
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(_) => return false,
            }
        }
        have > 0
    }
}

/// `path` of the process, below `sysroot`. Components `..` do not leave it.
pub fn below(sysroot: &Path, path: &[u8]) -> PathBuf {
    let mut to = sysroot.to_owned();
    for part in path.split(|b| *b == b'/') {
        if !matches!(part, b"" | b"." | b"..") {
            to.push(std::ffi::OsStr::from_bytes(part));
        }
    }
    to
}

fn push(spans: &mut Vec<Span>, start: u64, end: u64, content: Content) {
    if start >= end {
        return;
    }
    match spans.last_mut() {
        Some(last) if last.end == start && last.content == content => last.end = end,
        _ => spans.push(Span {
            start,
            end,
            content,
        }),
    }
}

/// The files without a name, whose contents are in the image: id of the open file that owns them, and its record.
pub fn nameless(sections: &dyn MetaSet) -> BTreeMap<u32, FileRecord<'_>> {
    let section = sections.section(FILES);
    let memfds: BTreeSet<u32> = records_of::<MemfdRecord<'_>>(section)
        .map_while(Result::ok)
        .filter(|m| m.contents == u64::from(m.id))
        .map(|m| m.id)
        .collect();
    records_of::<FileRecord<'_>>(section)
        .map_while(Result::ok)
        .filter(|f| f.kind == FILE_DELETED || memfds.contains(&f.id))
        .map(|f| (f.id, f))
        .collect()
}

/// All files whose contents are in the image, those that have a path included: id of the open file that owns them, and its length.
pub fn file_lengths(sections: &dyn MetaSet) -> BTreeMap<u32, u64> {
    let stored = crate::contents::stored(sections);
    let stored = stored.into_iter().map(|s| (s.file.id, s.file.size));
    nameless(sections)
        .into_iter()
        .map(|(id, f)| (id, f.size))
        .chain(stored)
        .collect()
}

fn objects(file: &ImageFile) -> BTreeMap<u32, Object> {
    let mut objects: BTreeMap<u32, Object> = nameless(&file.image.sections)
        .into_iter()
        .map(|(id, f)| {
            let object = Object {
                size: f.size,
                ..Object::default()
            };
            (id, object)
        })
        .collect();
    for entry in file.page_chunks().filter(|e| e.section == FILES) {
        if let Some(object) = objects.get_mut(&entry.owner) {
            object.chunks.push(*entry);
        }
    }
    objects
}

/// Owner of the page data of the process that the image is about.
fn owner_of(file: &ImageFile) -> u32 {
    file.image.process.saturating_add(1)
}

/// With which process, and which areas of it, the shared anonymous objects are that `areas` have: the first one whose
/// areas show all of it. Source: spec, chapter "Processes".
fn shared(file: &ImageFile, areas: &[Area]) -> BTreeMap<u64, Shared> {
    let own = owner_of(file);
    let objects = areas.iter().filter(|a| a.kind == VMA_SHARED_ANON);
    let mut found: BTreeMap<u64, Shared> = BTreeMap::new();
    for a in objects {
        let none = || Shared {
            owner: own,
            areas: Vec::new(),
        };
        let own = found.entry(a.object).or_insert_with(none);
        own.areas.push((a.start, a.offset, a.len()));
    }
    let whole = file.image.all_sections();
    if found.is_empty() || whole.processes() <= 1 {
        return found;
    }
    // Largest extent of each, and the first process that shows all of that.
    let mut first: BTreeMap<u64, (u64, Option<Shared>)> = BTreeMap::new();
    for process in 0..whole.processes() {
        let mut mapped: BTreeMap<u64, Vec<(u64, u64, u64)>> = BTreeMap::new();
        for v in records_of::<VmaRecord<'_>>(whole.of(process, MEMORY)).map_while(Result::ok) {
            if v.kind == VMA_SHARED_ANON && found.contains_key(&v.object) {
                let len = v.end.saturating_sub(v.start);
                let list = mapped.entry(v.object).or_default();
                list.push((v.start, v.offset, len));
            }
        }
        for (object, mut areas) in mapped {
            areas.sort_unstable();
            let size = areas.iter().map(|a| a.1.saturating_add(a.2)).max();
            let size = size.unwrap_or(0);
            let all = covers(&areas, size);
            let best = first.entry(object).or_insert((0, None));
            if size > best.0 || size == best.0 && best.1.is_none() {
                let owner = process.saturating_add(1);
                *best = (size, all.then_some(Shared { owner, areas }));
            }
        }
    }
    for (object, (_, home)) in first {
        if let Some(home) = home {
            found.insert(object, home);
        }
    }
    found
}

/// Do the areas together show the object from its beginning to `size`?
fn covers(areas: &[(u64, u64, u64)], size: u64) -> bool {
    let mut ranges: Vec<(u64, u64)> = areas.iter().map(|a| (a.1, a.2)).collect();
    ranges.sort_unstable();
    let mut at = 0;
    for (from, len) in ranges {
        if from > at {
            return false;
        }
        at = at.max(from.saturating_add(len));
    }
    at == size
}

/// The areas that section `memory` describes, ascending.
pub fn areas(sections: &dyn MetaSet) -> Vec<Area> {
    let section = sections.section(MEMORY);
    let mut paths: BTreeMap<u64, &[u8]> = records_of::<MappedFileRecord<'_>>(section)
        .map_while(Result::ok)
        .map(|f| (f.id.into(), f.path))
        .collect();
    let contents = nameless(sections);
    let mut owners: BTreeMap<u64, u32> = BTreeMap::new();
    for o in records_of::<MappedObjectRecord>(section).map_while(Result::ok) {
        let owner = u32::try_from(o.file).ok().and_then(|id| contents.get(&id));
        if let Some(file) = owner {
            owners.insert(o.id.into(), file.id);
            paths.insert(o.id.into(), file.path);
        }
    }
    let mm = records_of::<MmRecord<'_>>(section)
        .map_while(Result::ok)
        .next();
    let (heap, stack) = mm.map_or(((0, 0), 0), |m| ((m.start_brk, m.brk), m.start_stack));
    let mut areas: Vec<Area> = records_of::<VmaRecord<'_>>(section)
        .map_while(Result::ok)
        .map(|v| {
            let path = paths
                .get(&v.object)
                .filter(|_| v.kind == VMA_FILE)
                .map(|p| p.to_vec());
            let name = match &path {
                Some(path) => path.clone(),
                None if v.kind == VMA_ANON && v.start <= stack && stack < v.end => {
                    b"[stack]".to_vec()
                }
                None if v.kind == VMA_ANON && v.start < heap.1 && heap.0 < v.end => {
                    b"[heap]".to_vec()
                }
                None if v.name.is_empty() || v.name.starts_with(b"[") => v.name.to_vec(),
                None => [b"[anon:", v.name, b"]"].concat(),
            };
            Area {
                id: v.id,
                start: v.start,
                end: v.end,
                prot: v.prot,
                flags: v.flags,
                kind: v.kind,
                offset: v.offset,
                object: v.object,
                name,
                path,
                owner: owners
                    .get(&v.object)
                    .copied()
                    .filter(|_| v.kind == VMA_FILE),
            }
        })
        .collect();
    // They ascend in a sound image; everything here counts on it.
    areas.sort_by_key(|a| a.start);
    areas
}
