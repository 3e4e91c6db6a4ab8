// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Sets of byte ranges.

/// Ranges of 64-bit positions: sorted, disjoint, none empty, once [`Spans::tidy`] has run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spans(Vec<(u64, u64)>);

impl Spans {
    /// Adds `start..end`.
    pub fn add(&mut self, start: u64, end: u64) {
        if start >= end {
            return;
        }
        // A scan finds places in ascending order, often ones that overlap: they need no room.
        if let Some(last) = self.0.last_mut() {
            if last.0 <= start && start <= last.1 {
                last.1 = last.1.max(end);
                return;
            }
        }
        self.0.push((start, end));
    }

    /// Sorts and joins.
    pub fn tidy(&mut self) {
        self.0.sort_unstable();
        let old = std::mem::take(&mut self.0);
        for (start, end) in old {
            self.add(start, end);
        }
    }

    /// The ranges.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.0.iter().copied()
    }

    /// No range at all?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Number of ranges.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The parts of the ranges that lie in `start..end`.
    pub fn within(&self, start: u64, end: u64) -> impl Iterator<Item = (u64, u64)> + '_ {
        let first = self.0.partition_point(|s| s.1 <= start);
        let rest = self.0.get(first..).unwrap_or(&[]);
        rest.iter()
            .take_while(move |s| s.0 < end)
            .map(move |s| (s.0.max(start), s.1.min(end)))
    }

    /// Is there something in `start..end`?
    pub fn touches(&self, start: u64, end: u64) -> bool {
        self.within(start, end).next().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_sorted_joined_and_cut() {
        let mut s = Spans::default();
        for (a, b) in [(10, 20), (30, 40), (15, 25), (5, 6), (25, 30), (7, 7)] {
            s.add(a, b);
        }
        s.tidy();
        assert_eq!(s.iter().collect::<Vec<_>>(), [(5, 6), (10, 40)]);
        assert_eq!(s.within(0, 12).collect::<Vec<_>>(), [(5, 6), (10, 12)]);
        assert_eq!(s.within(20, 25).collect::<Vec<_>>(), [(20, 25)]);
        assert!(!s.touches(6, 10) && !s.touches(40, 50) && s.touches(39, 40));
    }
}
