// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Work in parallel, results in order, few of them at a time.
//!
//! A parallel iterator would either wait for the slowest of each batch or keep results without limit; here
//! the workers run a few jobs ahead of the consumer and no further, so that memory is bounded.

use crate::error::Failure;
use std::{
    collections::BTreeMap,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

struct State<T> {
    next: usize,
    consumed: usize,
    ready: BTreeMap<usize, T>,
    stop: bool,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Every change is a single step, so the state is sound even if a thread died with the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn wait<'g>(&self, guard: MutexGuard<'g, State<T>>) -> MutexGuard<'g, State<T>> {
        self.changed
            .wait(guard)
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the others when a worker dies, so that nobody waits for its result.
struct Bell<'s, T>(&'s Shared<T>);

impl<T> Drop for Bell<'_, T> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.lock().stop = true;
        }
        self.0.changed.notify_all();
    }
}

/// Runs `work` for `0..jobs` on `threads` threads and gives the results to `consume` in order, on the
/// calling thread, until that says `false`. At most `threads + 2` results exist at a time.
///
/// # Errors
/// Those of `consume`.
pub fn ordered<T: Send>(
    jobs: usize,
    threads: usize,
    work: impl Fn(usize) -> T + Sync,
    mut consume: impl FnMut(T) -> Result<bool, Failure>,
) -> Result<(), Failure> {
    if threads <= 1 || jobs <= 1 {
        for n in 0..jobs {
            if !consume(work(n))? {
                break;
            }
        }
        return Ok(());
    }
    let ahead = threads.saturating_add(2);
    let shared = Shared {
        state: Mutex::new(State {
            next: 0,
            consumed: 0,
            ready: BTreeMap::new(),
            stop: false,
        }),
        changed: Condvar::new(),
    };
    let worker = || {
        let _bell = Bell(&shared);
        loop {
            let mut state = shared.lock();
            while !state.stop
                && state.next < jobs
                && state.next >= state.consumed.saturating_add(ahead)
            {
                state = shared.wait(state);
            }
            let n = state.next;
            if state.stop || n >= jobs {
                return;
            }
            state.next = n.saturating_add(1);
            drop(state);
            let result = work(n);
            shared.lock().ready.insert(n, result);
            shared.changed.notify_all();
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(worker);
        }
        let mut all = || {
            for n in 0..jobs {
                let mut state = shared.lock();
                let result = loop {
                    if let Some(result) = state.ready.remove(&n) {
                        break result;
                    }
                    if state.stop {
                        // A worker died; leaving the scope passes its panic on.
                        return Ok(());
                    }
                    state = shared.wait(state);
                };
                state.consumed = n.saturating_add(1);
                drop(state);
                shared.changed.notify_all();
                if !consume(result)? {
                    break;
                }
            }
            Ok(())
        };
        let result = all();
        shared.lock().stop = true;
        shared.changed.notify_all();
        result
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_and_not_too_many_at_a_time() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        let (made, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let mut next = 0;
        ordered(
            500,
            4,
            |n| {
                made.fetch_add(1, Ordering::SeqCst);
                n
            },
            |n| {
                assert_eq!(n, next);
                next += 1;
                most.fetch_max(made.load(Ordering::SeqCst) - n, Ordering::SeqCst);
                Ok(true)
            },
        )
        .unwrap();
        assert_eq!(next, 500);
        assert!(most.into_inner() <= 8);
    }

    #[test]
    fn the_consumer_ends_it() {
        let mut seen = 0;
        ordered(
            1_000_000,
            3,
            |n| n,
            |n| {
                seen += 1;
                Ok(n < 10)
            },
        )
        .unwrap();
        assert_eq!(seen, 11);
        let failed = ordered(
            10,
            2,
            |n| n,
            |_| Err(Failure::Write(std::io::Error::other("x"))),
        );
        assert!(failed.is_err());
    }
}
