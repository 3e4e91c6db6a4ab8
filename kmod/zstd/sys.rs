// SPDX-License-Identifier: GPL-2.0
//! The kernel's zstd functions, which the `kernel` crate does not wrap.

use cr_format::limits;
use crkit::bindings as b;
use core::mem::{size_of_val, MaybeUninit};
use kernel::prelude::*;

/// The parameters of a level. Always those for the longest contents: the workspace then suffices for all,
/// and the window is never shorter than the contents, which makes a frame single-segment.
fn parameters(level: u32, max_len: u32) -> b::zstd_parameters {
    // SAFETY: a table look-up; every level gives valid parameters.
    let mut p = unsafe { b::zstd_get_params(level as i32, max_len.into()) };
    // The fast levels would be content with less than a chunk.
    let whole = max_len.next_power_of_two().trailing_zeros();
    p.cParams.windowLog = p.cParams.windowLog.max(whole);
    p
}

/// Bytes of workspace of a decoder.
pub(crate) fn decoder_len() -> usize {
    // SAFETY: no requirements.
    unsafe { b::zstd_dctx_workspace_bound() }
}

/// Bytes of workspace of an encoder.
pub(crate) fn encoder_len(level: u32, max_len: u32) -> usize {
    let p = parameters(level, max_len);
    // SAFETY: valid parameters.
    unsafe { b::zstd_cctx_workspace_bound(&p.cParams) }
}

/// Decodes one frame.
pub(crate) fn decode(workspace: &mut [MaybeUninit<u64>], to: &mut [u8], from: &[u8]) -> Result<usize> {
    let len = size_of_val(workspace);
    // SAFETY: the workspace is aligned to 8 bytes, of that length, and ours until the end of this function.
    let decoder = unsafe { b::zstd_init_dctx(workspace.as_mut_ptr().cast(), len) };
    if decoder.is_null() {
        return Err(EINVAL);
    }
    // SAFETY: initialised above; both buffers are valid for their lengths; the decoder writes nowhere else.
    let n = unsafe { b::zstd_decompress_dctx(decoder, to.as_mut_ptr().cast(), to.len(), from.as_ptr().cast(), from.len()) };
    // SAFETY: no requirements.
    if unsafe { b::zstd_is_error(n) } != 0 { Err(EUCLEAN) } else { Ok(n) }
}

/// Encodes to one frame.
pub(crate) fn encode(workspace: &mut [MaybeUninit<u64>], level: u32, to: &mut [u8], from: &[u8]) -> Result<usize> {
    let p = parameters(level, limits::CHUNK_PAYLOAD);
    let len = size_of_val(workspace);
    // SAFETY: as in `decode`.
    let encoder = unsafe { b::zstd_init_cctx(workspace.as_mut_ptr().cast(), len) };
    if encoder.is_null() {
        return Err(EINVAL);
    }
    // SAFETY: initialised above; valid parameters; both buffers are valid for their lengths.
    let n = unsafe {
        b::zstd_compress_cctx(encoder, to.as_mut_ptr().cast(), to.len(), from.as_ptr().cast(), from.len(), &p)
    };
    // The one thing that can go wrong with a workspace of the right length is a frame that does not fit.
    // SAFETY: no requirements.
    if unsafe { b::zstd_is_error(n) } != 0 { Err(ENOSPC) } else { Ok(n) }
}
