// SPDX-License-Identifier: GPL-2.0
//! Event counters, as `fdinfo` describes them (`eventfd_show_fdinfo` in `fs/eventfd.c`).

use crate::anon::{decimal, hexadecimal};

/// Counter and semaphore mode.
pub fn parse(fdinfo: &[u8]) -> Option<(u64, bool)> {
    let count = hexadecimal(fdinfo, "eventfd-count").filter(|n| *n != u64::MAX)?;
    Some((count, decimal(fdinfo, "eventfd-semaphore")? != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_the_kernel_is_understood() {
        let text = b"eventfd-count:               2a\neventfd-id: 3\neventfd-semaphore: 1\n";
        assert_eq!(parse(text), Some((42, true)));
        assert_eq!(parse(b"eventfd-count: 2a\n"), None);
        assert_eq!(parse(b""), None);
    }
}
