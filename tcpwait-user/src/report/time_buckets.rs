//! How often a time was how long, in buckets of fixed bounds: enough of them that a picture shows each group of times as one.

/// Bounds of a decade, ten of them, in hundredths: each a quarter more than the one before (the preferred numbers R10 of ISO 3).
const DECADE: [u64; 10] = [100, 125, 160, 200, 250, 315, 400, 500, 630, 800];

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;

/// Up to here times in TIME_WAIT are shown by their logarithm: what is shorter was ended by something else than the timer.
pub const LONG_NS: u64 = 55 * SECOND;

/// From here on times in TIME_WAIT are in one bucket.
pub const LONGEST_NS: u64 = 70 * SECOND;

/// How wide a bucket is between the two.
const STEP_NS: u64 = 250 * MS;

/// Counts of times.
#[derive(Clone, Debug)]
pub struct TimeBuckets {
    bounds: Vec<u64>,
    counts: Vec<u64>,
}

/// A bucket: `from_ns` up to, not including, `to_ns`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeBucket {
    /// Its lower bound.
    pub from_ns: u64,
    /// Its upper bound; `None` for the last.
    pub to_ns: Option<u64>,
    /// Times in it.
    pub count: u64,
}

impl TimeBuckets {
    fn new(bounds: Vec<u64>) -> Self {
        let counts = vec![0; bounds.len() + 1];
        Self { bounds, counts }
    }

    /// Bounds that grow by a quarter, from a microsecond to a hundred seconds: a handshake is between the two.
    pub fn of_handshakes() -> Self {
        Self::new(decades(1_000).take_while(|ns| *ns <= 100 * SECOND).collect())
    }

    /// The same from a millisecond to [`LONG_NS`], then a quarter of a second each up to [`LONGEST_NS`].
    pub fn of_time_wait() -> Self {
        let short = decades(MS).take_while(|ns| *ns < LONG_NS);
        let steps = (LONGEST_NS - LONG_NS) / STEP_NS;
        Self::new(short.chain((0..=steps).map(|step| LONG_NS + step * STEP_NS)).collect())
    }

    /// Takes in a time, of so many.
    pub fn record(&mut self, ns: u64, n: u64) {
        let index = self.bounds.partition_point(|bound| *bound <= ns);
        if let Some(count) = self.counts.get_mut(index) {
            *count += n;
        }
    }

    /// Each of them, in ascending order.
    pub fn all(&self) -> impl Iterator<Item = TimeBucket> {
        let from = std::iter::once(0).chain(self.bounds.iter().copied());
        let to = self.bounds.iter().copied().map(Some).chain([None]);
        from.zip(to).zip(&self.counts).map(|((from_ns, to_ns), count)| TimeBucket { from_ns, to_ns, count: *count })
    }

    /// How many times there were.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// Bounds from this time on, without end.
fn decades(from_ns: u64) -> impl Iterator<Item = u64> {
    let powers = std::iter::successors(Some(from_ns), |ns| ns.checked_mul(10));
    powers.flat_map(|power| DECADE.into_iter().map(move |part| power.saturating_mul(part) / 100))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_in_the_bucket_that_says_so() {
        for mut buckets in [TimeBuckets::of_handshakes(), TimeBuckets::of_time_wait()] {
            assert!(buckets.bounds.is_sorted_by(|a, b| a < b), "{buckets:?}");
            let times = [0, 999, 1_000, MS, 54_999 * MS, LONG_NS, 60_100 * MS, LONGEST_NS, u64::MAX];
            times.iter().for_each(|ns| buckets.record(*ns, 2));
            for bucket in buckets.all() {
                let within = |ns: &&u64| **ns >= bucket.from_ns && bucket.to_ns.is_none_or(|to_ns| **ns < to_ns);
                assert_eq!(bucket.count, 2 * times.iter().filter(within).count() as u64, "{bucket:?}");
            }
            assert_eq!(buckets.total(), 2 * times.len() as u64);
        }
    }

    #[test]
    fn the_end_of_time_wait_is_fine() {
        let around = TimeBuckets::of_time_wait();
        let fine = around.all().filter(|bucket| bucket.from_ns >= LONG_NS && bucket.to_ns.is_some());
        assert_eq!(fine.count(), 60);
    }
}
