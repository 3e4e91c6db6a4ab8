// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! The sub-commands, one file each.

pub mod bt;
pub mod completions;
pub mod diff;
pub mod export;
pub mod import;
pub mod join;
pub mod man;
pub mod mem;
pub mod patch;
pub mod redact;
pub mod repack;
pub mod report;
pub mod schema;
pub mod show;
pub mod split;
pub mod verify;
