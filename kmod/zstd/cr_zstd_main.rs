// SPDX-License-Identifier: GPL-2.0
//! `cr_zstd.ko`: page data compressed with zstd, by the kernel's own encoder and decoder.
//!
//! A module of its own, loaded when an image or a checkpoint needs it: `zstd_compress` and
//! `zstd_decompress` are part of some kernels and modules, or absent, in others.
//!
//! The decoder works in a fixed workspace and writes only into the buffer it is given. `cr_format` has
//! checked the outside of a frame before it gets here: one segment of known length, no dictionary.
//! Source: `include/linux/zstd.h`; spec, "Compressed page data".

mod sys;

use core::mem::MaybeUninit;
use crkit::{Codec, CodecRegistration};
use kernel::prelude::*;

module! {
    type: Module,
    name: "cr_zstd",
    authors: ["The crkit authors"],
    description: "Checkpoint and restart of processes: zstd compression of page data",
    license: "GPL",
    alias: ["crcodec-zstd"],
}

/// The module: its registration with the core.
struct Module {
    _registration: CodecRegistration<Zstd>,
}

impl kernel::Module for Module {
    fn init(module: &'static ThisModule) -> Result<Self> {
        Ok(Self { _registration: CodecRegistration::new(module)? })
    }
}

/// The codec.
struct Zstd;

impl Codec for Zstd {
    const NAME: &'static CStr = c"zstd";
    const ID: u16 = cr_format::chunk::CODEC_ZSTD;
    /// Those above need more memory and time for next to nothing in chunks of 1 MiB.
    const MAX_LEVEL: u32 = 19;

    fn workspace(level: u32, max_len: u32) -> usize {
        match level {
            0 => sys::decoder_len(),
            1..=Self::MAX_LEVEL => sys::encoder_len(level, max_len),
            _ => 0,
        }
    }
    fn decode(workspace: &mut [MaybeUninit<u64>], to: &mut [u8], from: &[u8]) -> Result<usize> {
        sys::decode(workspace, to, from)
    }
    fn encode(workspace: &mut [MaybeUninit<u64>], level: u32, to: &mut [u8], from: &[u8]) -> Result<usize> {
        sys::encode(workspace, level, to, from)
    }
}
