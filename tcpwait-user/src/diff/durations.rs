//! How long things took: quantiles, and the intervals in which they lie.
//!
//! The interval of a quantile is found through that of the share which is not longer (after Woodruff): how far that share may be off is judged by blocks of
//! time as everything else is, since what happens in one second is often of one cause; the times at both ends of it are the ends of the interval.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    blocks::{MOST, SECOND_NS, Window, blocks},
    interval::MeanOfBlocks,
};
use crate::report::equal_parts::{EqualParts, Stretch};

/// Times are counted in parts of so many of each power of two: to 1.6 %.
const OF_EACH_POWER: u32 = 6;

/// Times by how long they are.
#[derive(Clone, Debug, Default)]
struct Sketch(BTreeMap<u16, u32>);

impl Stretch for Sketch {
    fn append(&mut self, later: Self) {
        self.add(&later);
    }
}

impl Sketch {
    fn add(&mut self, other: &Self) {
        for (bucket, count) in &other.0 {
            let mine = self.0.entry(*bucket).or_default();
            *mine = mine.saturating_add(*count);
        }
    }

    fn count(&self) -> u64 {
        self.0.values().map(|count| u64::from(*count)).sum()
    }

    /// How many are not longer than what this bucket has.
    fn up_to(&self, bucket: u16) -> u64 {
        self.0.range(..=bucket).map(|(_, count)| u64::from(*count)).sum()
    }

    /// The bucket that this share of all does not exceed.
    fn at(&self, share: f64) -> Option<u16> {
        let rank = (share * self.count() as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        self.0.iter().find_map(|(bucket, count)| {
            seen += u64::from(*count);
            (seen >= rank).then_some(*bucket)
        })
    }

    /// The same where `still` have not ended; `None`: it lies among those.
    fn at_with(&self, still: &Self, share: f64) -> Option<u16> {
        /// What adding up may be off.
        const ROUNDING: f64 = 1e-9;
        let mut there = self.count() + still.count();
        let mut lasting = 1.0;
        let buckets: BTreeSet<u16> = self.0.keys().chain(still.0.keys()).copied().collect();
        buckets.into_iter().find(|bucket| {
            let of = |sketch: &Self| sketch.0.get(bucket).copied().map_or(0, u64::from);
            lasting *= 1.0 - of(self) as f64 / there.max(1) as f64;
            there -= of(self) + of(still);
            of(self) > 0 && 1.0 - lasting >= share - ROUNDING
        })
    }
}

/// A quantile, and from when to when it lies with [`CONFIDENCE`](super::interval::CONFIDENCE) percent; in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantile {
    /// The time itself.
    pub ns: u64,
    /// From here; `None`: too little is known to say.
    pub low_ns: Option<u64>,
    /// To here; likewise.
    pub high_ns: Option<u64>,
    /// It is longer: it falls among those that are still there, which have been for so long at least.
    pub is_at_least: bool,
}

/// Times, part by part.
#[derive(Debug)]
pub struct Durations {
    window: Window,
    parts: EqualParts<Sketch>,
    inferred: u64,
    /// What is still there at the end, and for how long it has been.
    still: Sketch,
}

impl Durations {
    /// None so far.
    pub fn new(window: Window) -> Self {
        Self { window, parts: EqualParts::new(window.begin_ns, SECOND_NS, MOST), inferred: 0, still: Sketch::default() }
    }

    /// One more, known at this time; `inferred`: to a jiffy only.
    pub fn add(&mut self, time_ns: u64, ns: u64, inferred: bool) {
        if self.window.has(time_ns) {
            self.parts.at(time_ns, |part| {
                let count = part.0.entry(bucket_of(ns)).or_default();
                *count = count.saturating_add(1);
            });
            self.inferred += u64::from(inferred);
        } else if time_ns >= self.window.end_ns {
            self.still(time_ns.saturating_sub(ns), time_ns);
        }
    }

