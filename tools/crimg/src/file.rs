// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Random access to an image in a file (or a copy of a stream, see [`crate::spool`]): metadata at once, page data when it is asked for.
//!
//! The index tells where the chunks are. It is derived data, so it is believed only as far as it fits: the
//! chunks it names must follow each other without a gap, and every header that is read must be the one
//! that the index has. When it does not fit, the image is read forward instead and the defect is kept.
//! All reads are `pread`: one file serves several threads, and a truncation is an error and not a signal.

use crate::{
    error::Failure,
    escape,
    input::{Got, Input},
    load::{self, crc, Image, Sections},
    spool,
};
use cr_format::{
    chunk::{ChunkHeader, ChunkType, CODEC_RAW, HEADER_LEN},
    end::End,
    index::{IndexEntry, ENTRY_LEN},
    limits,
    runs::{Run, RunKind, Runs, TABLE_LEN},
    superblock::{self, Superblock},
    validate::MetaSet,
    writer::{END_CHUNK_LEN, PAGE_HEAD_LEN},
    zstd::check_frame,
    Error, ErrorKind,
};
use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Most index that is kept: the chunks of an image of more than 1 TiB.
const INDEX_MAX: u64 = 64 << 20;

/// Page data is read and hashed in pieces of this length, bytes.
const READ_PIECE: usize = 128 << 10;

/// A page of zeros.
pub static ZERO_PAGE: [u8; limits::PAGE as usize] = [0; limits::PAGE as usize];

/// An image in a file.
pub struct ImageFile {
    /// Head and metadata. `runs` and `chunks` are empty: see [`ImageFile::entries`] and [`ImageFile::runs`].
    pub image: Image,
    /// As the user named it; `None` for a copy of a stream.
    path: Option<PathBuf>,
    file: Arc<File>,
    len: u64,
    entries: Arc<Vec<IndexEntry>>,
}

/// The checked page data of one chunk, decoded.
#[derive(Default)]
pub struct PageData {
    /// Its runs.
    pub runs: Vec<Run>,
    /// The pages of its data runs, in order.
    pub bytes: Vec<u8>,
}

/// What an image says about one page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page<'p> {
    /// Its contents, 4096 bytes.
    Data(&'p [u8]),
    /// Zero.
    Zero,
    /// In the parent image.
    Parent,
}

impl PageData {
    /// Calls `visit` for each page of the chunk with its address, ascending. Duplicates come with the
    /// contents of their source.
    pub fn for_each<'p>(&'p self, mut visit: impl FnMut(u64, Page<'p>)) {
        let mut at = 0_usize;
        for run in &self.runs {
            for n in 0..u64::from(run.npages) {
                let address = run.start.saturating_add(n.saturating_mul(limits::PAGE));
                visit(
                    address,
                    match run.kind {
                        RunKind::Data => {
                            let page = self.slice(at);
                            at = at.saturating_add(limits::PAGE as usize);
                            page
                        }
                        RunKind::Zero => Page::Zero,
                        RunKind::Duplicate => self.source(run),
                        RunKind::Parent => Page::Parent,
                    },
                );
            }
        }
    }

    fn slice(&self, at: usize) -> Page<'_> {
        let page = self.bytes.get(at..at.saturating_add(limits::PAGE as usize));
        // A table that has been checked against the length of the data never asks for more.
        page.map_or(Page::Zero, Page::Data)
    }

    fn source(&self, run: &Run) -> Page<'_> {
        match self.position(run.source) {
            Some(at) => self.slice(at),
            None => Page::Zero,
        }
    }

    /// Where the page at `address` is in `bytes`, if a data run holds it.
    fn position(&self, address: u64) -> Option<usize> {
        let mut before = 0_u64;
        for run in &self.runs {
            if run.kind == RunKind::Data && run.start <= address && address < run.end().ok()? {
                return usize::try_from(before.checked_add(address.checked_sub(run.start)?)?).ok();
            }
            before = before.checked_add(run.stored_bytes())?;
        }
        None
    }

    /// The page at `address`, a multiple of 4096; `None` if no run of the chunk names it.
    pub fn page(&self, address: u64) -> Option<Page<'_>> {
        let after = self.runs.partition_point(|r| r.start <= address);
        let run = self.runs.get(after.checked_sub(1)?)?;
        if address >= run.end().ok()? {
            return None;
        }
        Some(match run.kind {
            RunKind::Data => self.slice(self.position(address)?),
            RunKind::Zero => Page::Zero,
            RunKind::Duplicate => self.source(run),
            RunKind::Parent => Page::Parent,
        })
    }
}

