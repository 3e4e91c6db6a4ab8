// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Any bytes as section `seccomp` of an otherwise sound image.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cr_fuzz::within_a_second(|| {
    cr_fuzz::properties::record::section(cr_format::SECCOMP, data)
}));
