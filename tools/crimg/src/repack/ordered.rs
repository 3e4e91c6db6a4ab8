// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Work on several threads with the results in order and a bounded number of them in memory.

use std::{
    sync::mpsc::{sync_channel, Receiver},
    thread::Scope,
};

/// Items that wait in front of and behind each worker.
const WAITING: usize = 1;

/// The results, in the order of the items. Dropped early, the workers end at their next item.
pub struct Ordered<R> {
    workers: Vec<Receiver<R>>,
    next: usize,
}

impl<R> Iterator for Ordered<R> {
    type Item = R;
    fn next(&mut self) -> Option<R> {
        let result = self.workers.get(self.next)?.recv().ok();
        self.next = self
            .next
            .saturating_add(1)
            .checked_rem(self.workers.len())
            .unwrap_or(0);
        result
    }
}

/// Applies what `worker` makes (one for each thread, so that it can keep buffers) to every item.
///
/// At most three items and results per thread exist at a time, however many there are and however slow
/// the taker is. Item n is done by worker n modulo `threads`: no lock, and the order needs no sorting.
pub fn ordered<'scope, T, R, I, W>(
    scope: &'scope Scope<'scope, '_>,
    threads: usize,
    items: I,
    worker: impl Fn() -> W,
) -> Ordered<R>
where
    T: Send + 'scope,
    R: Send + 'scope,
    I: IntoIterator<Item = T> + Send + 'scope,
    W: FnMut(T) -> R + Send + 'scope,
{
    let (mut inputs, mut workers) = (Vec::new(), Vec::new());
    for _ in 0..threads.max(1) {
        let (to, input) = sync_channel::<T>(WAITING);
        let (output, from) = sync_channel::<R>(WAITING);
        let mut work = worker();
        scope.spawn(move || {
            for item in input {
                if output.send(work(item)).is_err() {
                    break;
                }
            }
        });
        inputs.push(to);
        workers.push(from);
    }
    scope.spawn(move || {
        for (item, to) in items.into_iter().zip((0..inputs.len()).cycle()) {
            if inputs.get(to).is_none_or(|to| to.send(item).is_err()) {
                break;
            }
        }
    });
    Ordered { workers, next: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    #[test]
    fn results_come_in_the_order_of_the_items() {
        for threads in [0, 1, 2, 7] {
            for n in [0_usize, 1, 2, 50] {
                let got: Vec<usize> = std::thread::scope(|s| {
                    ordered(s, threads, 0..n, || {
                        |i: usize| {
                            std::thread::sleep(std::time::Duration::from_micros(
                                (i % 3) as u64 * 50,
                            ));
                            i * 2
                        }
                    })
                    .collect()
                });
                assert_eq!(got, (0..n).map(|i| i * 2).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn a_slow_taker_holds_the_workers_back_and_one_that_stops_ends_them() {
        let done = AtomicUsize::new(0);
        std::thread::scope(|s| {
            let mut results = ordered(s, 2, 0..10_000, || {
                |_| {
                    done.fetch_add(1, SeqCst);
                }
            });
            results.next();
            std::thread::sleep(std::time::Duration::from_millis(20));
            drop(results);
        });
        assert!(done.load(SeqCst) < 20);
    }
}
