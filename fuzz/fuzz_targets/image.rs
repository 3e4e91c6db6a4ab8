// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! A whole image, as it is and with its checksums repaired.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cr_fuzz::within_a_second(|| {
    cr_fuzz::properties::image::image(data)
}));
