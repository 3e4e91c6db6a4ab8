// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! The address space of the process: areas, and what each byte of them is.
//!
//! A page is *stored* in the image, *zero*, or comes from a *file* that is mapped (and is not in the
//! image). Shared anonymous memory that is mapped twice is stored with the first area that shows it; here
//! it is found through every one. Source: spec, chapters "Page data" and "Section: memory".

use crate::{
    error::Failure,
    file::{ImageFile, Page, PageData, ZERO_PAGE},
};
use cr_format::{
    index::IndexEntry, limits, records_of, runs::RunKind, validate::MetaSet, GuardRecord,
    MappedFileRecord, MmRecord, VmaRecord, MEMORY, PROT_EXEC, PROT_READ, PROT_WRITE, VMA_ANON,
    VMA_FILE, VMA_SHARED, VMA_SHARED_ANON,
};
use std::{
    collections::BTreeMap,
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

/// The address space of an image file.
pub struct Memory<'f> {
    file: &'f ImageFile,
    areas: Vec<Area>,
    guards: Vec<(u64, u64)>,
    /// `PAGE` chunks of the section; their keys ascend, and so do all their runs (`PAGE-6`).
    chunks: Vec<IndexEntry>,
    sysroot: Option<PathBuf>,
    cache: Mutex<Vec<(usize, Arc<PageData>)>>,
    files: Mutex<BTreeMap<Vec<u8>, Option<Arc<File>>>>,
}

impl<'f> Memory<'f> {
    /// Decodes the areas. With a `sysroot`, pages that are in mapped files are read from below it
    /// (`/` is this host); without, they are [`Content::File`] and not readable.
    pub fn new(file: &'f ImageFile, sysroot: Option<PathBuf>) -> Self {
        let section = file.image.sections.section(MEMORY);
        let guards = records_of::<GuardRecord>(section).map_while(Result::ok);
        Self {
            file,
            areas: areas(section),
            guards: guards.map(|g| (g.start, g.end)).collect(),
            chunks: file
                .page_chunks()
                .filter(|e| e.section == MEMORY && e.owner == 1)
                .copied()
                .collect(),
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
            let (home, reach) = self.home(area, at);
            stop = stop.min(at.saturating_add(reach));
            self.run_spans(area, home, stop.saturating_sub(at), at, spans)?;
            at = stop;
        }
        Ok(())
    }

    /// The address where the page of `address` is stored, and for how many bytes that distance holds.
    pub fn home(&self, area: &Area, address: u64) -> (u64, u64) {
        let rest = area.end.saturating_sub(address);
        if area.kind != VMA_SHARED_ANON {
            return (address, rest);
        }
        let offset = area
            .offset
            .saturating_add(address.saturating_sub(area.start));
        let mut reach = rest;
        for a in &self.areas {
            if a.start >= area.start {
                break;
            }
            if a.kind != VMA_SHARED_ANON || a.object != area.object {
                continue;
            }
            let (from, to) = (a.offset, a.offset.saturating_add(a.len()));
            if from <= offset && offset < to {
                let within = offset.saturating_sub(from);
                let left = to.saturating_sub(offset);
                return (a.start.saturating_add(within), reach.min(left));
            }
            if from > offset {
                reach = reach.min(from.saturating_sub(offset));
            }
        }
        (address, reach)
    }

    /// Spans of `len` bytes that are stored from `home` on and seen from `seen` on.
    fn run_spans(
        &self,
        area: &Area,
        home: u64,
        len: u64,
        seen: u64,
        spans: &mut Vec<Span>,
    ) -> Result<(), Failure> {
        let end = home.saturating_add(len);
        let show = |address: u64| seen.saturating_add(address.saturating_sub(home));
        let other = match area.kind {
            VMA_ANON | VMA_SHARED_ANON => Content::Zero,
            VMA_FILE => Content::File,
            _ => Content::Absent,
        };
        let mut at = home;
        let first = self.chunks.partition_point(|c| c.key <= home);
        for chunk in self.chunks.get(first.saturating_sub(1)..).unwrap_or(&[]) {
            if chunk.key >= end {
                break;
            }
            for run in self.file.runs(chunk)?.1 {
                let run_end = run.end().unwrap_or(u64::MAX);
                if run_end <= at {
                    continue;
                }
                if run.start >= end {
                    break;
                }
                let from = run.start.max(at);
                push(spans, show(at), show(from), other);
                let content = match run.kind {
                    RunKind::Data | RunKind::Duplicate => Content::Stored,
                    RunKind::Zero => Content::Zero,
                    RunKind::Parent => Content::Parent,
                };
                let to = run_end.min(end);
                push(spans, show(from), show(to), content);
                at = to;
            }
        }
        push(spans, show(at), show(end), other);
        Ok(())
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
        let (home, _) = self.home(area, address);
        let after = self.chunks.partition_point(|c| c.key <= home);
        if let Some(n) = after.checked_sub(1) {
            let data = self.cached(n)?;
            match data.page(home) {
                Some(Page::Data(bytes)) => {
                    page.copy_from_slice(bytes.get(..PAGE as usize).unwrap_or(&ZERO_PAGE));
                    return Ok(true);
                }
                Some(Page::Zero) => {
                    page.fill(0);
                    return Ok(true);
                }
                Some(Page::Parent) => return Ok(false),
                None => {}
            }
        }
        match area.kind {
            VMA_ANON | VMA_SHARED_ANON => {
                page.fill(0);
                Ok(true)
            }
            VMA_FILE => Ok(self.mapped(area, address, page)),
            _ => Ok(false),
        }
    }

    fn cached(&self, n: usize) -> Result<Arc<PageData>, Failure> {
        if let Ok(cache) = self.cache.lock() {
            if let Some((_, data)) = cache.iter().find(|c| c.0 == n) {
                return Ok(data.clone());
            }
        }
        let Some(entry) = self.chunks.get(n) else {
            return Ok(Arc::new(PageData {
                runs: Vec::new(),
                bytes: Vec::new(),
            }));
        };
        let data = Arc::new(self.file.page_data(entry)?);
        if let Ok(mut cache) = self.cache.lock() {
            if cache.len() >= CACHED {
                cache.remove(0);
            }
            cache.push((n, data.clone()));
        }
        Ok(data)
    }

    /// The file that an area maps, from below the sysroot; `None` without one, or if it cannot be opened.
    pub fn open_mapped(&self, area: &Area) -> Option<Arc<File>> {
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

/// The areas that section `memory` describes, ascending.
pub fn areas(section: &[u8]) -> Vec<Area> {
    let paths: BTreeMap<u64, &[u8]> = records_of::<MappedFileRecord<'_>>(section)
        .map_while(Result::ok)
        .map(|f| (f.id.into(), f.path))
        .collect();
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
            }
        })
        .collect();
    // They ascend in a sound image; everything here counts on it.
    areas.sort_by_key(|a| a.start);
    areas
}
