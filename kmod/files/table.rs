// SPDX-License-Identifier: GPL-2.0
//! The open files of all frozen processes, and what is to become of each.

use cr_logic::files::{self, Class, Ends, Facts, Fate, Uses};
use cr_logic::pipes::Holders;
use crkit::{
    sys::{
        file::FileRef,
        mm::{MmRef, VmaRef},
        open_file::{descriptors, is_close_on_exec, OpenFile},
        pipe::LockedPipe,
        uring::Ring,
    },
    Checkpoint,
};
use kernel::prelude::*;

/// One open file (open file description).
pub(crate) struct Object {
    /// The file.
    pub(crate) file: FileRef,
    /// The first process that has it, and its lowest descriptor there; none if it is only mapped.
    pub(crate) process: u32,
    pub(crate) first_fd: Option<u32>,
    /// Number of descriptors, of all processes.
    pub(crate) count: u32,
    /// Is it descriptor 0, 1 or 2 of a process?
    stdio: bool,
    promised: bool,
    /// Tells inodes apart; never for an image.
    inode: usize,
    info: OpenFile,
    name: [u8; 32],
    name_len: usize,
}

/// One descriptor.
pub(crate) struct Descriptor {
    /// Its process.
    pub(crate) process: u32,
    /// Its number.
    pub(crate) fd: u32,
    /// Object id.
    pub(crate) object: u32,
    /// Closed on exec.
    pub(crate) cloexec: bool,
}

/// A file without a name that areas map; it may or may not have descriptors.
struct Mapped {
    file: FileRef,
    inode: usize,
    /// The first process that maps it.
    process: u32,
    /// Number of areas of all processes, and one more for each that has it as its program.
    areas: u64,
    /// The first of them.
    address: u64,
    /// One of them is shared.
    shared: bool,
}

/// All of them; object number `i` has id `i + 1`.
pub(crate) struct Table {
    /// Open files: those with descriptors by process and the lowest of these, then the others by process and first address.
    pub(crate) objects: KVVec<Object>,
    /// Descriptors, ascending by process and number.
    pub(crate) descriptors: KVVec<Descriptor>,
    /// Mapped files without a name, by process and first address.
    mapped: KVVec<Mapped>,
    /// Contents of regular files that have paths are wanted.
    with_files: bool,
}

impl Object {
    fn new(process: u32, file: FileRef, first_fd: Option<u32>) -> Self {
        let (info, mut name) = (file.open_file(), [0; 32]);
        let name_len = file.name(&mut name).len();
        let inode = file.inode_key();
        Self { file, process, first_fd, count: 0, stdio: false, promised: false, inode, info, name, name_len }
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
}

impl Mapped {
    /// References that are not those of the areas, and not ours.
    fn others(&self) -> u64 {
        u64::try_from(self.file.count()).unwrap_or(0).saturating_sub(self.areas).saturating_sub(1)
    }

    /// Made by an overlay for a file of its own; the descriptors have that one.
    fn is_backing(&self) -> bool {
        core::ptr::from_ref(self.file.inode()) as usize != self.inode
    }
}

impl Table {
    /// Lists the descriptors of all processes, and the files without a name that they map.
    pub(crate) fn scan(cx: &Checkpoint<'_>) -> Result<Self> {
        let mut me = Self { objects: KVVec::new(), descriptors: KVVec::new(), mapped: KVVec::new(), with_files: false };
        me.with_files = cx.flags() & cr_uapi::CHECKPOINT_WITH_FILES != 0;
        // By address of the open file: the place in `objects`.
        let mut known: KVVec<(usize, u32)> = KVVec::new();
        for p in cx.all_processes().filter(|p| !p.is_zombie()) {
            me.add(&p, &mut known)?;
            // Those that are known to the next process, which has most of them, are found by halving.
            known.as_mut_slice().sort_unstable();
        }
        for p in cx.all_processes().filter(|p| !p.is_zombie()) {
            me.add_areas(&p)?;
        }
        for m in me.mapped.iter() {
            if !me.objects.iter().any(|o| o.inode == m.inode) {
                me.objects.push(Object::new(m.process, m.file.clone(), None), GFP_KERNEL)?;
            }
        }
        Ok(me)
    }

    /// Adds the files without a name that a process maps.
    fn add_areas(&mut self, cx: &Checkpoint<'_>) -> Result {
        each_nameless(&cx.mm(), |area, file| {
            let shared = area.flags() & cr_logic::memory::vm::MAYSHARE != 0;
            self.add_mapped(cx.process(), file, area.start(), shared)
        })?;
        match cx.mm().exe_file().filter(is_nameless) {
            // Read, never written: like a private mapping.
            Some(file) => self.add_mapped(cx.process(), file, 0, false),
            None => Ok(()),
        }
    }

