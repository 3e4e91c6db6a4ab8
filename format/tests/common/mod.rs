// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Reads a whole image from memory the way the kernel and the tools do, for tests.
#![allow(dead_code)] // Each test takes a part of it.

use cr_format::{
    chunk::{ChunkHeader, ChunkType, CODEC_ZSTD},
    stream::{Next, Validator},
    validate::{self, MetaSet},
    Error, Sink,
};
use std::collections::BTreeMap;

/// The sections of an image.
#[derive(Default, Debug)]
pub struct Sections(pub BTreeMap<(u16, u32), Vec<u8>>);

impl MetaSet for Sections {
    fn section(&self, id: u16) -> &[u8] {
        self.of(0, id)
    }
    fn processes(&self) -> u32 {
        self.0.keys().map(|k| k.1 + 1).max().unwrap_or(1)
    }
    fn of(&self, process: u32, id: u16) -> &[u8] {
        self.0.get(&(id, process)).map_or(&[], Vec::as_slice)
    }
    fn ids(&self, visit: &mut dyn FnMut(u16) -> Result<(), Error>) -> Result<(), Error> {
        self.0.keys().try_for_each(|k| visit(k.0))
    }
}

/// The relations between the processes.
pub fn tree(set: &Sections) -> Result<(), Error> {
    let kin = |n| validate::kin_of(&validate::Process::new(set, n));
    let mut all = (0..set.processes())
        .map(kin)
        .collect::<Result<Vec<_>, _>>()?;
    let mut ended = validate::leaders_of(set).collect::<Result<Vec<_>, _>>()?;
    validate::tree(&mut all, &mut ended)
}

/// A buffer of encoded bytes.
#[derive(Default)]
pub struct Buf(pub Vec<u8>);

impl Sink for Buf {
    fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.0.extend(bytes);
        Ok(())
    }
}

/// Reads and checks everything.
pub fn read(bytes: &[u8]) -> Result<Sections, Error> {
    read_all(bytes, true)
}

/// Reads the container, without a look at what the records mean.
pub fn read_container(bytes: &[u8]) -> Result<(), Error> {
    read_all(bytes, false).map(drop)
}

fn read_all(bytes: &[u8], semantics: bool) -> Result<Sections, Error> {
    let mut rest = bytes;
    let mut v = Validator::new();
    let mut set = Sections::default();
    let mut checked = false;
    let mut take = |v: &Validator, n: usize| {
        let (head, tail) = rest
            .split_at_checked(n)
            .ok_or(v.truncated(rest.len() as u64))?;
        rest = tail;
        Ok::<_, Error>(head)
    };
    v.superblock(take(&v, 4096)?.try_into().unwrap())?;
    while !v.is_complete() {
        let next = v.chunk_header(take(&v, 64)?.try_into().unwrap())?;
        if semantics && v.is_meta_complete() && !checked {
            validate::meta(&set)?;
            tree(&set)?;
            checked = true;
        }
        let h = *v.header().unwrap();
        match next {
            Next::Payload(n) => {
                let payload = take(&v, n as usize)?;
                v.payload(payload)?;
                if h.chunk_type == ChunkType::Meta {
                    set.0
                        .entry((h.section, h.owner))
                        .or_default()
                        .extend(payload);
                }
            }
            Next::RunTable => {
                let table = take(&v, 4032)?.try_into().unwrap();
                let runs = v.run_table(table)?;
                if semantics {
                    pages(&set, &h, &runs)?;
                }
                let stored = take(&v, h.stored_len as usize)?;
                v.page_data(stored)?;
                if h.codec == CODEC_ZSTD {
                    v.decoded(decode(stored, &h).as_deref())?;
                }
            }
        }
    }
    v.finish(!take(&v, 0).map(|_| rest.is_empty()).unwrap())?;
    if semantics {
        let (pages, zero) = v.page_counts();
        validate::stats(&set, pages, zero)?;
    }
    Ok(set)
}

/// The decoded page data of a compressed chunk; `None` if the frame is damaged.
pub fn decode(stored: &[u8], h: &ChunkHeader) -> Option<Vec<u8>> {
    decode_frame(stored.get(..h.frame_len as usize)?, h.raw_len)
}

/// At most `raw_len` bytes from a frame; `None` if it is damaged or has more.
pub fn decode_frame(frame: &[u8], raw_len: u32) -> Option<Vec<u8>> {
    thread_local! {
        static DECODER: std::cell::RefCell<zstd::bulk::Decompressor<'static>> =
            std::cell::RefCell::new(zstd::bulk::Decompressor::new().unwrap());
    }
    DECODER.with_borrow_mut(|d| d.decompress(frame, raw_len as usize).ok())
}

/// The rules between page data and metadata.
pub fn pages(
    set: &Sections,
    h: &ChunkHeader,
    runs: &cr_format::runs::Runs<'_>,
) -> Result<(), Error> {
    validate::page_owner(set, h.section, h.owner)?;
    let areas: Vec<_> = cr_format::records_of::<cr_format::VmaRecord<'_>>(
        set.of(h.owner.wrapping_sub(1), cr_format::MEMORY),
    )
    .filter(|v| v.is_ok_and(|v| validate::has_contents(&v)))
    .map(|v| v.map(|v| (v.start, v.end)))
    .collect::<Result<_, _>>()?;
    let size = cr_format::records_of::<cr_format::FileRecord<'_>>(set.section(cr_format::FILES))
        .map_while(Result::ok)
        .find(|f| f.id == h.owner)
        .map_or(0, |f| f.size);
    for run in runs.iter() {
        match h.section {
            cr_format::MEMORY => validate::run_in_vmas(&areas, &run)?,
            cr_format::FILES => validate::run_in_file(size, &run)?,
            _ => {}
        }
    }
    Ok(())
}
