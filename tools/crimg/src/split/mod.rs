// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! An image in pieces, for media and services with a size limit, and whole again.
//!
//! The pieces are plain: `cat PREFIX.[0-9]*` is the image, without this program. Beside them stands
//! `PREFIX.json`, which names each piece with its length and CRC-32; it appears last, so a split that was
//! interrupted has none.

pub mod join;
pub mod manifest;

use crate::{atomic::AtomicFile, error::Failure, file::ImageFile, input::Got, load::crc, progress};
use cr_format::Error;
use manifest::{Manifest, Piece};
use std::{
    ffi::OsString,
    fs,
    io::Write,
    path::{Path, PathBuf},
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
        return Err(Failure::Usage {
            message: format!("--size: that would be {count} pieces, more than {PIECES}"),
            remedy: format!("Take at least {} bytes.", file.len().div_ceil(PIECES)),
        });
    }
    let mut left = Leftovers(Vec::new());
    // A piece of another split behind the last would go into what `cat` makes.
    let behind = piece_path(prefix, count, count);
    if behind.exists() {
        return Err(Failure::Usage {
            message: format!(
                "{} is there, from another split",
                crate::escape::text(behind.as_os_str().as_encoded_bytes())
            ),
            remedy: "Remove the old pieces, or give another prefix with -o.".to_owned(),
        });
    }
    let bar = progress::bar(file.len(), "splitting");
    let mut manifest = Manifest {
        uuid: superblock.uuid,
        bytes: file.len(),
        pieces: Vec::new(),
    };
    for n in 0..count {
        let path = piece_path(prefix, n, count);
        let at = n.saturating_mul(size);
        let bytes = size.min(file.len().saturating_sub(at));
        let sum = piece(file, at, bytes, &path, force, &bar)?;
        manifest.pieces.push(Piece {
            name: manifest::name_of(&path)?,
            bytes,
            crc32: sum,
        });
        left.0.push(path);
    }
    let mut out = AtomicFile::create(&manifest_path(prefix), force)?;
    let text = manifest.to_json();
    let written = out.file.write_all(text.as_bytes());
    written.map_err(|e| out.failed(e))?;
    out.commit()?;
    left.0.clear();
    bar.finish_and_clear();
    Ok(manifest)
}

/// Removes the pieces of a split that failed.
struct Leftovers(Vec<PathBuf>);

impl Drop for Leftovers {
    fn drop(&mut self) {
        for path in &self.0 {
            // Nothing else can be done about a piece that cannot be removed.
            let _ = fs::remove_file(path);
        }
    }
}

/// Copies `bytes` bytes from `at` on into a file of its own; gives back their CRC-32.
fn piece(
    file: &ImageFile,
    at: u64,
    bytes: u64,
    path: &Path,
    force: bool,
    bar: &indicatif::ProgressBar,
) -> Result<u32, Failure> {
    let mut out = AtomicFile::create(path, force)?;
    let (mut at, mut left, mut sum) = (at, bytes, 0);
    let mut buf = Vec::new();
    while left > 0 {
        let n = left.min(STEP);
        buf.resize(usize::try_from(n).unwrap_or(0), 0);
        if let Got::Short(have) = file.read_at(at, &mut buf)? {
            return Err(file.defect(Error::truncated(n, have as u64), at));
        }
        sum = crc(sum, &buf);
        out.file.write_all(&buf).map_err(|e| out.failed(e))?;
        at = at.saturating_add(n);
        left = left.saturating_sub(n);
        bar.inc(n);
    }
    out.commit()?;
    Ok(sum)
}

/// `PREFIX.000`, `PREFIX.001`, …; all with as many digits as the last needs, so that they sort.
fn piece_path(prefix: &Path, n: u64, count: u64) -> PathBuf {
    let width = count.saturating_sub(1).to_string().len().max(3);
    with_suffix(prefix, &format!(".{n:0width$}"))
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