    fn add_mapped(&mut self, process: u32, file: FileRef, address: u64, shared: bool) -> Result {
        if let Some(m) = self.mapped.iter_mut().rev().find(|m| m.file.as_ptr() == file.as_ptr()) {
            m.areas = m.areas.saturating_add(1);
            m.shared |= shared;
            return Ok(());
        }
        let inode = file.inode_key();
        Ok(self.mapped.push(Mapped { file, inode, process, areas: 1, address, shared }, GFP_KERNEL)?)
    }

    /// Tells others the ids of open files: [`Checkpoint::open_file_id`] says that of any of them, and `cx.object_in(FILES, inode)` to
    /// `memory` which have the contents of mapped files without a name.
    pub(crate) fn announce(&self, cx: &Checkpoint<'_>) -> Result {
        let owns = |i: usize, o: &Object| self.stores(o) && self.first_of_inode(o) == Some(i);
        let is_wanted = |i: usize, o: &Object| self.mapped.iter().any(|m| m.inode == o.inode) && owns(i, o);
        for (i, o) in self.objects.iter().enumerate() {
            let key = if is_wanted(i, o) { o.inode } else { o.file.as_ptr() as usize };
            let (id, _) = cx.object_in(cr_format::FILES, key as u64)?;
            if (id as usize).checked_sub(1) != Some(i) {
                return Err(EINVAL);
            }
        }
        Ok(())
    }

    /// Adds the descriptors of one process. `known` is sorted; what is new comes behind.
    fn add(&mut self, cx: &Checkpoint<'_>, known: &mut KVVec<(usize, u32)>) -> Result {
        let (leader, process) = (cx.leader(), cx.process());
        let begin = self.descriptors.len();
        let mut list: KVVec<(usize, u32, Option<FileRef>)> = KVVec::new();
        for (fd, file) in descriptors(leader) {
            list.push((file.as_ptr() as usize, fd, Some(file)), GFP_KERNEL)?;
        }
        // The lowest descriptor of each file first, so that its further ones find it.
        list.as_mut_slice().sort_unstable_by_key(|l| (l.0, l.1));
        let mut first: KVVec<(u32, usize)> = KVVec::with_capacity(list.len(), GFP_KERNEL)?;
        let mut last = 0;
        for (i, l) in list.iter().enumerate() {
            if core::mem::replace(&mut last, l.0) != l.0 && known.binary_search_by_key(&l.0, |k| k.0).is_err() {
                first.push((l.1, i), GFP_KERNEL)?;
            }
        }
        // Objects are in the order of their lowest descriptors.
        first.as_mut_slice().sort_unstable();
        for (fd, i) in first.iter() {
            let Some((key, _, file)) = list.get_mut(*i) else { return Err(EINVAL) };
            let Some(file) = file.take() else { return Err(EINVAL) };
            known.push((*key, self.objects.len() as u32), GFP_KERNEL)?;
            self.objects.push(Object::new(process, file, Some(*fd)), GFP_KERNEL)?;
        }
        known.as_mut_slice().sort_unstable();
        for (key, fd, _) in list.iter() {
            let at = known.binary_search_by_key(key, |k| k.0).ok().and_then(|i| known.get(i)).ok_or(EINVAL)?.1;
            let o = self.objects.get_mut(at as usize).ok_or(EINVAL)?;
            o.count = o.count.saturating_add(1);
            o.stdio |= *fd <= 2;
            o.promised |= cx.is_external(*fd);
            let object = at.checked_add(1).ok_or(EOVERFLOW)?;
            let cloexec = is_close_on_exec(&leader, *fd);
            self.descriptors.push(Descriptor { process, fd: *fd, object, cloexec }, GFP_KERNEL)?;
        }
        if let Some(own) = self.descriptors.as_mut_slice().get_mut(begin..) {
            own.sort_unstable_by_key(|d| d.fd);
        }
        Ok(())
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
            Class::Contents(_) => self.is_inode_outside(o),
            // A ring is also held by its memory areas: `uring` counts.
            Class::Special(_) => self.foreign(o) > 0 && Ring::of(&o.file).is_none(),
            _ => false,
        };
        let (mapped, copied) = self.mapping(o);
        let ends = Ends {
            stdio: o.stdio,
            like_stdio: matches!(class, Class::Pipe | Class::Terminal | Class::Socket) && self.objects.iter().any(|s| s.stdio && is_like(o, s)),
            promised: o.promised,
            outside,
            mapped,
            copied,
        };
        files::fate(class, ends)
    }

