// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! The properties that the targets check: the same files that `cargo test -p cr-format -p crimg` replays.

#[path = "../../format/tests/common/mod.rs"]
pub mod common;
#[path = "../../tools/crimg/tests/properties/mod.rs"]
pub mod crimg_properties;
#[path = "../../format/tests/properties/mod.rs"]
pub mod properties;
#[path = "../../format/tests/synth/mod.rs"]
pub mod synth;

use rustix::time::{clock_gettime, ClockId};
use std::time::Duration;

/// Most processor time for one input.
const LIMIT: Duration = Duration::from_secs(1);

/// A property, and that it is decided within a second of processor time, whatever else the machine does. What does not end
/// at all is for libFuzzer to notice.
pub fn within_a_second(property: impl FnOnce()) {
    let used = || {
        let time = clock_gettime(ClockId::ProcessCPUTime);
        Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
    };
    let before = used();
    property();
    let time = used().saturating_sub(before);
    assert!(time < LIMIT, "{time:?} for one input");
}
