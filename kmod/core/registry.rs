// SPDX-License-Identifier: GPL-2.0
//! Extensions register here by word; a session uses them through [`Used`], which pins their modules.

use core::{ffi::CStr as CoreCStr, ptr::NonNull};
use crkit::bindings as b;
use kernel::{
    ffi::{c_int, c_void},
    prelude::*,
};

/// Most extensions that can be registered at once.
const LIMIT: usize = 256;

kernel::sync::global_lock! {
    // SAFETY: `init` runs in module init, before anybody can register or look up.
    unsafe(uninit) static EXTENSIONS: Mutex<KVec<Entry>> = KVec::new();
}

/// One registered table.
///
/// # Invariants
/// `ops` stays valid until `unregister` has removed the entry.
struct Entry {
    ops: NonNull<b::cr_extension_ops>,
    users: u32,
}

// SAFETY: the table is immutable; it may be read from any thread.
unsafe impl Send for Entry {}

/// Initialises the registry.
///
/// # Safety
/// Called once, in module init.
pub(crate) unsafe fn init() {
    // SAFETY: by the caller's promise.
    unsafe { EXTENSIONS.init() };
}

/// Text of a NUL-terminated word of a table.
fn word_of(ops: &b::cr_extension_ops) -> &[u8] {
    // SAFETY: checked in `register` to be non-null; tables carry static C strings.
    unsafe { CoreCStr::from_ptr(ops.word.cast()) }.to_bytes()
}

/// Name of the module that contains a table.
fn module_of(ops: &b::cr_extension_ops) -> &[u8] {
    // SAFETY: a registered table's owner is the module that contains it, or null for built-in code.
    let Some(owner) = (unsafe { ops.owner.as_ref() }) else { return b"" };
    // SAFETY: the name is an array of bytes, terminated within.
    let name = unsafe { core::slice::from_raw_parts(owner.name.as_ptr().cast::<u8>(), owner.name.len()) };
    name.split(|c| *c == 0).next().unwrap_or(b"")
}

/// Registers a table.
///
/// # Safety
/// `ops` is null or stays valid until `unregister`.
pub(crate) unsafe fn register(ops: *const b::cr_extension_ops) -> Result {
    let ops = NonNull::new(ops.cast_mut()).ok_or(EINVAL)?;
    // SAFETY: valid by the caller's promise.
    let table = unsafe { ops.as_ref() };
    if table.abi != b::CR_ABI || table.word.is_null() {
        return Err(EINVAL);
    }
    let mut list = EXTENSIONS.lock();
    for e in list.iter() {
        // SAFETY: registered entries are valid.
        let other = unsafe { e.ops.as_ref() };
        if other.section == table.section || word_of(other) == word_of(table) {
            return Err(EEXIST);
        }
    }
    if list.len() >= LIMIT {
        return Err(ENOSPC);
    }
    // INVARIANT: valid until unregister by the caller's promise.
    list.push(Entry { ops, users: 0 }, GFP_KERNEL)?;
    Ok(())
}

/// Removes a table. Nobody uses it: users hold a reference to its module.
pub(crate) fn unregister(ops: *const b::cr_extension_ops) {
    EXTENSIONS.lock().retain(|e| e.ops.as_ptr().cast_const() != ops);
}

/// Number of registered extensions.
pub(crate) fn count() -> u32 {
    EXTENSIONS.lock().len() as u32
}

/// Fills in what `EXTENSION` returns for number `index`.
pub(crate) fn info(index: u32, out: &mut cr_uapi::ExtensionInfo) -> Result {
    let list = EXTENSIONS.lock();
    let e = list.get(index as usize).ok_or(ENOENT)?;
    // SAFETY: registered entries are valid.
    let ops = unsafe { e.ops.as_ref() };
    out.section = ops.section.into();
    out.users = e.users;
    out.word = [0; 32];
    copy_text(&mut out.word, word_of(ops));
    out.module = [0; 64];
    copy_text(&mut out.module, module_of(ops));
    Ok(())
}

fn copy_text(to: &mut [u8], from: &[u8]) {
    let room = to.len().saturating_sub(1);
    for (t, f) in to.iter_mut().take(room).zip(from) {
        *t = *f;
    }
}

/// An extension in use by a session; its module cannot be unloaded.
///
/// # Invariants
/// We hold a reference to `ops.owner` and count in the entry's `users`.
pub(crate) struct Used {
    ops: NonNull<b::cr_extension_ops>,
}

// SAFETY: the table is immutable and its functions may be called from any thread.
unsafe impl Send for Used {}
// SAFETY: as above.
unsafe impl Sync for Used {}

impl Used {
    /// The function table.
    pub(crate) fn ops(&self) -> &b::cr_extension_ops {
        // SAFETY: the pinned module keeps its table registered.
        unsafe { self.ops.as_ref() }
    }

