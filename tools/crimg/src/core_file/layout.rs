// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Writing C structures field by field.

/// Bytes of a structure under construction.
#[derive(Default)]
pub struct Struct(pub Vec<u8>);

impl Struct {
    /// One of `len` bytes, filled by `f`; what `f` leaves is zero.
    pub fn of(len: usize, f: impl FnOnce(Self) -> Self) -> Vec<u8> {
        let mut bytes = f(Self(Vec::with_capacity(len))).0;
        bytes.resize(len, 0);
        bytes
    }
    pub fn u8(mut self, n: u8) -> Self {
        self.0.push(n);
        self
    }
    pub fn u16(mut self, n: u16) -> Self {
        self.0.extend(n.to_le_bytes());
        self
    }
    pub fn u32(mut self, n: u32) -> Self {
        self.0.extend(n.to_le_bytes());
        self
    }
    /// The low 32 bits: ids and the like, which the rules of the format keep in range.
    pub fn id(self, n: u64) -> Self {
        self.u32(u32::try_from(n).unwrap_or(u32::MAX))
    }
    pub fn u64(mut self, n: u64) -> Self {
        self.0.extend(n.to_le_bytes());
        self
    }
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }
    pub fn zeros(mut self, n: usize) -> Self {
        self.0.resize(self.0.len().saturating_add(n), 0);
        self
    }
    /// `bytes` in a field of `len`, cut if need be so that a NUL is behind them.
    pub fn text(self, bytes: &[u8], len: usize) -> Self {
        let most = len.saturating_sub(1);
        let cut = bytes.get(..most).unwrap_or(bytes);
        let pad = len.saturating_sub(cut.len());
        self.bytes(cut).zeros(pad)
    }
}

/// A note with the name `CORE` or `LINUX`: header, name, contents, padding.
pub fn note(name: &[u8], kind: u32, desc: &[u8]) -> Vec<u8> {
    // CAST: a name of 5 or 6 bytes with its NUL; contents are below 64 MiB, as metadata is.
    let head = Struct::default()
        .u32(name.len().saturating_add(1) as u32)
        .u32(u32::try_from(desc.len()).unwrap_or(u32::MAX))
        .u32(kind)
        .bytes(name);
    let mut out = head.u8(0).0;
    pad(&mut out);
    out.extend_from_slice(desc);
    pad(&mut out);
    out
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}
