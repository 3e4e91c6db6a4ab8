// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Images of an input of the fuzzer.

use crimg::{error::Failure, file::ImageFile};

use crate::{
    common,
    properties::{image::repair, model},
    synth::Image,
};

/// Small images of real processes: they have a stack with arguments and environment.
const REAL: [&[u8]; 2] = [
    include_bytes!("../../../../tests/images/real/plain.ckpt"),
    include_bytes!("../../../../tests/images/real/same.ckpt"),
];

/// The processes of the model with several, one of which has ended, and one that is not there.
const PIDS: [u64; 5] = [1234, 1300, 1301, 1302, 7];

/// An input of two parts: the first byte is the length of the first.
pub fn cut(data: &[u8]) -> (&[u8], &[u8]) {
    let (len, rest) = data.split_first().unwrap_or((&0, &[]));
    rest.split_at(usize::from(*len).min(rest.len()))
}

/// The next byte.
pub fn byte(data: &mut &[u8]) -> u8 {
    match data.split_first() {
        Some((b, rest)) => {
            *data = rest;
            *b
        }
        None => 0,
    }
}

/// The next eight bytes as a number.
pub fn number(data: &mut &[u8]) -> u64 {
    (0..8).fold(0, |n, _| n << 8 | u64::from(byte(data)))
}

/// The model of a script, with every checksum right.
pub fn model(script: &[u8]) -> Image {
    model::changed(script)
}

/// A real image if the script begins with 0xf0 and above, else the one of the model.
pub fn image(script: &[u8]) -> Vec<u8> {
    match script.first() {
        Some(n @ 0xf0..) => REAL[usize::from(n % 2)].to_vec(),
        _ => model(script).bytes(),
    }
}

/// As [`image`]; behind 0xe0 stands an image as it is, behind 0xe1 one whose checksums are to be repaired.
pub fn any(data: &[u8]) -> Vec<u8> {
    match data.split_first() {
        Some((0xe0, rest)) => rest.to_vec(),
        Some((0xe1, rest)) => {
            let mut image = rest.to_vec();
            repair(&mut image);
            image
        }
        _ => image(data),
    }
}

/// Chooses a process as `--pid` does, if there are several: by a byte, one of those of the model.
pub fn choose(file: ImageFile, which: u8) -> Result<ImageFile, Failure> {
    if !file.is_tree() {
        return Ok(file);
    }
    let pid = PIDS.get(usize::from(which) % (PIDS.len() + 1));
    file.choose(pid.copied())
}

/// Would a restart accept it? Asks the crate of the kernel modules, not `crimg`.
pub fn is_sound(image: &[u8]) -> bool {
    common::read(image).is_ok()
}

/// What was made of `old` must be an image; a sound one, if the old one was.
pub fn assert_follows(old: &[u8], new: &[u8]) {
    if let (Ok(_), Err(e)) = (common::read(old), common::read(new)) {
        panic!("what was sound has become {e}");
    }
}
