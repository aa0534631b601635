//! What is being measured now, and how long it will still take, on stderr.

use std::time::{Duration, Instant};

/// How far it is.
pub struct Progress {
    begin: Instant,
    planned: Duration,
    done: Duration,
    under_way: Duration,
}

impl Progress {
    /// With a guess at how long all of it takes.
    pub fn new(planned: Duration) -> Self {
        Self { begin: Instant::now(), planned, done: Duration::ZERO, under_way: Duration::ZERO }
    }

    /// The next step begins, which is expected to take so long.
    pub fn step(&mut self, what: &str, expected: Duration) {
        self.done += self.under_way;
        self.under_way = expected;
        eprintln!("{what}; about {} s left", self.left().as_secs());
    }

    /// What is planned still, in proportion to how long it took so far.
    fn left(&self) -> Duration {
        let left = self.planned.saturating_sub(self.done);
        match self.done.is_zero() {
            true => left,
            false => left.mul_f64(self.begin.elapsed().div_duration_f64(self.done)),
        }
    }
}
