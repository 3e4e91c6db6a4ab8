// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0
//! Obstacles that are gone a moment later, because the program does it: crctl tries again for a while.
//!
//! The process runs on between two attempts. An attempt that finds anything else in the way is the last.

use crate::report::Obstacle;
use std::time::{Duration, Instant};

/// Word of what ends by itself, and how its object ends: a number is in front of it where it is known.
const PASSING: [(&[u8], &[u8]); 1] = [(b"uring", b"io_uring requests in flight")];
/// How long all attempts may take.
const TOTAL: Duration = Duration::from_secs(3);
/// Between two attempts; short ones first, and of different length so that they do not beat with the program.
const PAUSES: [u64; 5] = [7, 13, 31, 53, 97];

/// The attempts of one command.
pub struct Patience {
    begin: Instant,
    attempts: usize,
}

impl Patience {
    /// Begins now.
    pub fn new() -> Self {
        Self {
            begin: Instant::now(),
            attempts: 0,
        }
    }

    /// Is it worth another attempt? If so, returns after a pause.
    pub fn again(&mut self, obstacles: &[Obstacle]) -> bool {
        if !pass(obstacles) || self.begin.elapsed() >= TOTAL {
            return false;
        }
        let pause = PAUSES.get(self.attempts).or(PAUSES.last());
        self.attempts = self.attempts.saturating_add(1);
        std::thread::sleep(Duration::from_millis(pause.copied().unwrap_or(0)));
        true
    }
}

/// Is there something in the way, and will all of it pass?
fn pass(obstacles: &[Obstacle]) -> bool {
    let is = |o: &Obstacle, p: &(&[u8], &[u8])| o.word == p.0 && o.object.ends_with(p.1);
    let passes = |o: &Obstacle| PASSING.iter().any(|p| is(o, p));
    !obstacles.is_empty() && obstacles.iter().all(passes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn obstacle(word: &str, object: &str) -> Obstacle {
        Obstacle {
            word: word.into(),
            object: object.into(),
            ..Obstacle::default()
        }
    }

    #[test]
    fn only_what_ends_by_itself_is_waited_for() {
        let flight = obstacle("uring", "io_uring requests in flight");
        let ring = obstacle("uring", "io_uring");
        let three = obstacle("uring", "3 io_uring requests in flight");
        assert!(pass(&[flight.clone(), three]));
        assert!(!pass(&[]), "nothing is in the way");
        assert!(!pass(&[flight, ring]), "the other one stays");
        assert!(!pass(&[obstacle("files", "io_uring requests in flight")]));
    }

    #[test]
    fn patience_ends() {
        let mut patience = Patience {
            begin: Instant::now()
                .checked_sub(TOTAL)
                .expect("a machine that is up for longer"),
            attempts: 0,
        };
        let flight = [obstacle("uring", "io_uring requests in flight")];
        assert!(!patience.again(&flight));
        assert!(Patience::new().again(&flight));
    }
}
