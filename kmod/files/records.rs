// SPDX-License-Identifier: GPL-2.0
//! The records of section `files`, read once and checked, in a form that the steps can use.

use crate::WORD;
use cr_format::{
    records, DescriptorRecord, FileRecord, FsRecord, MappedObjectRecord, MemfdRecord, Record, FILES, FILE_DELETED,
    FILE_EXTERNAL, FILE_MEMFD, MEMORY,
};
use cr_logic::files;
use crkit::{errno_of, Restart};
use kernel::{prelude::*, str::CString};

/// What is kept of a `file` record; texts stay in the image's section, at `offset`.
#[derive(Clone, Copy)]
pub(crate) struct File {
    offset: usize,
    /// `FILE_*`.
    pub(crate) kind: u64,
    /// Recorded flags.
    pub(crate) flags: u32,
    /// Identity of the inode.
    pub(crate) inode: (u64, u64),
    /// Type and permissions.
    pub(crate) mode: u32,
    /// Device number.
    pub(crate) rdev: u64,
    /// Its lowest descriptor; none for a file that no descriptor refers to.
    pub(crate) first_fd: Option<u32>,
    /// Its highest descriptor.
    pub(crate) last_fd: Option<u32>,
    /// Index of the first removed or memory file of the same inode: the one that has the contents.
    pub(crate) contents: usize,
    /// Where its memfd record is.
    memfd: usize,
    /// It is mapped, or the program that runs.
    pub(crate) mapped: bool,
}

impl File {
    /// Has it no name, so that its contents are in the image?
    pub(crate) fn has_contents(&self) -> bool {
        matches!(self.kind, FILE_DELETED | FILE_MEMFD)
    }
}

/// One descriptor.
#[derive(Clone, Copy)]
pub(crate) struct Descriptor {
    /// Its number.
    pub(crate) fd: u32,
    /// Index of its file.
    pub(crate) file: usize,
    /// Closed on exec.
    pub(crate) cloexec: bool,
}

/// All records. File number `i` has id `i + 1`, which `cr_format::validate` has checked.
pub(crate) struct Records {
    /// Files: all of the image, with the first process.
    pub(crate) files: KVVec<File>,
    /// Descriptors, ascending.
    pub(crate) descriptors: KVVec<Descriptor>,
    /// File mode creation mask.
    pub(crate) umask: u32,
}

