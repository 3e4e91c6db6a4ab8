// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Files that have a path and whose contents are in the image (`crctl checkpoint --with-files`): which, and bringing them
//! back to their places (`crctl restart --files=content`).
//!
//! A restart itself only compares such a file with its record. So a file is brought back before it: written beside its
//! place with owner, mode and time of modification as recorded, and renamed. The image is checked to its last byte
//! first, and no file is replaced before all of them have been written.

use crate::{
    atomic::AtomicFile,
    error::{remedy, Failure, Outcome},
    escape,
    file::{ImageFile, Page},
    input::Input,
    verify::{self, Level},
};
use cr_format::{limits::PAGE, records_of, validate::MetaSet, ContentsRecord, FileRecord, FILES};
use rustix::fs::{futimens, Timespec, Timestamps, UTIME_OMIT};
use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs::{self, File, Permissions},
    io,
    os::unix::{
        ffi::OsStrExt,
        fs::{fchown, FileExt, MetadataExt, PermissionsExt},
    },
    path::{Path, PathBuf},
};

/// A file whose contents are in the image.
pub struct Stored<'a> {
    /// What the image says about the open file.
    pub file: FileRecord<'a>,
    /// Whose it is.
    pub owner: ContentsRecord,
}

/// What was wrong with a file that has been brought back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It was not there.
    Missing,
    /// Its size or time of modification was another one.
    Changed,
}

impl Why {
    /// For people and JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Changed => "changed",
        }
    }
}

/// All of them, by the ids of their open files.
pub fn stored(sections: &dyn MetaSet) -> Vec<Stored<'_>> {
    let section = sections.shared(FILES);
    let mut files: BTreeMap<u32, FileRecord<'_>> = records_of::<FileRecord<'_>>(section)
        .map_while(Result::ok)
        .map(|f| (f.id, f))
        .collect();
    records_of::<ContentsRecord>(section)
        .map_while(Result::ok)
        .filter_map(|owner| files.remove(&owner.id).map(|file| Stored { file, owner }))
        .collect()
}

impl Stored<'_> {
    /// Where it belongs.
    pub fn path(&self) -> &Path {
        Path::new(OsStr::from_bytes(self.file.path))
    }

    /// What is wrong with the file that is there; `None` if it is as recorded.
    fn look(&self) -> Result<Option<Why>, Failure> {
        let path = self.path();
        match fs::symlink_metadata(path) {
            Ok(meta) if !meta.is_file() => Err(Failure::Usage {
                message: format!("{} is something else now", self.name()),
                remedy: "Put the file back in its place.".to_owned(),
            }),
            Ok(meta) => {
                let f = &self.file;
                let time = (meta.mtime(), u64::try_from(meta.mtime_nsec()).unwrap_or(0));
                let same = meta.len() == f.size && time == (f.mtime_s, f.mtime_ns);
                Ok((!same).then_some(Why::Changed))
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Some(Why::Missing)),
            Err(error) => Err(Failure::Output {
                path: path.to_owned(),
                error,
            }),
        }
    }

    fn name(&self) -> String {
        escape::text(self.file.path).to_string()
    }

    /// Writes the contents and sets owner, mode and time.
    fn write(&self, image: &ImageFile, to: &File) -> Result<io::Result<()>, Failure> {
        if let Err(e) = to.set_len(self.file.size) {
            return Ok(Err(e));
        }
        let chunks = image.page_chunks();
        for entry in chunks.filter(|e| (e.section, e.owner) == (FILES, self.file.id)) {
            let data = image.page_data(entry)?;
            let mut done = Ok(());
            data.for_each(|at, page| {
                if let (Ok(()), Page::Data(bytes)) = (&done, page) {
                    // CAST: at most a page.
                    let len = self.file.size.saturating_sub(at).min(PAGE) as usize;
                    done = to.write_all_at(bytes.get(..len).unwrap_or(bytes), at);
                }
            });
            if done.is_err() {
                return Ok(done);
            }
        }
        Ok(self.dress(to))
    }

    fn dress(&self, to: &File) -> io::Result<()> {
        let meta = to.metadata()?;
        // CAST: less than 2^32, as has been checked.
        let (uid, gid) = (self.owner.uid as u32, self.owner.gid as u32);
        if (meta.uid(), meta.gid()) != (uid, gid) {
            fchown(to, Some(uid), Some(gid))?;
        }
        // CAST: masked.
        to.set_permissions(Permissions::from_mode((self.file.mode & 0o7777) as u32))?;
        let time = |tv_sec, tv_nsec| Timespec { tv_sec, tv_nsec };
        let nanoseconds = i64::try_from(self.file.mtime_ns).unwrap_or(0);
        let times = Timestamps {
            last_access: time(0, UTIME_OMIT),
            last_modification: time(self.file.mtime_s, nanoseconds),
        };
        Ok(futimens(to, &times)?)
    }
}

/// Brings back all files that are missing or have changed, and whose contents are in the image at `path`.
///
/// # Errors
/// [`Failure::Defect`] for a damaged image, [`Failure::Usage`] for something in the place of a file that is none,
/// [`Failure::Output`]. Then no file has been replaced, unless the last step failed: renaming one after another.
pub fn bring_back(path: &Path) -> Result<Vec<(PathBuf, Why)>, Failure> {
    let name = path.to_string_lossy();
    let image = ImageFile::open(&name)?;
    let mut wanted = Vec::new();
    let all = stored(&image.image.sections);
    for file in &all {
        if let Some(why) = file.look()? {
            wanted.push((file, why));
        }
    }
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let checked = verify::check(&mut Input::open(&name)?, Level::Semantics, false)?;
    if checked.outcome() != Outcome::Sound {
        let message = match checked.defects.first() {
            Some(e) => (e.to_string(), remedy(&e.kind).to_owned()),
            None => ("it is not sound".to_owned(), String::new()),
        };
        return Err(Failure::Malformed {
            file: name.into_owned(),
            place: "no file has been brought back".to_owned(),
            message: message.0,
            remedy: message.1,
        });
    }
    let mut written = Vec::new();
    for (file, why) in wanted {
        let new = AtomicFile::exactly(file.path().to_owned(), true)?;
        file.write(&image, &new.file)?.map_err(|e| new.failed(e))?;
        written.push((new, file.path().to_owned(), why));
    }
    let mut done = Vec::new();
    for (new, path, why) in written {
        new.place()?;
        done.push((path, why));
    }
    Ok(done)
}
