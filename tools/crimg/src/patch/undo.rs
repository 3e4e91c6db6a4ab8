// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! The way back: a file from which, with the edited image, the old image comes byte for byte.
//!
//! It says from where each byte of the old image comes: from the edited one, which shares all page data
//! that was not edited, or from the undo file itself. All numbers are little-endian:
//!
//! | offset | size | what |
//! | ---: | ---: | --- |
//! | 0 | 8 | `CRKUNDO` and the version, 1 |
//! | 8 | 4 | CRC-32 (that of the image format) of everything behind these 12 bytes |
//! | 12 | 4 | number of pieces |
//! | 16 | 8 | length of the edited image |
//! | 24 | 8 | length of the old image |
//! | 32 | 8 | bytes of the old image that are here, before compression |
//! | 40 | 128 | the chunk END_ of the edited image, whose chain is of all its checksums |
//! | 168 | 128 | the chunk END_ of the old image |
//! | 296 | 16 each | pieces of the old image in order: offset in the edited image, or all ones for bytes of this file; length |
//! | | | the bytes for those pieces, one behind the other, as one zstd frame |
//!
//! An undo goes with one edited image only, which must be as it was written. The result takes the place of the
//! image only after all its checksums have been found right and its end has been found to be the old one.

use crate::{
    atomic::AtomicFile,
    error::Failure,
    escape,
    file::{chunk_len, ImageFile},
    input::{Got, Input},
    load::crc,
    rewrite::Target,
    verify,
};
use cr_format::{
    chunk::{CODEC_RAW, HEADER_LEN},
    index::IndexEntry,
    writer::{END_CHUNK_LEN, PAGE_HEAD_LEN},
    Error,
};
use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io::{self, Read, Write},
    path::Path,
};

const MAGIC: &[u8; 8] = b"CRKUNDO\x01";
const HEAD: usize = 296;
const PIECE: usize = 16;
/// A piece that is in the undo file.
const HERE: u64 = u64::MAX;
/// Longest undo file that is read: more than all metadata and all pages that one run can change.
const LONGEST: u64 = 512 << 20;
const BLOCK: usize = 4096;

type End = [u8; END_CHUNK_LEN];

/// Builds the pieces.
#[derive(Default)]
struct Pieces {
    list: Vec<(u64, u64)>,
    bytes: Vec<u8>,
}

impl Pieces {
    fn copy(&mut self, from: u64, len: u64) {
        match self.list.last_mut() {
            Some((start, n)) if *start != HERE && start.checked_add(*n) == Some(from) => {
                *n = n.saturating_add(len)
            }
            _ => self.list.push((from, len)),
        }
    }
    fn put(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.bytes.extend_from_slice(bytes);
        let len = bytes.len() as u64;
        match self.list.last_mut() {
            Some((HERE, n)) => *n = n.saturating_add(len),
            _ => self.list.push((HERE, len)),
        }
    }
}

fn read(file: &ImageFile, at: u64, len: u64) -> Result<Vec<u8>, Failure> {
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
    match file.read_at(at, &mut bytes)? {
        Got::All => Ok(bytes),
        Got::Short(have) => Err(file.defect(Error::truncated(len, have as u64), at)),
    }
}

fn end_of(file: &ImageFile) -> Result<End, Failure> {
    let at = file.len().saturating_sub(END_CHUNK_LEN as u64);
    let bytes = read(file, at, END_CHUNK_LEN as u64)?;
    Ok(bytes.first_chunk().copied().unwrap_or([0; END_CHUNK_LEN]))
}

