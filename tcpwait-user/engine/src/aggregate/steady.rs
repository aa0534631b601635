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

/// Entries to TIME_WAIT, second by second.
#[derive(Clone, Debug, Default)]
pub struct Entries {
    seconds: VecDeque<(u64, u64)>,
}

impl Entries {
    /// So many entries.
    pub fn record(&mut self, time_ns: u64, n: u64) {
        let second = time_ns / NS;
        match self.seconds.back_mut() {
            // An inferred entry may be older than what came before it.
            Some((last, count)) if *last >= second => *count += n,
            _ => self.seconds.push_back((second, n)),
        }
        while self.seconds.front().is_some_and(|(first, _)| first + SECONDS < second) {
            self.seconds.pop_front();
        }
    }

    /// Holds the entries of the last minute (or since `begin_ns`) against the sockets there now.
    /// `missed_ns`: when events were lost last, if any were.
    pub fn steady(
        &self,
        (begin_ns, end_ns): (u64, u64),
        missed_ns: Option<u64>,
        mean_dwell_ns: Option<u64>,
        now: u64,
    ) -> Steady {
        if missed_ns.is_some_and(|missed_ns| missed_ns.saturating_add(LONG_ENOUGH_NS) > end_ns) {
            return Steady {
                rate_per_s: None,
                mean_dwell_ns,
                if_all_stay: None,
                expected: None,
                now,
                verdict: SteadyVerdict::Lost,
            };
        }
        let age_ns = end_ns.saturating_sub(begin_ns);
        let window_ns = LONG_ENOUGH_NS.min(age_ns);
        let from = end_ns.saturating_sub(window_ns) / NS;
        let entered: u64 = self.seconds.iter().filter(|(second, _)| *second >= from).map(|(_, count)| count).sum();
        let rate = (window_ns > 0).then(|| entered as f64 / (window_ns as f64 / NS as f64));
        let expected = rate.zip(mean_dwell_ns).map(|(rate, mean_ns)| rate * mean_ns as f64 / NS as f64);
        let verdict = match expected {
            // Before, those that left are those that left early.
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
        }
    }
}

/// Entry rate times mean dwell, and the sockets there now.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Steady {
    /// Entries a second, over the last 65 s, or since the start.
    pub rate_per_s: Option<f64>,
    /// Mean time spent in TIME_WAIT, of all that left since the start; `None` when none has.
    pub mean_dwell_ns: Option<u64>,
    /// Their product.
    pub expected: Option<u64>,
    /// How many there would be at that rate if each stayed 60 s.
    pub if_all_stay: Option<u64>,
    /// Sockets in TIME_WAIT.
    pub now: u64,
    /// Whether they fit.
    pub verdict: SteadyVerdict,
}

/// Whether the sockets there are as many as the law says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SteadyVerdict {
    /// Within 10 %, or ten sockets.
    Fits,
    /// There are more: the rate was higher a while ago.
    More,
    /// There are fewer: the rate has grown, or many leave early.
    Fewer,
    /// The trace is younger than 65 s, or nothing has left.
    TooEarly,
    /// Events were lost in the last 65 s: not all entries are known one by one.
    Lost,
}

#[cfg(test)]
mod tests {
    use super::{Entries, NS, SteadyVerdict};

    #[test]
    fn a_constant_rate_fits() {
        let mut entries = Entries::default();
        for tenth in 0..2000u64 {
            entries.record(1000 * NS + tenth * NS / 10, 1);
        }
        let steady = |now| entries.steady((1000 * NS, 1200 * NS), None, Some(61 * NS), now);
        assert_eq!(steady(610).expected, Some(610));
        assert_eq!((steady(610).verdict, steady(640).verdict), (SteadyVerdict::Fits, SteadyVerdict::Fits));
        assert_eq!((steady(900).verdict, steady(300).verdict), (SteadyVerdict::More, SteadyVerdict::Fewer));
        assert_eq!(entries.steady((1180 * NS, 1200 * NS), None, Some(61 * NS), 900).verdict, SteadyVerdict::TooEarly);
        let unknown = entries.steady((1000 * NS, 1200 * NS), None, None, 900);
        assert_eq!((unknown.expected, unknown.verdict), (None, SteadyVerdict::TooEarly));
    }
}
