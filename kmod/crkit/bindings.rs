// SPDX-License-Identifier: GPL-2.0
//! What bindgen made of `bindings.h`; the names are chosen in `bindings.list`.
//!
//! The `kernel` crate's own bindings lack most of what checkpoint/restart needs (task work, regsets,
//! GUP, VMA internals), so we generate ours with the same tool and flags. A pointer that comes from the
//! `kernel` crate is cast where it enters.
#![allow(
    dead_code,
    non_camel_case_types,
    non_upper_case_globals,
    non_snake_case,
    clippy::all,
    unreachable_pub,
    missing_docs,
    unsafe_op_in_unsafe_fn,
    improper_ctypes,
    unused_imports
)]
use kernel::ffi;
use pin_init::MaybeZeroable;
type __kernel_size_t = usize;
type __kernel_ssize_t = isize;
type __kernel_ptrdiff_t = isize;
include!(env!("CRKIT_BINDINGS"));
