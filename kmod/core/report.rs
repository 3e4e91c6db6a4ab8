// SPDX-License-Identifier: GPL-2.0
//! The report of a session: what the user is told, as records that `read(2)` on the device returns.

use crkit::RecordBuf;
use kernel::{iov::IovIterDest, new_mutex, prelude::*, sync::Mutex};

/// Longest report; what does not fit any more is counted, not kept.
const LIMIT: usize = 1 << 20;

/// Records not yet read.
#[pin_data]
pub(crate) struct Report {
    #[pin]
    inner: Mutex<Inner>,
}

struct Inner {
    records: RecordBuf,
    read: usize,
    obstacles: u32,
}

impl Report {
    /// An empty report.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            inner <- new_mutex!(Inner { records: RecordBuf::new(), read: 0, obstacles: 0 }),
        })
    }

    /// Appends one encoded record. An obstacle counts even when there is no room for its text.
    pub(crate) fn push(&self, obstacle: bool, record: &[u8]) -> Result {
        let mut me = self.inner.lock();
        if obstacle {
            me.obstacles = me.obstacles.saturating_add(1);
        }
        if me.records.bytes().len().saturating_add(record.len()) > LIMIT {
            return Ok(());
        }
        me.records.extend(record)
    }

    /// Obstacles reported so far.
    pub(crate) fn obstacles(&self) -> u32 {
        self.inner.lock().obstacles
    }

    /// Copies whole records to user space.
    ///
    /// # Errors
    /// `EINVAL` when the buffer is shorter than the next record, `EFAULT`.
    pub(crate) fn read(&self, to: &mut IovIterDest<'_>) -> Result<usize> {
        // The bytes are copied out of the lock's reach: user memory is not touched while it is held.
        let mut chunk = KVVec::new();
        {
            let me = self.inner.lock();
            let rest = me.records.bytes().get(me.read..).unwrap_or(&[]);
            let mut n = 0usize;
            for r in cr_format::records(rest) {
                let len = r.map_err(crkit::errno_of)?.bytes().len();
                match n.checked_add(len) {
                    Some(sum) if sum <= to.len() => n = sum,
                    _ => break,
                }
            }
            if n == 0 && !rest.is_empty() {
                return Err(EINVAL);
            }
            chunk.extend_from_slice(rest.get(..n).unwrap_or(&[]), GFP_KERNEL)?;
        }
        if to.copy_to_iter(&chunk) != chunk.len() {
            return Err(EFAULT);
        }
        let mut me = self.inner.lock();
        me.read = me.read.saturating_add(chunk.len());
        Ok(chunk.len())
    }
}
