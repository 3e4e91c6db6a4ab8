// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Compresses page data into frames of the form that the format allows.

use crate::{file, load::crc, rewrite::NewData};
use cr_format::{limits, writer::padded, zstd::check_frame};
use zstd::{bulk::Compressor, zstd_safe::CParameter};

/// Level for chunks that must be compressed anew when nobody has asked for a level.
pub const DEFAULT_LEVEL: i32 = 3;
/// log2 of 1 MiB, the longest page data of a chunk: the frame is a single segment then.
const WINDOW_LOG: u32 = 20;

/// A compressor with its workspace; one per thread.
pub struct Packer {
    compressor: Option<Compressor<'static>>,
}

impl Packer {
    /// One for this level, 1 to 19.
    pub fn new(level: i32) -> Self {
        let build = || -> std::io::Result<Compressor<'static>> {
            let mut c = Compressor::new(level)?;
            // ZSTD-3: a single segment that states its length, no checksum, no dictionary. The format
            // has checksums of its own.
            c.set_parameter(CParameter::WindowLog(WINDOW_LOG))?;
            c.set_parameter(CParameter::ContentSizeFlag(true))?;
            c.set_parameter(CParameter::ChecksumFlag(false))?;
            c.set_parameter(CParameter::DictIdFlag(false))?;
            Ok(c)
        };
        Self {
            compressor: build().ok(),
        }
    }

    /// Compresses page data. It stays raw if that does not save a block of 4096 bytes, for then a frame
    /// would cost time and save nothing (and `ZSTD-1` forbids it).
    pub fn pack(&mut self, bytes: Vec<u8>) -> NewData {
        match self.frame(&bytes) {
            Some(frame) => NewData::Zstd {
                raw_crc: crc(0, &bytes),
                frame,
            },
            None => NewData::Raw(bytes),
        }
    }

    fn frame(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        let raw_len = u32::try_from(bytes.len()).ok()?;
        // One block cannot be saved, and 1 MiB is what a chunk can hold.
        if raw_len <= limits::PAGE as u32 || raw_len > limits::CHUNK_PAYLOAD {
            return None;
        }
        let frame = self.compressor.as_mut()?.compress(bytes).ok()?;
        let frame_len = u32::try_from(frame.len()).ok()?;
        if padded(frame_len) >= raw_len {
            return None;
        }
        // What a reader would refuse is not written, whatever the library does.
        check_frame(&frame, frame_len, raw_len).ok()?;
        Some(frame)
    }
}

/// The page data of a new chunk, decoded; `None` if the frame is broken.
pub fn unpack(data: &NewData, raw_len: u32) -> Option<Vec<u8>> {
    match data {
        NewData::Raw(bytes) => Some(bytes.clone()),
        NewData::Zstd { frame, .. } => file::decode(frame, raw_len),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(len: usize) -> Vec<u8> {
        let mut x = 1_u64;
        (0..len)
            .map(|_| {
                x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (x >> 56) as u8
            })
            .collect()
    }

    #[test]
    fn every_level_and_length_gives_a_frame_of_the_allowed_form() {
        for level in 1..=19 {
            let mut packer = Packer::new(level);
            for pages in [2, 3, 16, 17, 64, 255, 256] {
                let raw: Vec<u8> = (0..pages * 4096_u32).map(|n| (n / 100) as u8).collect();
                let NewData::Zstd { frame, raw_crc } = packer.pack(raw.clone()) else {
                    panic!("level {level}, {pages} pages: not compressed");
                };
                assert_eq!(raw_crc, crc(0, &raw));
                let len = raw.len() as u32;
                assert_eq!(check_frame(&frame, frame.len() as u32, len), Ok(()));
                assert_eq!(file::decode(&frame, len), Some(raw));
            }
        }
    }

    #[test]
    fn what_saves_no_block_stays_raw() {
        let mut packer = Packer::new(19);
        for raw in [vec![], vec![0; 4096], noise(4096), noise(8 * 4096)] {
            assert!(matches!(packer.pack(raw.clone()), NewData::Raw(same) if same == raw));
        }
        // 4096 of 8192 bytes compress: one block is saved.
        let mut half = noise(4000);
        half.resize(8192, 0);
        assert!(matches!(packer.pack(half), NewData::Zstd { .. }));
    }
}
