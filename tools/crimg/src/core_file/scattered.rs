// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Page data into a core that is a file: by several threads, in any order.
//!
//! Each thread reads a chunk, checks it and writes it, so that its bytes stay in the cache of one processor. Short gaps
//! between page data are filled: a file system takes a long piece sooner than the pieces between many small holes.

use super::{
    export::{each_piece, page_data, Options},
    plan::Load,
    sink::ZEROS,
};
use crate::{
    error::Failure,
    file::{ImageFile, PageData},
    memory::Memory,
    progress,
};
use std::{
    fs::File,
    io::{self, IoSlice},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    thread,
};

/// Most threads: the file lets one write at a time, and reading and checking take less time than that.
const THREADS: usize = 2;

/// Most pieces that are written at once; the kernel takes 1024 (`UIO_MAXIOV`), and one adds at most two.
const MOST_PIECES: usize = 1022;

/// Why a thread has ended early.
enum Broken {
    Image(Failure),
    Output(io::Error),
}

/// Writes the page data of all chunks to `to`, in which the segments begin at `data`. Gives the number of bytes.
///
/// # Errors
/// [`Failure::Read`], [`Failure::Defect`], and those of `failed`: always of the first chunk that has one.
pub fn pages(
    file: &ImageFile,
    memory: &Memory<'_>,
    options: Options,
    loads: &[Load],
    data: u64,
    to: &File,
    failed: &dyn Fn(io::Error) -> Failure,
) -> Result<u64, Failure> {
    let chunks = memory.chunks();
    let total = chunks.iter().map(|c| u64::from(c.raw_len)).sum();
    let bar = progress::bar(if options.progress { total } else { 0 }, "exporting");
    let mut offsets = Vec::with_capacity(loads.len());
    let mut offset = data;
    for load in loads {
        offsets.push(offset);
        offset = offset.saturating_add(load.filesz());
    }
    let core = Core { loads, offsets, to };
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let work = || -> Result<u64, (usize, Broken)> {
        let (mut stored, mut buf) = (0_u64, Vec::new());
        while !stop.load(Relaxed) {
            let n = next.fetch_add(1, Relaxed);
            if n >= chunks.len() {
                break;
            }
            let one = page_data(file, chunks, n, &mut buf).map_err(Broken::Image);
            let done = one.and_then(|data| {
                let written = core.chunk(&data).map_err(Broken::Output)?;
                stored = stored.saturating_add(written);
                bar.inc(data.bytes.len() as u64);
                Ok(data.bytes)
            });
            match done {
                Ok(bytes) => buf = bytes,
                Err(e) => {
                    // The chunks in front of this one are with the other threads, which end them.
                    stop.store(true, Relaxed);
                    return Err((n, e));
                }
            }
        }
        Ok(stored)
    };
    let threads = thread::available_parallelism().map_or(1, |n| n.get().min(THREADS));
    let results: Vec<_> = thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let own = work();
        let joined = others.into_iter().map(|t| {
            t.join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        std::iter::once(own).chain(joined).collect()
    });
    bar.finish_and_clear();
    let mut stored = 0_u64;
    let mut first: Option<(usize, Broken)> = None;
    for result in results {
        match result {
            Ok(n) => stored = stored.saturating_add(n),
            Err(e) if first.as_ref().is_none_or(|f| e.0 < f.0) => first = Some(e),
            Err(_) => {}
        }
    }
    match first {
        None => Ok(stored),
        Some((_, Broken::Image(e))) => Err(e),
        Some((_, Broken::Output(e))) => Err(failed(e)),
    }
}

struct Core<'a> {
    loads: &'a [Load],
    /// Where in the core each of them begins.
    offsets: Vec<u64>,
    to: &'a File,
}

