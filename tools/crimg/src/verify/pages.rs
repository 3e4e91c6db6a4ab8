// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Workers that check the page data of chunks: as stored, and decoded.
//!
//! In a file each worker reads for itself with `pread`, in pieces that stay in the processor's cache until
//! they are hashed; from a stream the walking thread reads into a ring of buffers.

use super::{Level, PAYLOAD};
use crate::{error::Failure, file, load::crc};
use cr_format::{
    chunk::{ChunkHeader, CODEC_RAW},
    zstd::check_frame,
    Error, ErrorKind,
};
use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    sync::{
        mpsc::{sync_channel, Receiver, SyncSender},
        Mutex, PoisonError,
    },
};

/// Most workers: more only fight for the memory bus.
const WORKERS: usize = 8;
/// Bytes that are read and hashed at a time: half of a small second-level cache.
const PIECE: usize = 128 << 10;

/// The page data of one chunk.
pub(super) struct Job {
    /// Its header, checked.
    pub(super) header: ChunkHeader,
    /// Where the page data is in the image.
    pub(super) at: u64,
    /// The page data, if it does not come from a file.
    pub(super) bytes: Option<Vec<u8>>,
}

/// Chunks of a file that a worker gets at a time: each hand-over wakes somebody.
const ROW: usize = 8;

/// The walking thread's side.
pub(super) struct Pool {
    jobs: SyncSender<Vec<Job>>,
    /// Jobs that are handed over together, and how many that shall be.
    row: Mutex<Vec<Job>>,
    most: usize,
    free: Mutex<Receiver<Vec<u8>>>,
}

impl Pool {
    /// Hands a job over; waits while all workers are busy.
    pub(super) fn push(&self, job: Job) {
        // Nobody dies with the lock: what is done with it cannot panic.
        let mut row = self.row.lock().unwrap_or_else(PoisonError::into_inner);
        row.push(job);
        if row.len() >= self.most {
            // The workers live until the sender is dropped.
            let _ = self.jobs.send(std::mem::take(&mut row));
        }
    }

    /// Hands over what is left.
    fn end(self) {
        let row = self
            .row
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        let _ = self.jobs.send(row);
    }

    /// A buffer for page data; waits for one to come back.
    pub(super) fn buffer(&self) -> Vec<u8> {
        let free = self.free.lock().ok();
        free.and_then(|f| f.recv().ok()).unwrap_or_default()
    }
}

struct Worker<'w> {
    file: Option<&'w File>,
    level: Level,
    jobs: &'w Mutex<Receiver<Vec<Job>>>,
    free: SyncSender<Vec<u8>>,
}

/// Defects of the page data, in the order of the image.
type Found = io::Result<Vec<Error>>;

/// Runs `walk` with workers beside it, and gives its result and what they found.
///
/// # Errors
/// Those of `walk`; errors of reading are in the second result.
pub(super) fn with_workers<R>(
    file: Option<&File>,
    level: Level,
    walk: impl FnOnce(&Pool) -> Result<R, Failure>,
) -> Result<(R, Found), Failure> {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = cpus.clamp(1, WORKERS);
    let (jobs, queue) = sync_channel(workers.saturating_mul(2));
    let buffers = workers.saturating_mul(2).saturating_add(1);
    let (free, back) = sync_channel(buffers);
    for _ in 0..buffers {
        // There is room for all.
        let _ = free.try_send(Vec::new());
    }
    let queue = Mutex::new(queue);
    let (result, found) = std::thread::scope(|scope| {
        let running: Vec<_> = (0..workers)
            .map(|_| {
                let worker = Worker {
                    file,
                    level,
                    jobs: &queue,
                    free: free.clone(),
                };
                std::thread::Builder::new().spawn_scoped(scope, move || worker.run())
            })
            .collect();
        let mut alive = Vec::new();
        for thread in running {
            alive.push(thread.map_err(|error| Failure::Read {
                image: "a thread for checking".to_owned(),
                error,
            })?);
        }
        let pool = Pool {
            jobs,
            row: Mutex::default(),
            // From a stream each comes with a buffer, and there are few of those.
            most: if file.is_some() { ROW } else { 1 },
            free: Mutex::new(back),
        };
        let result = walk(&pool);
        pool.end();
        let mut found = Ok(Vec::new());
        for thread in alive {
            let part = thread
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("a thread for checking died")));
            found = match (found, part) {
                (Ok(mut all), Ok(part)) => {
                    all.extend(part);
                    Ok(all)
                }
                (Err(e), _) | (_, Err(e)) => Err(e),
            };
        }
        Ok::<_, Failure>((result?, found))
    })?;
    Ok((
        result,
        found.map(|mut all: Vec<Error>| {
            all.sort_by_key(|e| e.offset);
            all
        }),
    ))
}

