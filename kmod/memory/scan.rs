// SPDX-License-Identifier: GPL-2.0
//! Looking at the areas of the frozen process: what each is, in the terms of the image.
//!
//! The VMA tree is walked once under the mmap lock, taking references to files; everything that may
//! sleep or ask a file system comes after. Frozen tasks do not change their areas, so what was seen stays true.

use crate::mapped;
use cr_logic::memory::{
    judge::{self, Backing, FileFacts},
    vm, Spec,
};
use crkit::{
    bindings as b,
    sys::{
        file::FileRef,
        mm::{MmRef, Policy},
    },
};
use kernel::prelude::*;

// `cr_logic` has its own copy of the flags, so that it can be tested without a kernel.
const _: () = {
    let same = [
        (vm::READ, b::CR_VM_READ),
        (vm::WRITE, b::CR_VM_WRITE),
        (vm::EXEC, b::CR_VM_EXEC),
        (vm::SHARED, b::CR_VM_SHARED),
        (vm::MAYREAD, b::CR_VM_MAYREAD),
        (vm::MAYWRITE, b::CR_VM_MAYWRITE),
        (vm::MAYEXEC, b::CR_VM_MAYEXEC),
        (vm::MAYSHARE, b::CR_VM_MAYSHARE),
        (vm::GROWSDOWN, b::CR_VM_GROWSDOWN),
        (vm::UFFD_MISSING, b::CR_VM_UFFD_MISSING),
        (vm::PFNMAP, b::CR_VM_PFNMAP),
        (vm::MAYBE_GUARD, b::CR_VM_MAYBE_GUARD),
        (vm::UFFD_WP, b::CR_VM_UFFD_WP),
        (vm::LOCKED, b::CR_VM_LOCKED),
        (vm::IO, b::CR_VM_IO),
        (vm::SEQ_READ, b::CR_VM_SEQ_READ),
        (vm::RAND_READ, b::CR_VM_RAND_READ),
        (vm::DONTCOPY, b::CR_VM_DONTCOPY),
        (vm::DONTEXPAND, b::CR_VM_DONTEXPAND),
        (vm::LOCKONFAULT, b::CR_VM_LOCKONFAULT),
        (vm::ACCOUNT, b::CR_VM_ACCOUNT),
        (vm::NORESERVE, b::CR_VM_NORESERVE),
        (vm::HUGETLB, b::CR_VM_HUGETLB),
        (vm::WIPEONFORK, b::CR_VM_WIPEONFORK),
        (vm::DONTDUMP, b::CR_VM_DONTDUMP),
        (vm::SOFTDIRTY, b::CR_VM_SOFTDIRTY),
        (vm::MIXEDMAP, b::CR_VM_MIXEDMAP),
        (vm::HUGEPAGE, b::CR_VM_HUGEPAGE),
        (vm::NOHUGEPAGE, b::CR_VM_NOHUGEPAGE),
        (vm::MERGEABLE, b::CR_VM_MERGEABLE),
        (vm::PKEY, b::CR_VM_PKEY_MASK),
        (vm::SHADOW_STACK, b::CR_VM_SHADOW_STACK),
        (vm::DROPPABLE, b::CR_VM_DROPPABLE),
        (vm::UFFD_MINOR, b::CR_VM_UFFD_MINOR),
        (vm::SEALED, b::CR_VM_SEALED),
        (vm::UFFD_RWP, b::CR_VM_UFFD_RWP),
    ];
    let mut i = 0;
    while i < same.len() {
        // A config option that is off makes its flag 0.
        assert!(same[i].0 == same[i].1 || same[i].1 == 0);
        i += 1;
    }
};

/// One area of the frozen process.
pub(crate) struct Area {
    /// In the terms of the image. `object` is filled in by `checkpoint.rs`.
    pub(crate) spec: Spec,
    /// `VM_*`.
    pub(crate) vm_flags: u64,
    /// What is behind it.
    pub(crate) backing: Backing,
    /// Its file. Exactly one reference per area: `checkpoint.rs` counts them.
    pub(crate) file: Option<FileRef>,
    /// Name of a special or a named anonymous area.
    pub(crate) name: KVec<u8>,
    /// A NUMA policy of its own.
    pub(crate) policy: Option<KBox<Policy>>,
    /// Bytes of its huge pages of hugetlbfs, 0 if it has none.
    pub(crate) huge: u64,
    anonymous: bool,
    special: bool,
}

