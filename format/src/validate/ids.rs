// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Sets of ids without memory: one window of bits, and as many passes as there are windows in use.
//!
//! Ids are usually small or ascending, so there is one pass. The worst case is bounded by the largest
//! id divided by the window, each pass linear in the section.

use super::MetaSet;
use crate::record::{records_in, Record};

const WORDS: usize = 128;
/// Ids that one window covers.
const WINDOW: u64 = 64 * WORDS as u64;

struct Window {
    base: u64,
    bits: [u64; WORDS],
}

impl Window {
    /// The window that `id` lies in.
    fn at(id: u64) -> Self {
        Self {
            base: id & !(WINDOW.wrapping_sub(1)),
            bits: [0; WORDS],
        }
    }
    fn slot(&mut self, id: u64) -> Option<(&mut u64, u64)> {
        let i = id.checked_sub(self.base).filter(|&i| i < WINDOW)?;
        // CAST: below 128.
        Some((self.bits.get_mut((i >> 6) as usize)?, 1 << (i & 63)))
    }
    /// Sets the bit of `id` and says whether it was set; `None` outside the window.
    fn insert(&mut self, id: u64) -> Option<bool> {
        let (word, bit) = self.slot(id)?;
        let was = *word & bit != 0;
        *word |= bit;
        Some(was)
    }
    fn contains(&mut self, id: u64) -> Option<bool> {
        let (word, bit) = self.slot(id)?;
        Some(*word & bit != 0)
    }
    fn behind(&self, id: u64) -> bool {
        id.checked_sub(self.base).is_some_and(|i| i >= WINDOW)
    }
}

/// Ids and offsets of the records of one type.
pub(super) fn record_ids(
    section: u16,
    bytes: &[u8],
    record_type: u16,
) -> impl Iterator<Item = (u64, u64)> + Clone + '_ {
    records_in(section, bytes)
        .map_while(Result::ok)
        .filter(move |r| r.record_type == record_type)
        .map(|r| (u64::from(r.id), r.offset))
}

/// The number that `of` takes from the records of type `R`, and their offsets.
pub(super) fn numbers<'a, R: Record<'a> + 'a>(
    set: &'a dyn MetaSet,
    of: fn(&R) -> Option<u64>,
) -> impl Iterator<Item = (u64, u64)> + Clone + 'a {
    numbers_in(set.section(R::SECTION), of)
}

/// [`numbers`] of all processes of an image.
pub(super) fn numbers_of_all<'a, R: Record<'a> + 'a>(
    set: &'a dyn MetaSet,
    of: fn(&R) -> Option<u64>,
) -> impl Iterator<Item = (u64, u64)> + Clone + 'a {
    (0..set.processes()).flat_map(move |p| numbers_in(set.of(p, R::SECTION), of))
}

fn numbers_in<'a, R: Record<'a> + 'a>(
    bytes: &'a [u8],
    of: fn(&R) -> Option<u64>,
) -> impl Iterator<Item = (u64, u64)> + Clone + 'a {
    records_in(R::SECTION, bytes)
        .map_while(Result::ok)
        .filter(|r| r.record_type == R::TYPE)
        .filter_map(move |raw| {
            let at = raw.offset;
            R::parse(raw).ok().and_then(|r| of(&r)).map(|n| (n, at))
        })
}

/// Offset of the first record, in some order, whose id occurred before.
pub(super) fn duplicate(ids: impl Iterator<Item = (u64, u64)> + Clone) -> Option<u64> {
    let mut last = None;
    if ids
        .clone()
        .all(|(id, _)| last.replace(id).is_none_or(|l| id > l))
    {
        return None;
    }
    let mut next = ids.clone().map(|(id, _)| id).min();
    while let Some(first) = next {
        let mut window = Window::at(first);
        next = None;
        for (id, at) in ids.clone() {
            if window.insert(id) == Some(true) {
                return Some(at);
            }
            if window.behind(id) && next.is_none_or(|n| id < n) {
                next = Some(id);
            }
        }
    }
    None
}

/// Offset of the first reference, in some order, to an id that `targets` does not have.
pub(super) fn dangling(
    references: impl Iterator<Item = (u64, u64)> + Clone,
    targets: impl Iterator<Item = (u64, u64)> + Clone,
) -> Option<u64> {
    let mut next = references.clone().map(|(id, _)| id).min();
    while let Some(first) = next {
        let mut window = Window::at(first);
        for (id, _) in targets.clone() {
            window.insert(id);
        }
        next = None;
        for (id, at) in references.clone() {
            if window.contains(id) == Some(false) {
                return Some(at);
            }
            if window.behind(id) && next.is_none_or(|n| id < n) {
                next = Some(id);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn numbered(ids: &[u64]) -> impl Iterator<Item = (u64, u64)> + Clone {
        ids.iter()
            .copied()
            .enumerate()
            .map(|(i, id)| (id, i as u64))
            .collect::<Vec<_>>()
            .into_iter()
    }

    #[test]
    fn a_duplicate_is_found_in_any_window() {
        assert_eq!(duplicate(numbered(&[])), None);
        assert_eq!(duplicate(numbered(&[1, 2, 3])), None);
        assert_eq!(duplicate(numbered(&[3, 2, 1])), None);
        assert_eq!(duplicate(numbered(&[3, 2, 3])), Some(2));
        assert_eq!(
            duplicate(numbered(&[4_000_000, 7, 90_000, 8191, 8192, 90_000])),
            Some(5)
        );
        assert_eq!(
            duplicate(numbered(&[4_000_000, 7, 90_000, 8191, 8192])),
            None
        );
    }

    #[test]
    fn a_reference_to_nothing_is_found_in_any_window() {
        let targets = [9, 1, 4_000_000, 90_000];
        assert_eq!(dangling(numbered(&[]), numbered(&targets)), None);
        assert_eq!(
            dangling(numbered(&[4_000_000, 9, 9, 1]), numbered(&targets)),
            None
        );
        assert_eq!(
            dangling(numbered(&[4_000_000, 9, 3_999_999]), numbered(&targets)),
            Some(2)
        );
        assert_eq!(dangling(numbered(&[u64::MAX]), numbered(&targets)), Some(0));
    }
}
