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
        self.interval_ns.is_some() && now_ns >= self.next_ns && !self.is_over()
    }

    /// When the next report is due, in nanoseconds of `CLOCK_MONOTONIC`.
    pub fn next_ns(&self) -> Option<u64> {
        (self.interval_ns.is_some() && !self.is_over()).then_some(self.next_ns)
    }

    /// A report is given at this time. One that comes late is as long as it is; the next ones are on time again.
    pub fn passes(&mut self, now_ns: u64) {
        if let Some(step_ns) = self.interval_ns.filter(|step_ns| *step_ns > 0)
            && let Some(late_ns) = now_ns.checked_sub(self.next_ns)
        {
            // However late: a clock that leaps by years is one step.
            self.next_ns = self.next_ns.saturating_add(step_ns.saturating_mul((late_ns / step_ns).saturating_add(1)));
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

    /// One that counted its way there would take for ever.
    #[test]
    fn a_leap_of_a_clock_is_one_step() {
        let interval = Some(Duration::from_nanos(1));
        for end in [u64::MAX / 2, u64::MAX] {
            let mut due = Schedule { interval, count: None }.begin(0);
            assert!(due.is(end));
            due.passes(end);
            assert_eq!(due.is(end), end == u64::MAX, "the next is later, if there is a later");
        }
        let mut due = Schedule::default().begin(0);
        due.passes(u64::MAX);
        assert!(!due.is(u64::MAX), "without an interval none is due, whatever the time");
        let mut due = Schedule { interval: Some(Duration::from_secs(2)), count: None }.begin(10);
        due.passes(10 + 1_000_000_000_000);
        assert!(!due.is(10 + 1_001_999_999_999) && due.is(10 + 1_002_000_000_000), "and it is on time");
    }
}
