// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Where a core goes: a file with holes, or a stream that gets every zero.

use std::{
    fs::File,
    io::{self, Write},
    os::unix::fs::FileExt,
};

/// What gaps are filled with; longer ones are holes where there can be some.
pub(super) static ZEROS: [u8; 1 << 16] = [0; 1 << 16];

/// An output of ascending pieces.
pub enum Sink<'w> {
    /// A regular file: what is not written is a hole. May be written in any order.
    File(&'w File),
    /// Anything else; the number is how far it has come.
    Stream(&'w mut dyn Write, u64),
}

impl Sink<'_> {
    /// Writes `bytes` at `offset`, which must not be before what a stream has got already.
    ///
    /// # Errors
    /// Of the output; `InvalidInput` for a step back in a stream.
    pub fn put(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::File(file) => file.write_all_at(bytes, offset),
            Self::Stream(..) => {
                self.zeros(offset)?;
                let Self::Stream(out, at) = self else {
                    return Ok(());
                };
                out.write_all(bytes)?;
                *at = at.saturating_add(bytes.len() as u64);
                Ok(())
            }
        }
    }

    /// Ends the output at `len`.
    ///
    /// # Errors
    /// Of the output.
    pub fn end(&mut self, len: u64) -> io::Result<()> {
        match self {
            Self::File(file) => file.set_len(len),
            Self::Stream(..) => {
                self.zeros(len)?;
                match self {
                    Self::Stream(out, _) => out.flush(),
                    Self::File(_) => Ok(()),
                }
            }
        }
    }

    fn zeros(&mut self, to: u64) -> io::Result<()> {
        let Self::Stream(out, at) = self else {
            return Ok(());
        };
        let mut gap = to
            .checked_sub(*at)
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        while gap > 0 {
            let n = gap.min(ZEROS.len() as u64);
            // CAST: at most 64 KiB.
            out.write_all(ZEROS.get(..n as usize).unwrap_or(&ZEROS))?;
            *at = at.saturating_add(n);
            gap = gap.saturating_sub(n);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_and_a_file_get_the_same_bytes() {
        let mut stream = Vec::new();
        let mut sink = Sink::Stream(&mut stream, 0);
        let file = tempfile::tempfile().unwrap();
        let mut holes = Sink::File(&file);
        for s in [&mut sink, &mut holes] {
            s.put(3, b"abc").unwrap();
            s.put(100_000, b"d").unwrap();
            s.end(100_010).unwrap();
        }
        assert!(sink.put(5, b"x").is_err());
        let mut got = vec![0; stream.len()];
        file.read_exact_at(&mut got, 0).unwrap();
        assert_eq!(stream.len(), 100_010);
        assert!(got == stream);
    }
}
