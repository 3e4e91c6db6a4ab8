// SPDX-License-Identifier: GPL-2.0
//! By what a file knows the event polls that watch it.
//!
//! Source: `struct file` (`f_ep`), `include/linux/eventpoll.h`, `fs/eventpoll.c`.

use crate::{bindings as b, sys::file::FileRef};

/// Bytes in front of a hook and from it on that are looked at: more than `struct epitem` has on either side.
const BEFORE: usize = 128;
const BEHIND: usize = 96;
/// Most hooks of one file that are looked at.
const HOOKS: u32 = 256;

/// Calls `is_it` for each hook of `file` in turn with copies of the memory around it, until it says yes; false
/// if it never does. The entry behind a hook is a private structure: see `cr_logic::epoll::confirms`.
pub fn hooks(file: &FileRef, mut is_it: impl FnMut(&[u8], &[u8]) -> bool) -> bool {
    for n in 0..HOOKS {
        let mut memory = [0u8; BEFORE + BEHIND];
        // SAFETY: live file; the buffer is as long as said. The memory around a hook may end at a page that is
        // not there; the copy stands that and leaves zeros.
        let got = unsafe { b::crs_epoll_hook(file.as_ptr(), n, memory.as_mut_ptr(), BEFORE as u32, BEHIND as u32) };
        if got == 0 {
            return false;
        }
        let (before, behind) = memory.split_at(BEFORE);
        if is_it(before, behind) {
            return true;
        }
    }
    false
}