impl ImageFile {
    /// Opens a file (`-`: standard input) and reads superblock, metadata, index and end; no page data, so the time
    /// does not depend on the size of the process.
    ///
    /// Damage is in `image.damage`, as with [`load::load`]; what could be read is there.
    ///
    /// # Errors
    /// [`Failure::Read`]; [`Failure::Output`] if there is no room for the copy of a stream.
    pub fn open(path: &str) -> Result<Self, Failure> {
        let spooled = spool::open(path)?;
        let len = spooled.file.metadata().map(|meta| meta.len());
        let len = len.map_err(|error| Failure::Read {
            image: spooled.name.clone(),
            error,
        })?;
        let mut this = Self {
            image: Image {
                name: spooled.name,
                superblock: None,
                process: 0,
                sections: Sections::default(),
                whole: None,
                chunks: Vec::new(),
                runs: Vec::new(),
                end: None,
                len,
                damage: Vec::new(),
            },
            path: spooled.is_named.then(|| path.into()),
            file: Arc::new(spooled.file),
            len,
            entries: Arc::default(),
        };
        match this.by_index() {
            Ok(()) => Ok(this),
            Err(Failure::Defect { .. }) => this.forward(),
            Err(e) => Err(e),
        }
    }

    /// The same for what looks at one process: that with the id `pid`, which can be left out if there is only one.
    ///
    /// # Errors
    /// Those of [`ImageFile::open`], and [`Failure::Usage`] if it is not clear which process is meant.
    pub fn open_process(path: &str, pid: Option<u64>) -> Result<Self, Failure> {
        Self::open(path)?.choose(pid)
    }

    /// Has the image several processes, of which none has been chosen?
    pub fn is_tree(&self) -> bool {
        !self.image.sections.1.is_empty()
    }

    /// The image as that of one of its processes.
    ///
    /// # Errors
    /// [`Failure::Usage`] for a process that is not there, or that has ended, and if none is named and there are several.
    pub fn choose(mut self, pid: Option<u64>) -> Result<Self, Failure> {
        let sections = &self.image.sections;
        let usage = |message: String| Failure::Usage {
            message,
            remedy: process_list(sections),
        };
        let number = match pid {
            Some(pid) => number_of(sections, pid)?,
            None if self.is_tree() => {
                return Err(usage(
                    "the image has several processes: which one is meant?".to_owned(),
                ))
            }
            None => 0,
        };
        if !self.is_tree() {
            return Ok(self);
        }
        if let (Some(pid), true) = (pid, sections.has_ended(number)) {
            return Err(usage(format!(
                "process {pid} has ended and only waits for its parent: it has no threads and no memory"
            )));
        }
        self.image.take(number);
        Ok(self)
    }

    /// Calls `f` with the image as that of each of its processes, in their order.
    ///
    /// # Errors
    /// Those of `f`, the first one.
    pub fn for_each_process(
        &self,
        mut f: impl FnMut(&Self) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        if self.is_tree() {
            self.each_process().try_for_each(|process| f(&process))
        } else {
            f(self)
        }
    }

