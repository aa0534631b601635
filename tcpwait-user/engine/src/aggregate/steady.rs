//! Little's law: in a steady state there are as many sockets in TIME_WAIT as enter in the time that one stays. A count that does
//! not fit has a reason worth knowing.

use std::collections::VecDeque;

use serde::Serialize;

const NS: u64 = 1_000_000_000;

/// Seconds of entries that are remembered: longer than any natural TIME_WAIT.
const SECONDS: u64 = 70;

/// After so long the times of those that left are those of all.
const LONG_ENOUGH_NS: u64 = 65 * NS;

/// A deviation below this share is taken for noise.
const NOISE: f64 = 0.1;

/// And one below so many sockets.
const FEW: f64 = 10.0;

/// Entries to TIME_WAIT, second by second, and how long those took that have left.
#[derive(Clone, Debug, Default)]
pub struct Entries {
    seconds: VecDeque<Second>,
    /// Of seconds that are no longer there.
    before: Stays,
}

/// The entries of one second.
#[derive(Clone, Copy, Debug)]
struct Second {
    number: u64,
    entered: u64,
    stays: Stays,
}

/// Times spent in TIME_WAIT.
#[derive(Clone, Copy, Debug, Default)]
struct Stays {
    count: u64,
    sum_ns: u128,
}

impl Stays {
    fn add(&mut self, other: Self) {
        self.count += other.count;
        self.sum_ns += other.sum_ns;
    }
}

impl Entries {
    /// So many entries.
    pub fn record(&mut self, time_ns: u64, n: u64) {
        let number = time_ns / NS;
        match self.seconds.back_mut() {
            // An inferred entry may be older than what came before it.
            Some(last) if last.number >= number => last.entered += n,
            _ => self.seconds.push_back(Second { number, entered: n, stays: Stays::default() }),
        }
        while let Some(first) = self.seconds.front().copied().filter(|first| first.number + SECONDS < number) {
            self.before.add(first.stays);
            self.seconds.pop_front();
        }
    }

    /// So many left, after a time.
    pub fn left(&mut self, time_ns: u64, dwell_ns: u64, n: u64) {
        let stays = Stays { count: n, sum_ns: u128::from(dwell_ns) * u128::from(n) };
        let entered = time_ns.saturating_sub(dwell_ns) / NS;
        let place = self.seconds.partition_point(|second| second.number < entered);
        match self.seconds.get_mut(place) {
            Some(second) if place > 0 || second.number == entered => second.stays.add(stays),
            _ => self.before.add(stays),
        }
    }

    /// The mean time of those that entered so long ago that all of them have left. Of later ones those have left that left early.
    fn mean_stay_ns(&self, end_ns: u64) -> Option<u64> {
        let mut stays = self.before;
        for second in self.seconds.iter().take_while(|second| (second.number + 1) * NS + LONG_ENOUGH_NS <= end_ns) {
            stays.add(second.stays);
        }
        stays.sum_ns.checked_div(stays.count.into())?.try_into().ok()
    }

    /// Which of the two halves of a time had more entries.
    fn trend(&self, from: u64, to: u64) -> Trend {
        let middle = from.midpoint(to);
        let sum = |later: bool| -> u64 {
            let half = self.seconds.iter().filter(|second| second.number >= from && (second.number >= middle) == later);
            half.map(|second| second.entered).sum()
        };
        let (older, newer) = (sum(false) as f64, sum(true) as f64);
        if older > newer * (1.0 + NOISE) + FEW {
            Trend::Falls
        } else if newer > older * (1.0 + NOISE) + FEW {
            Trend::Rises
        } else {
            Trend::Even
        }
    }

    /// Holds the entries of the last minute (or since `begin_ns`) against the sockets there now.
    /// `missed_ns`: when events were lost last, if any were.
    pub fn steady(&self, (begin_ns, end_ns): (u64, u64), missed_ns: Option<u64>, now: u64) -> Steady {
        let mean_dwell_ns = self.mean_stay_ns(end_ns);
        if missed_ns.is_some_and(|missed_ns| missed_ns.saturating_add(LONG_ENOUGH_NS) > end_ns) {
            return Steady {
                rate_per_s: None,
                mean_dwell_ns,
                if_all_stay: None,
                expected: None,
                now,
                verdict: SteadyVerdict::Lost,
                trend: Trend::Even,
            };
        }
        let age_ns = end_ns.saturating_sub(begin_ns);
        let window_ns = LONG_ENOUGH_NS.min(age_ns);
        let from = end_ns.saturating_sub(window_ns) / NS;
        let entered: u64 =
            self.seconds.iter().filter(|second| second.number >= from).map(|second| second.entered).sum();
        let rate = (window_ns > 0).then(|| entered as f64 / (window_ns as f64 / NS as f64));
        let expected = rate.zip(mean_dwell_ns).map(|(rate, mean_ns)| rate * mean_ns as f64 / NS as f64);
        let verdict = match expected {
            Some(expected) if age_ns >= LONG_ENOUGH_NS => {
                let off = now as f64 - expected;
                match off.abs() <= FEW.max(NOISE * expected) {
                    true => SteadyVerdict::Fits,
                    false if off > 0.0 => SteadyVerdict::More,
                    false => SteadyVerdict::Fewer,
                }
            }
            _ => SteadyVerdict::TooEarly,
        };
        let if_all_stay = rate.map(|rate| (rate * crate::tcp::TIMEWAIT_LEN_NS as f64 / NS as f64).round() as u64);
        Steady {
            rate_per_s: rate,
            mean_dwell_ns,
            if_all_stay,
            expected: expected.map(|expected| expected.round() as u64),
            now,
            verdict,
            trend: self.trend(from, end_ns / NS),
        }
    }
}

