//! Times counted between fixed bounds, and between exponential ones, as Prometheus wants them: what was counted once is never moved. Knows nothing of what
//! the times are of.

use std::sync::LazyLock;

/// The schema of exponential buckets: the upper bound of bucket number i is 2^(i/2^schema) seconds, here 9 % more than that of the one before (Prometheus'
/// native histograms).
pub const SCHEMA: i32 = 3;

/// The number of the lowest bucket, in which a nanosecond is, and how many there are: up to 68 years.
const LOWEST: i32 = -30 << SCHEMA;
const MANY: usize = (31 + 30) << SCHEMA;

/// Upper bounds in nanoseconds. A bound is no whole number of them: up to there, a time is not beyond it.
static EXPONENTIAL_NS: LazyLock<Vec<u64>> = LazyLock::new(|| {
    let numbers = LOWEST..LOWEST + MANY as i32;
    numbers.map(|number| (f64::from(number) / f64::from(1 << SCHEMA)).exp2()).map(|s| (s * 1e9) as u64).collect()
});

/// Times, in nanoseconds, counted by the first bound that they do not exceed (`le` is inclusive).
#[derive(Clone, Debug)]
pub struct Buckets {
    bounds_ns: &'static [u64],
    counts: Vec<u64>,
    /// By exponential bounds; empty as long as there is no time.
    exponential: Vec<u64>,
    /// Times of 0 ns.
    zero: u64,
    sum_ns: u128,
}

impl Buckets {
    /// None counted yet; `bounds_ns` ascend.
    pub fn new(bounds_ns: &'static [u64]) -> Self {
        Self { bounds_ns, counts: vec![0; bounds_ns.len() + 1], exponential: Vec::new(), zero: 0, sum_ns: 0 }
    }

    /// A time, of so many.
    pub fn record(&mut self, ns: u64, n: u64) {
        let index = self.bounds_ns.partition_point(|bound| *bound < ns);
        if let Some(count) = self.counts.get_mut(index) {
            *count += n;
        }
        self.sum_ns += u128::from(ns) * u128::from(n);
        if ns == 0 {
            self.zero += n;
            return;
        }
        if self.exponential.is_empty() {
            self.exponential = vec![0; MANY];
        }
        let index = EXPONENTIAL_NS.partition_point(|bound| *bound < ns).min(MANY - 1);
        if let Some(count) = self.exponential.get_mut(index) {
            *count += n;
        }
    }

    /// Upper bound and count of each bucket, in ascending order; `None` is the last one's bound.
    pub fn each(&self) -> impl Iterator<Item = (Option<u64>, u64)> + '_ {
        self.bounds_ns.iter().copied().map(Some).chain([None]).zip(self.counts.iter().copied())
    }

    /// Number and count of each exponential bucket that has any, in ascending order.
    pub fn exponential(&self) -> impl Iterator<Item = (i32, u64)> + '_ {
        (LOWEST..).zip(&self.exponential).filter(|(_, count)| **count > 0).map(|(number, count)| (number, *count))
    }

    /// Times of 0 ns, which no exponential bucket has.
    pub fn zero(&self) -> u64 {
        self.zero
    }

    /// How many times.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Their sum in seconds.
    pub fn sum_s(&self) -> f64 {
        self.sum_ns as f64 / 1e9
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]
    use super::{Buckets, SCHEMA};

    #[test]
    fn exponential_buckets_are_those_of_prometheus() {
        let mut times = Buckets::new(&[]);
        // 1 s is the bound of bucket 0; a nanosecond more is in the next one.
        for ns in [0, 1, 1_000_000_000, 1_000_000_001, 60_000_000_000, u64::MAX] {
            times.record(ns, 1);
        }
        let found: Vec<(i32, u64)> = times.exponential().collect();
        assert_eq!(times.zero(), 1);
        assert_eq!(found.len(), 5, "{found:?}");
        assert_eq!((found[1], found[2]), ((0, 1), (1, 1)));
        for (at, s) in [(0, 1e-9), (3, 60.0)] {
            let upper = |number: i32| (f64::from(number) / f64::from(1 << SCHEMA)).exp2();
            let number = found[at].0;
            assert!(upper(number - 1) < s && s <= upper(number), "{s} s in bucket {number}");
        }
    }

    #[test]
    fn a_time_on_a_bound_is_not_beyond_it() {
        let mut times = Buckets::new(&[10, 20]);
        [0, 10, 11, 20, 21].into_iter().for_each(|ns| times.record(ns, 1));
        assert_eq!(times.each().collect::<Vec<_>>(), [(Some(10), 2), (Some(20), 2), (None, 1)]);
        assert_eq!((times.count(), times.sum_s()), (5, 62e-9));
    }
}