    /// Does a process map the inode of a file without a name, and is a copy as good as the file?
    fn mapping(&self, o: &Object) -> (bool, bool) {
        let mut maps = self.mapped.iter().filter(|m| m.inode == o.inode);
        let mapped = maps.clone().next().is_some();
        (mapped, mapped && maps.all(|m| !m.shared) && self.same_inode(o).all(|x| x.count == 0))
    }

    /// Are its contents in the image, now that the checkpoint is not refused? Unlike [`Table::fate`] this asks nothing that others
    /// can change: it says the same as long as the processes are frozen.
    pub(crate) fn stores(&self, o: &Object) -> bool {
        match self.class(o) {
            Class::Contents(_) => !o.promised || self.mapping(o).0,
            Class::Renamed(_) => self.mapping(o).1,
            _ => self.is_stored_too(o),
        }
    }

    /// Is it a file with a path whose contents are wanted, and say something?
    pub(crate) fn is_stored_too(&self, o: &Object) -> bool {
        let is_regular = || matches!(self.class(o), Class::ByPath(cr_format::FILE_REGULAR));
        self.with_files && !o.promised && files::has_meaningful_stamp(o.info.magic) && is_regular()
    }

    /// The first address at which a file without a name is mapped, 0 if it is not.
    pub(crate) fn address(&self, o: &Object) -> u64 {
        self.mapped.iter().find(|m| m.inode == o.inode).map_or(0, |m| m.address)
    }

    /// Index of the first open file of the same inode whose contents the image has: it stands for all of them.
    pub(crate) fn first_of_inode(&self, o: &Object) -> Option<usize> {
        self.objects.iter().position(|x| x.inode == o.inode && self.stores(x))
    }

    fn same_inode<'t>(&'t self, o: &Object) -> impl Iterator<Item = &'t Object> + 't {
        let inode = o.inode;
        self.objects.iter().filter(move |x| x.inode == inode)
    }

    /// References by others than the descriptors and areas of the processes and this table.
    pub(crate) fn foreign(&self, o: &Object) -> u64 {
        let mapped = self.mapped.iter().find(|m| m.file.as_ptr() == o.file.as_ptr());
        let own = mapped.map_or(0, |m| m.areas.saturating_add(1)).saturating_add(o.count.into()).saturating_add(1);
        u64::try_from(o.file.count()).unwrap_or(0).saturating_sub(own)
    }

    fn is_pipe_outside(&self, o: &Object) -> bool {
        let Some(files) = LockedPipe::lock(&o.file).map(|p| p.files()) else { return false };
        let mut h = Holders { files, own: 0, foreign: 0 };
        for x in self.same_inode(o).filter(|x| x.file.flags() & files::flag::O_PATH == 0) {
            h.own = h.own.saturating_add(1);
            h.foreign = h.foreign.saturating_add(self.foreign(x));
        }
        h.is_outside()
    }

    /// Does anybody else use the inode of a file without a name?
    fn is_inode_outside(&self, o: &Object) -> bool {
        let mut uses = Uses { names: o.info.dentry_count.into(), ..Uses::default() };
        for x in self.same_inode(o).filter(|x| x.count > 0) {
            uses.open = uses.open.saturating_add(1);
            uses.foreign = uses.foreign.saturating_add(self.foreign(x));
        }
        for m in self.mapped.iter().filter(|m| m.inode == o.inode) {
            match m.is_backing() {
                true if m.others() == 0 => uses.backing_alone = uses.backing_alone.saturating_add(1),
                true => uses.backing_open = uses.backing_open.saturating_add(m.others()),
                // Those with descriptors have been counted.
                false if self.same_inode(o).any(|x| x.count > 0 && x.file.as_ptr() == m.file.as_ptr()) => {}
                false => {
                    uses.open = uses.open.saturating_add(1);
                    let table = self.same_inode(o).filter(|x| x.file.as_ptr() == m.file.as_ptr()).count() as u64;
                    uses.foreign = uses.foreign.saturating_add(m.others().saturating_sub(table));
                }
            }
        }
        uses.are_outside(files::is_overlay(o.info.magic))
    }
}

/// Calls `f` for each area of a regular file that has no name (any more), and the file.
fn each_nameless(mm: &MmRef<'_>, mut f: impl FnMut(&VmaRef<'_>, FileRef) -> Result) -> Result {
    let locked = mm.lock()?;
    let mut at = 0;
    while let Some(area) = locked.find(at) {
        at = area.end();
        if let Some(file) = area.file().filter(is_nameless) {
            f(&area, file)?;
        }
    }
    Ok(())
}

/// Is it a file whose contents must be in the image for a restart to map it?
fn is_nameless(file: &FileRef) -> bool {
    matches!(files::classify(&Object::new(0, file.clone(), None).facts()), Class::Contents(_) | Class::Renamed(_))
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
