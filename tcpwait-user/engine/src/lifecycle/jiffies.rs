//! Turns jiffies into time: how many there are in a second (HZ), how long TIME_WAIT's timer is set to, and what follows from both.
//!
//! HZ comes from the best that there is: what the kernel said when the trace began (the resolution of its coarse clocks is a tick); the
//! timer of a TIME_WAIT, which is set to 60 s, and so to 60*HZ jiffies; the two clocks that each record of a mini-socket carries.

use crate::tcp::TIMEWAIT_LEN_S;

/// The rates Linux can be configured with (`kernel/Kconfig.hz` of every architecture).
const RATES: [u64; 14] = [24, 32, 48, 64, 100, 128, 200, 250, 256, 300, 500, 1000, 1024, 1200];

/// The fastest tick that is believed of a header: far above any of [`RATES`].
const FASTEST: u64 = 100_000;

const NS: u64 = 1_000_000_000;

/// How late jiffies may be, as a part of a second: the tick that counts them up is late where a CPU is not scheduled by its host.
const LATE_PART: u64 = 2;

/// The same, as a part of the time between two looks where that is long: neighbours among [`RATES`] are a fortieth apart.
const DRIFT_PART: u128 = 100;

/// How often the clocks are compared.
const BETWEEN_NS: u64 = NS / 4;

/// What HZ is known from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HzSource {
    /// The kernel said so: `clock_getres(CLOCK_MONOTONIC_COARSE)` is `TICK_NSEC` (`posix_get_coarse_res`).
    Kernel,
    /// The timer of a TIME_WAIT that began.
    TimeWait,
    /// Clocks, which may be late: the only rate that fits them.
    Clock,
}

/// Learns HZ.
#[derive(Clone, Debug, Default)]
pub struct JiffyClock {
    /// By the kernel.
    told: Option<u64>,
    /// Jiffies that the timer of a TIME_WAIT was set to, and the rate at which they are 60 s; first of all those that fit one.
    shown: Option<(u64, u64)>,
    /// Jiffies that the timer of a TIME_WAIT was set to last, where they are not 60 s.
    odd: Option<u64>,
    first: Option<(u64, u64)>,
    /// The only rate that fits the clocks.
    measured: Option<u64>,
    /// The rate that a TIME_WAIT showed does not fit them by far.
    contradicted: bool,
    next_ns: u64,
    /// The last observation: nanoseconds and jiffies.
    last: (u64, u64),
}

impl JiffyClock {
    /// A clock that was told its rate, if that makes sense.
    pub fn told(hz: Option<u64>) -> Self {
        Self { told: hz.filter(|hz| (1..=FASTEST).contains(hz)), ..Self::default() }
    }

    /// Takes in one record's two clocks.
    pub fn observe(&mut self, time_ns: u64, jiffies: u64) {
        self.last = (time_ns, jiffies);
        // Asked for every record. What the kernel said needs no proof.
        if self.told.is_some() || time_ns < self.next_ns {
            return;
        }
        self.next_ns = time_ns.saturating_add(BETWEEN_NS);
        let Some((time0, jiffies0)) = self.first else {
            self.first = Some((time_ns, jiffies));
            return;
        };
        let (Some(ns), Some(ticks)) = (time_ns.checked_sub(time0), jiffies.checked_sub(jiffies0)) else { return };
        let fits = |hz: u64, times: u128| {
            let expected = u128::from(ns) * u128::from(hz) / u128::from(NS);
            let tolerated = (expected / DRIFT_PART).max(u128::from(hz / LATE_PART + 3));
            expected.abs_diff(u128::from(ticks)) <= times * tolerated
        };
        let mut candidates = RATES.into_iter().filter(|hz| fits(*hz, 1));
        self.measured = match (candidates.next(), candidates.next()) {
            (Some(hz), None) => Some(hz),
            _ => None,
        };
        self.contradicted = self.shown.is_some_and(|(hz, _)| !fits(hz, 2));
    }