impl Worker<'_> {
    fn run(self) -> Found {
        let (mut found, mut buffer) = (Vec::new(), Vec::new());
        let mut failed = None;
        loop {
            let next = self.jobs.lock().ok().and_then(|jobs| jobs.recv().ok());
            let Some(row) = next else { break };
            for mut job in row {
                if failed.is_none() {
                    match self.check(&mut job, &mut buffer) {
                        Ok(Ok(())) => {}
                        Ok(Err(e)) => found.push(e.placed(0, job.at)),
                        // The rest is taken from the queue all the same, or the walking thread would wait for ever.
                        Err(e) => failed = Some(e),
                    }
                }
                if let Some(bytes) = job.bytes.take() {
                    let _ = self.free.try_send(bytes);
                }
            }
        }
        failed.map_or(Ok(found), Err)
    }

    fn check(&self, job: &mut Job, buffer: &mut Vec<u8>) -> io::Result<Result<(), Error>> {
        let h = job.header;
        let raw = h.codec == CODEC_RAW;
        // A raw chunk of a file is hashed piece by piece; everything else is needed as a whole.
        if let (true, Some(file), None) = (raw, self.file, &job.bytes) {
            let mut sum = 0;
            let mut left = h.stored_len as usize;
            let mut at = job.at;
            buffer.resize(PIECE, 0);
            while left > 0 {
                let piece = buffer.get_mut(..left.min(PIECE)).unwrap_or(&mut []);
                if let Err(e) = read(file, at, piece)? {
                    return Ok(Err(e));
                }
                sum = crc(sum, piece);
                left = left.saturating_sub(piece.len());
                at = at.saturating_add(piece.len() as u64);
            }
            return Ok(same(h.payload_crc, sum));
        }
        let bytes: &[u8] = match (&job.bytes, self.file) {
            (Some(bytes), _) => bytes,
            (None, Some(file)) => {
                buffer.resize(PAYLOAD.min(h.stored_len as usize), 0);
                if let Err(e) = read(file, job.at, buffer)? {
                    return Ok(Err(e));
                }
                buffer
            }
            (None, None) => return Ok(Ok(())),
        };
        Ok(self.stored(&h, bytes))
    }

    fn stored(&self, h: &ChunkHeader, bytes: &[u8]) -> Result<(), Error> {
        same(h.payload_crc, crc(0, bytes))?;
        if h.codec == CODEC_RAW || self.level == Level::Crc {
            return Ok(());
        }
        check_frame(bytes, h.frame_len, h.raw_len)?;
        if self.level == Level::Structure {
            return Ok(());
        }
        let frame = bytes.get(..h.frame_len as usize).unwrap_or(bytes);
        let decoded = file::decode(frame, h.raw_len).ok_or(Error::rule("ZSTD-6"))?;
        same(h.raw_crc, crc(0, &decoded))
    }
}

fn same(stored: u32, computed: u32) -> Result<(), Error> {
    if stored == computed {
        Ok(())
    } else {
        Err(Error::at(ErrorKind::BadChecksum { stored, computed }, 0))
    }
}

/// Fills `buf`; the inner error says that the file became shorter.
fn read(file: &File, at: u64, buf: &mut [u8]) -> io::Result<Result<(), Error>> {
    let mut have = 0_usize;
    while have < buf.len() {
        let rest = buf.get_mut(have..).unwrap_or(&mut []);
        match file.read_at(rest, at.saturating_add(have as u64)) {
            Ok(0) => return Ok(Err(Error::truncated(buf.len() as u64, have as u64))),
            Ok(n) => have = have.saturating_add(n),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        }
    }
    Ok(Ok(()))
}
