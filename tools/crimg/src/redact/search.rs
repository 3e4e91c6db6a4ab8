// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Finds the texts that are to go: given ones and regular expressions, in bytes of any kind.

use super::spans::Spans;
use crate::error::Failure;
use memchr::memmem::Finder;
use regex_automata::{meta::Regex, util::syntax};

/// Bytes of earlier data that are searched again with the next, at least: a longer match of an expression
/// that reaches from one piece of memory into the next may be found in parts only.
pub const OVERLAP: usize = 64 << 10;

/// What is searched for.
#[derive(Default)]
pub struct Search {
    literals: Vec<Finder<'static>>,
    patterns: Vec<Regex>,
    /// `NAME=` of variables whose values go wherever they stand.
    names: Vec<Regex>,
    ignore: Option<u8>,
}

impl Search {
    /// Adds a text. Ones that are there already count once.
    pub fn literal(&mut self, text: &[u8]) {
        if !text.is_empty() && !self.literals.iter().any(|f| f.needle() == text) {
            self.literals.push(Finder::new(text).into_owned());
        }
    }

    /// Adds a regular expression over bytes.
    ///
    /// # Errors
    /// [`Failure::Usage`]; the expression is not repeated in it, for it may be a secret.
    pub fn pattern(&mut self, pattern: &str) -> Result<(), Failure> {
        let regex = build(pattern).map_err(|e| Failure::Usage {
            message: "--regex: this is no regular expression".to_owned(),
            remedy: match e.syntax_error() {
                Some(e) => first_cause(&e.to_string()),
                None => "It is too large.".to_owned(),
            },
        })?;
        if regex.is_match(b"") {
            return Err(Failure::Usage {
                message: "--regex: the expression matches nothing at all".to_owned(),
                remedy: "Give one that needs at least one byte: + instead of *.".to_owned(),
            });
        }
        self.patterns.push(regex);
        Ok(())
    }

    /// Adds a variable: what follows `NAME=` up to the next NUL or end of line.
    pub fn variable(&mut self, name: &str) {
        // Only names are quoted here, and every regular expression of this form can be built.
        let quoted: String = name.bytes().map(|b| format!("\\x{b:02x}")).collect();
        if let Ok(regex) = build(&format!("(?s-u){quoted}=[^\\x00\\n]+")) {
            self.names.push(regex);
        }
    }

    /// Finds nothing that has this byte: the fill of a redaction, which some expressions match as well.
    pub fn ignore(&mut self, fill: u8) {
        self.ignore = Some(fill);
    }

    /// Bytes that are searched again with what follows them: no given text is longer.
    fn overlap(&self) -> usize {
        let longest = self.literals.iter().map(|f| f.needle().len()).max();
        longest.unwrap_or(0).max(OVERLAP)
    }

    /// Is there nothing to search for?
    pub fn is_empty(&self) -> bool {
        self.literals.is_empty() && self.patterns.is_empty() && self.names.is_empty()
    }

    /// Adds every place in `bytes` to `found`, shifted by `base`. Gives back where the first text begins
    /// that reaches the end of `bytes`, and so perhaps beyond.
    pub fn find(&self, bytes: &[u8], base: u64, found: &mut Spans) -> usize {
        let mut open = bytes.len();
        let mut add = |start: usize, end: usize| {
            if end == bytes.len() {
                open = open.min(start);
            }
            let text = bytes.get(start..end).unwrap_or(&[]);
            if self.ignore.is_some_and(|fill| text.contains(&fill)) {
                return;
            }
            let at = |n: usize| base.saturating_add(n as u64);
            found.add(at(start), at(end));
        };
        for finder in &self.literals {
            let len = finder.needle().len();
            let mut from = 0;
            while let Some(n) = bytes.get(from..).and_then(|rest| finder.find(rest)) {
                let start = from.saturating_add(n);
                add(start, start.saturating_add(len));
                // By one byte: a text may overlap itself.
                from = start.saturating_add(1);
            }
        }
        for regex in &self.patterns {
            for m in regex.find_iter(bytes).filter(|m| !m.is_empty()) {
                add(m.start(), m.end());
            }
        }
        for regex in &self.names {
            for m in regex.find_iter(bytes) {
                let text = bytes.get(m.range()).unwrap_or(&[]);
                let name = text.iter().position(|b| *b == b'=').unwrap_or(0);
                add(m.start().saturating_add(name).saturating_add(1), m.end());
            }
        }
        open
    }
}

fn build(pattern: &str) -> Result<Regex, Box<regex_automata::meta::BuildError>> {
    Regex::builder()
        .configure(Regex::config().utf8_empty(false))
        .syntax(syntax::Config::new().utf8(false))
        .build(pattern)
        .map_err(Box::new)
}

/// The last line of a message of the parser: the cause without the expression.
fn first_cause(message: &str) -> String {
    let line = message.lines().last().unwrap_or("");
    crate::escape::text(line.strip_prefix("error: ").unwrap_or(line).as_bytes())
}