    /// The image as that of each of its processes, in their order.
    pub fn each_process(&self) -> impl Iterator<Item = Self> + '_ {
        let processes = self.processes();
        (0..processes.whole.processes()).map(move |number| processes.get(number))
    }

    /// The processes of the image, to be looked at one by one.
    pub fn processes(&self) -> Processes<'_> {
        let whole = self.image.whole.clone();
        Processes {
            file: self,
            whole: whole.unwrap_or_else(|| Arc::new(self.image.sections.clone())),
        }
    }

    /// Reads the whole of `buf` at `offset`, or as much as there is.
    ///
    /// # Errors
    /// [`Failure::Read`].
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<Got, Failure> {
        let mut have = 0;
        while have < buf.len() {
            let rest = buf.get_mut(have..).unwrap_or(&mut []);
            match self.file.read_at(rest, offset.saturating_add(have as u64)) {
                Ok(0) => return Ok(Got::Short(have)),
                Ok(n) => have = have.saturating_add(n),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    return Err(Failure::Read {
                        image: self.image.name.clone(),
                        error,
                    })
                }
            }
        }
        Ok(Got::All)
    }

    /// Its path, where a new image can take its place.
    ///
    /// # Errors
    /// [`Failure::Usage`] for a copy of a stream.
    pub fn place(&self) -> Result<&Path, Failure> {
        self.path.as_deref().ok_or_else(|| Failure::Usage {
            message: format!(
                "{} is a stream: nothing can take its place",
                crate::escape::text(self.image.name.as_bytes())
            ),
            remedy: "Name a file for the new image with -o.".to_owned(),
        })
    }

    /// Length of the file, bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Is the file empty?
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The file itself, for `copy_file_range`.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// All chunks in front of the index, in the order of the image.
    pub fn entries(&self) -> &[IndexEntry] {
        &self.entries
    }

    /// The `PAGE` chunks.
    pub fn page_chunks(&self) -> impl Iterator<Item = &IndexEntry> + Clone {
        let code = ChunkType::Page.code();
        self.entries.iter().filter(move |e| e.code == code)
    }

    /// The failure for a defect at `offset` of the file.
    pub fn defect(&self, error: Error, offset: u64) -> Failure {
        Failure::Defect {
            image: self.image.name.clone(),
            error: if error.section == 0 {
                error.placed(0, offset)
            } else {
                error
            },
        }
    }

    fn exact(&self, offset: u64, buf: &mut [u8]) -> Result<(), Failure> {
        match self.read_at(offset, buf)? {
            Got::All => Ok(()),
            Got::Short(have) => {
                let e = Error::truncated(buf.len() as u64, have as u64);
                Err(self.defect(e, offset))
            }
        }
    }

    /// The header of a chunk.
    ///
    /// # Errors
    /// [`Failure::Read`], [`Failure::Defect`], also when it is not the one of the index.
    pub fn header(&self, entry: &IndexEntry) -> Result<ChunkHeader, Failure> {
        let mut head = [0; HEADER_LEN];
        self.exact(entry.offset, &mut head)?;
        self.check_header(&head, entry)
    }

    fn check_header(
        &self,
        head: &[u8; HEADER_LEN],
        entry: &IndexEntry,
    ) -> Result<ChunkHeader, Failure> {
        let header = ChunkHeader::parse(head, crc).map_err(|e| self.defect(e, entry.offset))?;
        if IndexEntry::new(&header, entry.offset) == *entry {
            Ok(header)
        } else {
            Err(self.defect(Error::rule("INDEX-2"), entry.offset))
        }
    }

    /// Header and run table of a `PAGE` chunk, checked.
    ///
    /// # Errors
    /// [`Failure::Read`], [`Failure::Defect`].
    pub fn runs(&self, entry: &IndexEntry) -> Result<(ChunkHeader, Vec<Run>), Failure> {
        let mut head = [0; PAGE_HEAD_LEN];
        self.exact(entry.offset, &mut head)?;
        self.table(&head, entry)
    }

    fn table(
        &self,
        head: &[u8; PAGE_HEAD_LEN],
        entry: &IndexEntry,
    ) -> Result<(ChunkHeader, Vec<Run>), Failure> {
        let at = entry.offset;
        let bad = |e| self.defect(e, at);
        let parts = head
            .split_first_chunk::<HEADER_LEN>()
            .and_then(|(h, t)| Some((h, t.first_chunk::<TABLE_LEN>()?)));
        let (head, table) = parts.ok_or(Error::no_space()).map_err(bad)?;
        let header = self.check_header(head, entry)?;
        let computed = crc(0, table);
        if computed != header.table_crc {
            let stored = header.table_crc;
            return Err(bad(Error::at(
                ErrorKind::BadChecksum { stored, computed },
                0,
            )));
        }
        let runs = Runs::parse(table, header.items).map_err(bad)?;
        let first = runs.iter().next().map(|r| r.start);
        if first != Some(header.key) || runs.stored_bytes() != u64::from(header.raw_len) {
            return Err(bad(Error::rule("PAGE-8")));
        }
        Ok((header, runs.iter().collect()))
    }

    /// Page data of a chunk: read, checked, decoded, checked again. At most 2 MiB of memory.
    ///
    /// # Errors
    /// [`Failure::Read`], [`Failure::Defect`].
    pub fn page_data(&self, entry: &IndexEntry) -> Result<PageData, Failure> {
        let mut buf = Vec::new();
        self.page_data_in(entry, &mut buf)
    }

    /// The same with a buffer that the caller keeps, for loops over many chunks: it is given to the
    /// result as `bytes`; take it back from there.
    ///
    /// # Errors
    /// [`Failure::Read`], [`Failure::Defect`].
    pub fn page_data_in(&self, entry: &IndexEntry, buf: &mut Vec<u8>) -> Result<PageData, Failure> {
        let (header, runs) = self.runs(entry)?;
        let at = entry.offset.saturating_add(PAGE_HEAD_LEN as u64);
        let mut stored = std::mem::take(buf);
        // At most 1 MiB: the header has been checked.
        stored.resize(header.stored_len as usize, 0);
        let mismatch = |stored, computed| {
            let kind = ErrorKind::BadChecksum { stored, computed };
            self.defect(Error::at(kind, 0), at)
        };
        // In pieces that are still in the processor's cache when they are hashed.
        let (mut from, mut computed) = (at, 0);
        for piece in stored.chunks_mut(READ_PIECE) {
            self.exact(from, piece)?;
            computed = crc(computed, piece);
            from = from.saturating_add(piece.len() as u64);
        }
        if computed != header.payload_crc {
            return Err(mismatch(header.payload_crc, computed));
        }
        if header.codec == CODEC_RAW {
            return Ok(PageData {
                runs,
                bytes: stored,
            });
        }
        check_frame(&stored, header.frame_len, header.raw_len).map_err(|e| self.defect(e, at))?;
        let frame = stored.get(..header.frame_len as usize).unwrap_or(&stored);
        let bytes = decode(frame, header.raw_len)
            .ok_or(Error::rule("ZSTD-6"))
            .map_err(|e| self.defect(e, at))?;
        let computed = crc(0, &bytes);
        if computed != header.raw_crc {
            return Err(mismatch(header.raw_crc, computed));
        }
        Ok(PageData { runs, bytes })
    }

    fn by_index(&mut self) -> Result<(), Failure> {
        let mut block = [0; superblock::LEN];
        self.exact(0, &mut block)?;
        let superblock = Superblock::parse(&block, crc).map_err(|e| self.defect(e, 0))?;
        self.image.superblock = Some(superblock);

        let at = self.len.saturating_sub(END_CHUNK_LEN as u64);
        let mut tail = [0; END_CHUNK_LEN];
        self.exact(at, &mut tail)?;
        let broken = |id| self.defect(Error::rule(id), at);
        let Some((head, payload)) = tail.split_first_chunk::<HEADER_LEN>() else {
            return Err(broken("END-1"));
        };
        let header = ChunkHeader::parse(head, crc).map_err(|e| self.defect(e, at))?;
        if header.chunk_type != ChunkType::End || crc(0, payload) != header.payload_crc {
            return Err(broken("END-1"));
        }
        let Some(payload) = payload.first_chunk() else {
            return Err(broken("END-1"));
        };
        let end = End::parse(payload).map_err(|e| self.defect(e, at))?;
        if end.file_len != self.len {
            return Err(broken("END-4"));
        }
        if end.index_offset.checked_add(end.index_len) != Some(at) || end.index_len > INDEX_MAX {
            return Err(broken("END-2"));
        }
        let (entries, chain) = self.index(&block, &end)?;
        if chain != end.chain_crc {
            return Err(broken("END-5"));
        }
        self.image.end = Some(end);
        self.entries = Arc::new(entries);
        let meta: Vec<IndexEntry> = self
            .entries
            .iter()
            .filter(|e| e.code == ChunkType::Meta.code())
            .copied()
            .collect();
        let mut total = 0_u64;
        for entry in &meta {
            let header = self.header(entry)?;
            let at = entry.offset.saturating_add(HEADER_LEN as u64);
            total = total.saturating_add(header.stored_len.into());
            if total > limits::META_TOTAL {
                return Err(self.defect(Error::over_limit(total, limits::META_TOTAL), at));
            }
            let mut payload = vec![0; header.stored_len as usize];
            self.exact(at, &mut payload)?;
            let (stored, computed) = (header.payload_crc, crc(0, &payload));
            if stored == computed {
                if let Err(e) = self.image.sections.add(&header, &payload, at) {
                    self.image.damage.push(e);
                }
            } else {
                // Left out, as when reading forward.
                let kind = ErrorKind::BadChecksum { stored, computed };
                self.image.damage.push(Error::at(kind, at));
            }
        }
        Ok(())
    }

    /// Reads the index: the entries, and the chain checksum that they and the `INDX` headers give.
    fn index(
        &self,
        block: &[u8; superblock::LEN],
        end: &End,
    ) -> Result<(Vec<IndexEntry>, u32), Failure> {
        let mut entries: Vec<IndexEntry> = Vec::new();
        let mut chain = crc(0, block.last_chunk::<4>().unwrap_or(&[0; 4]));
        let mut heads = Vec::new();
        let (mut at, stop) = (
            end.index_offset,
            end.index_offset.saturating_add(end.index_len),
        );
        let mut next = superblock::LEN as u64;
        while at < stop {
            let mut head = [0; HEADER_LEN];
            self.exact(at, &mut head)?;
            let header = ChunkHeader::parse(&head, crc).map_err(|e| self.defect(e, at))?;
            if header.chunk_type != ChunkType::Index {
                return Err(self.defect(Error::rule("END-2"), at));
            }
            heads.push(header.header_crc);
            let mut payload = vec![0; header.stored_len as usize];
            self.exact(at.saturating_add(HEADER_LEN as u64), &mut payload)?;
            let (stored, computed) = (header.payload_crc, crc(0, &payload));
            if stored != computed {
                let kind = ErrorKind::BadChecksum { stored, computed };
                return Err(self.defect(Error::at(kind, 0), at));
            }
            for bytes in payload.chunks_exact(ENTRY_LEN) {
                let entry = IndexEntry::parse(bytes.first_chunk().unwrap_or(&[0; ENTRY_LEN]));
                let long = entry.stored_len.max(entry.raw_len) > limits::CHUNK_PAYLOAD;
                if entry.offset != next || long {
                    return Err(self.defect(Error::rule("INDEX-2"), at));
                }
                next = next.saturating_add(chunk_len(&entry));
                chain = crc(chain, &entry.header_crc.to_le_bytes());
                entries.push(entry);
            }
            at = at.saturating_add(header.chunk_len());
        }
        for head in &heads {
            chain = crc(chain, &head.to_le_bytes());
        }
        if next != end.index_offset {
            return Err(self.defect(Error::rule("INDEX-2"), end.index_offset));
        }
        Ok((entries, chain))
    }

    /// The index cannot be used: reads all headers instead.
    fn forward(mut self) -> Result<Self, Failure> {
        let file = self.file.try_clone();
        let input = file.and_then(|file| Input::of_file(&self.image.name, file));
        let mut input = input.map_err(|error| Failure::Read {
            image: self.image.name.clone(),
            error,
        })?;
        self.image = load::load(&mut input)?;
        self.image.len = self.len;
        let chunks = std::mem::take(&mut self.image.chunks);
        let chunks = chunks
            .iter()
            .filter(|c| !matches!(c.header.chunk_type, ChunkType::Index | ChunkType::End))
            .map(|c| IndexEntry::new(&c.header, c.offset));
        self.entries = Arc::new(chunks.collect());
        self.image.runs = Vec::new();
        Ok(self)
    }
}

