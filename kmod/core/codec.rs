// SPDX-License-Identifier: GPL-2.0
//! Codecs for page data: modules register here, a session uses one through [`Worker`], which pins its
//! module and owns its memory.

use crate::registry::request;
use core::{ffi::CStr as CoreCStr, ptr::NonNull};
use cr_format::{chunk::CODEC_ZSTD, limits};
use crkit::bindings as b;
use kernel::{alloc::flags::GFP_KERNEL_ACCOUNT, prelude::*};

/// Most codecs that can be registered at once.
const LIMIT: usize = 16;
/// No workspace of a sane level is longer, bytes.
const MOST_WORKSPACE: usize = 64 << 20;

kernel::sync::global_lock! {
    // SAFETY: `init` runs in module init, before anybody can register or look up.
    unsafe(uninit) static CODECS: Mutex<KVec<Entry>> = KVec::new();
}

/// One registered table.
///
/// # Invariants
/// `0` stays valid until `unregister` has removed the entry.
struct Entry(NonNull<b::cr_codec_ops>);

// SAFETY: the table is immutable; it may be read from any thread.
unsafe impl Send for Entry {}

/// Initialises the list.
///
/// # Safety
/// Called once, in module init.
pub(crate) unsafe fn init() {
    // SAFETY: by the caller's promise.
    unsafe { CODECS.init() };
}

/// Registers a table.
///
/// # Safety
/// `ops` is null or stays valid until `unregister`.
pub(crate) unsafe fn register(ops: *const b::cr_codec_ops) -> Result {
    let ops = NonNull::new(ops.cast_mut()).ok_or(EINVAL)?;
    // SAFETY: valid by the caller's promise.
    let table = unsafe { ops.as_ref() };
    if table.abi != b::CR_ABI || table.workspace.is_none() || table.decode.is_none() || table.encode.is_none() {
        return Err(EINVAL);
    }
    let mut list = CODECS.lock();
    // SAFETY: registered entries are valid.
    if list.iter().any(|e| unsafe { e.0.as_ref() }.codec == table.codec) {
        return Err(EEXIST);
    }
    if list.len() >= LIMIT {
        return Err(ENOSPC);
    }
    // INVARIANT: valid until unregister by the caller's promise.
    list.push(Entry(ops), GFP_KERNEL)?;
    Ok(())
}

/// Removes a table. Nobody uses it: users hold a reference to its module.
pub(crate) fn unregister(ops: *const b::cr_codec_ops) {
    CODECS.lock().retain(|e| e.0.as_ptr().cast_const() != ops);
}

/// Name of a codec of the image format: of its module's alias.
fn name(codec: u16) -> Option<&'static CoreCStr> {
    match codec {
        CODEC_ZSTD => Some(c"zstd"),
        _ => None,
    }
}

/// A codec in use by a session; its module cannot be unloaded.
///
/// # Invariants
/// We hold a reference to `owner` of the table.
struct Used(NonNull<b::cr_codec_ops>);

// SAFETY: the table is immutable and its functions may be called from any thread.
unsafe impl Send for Used {}
// SAFETY: as above.
unsafe impl Sync for Used {}

impl Used {
    fn ops(&self) -> &b::cr_codec_ops {
        // SAFETY: the pinned module keeps its table registered.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for Used {
    fn drop(&mut self) {
        // SAFETY: we hold one reference by the type invariant.
        unsafe { b::module_put(self.ops().owner) };
    }
}

fn pin(codec: u16) -> Option<Used> {
    for e in CODECS.lock().iter() {
        // SAFETY: registered entries are valid while the list is locked.
        let ops = unsafe { e.0.as_ref() };
        // SAFETY: `owner` is the module that contains the table.
        if ops.codec == codec && unsafe { b::try_module_get(ops.owner) } {
            // INVARIANT: reference just taken.
            return Some(Used(e.0));
        }
    }
    None
}

/// An encoder or decoder with its workspace, for chunks of up to 1 MiB.
pub(crate) struct Worker {
    used: Used,
    level: u32,
    /// Only its capacity counts; the codec initialises what it uses.
    workspace: KVVec<u64>,
}

impl Worker {
    /// A worker of the codec with this number, whose module is loaded if need be: an encoder of that level,
    /// or with level 0 a decoder.
    ///
    /// # Errors
    /// `ENOPKG` when there is no such module, `EINVAL` for a level that the codec does not have, `ENOMEM`.
    pub(crate) fn new(codec: u16, level: u32) -> Result<Self> {
        let name = name(codec).ok_or(EOPNOTSUPP)?;
        let used = match pin(codec) {
            Some(u) => u,
            None => {
                request(c"crcodec-%s", name.to_bytes());
                pin(codec).ok_or(ENOPKG)?
            }
        };
        let f = used.ops().workspace.ok_or(EINVAL)?;
        if level > used.ops().max_level {
            return Err(EINVAL);
        }
        // SAFETY: a registered table's function, without requirements.
        let len = unsafe { f(level, limits::CHUNK_PAYLOAD) };
        if len == 0 || len > MOST_WORKSPACE {
            return Err(EINVAL);
        }
        let workspace = KVVec::with_capacity(len.div_ceil(8), GFP_KERNEL_ACCOUNT)?;
        Ok(Self { used, level, workspace })
    }

    /// Decodes one frame into `to`; `None` if it is damaged.
    pub(crate) fn decode(&mut self, to: &mut [u8], from: &[u8]) -> Option<usize> {
        let f = self.used.ops().decode?;
        let (to_len, from_len) = (u32::try_from(to.len()).ok()?, u32::try_from(from.len()).ok()?);
        let spare = self.workspace.spare_capacity_mut();
        // SAFETY: the workspace is as long as the codec asked for and aligned; both buffers are valid.
        let n = unsafe {
            f(spare.as_mut_ptr().cast(), core::mem::size_of_val(spare), to.as_mut_ptr().cast(), to_len, from.as_ptr().cast(), from_len)
        };
        usize::try_from(n).ok().filter(|n| *n <= to.len())
    }

    /// Encodes to one frame; its length, or `None` if it does not fit in `to`.
    pub(crate) fn encode(&mut self, to: &mut [u8], from: &[u8]) -> Option<usize> {
        let f = self.used.ops().encode?;
        let (to_len, from_len) = (u32::try_from(to.len()).ok()?, u32::try_from(from.len()).ok()?);
        let spare = self.workspace.spare_capacity_mut();
        // SAFETY: as in `decode`.
        let n = unsafe {
            f(
                spare.as_mut_ptr().cast(),
                core::mem::size_of_val(spare),
                self.level,
                to.as_mut_ptr().cast(),
                to_len,
                from.as_ptr().cast(),
                from_len,
            )
        };
        usize::try_from(n).ok().filter(|n| *n > 0 && *n <= to.len())
    }
}
