// SPDX-License-Identifier: GPL-2.0
//! Which extensions every process needs; the others are loaded when something of theirs is met.

/// Resource words, in the order in which they are looked for.
pub const WORDS: [&str; 6] = ["tasks", "memory", "files", "signals", "creds", "limits"];