    /// One that began at this time, and has not ended by `now_ns`.
    pub fn still(&mut self, began_ns: u64, now_ns: u64) {
        let end_ns = now_ns.min(self.window.end_ns);
        if began_ns < end_ns {
            let count = self.still.0.entry(bucket_of(end_ns - began_ns)).or_default();
            *count = count.saturating_add(1);
        }
    }

    /// No more come.
    pub fn finish(&mut self, end_ns: u64) {
        self.window.end_ns = self.window.end_ns.min(end_ns).max(self.window.begin_ns);
        self.parts.at(self.window.end_ns.saturating_sub(1), |_| ());
    }

    /// Adds others of the same time.
    pub fn append(&mut self, other: &Self) {
        for (index, part) in other.parts.parts().iter().enumerate() {
            self.parts.at(other.parts.begin_ns() + index as u64 * other.parts.width_ns(), |mine| mine.add(part));
        }
        self.inferred += other.inferred;
        self.still.add(&other.still);
    }

    /// How many are still there at the end.
    pub fn still_there(&self) -> u64 {
        self.still.count()
    }

    /// How many are known.
    pub fn count(&self) -> u64 {
        self.parts.parts().iter().map(Sketch::count).sum()
    }

    /// Whether any is known to a jiffy only.
    pub fn is_inferred(&self) -> bool {
        self.inferred > 0
    }

    /// What this share of them does not exceed; `None` where there are none. Those that are still there count for as long as they have been there, and from
    /// then on say nothing (after Kaplan and Meier): else a state that nobody leaves would seem short, for the few that did leave it.
    pub fn quantile(&self, share: f64) -> Option<Quantile> {
        let all = self.all();
        let (share, at) = match self.still.count() {
            0 => (share, all.at(share)?),
            _ => match all.at_with(&self.still, share) {
                Some(at) => (all.up_to(at) as f64 / all.count().max(1) as f64, at),
                None => {
                    let mut both = all;
                    both.add(&self.still);
                    let ns = length_of(both.at(share)?);
                    return Some(Quantile { ns, low_ns: None, high_ns: None, is_at_least: true });
                }
            },
        };
        let (low, high) = match self.margin(share, at) {
            Some(margin) => (
                (share - margin > 0.0).then(|| all.at(share - margin)).flatten(),
                (share + margin < 1.0).then(|| all.at(share + margin)).flatten(),
            ),
            None => (None, None),
        };
        Some(Quantile {
            ns: length_of(at),
            low_ns: low.map(length_of),
            high_ns: high.map(length_of),
            is_at_least: false,
        })
    }

    /// How far the share of those that are not longer than this bucket may be off.
    fn margin(&self, share: f64, bucket: u16) -> Option<f64> {
        let sketches = blocks(self.parts.parts(), self.parts.width_ns(), self.window);
        let sum = |of: &dyn Fn(&Sketch) -> u64| -> Vec<f64> {
            sketches.iter().map(|block| block.iter().map(of).sum::<u64>() as f64).collect()
        };
        let (counts, below) = (sum(&Sketch::count), sum(&|sketch| sketch.up_to(bucket)));
        let all: f64 = counts.iter().sum();
        // As many independent times vary by so much at least.
        let floor = (1.0 - share) / (share * all).max(1.0);
        let mean = MeanOfBlocks::new(&below, &counts, floor)?;
        Some(mean.margin() * mean.mean)
    }

    /// How they are spread: each length with how many took about so long, in nanoseconds, the shortest first.
    pub fn spread(&self) -> Vec<(u64, u64)> {
        self.all().0.into_iter().map(|(bucket, count)| (length_of(bucket), u64::from(count))).collect()
    }

    fn all(&self) -> Sketch {
        let mut all = Sketch::default();
        self.parts.parts().iter().for_each(|part| all.add(part));
        all
    }
}

fn bucket_of(ns: u64) -> u16 {
    let power = 63u32.saturating_sub(ns.leading_zeros());
    let shift = power.saturating_sub(OF_EACH_POWER);
    let within = u16::try_from(ns >> shift).unwrap_or(u16::MAX);
    let before = u16::try_from(shift << OF_EACH_POWER).unwrap_or(u16::MAX);
    before.saturating_add(within)
}

