//! Times counted between fixed bounds, as Prometheus wants them: what was counted once is never moved. Knows nothing of what the times are of.

/// Times, in nanoseconds, counted by the first bound that they do not exceed (`le` is inclusive).
#[derive(Clone, Debug)]
pub struct Buckets {
    bounds_ns: &'static [u64],
    counts: Vec<u64>,
    sum_ns: u128,
}

impl Buckets {
    /// None counted yet; `bounds_ns` ascend.
    pub fn new(bounds_ns: &'static [u64]) -> Self {
        Self { bounds_ns, counts: vec![0; bounds_ns.len() + 1], sum_ns: 0 }
    }

    /// A time.
    pub fn record(&mut self, ns: u64) {
        let index = self.bounds_ns.partition_point(|bound| *bound < ns);
        if let Some(count) = self.counts.get_mut(index) {
            *count += 1;
        }
        self.sum_ns += u128::from(ns);
    }

    /// Upper bound and count of each bucket, in ascending order; `None` is the last one's bound.
    pub fn each(&self) -> impl Iterator<Item = (Option<u64>, u64)> + '_ {
        self.bounds_ns.iter().copied().map(Some).chain([None]).zip(self.counts.iter().copied())
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
    use super::Buckets;

    #[test]
    fn a_time_on_a_bound_is_not_beyond_it() {
        let mut times = Buckets::new(&[10, 20]);
        [0, 10, 11, 20, 21].into_iter().for_each(|ns| times.record(ns));
        assert_eq!(times.each().collect::<Vec<_>>(), [(Some(10), 2), (Some(20), 2), (None, 1)]);
        assert_eq!((times.count(), times.sum_s()), (5, 62e-9));
    }
}
