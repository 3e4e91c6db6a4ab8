// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Searches memory in parallel and reports matches in the order of addresses, the same however the image
//! cuts the memory into chunks and runs.
//!
//! Who reports a match is decided by where it starts. A worker searches a segment by itself: the starts from
//! its beginning ([`CONTEXT`] bytes behind it, if something may be before it) to [`Engine::longest`] bytes
//! before its end. The starts around a border are searched by the joiner, in order, in a window of the last
//! and the first page beside it. No match reaches over two borders: segments are whole pages, except
//! where the user's range begins or ends. The joiner knows where the last match ended, too, and corrects a worker
//! that could not know it.

use super::{
    engine::{Engine, CONTEXT},
    ordered::ordered,
    pieces::{Loaded, Pieces, Segment, SIDE},
};
use crate::{error::Failure, file::ZERO_PAGE};
use indicatif::ProgressBar;

/// Jobs that a worker does in a row, divided by the number of threads: each result wakes somebody.
const ROW: usize = 8;
/// Most matches that a worker keeps for the joiner; beyond, the joiner searches anew and reports at once.
const KEPT: usize = 1 << 16;

/// Something found: `count` matches of the same bytes, `step` bytes from one to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit<'t> {
    /// Address of the first.
    pub address: u64,
    /// The bytes.
    pub bytes: &'t [u8],
    /// How many.
    pub count: u64,
    /// Bytes from one to the next.
    pub step: u64,
}

/// What was searched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Bytes, zeros included.
    pub searched: u64,
    /// Bytes in mapped files or a parent image, which were not searched.
    pub elsewhere: u64,
}