    /// The timer of a mini-socket was set as it entered TIME_WAIT, to this many jiffies from now. `followed`: its connection was, so that it
    /// certainly entered just now.
    pub fn time_wait_set(&mut self, ticks: u64, followed: bool) {
        // The rates are far enough apart: no number of jiffies is a minute at two of them.
        let rate = match (self.told, self.shown) {
            (Some(hz), _) | (None, Some((hz, _))) => Some(hz).filter(|hz| is_a_minute(ticks, *hz)),
            (None, None) => RATES.into_iter().find(|hz| is_a_minute(ticks, *hz)),
        };
        match rate {
            Some(hz) => self.shown = self.shown.or(Some((hz, ticks))),
            None if followed => self.odd = Some(ticks),
            None => {}
        }
    }

    /// Whether a timer that is due in this many jiffies was set to 60 s just now; `None` while HZ is not known.
    pub fn is_fresh(&self, ticks: u64) -> Option<bool> {
        self.hz().map(|hz| is_a_minute(ticks, hz))
    }

    /// Ticks per second and what they are known from, once known. A timer set to 15 s at HZ=1000 looks like one set to 60 s at HZ=250: so where
    /// the clocks contradict a TIME_WAIT, they are believed.
    pub fn known(&self) -> Option<(u64, HzSource)> {
        let told = self.told.map(|hz| (hz, HzSource::Kernel));
        let shown = self.shown.filter(|_| !self.contradicted).map(|(hz, _)| (hz, HzSource::TimeWait));
        told.or(shown).or(self.measured.map(|hz| (hz, HzSource::Clock)))
    }

    /// Ticks per second, once known.
    pub fn hz(&self) -> Option<u64> {
        self.known().map(|(hz, _)| hz)
    }

    /// Nanoseconds of a jiffy, once known.
    pub fn tick_ns(&self) -> Option<u64> {
        self.hz().map(|hz| NS / hz)
    }

    /// What the timer of a TIME_WAIT was set to where that was not 60 s, in nanoseconds, `None` if it never was; the inner: not known, as HZ
    /// is not.
    pub fn other_length_ns(&self) -> Option<Option<u64>> {
        let hz = self.hz();
        let misread = self.shown.filter(|_| self.contradicted).map(|(_, ticks)| ticks);
        let ticks = self.odd.or(misread)?;
        Some(hz.and_then(|hz| ticks.checked_mul(NS)?.checked_div(hz)))
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
        let hz = self.hz()?;
        let level = (0..8).find(|level| TIMEWAIT_LEN_S * hz < 63 << (3 * level))?;
        Some((NS << (3 * level)) / hz)
    }

    /// When TIME_WAIT's clock was last started, in the time base of `time_ns`: the timer is always set to 60 s
    /// from then (`inet_twsk_schedule`), and keeps the value even when the wheel's bucket stays the same.
    /// `None` while HZ is not known, or where timers are not set to 60 s.
    pub fn timewait_started_ns(&self, time_ns: u64, jiffies: u64, expires: u64) -> Option<u64> {
        let hz = self.hz().filter(|_| self.other_length_ns().is_none())?;
        let started = expires.checked_sub(TIMEWAIT_LEN_S * hz)?;
        let ago = jiffies.checked_sub(started)?;
        time_ns.checked_sub(ago.checked_mul(NS / hz)?)
    }
}

/// Whether a timer that is due in this many jiffies was set to 60 s just now: to 60*HZ, less the ticks since (`inet_twsk_schedule` reads
/// `jiffies`, and the hook does so again).
fn is_a_minute(ticks: u64, hz: u64) -> bool {
    (TIMEWAIT_LEN_S * hz).checked_sub(ticks).is_some_and(|late| late <= hz / LATE_PART)
}

#[cfg(test)]
mod tests {
    use super::{HzSource, JiffyClock, NS, RATES};

    /// The clocks at this time, with jiffies late by so many milliseconds.
    fn at(hz: u64, ms: u64, late_ms: u64) -> (u64, u64) {
        let ns = 123_456_789 + ms * 1_000_000;
        (ns, 4_294_892_296 + ns * hz / NS - late_ms * hz / 1000)
    }

