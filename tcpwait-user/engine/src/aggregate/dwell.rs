//! Times spent in a state: count, sum and extremes exact, quantiles within 1 %. Knows nothing of what the times are of.

use hdrhistogram::Histogram;
use serde::Serialize;

/// Decimal digits that a quantile is right to. hdrhistogram's buckets are then 2^-10 of the value wide at most; two digits
/// would be 2^-7, which is 0.8 % and half a second of TIME_WAIT.
const DIGITS: u8 = 3;

/// The same for the many groups: 2^-7 of the value, in a twentieth of the memory.
const COARSE_DIGITS: u8 = 2;

/// The times spent in a state, in nanoseconds.
#[derive(Clone, Debug, Default)]
pub struct Dwell {
    count: u64,
    inferred: u64,
    sum_ns: u128,
    min_ns: u64,
    max_ns: u64,
    coarse: bool,
    /// Made at the first time, since most states of most groups never see one.
    histogram: Option<Box<Histogram<u32>>>,
}

impl Dwell {
    /// One that takes less memory; its quantiles are still within 1 %.
    pub fn coarse() -> Self {
        Self { coarse: true, ..Self::default() }
    }

    /// Takes in a time. `inferred`: it is right to a jiffy only.
    pub fn record(&mut self, ns: u64, inferred: bool) {
        (self.min_ns, self.max_ns) = match self.count {
            0 => (ns, ns),
            _ => (self.min_ns.min(ns), self.max_ns.max(ns)),
        };
        self.count += 1;
        self.inferred += u64::from(inferred);
        self.sum_ns += u128::from(ns);
        if let Some(histogram) = self.histogram() {
            // It grows with its values, so only a time beyond 2^62 ns does not fit, and that is 146 years.
            let _ = histogram.record(ns);
        }
    }

    /// Adds the times of another.
    pub fn add(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        (self.min_ns, self.max_ns) = match self.count {
            0 => (other.min_ns, other.max_ns),
            _ => (self.min_ns.min(other.min_ns), self.max_ns.max(other.max_ns)),
        };
        self.count += other.count;
        self.inferred += other.inferred;
        self.sum_ns += other.sum_ns;
        if let (Some(mine), Some(theirs)) = (self.histogram(), &other.histogram) {
            let _ = mine.add(theirs.as_ref());
        }
    }

    /// What a report says of them.
    pub fn summary(&self) -> DwellSummary {
        let known = (self.count > 0).then_some(self);
        DwellSummary {
            count: self.count,
            inferred: self.inferred,
            sum_ns: u64::try_from(self.sum_ns).unwrap_or(u64::MAX),
            mean_ns: u64::try_from(self.sum_ns.checked_div(u128::from(self.count)).unwrap_or_default())
                .ok()
                .filter(|_| self.count > 0),
            min_ns: known.map(|dwell| dwell.min_ns),
            p50_ns: self.quantile(0.5),
            p90_ns: self.quantile(0.9),
            p99_ns: self.quantile(0.99),
            max_ns: known.map(|dwell| dwell.max_ns),
        }
    }

    /// The time that this share of all does not exceed (the smallest of those that are there, of rank `ceil(share * count)`),
    /// within 1 %.
    pub fn quantile(&self, share: f64) -> Option<u64> {
        let histogram = self.histogram.as_ref().filter(|_| self.count > 0)?;
        Some(histogram.value_at_quantile(share).clamp(self.min_ns, self.max_ns))
    }

    /// The same, and never above the truth.
    pub fn quantile_from_below(&self, share: f64) -> Option<u64> {
        let histogram = self.histogram.as_ref().filter(|_| self.count > 0)?;
        let lowest = histogram.lowest_equivalent(histogram.value_at_quantile(share));
        Some(lowest.clamp(self.min_ns, self.max_ns))
    }

    fn histogram(&mut self) -> Option<&mut Histogram<u32>> {
        if self.histogram.is_none() {
            let digits = if self.coarse { COARSE_DIGITS } else { DIGITS };
            self.histogram = Histogram::new(digits).ok().map(Box::new);
        }
        self.histogram.as_deref_mut()
    }
}

/// What is said of times spent in a state. Nanoseconds; `None` where there were no times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DwellSummary {
    /// How many times are known.
    pub count: u64,
    /// Of those, right to a jiffy only.
    pub inferred: u64,
    /// Their sum, exact.
    pub sum_ns: u64,
    /// Their mean.
    pub mean_ns: Option<u64>,
    /// The shortest, exact.
    pub min_ns: Option<u64>,
    /// The median, within 1 %.
    pub p50_ns: Option<u64>,
    /// 90 % are not longer; within 1 %.
    pub p90_ns: Option<u64>,
    /// 99 % are not longer; within 1 %.
    pub p99_ns: Option<u64>,
    /// The longest, exact.
    pub max_ns: Option<u64>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Dwell;

    /// Times as TCP has them: from nothing to days.
    fn times() -> impl Strategy<Value = Vec<u64>> {
        let magnitude = (0..50u32, any::<u64>()).prop_map(|(bits, ns)| ns & ((1 << bits) - 1));
        let around_a_minute = 60_000_000_000..62_100_000_000u64;
        prop::collection::vec(prop_oneof![2 => magnitude, 1 => around_a_minute], 0..300)
    }

    /// The value of this rank.
    fn naive(sorted: &[u64], share: f64) -> Option<u64> {
        let rank = (share * sorted.len() as f64).ceil().max(1.0) as usize;
        sorted.get(rank - 1).copied()
    }

    proptest! {
        #[test]
        fn quantiles_are_within_one_percent(first in times(), second in times(), coarse in any::<bool>()) {
            let new = || if coarse { Dwell::coarse() } else { Dwell::default() };
            let (mut dwell, mut other) = (new(), new());
            first.iter().for_each(|ns| dwell.record(*ns, false));
            second.iter().for_each(|ns| other.record(*ns, true));
            dwell.add(&other);
            let mut all = [first.clone(), second.clone()].concat();
            all.sort_unstable();
            let said = dwell.summary();
            prop_assert_eq!(said.count, all.len() as u64);
            prop_assert_eq!(said.inferred, second.len() as u64);
            prop_assert_eq!(said.sum_ns, all.iter().sum::<u64>());
            prop_assert_eq!((said.min_ns, said.max_ns), (all.first().copied(), all.last().copied()));
            prop_assert_eq!(said.mean_ns, all.iter().sum::<u64>().checked_div(all.len() as u64));
            for (share, found) in [(0.5, said.p50_ns), (0.9, said.p90_ns), (0.99, said.p99_ns)] {
                match (naive(&all, share), found) {
                    (Some(exact), Some(found)) => prop_assert!(found.abs_diff(exact) * 100 <= exact, "{found} for {exact}"),
                    (exact, found) => prop_assert_eq!(exact, found),
                }
            }
        }
    }
}
