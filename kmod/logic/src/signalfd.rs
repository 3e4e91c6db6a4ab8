// SPDX-License-Identifier: GPL-2.0
//! Descriptors that signals are read from, as `fdinfo` describes them (`signalfd_show_fdinfo`).

/// The signals that can be read, bit n is signal n+1.
pub fn parse(fdinfo: &[u8]) -> Option<u64> {
    crate::anon::hexadecimal(fdinfo, "sigmask")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_the_kernel_is_understood() {
        assert_eq!(parse(b"sigmask:\t0000000000000a00\n"), Some(0xa00));
        assert_eq!(parse(b""), None);
    }
}
