//! How fast ports towards one destination are taken and given back: rates over the last ten seconds, or longer where little happens,
//! or over the time since its traffic began. Knows nothing of what a port is.

use std::collections::VecDeque;

const NS: u64 = 1_000_000_000;

/// Rates are measured over the first of these times that has enough steps in it, or over the last.
const WINDOWS_NS: [u64; 3] = [10 * NS, 20 * NS, WINDOW_NS];

/// The longest.
const WINDOW_NS: u64 = 30 * NS;

/// So many steps tell a rate to a tenth. Rates change: connect() takes many times as long once half of the range is in use.
const ENOUGH: u64 = 100;

/// And over so many at least, unless the trace itself is younger: ten connections at once are no rate.
const LEAST_NS: u64 = 5 * NS;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// connect() got a port.
    Taken,
    /// A connection came to TIME_WAIT, and its port stays for a minute.
    Waits,
    /// A connection ended without TIME_WAIT, and its port is free.
    Ended,
    /// connect() found no free port.
    Failed,
}

/// The steps of one second.
#[derive(Clone, Copy, Debug)]
struct Second {
    number: u64,
    /// When its first step was.
    first_ns: u64,
    counts: [u32; 4],
}

/// The steps of the last half minute.
#[derive(Clone, Debug, Default)]
pub struct Pace {
    seconds: VecDeque<Second>,
}

/// Rates, each a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    /// Ports taken.
    pub taken_per_s: f64,
    /// Connections that came to TIME_WAIT.
    pub waits_per_s: f64,
    /// Connections that ended without it.
    pub ended_per_s: f64,
    /// connect() that found no free port.
    pub failed_per_s: f64,
    /// By how much connections outside TIME_WAIT become more; 0 where that may be chance (twice the standard deviation of
    /// as many independent steps).
    pub growth_per_s: f64,
    /// Nanoseconds they were measured over.
    pub window_ns: u64,
    /// Whether events were lost meanwhile: then all of these are at least, and whether there was growth is not known.
    pub at_least: bool,
}

impl Rates {
    /// The same, now, where events were lost at that time at the latest.
    pub fn with_loss(mut self, missed_ns: Option<u64>, now_ns: u64) -> Self {
        self.at_least = missed_ns.is_some_and(|missed_ns| now_ns.saturating_sub(missed_ns) <= self.window_ns);
        if self.at_least {
            self.growth_per_s = 0.0;
        }
        self
    }
}

impl Pace {
    /// Counts a step.
    pub fn count(&mut self, time_ns: u64, step: Step) {
        let number = time_ns / NS;
        match self.seconds.back_mut() {
            // A step that waited for its port, or was inferred, is older than what came before it.
            Some(last) if last.number >= number => last.add(step),
            _ => {
                let mut second = Second { number, first_ns: time_ns, counts: [0; 4] };
                second.add(step);
                self.seconds.push_back(second);
            }
        }
        self.forget(time_ns);
    }

    /// Whether nothing happened of late.
    pub fn is_idle(&mut self, now_ns: u64) -> bool {
        self.forget(now_ns);
        self.seconds.is_empty()
    }

    fn forget(&mut self, now_ns: u64) {
        while self.seconds.front().is_some_and(|second| second.first_ns + WINDOW_NS + NS < now_ns) {
            self.seconds.pop_front();
        }
    }

