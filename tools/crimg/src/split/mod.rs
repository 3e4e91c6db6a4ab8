// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! An image in pieces, for media and services with a size limit, and whole again.
//!
//! The pieces are plain: `cat PREFIX.[0-9]*` is the image, without this program. Beside them stands
//! `PREFIX.json`, which names each piece with its length and CRC-32; it appears last, so a split that was
//! interrupted has none.

pub mod join;
pub mod manifest;

use crate::{
    atomic::AtomicFile,
    error::Failure,
    file::ImageFile,
    input::{Got, Input},
    load::crc,
    progress, verify,
};
use cr_format::Error;
use manifest::{Manifest, Piece};
use std::{
    cell::RefCell,
    ffi::OsString,
    fs,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    rc::Rc,
};

/// Most pieces, so that their names sort and a slip in the size does not fill a folder.
pub const PIECES: u64 = 10_000;
/// Bytes that are copied at a time.
const STEP: u64 = 1 << 20;

/// Cuts an image into pieces of `size` bytes; the last is shorter. Gives back the manifest.
///
/// # Errors
/// [`Failure::Defect`] for a damaged image, [`Failure::Usage`] for too many pieces or files in the way,
/// [`Failure::Read`], [`Failure::Output`]; pieces written so far are removed then.
pub fn split(file: &ImageFile, size: u64, prefix: &Path, force: bool) -> Result<Manifest, Failure> {
    if let Some(e) = file.image.damage.first() {
        return Err(file.defect(*e, e.offset));
    }
    let Some(superblock) = file.image.superblock else {
        return Err(file.defect(Error::truncated(4096, file.len()), 0));
    };
    let count = file.len().div_ceil(size.max(1));
    if count > PIECES {
        return Err(too_many(
            &format!("{count} pieces, more than {PIECES}"),
            &format!("Take at least {} bytes.", file.len().div_ceil(PIECES)),
        ));
    }
    let mut cutter = Cutter::new(prefix, size, digits(count), force);
    cutter.nothing_at(count)?;
    let bar = progress::bar(file.len(), "splitting");
    let (mut at, mut buf) = (0_u64, Vec::new());
    while at < file.len() {
        let n = file.len().saturating_sub(at).min(STEP);
        buf.resize(usize::try_from(n).unwrap_or(0), 0);
        if let Got::Short(have) = file.read_at(at, &mut buf)? {
            return Err(file.defect(Error::truncated(n, have as u64), at));
        }
        cutter.put(&buf)?;
        at = at.saturating_add(n);
        bar.inc(n);
    }
    bar.finish_and_clear();
    cutter.finish(superblock.uuid)
}

/// The same for a stream, in one pass: its checksums are found right before the manifest appears.
///
/// The names of the pieces have the digits of the most that there can be.
///
/// # Errors
/// As [`split`].
pub fn split_stream(
    stream: impl Read + 'static,
    name: &str,
    size: u64,
    prefix: &Path,
    force: bool,
) -> Result<Manifest, Failure> {
    let cutter = Rc::new(RefCell::new(Cutter::new(
        prefix,
        size,
        digits(PIECES),
        force,
    )));
    let failed = Rc::new(RefCell::new(None));
    let tee = Tee {
        stream,
        cutter: cutter.clone(),
        failed: failed.clone(),
    };
    let checked = verify::check(&mut Input::stream(name, tee), verify::Level::Crc, false);
    if let Some(failure) = failed.take() {
        return Err(failure);
    }
    let checked = checked?;
    if let Some(error) = checked.defects.first() {
        return Err(Failure::Defect {
            image: name.to_owned(),
            error: *error,
        });
    }
    let uuid = checked.superblock.map_or([0; 16], |s| s.uuid);
    cutter.take().finish(uuid)
}

fn too_many(what: &str, remedy: &str) -> Failure {
    Failure::Usage {
        message: format!("--size: that would be {what}"),
        remedy: remedy.to_owned(),
    }
}

/// Digits of the number of each piece, so that the names sort.
fn digits(count: u64) -> usize {
    count.saturating_sub(1).to_string().len().max(3)
}

/// Reads a stream and cuts it.
struct Tee<R> {
    stream: R,
    cutter: Rc<RefCell<Cutter>>,
    /// Why the pieces cannot be written: an error of reading cannot say it.
    failed: Rc<RefCell<Option<Failure>>>,
}

