// SPDX-License-Identifier: GPL-2.0
//! Encoding records in kernel memory, and the obstacles an extension reports.

use crate::errno_of;
use cr_format::{Record, Sink};
use kernel::prelude::*;

/// A growing buffer of encoded records.
#[derive(Default)]
pub struct RecordBuf(KVVec<u8>);

impl RecordBuf {
    /// An empty buffer; allocates nothing.
    pub const fn new() -> Self {
        Self(KVVec::new())
    }

    /// Appends one record.
    ///
    /// # Errors
    /// `ENOMEM`, or `EFBIG` for a record longer than the format allows.
    pub fn push<'a, R: Record<'a>>(&mut self, record: &R) -> Result {
        record.write(self).map_err(errno_of)
    }

    /// Appends raw bytes, already encoded.
    pub fn extend(&mut self, bytes: &[u8]) -> Result {
        Ok(self.0.extend_from_slice(bytes, GFP_KERNEL_ACCOUNT)?)
    }

    /// The encoded bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Forgets the contents, keeps the memory.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

use kernel::alloc::flags::GFP_KERNEL_ACCOUNT;

impl Sink for RecordBuf {
    fn put(&mut self, bytes: &[u8]) -> core::result::Result<(), cr_format::Error> {
        self.0.extend_from_slice(bytes, GFP_KERNEL_ACCOUNT).map_err(|_| cr_format::Error::no_space())
    }
}

/// Something that a checkpoint would lose: the reason why it is refused.
///
/// Every field is for people: the object as the user knows it, why it cannot be kept, what to do.
#[derive(Clone, Copy)]
pub struct Obstacle<'a> {
    /// Resource word, for example `timers`.
    pub word: &'a str,
    /// Thread id, 0 when the whole process is meant.
    pub tid: u32,
    /// Descriptor number, -1 when none.
    pub fd: i64,
    /// Address, 0 when none.
    pub address: u64,
    /// The object as the user knows it: a path, a kind of descriptor, a number.
    pub object: &'a [u8],
    /// Why it would be lost.
    pub reason: &'a str,
    /// What the user can do.
    pub remedy: &'a str,
}

impl<'a> Obstacle<'a> {
    /// An obstacle without place; fill in the rest with struct update syntax.
    pub const fn new(word: &'a str, object: &'a [u8], reason: &'a str, remedy: &'a str) -> Self {
        Self { word, tid: 0, fd: -1, address: 0, object, reason, remedy }
    }
}
