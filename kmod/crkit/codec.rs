// SPDX-License-Identifier: GPL-2.0
//! The trait that a codec for page data implements, and the trampolines that carry it over the C ABI.
//!
//! Compression is a module of its own because the kernel's compression functions may be modules too:
//! the core must load on kernels that lack them. The core owns all memory; a codec is a pair of functions.

use crate::bindings as b;
use core::{marker::PhantomData, mem::MaybeUninit};
use kernel::{ffi::c_long, ffi::c_void, prelude::*, str::CStr};

/// A codec for the page data of chunks.
pub trait Codec: 'static {
    /// Its name: the module's alias is `crcodec-<name>`.
    const NAME: &'static CStr;
    /// Its number in chunk headers.
    const ID: u16;
    /// Levels are 1 to this, from fast to small.
    const MAX_LEVEL: u32;

    /// Bytes of workspace to encode up to `max_len` bytes at `level`, or to decode them (level 0); 0 if
    /// that cannot be done.
    fn workspace(level: u32, max_len: u32) -> usize;
    /// Decodes one frame into `to` and returns the decoded length.
    ///
    /// # Errors
    /// `EUCLEAN` when the frame is damaged or does not fit.
    fn decode(workspace: &mut [MaybeUninit<u64>], to: &mut [u8], from: &[u8]) -> Result<usize>;
    /// Encodes `from` to one frame of the form that the image format wants, and returns its length.
    ///
    /// # Errors
    /// `ENOSPC` when it does not fit in `to`.
    fn encode(workspace: &mut [MaybeUninit<u64>], level: u32, to: &mut [u8], from: &[u8]) -> Result<usize>;
}

/// Keeps a codec registered with the core; unregisters on drop (module unload).
///
/// # Invariants
/// `ops` is registered with the core, and the module that owns the functions outlives `self`.
pub struct CodecRegistration<C: Codec> {
    ops: KBox<b::cr_codec_ops>,
    _codec: PhantomData<C>,
}

// SAFETY: `ops` is only read after registration; unregistering may happen on any thread.
unsafe impl<C: Codec> Send for CodecRegistration<C> {}
// SAFETY: there are no `&self` methods.
unsafe impl<C: Codec> Sync for CodecRegistration<C> {}

impl<C: Codec> CodecRegistration<C> {
    /// Registers `C` for `module`.
    ///
    /// # Errors
    /// `EEXIST` when there is one with this number, `EINVAL` for another ABI, `ENOMEM`.
    pub fn new(module: &'static ThisModule) -> Result<Self> {
        let ops = KBox::new(
            b::cr_codec_ops {
                abi: b::CR_ABI,
                codec: C::ID,
                reserved: 0,
                max_level: C::MAX_LEVEL,
                name: C::NAME.as_ptr().cast(),
                owner: module.as_ptr().cast(),
                workspace: Some(workspace::<C>),
                decode: Some(decode::<C>),
                encode: Some(encode::<C>),
            },
            GFP_KERNEL,
        )?;
        // SAFETY: `ops` lives in a box that is freed only after `cr_unregister_codec` (see `drop`), and
        // all function pointers match the ABI by their types.
        kernel::error::to_result(unsafe { b::cr_register_codec(&*ops) })?;
        // INVARIANT: just registered; the module is `'static` for its own code.
        Ok(Self { ops, _codec: PhantomData })
    }
}

impl<C: Codec> Drop for CodecRegistration<C> {
    fn drop(&mut self) {
        // SAFETY: registered by the type invariant; whoever uses it holds a module reference, so
        // nobody does while the module is being unloaded.
        unsafe { b::cr_unregister_codec(&*self.ops) };
    }
}

/// The workspace as whole words.
///
/// # Safety
/// `p` is aligned to 8 bytes and valid for writing `len` bytes during `'a`, for the callee alone.
unsafe fn words<'a>(p: *mut c_void, len: usize) -> &'a mut [MaybeUninit<u64>] {
    // SAFETY: by the caller's promise; uninitialised memory is a valid value of the element type.
    unsafe { core::slice::from_raw_parts_mut(p.cast(), len / 8) }
}

/// # Safety
/// `p` is valid for writing `len` initialised bytes during `'a`, for the callee alone.
unsafe fn target<'a>(p: *mut c_void, len: u32) -> &'a mut [u8] {
    // SAFETY: by the caller's promise.
    unsafe { core::slice::from_raw_parts_mut(p.cast(), len as usize) }
}

/// # Safety
/// `p` is valid for reading `len` bytes during `'a`, and nobody writes them.
unsafe fn source<'a>(p: *const c_void, len: u32) -> &'a [u8] {
    // SAFETY: by the caller's promise.
    unsafe { core::slice::from_raw_parts(p.cast(), len as usize) }
}

fn answer(r: Result<usize>) -> c_long {
    match r {
        // CAST: at most 1 MiB.
        Ok(n) => n as c_long,
        // CAST: a small negative number.
        Err(e) => e.to_errno() as c_long,
    }
}

unsafe extern "C" fn workspace<C: Codec>(level: u32, max_len: u32) -> usize {
    C::workspace(level, max_len)
}

unsafe extern "C" fn decode<C: Codec>(
    ws: *mut c_void,
    ws_len: usize,
    dst: *mut c_void,
    dst_len: u32,
    src: *const c_void,
    src_len: u32,
) -> c_long {
    // SAFETY: the core passes valid, separate buffers of these lengths, the workspace aligned.
    let (ws, to, from) = unsafe { (words(ws, ws_len), target(dst, dst_len), source(src, src_len)) };
    answer(C::decode(ws, to, from))
}

unsafe extern "C" fn encode<C: Codec>(
    ws: *mut c_void,
    ws_len: usize,
    level: u32,
    dst: *mut c_void,
    dst_len: u32,
    src: *const c_void,
    src_len: u32,
) -> c_long {
    // SAFETY: as in `decode`.
    let (ws, to, from) = unsafe { (words(ws, ws_len), target(dst, dst_len), source(src, src_len)) };
    answer(C::encode(ws, level, to, from))
}
