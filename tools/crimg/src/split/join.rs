// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Pieces to an image again. Every piece is read and checked before the first byte is written.

use super::manifest::{self, Manifest, Piece};
use crate::{atomic::AtomicFile, error::Failure, escape, file::ImageFile, load::crc, progress};
use std::{
    fs::File,
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

/// Bytes that are read at a time.
const STEP: usize = 1 << 20;

/// A manifest with the place of each piece.
pub struct Pieces {
    /// What the manifest says.
    pub manifest: Manifest,
    paths: Vec<PathBuf>,
}

/// Finds manifest and pieces. `names` is a prefix, a manifest, or pieces in any order; pieces that are not
/// named are looked for beside the manifest.
///
/// # Errors
/// [`Failure::Read`], [`Failure::Malformed`], [`Failure::Usage`] for a file that is no piece.
pub fn find(names: &[String]) -> Result<Pieces, Failure> {
    let Some(first) = names.first() else {
        return Err(usage("no pieces are given", "Give the prefix of a split."));
    };
    let (place, named) = match first.strip_suffix(".json") {
        Some(_) => (PathBuf::from(first), names.get(1..).unwrap_or(&[])),
        None => match prefix(first) {
            Some(prefix) => (super::manifest_path(Path::new(prefix)), names),
            None => (
                super::manifest_path(Path::new(first)),
                names.get(1..).unwrap_or(&[]),
            ),
        },
    };
    let shown = place.to_string_lossy().into_owned();
    let manifest = Manifest::parse(&read(&place)?, &shown)?;
    let mut paths = Vec::new();
    for piece in &manifest.pieces {
        let given = named
            .iter()
            .find(|n| manifest::name_of(Path::new(n)).is_ok_and(|name| name == piece.name));
        paths.push(match given {
            Some(path) => PathBuf::from(path),
            None => place.with_file_name(&piece.name),
        });
    }
    for name in named {
        let known = |p: &Piece| manifest::name_of(Path::new(name)).is_ok_and(|n| n == p.name);
        if !manifest.pieces.iter().any(known) {
            return Err(usage(
                &format!(
                    "{}: no piece of {}",
                    escape::text(name.as_bytes()),
                    escape::text(shown.as_bytes())
                ),
                "Give the pieces of one image only.",
            ));
        }
    }
    Ok(Pieces { manifest, paths })
}

/// `a` of `a.000`.
fn prefix(name: &str) -> Option<&str> {
    let (prefix, digits) = name.rsplit_once('.')?;
    let number = digits.len() >= 3 && digits.bytes().all(|b| b.is_ascii_digit());
    number.then_some(prefix)
}

fn usage(message: &str, remedy: &str) -> Failure {
    Failure::Usage {
        message: message.to_owned(),
        remedy: remedy.to_owned(),
    }
}

fn failed(path: &Path, error: io::Error) -> Failure {
    Failure::Read {
        image: path.to_string_lossy().into_owned(),
        error,
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut text = Vec::new();
    File::open(path)
        .and_then(|f| f.take(manifest::LONGEST).read_to_end(&mut text))
        .map_err(|e| failed(path, e))?;
    Ok(text)
}

impl Pieces {
    /// Reads every piece and compares length and CRC-32.
    ///
    /// # Errors
    /// [`Failure::Read`] for a missing piece, [`Failure::Malformed`] for a damaged or another one.
    pub fn check(&self) -> Result<(), Failure> {
        let bar = progress::bar(self.manifest.bytes, "checking");
        self.each(&bar, &mut |_| Ok(()))?;
        bar.finish_and_clear();
        Ok(())
    }

    fn each(
        &self,
        bar: &indicatif::ProgressBar,
        take: &mut dyn FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut buf = vec![0; STEP];
        for (piece, path) in self.manifest.pieces.iter().zip(&self.paths) {
            let mut file = File::open(path).map_err(|e| failed(path, e))?;
            let (mut len, mut sum) = (0_u64, 0);
            loop {
                let n = match file.read(&mut buf) {
                    Ok(0) => break,
                    Ok(n) => n,
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                    Err(e) => return Err(failed(path, e)),
                };
                let bytes = buf.get(..n).unwrap_or(&[]);
                len = len.saturating_add(n as u64);
                if len > piece.bytes {
                    break;
                }
                sum = crc(sum, bytes);
                take(bytes)?;
                bar.inc(n as u64);
            }
            let wrong = |message: String| Failure::Malformed {
                file: path.to_string_lossy().into_owned(),
                place: format!("piece of {}", crate::number::uuid(&self.manifest.uuid)),
                message,
                remedy: "Copy this piece again from where the image was split.".to_owned(),
            };
            if len != piece.bytes {
                let more = if len > piece.bytes { "more" } else { "fewer" };
                return Err(wrong(format!(
                    "{more} bytes than the {} that the split had",
                    piece.bytes
                )));
            }
            if sum != piece.crc32 {
                return Err(wrong(format!(
                    "its CRC-32 is {sum:#010x} and not {:#010x}: damaged, or of another image",
                    piece.crc32
                )));
            }
        }
        Ok(())
    }

    /// Checks all pieces, writes the image, and checks that it has its end and the id of the manifest.
    ///
    /// # Errors
    /// Those of [`Pieces::check`], [`Failure::Output`], [`Failure::Defect`]; no file is there then.
    pub fn join(&self, output: &Path, force: bool) -> Result<(), Failure> {
        self.check()?;
        let mut out = AtomicFile::create(output, force)?;
        let bar = progress::bar(self.manifest.bytes, "joining");
        // Checked again: somebody may have changed a piece since.
        let written = self.each(&bar, &mut |bytes| {
            out.file.write_all(bytes).map_err(|e| out.failed(e))
        });
        written?;
        bar.finish_and_clear();
        let image = ImageFile::open(&out.temporary().to_string_lossy())?;
        if let Some(e) = image.image.damage.first() {
            return Err(Failure::Defect {
                image: output.to_string_lossy().into_owned(),
                error: *e,
            });
        }
        if image.image.superblock.map(|s| s.uuid) != Some(self.manifest.uuid) {
            return Err(Failure::Malformed {
                file: output.to_string_lossy().into_owned(),
                place: "superblock".to_owned(),
                message: "the pieces make another image than the manifest says".to_owned(),
                remedy: "The manifest was changed. Take the one that belongs to the pieces.".into(),
            });
        }
        drop(image);
        out.commit()
    }
}
