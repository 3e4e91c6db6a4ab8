// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! What is searched for: bytes, regular expressions, pointers, strings. Engines see windows of memory;
//! [`super::scan`] puts the windows together.

use crate::error::Failure;
use memchr::memmem;
use regex_automata::{
    meta::{BuildError, Regex},
    util::syntax,
    Anchored, Input,
};

/// Longest match, bytes. Together with [`CONTEXT`] less than a page, so that a match reaches over one
/// border only.
pub const LONGEST: usize = 4000;
/// Bytes before a match that a look-behind can see in every case.
pub const CONTEXT: usize = 16;
/// Memory that a compiled expression may take, bytes; its lazy automaton has as much again per thread.
const REGEX_SIZE: usize = 4 << 20;
/// Starts of matches are looked for in windows of this many bytes, so that one search cannot run far.
const WINDOW: usize = 16 << 10;

/// What an engine finds in nothing but zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Zeros {
    /// Bytes of each match.
    pub len: usize,
    /// From one match to the next.
    pub step: u64,
    /// Addresses of matches are multiples of this.
    pub align: u64,
}

/// A kind of search.
pub trait Engine: Sync {
    /// No match is longer, bytes; at most [`LONGEST`].
    fn longest(&self) -> usize;
    /// Does the search go on behind a match, or one byte behind its start?
    fn sequential(&self) -> bool {
        false
    }
    /// What it finds in zeros.
    fn zeros(&self) -> Option<Zeros> {
        None
    }
    /// Are matches at consecutive addresses one stretch (of one byte value)?
    fn stretches(&self) -> bool {
        false
    }
    /// Is there no match within `bytes`? Asked of bytes that were just read, and are in the processor's cache; only a quick
    /// answer is of use, and `false` is always right.
    fn absent(&self, bytes: &[u8]) -> bool {
        let _ = bytes;
        false
    }
    /// Gives `emit` start and length of the matches that start in `from..to`, ascending, until it says
    /// `false`. `hay` begins at `address`; matches may end behind `to`.
    fn find(
        &self,
        hay: &[u8],
        address: u64,
        from: usize,
        to: usize,
        emit: &mut dyn FnMut(usize, usize) -> bool,
    );
}

/// Fixed bytes; every address where they are is a match, also if matches overlap.
pub struct Literal {
    finder: memmem::Finder<'static>,
    all_zero: bool,
    one_value: bool,
}

impl Literal {
    /// # Errors
    /// [`Failure::Usage`] for no bytes or too many.
    pub fn new(bytes: &[u8]) -> Result<Self, Failure> {
        if bytes.is_empty() || bytes.len() > LONGEST {
            return Err(Failure::Usage {
                message: format!(
                    "a pattern has 1 to {LONGEST} bytes; this one has {}",
                    bytes.len()
                ),
                remedy: "Search for a part of it.".to_owned(),
            });
        }
        Ok(Self {
            finder: memmem::Finder::new(bytes).into_owned(),
            all_zero: bytes.iter().all(|b| *b == 0),
            one_value: bytes.windows(2).all(|w| w.first() == w.last()),
        })
    }
}

impl Engine for Literal {
    fn longest(&self) -> usize {
        self.finder.needle().len()
    }
    fn zeros(&self) -> Option<Zeros> {
        self.all_zero.then_some(Zeros {
            len: self.longest(),
            step: 1,
            align: 1,
        })
    }
    fn stretches(&self) -> bool {
        self.one_value
    }
    fn absent(&self, bytes: &[u8]) -> bool {
        self.finder.find(bytes).is_none()
    }
    fn find(
        &self,
        hay: &[u8],
        _: u64,
        from: usize,
        to: usize,
        emit: &mut dyn FnMut(usize, usize) -> bool,
    ) {
        let len = self.longest();
        // The last match starts before `to`.
        let end = to.saturating_add(len.saturating_sub(1)).min(hay.len());
        let mut at = from;
        while let Some(found) = hay.get(at..end).and_then(|rest| self.finder.find(rest)) {
            at = at.saturating_add(found);
            if !emit(at, len) {
                return;
            }
            at = at.saturating_add(1);
        }
    }
}

/// A regular expression over bytes.
pub struct Expression {
    regex: Regex,
    zeros: Option<Zeros>,
    overlapping: bool,
}

