// SPDX-License-Identifier: GPL-2.0
//! Reading credentials and security labels. The only file of this module that names bindings' functions.
//!
//! `kernel::cred::Credential` shows the effective user only.

use core::ptr::NonNull;
use cr_format::U64s;
use cr_logic::creds::{Cred, Ids};
use crkit::{bindings as b, sys::task::TaskRef};
use kernel::{ffi::c_int, prelude::*};

/// A reference to a `struct cred`, which never changes once it is in use.
///
/// # Invariants
/// `ptr` is live; we own one reference.
pub(crate) struct CredRef(NonNull<b::cred>);

impl CredRef {
    /// The objective credentials of a task.
    pub(crate) fn of(t: &TaskRef<'_>) -> Result<Self> {
        // SAFETY: live task; the reference is ours.
        NonNull::new(unsafe { b::crs_task_cred_get(t.as_ptr()) }.cast_mut()).map(Self).ok_or(ESRCH)
    }

    fn get(&self) -> &b::cred {
        // SAFETY: live by the type invariant; immutable but for its counters.
        unsafe { self.0.as_ref() }
    }

    /// The very same object?
    pub(crate) fn is(&self, other: &CredRef) -> bool {
        self.0 == other.0
    }

    /// Supplementary groups as the caller's user namespace sees them.
    pub(crate) fn groups(&self) -> Result<KVec<u64>> {
        // SAFETY: a cred keeps its group_info alive.
        let info = unsafe { &*self.get().group_info };
        let n = usize::try_from(info.ngroups).map_err(|_| EINVAL)?;
        // SAFETY: the flexible array has `ngroups` entries.
        let gids = unsafe { info.gid.as_slice(n) };
        let mut out = KVec::with_capacity(n, GFP_KERNEL)?;
        for g in gids {
            out.push(gid(*g), GFP_KERNEL)?;
        }
        Ok(out)
    }

    /// All of it; `groups` are those from [`CredRef::groups`].
    pub(crate) fn read<'g>(&self, groups: &'g [u64]) -> Cred<'g> {
        let c = self.get();
        Cred {
            uid: Ids { real: uid(c.uid), effective: uid(c.euid), saved: uid(c.suid), fs: uid(c.fsuid) },
            gid: Ids { real: gid(c.gid), effective: gid(c.egid), saved: gid(c.sgid), fs: gid(c.fsgid) },
            groups: U64s::Native(groups),
            inheritable: c.cap_inheritable.val,
            permitted: c.cap_permitted.val,
            effective: c.cap_effective.val,
            bounding: c.cap_bset.val,
            ambient: c.cap_ambient.val,
            securebits: c.securebits.into(),
        }
    }

    /// Has the process another session keyring than the caller?
    pub(crate) fn has_other_session_keyring(&self) -> Result<bool> {
        let mine = CredRef::of(&TaskRef::current())?;
        Ok(!core::ptr::eq(self.get().session_keyring, mine.get().session_keyring))
    }

    /// Does the thread or the process have a keyring of its own?
    pub(crate) fn has_keyrings(&self) -> bool {
        let c = self.get();
        !c.thread_keyring.is_null() || !c.process_keyring.is_null()
    }
}

impl Drop for CredRef {
    fn drop(&mut self) {
        // SAFETY: we own one reference.
        unsafe { b::crs_put_cred(self.0.as_ptr()) };
    }
}

fn uid(u: b::kuid_t) -> u64 {
    // SAFETY: no requirements.
    unsafe { b::crs_from_kuid(u) }.into()
}

fn gid(g: b::kgid_t) -> u64 {
    // SAFETY: no requirements.
    unsafe { b::crs_from_kgid(g) }.into()
}

/// Is the security label of `t` another than the caller's?
pub(crate) fn label_differs(t: &TaskRef<'_>) -> bool {
    // SAFETY: live task.
    unsafe { b::crs_security_label_differs(t.as_ptr()) != 0 }
}

/// The security label of `t`, as far as it fits.
pub(crate) fn label<'o>(t: &TaskRef<'_>, out: &'o mut [u8]) -> &'o [u8] {
    let len = c_int::try_from(out.len()).unwrap_or(0);
    // SAFETY: live task; `out` is valid for `len` bytes.
    let n = unsafe { b::crs_security_label(t.as_ptr(), out.as_mut_ptr().cast(), len) };
    let label = usize::try_from(n).ok().and_then(|n| out.get(..n)).unwrap_or(&[]);
    // Text for people: up to a terminating zero.
    let end = label.iter().position(|c| *c == 0).unwrap_or(label.len());
    label.get(..end).unwrap_or(&[])
}