    /// Resource word.
    pub(crate) fn word(&self) -> &[u8] {
        word_of(self.ops())
    }

    /// Resource word as text for messages.
    pub(crate) fn word_str(&self) -> &str {
        core::str::from_utf8(self.word()).unwrap_or("?")
    }

    /// Name of its module.
    pub(crate) fn module(&self) -> &[u8] {
        module_of(self.ops())
    }

    /// Schema records of the extension.
    pub(crate) fn schema(&self) -> &[u8] {
        let ops = self.ops();
        if ops.schema.is_null() || ops.schema_len == 0 {
            return &[];
        }
        // SAFETY: registered tables carry a static schema of that length.
        unsafe { core::slice::from_raw_parts(ops.schema, ops.schema_len as usize) }
    }
}

impl Drop for Used {
    fn drop(&mut self) {
        let mut list = EXTENSIONS.lock();
        if let Some(e) = list.iter_mut().find(|e| e.ops == self.ops) {
            e.users = e.users.saturating_sub(1);
        }
        drop(list);
        // SAFETY: we hold one reference by the type invariant.
        unsafe { b::module_put(self.ops.as_ref().owner) };
    }
}

fn pin(pred: impl Fn(&b::cr_extension_ops) -> bool) -> Option<Used> {
    let mut list = EXTENSIONS.lock();
    for e in list.iter_mut() {
        // SAFETY: registered entries are valid while the list is locked.
        let ops = unsafe { e.ops.as_ref() };
        // SAFETY: `owner` is the module that contains the table.
        if pred(ops) && unsafe { b::try_module_get(ops.owner) } {
            e.users = e.users.saturating_add(1);
            // INVARIANT: reference and count just taken.
            return Some(Used { ops: e.ops });
        }
    }
    None
}

/// The extension for `word`, loading `crext-<word>` if it is not registered.
pub(crate) fn get_or_load(word: &[u8]) -> Option<Used> {
    if let Some(u) = pin(|o| word_of(o) == word) {
        return Some(u);
    }
    request(c"crext-%s", word);
    pin(|o| word_of(o) == word)
}

/// The extension that claims `file`, loading `crext-file-<kind>` if nobody does.
///
/// # Safety
/// `file` is live.
pub(crate) unsafe fn claim(file: *mut b::file, kind: &[u8]) -> Option<Used> {
    let claims = |o: &b::cr_extension_ops| {
        // SAFETY: the caller's file is live; a registered table's functions may be called.
        o.claims.is_some_and(|f| unsafe { f(file) } == 1)
    };
    if let Some(u) = pin(claims) {
        return Some(u);
    }
    request(c"crext-file-%s", kind);
    pin(claims)
}

/// Pins every registered extension, in ascending order of `order`.
pub(crate) fn all() -> Result<KVec<Used>> {
    let n = EXTENSIONS.lock().len();
    let mut used = KVec::<Used>::with_capacity(n, GFP_KERNEL)?;
    let mut last: Option<(u32, u16)> = None;
    for _ in 0..n {
        // The next one above `last` in (order, section).
        let mut best: Option<(u32, u16)> = None;
        for e in EXTENSIONS.lock().iter() {
            // SAFETY: registered entries are valid while the list is locked.
            let o = unsafe { e.ops.as_ref() };
            let k = (o.order, o.section);
            if last.is_none_or(|l| k > l) && best.is_none_or(|x| k < x) {
                best = Some(k);
            }
        }
        let Some(k) = best else { break };
        last = Some(k);
        if let Some(u) = pin(|o| (o.order, o.section) == k) {
            used.push(u, GFP_KERNEL)?;
        }
    }
    Ok(used)
}

/// Asks user space for a module; the answer is whether the extension is registered afterwards.
pub(crate) fn request(format: &CStr, name: &[u8]) {
    // Words and kinds are short names; anything else cannot be a module alias.
    if name.is_empty() || name.len() > 48 || !name.iter().all(|c| c.is_ascii_alphanumeric() || b"-_.".contains(c)) {
        return;
    }
    let mut buf = [0u8; 64];
    copy_text(&mut buf, name);
    // SAFETY: the format takes one string; `buf` is NUL-terminated; may sleep, no lock is held.
    unsafe { b::__request_module(true, format.as_ptr().cast(), buf.as_ptr()) };
}

/// Turns the return value of a table's function into a result.
pub(crate) fn status(r: c_int) -> Result {
    kernel::error::to_result(r)
}

/// Opaque state pointer of an extension in one restart.
#[derive(Clone, Copy)]
pub(crate) struct State(pub(crate) *mut c_void);

// SAFETY: the pointer is only handed back to the extension, whose state is `Send + Sync` by its trait.
unsafe impl Send for State {}
// SAFETY: as above.
unsafe impl Sync for State {}
