// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Plays the transcripts in `tests/images/commands`: what each command prints, with its help page and exit status.
//!
//! `CRKIT_UPDATE=1 cargo test -p crimg` writes what is printed now into them; review it as a diff. What is new each time (the
//! id and time of a written image) is `[..]` there.

use std::path::PathBuf;

#[test]
fn every_transcript_is_still_true() {
    let images = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/images");
    let images = images.canonicalize().expect("the folder of the images");
    // The transcripts name images as one who stands in their folder does. No other test shares this process.
    std::env::set_current_dir(&images).expect("the folder of the images");
    if std::env::var_os("CRKIT_UPDATE").is_some() {
        std::env::set_var("TRYCMD", "overwrite");
    }
    let (image, copy) = ("process.ckpt", "commands/change.in/process.ckpt");
    if std::env::var_os("CRKIT_UPDATE").is_some() {
        std::fs::copy(image, copy).expect("the image of the transcript about changes");
    }
    assert!(
        std::fs::read(image).expect(image) == std::fs::read(copy).expect(copy),
        "{copy} is not {image}; CRKIT_UPDATE=1 copies it"
    );
    trycmd::TestCases::new()
        .env("COLUMNS", "100")
        .register_bin("crimg", std::path::Path::new(env!("CARGO_BIN_EXE_crimg")))
        .case(images.join("commands/*.trycmd").to_str().expect("text"));
}
