// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! An image stored in another way.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cr_fuzz::within_a_second(|| {
    cr_fuzz::crimg_properties::stored::repack(data)
}));
