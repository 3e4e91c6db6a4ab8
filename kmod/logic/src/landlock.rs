// SPDX-License-Identifier: GPL-2.0
//! Finding the Landlock slot by comparing two security blobs.

/// Kernel pointers of x86-64 have all of the upper 8 bits set, with four and with five levels of page tables.
fn is_kernel_pointer(word: u64) -> bool {
    word >> 56 == 0xff
}

/// Index of the one word that was empty or a kernel pointer in `before` and is another kernel pointer
/// in `after`; `None` when there is not exactly one, or the blobs differ in length.
pub fn find_slot(before: &[u64], after: &[u64]) -> Option<usize> {
    if before.len() != after.len() {
        return None;
    }
    let mut changed = before
        .iter()
        .zip(after)
        .enumerate()
        .filter(|(_, (old, new))| {
            old != new && is_kernel_pointer(**new) && (**old == 0 || is_kernel_pointer(**old))
        });
    match (changed.next(), changed.next()) {
        (Some((i, _)), None) => Some(i),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    const P: u64 = 0xffff_8880_1234_5678;

    #[test]
    fn the_slot_is_the_only_new_kernel_pointer() {
        assert_eq!(
            find_slot(&[P, 0, 7], &[P, P + 8, 9]),
            Some(1),
            "counters may change as well"
        );
        assert_eq!(
            find_slot(&[P, P, 7], &[P, P + 8, 7]),
            Some(1),
            "nested domain"
        );
        assert_eq!(find_slot(&[P, 0], &[P, 0]), None, "nothing changed");
        assert_eq!(find_slot(&[0, 0], &[P, P]), None, "ambiguous");
        assert_eq!(find_slot(&[0], &[0x7fff_0000_0000]), None, "a user address");
        assert_eq!(find_slot(&[0], &[0, P]), None, "another size");
    }
}
