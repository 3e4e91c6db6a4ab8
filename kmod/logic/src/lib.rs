// SPDX-License-Identifier: GPL-2.0
//! Decisions of checkpoint and restart that need no kernel.
//!
//! Plain `no_std` Rust without allocation: what a frozen process needs, in which order a restart works,
//! which system calls bring a task into the recorded state. The kernel modules gather facts through
//! `crkit::sys` and hand them in; here they are judged. The same files are built by Kbuild for the
//! modules and by cargo for unit tests and fuzzing against a fake.
#![no_std]

#[cfg(test)]
extern crate std;

pub mod anon;
pub mod base;
pub mod cgroups;
pub mod clocks;
pub mod creds;
pub mod epoll;
pub mod eventfd;
pub mod files;
pub mod freeze;
pub mod inotify;
pub mod landlock;
pub mod limits;
pub mod locks;
pub mod memory;
pub mod mounts;
pub mod owners;
pub mod pipes;
pub mod plan;
pub mod proc;
pub mod seccomp;
pub mod signalfd;
pub mod signals;
pub mod stub;
pub mod tasks;
pub mod timerfd;
pub mod timers;
pub mod uring;
