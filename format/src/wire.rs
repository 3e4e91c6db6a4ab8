// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Little-endian cursors over fixed-size parts, and the one place of offset arithmetic.

/// Reads fixed-width fields one after the other. Behind the end everything reads as zero; callers use
/// it over arrays whose length the fields add up to, so that does not happen.
pub(crate) struct Take<'a>(pub(crate) &'a [u8]);

impl<'a> Take<'a> {
    pub(crate) fn array<const N: usize>(&mut self) -> [u8; N] {
        match self.0.split_first_chunk::<N>() {
            Some((head, tail)) => {
                self.0 = tail;
                *head
            }
            None => {
                self.0 = &[];
                [0; N]
            }
        }
    }
    pub(crate) fn u8(&mut self) -> u8 {
        u8::from_le_bytes(self.array())
    }
    pub(crate) fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }
    pub(crate) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }
    pub(crate) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.0
    }
}

/// Writes fixed-width fields one after the other; what does not fit is dropped (see [`Take`]).
pub(crate) struct Put<'a>(pub(crate) &'a mut [u8]);

impl Put<'_> {
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        let room = core::mem::take(&mut self.0);
        if let Some((head, tail)) = room.split_at_mut_checked(bytes.len()) {
            head.copy_from_slice(bytes);
            self.0 = tail;
        }
        self
    }
    pub(crate) fn u16(&mut self, v: u16) -> &mut Self {
        self.bytes(&v.to_le_bytes())
    }
    pub(crate) fn u32(&mut self, v: u32) -> &mut Self {
        self.bytes(&v.to_le_bytes())
    }
    pub(crate) fn u64(&mut self, v: u64) -> &mut Self {
        self.bytes(&v.to_le_bytes())
    }
}

/// Are all bytes zero?
pub fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|&b| b == 0)
}

/// Length as the 64-bit number that offsets are made of. CAST: `usize` is never wider than 64 bits here.
pub(crate) const fn len64(bytes: &[u8]) -> u64 {
    bytes.len() as u64
}

/// `n` rounded up to a multiple of 8; saturates, which every limit then refuses.
pub(crate) const fn pad8(n: usize) -> usize {
    n.saturating_add(7) & !7
}
