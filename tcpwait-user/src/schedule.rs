//! When reports are due: at fixed times, however late one of them comes. Reads no clock.

use std::time::Duration;

/// When reports are wanted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Schedule {
    /// A report for each of these; `None`: only the last.
    pub interval: Option<Duration>,
    /// After how many of them it is over.
    pub count: Option<u64>,
}

/// A schedule that is under way. Times are nanoseconds of `CLOCK_MONOTONIC`.
#[derive(Clone, Copy, Debug)]
pub struct Due {
    interval_ns: Option<u64>,
    next_ns: u64,
    left: Option<u64>,
}

impl Schedule {
    /// Begins at this time.
    pub fn begin(self, now_ns: u64) -> Due {
        let interval_ns = self.interval.map(|interval| u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX));
        Due { interval_ns, next_ns: now_ns.saturating_add(interval_ns.unwrap_or(u64::MAX)), left: self.count }
    }
}

impl Due {
    /// Whether a report is due at this time.
    pub fn is(&self, now_ns: u64) -> bool {
        now_ns >= self.next_ns && !self.is_over()
    }

    /// A report is given at this time. One that comes late is as long as it is; the next ones are on time again.
    pub fn passes(&mut self, now_ns: u64) {
        let step_ns = self.interval_ns.unwrap_or(u64::MAX);
        while self.next_ns <= now_ns && step_ns > 0 {
            self.next_ns = self.next_ns.saturating_add(step_ns);
        }
        self.left = self.left.map(|left| left.saturating_sub(1));
    }

    /// Whether as many reports as wanted have been given.
    pub fn is_over(&self) -> bool {
        self.left == Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_report_does_not_shift_the_others() {
        let seconds = |n: u64| n * 1_000_000_000;
        let mut due = Schedule { interval: Some(Duration::from_secs(2)), count: Some(2) }.begin(seconds(10));
        assert!(!due.is(seconds(11)) && due.is(seconds(15)));
        due.passes(seconds(15));
        assert!(!due.is(seconds(15)) && due.is(seconds(16)) && !due.is_over());
        due.passes(seconds(16));
        assert!(due.is_over() && !due.is(seconds(99)));
        assert!(!Schedule::default().begin(0).is(seconds(99)), "only the last");
    }
}
