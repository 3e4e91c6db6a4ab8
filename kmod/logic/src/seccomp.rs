// SPDX-License-Identifier: GPL-2.0
//! Installing filters again.

/// Bytes in front of a program in user memory: `struct sock_fprog`.
pub const HEAD: usize = 16;

/// `SECCOMP_FILTER_FLAG_LOG`.
const LOG: u64 = 2;
/// `SECCOMP_FILTER_FLAG_SPEC_ALLOW`: mitigations are attributes of the thread, which are set as they were.
const SPEC_ALLOW: u64 = 4;

/// Flags of seccomp(2) that make a filter again.
pub fn flags(log: bool) -> u64 {
    if log {
        LOG | SPEC_ALLOW
    } else {
        SPEC_ALLOW
    }
}

/// `struct sock_fprog` for `len` instructions that stand behind it, itself at the user address `at`.
pub fn head(len: u16, at: u64) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    let (count, pointer) = head.split_at_mut(8);
    let to = at.wrapping_add(HEAD as u64);
    for (to, from) in count
        .iter_mut()
        .zip(len.to_le_bytes())
        .chain(pointer.iter_mut().zip(to.to_le_bytes()))
    {
        *to = from;
    }
    head
}

/// Why a filter cannot be installed, and what helps, from the negative error number.
pub fn reason(error: i64) -> (&'static str, &'static str) {
    match error {
        -13 => (
            "you may not confine a process that may gain privileges",
            "restart as root",
        ),
        -12 => (
            "there is no memory for it, or there would be more than the kernel allows",
            "free memory, or restart outside of other filters",
        ),
        -22 => (
            "the kernel does not take it, or has no seccomp filters",
            "list every defect with: crimg verify IMAGE",
        ),
        _ => ("the kernel refuses it", ""),
    }
}

/// How many filters from the first on `a` and `b` have in common.
pub fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_stands_behind_its_head() {
        let h = head(3, 0x7000);
        assert_eq!(h, [3, 0, 0, 0, 0, 0, 0, 0, 0x10, 0x70, 0, 0, 0, 0, 0, 0]);
        assert_eq!(flags(false), 4);
        assert_eq!(flags(true), 6);
    }

    #[test]
    fn what_is_in_common_ends_at_the_first_difference() {
        assert_eq!(common(&[1, 2, 3], &[1, 2, 4]), 2);
        assert_eq!(common(&[], &[1]), 0);
        assert_eq!(common(&[1, 2], &[1, 2]), 2);
    }
}