/// The middle of a bucket.
fn length_of(bucket: u16) -> u64 {
    let each = 1u64 << OF_EACH_POWER;
    let bucket = u64::from(bucket);
    let shift = (bucket >> OF_EACH_POWER).saturating_sub(1);
    let first = (bucket - (shift << OF_EACH_POWER)) << shift;
    if bucket < 2 * each { bucket } else { first + (1 << shift) / 2 }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_bucket_is_near_what_is_in_it(bits in 0..63u32, ns: u64) {
            let ns = ns & ((1 << bits) - 1);
            let found = length_of(bucket_of(ns));
            prop_assert!(found.abs_diff(ns) * 100 <= ns * 2, "{found} for {ns}");
        }

        #[test]
        fn buckets_are_in_order(one: u64, other: u64) {
            prop_assert!((bucket_of(one) <= bucket_of(other)) == (one <= other) || bucket_of(one) == bucket_of(other));
        }
    }

    #[test]
    fn the_interval_of_a_quantile_holds_it() {
        let window = Window { begin_ns: 0, end_ns: 60 * SECOND_NS };
        let mut durations = Durations::new(window);
        for n in 0..6000u64 {
            durations.add(n * 10_000_000, 1_000_000 + (n * 7919) % 6000 * 1000, false);
        }
        durations.finish(u64::MAX);
        let p50 = durations.quantile(0.5).unwrap();
        assert!((3_900_000..4_100_000).contains(&p50.ns), "{p50:?}");
        assert!(p50.low_ns.unwrap() <= p50.ns && p50.high_ns.unwrap() >= p50.ns && p50.low_ns.unwrap() > 3_500_000);
        assert_eq!(durations.count(), 6000);
    }

    #[test]
    fn what_is_still_there_is_not_short() {
        let mut durations = Durations::new(Window { begin_ns: 0, end_ns: 72 * SECOND_NS });
        // A hundred were closed at once, three hundred never.
        (0..100u64).for_each(|n| durations.add(n * SECOND_NS / 2, 3_500_000, false));
        assert!(durations.quantile(0.9).unwrap().ns < 4_000_000);
        (0..300u64).for_each(|n| durations.still(n * SECOND_NS / 5, 72 * SECOND_NS));
        durations.finish(u64::MAX);
        let p90 = durations.quantile(0.9).unwrap();
        assert!(p90.is_at_least && p90.ns > 60 * SECOND_NS, "{p90:?}");
        // One of five was: that one is known.
        let p20 = durations.quantile(0.2).unwrap();
        assert!(!p20.is_at_least && p20.ns < 4_000_000, "{p20:?}");
    }

    #[test]
    fn what_has_just_begun_says_nothing() {
        let mut durations = Durations::new(Window { begin_ns: 0, end_ns: 100 * SECOND_NS });
        for n in 0..1000u64 {
            let (began_ns, ns) = (n * SECOND_NS / 10, 10 * SECOND_NS);
            // Those that end after the time are still there at its end.
            durations.add(began_ns + ns, ns, false);
        }
        durations.finish(u64::MAX);
        assert_eq!((durations.count(), durations.still_there()), (900, 100));
        let p50 = durations.quantile(0.5).unwrap();
        assert!(!p50.is_at_least && p50.ns.abs_diff(10 * SECOND_NS) < SECOND_NS / 5, "{p50:?}");
    }

    #[test]
    fn few_times_have_no_interval_of_their_extremes() {
        let mut durations = Durations::new(Window { begin_ns: 0, end_ns: 10 * SECOND_NS });
        for n in 0..20u64 {
            durations.add(n * SECOND_NS / 2, n * 1000, false);
        }
        durations.finish(u64::MAX);
        let p99 = durations.quantile(0.99).unwrap();
        assert_eq!(p99.high_ns, None, "{p99:?}");
    }
}
