// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! What `crimg verify --level crc` is measured against: reading a file and hashing it with crc32fast, nothing else.
//!
//! `cargo run --release -p crimg --example hash_file -- FILE [THREADS [PIECE]]`: pieces of 128 KiB (or PIECE bytes),
//! stretches of 1 MiB dealt to the threads in turn; as many threads as processors.

use std::{
    fs::File,
    os::unix::fs::FileExt,
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

const STRETCH: u64 = 1 << 20;

fn main() -> std::io::Result<()> {
    let mut args = std::env::args().skip(1);
    let Some(path) = args.next() else {
        eprintln!("hash_file FILE [THREADS [PIECE]]");
        std::process::exit(2);
    };
    let mut number = || args.next().and_then(|n| n.parse::<usize>().ok());
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let (threads, piece) = (number().unwrap_or(cpus), number().unwrap_or(128 << 10));
    let file = File::open(path)?;
    let len = file.metadata()?.len();
    let next = AtomicU64::new(0);
    let start = Instant::now();
    let work = || -> std::io::Result<u32> {
        let (mut buffer, mut sums) = (vec![0; piece], 0);
        loop {
            let at = next.fetch_add(STRETCH, Ordering::Relaxed);
            if at >= len {
                return Ok(sums);
            }
            let mut hasher = crc32fast::Hasher::new();
            let end = at.saturating_add(STRETCH).min(len);
            let mut at = at;
            while at < end {
                let n = usize::try_from(end - at).unwrap_or(piece).min(piece);
                file.read_exact_at(&mut buffer[..n], at)?;
                hasher.update(&buffer[..n]);
                at += n as u64;
            }
            sums ^= hasher.finalize();
        }
    };
    let sum = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        running.into_iter().try_fold(0, |sum, thread| {
            let one = thread
                .join()
                .unwrap_or_else(|_| Err(std::io::Error::other("a thread died")))?;
            Ok::<u32, std::io::Error>(sum ^ one)
        })
    })?;
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{sum:#010x}: {len} bytes, {threads} threads, {seconds:.3} s, {:.2} GB/s",
        len as f64 / seconds / 1e9
    );
    Ok(())
}
