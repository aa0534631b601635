//! When the ring buffer is looked at: often while something happens. Where nothing has happened for a while the reader sleeps, and the kernel side wakes it
//! with the next record. Looks at nothing itself.

use std::time::{Duration, Instant};

/// How often the ring buffer is looked at while something happens. The kernel side wakes the reader earlier when a quarter of it is full.
pub(super) const ROUND: Duration = Duration::from_millis(50);

/// After so long without a record the reader sleeps. What waits for something that would follow at once has been decided by then.
const QUIET: Duration = Duration::from_millis(500);

/// A sleeper looks this often nevertheless: at the clock, for who waits for nothing but time; and for the record that was half written when the reader went
/// to sleep.
const LONGEST: Duration = Duration::from_secs(1);

/// When the next look is due, and whether somebody else is to call for an earlier one.
#[derive(Debug)]
pub(super) struct Rounds {
    next: Instant,
    quiet_since: Instant,
    sleeps: bool,
}

/// What the kernel side is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// The reader goes to sleep: the next record wakes it.
    Sleeps,
    /// It is up.
    Wakes,
}

impl Rounds {
    pub(super) fn new(now: Instant) -> Self {
        Self { next: now, quiet_since: now, sleeps: false }
    }

    /// When to look again, if nothing else calls for it.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// The ring buffer was looked at. `found`: there was something in it, or may be still. `due`: when something else wants the reader to be up.
    pub(super) fn looked(&mut self, now: Instant, found: bool, due: Option<Duration>) -> Option<Change> {
        if found {
            self.quiet_since = now;
        }
        let was_asleep = self.sleeps;
        self.sleeps = now.duration_since(self.quiet_since) >= QUIET;
        // One that has just gone to sleep looks once more as if it had not: a record that was being written meanwhile called for nobody.
        let latest = now + if was_asleep && self.sleeps { LONGEST } else { ROUND };
        // What comes in between puts nothing off.
        self.next = if now >= self.next { latest } else { self.next.min(latest) };
        if self.sleeps
            && let Some(due) = due
        {
            self.next = self.next.min(now + due);
        }
        match (was_asleep, self.sleeps) {
            (false, true) => Some(Change::Sleeps),
            (true, false) => Some(Change::Wakes),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Looks when it wants to until a time, and says how often.
    fn until(rounds: &mut Rounds, begin: Instant, from_ms: u32, to_ms: u32, due: Option<Duration>) -> u32 {
        let mut looks = 0;
        while rounds.next() < begin + MS * to_ms {
            let now = rounds.next().max(begin + MS * from_ms);
            rounds.looked(now, false, due);
            looks += 1;
        }
        looks
    }

    #[test]
    fn whoever_has_nothing_to_do_is_up_once_a_second() {
        let begin = Instant::now();
        let mut rounds = Rounds::new(begin);
        assert_eq!(until(&mut rounds, begin, 0, 500, None), 10, "each 50 ms at first");
        assert_eq!(rounds.looked(rounds.next(), false, None), Some(Change::Sleeps));
        assert_eq!(rounds.next(), begin + MS * 550, "once more soon");
        rounds.looked(rounds.next(), false, None);
        assert_eq!(rounds.next(), begin + MS * 1550);
        assert_eq!(until(&mut rounds, begin, 1550, 11_550, None), 10);
        assert!(rounds.sleeps);
    }

    #[test]
    fn a_record_ends_it() {
        let begin = Instant::now();
        let mut rounds = Rounds::new(begin);
        until(&mut rounds, begin, 0, 2_000, None);
        let woken = begin + MS * 2_010;
        assert_eq!(rounds.looked(woken, true, None), Some(Change::Wakes));
        let next = rounds.next();
        assert!(next <= woken + ROUND);
        assert_eq!(rounds.looked(next, false, None), None);
        assert_eq!(rounds.next(), next + ROUND);
    }

    #[test]
    fn a_report_comes_on_time() {
        let begin = Instant::now();
        let mut rounds = Rounds::new(begin);
        until(&mut rounds, begin, 0, 2_000, None);
        let now = rounds.next();
        rounds.looked(now, false, Some(MS * 120));
        assert_eq!(rounds.next(), now + MS * 120);
    }

    /// What is read beside ends before the look that is due, and puts it off no further.
    #[test]
    fn what_comes_in_between_puts_nothing_off() {
        let begin = Instant::now();
        let mut rounds = Rounds::new(begin);
        until(&mut rounds, begin, 0, 3_000, None);
        let due = rounds.next();
        rounds.looked(due - MS, false, None);
        assert_eq!(rounds.next(), due);
        let mut rounds = Rounds::new(begin);
        rounds.looked(begin, true, None);
        rounds.looked(begin + MS * 20, true, None);
        assert_eq!(rounds.next(), begin + ROUND);
    }
}
