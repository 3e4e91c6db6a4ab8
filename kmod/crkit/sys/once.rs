// SPDX-License-Identifier: GPL-2.0
//! A value that is set once and then only read, from any thread.

use core::{
    cell::UnsafeCell,
    sync::atomic::{AtomicU32, Ordering},
};

const EMPTY: u32 = 0;
const WRITING: u32 = 1;
const SET: u32 = 2;

/// Set at most once.
///
/// # Invariants
/// `value` is written only by whoever moved `state` from EMPTY to WRITING, and read only when it is SET.
pub struct Once<T> {
    state: AtomicU32,
    value: UnsafeCell<Option<T>>,
}

// SAFETY: by the invariant the value is never written and read at once; it is moved in and dropped.
unsafe impl<T: Send> Send for Once<T> {}
// SAFETY: as above, and shared references to it are handed out.
unsafe impl<T: Send + Sync> Sync for Once<T> {}

impl<T> Once<T> {
    /// Empty.
    pub const fn new() -> Self {
        Self { state: AtomicU32::new(EMPTY), value: UnsafeCell::new(None) }
    }

    /// Sets the value; gives it back when there is one already.
    pub fn set(&self, value: T) -> core::result::Result<(), T> {
        if self.state.compare_exchange(EMPTY, WRITING, Ordering::Acquire, Ordering::Relaxed).is_err() {
            return Err(value);
        }
        // SAFETY: we are the one writer by the exchange above, and nobody reads before SET.
        unsafe { *self.value.get() = Some(value) };
        self.state.store(SET, Ordering::Release);
        Ok(())
    }

    /// The value, if set.
    pub fn get(&self) -> Option<&T> {
        if self.state.load(Ordering::Acquire) != SET {
            return None;
        }
        // SAFETY: SET: never written again.
        unsafe { (*self.value.get()).as_ref() }
    }
}

impl<T> Default for Once<T> {
    fn default() -> Self {
        Self::new()
    }
}