/// Entry rate times mean dwell, and the sockets there now.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Steady {
    /// Entries a second, over the last 65 s, or since the start.
    pub rate_per_s: Option<f64>,
    /// Mean time spent in TIME_WAIT, of those that entered since the start and more than 65 s ago; `None` where none has left.
    pub mean_dwell_ns: Option<u64>,
    /// Their product.
    pub expected: Option<u64>,
    /// How many there would be at that rate if each stayed 60 s.
    pub if_all_stay: Option<u64>,
    /// Sockets in TIME_WAIT.
    pub now: u64,
    /// Whether they fit.
    pub verdict: SteadyVerdict,
    /// How the rate changes: what may explain that they do not.
    #[serde(skip)]
    pub trend: Trend,
}

/// How the entries of the last 65 s are spread over them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trend {
    /// The first half has more.
    Falls,
    /// The second half has more.
    Rises,
    /// Both have as many, within 10 % and ten.
    Even,
}

/// Whether the sockets there are as many as the law says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SteadyVerdict {
    /// Within 10 %, or ten sockets.
    Fits,
    /// There are more.
    More,
    /// There are fewer.
    Fewer,
    /// The trace is younger than 65 s, or nothing has left.
    TooEarly,
    /// Events were lost in the last 65 s: not all entries are known one by one.
    Lost,
}

#[cfg(test)]
mod tests {
    use super::{Entries, NS, SteadyVerdict, Trend};

    /// Ten a second from second 1000 on, each of which stays 61 s.
    fn constant(seconds: u64) -> Entries {
        let mut entries = Entries::default();
        for tenth in 0..seconds * 10 {
            let time_ns = 1000 * NS + tenth * NS / 10;
            entries.record(time_ns, 1);
            if tenth >= 610 {
                entries.left(time_ns, 61 * NS, 1);
            }
        }
        entries
    }

    #[test]
    fn a_constant_rate_fits() {
        let entries = constant(200);
        let steady = |now| entries.steady((1000 * NS, 1200 * NS), None, now);
        assert_eq!(steady(610).expected, Some(610));
        assert_eq!((steady(610).verdict, steady(640).verdict), (SteadyVerdict::Fits, SteadyVerdict::Fits));
        assert_eq!((steady(900).verdict, steady(300).verdict), (SteadyVerdict::More, SteadyVerdict::Fewer));
        assert_eq!(steady(900).trend, Trend::Even);
        assert_eq!(entries.steady((1180 * NS, 1200 * NS), None, 900).verdict, SteadyVerdict::TooEarly);
        let unknown = constant(60).steady((1000 * NS, 1066 * NS), None, 900);
        assert_eq!((unknown.expected, unknown.verdict), (None, SteadyVerdict::TooEarly));
    }

    /// Half of them are reused after a second: of those that have left soon after the start, nearly all are such.
    #[test]
    fn those_that_left_early_are_not_all() {
        let mut entries = Entries::default();
        for tenth in 0..750u64 {
            let time_ns = 1000 * NS + tenth * NS / 10;
            entries.record(time_ns, 2);
            if tenth >= 10 {
                entries.left(time_ns, NS, 1);
            }
            if tenth >= 600 {
                entries.left(time_ns, 60 * NS, 1);
            }
        }
        let steady = entries.steady((1000 * NS, 1075 * NS), None, 610);
        assert_eq!((steady.mean_dwell_ns, steady.verdict), (Some(30_500_000_000), SteadyVerdict::Fits), "{steady:?}");
    }

    #[test]
    fn a_rate_that_changes_is_named() {
        for (rates, trend) in [((30, 1), Trend::Falls), ((1, 30), Trend::Rises), ((10, 10), Trend::Even)] {
            let mut entries = Entries::default();
            for second in 1000..1065u64 {
                entries.record(second * NS, if second < 1032 { rates.0 } else { rates.1 });
            }
            assert_eq!(entries.steady((1000 * NS, 1065 * NS), None, 0).trend, trend);
        }
    }
}
