// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Zstd frames made by hand, after RFC 8878: blocks that repeat one byte, and blocks that are stored.
//!
//! No compressor is needed to get a frame that every decoder takes, and every byte of it can be wrong.

/// The parts of a frame.
#[derive(Clone, Debug)]
pub struct Frame {
    pub magic: u32,
    /// Frame header descriptor; 0xa0: single segment, content size of 4 bytes.
    pub descriptor: u8,
    pub content_size: u32,
    /// Type (0 stored, 1 one byte repeated), size, bytes.
    pub blocks: Vec<(u32, u32, Vec<u8>)>,
}

impl Frame {
    /// A frame of `raw`: pages of one value are a block of one byte, the others are stored.
    pub fn of(raw: &[u8]) -> Self {
        let block = |page: &[u8]| match page.iter().all(|b| *b == page[0]) {
            true => (1, page.len() as u32, vec![page[0]]),
            false => (0, page.len() as u32, page.to_vec()),
        };
        Self {
            magic: 0xfd2f_b528,
            descriptor: 0xa0,
            content_size: raw.len() as u32,
            blocks: raw.chunks(4096).map(block).collect(),
        }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut out = self.magic.to_le_bytes().to_vec();
        out.push(self.descriptor);
        out.extend(self.content_size.to_le_bytes());
        for (n, (kind, size, bytes)) in self.blocks.iter().enumerate() {
            let last = u32::from(n + 1 == self.blocks.len());
            out.extend(&(last | kind << 1 | size << 3).to_le_bytes()[..3]);
            out.extend(bytes);
        }
        out
    }
}

/// `raw` as a frame.
pub fn frame(raw: &[u8]) -> Vec<u8> {
    Frame::of(raw).bytes()
}