impl<R: Read> Read for Tee<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.stream.read(buf)?;
        let wrote = self.cutter.borrow_mut().put(buf.get(..n).unwrap_or(&[]));
        wrote.map_err(|failure| {
            self.failed.replace(Some(failure));
            io::Error::other("the pieces cannot be written")
        })?;
        Ok(n)
    }
}

/// Writes pieces one after the other.
#[derive(Default)]
struct Cutter {
    prefix: PathBuf,
    size: u64,
    digits: usize,
    force: bool,
    piece: Option<AtomicFile>,
    sum: u32,
    /// Bytes of the present piece.
    len: u64,
    done: Leftovers,
    pieces: Vec<Piece>,
}

impl Cutter {
    fn new(prefix: &Path, size: u64, digits: usize, force: bool) -> Self {
        Self {
            prefix: prefix.to_owned(),
            size: size.max(1),
            digits,
            force,
            ..Self::default()
        }
    }

    fn path(&self, n: u64) -> PathBuf {
        with_suffix(&self.prefix, &format!(".{n:0width$}", width = self.digits))
    }

    /// A piece of another split behind the last would go into what `cat` makes.
    fn nothing_at(&self, n: u64) -> Result<(), Failure> {
        let behind = self.path(n);
        if !behind.exists() {
            return Ok(());
        }
        Err(Failure::Usage {
            message: format!(
                "{} is there, from another split",
                crate::escape::text(behind.as_os_str().as_encoded_bytes())
            ),
            remedy: "Remove the old pieces, or give another prefix with -o.".to_owned(),
        })
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = usize::try_from(self.size.saturating_sub(self.len)).unwrap_or(usize::MAX);
            let (now, later) = rest.split_at(room.min(rest.len()));
            if self.piece.is_none() {
                let n = self.pieces.len() as u64;
                if n >= PIECES {
                    return Err(too_many(
                        &format!("more than {PIECES} pieces"),
                        "Take larger pieces.",
                    ));
                }
                self.piece = Some(AtomicFile::create(&self.path(n), self.force)?);
            }
            if let Some(out) = &mut self.piece {
                let wrote = out.file.write_all(now);
                wrote.map_err(|e| out.failed(e))?;
            }
            self.sum = crc(self.sum, now);
            self.len = self.len.saturating_add(now.len() as u64);
            if self.len == self.size {
                self.end()?;
            }
            rest = later;
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), Failure> {
        let Some(out) = self.piece.take() else {
            return Ok(());
        };
        out.commit()?;
        let path = self.path(self.pieces.len() as u64);
        self.pieces.push(Piece {
            name: manifest::name_of(&path)?,
            bytes: std::mem::take(&mut self.len),
            crc32: std::mem::take(&mut self.sum),
        });
        self.done.0.push(path);
        Ok(())
    }

    fn finish(mut self, uuid: [u8; 16]) -> Result<Manifest, Failure> {
        self.end()?;
        self.nothing_at(self.pieces.len() as u64)?;
        let pieces = std::mem::take(&mut self.pieces);
        let manifest = Manifest {
            uuid,
            bytes: pieces.iter().fold(0, |n, p| n.saturating_add(p.bytes)),
            pieces,
        };
        let mut out = AtomicFile::create(&manifest_path(&self.prefix), self.force)?;
        let written = out.file.write_all(manifest.to_json().as_bytes());
        written.map_err(|e| out.failed(e))?;
        out.commit()?;
        self.done.0.clear();
        Ok(manifest)
    }
}

/// Removes the pieces of a split that failed.
#[derive(Default)]
struct Leftovers(Vec<PathBuf>);

impl Drop for Leftovers {
    fn drop(&mut self) {
        for path in &self.0 {
            // Nothing else can be done about a piece that cannot be removed.
            let _ = fs::remove_file(path);
        }
    }
}

/// `PREFIX.json`.
pub fn manifest_path(prefix: &Path) -> PathBuf {
    with_suffix(prefix, ".json")
}

fn with_suffix(prefix: &Path, suffix: &str) -> PathBuf {
    let mut path = OsString::from(prefix.as_os_str());
    path.push(suffix);
    path.into()
}
