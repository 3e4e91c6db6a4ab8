// SPDX-License-Identifier: GPL-2.0
//! What files of anonymous inodes have in common: their flags, and the text of their `fdinfo`.

use crate::files::flag::{
    O_ACCMODE, O_APPEND, O_CLOEXEC, O_DIRECTORY, O_LARGEFILE, O_NOATIME, O_NOFOLLOW, O_NONBLOCK,
};

/// Flags of an open file that `fcntl(F_SETFL)` or its making can have given it, without the access mode.
const SETTABLE: u32 = O_APPEND | O_NONBLOCK | O_NOATIME;

/// What `open` leaves with those that have a path.
const OPENED: u32 = O_LARGEFILE | O_DIRECTORY | O_NOFOLLOW;

/// Flags that such a file cannot have.
pub fn unknown_flags(flags: u32) -> u32 {
    flags & !(SETTABLE | OPENED | O_ACCMODE | O_CLOEXEC)
}

/// The value of the line `name:` in an `fdinfo`, without blanks around it.
pub fn value<'t>(text: &'t [u8], name: &str) -> Option<&'t [u8]> {
    text.split(|b| *b == b'\n').find_map(|line| {
        let rest = line.strip_prefix(name.as_bytes())?.strip_prefix(b":")?;
        Some(rest.trim_ascii())
    })
}

/// A number without sign or prefix; `None` for anything else.
pub fn number(digits: &[u8], radix: u32) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |n, d| {
        let digit = char::from(*d).to_digit(radix)?;
        n.checked_mul(radix.into())?.checked_add(digit.into())
    })
}

/// The decimal number of a line.
pub fn decimal(text: &[u8], name: &str) -> Option<u64> {
    number(value(text, name)?, 10)
}

/// The hexadecimal number of a line.
pub fn hexadecimal(text: &[u8], name: &str) -> Option<u64> {
    number(value(text, name)?, 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_fdinfo_are_found_by_their_whole_name() {
        let text = b"eventfd-count:               1f\neventfd-id: 12\nmask:\t00ff\n";
        assert_eq!(hexadecimal(text, "eventfd-count"), Some(0x1f));
        assert_eq!(decimal(text, "eventfd-id"), Some(12));
        assert_eq!(hexadecimal(text, "mask"), Some(255));
        assert_eq!(decimal(text, "eventfd"), None);
        assert_eq!(decimal(text, "count"), None);
        assert_eq!(decimal(b"a: \n", "a"), None);
        assert_eq!(decimal(b"a: -1\n", "a"), None);
        assert_eq!(number(b"18446744073709551615", 10), Some(u64::MAX));
        assert_eq!(number(b"18446744073709551616", 10), None);
    }

    #[test]
    fn flags_are_those_of_fcntl() {
        assert_eq!(unknown_flags(O_NONBLOCK | 2 | O_APPEND | O_CLOEXEC), 0);
        assert_ne!(unknown_flags(0o20000), 0, "O_ASYNC is what owners keep");
    }
}
