// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Safe wrappers of the system calls that the standard library has no function for.

pub mod fs;
pub mod process;
pub mod signal;

use std::io;

/// Turns the `-1` of a libc call into the error it left in `errno`.
pub fn check(ret: libc::c_int) -> io::Result<libc::c_int> {
    if ret < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(ret)
}

/// The errno in `err`, 0 if it has none.
pub fn errno(err: &io::Error) -> i32 {
    err.raw_os_error().unwrap_or(0)
}

/// What errno `code` means, without the number (`No such process`).
pub fn errno_text(code: i32) -> String {
    let text = io::Error::from_raw_os_error(code).to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

/// The text of `err` without the errno number.
pub fn error_text(err: &io::Error) -> String {
    match err.raw_os_error() {
        Some(code) => errno_text(code),
        None => err.to_string(),
    }
}