/// The undo file for an edit that made `new` of `old`. `replaced` are the offsets of the chunks of `old` that
/// were not kept.
///
/// # Errors
/// Those of reading both.
pub fn make(old: &ImageFile, new: &ImageFile, replaced: &[u64]) -> Result<Vec<u8>, Failure> {
    let key = |e: &IndexEntry| (e.section, e.owner, e.key);
    let by_key: BTreeMap<_, IndexEntry> = new.page_chunks().map(|e| (key(e), *e)).collect();
    let mut pieces = Pieces::default();
    let mut at = 0_u64;
    for entry in old.page_chunks() {
        pieces.put(&read(old, at, entry.offset.saturating_sub(at))?);
        let len = chunk_len(entry);
        at = entry.offset.saturating_add(len);
        let twin = by_key.get(&key(entry));
        match twin {
            Some(twin) if !replaced.contains(&entry.offset) && chunk_len(twin) == len => {
                if entry.header_crc == twin.header_crc {
                    pieces.copy(twin.offset, len);
                } else {
                    // Only its sequence number is new.
                    let head = HEADER_LEN as u64;
                    pieces.put(&read(old, entry.offset, head)?);
                    pieces.copy(twin.offset.saturating_add(head), len.saturating_sub(head));
                }
            }
            Some(twin) if entry.codec == CODEC_RAW && twin.codec == CODEC_RAW => {
                let (bytes, others) = (
                    read(old, entry.offset, len)?,
                    read(new, twin.offset, chunk_len(twin))?,
                );
                let blocks = others
                    .chunks_exact(BLOCK)
                    .enumerate()
                    .skip(PAGE_HEAD_LEN / BLOCK);
                let place: HashMap<&[u8], usize> = blocks.map(|(n, block)| (block, n)).collect();
                for block in bytes.chunks(BLOCK) {
                    match place.get(block) {
                        Some(n) => pieces.copy(
                            twin.offset.saturating_add((n.saturating_mul(BLOCK)) as u64),
                            BLOCK as u64,
                        ),
                        None => pieces.put(block),
                    }
                }
            }
            _ => pieces.put(&read(old, entry.offset, len)?),
        }
    }
    pieces.put(&read(old, at, old.len().saturating_sub(at))?);

    let failed = |e: io::Error| Failure::Write(e);
    let frame = zstd::bulk::compress(&pieces.bytes, 3).map_err(failed)?;
    let mut body = Vec::new();
    body.extend(
        u32::try_from(pieces.list.len())
            .unwrap_or(u32::MAX)
            .to_le_bytes(),
    );
    body.extend(new.len().to_le_bytes());
    body.extend(old.len().to_le_bytes());
    body.extend((pieces.bytes.len() as u64).to_le_bytes());
    body.extend(end_of(new)?);
    body.extend(end_of(old)?);
    for (from, len) in &pieces.list {
        body.extend(from.to_le_bytes());
        body.extend(len.to_le_bytes());
    }
    body.extend(frame);
    let mut out = MAGIC.to_vec();
    out.extend(crc(0, &body).to_le_bytes());
    out.extend(body);
    Ok(out)
}

/// An undo file that has been checked by itself.
#[derive(Debug)]
pub struct Undo {
    edited_len: u64,
    old_len: u64,
    edited_end: End,
    old_end: End,
    pieces: Vec<(u64, u64)>,
    bytes: Vec<u8>,
}

impl Undo {
    /// Decodes an undo file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(file: &[u8]) -> Result<Self, &'static str> {
        let rest = file
            .strip_prefix(MAGIC)
            .ok_or("it is no undo file of crimg, or of a newer one")?;
        let (sum, body) = rest.split_first_chunk::<4>().ok_or("it is cut off")?;
        if crc(0, body) != u32::from_le_bytes(*sum) {
            return Err("it is damaged: its checksum does not match");
        }
        let short = "it is cut off";
        let number = |at: usize| {
            let bytes = file.get(at..at.checked_add(8)?)?.first_chunk()?;
            Some(u64::from_le_bytes(*bytes))
        };
        let end = |at: usize| {
            file.get(at..)
                .and_then(|b| b.first_chunk::<END_CHUNK_LEN>())
                .copied()
        };
        let count = file
            .get(12..16)
            .and_then(|b| b.first_chunk())
            .map(|b| u32::from_le_bytes(*b))
            .ok_or(short)?;
        let (edited_len, old_len) = (number(16).ok_or(short)?, number(24).ok_or(short)?);
        let len = number(32)
            .filter(|n| *n <= LONGEST)
            .ok_or("it claims to hold too much")?;
        let (edited_end, old_end) = (end(40).ok_or(short)?, end(168).ok_or(short)?);
        let table = usize::try_from(count)
            .ok()
            .and_then(|n| n.checked_mul(PIECE))
            .ok_or(short)?;
        let (table, frame) = file
            .get(HEAD..)
            .and_then(|b| b.split_at_checked(table))
            .ok_or(short)?;
        let (mut pieces, mut here, mut total) = (Vec::new(), 0_u64, 0_u64);
        for piece in table.chunks_exact(PIECE) {
            let word = |at: usize| {
                piece
                    .get(at..)
                    .and_then(|b| b.first_chunk())
                    .map_or(0, |b| u64::from_le_bytes(*b))
            };
            let (from, n) = (word(0), word(8));
            if from == HERE {
                here = here.saturating_add(n);
            } else if from.checked_add(n).is_none_or(|end| end > edited_len) {
                return Err("it refers to what is not in the edited image");
            }
            total = total.saturating_add(n);
            pieces.push((from, n));
        }
        if here != len || total != old_len {
            return Err("its pieces do not make up the old image");
        }
        // At most `LONGEST`, and the memory is only taken as the frame gives it.
        let mut bytes = Vec::new();
        let reader =
            zstd::Decoder::with_buffer(frame).map_err(|_| "its bytes cannot be decompressed")?;
        let took = reader.take(len.saturating_add(1)).read_to_end(&mut bytes);
        if took.is_err() || bytes.len() as u64 != len {
            return Err("its bytes cannot be decompressed");
        }
        Ok(Self {
            edited_len,
            old_len,
            edited_end,
            old_end,
            pieces,
            bytes,
        })
    }
}

