// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! The properties that the targets check: the same files that `cargo test -p cr-format` replays.

#[path = "../../format/tests/common/mod.rs"]
pub mod common;
#[path = "../../format/tests/properties/mod.rs"]
pub mod properties;
#[path = "../../format/tests/synth/mod.rs"]
pub mod synth;