impl Core<'_> {
    /// Writes the page data of a chunk; gives its length.
    fn chunk(&self, data: &PageData) -> io::Result<u64> {
        let mut batch = Batch::default();
        each_piece(data, |address, bytes| match self.place(address, bytes) {
            Some((offset, bytes)) => batch.add(self.to, offset, bytes),
            None => Ok(()),
        })?;
        batch.write(self.to)?;
        Ok(batch.stored)
    }

    fn place<'b>(&self, address: u64, bytes: &'b [u8]) -> Option<(u64, &'b [u8])> {
        let n = self.loads.partition_point(|l| l.end <= address);
        let (within, bytes) = self.loads.get(n)?.piece(address, bytes)?;
        Some((self.offsets.get(n)?.saturating_add(within), bytes))
    }
}

/// Pieces that follow each other in the file, with zeros for the gaps.
#[derive(Default)]
struct Batch<'d> {
    offset: u64,
    len: u64,
    pieces: Vec<IoSlice<'d>>,
    /// Bytes of all batches so far, without zeros.
    stored: u64,
}

impl<'d> Batch<'d> {
    fn add(&mut self, to: &File, offset: u64, bytes: &'d [u8]) -> io::Result<()> {
        let end = self.offset.saturating_add(self.len);
        let gap = offset
            .checked_sub(end)
            .and_then(|g| ZEROS.get(..usize::try_from(g).ok()?));
        match gap {
            Some(gap) if !self.pieces.is_empty() && self.pieces.len() < MOST_PIECES => {
                if !gap.is_empty() {
                    self.pieces.push(IoSlice::new(gap));
                    self.len = self.len.saturating_add(gap.len() as u64);
                }
            }
            _ => {
                self.write(to)?;
                self.offset = offset;
            }
        }
        self.pieces.push(IoSlice::new(bytes));
        self.len = self.len.saturating_add(bytes.len() as u64);
        self.stored = self.stored.saturating_add(bytes.len() as u64);
        Ok(())
    }

    fn write(&mut self, to: &File) -> io::Result<()> {
        let (mut pieces, mut offset) = (self.pieces.as_mut_slice(), self.offset);
        while !pieces.is_empty() {
            match rustix::io::pwritev(to, pieces, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    offset = offset.saturating_add(n as u64);
                    IoSlice::advance_slices(&mut pieces, n);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        self.pieces.clear();
        self.len = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{FileExt, MetadataExt};

    /// Writes pieces of these offsets and lengths, each of bytes of its own, in batches and one by one.
    fn both(pieces: &[(u64, usize)]) -> (Vec<u8>, File) {
        let data: Vec<(u64, Vec<u8>)> = pieces
            .iter()
            .zip(1_u8..=u8::MAX)
            .map(|((at, len), byte)| (*at, vec![byte; *len]))
            .collect();
        let (batched, plain) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        let mut batch = Batch::default();
        for (at, bytes) in &data {
            batch.add(&batched, *at, bytes).unwrap();
            plain.write_all_at(bytes, *at).unwrap();
        }
        batch.write(&batched).unwrap();
        let stored: usize = pieces.iter().map(|p| p.1).sum();
        assert_eq!(batch.stored, stored as u64);
        let read = |file: &File| {
            let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
            file.read_exact_at(&mut bytes, 0).unwrap();
            bytes
        };
        assert!(read(&batched) == read(&plain));
        (read(&batched), batched)
    }

    #[test]
    fn a_batch_fills_short_gaps_and_leaves_long_ones() {
        let (_, file) = both(&[(4096, 8192), (12288, 4096), (20480, 10), (40 << 20, 4096)]);
        assert!(file.metadata().unwrap().blocks() * 512 < 1 << 20);
        // A step back begins a new one.
        both(&[(8192, 4096), (0, 4096)]);
        both(&[]);
    }

    #[test]
    fn a_batch_may_have_more_pieces_than_one_call_takes() {
        let file = tempfile::tempfile().unwrap();
        let mut batch = Batch::default();
        for n in 0..3000_u64 {
            batch.add(&file, n * 3, b"ab").unwrap();
        }
        batch.write(&file).unwrap();
        let mut got = vec![1; 8999];
        file.read_exact_at(&mut got, 0).unwrap();
        assert!(got.chunks(3).all(|c| c == b"ab\0" || c == b"ab"));
        assert_eq!(file.metadata().unwrap().len(), 8999);
    }
}