/// The processes of an image.
pub struct Processes<'f> {
    file: &'f ImageFile,
    whole: Arc<Sections>,
}

impl Processes<'_> {
    /// The sections of all of them.
    pub fn sections(&self) -> &Sections {
        &self.whole
    }

    /// The image as that of the process with this number.
    pub fn get(&self, number: u32) -> ImageFile {
        let (file, image) = (self.file, &self.file.image);
        ImageFile {
            image: Image {
                name: image.name.clone(),
                superblock: image.superblock,
                process: number,
                sections: self.whole.view(number),
                whole: Some(self.whole.clone()),
                chunks: Vec::new(),
                runs: Vec::new(),
                end: image.end,
                len: image.len,
                damage: image.damage.clone(),
            },
            path: file.path.clone(),
            file: file.file.clone(),
            len: file.len,
            entries: file.entries.clone(),
        }
    }
}

/// Most processes that a message lists.
const LISTED: u32 = 12;

/// Number of the process with the id `pid`.
///
/// # Errors
/// [`Failure::Usage`] if there is none.
pub fn number_of(sections: &Sections, pid: u64) -> Result<u32, Failure> {
    let is = |n: &u32| sections.process(*n).is_some_and(|p| p.tgid == pid);
    let found = (0..sections.processes()).find(is);
    found.ok_or_else(|| Failure::Usage {
        message: format!("--pid {pid}: the image has no such process"),
        remedy: process_list(sections),
    })
}

