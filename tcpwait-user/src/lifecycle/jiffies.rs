//! Turns jiffies into time. The kernel's HZ is nowhere to be read without its config, so it is measured from the
//! records themselves: each mini-socket record carries both clocks.

/// The rates Linux can be configured with (`kernel/Kconfig.hz` of every architecture).
const RATES: [u64; 14] = [24, 32, 48, 64, 100, 128, 200, 250, 256, 300, 500, 1000, 1024, 1200];

/// `TCP_TIMEWAIT_LEN` in seconds (`include/net/tcp.h`, a constant in every mainline version).
const TIMEWAIT_SECONDS: u64 = 60;

const NS: u64 = 1_000_000_000;

/// Learns HZ from pairs of (nanoseconds, jiffies).
#[derive(Clone, Debug, Default)]
pub struct JiffyClock {
    first: Option<(u64, u64)>,
    last: (u64, u64),
    hz: Option<u64>,
}

impl JiffyClock {
    /// Takes in one record's two clocks. HZ is decided once one rate alone fits: two clocks read at both ends are
    /// each off by at most two jiffies (a tickless CPU catches up when it is interrupted).
    pub fn observe(&mut self, time_ns: u64, jiffies: u64) {
        self.last = (time_ns, jiffies);
        if self.hz.is_some() {
            return;
        }
        let Some((time0, jiffies0)) = self.first else {
            self.first = Some((time_ns, jiffies));
            return;
        };
        let (Some(ns), Some(ticks)) = (time_ns.checked_sub(time0), jiffies.checked_sub(jiffies0)) else { return };
        if ns < NS / 2 {
            return;
        }
        let fits = |hz: &u64| {
            let expected = u128::from(ns) * u128::from(*hz) / u128::from(NS);
            expected.abs_diff(u128::from(ticks)) <= 3
        };
        let mut candidates = RATES.into_iter().filter(fits);
        if let (Some(hz), None) = (candidates.next(), candidates.next()) {
            self.hz = Some(hz);
        }
    }

    /// Ticks per second, once known.
    pub fn hz(&self) -> Option<u64> {
        self.hz
    }

    /// Nanoseconds of a jiffy, once known.
    pub fn tick_ns(&self) -> Option<u64> {
        self.hz.map(|hz| NS / hz)
    }

    /// When it will be, or was, this jiffy, in the time base of the records; `None` before HZ is known.
    pub fn time_of(&self, jiffies: u64) -> Option<u64> {
        let tick_ns = self.tick_ns()?;
        let (time_ns, now) = self.last;
        match jiffies.checked_sub(now) {
            Some(ahead) => time_ns.checked_add(ahead.checked_mul(tick_ns)?),
            None => time_ns.checked_sub((now - jiffies).checked_mul(tick_ns)?),
        }
    }

    /// Width of the timer wheel's bucket that a timer of 60 s falls into: it ends up to so much later
    /// (`calc_wheel_index`, `LVL_START` and `LVL_GRAN` in `kernel/time/timer.c`: level n begins at 63 * 8^(n-1) jiffies and has
    /// buckets of 8^n). 2.048 s at HZ=250, 4.096 s at HZ=1000. `None` before HZ is known.
    pub fn timewait_slack_ns(&self) -> Option<u64> {
        let hz = self.hz?;
        let level = (0..8).find(|level| TIMEWAIT_SECONDS * hz < 63 << (3 * level))?;
        Some((NS << (3 * level)) / hz)
    }

    /// When TIME_WAIT's clock was last started, in the time base of `time_ns`: the timer is always set to 60 s
    /// from then (`inet_twsk_schedule`), and keeps the value even when the wheel's bucket stays the same.
    /// `None` while HZ is not known, or where the timer was not set to 60 s.
    pub fn timewait_started_ns(&self, time_ns: u64, jiffies: u64, expires: u64) -> Option<u64> {
        let hz = self.hz?;
        let started = expires.checked_sub(TIMEWAIT_SECONDS * hz)?;
        let ago = jiffies.checked_sub(started)?;
        time_ns.checked_sub(ago.checked_mul(NS / hz)?)
    }
}

#[cfg(test)]
mod tests {
    use super::{JiffyClock, RATES};

    #[test]
    fn every_rate_is_found_from_jittering_clocks() {
        for hz in RATES {
            for start_ns in [0u64, 123_456_789, 999_999_999_999] {
                let at = |ms: u64, jitter: u64| {
                    let ns = start_ns + ms * 1_000_000;
                    (ns, 4_294_892_296 + ns * hz / 1_000_000_000 - jitter)
                };
                let mut clock = JiffyClock::default();
                for (ms, jitter) in [(0, 1), (3, 0), (700, 1), (1500, 0), (61_000, 1), (180_000, 0)] {
                    let (ns, jiffies) = at(ms, jitter);
                    clock.observe(ns, jiffies);
                    assert!(clock.hz().is_none_or(|found| found == hz), "{hz} taken for {:?}", clock.hz());
                }
                assert_eq!(clock.hz(), Some(hz));
            }
        }
    }

    /// kernel.md's table.
    #[test]
    fn the_wheel_is_as_wide_as_the_kernel_makes_it() {
        for (hz, slack_ms) in [(100, 5120), (250, 2048), (300, 1706), (1000, 4096)] {
            let clock = JiffyClock { hz: Some(hz), ..JiffyClock::default() };
            assert_eq!(clock.timewait_slack_ns().map(|ns| ns / 1_000_000), Some(slack_ms));
        }
    }

    #[test]
    fn a_jiffy_has_its_time() {
        let clock = JiffyClock { hz: Some(250), last: (1_000_000_000, 5_000), ..JiffyClock::default() };
        assert_eq!(clock.time_of(5_250), Some(2_000_000_000));
        assert_eq!(clock.time_of(4_875), Some(500_000_000));
        assert_eq!(clock.time_of(0), None, "before the clock began");
    }

    #[test]
    fn the_last_start_of_the_clock_is_sixty_seconds_before_expiry() {
        let mut clock = JiffyClock::default();
        assert_eq!(clock.timewait_started_ns(1_000_000_000_000, 10_000, 9_000), None, "HZ is not known yet");
        clock.observe(0, 4_000_000);
        clock.observe(100_000_000_000, 4_025_000);
        // Due at jiffy 15,000 + 4,025,000, looked at 250 jiffies before.
        assert_eq!(
            clock.timewait_started_ns(500_000_000_000, 4_039_750, 4_040_000),
            Some(500_000_000_000 - 14_750 * 4_000_000)
        );
        assert_eq!(clock.timewait_started_ns(500_000_000_000, 4_000_000, 4_040_000), None, "set to more than 60 s");
    }
}
