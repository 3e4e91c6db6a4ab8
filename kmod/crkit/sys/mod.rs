// SPDX-License-Identifier: GPL-2.0
//! The thin layer over kernel functions: the only code, with `context`, that touches [`crate::bindings`]
//! functions. It wraps what the `kernel` crate does not (task work, regsets, GUP, VMA and file internals);
//! it decides nothing.

pub mod clock;
pub mod epoll;
pub mod fdinfo;
pub mod file;
pub mod inode;
pub mod mapped;
pub mod mm;
pub mod once;
pub mod open_file;
pub mod path;
pub mod pipe;
pub mod task;
pub mod uring;
pub mod user;
pub mod wait;
