// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! The same image in another form.

use super::{
    input::{self, assert_follows, byte, cut, is_sound, number},
    printed,
    tool::{crimg, free, path, take, write},
};
use crimg::error::Outcome;
use std::fs;

/// The first part makes the image, the second chooses how it is stored.
pub fn repack(data: &[u8]) {
    let (script, mut rest) = cut(data);
    let bytes = input::image(script);
    let old = write("repack.ckpt", &bytes);
    let new = free("repacked.ckpt");
    let mut args = vec!["repack", &old, "-o", &new, "--threads", "1"];
    let choice = byte(&mut rest);
    let level = ["--zstd=1", "--zstd=3", "--zstd=7", "--raw"];
    let no_pages = choice & 0x0f == 0x0f;
    if no_pages {
        args.push("--no-pages");
    } else {
        if choice & 1 != 0 {
            args.push(level[usize::from(choice >> 4) % 4]);
        }
        for (bit, option) in [(2, "--strip-zero"), (4, "--dedup")] {
            if choice & bit != 0 {
                args.push(option);
            }
        }
    }
    let said = crimg(&args);
    let Some(text) = said.done() else {
        assert!(!is_sound(&bytes), "{:?}", said.result);
        assert!(
            fs::metadata(&new).is_err(),
            "half an image {:?}",
            said.result
        );
        return;
    };
    printed::text(text);
    let repacked = fs::read(&new).unwrap();
    assert_follows(&bytes, &repacked);
    if args.len() == 6 {
        // Metadata of one section may be in several chunks, which become one; after that nothing changes any more.
        let again = free("again.ckpt");
        let said = crimg(&["repack", &new, "-o", &again, "--threads", "1"]);
        assert!(said.result.is_ok(), "{:?}", said.result);
        assert!(take(&again) == repacked, "not the image itself");
    }
    if is_sound(&bytes) && !no_pages {
        let diff = crimg(&["diff", &old, &new, "--mem", "bytes"]);
        assert_eq!(
            diff.result.ok(),
            Some(Outcome::Sound),
            "{}",
            printed::text(&diff.data)
        );
    }
    take(&new);
}

/// The first part makes the image, the second says what is to go.
pub fn redact(data: &[u8]) {
    let (script, mut rest) = cut(data);
    let bytes = input::image(script);
    let old = write("redact.ckpt", &bytes);
    let new = free("redacted.ckpt");
    let (choice, start) = (byte(&mut rest), number(&mut rest) >> 8);
    let range = format!(
        "{start:x}-{:x}",
        start + 1 + u64::from(byte(&mut rest)) * 61
    );
    let text: String = String::from_utf8_lossy(rest)
        .chars()
        .filter(|c| *c != '\0')
        .take(24)
        .collect();
    let mut args = vec!["redact", &old, "-o", &new];
    for (bit, option) in [
        (1, &["--env", "all"][..]),
        (2, &["--args"]),
        (4, &["--range", &range]),
        (8, &["--regex", &text]),
        (16, &["--vma", &text]),
        (32, &["--pipes", "--paths", "--hostname"]),
        (64, &["--no-copies"]),
        (128, &["--restartable", "--fill", "0"]),
    ] {
        // A value must not look like an option.
        if choice & bit != 0 && !(option.contains(&text.as_str()) && text.starts_with('-')) {
            args.extend(option);
        }
    }
    let said = crimg(&args);
    match said.done() {
        Some(text) => {
            printed::text(text);
            let redacted = take(&new);
            if is_sound(&bytes) {
                assert_follows(&bytes, &redacted);
            }
        }
        None => assert!(
            fs::metadata(&new).is_err(),
            "half an image {args:?} {:?}",
            said.result
        ),
    }
}

/// The first part makes the image, the second is the size of the pieces.
pub fn split(data: &[u8]) {
    let (script, mut rest) = cut(data);
    let bytes = super::input::any(script);
    let old = write("split.ckpt", &bytes);
    let prefix = path("piece");
    // At most some hundred pieces.
    let size = bytes.len() / 200 + 1 + number(&mut rest) as usize % (bytes.len() + 10);
    let said = crimg(&["split", &old, "--size", &size.to_string(), "-o", &prefix]);
    let Some(text) = said.done() else {
        return;
    };
    printed::text(text);
    let whole = free("joined.ckpt");
    let said = crimg(&["join", &prefix, "-o", &whole]);
    assert!(said.result.is_ok(), "{:?}", said.result);
    assert!(take(&whole) == bytes);
    for n in 0..bytes.len().div_ceil(size) {
        take(&format!("{prefix}.{n:03}"));
    }
    take(&format!("{prefix}.json"));
}

/// A manifest of any bytes, with no pieces beside it.
pub fn join(data: &[u8]) {
    let manifest = write("join.json", data);
    let whole = free("whole.ckpt");
    // A piece that is missing is a file that cannot be read.
    let pieces = crimg::split::join::find(&[manifest]);
    match pieces.and_then(|p| p.join(whole.as_ref(), false)) {
        Ok(()) => panic!("an image of nothing"),
        Err(e) => drop(printed::text(e.to_string().as_bytes())),
    }
}