    /// The rates now, of a trace that began at `begin_ns`; `None` for one without length.
    pub fn rates(&self, begin_ns: u64, now_ns: u64) -> Option<Rates> {
        let age_ns = now_ns.checked_sub(begin_ns).filter(|ns| *ns > 0)?;
        // Whole seconds, but for the one that is not over.
        let from = |window_ns: u64| now_ns.saturating_sub(window_ns) / NS;
        let within = |window_ns: u64| self.seconds.iter().filter(move |second| second.number >= from(window_ns));
        let tells = |window_ns: &u64| {
            let steps =
                within(*window_ns).map(|second| u64::from(second.of(Step::Taken)) + u64::from(second.of(Step::Failed)));
            steps.sum::<u64>() >= ENOUGH
        };
        let chosen_ns = WINDOWS_NS.into_iter().find(tells).unwrap_or(WINDOW_NS);
        let window_ns = (now_ns - from(chosen_ns) * NS).min(age_ns);
        let recent = || within(chosen_ns);
        let count = |step: Step| recent().map(|second| u64::from(second.of(step))).sum::<u64>();
        let (taken, waits, ended) = (count(Step::Taken), count(Step::Waits), count(Step::Ended));
        // Of traffic that began meanwhile, the time before tells nothing, and n steps span n - 1 gaps.
        let begun_ns = recent().next().map_or(window_ns, |second| now_ns.saturating_sub(second.first_ns));
        let (window_ns, share) = if begun_ns + NS < window_ns && taken > 1 {
            let shorter_ns = begun_ns.max(LEAST_NS).min(window_ns);
            (shorter_ns, if shorter_ns == begun_ns { (taken - 1) as f64 / taken as f64 } else { 1.0 })
        } else {
            (window_ns, 1.0)
        };
        let per_s = |count: u64| count as f64 * share / (window_ns as f64 / NS as f64);
        let (more, steps) = (taken as f64 - (waits + ended) as f64, (taken + waits + ended) as f64);
        let chance = more * more <= 4.0 * steps;
        Some(Rates {
            taken_per_s: per_s(taken),
            waits_per_s: per_s(waits),
            ended_per_s: per_s(ended),
            failed_per_s: per_s(count(Step::Failed)),
            growth_per_s: if chance { 0.0 } else { per_s(taken) - per_s(waits) - per_s(ended) },
            window_ns,
            at_least: false,
        })
    }
}

impl Second {
    fn add(&mut self, step: Step) {
        if let Some(count) = self.counts.get_mut(step as usize) {
            *count = count.saturating_add(1);
        }
    }

    fn of(&self, step: Step) -> u32 {
        self.counts.get(step as usize).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::{NS, Pace, Step};

    fn every(gap_ms: u64, from_s: u64, to_s: u64, step: Step) -> Pace {
        let mut pace = Pace::default();
        let mut time_ns = from_s * NS;
        while time_ns < to_s * NS {
            pace.count(time_ns, step);
            time_ns += gap_ms * 1_000_000;
        }
        pace
    }

    #[test]
    fn a_constant_rate_is_found_whenever_it_began() {
        for from_s in [100, 180, 192] {
            let rates = every(100, from_s, 200, Step::Taken).rates(100 * NS, 200 * NS).unwrap();
            assert!((rates.taken_per_s - 10.0).abs() < 0.5, "{rates:?}");
            assert!((rates.growth_per_s - rates.taken_per_s).abs() < 0.01, "{rates:?}");
        }
    }

    #[test]
    fn a_burst_is_not_a_rate() {
        let mut pace = Pace::default();
        (0..100).for_each(|n| pace.count(199 * NS + n, Step::Taken));
        let rates = pace.rates(100 * NS, 200 * NS).unwrap();
        assert_eq!((rates.taken_per_s, rates.window_ns), (20.0, 5 * NS));
        // Of a trace that is younger nothing else is known.
        assert_eq!(pace.rates(198 * NS, 200 * NS).unwrap().taken_per_s, 50.0);
        assert_eq!(pace.rates(200 * NS, 200 * NS), None);
    }

    #[test]
    fn a_rate_that_changes_is_followed() {
        let mut pace = every(10, 100, 120, Step::Taken);
        (0..120).for_each(|tenth| pace.count(120 * NS + tenth * NS / 10, Step::Taken));
        let rates = pace.rates(90 * NS, 132 * NS).unwrap();
        assert!((rates.taken_per_s - 10.0).abs() < 1.0, "{rates:?}");
        // Where little happens, over longer.
        let rates = every(1000, 100, 200, Step::Taken).rates(100 * NS, 200 * NS).unwrap();
        assert_eq!((rates.window_ns, rates.taken_per_s), (30 * NS, 1.0));
    }

    #[test]
    fn what_comes_and_goes_does_not_grow() {
        let mut pace = Pace::default();
        for tenth in 1000..2000 {
            pace.count(tenth * NS / 10, Step::Taken);
            pace.count(tenth * NS / 10 + 5, Step::Waits);
        }
        let rates = pace.rates(100 * NS, 200 * NS).unwrap();
        assert_eq!(rates.growth_per_s, 0.0, "{rates:?}");
    }

    #[test]
    fn what_is_long_past_does_not_count() {
        let mut pace = every(100, 100, 110, Step::Taken);
        assert_eq!(pace.rates(100 * NS, 200 * NS).unwrap().taken_per_s, 0.0);
        assert!(pace.is_idle(200 * NS) && pace.seconds.is_empty());
    }
}
