// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! An image in pieces, and whole again.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cr_fuzz::within_a_second(|| {
    cr_fuzz::crimg_properties::stored::split(data)
}));
