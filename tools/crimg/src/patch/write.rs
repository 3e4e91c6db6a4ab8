// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Where an edited image goes, and its undo file: nothing is replaced before the way back is on disk.

use super::{undo, Plan};
use crate::{
    error::Failure,
    escape,
    file::ImageFile,
    rewrite::{Target, Written},
};
use rustix::fs::CWD;
use std::{
    fs::{self, File, Metadata},
    io,
    os::unix::fs::{fchown, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// Most undo files beside one image.
const UNDOS: u32 = 1000;

/// What becomes of the undo file.
pub enum Undo {
    /// None.
    No,
    /// At this path; with `force` over what is there.
    At {
        /// Its path.
        path: PathBuf,
        /// Replace what is there?
        force: bool,
    },
    /// Beside the image: its name with `.undo`, or `.undo2` and so on.
    Beside,
}

/// What was written.
pub struct Done {
    /// The image.
    pub written: Written,
    /// Where the image is.
    pub image: PathBuf,
    /// Where the undo file is.
    pub undo: Option<PathBuf>,
}

/// Removes a file unless told not to.
struct Temporary(Option<PathBuf>);

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // Nothing else can be done about it.
            let _ = fs::remove_file(path);
        }
    }
}

/// Writes a new file `path`.
///
/// # Errors
/// [`Failure`]; an undo file that cannot be written leaves the image there.
pub fn to_file(
    plan: Plan<'_>,
    path: PathBuf,
    force: bool,
    undo: &Undo,
    progress: bool,
) -> Result<Done, Failure> {
    let old = plan.file;
    let target = Target::File {
        path: path.clone(),
        force,
    };
    let (written, replaced) = plan.write_noting(target, progress)?;
    let undo = save(old, &path, &path, &replaced, undo)?;
    Ok(Done {
        written,
        image: path,
        undo,
    })
}

/// Puts the edited image in the place of the old one.
///
/// # Errors
/// [`Failure`]; the old image is untouched then.
pub fn in_place(plan: Plan<'_>, undo: &Undo, progress: bool) -> Result<Done, Failure> {
    let old = plan.file;
    let named = old.place()?;
    // A link goes on pointing at the image.
    let path = fs::canonicalize(named).unwrap_or_else(|_| named.to_owned());
    let fail = |error| Failure::Output {
        path: path.clone(),
        error,
    };
    let name = path.file_name().map(|n| n.to_owned()).unwrap_or_default();
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(&name);
    hidden.push(format!(".{}.patched", std::process::id()));
    let temporary = path.with_file_name(hidden);
    let target = Target::File {
        path: temporary.clone(),
        force: false,
    };
    let (written, replaced) = plan.write_noting(target, progress)?;
    let mut guard = Temporary(Some(temporary.clone()));
    let before = old.file().metadata().map_err(fail)?;
    let undo = save(old, &temporary, &path, &replaced, undo)?;
    let now = fs::metadata(&path).map_err(fail)?;
    if stamp(&now) != stamp(&before) {
        if let Some(undo) = &undo {
            let _ = fs::remove_file(undo);
        }
        return Err(fail(io::Error::other(
            "another program has changed it meanwhile",
        )));
    }
    let new = File::open(&temporary).map_err(fail)?;
    // Only root may; then the file is the caller's, as every new one is.
    let _ = fchown(&new, Some(before.uid()), Some(before.gid()));
    new.set_permissions(fs::Permissions::from_mode(before.mode() & 0o7777))
        .map_err(fail)?;
    new.sync_all().map_err(fail)?;
    rustix::fs::renameat(CWD, &temporary, CWD, &path).map_err(|e| fail(e.into()))?;
    guard.0 = None;
    let folder = path
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    File::open(folder)
        .and_then(|f| f.sync_all())
        .map_err(fail)?;
    Ok(Done {
        written,
        image: named.to_owned(),
        undo,
    })
}

fn stamp(m: &Metadata) -> (u64, u64, u64, i64, i64) {
    (m.dev(), m.ino(), m.size(), m.mtime(), m.mtime_nsec())
}

/// Writes the undo file for `new`, which is or will be at `place`.
fn save(
    old: &ImageFile,
    new: &Path,
    place: &Path,
    replaced: &[u64],
    undo: &Undo,
) -> Result<Option<PathBuf>, Failure> {
    if matches!(undo, Undo::No) {
        return Ok(None);
    }
    let name = new.to_str().ok_or_else(|| Failure::Usage {
        message: format!(
            "{} is no text",
            escape::text(new.as_os_str().as_encoded_bytes())
        ),
        remedy: "Give the image a name in UTF-8, or --no-undo.".to_owned(),
    })?;
    let bytes = undo::make(old, &ImageFile::open(name)?, replaced)?;
    match undo {
        Undo::No => Ok(None),
        Undo::At { path, force } => undo::write(path, &bytes, *force).map(|()| Some(path.clone())),
        Undo::Beside => {
            for n in 1..=UNDOS {
                let mut name = place.as_os_str().to_owned();
                name.push(if n == 1 {
                    ".undo".to_owned()
                } else {
                    format!(".undo{n}")
                });
                let path = PathBuf::from(name);
                if fs::symlink_metadata(&path).is_err() {
                    return undo::write(&path, &bytes, false).map(|()| Some(path));
                }
            }
            Err(Failure::Usage {
                message: format!("there are {UNDOS} undo files beside the image"),
                remedy: "Remove some, or name one with --save-undo.".to_owned(),
            })
        }
    }
}