type Sink<'s> = &'s mut dyn FnMut(&Hit<'_>) -> Result<bool, Failure>;

/// What a worker found in one segment: start and length, in the segment.
type Own = Vec<(u32, u32)>;

struct Work {
    loaded: Loaded,
    /// One per segment; `None`: more than could be kept.
    own: Vec<Option<Own>>,
}

/// Searches; `sink` gets the matches in order, until it says `false`.
///
/// # Errors
/// Those of reading, and of `sink`.
pub fn search(
    pieces: &Pieces<'_, '_>,
    engine: &dyn Engine,
    threads: usize,
    progress: &ProgressBar,
    sink: Sink<'_>,
) -> Result<Summary, Failure> {
    let mut joiner = Joiner::new(engine, sink);
    let mut summary = Summary::default();
    let row = (ROW / threads.max(1)).clamp(1, ROW / 2);
    let jobs = pieces.jobs();
    let work = |n: usize| -> Vec<Result<Work, Failure>> {
        let from = n.saturating_mul(row);
        (from..from.saturating_add(row).min(jobs))
            .map(|job| Ok(worker(engine, pieces.load(job, Some(engine))?)))
            .collect()
    };
    ordered(jobs.div_ceil(row), threads, work, |row| {
        for work in row {
            let work = work?;
            summary.elsewhere = summary.elsewhere.saturating_add(work.loaded.elsewhere);
            let mut go_on = true;
            for (segment, own) in work.loaded.segments.iter().zip(&work.own) {
                summary.searched = summary.searched.saturating_add(segment.len);
                go_on = joiner.segment(segment, work.loaded.hay(segment), own.as_deref())?;
                if !go_on {
                    break;
                }
            }
            progress.set_position(summary.searched.saturating_add(summary.elsewhere));
            pieces.recycle(work.loaded);
            if !go_on {
                return Ok(false);
            }
        }
        Ok(true)
    })?;
    joiner.finish()?;
    Ok(summary)
}

/// The starts that belong to the segment itself.
fn own_starts(engine: &dyn Engine, segment: &Segment) -> (u64, u64) {
    let end = segment.start.saturating_add(segment.len);
    let from = if segment.joined {
        segment.start.saturating_add(CONTEXT as u64).min(end)
    } else {
        segment.start
    };
    (from, end.saturating_sub(engine.longest() as u64).max(from))
}

fn worker(engine: &dyn Engine, loaded: Loaded) -> Work {
    let mut own = Vec::with_capacity(loaded.segments.len());
    let mut room = KEPT;
    for segment in &loaded.segments {
        let hay = loaded.hay(segment).filter(|_| !loaded.ends);
        let Some(hay) = hay else {
            own.push(Some(Own::new()));
            continue;
        };
        let (from, to) = own_starts(engine, segment);
        let offset = |address: u64| address.saturating_sub(segment.start) as usize;
        let mut found = Own::new();
        let mut full = false;
        if from < to {
            engine.find(
                hay,
                segment.start,
                offset(from),
                offset(to),
                &mut |at, len| {
                    full = found.len() >= room;
                    // CAST: a segment with bytes is at most 1 MiB.
                    found.push((at as u32, len as u32));
                    !full
                },
            );
        }
        room = room.saturating_sub(found.len());
        own.push((!full).then_some(found));
    }
    Work { loaded, own }
}

struct Joiner<'s, 'e> {
    engine: &'e dyn Engine,
    sink: Sink<'s>,
    /// The last bytes of the segment before; what is in front of `from` is context.
    tail: Vec<u8>,
    tail_end: u64,
    /// First start in the tail that nobody has searched.
    from: u64,
    /// Where the last match ended, for sequential engines.
    done: u64,
    window: Vec<u8>,
    /// Matches of one byte value that may go on.
    stretch: Option<(u64, u64, Vec<u8>)>,
    ended: bool,
}

impl<'s, 'e> Joiner<'s, 'e> {
    fn new(engine: &'e dyn Engine, sink: Sink<'s>) -> Self {
        Self {
            engine,
            sink,
            tail: Vec::with_capacity(SIDE),
            tail_end: 0,
            from: 0,
            done: 0,
            window: Vec::with_capacity(2 * SIDE),
            stretch: None,
            ended: false,
        }
    }

    /// Takes the next segment; false when the sink has enough.
    fn segment(
        &mut self,
        segment: &Segment,
        hay: Option<&[u8]>,
        own: Option<&[(u32, u32)]>,
    ) -> Result<bool, Failure> {
        let end = segment.start.saturating_add(segment.len);
        if self.tail_end != segment.start || self.tail.is_empty() {
            let rest = self.tail_end;
            self.border(&[], rest)?;
            self.tail.clear();
            (self.tail_end, self.from) = (segment.start, segment.start);
        }
        let (from, to) = own_starts(self.engine, segment);
        let side = usize::try_from(segment.len).unwrap_or(SIDE).min(SIDE);
        let zeros = ZERO_PAGE.get(..side).unwrap_or(&[]);
        if segment.joined {
            self.border(hay.map_or(zeros, |h| h.get(..side).unwrap_or(h)), from)?;
        }
        if from < to && !self.ended {
            match hay {
                Some(hay) => self.own(segment, hay, own, from, to)?,
                None => self.zeros(from, to)?,
            }
        }
        self.tail.clear();
        let last = hay.map_or(zeros, |h| {
            h.get(h.len().saturating_sub(side)..).unwrap_or(h)
        });
        self.tail.extend_from_slice(last);
        (self.tail_end, self.from) = (end, to);
        Ok(!self.ended)
    }

    /// Searches the starts from `self.from` to `to`, in the tail and the `head` behind it.
    fn border(&mut self, head: &[u8], to: u64) -> Result<(), Failure> {
        let base = self.tail_end.saturating_sub(self.tail.len() as u64);
        let from = self.from.max(if self.engine.sequential() {
            self.done
        } else {
            0
        });
        if from >= to || self.ended {
            return Ok(());
        }
        let mut window = std::mem::take(&mut self.window);
        window.clear();
        window.extend_from_slice(&self.tail);
        window.extend_from_slice(head);
        let result = self.find(&window, base, from, to, &[]);
        self.window = window;
        result
    }

    /// Searches `hay` at `base` for starts in `from..to` and reports; ends early, with `true`, at a match
    /// that starts like one of `known`.
    fn find(
        &mut self,
        hay: &[u8],
        base: u64,
        from: u64,
        to: u64,
        known: &[(u32, u32)],
    ) -> Result<(), Failure> {
        let offset = |address: u64| address.saturating_sub(base) as usize;
        let mut result = Ok(());
        let mut known = known;
        let mut synced = false;
        let engine = self.engine;
        engine.find(hay, base, offset(from), offset(to), &mut |at, len| {
            while known.first().is_some_and(|k| (k.0 as usize) < at) {
                known = known.get(1..).unwrap_or(&[]);
            }
            synced = known.first().is_some_and(|k| k.0 as usize == at);
            if synced {
                return false;
            }
            result = self.report(hay, base, at, len);
            result.is_ok() && !self.ended
        });
        result?;
        if synced {
            self.kept(hay, base, known)?;
        }
        Ok(())
    }

    fn report(&mut self, hay: &[u8], base: u64, at: usize, len: usize) -> Result<(), Failure> {
        let bytes = hay.get(at..at.saturating_add(len)).unwrap_or(&[]);
        self.hit(base.saturating_add(at as u64), bytes, 1, 1)
    }

    fn kept(&mut self, hay: &[u8], base: u64, own: &[(u32, u32)]) -> Result<(), Failure> {
        for (at, len) in own {
            if self.ended {
                break;
            }
            self.report(hay, base, *at as usize, *len as usize)?;
        }
        Ok(())
    }

    /// Reports what the worker found, or searches again if that is not everything or not right.
    fn own(
        &mut self,
        segment: &Segment,
        hay: &[u8],
        own: Option<&[(u32, u32)]>,
        from: u64,
        to: u64,
    ) -> Result<(), Failure> {
        let base = segment.start;
        let sequential = self.engine.sequential();
        match own {
            None => {
                let from = if sequential {
                    from.max(self.done)
                } else {
                    from
                };
                self.find(hay, base, from, to, &[])
            }
            Some(own) => {
                let first = own.first().map(|(at, _)| base.saturating_add((*at).into()));
                match first {
                    // The match over the border ends behind the start of this one: begin there, until both agree.
                    Some(first) if sequential && first < self.done => {
                        self.find(hay, base, self.done, to, own)
                    }
                    _ => self.kept(hay, base, own),
                }
            }
        }
    }

    /// Matches in zeros, without looking at any.
    fn zeros(&mut self, from: u64, to: u64) -> Result<(), Failure> {
        let Some(zeros) = self.engine.zeros() else {
            return Ok(());
        };
        let from = if self.engine.sequential() {
            from.max(self.done)
        } else {
            from
        };
        let first = from
            .checked_next_multiple_of(zeros.align)
            .unwrap_or(u64::MAX);
        if first >= to || zeros.step == 0 {
            return Ok(());
        }
        let count = to.saturating_sub(first).div_ceil(zeros.step);
        let bytes = ZERO_PAGE.get(..zeros.len).unwrap_or(&[]);
        self.hit(first, bytes, count, zeros.step)
    }

    fn hit(&mut self, address: u64, bytes: &[u8], count: u64, step: u64) -> Result<(), Failure> {
        let last = address.saturating_add(count.saturating_sub(1).saturating_mul(step));
        self.done = last.saturating_add(bytes.len() as u64);
        if !self.engine.stretches() {
            return self.give(address, bytes, count, step);
        }
        if let Some((start, so_far, _)) = &mut self.stretch {
            if start.saturating_add(*so_far) == address {
                *so_far = so_far.saturating_add(count);
                return Ok(());
            }
        }
        self.flush()?;
        self.stretch = Some((address, count, bytes.to_vec()));
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Failure> {
        match self.stretch.take() {
            Some((address, count, bytes)) => self.give(address, &bytes, count, 1),
            None => Ok(()),
        }
    }

    fn give(&mut self, address: u64, bytes: &[u8], count: u64, step: u64) -> Result<(), Failure> {
        if !self.ended {
            let hit = Hit {
                address,
                bytes,
                count,
                step,
            };
            self.ended = !(self.sink)(&hit)?;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Failure> {
        let end = self.tail_end;
        self.border(&[], end)?;
        self.flush()
    }
}