impl Expression {
    /// A regular expression: bytes and not characters (`\xff` is one byte, `.` any byte but a line end),
    /// `^` and `$` at line ends.
    ///
    /// # Errors
    /// [`Failure::Usage`] for one that is none, or that needs too much memory.
    pub fn new(pattern: &str, ignore_case: bool) -> Result<Self, Failure> {
        Self::build(pattern, ignore_case, false)
    }

    /// Text in which the case of ASCII letters does not matter; every address counts, as in [`Literal`].
    ///
    /// # Errors
    /// [`Failure::Usage`].
    pub fn ignoring_case(text: &str) -> Result<Self, Failure> {
        Literal::new(text.as_bytes())?;
        let mut escaped = String::new();
        for byte in text.bytes() {
            escaped.push_str(&format!("\\x{byte:02x}"));
        }
        Self::build(&escaped, true, true)
    }

    fn build(pattern: &str, ignore_case: bool, overlapping: bool) -> Result<Self, Failure> {
        let config = Regex::config()
            .utf8_empty(false)
            .nfa_size_limit(Some(REGEX_SIZE))
            .onepass_size_limit(Some(REGEX_SIZE))
            .dfa_size_limit(Some(REGEX_SIZE))
            .hybrid_cache_capacity(REGEX_SIZE);
        let syntax = syntax::Config::new()
            .unicode(false)
            .utf8(false)
            .multi_line(true)
            .case_insensitive(ignore_case)
            .nest_limit(100);
        let built = Regex::builder()
            .configure(config)
            .syntax(syntax)
            .build(pattern);
        let regex = built.map_err(|e| refused(pattern, &e))?;
        let mut this = Self {
            regex,
            zeros: None,
            overlapping,
        };
        let hay = [0; 2 * (LONGEST + CONTEXT)];
        let mut zeros = None;
        this.find(&hay, 0, CONTEXT, CONTEXT + 1, &mut |_, len| {
            zeros = Some(Zeros {
                len,
                step: if overlapping { 1 } else { len as u64 },
                align: 1,
            });
            false
        });
        this.zeros = zeros;
        Ok(this)
    }

    /// Length of the match that starts at `start`: not more than [`LONGEST`] bytes of it.
    fn cut(&self, hay: &[u8], start: usize, len: usize) -> Option<usize> {
        if len <= LONGEST {
            return Some(len);
        }
        let end = start.saturating_add(LONGEST).min(hay.len());
        let input = Input::new(hay).span(start..end).anchored(Anchored::Yes);
        self.regex.find(input).map(|m| m.len())
    }
}

fn refused(pattern: &str, e: &BuildError) -> Failure {
    let (message, remedy) = match (e.syntax_error(), e.size_limit()) {
        (_, Some(limit)) => (
            format!("it takes more than {}", crate::number::size(limit as u64)),
            "Use fewer or smaller repetitions.".to_owned(),
        ),
        (Some(syntax), _) => (
            // Its last line says what is wrong; the others draw an arrow.
            crate::escape::text(syntax.to_string().lines().last().unwrap_or("").as_bytes()),
            "Without -e, the pattern stands for itself; \\xff is a byte in an expression."
                .to_owned(),
        ),
        _ => (e.to_string(), "Use a simpler one.".to_owned()),
    };
    Failure::Usage {
        message: format!(
            "-e {}: no regular expression that can be searched for: {message}",
            crate::escape::text(pattern.as_bytes())
        ),
        remedy,
    }
}

impl Engine for Expression {
    fn longest(&self) -> usize {
        LONGEST
    }
    fn sequential(&self) -> bool {
        !self.overlapping
    }
    fn zeros(&self) -> Option<Zeros> {
        self.zeros
    }
    fn find(
        &self,
        hay: &[u8],
        _: u64,
        from: usize,
        to: usize,
        emit: &mut dyn FnMut(usize, usize) -> bool,
    ) {
        let to = to.min(hay.len());
        let mut at = from;
        while at < to {
            let stop = at.saturating_add(WINDOW).min(to);
            let end = stop.saturating_add(LONGEST).min(hay.len());
            let found = self.regex.find(Input::new(hay).span(at..end));
            let Some(found) = found.filter(|m| m.start() < stop) else {
                at = stop;
                continue;
            };
            let start = found.start();
            at = start.saturating_add(1);
            match self.cut(hay, start, found.len()) {
                // Matches of nothing are everywhere.
                None | Some(0) => {}
                Some(len) => {
                    if !emit(start, len) {
                        return;
                    }
                    if !self.overlapping {
                        at = start.saturating_add(len);
                    }
                }
            }
        }
    }
}