/// Gives the old image back: in place of the edited one, or at another target.
///
/// # Errors
/// [`Failure`]; nothing has changed then.
pub fn restore(image: &str, undo: &str, target: Target, progress: bool) -> Result<u64, Failure> {
    let read_failed = |error| Failure::Read {
        image: undo.to_owned(),
        error,
    };
    let mut bytes = Vec::new();
    let file = File::open(undo).map_err(read_failed)?;
    if !file.metadata().map_err(read_failed)?.is_file() {
        return Err(read_failed(io::Error::other("it is no regular file")));
    }
    file.take(LONGEST)
        .read_to_end(&mut bytes)
        .map_err(read_failed)?;
    let undo_file = Undo::parse(&bytes).map_err(|message| Failure::Malformed {
        file: undo.to_owned(),
        place: "undo file".to_owned(),
        message: message.to_owned(),
        remedy: "Take the undo file that crimg patch wrote for this image.".to_owned(),
    })?;
    let edited = ImageFile::open(image)?;
    let same = edited.len() == undo_file.edited_len
        && end_of(&edited).is_ok_and(|e| e == undo_file.edited_end);
    if !same {
        let already = edited.len() == undo_file.old_len
            && end_of(&edited).is_ok_and(|e| e == undo_file.old_end);
        let image = escape::text(image.as_bytes());
        return Err(Failure::Usage {
            message: if already {
                format!("{image} is the old image already")
            } else {
                format!("the undo file is not for {image} as it is now: it goes with one edited image only")
            },
            remedy: "Undo later edits first, with their undo files.".to_owned(),
        });
    }
    let (path, force) = match target {
        Target::File { path, force } => (path, force),
        Target::InPlace => (edited.place()?.to_owned(), true),
        Target::Stdout => {
            return Err(Failure::Usage {
                message:
                    "an undo is checked before it counts, which standard output does not allow"
                        .to_owned(),
                remedy: "Give a file with -o, or none for the place of the image.".to_owned(),
            })
        }
    };
    let mut out = AtomicFile::create(&path, force)?;
    fill(&edited, &undo_file, &mut out)?;
    check(&out, &undo_file, progress)?;
    out.commit()?;
    Ok(undo_file.old_len)
}

fn fill(edited: &ImageFile, undo: &Undo, out: &mut AtomicFile) -> Result<(), Failure> {
    let mut here = undo.bytes.as_slice();
    for (from, len) in &undo.pieces {
        if *from == HERE {
            let (now, rest) = here
                .split_at_checked(usize::try_from(*len).unwrap_or(0))
                .unwrap_or((here, &[]));
            here = rest;
            let wrote = out.file.write_all(now);
            wrote.map_err(|e| out.failed(e))?;
            continue;
        }
        let (mut from, mut left) = (*from, *len);
        let mut in_kernel = true;
        while left > 0 {
            if in_kernel {
                let step = usize::try_from(left.min(64 << 20)).unwrap_or(1 << 20);
                match rustix::fs::copy_file_range(
                    edited.file(),
                    Some(&mut from),
                    &out.file,
                    None,
                    step,
                ) {
                    Ok(0) => return Err(edited.defect(Error::truncated(left, 0), from)),
                    Ok(n) => left = left.saturating_sub(n as u64),
                    Err(rustix::io::Errno::INTR) => {}
                    // Another file system, or one that cannot.
                    Err(_) => in_kernel = false,
                }
                continue;
            }
            let bytes = read(edited, from, left.min(1 << 20))?;
            let wrote = out.file.write_all(&bytes);
            wrote.map_err(|e| out.failed(e))?;
            from = from.saturating_add(bytes.len() as u64);
            left = left.saturating_sub(bytes.len() as u64);
        }
    }
    Ok(())
}

/// Every byte of an image is under a checksum, and those are under the chain of its end.
fn check(out: &AtomicFile, undo: &Undo, progress: bool) -> Result<(), Failure> {
    let name = out.temporary().to_string_lossy();
    let mut input = Input::open(&name)?;
    let done = verify::check(&mut input, verify::Level::Crc, progress)?;
    let file = ImageFile::open(&name)?;
    if let Some(e) = done.defects.first() {
        return Err(Failure::Defect {
            image: "the restored image".to_owned(),
            error: *e,
        });
    }
    if file.len() != undo.old_len || end_of(&file)? != undo.old_end {
        return Err(Failure::Defect {
            image: "the restored image".to_owned(),
            error: Error::rule("END-5"),
        });
    }
    Ok(())
}

/// Writes an undo file.
///
/// # Errors
/// [`Failure`].
pub fn write(path: &Path, bytes: &[u8], force: bool) -> Result<(), Failure> {
    let mut out = AtomicFile::create(path, force)?;
    let wrote = out.file.write_all(bytes);
    wrote.map_err(|e| out.failed(e))?;
    out.commit()
}
