// SPDX-License-Identifier: GPL-2.0
//! What a file says of itself in `/proc/PID/fdinfo`: a stable interface to state that is private else.
//!
//! Source: `Documentation/filesystems/proc.rst`, chapter 3.8.

use crate::{bindings as b, sys::file::FileRef};
use kernel::prelude::*;

/// Longest text that is read, bytes.
const MOST: usize = 16 << 20;

impl FileRef {
    /// The text that the file adds to its `fdinfo`, without position and flags; empty if it adds nothing.
    /// May sleep.
    ///
    /// # Errors
    /// `ENOMEM`; `EFBIG` for more than 16 MiB.
    pub fn fdinfo(&self) -> Result<KVVec<u8>> {
        let mut size = 4096usize;
        loop {
            let mut text = KVVec::new();
            text.resize(size, 0, GFP_KERNEL)?;
            // SAFETY: live file; the buffer is valid for `size` bytes.
            let n = unsafe { b::crs_file_fdinfo(self.as_ptr(), text.as_mut_ptr(), size) };
            // A seq_file that is full says that it may have lost something.
            if n < size {
                text.truncate(n);
                return Ok(text);
            }
            if size >= MOST {
                return Err(EFBIG);
            }
            size = size.saturating_mul(4);
        }
    }
}