/// Bytes that follow each other in memory, searched while they come.
pub struct Stretch<'s> {
    search: &'s Search,
    bytes: Vec<u8>,
    /// Position of the first byte.
    base: u64,
    /// What was found.
    pub found: Spans,
}

impl<'s> Stretch<'s> {
    /// Nothing yet.
    pub fn new(search: &'s Search) -> Self {
        Self {
            search,
            bytes: Vec::new(),
            base: 0,
            found: Spans::default(),
        }
    }

    /// Adds bytes at a position; where that is not behind the last byte, something new begins.
    pub fn push(&mut self, at: u64, bytes: &[u8]) {
        if self.base.saturating_add(self.bytes.len() as u64) != at {
            self.end();
            self.base = at;
        }
        self.bytes.extend_from_slice(bytes);
        let overlap = self.search.overlap();
        if self.bytes.len() < overlap.saturating_mul(2).max(1 << 20) {
            return;
        }
        let open = self.search.find(&self.bytes, self.base, &mut self.found);
        // What may go on is searched again together with what follows, within reason.
        let longest = overlap.max(8 * OVERLAP);
        let longest = self.bytes.len().saturating_sub(longest);
        let keep = self.bytes.len().saturating_sub(overlap).min(open);
        let keep = keep.max(longest);
        self.bytes.drain(..keep);
        self.base = self.base.saturating_add(keep as u64);
    }

    /// What comes next does not follow.
    pub fn end(&mut self) {
        self.search.find(&self.bytes, self.base, &mut self.found);
        self.bytes.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(s: &Search, text: &[u8]) -> Vec<(u64, u64)> {
        let mut found = Spans::default();
        s.find(text, 0, &mut found);
        found.tidy();
        found.iter().collect()
    }

    #[test]
    fn texts_that_overlap_are_found_all() {
        let mut s = Search::default();
        s.literal(b"aba");
        s.literal(b"bcd");
        s.literal(b"");
        assert_eq!(all(&s, b"xababcdx"), [(1, 7)]);
    }

    #[test]
    fn a_variable_loses_its_value_and_keeps_its_name() {
        let mut s = Search::default();
        s.variable("TOKEN");
        assert_eq!(all(&s, b"A=1\0TOKEN=s3cr\xff\0B=2"), [(10, 15)]);
        s.variable("X.Y(");
        assert_eq!(all(&s, b"XaY(=1"), []);
    }

    #[test]
    fn expressions_match_bytes_and_their_errors_do_not_repeat_them() {
        let mut s = Search::default();
        s.pattern(r"(?-u)\xfe[0-9]+").unwrap();
        assert_eq!(all(&s, b"\xfe12 \xfe"), [(0, 3)]);
        let Err(Failure::Usage { message, remedy }) = s.pattern("hunter2(") else {
            panic!("accepted");
        };
        assert!(
            !message.contains("hunter2") && !remedy.contains("hunter2"),
            "{remedy}"
        );
        assert!(s.pattern("a*").is_err());
    }

    #[test]
    fn a_long_text_is_found_across_borders() {
        let long: Vec<u8> = (0..700_000_u32).map(|n| (n % 241) as u8).collect();
        let mut s = Search::default();
        s.literal(&long);
        let mut text = vec![0xff; 4 << 20];
        let at = (1 << 20) + 500_000;
        text[at..at + long.len()].copy_from_slice(&long);
        let mut stretch = Stretch::new(&s);
        for (n, piece) in text.chunks(4096).enumerate() {
            stretch.push((n * 4096) as u64, piece);
        }
        stretch.end();
        stretch.found.tidy();
        let found: Vec<_> = stretch.found.iter().collect();
        assert_eq!(found, [(at as u64, (at + long.len()) as u64)]);
    }

    #[test]
    fn a_text_is_found_across_every_border_between_two_pieces() {
        let mut s = Search::default();
        s.literal(b"0123456789abcdef");
        s.pattern("Q+").unwrap();
        let mut text = vec![b'.'; 3 << 20];
        let at = (1 << 20) - 8;
        text[at..at + 16].copy_from_slice(b"0123456789abcdef");
        // Longer than the overlap, and across two borders.
        text[(2 << 20) - 100_000..(2 << 20) + 100_000].fill(b'Q');
        for step in [4096, 1 << 20, 5000, 3 << 20] {
            let mut stretch = Stretch::new(&s);
            for (n, piece) in text.chunks(step).enumerate() {
                stretch.push(77 + (n * step) as u64, piece);
            }
            stretch.end();
            stretch.found.tidy();
            let want = [
                (77 + at as u64, 77 + at as u64 + 16),
                (77 + (2 << 20) - 100_000, 77 + (2 << 20) + 100_000),
            ];
            assert_eq!(stretch.found.iter().collect::<Vec<_>>(), want, "{step}");
        }
    }
}
