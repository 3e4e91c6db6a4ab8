// SPDX-License-Identifier: GPL-2.0
//! The open files of a frozen process, and what is to become of each.

use cr_logic::files::{self, Class, Ends, Facts, Fate};
use cr_logic::pipes::Holders;
use crkit::{
    sys::{
        file::FileRef,
        open_file::{descriptors, is_close_on_exec, OpenFile},
        pipe::LockedPipe,
    },
    Checkpoint,
};
use kernel::prelude::*;

/// One open file (open file description).
pub(crate) struct Object {
    /// The file.
    pub(crate) file: FileRef,
    /// Lowest descriptor.
    pub(crate) first_fd: u32,
    /// Number of descriptors.
    pub(crate) count: u32,
    promised: bool,
    /// Tells inodes apart; never for an image.
    inode: usize,
    info: OpenFile,
    name: [u8; 32],
    name_len: usize,
}

/// One descriptor.
pub(crate) struct Descriptor {
    /// Its number.
    pub(crate) fd: u32,
    /// Object id.
    pub(crate) object: u32,
    /// Closed on exec.
    pub(crate) cloexec: bool,
}

/// All of them; object number `i` has id `i + 1`.
pub(crate) struct Table {
    /// Open files.
    pub(crate) objects: KVVec<Object>,
    /// Descriptors, ascending.
    pub(crate) descriptors: KVVec<Descriptor>,
}

impl Object {
    fn new(cx: &Checkpoint<'_>, file: FileRef, fd: u32) -> Self {
        let (info, mut name) = (file.open_file(), [0; 32]);
        let name_len = file.name(&mut name).len();
        let inode = file.inode_key();
        Self { file, first_fd: fd, count: 1, promised: cx.is_external(fd), inode, info, name, name_len }
    }

    /// What is known about it.
    pub(crate) fn facts(&self) -> Facts<'_> {
        Facts {
            mode: self.info.mode,
            rdev: self.info.rdev,
            magic: self.info.magic,
            nlink: self.info.nlink,
            flags: self.file.flags(),
            unlinked: self.info.unlinked != 0,
            fs_root: self.info.fs_root != 0,
            internal: self.info.internal != 0,
            silly: self.info.silly != 0,
            name: self.name.get(..self.name_len).unwrap_or(&[]),
        }
    }

    /// References by others than the descriptors of the process and this table.
    pub(crate) fn foreign(&self) -> u64 {
        let own = i64::from(self.count).saturating_add(1);
        u64::try_from(self.file.count().saturating_sub(own)).unwrap_or(0)
    }
}

impl Table {
    /// Lists the descriptors of the process.
    pub(crate) fn scan(cx: &Checkpoint<'_>) -> Result<Self> {
        let leader = cx.leader();
        let mut me = Self { objects: KVVec::new(), descriptors: KVVec::new() };
        for (fd, file) in descriptors(leader) {
            let (id, _) = cx.object(file.as_ptr() as u64)?;
            let index = (id as usize).checked_sub(1).ok_or(EINVAL)?;
            if index == me.objects.len() {
                me.objects.push(Object::new(cx, file, fd), GFP_KERNEL)?;
            } else {
                // There is none only if somebody outside, who shares the table, changes it meanwhile.
                let o = me.objects.get_mut(index).ok_or(EAGAIN)?;
                o.count = o.count.saturating_add(1);
                o.promised |= cx.is_external(fd);
            }
            let cloexec = is_close_on_exec(&leader, fd);
            me.descriptors.push(Descriptor { fd, object: id, cloexec }, GFP_KERNEL)?;
        }
        Ok(me)
    }

    /// How the file could be kept, by itself.
    pub(crate) fn class(&self, o: &Object) -> Class {
        files::classify(&o.facts())
    }

    /// What is to become of an open file.
    pub(crate) fn fate(&self, o: &Object) -> Fate {
        let class = self.class(o);
        let outside = match class {
            Class::Pipe => self.is_pipe_outside(o),
            Class::Deleted => self.is_deleted_outside(o),
            Class::Special(_) => o.foreign() > 0,
            _ => false,
        };
        let ends = Ends {
            stdio: o.first_fd <= 2,
            // Objects are in the order of their lowest descriptors.
            like_stdio: self.objects.iter().take_while(|s| s.first_fd <= 2).any(|s| is_like(o, s)),
            promised: o.promised,
            outside,
        };
        files::fate(class, ends)
    }

    /// The first open file of the same inode, which stands for all of them.
    pub(crate) fn is_first_of_inode(&self, o: &Object) -> bool {
        self.objects.iter().find(|x| x.inode == o.inode).is_some_and(|x| x.first_fd == o.first_fd)
    }

    fn same_inode<'t>(&'t self, o: &Object) -> impl Iterator<Item = &'t Object> + 't {
        let inode = o.inode;
        self.objects.iter().filter(move |x| x.inode == inode)
    }

    fn is_pipe_outside(&self, o: &Object) -> bool {
        let Some(files) = LockedPipe::lock(&o.file).map(|p| p.files()) else { return false };
        let mut h = Holders { files, own: 0, foreign: 0 };
        for x in self.same_inode(o).filter(|x| x.file.flags() & files::flag::O_PATH == 0) {
            h.own = h.own.saturating_add(1);
            h.foreign = h.foreign.saturating_add(x.foreign());
        }
        h.is_outside()
    }

    fn is_deleted_outside(&self, o: &Object) -> bool {
        let own = self.same_inode(o).count() as u64;
        let foreign: u64 = self.same_inode(o).map(Object::foreign).sum();
        u64::from(o.info.dentry_count) > own || foreign > 0
    }
}

/// Does standard descriptor `s` lead to the same pipe, socket or terminal as `o`?
fn is_like(o: &Object, s: &Object) -> bool {
    let (a, b) = (o.facts(), s.facts());
    if files::is_terminal(a.mode, a.rdev) && files::is_terminal(b.mode, b.rdev) {
        let tty = files::is_controlling_terminal(a.mode, a.rdev) || files::is_controlling_terminal(b.mode, b.rdev);
        return tty || a.rdev == b.rdev;
    }
    o.inode == s.inode
}