    fn observed(hz: u64, times: &[(u64, u64)]) -> JiffyClock {
        let mut clock = JiffyClock::default();
        for &(ms, late_ms) in times {
            let (ns, jiffies) = at(hz, ms, late_ms);
            clock.observe(ns, jiffies);
            assert!(clock.hz().is_none_or(|found| found == hz), "{hz} taken for {:?} at {ms} ms", clock.hz());
        }
        clock
    }

    #[test]
    fn every_rate_is_found_from_late_clocks() {
        for hz in RATES {
            for late_ms in [0, 20, 150, 490] {
                let (first, last) = ([(0, late_ms), (3, 0), (600, 0)], [(0, 0), (600, 0), (1200, late_ms)]);
                let later = [(5000, 0), (10_000, late_ms), (30_000, 0), (61_000, 0), (180_000, 0)];
                for begin in [first, last] {
                    let clock = observed(hz, &[begin.as_slice(), &later].concat());
                    assert_eq!(clock.known(), Some((hz, HzSource::Clock)));
                }
            }
        }
    }

    #[test]
    fn a_time_wait_tells_at_once_however_late_its_tick() {
        for hz in RATES {
            for late in [0, 1, hz / 2] {
                let mut clock = observed(hz, &[(0, 490), (600, 0)]);
                clock.time_wait_set(60 * hz - late, false);
                assert_eq!(clock.known(), Some((hz, HzSource::TimeWait)));
                assert_eq!(clock.other_length_ns(), None);
            }
        }
    }

    /// `tcp_tw_timeout` of Alibaba's kernels: 15 s at HZ=1000 are as many jiffies as 60 s at HZ=250.
    #[test]
    fn a_timer_of_another_length_is_told_from_another_rate() {
        let mut told = JiffyClock::told(Some(1000));
        told.time_wait_set(60_000, true);
        assert_eq!(told.other_length_ns(), None);
        told.time_wait_set(15_000, false);
        assert_eq!(told.other_length_ns(), None, "it may have begun earlier");
        told.time_wait_set(15_000, true);
        assert_eq!((told.hz(), told.other_length_ns()), (Some(1000), Some(Some(15 * NS))));
        assert_eq!(
            told.timewait_started_ns(100 * NS, 100_000, 110_000),
            None,
            "which of both it was set to is not known"
        );

        let mut clock = observed(1000, &[(0, 0)]);
        clock.time_wait_set(15_000, true);
        assert_eq!(clock.hz(), Some(250), "nothing says otherwise yet");
        for ms in [500, 70_000] {
            let (ns, jiffies) = at(1000, ms, 0);
            clock.observe(ns, jiffies);
        }
        assert_eq!(clock.known(), Some((1000, HzSource::Clock)));
        assert_eq!(clock.other_length_ns(), Some(Some(15 * NS)));

        let mut clock = JiffyClock::default();
        clock.time_wait_set(47_000, true);
        assert_eq!((clock.hz(), clock.other_length_ns()), (None, Some(None)), "it fits no rate");
    }

    #[test]
    fn what_the_kernel_said_is_believed_if_it_makes_sense() {
        assert_eq!(JiffyClock::told(Some(250)).known(), Some((250, HzSource::Kernel)));
        for nonsense in [0, u64::MAX] {
            assert_eq!(JiffyClock::told(Some(nonsense)).known(), None);
        }
    }

    /// kernel.md's table.
    #[test]
    fn the_wheel_is_as_wide_as_the_kernel_makes_it() {
        for (hz, slack_ms) in [(100, 5120), (250, 2048), (300, 1706), (1000, 4096)] {
            let clock = JiffyClock::told(Some(hz));
            assert_eq!(clock.timewait_slack_ns().map(|ns| ns / 1_000_000), Some(slack_ms));
        }
    }

    #[test]
    fn a_jiffy_has_its_time() {
        let clock = JiffyClock { told: Some(250), last: (1_000_000_000, 5_000), ..JiffyClock::default() };
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
