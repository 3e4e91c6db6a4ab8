// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Searching and showing memory: the work of `crimg mem`.
//!
//! [`select`] which memory · [`pieces`] its bytes, a chunk at a time · [`engine`] what to look for ·
//! [`scan`] the search, parallel and in order · [`run`] the frame of a searching command · [`hexdump`] bytes
//! for people · [`place`] names of addresses · [`stream`] long lists in JSON · one file per sub-command.

pub mod disassemble;
pub mod engine;
pub mod extract;
pub mod find_ptr;
pub mod grep;
pub mod hex;
pub mod hexdump;
pub mod ordered;
pub mod pieces;
pub mod place;
pub mod run;
pub mod scan;
pub mod select;
pub mod stream;
pub mod strings;
