// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Backtraces of images of one process and of several.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cr_fuzz::within_a_second(|| {
    cr_fuzz::crimg_properties::views::walk(data)
}));
