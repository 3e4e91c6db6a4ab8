// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Bytes as `hexdump -C` prints them: sixteen in a row, equal rows folded into a `*`.

use super::place;
use crate::{error::Failure, output::Output};
use std::fmt::Write as _;

/// Bytes of a row.
pub const ROW: usize = 16;

/// A dump being printed. Rows begin at the address that a stretch begins with.
pub struct Hexdump {
    /// Fold equal rows?
    pub fold: bool,
    last: Option<[u8; ROW]>,
    folded: bool,
    next: u64,
    /// Bytes of a row that is not full yet.
    row: Vec<u8>,
}

impl Hexdump {
    /// A dump of nothing so far.
    pub fn new(fold: bool) -> Self {
        Self {
            fold,
            last: None,
            folded: false,
            next: 0,
            row: Vec::with_capacity(ROW),
        }
    }

    /// Adds bytes; if they do not go on where the last ended, a new stretch begins.
    ///
    /// # Errors
    /// [`Failure::Write`].
    pub fn bytes(&mut self, out: &mut Output, address: u64, bytes: &[u8]) -> Result<(), Failure> {
        if address != self.next.saturating_add(self.row.len() as u64) || self.next == 0 {
            self.end(out)?;
            self.next = address;
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let take = ROW.saturating_sub(self.row.len()).min(rest.len());
            let (head, tail) = rest.split_at_checked(take).unwrap_or((rest, &[]));
            self.row.extend_from_slice(head);
            rest = tail;
            if self.row.len() == ROW {
                self.full(out)?;
            }
        }
        Ok(())
    }

    /// Adds zeros, without making them.
    ///
    /// # Errors
    /// [`Failure::Write`].
    pub fn zeros(&mut self, out: &mut Output, address: u64, len: u64) -> Result<(), Failure> {
        const FEW: u64 = 4 * ROW as u64;
        let zeros = [0; FEW as usize];
        let mut at = address;
        let end = address.saturating_add(len);
        while at < end {
            let rest = end.saturating_sub(at);
            let n = rest.min(FEW);
            // CAST: at most 64.
            self.bytes(out, at, zeros.get(..n as usize).unwrap_or(&zeros))?;
            at = at.saturating_add(n);
            if self.folded && self.row.iter().all(|b| *b == 0) && self.last == Some([0; ROW]) {
                // Whole rows that would be folded away.
                let skip = end.saturating_sub(at) / ROW as u64 * ROW as u64;
                self.next = self.next.saturating_add(skip);
                at = at.saturating_add(skip);
            }
        }
        Ok(())
    }

    fn full(&mut self, out: &mut Output) -> Result<(), Failure> {
        let row: Option<[u8; ROW]> = self.row.first_chunk().copied();
        if self.fold && row.is_some() && row == self.last {
            if !self.folded {
                out.line("*")?;
            }
            self.folded = true;
        } else {
            out.line(line(self.next, &self.row))?;
            self.folded = false;
        }
        self.last = row;
        self.next = self.next.saturating_add(ROW as u64);
        self.row.clear();
        Ok(())
    }

    /// Ends a stretch: the rest of a row, or the address behind rows that were folded.
    ///
    /// # Errors
    /// [`Failure::Write`].
    pub fn end(&mut self, out: &mut Output) -> Result<(), Failure> {
        if !self.row.is_empty() {
            out.line(line(self.next, &self.row))?;
        } else if self.folded {
            out.line(place::address(self.next))?;
        }
        self.row.clear();
        (self.last, self.folded, self.next) = (None, false, 0);
        Ok(())
    }
}

/// One row: address, bytes, characters.
fn line(address: u64, row: &[u8]) -> String {
    let mut line = place::address(address);
    for n in 0..ROW {
        let gap = if n % 8 == 0 { "  " } else { " " };
        let _ = match row.get(n) {
            Some(byte) => write!(line, "{gap}{byte:02x}"),
            None => write!(line, "{gap}  "),
        };
    }
    line.push_str("  |");
    line.extend(row.iter().map(|b| {
        if matches!(b, b' '..=b'~') {
            char::from(*b)
        } else {
            '.'
        }
    }));
    line.push('|');
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);
    impl io::Write for Kept {
        fn write(&mut self, b: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(b);
            Ok(b.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn dump(f: impl FnOnce(&mut Hexdump, &mut Output)) -> String {
        let kept = Kept::default();
        let mut out = Output::to(Box::new(kept.clone()), Box::new(io::sink()));
        let mut dump = Hexdump::new(true);
        f(&mut dump, &mut out);
        dump.end(&mut out).unwrap();
        out.finish().unwrap();
        let bytes = kept.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn rows_are_like_those_of_hexdump() {
        let text = dump(|d, o| d.bytes(o, 0x1000, b"hello\x1b[2J\xffworld, end").unwrap());
        assert_eq!(
            text,
            "0x000000001000  68 65 6c 6c 6f 1b 5b 32  4a ff 77 6f 72 6c 64 2c  |hello.[2J.world,|\n\
             0x000000001010  20 65 6e 64                                       | end|\n"
        );
    }

    #[test]
    fn equal_rows_are_folded_also_when_there_are_terabytes_of_them() {
        let text = dump(|d, o| {
            d.bytes(o, 0x1000, &[0; 20]).unwrap();
            d.zeros(o, 0x1014, 1 << 44).unwrap();
            d.bytes(o, 0x1014 + (1 << 44), b"x").unwrap();
        });
        assert_eq!(
            text,
            "0x000000001000  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |................|\n*\n\
             0x100000001010  00 00 00 00 78                                    |....x|\n"
        );
        let text = dump(|d, o| d.zeros(o, 0x1000, 4096).unwrap());
        assert!(text.ends_with("|\n*\n0x000000002000\n"), "{text}");
    }

    #[test]
    fn a_gap_begins_a_new_stretch() {
        let text = dump(|d, o| {
            d.bytes(o, 0x1000, &[1; 16]).unwrap();
            d.bytes(o, 0x2000, &[1; 16]).unwrap();
        });
        assert_eq!(text.lines().count(), 2);
    }
}