/// Words whose value lies in one of some ranges.
pub struct Pointers {
    ranges: Vec<(u64, u64)>,
    /// Around all ranges: first value, and how many.
    hull: (u64, u64),
    step: usize,
}

impl Pointers {
    /// `ranges`: first value and the one behind the last. Unless `unaligned`, words are at multiples of 8.
    pub fn new(ranges: Vec<(u64, u64)>, unaligned: bool) -> Self {
        let start = ranges.iter().map(|r| r.0).min().unwrap_or(0);
        let end = ranges.iter().map(|r| r.1).max().unwrap_or(0);
        Self {
            hull: (start, end.saturating_sub(start)),
            ranges,
            step: if unaligned { 1 } else { 8 },
        }
    }

    /// The value at the front of `bytes`, little-endian.
    pub fn value(bytes: &[u8]) -> u64 {
        bytes.first_chunk().map_or(0, |w| u64::from_le_bytes(*w))
    }

    fn near(&self, word: &[u8]) -> bool {
        Self::value(word).wrapping_sub(self.hull.0) < self.hull.1
    }

    fn holds(&self, value: u64) -> bool {
        self.ranges
            .iter()
            .any(|(start, end)| (*start..*end).contains(&value))
    }
}

impl Engine for Pointers {
    fn longest(&self) -> usize {
        8
    }
    fn zeros(&self) -> Option<Zeros> {
        let step = self.step as u64;
        self.holds(0).then_some(Zeros {
            len: 8,
            step,
            align: step,
        })
    }
    fn find(
        &self,
        hay: &[u8],
        address: u64,
        from: usize,
        to: usize,
        emit: &mut dyn FnMut(usize, usize) -> bool,
    ) {
        let mut at = from;
        if self.step == 8 {
            // CAST: below 8.
            let over = (address.wrapping_add(from as u64) % 8) as usize;
            at = at.saturating_add(8_usize.saturating_sub(over) % 8);
        }
        // Of 256 starts at a time most have none; that test is done with vectors. Blocks share 7 bytes.
        const BLOCK: usize = 256;
        while at < to {
            let end = at
                .saturating_add(BLOCK + 7)
                .min(to.saturating_add(7))
                .min(hay.len());
            let block = hay.get(at..end).unwrap_or(&[]);
            let any = if self.step == 8 {
                block
                    .chunks_exact(8)
                    .fold(false, |any, w| any | self.near(w))
            } else {
                block.windows(8).fold(false, |any, w| any | self.near(w))
            };
            if any {
                for (n, word) in block.windows(8).enumerate().step_by(self.step) {
                    let found = self.near(word) && self.holds(Self::value(word));
                    if found && !emit(at.saturating_add(n), 8) {
                        return;
                    }
                }
            }
            at = at.saturating_add(BLOCK);
        }
    }
}

/// How the characters of a string are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Encoding {
    /// One byte each.
    Ascii,
    /// Two bytes each, the second zero.
    Utf16le,
}

/// Printable text of a least length. A longer one than [`LONGEST`] bytes comes in pieces.
pub struct Strings {
    /// Characters at least.
    pub least: usize,
    /// How they are stored.
    pub encoding: Encoding,
}

fn printable(byte: u8) -> bool {
    matches!(byte, b' '..=b'~' | b'\t')
}

impl Strings {
    fn unit(&self) -> usize {
        match self.encoding {
            Encoding::Ascii => 1,
            Encoding::Utf16le => 2,
        }
    }
    fn run(&self, rest: &[u8]) -> usize {
        let most = LONGEST / self.unit();
        match self.encoding {
            Encoding::Ascii => rest
                .iter()
                .take(most)
                .take_while(|b| printable(**b))
                .count(),
            Encoding::Utf16le => rest
                .chunks_exact(2)
                .take(most)
                .take_while(|c| matches!(c, [low, 0] if printable(*low)))
                .count(),
        }
    }
}

