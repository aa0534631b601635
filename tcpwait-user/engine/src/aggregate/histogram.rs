//! How long TIME_WAIT really takes: counts between fixed bounds, fine around 60 s where the timer wheel's slack shows, and how
//! many natural ends lie outside of what the kernel's timer allows.

use serde::Serialize;

use crate::tcp::TIMEWAIT_LEN_NS;

/// Bounds in milliseconds. From 60 s on in steps of half a second, past the slowest wheel (65.12 s at HZ=100).
pub(super) const BOUNDS_MS: [u64; 25] = [
    1, 10, 100, 1_000, 5_000, 10_000, 30_000, 55_000, 59_000, 60_000, 60_500, 61_000, 61_500, 62_000, 62_500, 63_000,
    63_500, 64_000, 64_500, 65_000, 65_500, 66_000, 70_000, 90_000, 120_000,
];

/// From here on a time has to do with the timer.
const LONG_MS: u64 = 55_000;

const NS_PER_MS: u64 = 1_000_000;

/// How far beyond the band is still normal: the softirq that runs the timers may be late, and an inferred time is right to a
/// jiffy or two.
const TOLERANCE_NS: u64 = 250 * NS_PER_MS;

/// The widest slack of a wheel, for as long as HZ is not known (HZ=100).
const WIDEST_SLACK_NS: u64 = 5_120 * NS_PER_MS;

/// Times spent in TIME_WAIT.
#[derive(Clone, Debug, Default)]
pub struct TimeWaitHistogram {
    counts: [u64; BOUNDS_MS.len() + 1],
    early: u64,
    late: u64,
}

impl TimeWaitHistogram {
    /// Takes in a time, of so many. `natural`: the timer ran out, and no segment had restarted it. `slack_ns`: the wheel's, where known.
    pub fn record(&mut self, (ns, n): (u64, u64), natural: bool, slack_ns: Option<u64>) {
        let index = BOUNDS_MS.partition_point(|bound| bound * NS_PER_MS <= ns);
        if let Some(count) = self.counts.get_mut(index) {
            *count += n;
        }
        if natural {
            self.early += n * u64::from(ns + TOLERANCE_NS < TIMEWAIT_LEN_NS);
            self.late += n * u64::from(ns > TIMEWAIT_LEN_NS + slack_ns.unwrap_or(WIDEST_SLACK_NS) + TOLERANCE_NS);
        }
    }

    /// Adds another.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(other.counts) {
            *mine += theirs;
        }
        self.early += other.early;
        self.late += other.late;
    }

    /// The buckets that hold something or lie within the expected band.
    pub fn summary(&self, slack_ns: Option<u64>) -> HistogramSummary {
        let from = std::iter::once(0).chain(BOUNDS_MS);
        let to = BOUNDS_MS.into_iter().map(Some).chain([None]);
        let normal_to_ns = slack_ns.map(|slack_ns| TIMEWAIT_LEN_NS + slack_ns);
        // Where all ended early, the band would only be in the way.
        let long = BOUNDS_MS.partition_point(|bound| *bound < LONG_MS);
        let any = self.counts.iter().skip(long + 1).any(|count| *count > 0);
        let buckets = from.zip(to).zip(self.counts).map(|((from_ms, to_ms), count)| {
            let from_ns = from_ms * NS_PER_MS;
            let normal = from_ns >= TIMEWAIT_LEN_NS && normal_to_ns.is_some_and(|normal_to_ns| from_ns < normal_to_ns);
            Bucket { from_ns, to_ns: to_ms.map(|ms| ms * NS_PER_MS), count, normal }
        });
        HistogramSummary {
            buckets: buckets.filter(|bucket| bucket.count > 0 || (any && bucket.normal)).collect(),
            normal_from_ns: TIMEWAIT_LEN_NS,
            normal_to_ns,
            early: self.early,
            late: self.late,
        }
    }
}

/// What is said of the times.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HistogramSummary {
    /// In ascending order, empty ones left out unless they lie within the expected band.
    pub buckets: Vec<Bucket>,
    /// A natural end comes no earlier.
    pub normal_from_ns: u64,
    /// And no later; `None` before HZ is known.
    pub normal_to_ns: Option<u64>,
    /// Timers that ran out more than 0.25 s before that, without having been restarted.
    pub early: u64,
    /// Or more than 0.25 s after that.
    pub late: u64,
}

/// A bucket: `from_ns` up to, not including, `to_ns`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Bucket {
    /// Its lower bound.
    pub from_ns: u64,
    /// Its upper bound; `None` for the last.
    pub to_ns: Option<u64>,
    /// Times in it.
    pub count: u64,
    /// Whether a natural end may begin to lie in it.
    pub normal: bool,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{BOUNDS_MS, TimeWaitHistogram};

    const MS: u64 = 1_000_000;

    proptest! {
        #[test]
        fn every_time_is_in_the_bucket_that_says_so(times in prop::collection::vec(0..130_000u64, 0..100)) {
            let (mut histogram, mut half) = (TimeWaitHistogram::default(), TimeWaitHistogram::default());
            for (index, ms) in times.iter().enumerate() {
                if index % 2 == 0 { &mut histogram } else { &mut half }.record((ms * MS, 1), false, None);
            }
            histogram.add(&half);
            let summary = histogram.summary(Some(2048 * MS));
            for bucket in &summary.buckets {
                let within = |ms: &&u64| **ms * MS >= bucket.from_ns && bucket.to_ns.is_none_or(|to_ns| **ms * MS < to_ns);
                prop_assert_eq!(bucket.count, times.iter().filter(within).count() as u64);
            }
            prop_assert_eq!(summary.buckets.iter().map(|bucket| bucket.count).sum::<u64>(), times.len() as u64);
        }
    }

    #[test]
    fn what_the_timer_does_not_allow_is_counted() {
        let mut histogram = TimeWaitHistogram::default();
        for (ms, natural) in
            [(60_010, true), (62_100, true), (61_900, true), (55_000, true), (70_000, true), (70_000, false)]
        {
            histogram.record((ms * MS, 1), natural, Some(2048 * MS));
        }
        let summary = histogram.summary(Some(2048 * MS));
        assert_eq!((summary.early, summary.late), (1, 1));
        assert_eq!(summary.normal_to_ns, Some(62_048 * MS));
        let normal = summary.buckets.iter().filter(|bucket| bucket.normal);
        assert_eq!(
            normal.map(|bucket| bucket.from_ns / MS).collect::<Vec<_>>(),
            [60_000, 60_500, 61_000, 61_500, 62_000]
        );
        assert!(BOUNDS_MS.is_sorted());
    }
}
