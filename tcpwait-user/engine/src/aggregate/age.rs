//! How old what is there now is: how long sockets have been in the state that they are in. Knows nothing of who they are.

use serde::Serialize;

use super::dwell::Dwell;

/// Ages of sockets that are in one state, as they are told one by one. As much memory as a histogram takes, however many they are.
#[derive(Clone, Debug, Default)]
pub struct Ages {
    ages: Dwell,
    at_least: u64,
}

/// What is said of ages. Nanoseconds; `None` where no age is known, not even at least.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AgeSummary {
    /// The greatest, exact. Where `at_least` is above 0, this and the others are at least.
    pub oldest_ns: Option<u64>,
    /// The median, within 1 %.
    pub p50_ns: Option<u64>,
    /// 90 % are not older; within 1 %.
    pub p90_ns: Option<u64>,
    /// Sockets whose age is known: they were seen to enter the state.
    pub known: u64,
    /// Sockets that have been in it at least as long as was counted, and maybe longer.
    pub at_least: u64,
}

impl Ages {
    /// A socket's age in nanoseconds; `exact`: it is known, else it is at least that.
    pub fn add(&mut self, ns: u64, exact: bool) {
        self.ages.record(ns, false);
        self.at_least += u64::from(!exact);
    }

    /// What they add up to.
    pub fn summary(self) -> AgeSummary {
        let ages = self.ages.summary();
        AgeSummary {
            oldest_ns: ages.max_ns,
            // What is at least so much may not be rounded up.
            p50_ns: self.ages.quantile_from_below(0.5),
            p90_ns: self.ages.quantile_from_below(0.9),
            known: ages.count - self.at_least,
            at_least: self.at_least,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{AgeSummary, Ages};

    #[test]
    fn quantiles_are_of_those_that_are_there() {
        assert_eq!(Ages::default().summary(), AgeSummary::default());
        let mut ages = Ages::default();
        for ns in [30, 10, 20, 40] {
            ages.add(ns, ns != 40);
        }
        let of = |oldest_ns, p50_ns, p90_ns, known, at_least| AgeSummary {
            oldest_ns: Some(oldest_ns),
            p50_ns: Some(p50_ns),
            p90_ns: Some(p90_ns),
            known,
            at_least,
        };
        assert_eq!(ages.summary(), of(40, 20, 40, 3, 1));
        let mut one = Ages::default();
        one.add(7, true);
        assert_eq!(one.summary(), of(7, 7, 7, 1, 0));
    }
}