impl Engine for Strings {
    fn longest(&self) -> usize {
        LONGEST
    }
    fn sequential(&self) -> bool {
        true
    }
    fn find(
        &self,
        hay: &[u8],
        _: u64,
        from: usize,
        to: usize,
        emit: &mut dyn FnMut(usize, usize) -> bool,
    ) {
        let mut at = from;
        while at < to {
            let Some(rest) = hay.get(at..) else {
                return;
            };
            let Some(skip) = rest.iter().position(|b| printable(*b)) else {
                return;
            };
            at = at.saturating_add(skip);
            if at >= to {
                return;
            }
            let characters = self.run(hay.get(at..).unwrap_or(&[]));
            let len = characters.saturating_mul(self.unit());
            if characters >= self.least && !emit(at, len) {
                return;
            }
            // A run that is too short holds no longer one; of two bytes each, one can begin in its middle.
            at = at.saturating_add(match self.encoding {
                Encoding::Ascii => len.max(1),
                Encoding::Utf16le if characters >= self.least => len,
                Encoding::Utf16le => 1,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(engine: &dyn Engine, hay: &[u8]) -> Vec<(usize, usize)> {
        let mut found = Vec::new();
        engine.find(hay, 0x1000, 0, hay.len(), &mut |at, len| {
            found.push((at, len));
            true
        });
        found
    }

    #[test]
    fn literals_are_found_at_every_address() {
        let engine = Literal::new(b"aa").unwrap();
        assert_eq!(all(&engine, b"aaa-aa"), [(0, 2), (1, 2), (4, 2)]);
        assert!(engine.stretches() && engine.zeros().is_none());
        assert!(Literal::new(b"\0\0").unwrap().zeros().is_some());
        assert!(Literal::new(b"").is_err() && Literal::new(&[1; 4001]).is_err());
        let mut found = Vec::new();
        engine.find(b"aaaa", 0, 1, 2, &mut |at, _| {
            found.push(at);
            true
        });
        assert_eq!(found, [1]);
    }

    #[test]
    fn expressions_see_bytes() {
        let engine = Expression::new(r"\xff[^a]+?\x00", false).unwrap();
        assert_eq!(all(&engine, b"\xff\xfe\0\xffa\0\xff1\0"), [(0, 3), (6, 3)]);
        assert_eq!(
            all(&Expression::ignoring_case("aB.").unwrap(), b"xAb.ab."),
            [(1, 3), (4, 3)]
        );
        // Nothing is no match.
        assert_eq!(
            all(&Expression::new("x*", false).unwrap(), b"axx"),
            [(1, 2)]
        );
        assert_eq!(
            all(&Expression::new("^b$", false).unwrap(), b"a\nb\nc"),
            [(2, 1)]
        );
        assert_eq!(
            Expression::new(r"\x00{4}", false).unwrap().zeros(),
            Some(Zeros {
                len: 4,
                step: 4,
                align: 1
            })
        );
    }

    #[test]
    fn expressions_are_bounded() {
        for bad in ["(", "(a{1000}){1000}", "[", &"(".repeat(500)] {
            assert!(
                matches!(Expression::new(bad, false), Err(Failure::Usage { .. })),
                "{bad}"
            );
        }
        let hay = vec![b'a'; 20_000];
        let found = all(&Expression::new("a+", false).unwrap(), &hay);
        assert_eq!(
            found,
            [
                (0, 4000),
                (4000, 4000),
                (8000, 4000),
                (12000, 4000),
                (16000, 4000)
            ]
        );
    }

    #[test]
    fn pointers_lie_in_the_range() {
        let mut hay = vec![0xee; 4096];
        hay[512..520].copy_from_slice(&0x7000_u64.to_le_bytes());
        hay[1021..1029].copy_from_slice(&0x7fff_u64.to_le_bytes());
        hay[4088..4096].copy_from_slice(&0x8000_u64.to_le_bytes());
        let find = |end, unaligned| all(&Pointers::new(vec![(0x7000, end)], unaligned), &hay);
        assert_eq!(find(0x8000, false), [(512, 8)]);
        assert_eq!(find(0x8000, true), [(512, 8), (1021, 8)]);
        assert_eq!(find(0x8001, true), [(512, 8), (1021, 8), (4088, 8)]);
        let two = Pointers::new(vec![(0x7fff, 0x8000), (0x8000, 0x8001)], false);
        assert_eq!(all(&two, &hay), [(4088, 8)]);
        assert!(two.zeros().is_none());
        assert!(Pointers::new(vec![(0, 1)], false).zeros().is_some());
    }

    #[test]
    fn strings_have_a_least_length() {
        let engine = Strings {
            least: 4,
            encoding: Encoding::Ascii,
        };
        assert_eq!(all(&engine, b"abc\0abcd\x01\x7fefghi"), [(4, 4), (10, 5)]);
        let engine = Strings {
            least: 2,
            encoding: Encoding::Utf16le,
        };
        assert_eq!(all(&engine, b"xa\0b\0c\x01"), [(1, 4)]);
    }
}