impl Records {
    /// Reads section `files`.
    pub(crate) fn read(cx: &Restart<'_>) -> Result<Self> {
        let mut me = Self { files: KVVec::new(), descriptors: KVVec::new(), umask: fs(cx)?.umask as u32 };
        for raw in records(cx.section(FILES)) {
            let raw = raw.map_err(|e| cx.fail_format(WORD, e))?;
            match raw.record_type {
                <FileRecord<'_> as Record<'_>>::TYPE => {
                    let r = FileRecord::parse(raw).map_err(|e| cx.fail_format(WORD, e))?;
                    me.add_file(cx, &r, raw.offset as usize)?;
                }
                <DescriptorRecord as Record<'_>>::TYPE => {
                    let r = DescriptorRecord::parse(raw).map_err(|e| cx.fail_format(WORD, e))?;
                    me.add_descriptor(&r)?;
                }
                <MemfdRecord<'_> as Record<'_>>::TYPE => {
                    let r = MemfdRecord::parse(raw).map_err(|e| cx.fail_format(WORD, e))?;
                    let contents = usize::try_from(r.contents).ok().and_then(|id| id.checked_sub(1)).ok_or(EUCLEAN)?;
                    let index = (r.id as usize).checked_sub(1).ok_or(EUCLEAN)?;
                    let f = me.files.get_mut(index).ok_or(EUCLEAN)?;
                    (f.contents, f.memfd) = (contents, raw.offset as usize);
                }
                _ => {}
            }
        }
        if cx.process() == 0 {
            me.note_mapped(cx)?;
        }
        Ok(me)
    }

    /// Marks what any process maps.
    fn note_mapped(&mut self, cx: &Restart<'_>) -> Result {
        for p in 0..cx.process_count() {
            for r in cr_format::records_of::<MappedObjectRecord>(cx.section_of(p, MEMORY)) {
                let file = r.map_err(errno_of)?.file;
                let index = usize::try_from(file).ok().and_then(|id| id.checked_sub(1)).ok_or(EUCLEAN)?;
                self.files.get_mut(index).ok_or(EUCLEAN)?.mapped = true;
            }
        }
        Ok(())
    }

    fn add_file(&mut self, cx: &Restart<'_>, r: &FileRecord<'_>, offset: usize) -> Result {
        let flags = u32::try_from(r.flags).map_err(|_| EUCLEAN)?;
        let strange = files::unknown_flags(flags);
        if strange != 0 {
            let text = CString::try_from_fmt(fmt!("open file {} has flags {strange:#o}, which this release does not know", r.id))?;
            return Err(cx.fail(EOPNOTSUPP, WORD, "", text.to_bytes(), "use the release of crkit that wrote the image, or newer"));
        }
        let (kind, inode, index) = (r.kind, (r.dev, r.ino), self.files.len());
        let twin = self.files.iter().position(|f| f.kind == FILE_DELETED && f.inode == inode);
        let contents = if kind == FILE_DELETED { twin.unwrap_or(index) } else { index };
        let file = File {
            offset,
            kind,
            flags,
            inode,
            mode: u32::try_from(r.mode).map_err(|_| EUCLEAN)?,
            rdev: r.rdev,
            first_fd: None,
            last_fd: None,
            contents,
            memfd: 0,
            mapped: false,
        };
        Ok(self.files.push(file, GFP_KERNEL)?)
    }

    fn add_descriptor(&mut self, r: &DescriptorRecord) -> Result {
        let fd = u32::try_from(r.fd).map_err(|_| EUCLEAN)?;
        let file = usize::try_from(r.file).ok().and_then(|id| id.checked_sub(1)).ok_or(EUCLEAN)?;
        if let Some(f) = self.files.get_mut(file) {
            f.first_fd.get_or_insert(fd);
            f.last_fd = Some(fd);
        }
        self.descriptors.push(Descriptor { fd, file, cloexec: r.cloexec != 0 }, GFP_KERNEL)?;
        Ok(())
    }

    /// The whole record of file number `index`.
    pub(crate) fn file<'a>(&self, cx: &Restart<'a>, index: usize) -> Result<FileRecord<'a>> {
        let f = self.files.get(index).ok_or(EUCLEAN)?;
        let rest = cx.section(FILES).get(f.offset..).ok_or(EUCLEAN)?;
        let raw = records(rest).next().ok_or(EUCLEAN)?.map_err(errno_of)?;
        FileRecord::parse(raw).map_err(errno_of)
    }

    /// The whole memfd record of file number `index`.
    pub(crate) fn memfd<'a>(&self, cx: &Restart<'a>, index: usize) -> Result<MemfdRecord<'a>> {
        let f = self.files.get(index).ok_or(EUCLEAN)?;
        let rest = cx.section(FILES).get(f.memfd..).ok_or(EUCLEAN)?;
        let raw = records(rest).next().ok_or(EUCLEAN)?.map_err(errno_of)?;
        MemfdRecord::parse(raw).map_err(errno_of)
    }

    /// Indices of the files that have contents in the image, each inode once.
    pub(crate) fn with_contents(&self) -> impl Iterator<Item = (usize, &File)> {
        self.files.iter().enumerate().filter(|(i, f)| f.has_contents() && f.contents == *i)
    }

    /// Does the process have the inode of this file open for writing, by any of its regular files?
    pub(crate) fn is_written(&self, f: &File) -> bool {
        self.files.iter().any(|x| x.kind == f.kind && x.inode == f.inode && files::is_writable(x.flags))
    }

    /// Lowest number behind all descriptors.
    pub(crate) fn min_fd(&self) -> u32 {
        self.descriptors.last().map_or(0, |d| d.fd.saturating_add(1))
    }

    /// Files that the user connects, with their indices.
    pub(crate) fn externals(&self) -> impl Iterator<Item = (usize, &File)> {
        self.files.iter().enumerate().filter(|(_, f)| f.kind == FILE_EXTERNAL && f.first_fd.is_some())
    }
}

/// The one `fs` record.
pub(crate) fn fs<'a>(cx: &Restart<'a>) -> Result<FsRecord<'a>> {
    cx.records::<FsRecord<'a>>().next().ok_or(EUCLEAN)?
}