/// Which processes there are, for a message.
fn process_list(sections: &Sections) -> String {
    let count = sections.processes();
    let name = |n| {
        let process = sections.process(n)?;
        let ended = if sections.has_ended(n) { ", ended" } else { "" };
        Some(format!(
            "{} ({}{ended})",
            process.tgid,
            escape::text(process.comm)
        ))
    };
    let names: Vec<String> = (0..count.min(LISTED)).filter_map(name).collect();
    match (names.as_slice(), count) {
        ([], _) => "Its processes cannot be read.".to_owned(),
        ([one], 1) => format!("It has process {one}."),
        (names, _) => {
            let more = if count > LISTED { " …" } else { "" };
            format!("Name one with --pid; there are: {}{more}", names.join(" "))
        }
    }
}

/// Bytes of the whole chunk of an entry.
pub fn chunk_len(entry: &IndexEntry) -> u64 {
    let head = if entry.code == ChunkType::Page.code() {
        PAGE_HEAD_LEN
    } else {
        HEADER_LEN
    };
    (head as u64).saturating_add(entry.stored_len.into())
}

/// Decodes one frame that [`check_frame`] has passed; `None` if it is broken or gives another length.
pub fn decode(frame: &[u8], raw_len: u32) -> Option<Vec<u8>> {
    thread_local! {
        static CONTEXT: std::cell::RefCell<Option<zstd::bulk::Decompressor<'static>>> = const {
            std::cell::RefCell::new(None)
        };
    }
    CONTEXT.with_borrow_mut(|context| {
        if context.is_none() {
            *context = zstd::bulk::Decompressor::new().ok();
        }
        // At most 1 MiB: the header has been checked.
        let mut bytes = Vec::with_capacity(raw_len as usize);
        let n = context
            .as_mut()?
            .decompress_to_buffer(frame, &mut bytes)
            .ok()?;
        (n == raw_len as usize).then_some(bytes)
    })
}