impl Area {
    /// What the user knows the area by: path, name or kind; into `buf` if need be.
    pub(crate) fn title<'a>(&'a self, buf: &'a mut [u8]) -> &'a [u8] {
        match &self.file {
            Some(f) => f.user_path(buf).unwrap_or(b"a file whose path is too long"),
            None if !self.name.is_empty() => &self.name,
            None if self.spec.flags & cr_format::VMA_STACK != 0 => b"[stack]",
            None => b"anonymous memory",
        }
    }
}

/// All areas, in the order of their addresses.
pub(crate) fn scan(mm: &MmRef<'_>) -> Result<KVVec<Area>> {
    let mut areas = look(mm)?;
    let start_stack = mm.facts()?.start_stack;
    let mut buf = KVec::from_elem(0u8, mapped::PATH_ROOM, GFP_KERNEL)?;
    for a in areas.iter_mut() {
        a.backing = backing(a, &mut buf);
        a.spec.kind = judge::record_kind(a.backing);
        a.spec.flags = judge::record_flags(a.vm_flags, a.backing, a.huge);
        if a.spec.start <= start_stack && start_stack < a.spec.end && a.vm_flags & vm::GROWSDOWN != 0 {
            a.spec.flags |= cr_format::VMA_STACK;
        }
        if !matches!(a.backing, Backing::File | Backing::Object | Backing::SharedAnonymous | Backing::Ring) {
            // The offset of anonymous memory is an internal matter of the kernel.
            a.spec.offset = 0;
        }
    }
    Ok(areas)
}

/// Takes down what needs the lock.
fn look(mm: &MmRef<'_>) -> Result<KVVec<Area>> {
    let mut areas = KVVec::new();
    let locked = mm.lock()?;
    let mut at = 0;
    while let Some(v) = locked.find(at) {
        at = v.end();
        let mut name = KVec::new();
        let special = v.special_name(|n| name.extend_from_slice(n, GFP_KERNEL)).transpose()?.is_some();
        if !special {
            v.anon_name(|n| name.extend_from_slice(n, GFP_KERNEL)).transpose()?;
        }
        let vm_flags = v.flags();
        areas.push(
            Area {
                spec: Spec {
                    start: v.start(),
                    end: v.end(),
                    prot: judge::record_prot(vm_flags),
                    offset: v.offset(),
                    ..Spec::default()
                },
                vm_flags,
                backing: Backing::Anonymous,
                file: v.file(),
                name,
                // Under the mmap lock, which is no spin lock.
                policy: v.policy().map(|p| KBox::new(p, GFP_KERNEL)).transpose()?,
                huge: v.huge(),
                anonymous: v.is_anonymous(),
                special,
            },
            GFP_KERNEL,
        )?;
    }
    Ok(areas)
}

fn backing(a: &Area, buf: &mut [u8]) -> Backing {
    let special = a.special.then_some(a.name.as_slice());
    match &a.file {
        Some(file) => file_backing(file, a.vm_flags & vm::MAYSHARE != 0, a.anonymous, special, buf),
        None => judge::backing(None, a.anonymous, special),
    }
}

/// What an area of this file has behind it.
pub(crate) fn file_backing(
    file: &FileRef,
    shared: bool,
    anonymous: bool,
    special: Option<&[u8]>,
    buf: &mut [u8],
) -> Backing {
    let facts = file.facts();
    let kind = facts.mode & b::S_IFMT;
    let file = FileFacts {
        magic: facts.magic,
        internal: facts.internal != 0,
        private: facts.private != 0,
        regular: kind == b::S_IFREG,
        character: kind == b::S_IFCHR,
        rdev: facts.rdev,
        unlinked: facts.unlinked != 0,
        shared,
        path: file.user_path(buf).unwrap_or(b""),
    };
    judge::backing(Some(&file), anonymous, special)
}
