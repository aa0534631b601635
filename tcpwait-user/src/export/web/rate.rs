//! `rate_limit`: a bucket of requests that fills by one each interval.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};

/// At most `burst` requests at once, and one each interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// The time after which one more is answered.
    pub interval: Duration,
    /// How many there may be at once.
    pub burst: u32,
}

/// What is written: an interval of Go's kind and a number. An interval of 0 is no limit.
///
/// # Errors
/// The interval is none, or no request would ever be answered.
pub fn limit(interval: Option<&str>, burst: Option<i64>) -> Result<Option<Rate>> {
    let interval = duration(interval.unwrap_or("0"))?;
    if interval.is_zero() {
        return Ok(None);
    }
    let burst = u32::try_from(burst.unwrap_or(0)).context("burst is no number of requests")?;
    ensure!(burst > 0, "with a burst of 0 no request is answered");
    Ok(Some(Rate { interval, burst }))
}

/// A duration as Go writes it, as 1m30s, 1.5s or 100ms; without a unit, nanoseconds.
fn duration(text: &str) -> Result<Duration> {
    if let Ok(nanoseconds) = text.parse() {
        return Ok(Duration::from_nanos(nanoseconds));
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    let mut all = Duration::ZERO;
    let why = || format!("interval: {text:?} is no duration as 1s, 100ms or 1m30s");
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').with_context(why)?;
        let (number, after) = rest.split_at(end);
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let unit_s = match unit {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => bail!(why()),
        };
        let number: f64 = number.parse().ok().with_context(why)?;
        let part = Duration::try_from_secs_f64(number * unit_s).ok().with_context(why)?;
        all = all.checked_add(part).with_context(why)?;
        rest = after;
    }
    ensure!(!text.is_empty(), "{}", why());
    Ok(all)
}

/// How many requests may be answered now.
#[derive(Debug)]
pub struct TokenBucket {
    rate: Rate,
    /// When it will be full, were nothing taken any more.
    full_at: Instant,
}

impl TokenBucket {
    /// A full one.
    pub fn new(rate: Rate, now: Instant) -> Self {
        Self { rate, full_at: now }
    }

    /// Whether one may be answered at this time; it is taken then.
    pub fn take(&mut self, now: Instant) -> bool {
        let full_at = self.full_at.max(now);
        let after = full_at.checked_add(self.rate.interval);
        let fits = after.is_some_and(|after| {
            self.rate.interval.checked_mul(self.rate.burst).is_none_or(|whole| after.duration_since(now) <= whole)
        });
        if let Some(after) = after.filter(|_| fits) {
            self.full_at = after;
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_go() {
        let given = ["0", "1s", "1.5s", "1m30s", "100ms", "5us", "1h", "250", "+2s"];
        let read: Vec<u128> = given.iter().map(|text| duration(text).map_or(u128::MAX, |is| is.as_nanos())).collect();
        let second = 1_000_000_000;
        assert_eq!(read, [0, second, second * 3 / 2, second * 90, second / 10, 5_000, second * 3600, 250, second * 2]);
        for wrong in ["", "1", "1 s", "s", "-1s", "1d", "1.2.3s", "1e3s", "99999999999999999999h"] {
            assert!(duration(wrong).is_err() != (wrong == "1"), "{wrong:?}");
        }
    }

    #[test]
    fn a_burst_and_then_one_each_interval() {
        let second = Duration::from_secs(1);
        let start = Instant::now();
        let mut bucket = TokenBucket::new(Rate { interval: second, burst: 3 }, start);
        assert_eq!([(); 4].map(|()| bucket.take(start)), [true, true, true, false]);
        assert_eq!([(); 2].map(|()| bucket.take(start + second)), [true, false]);
        assert_eq!([(); 4].map(|()| bucket.take(start + second * 60)), [true, true, true, false]);
    }

    #[test]
    fn a_limit_that_answers_nobody_is_refused() {
        assert!(limit(Some("1s"), None).is_err() && limit(Some("1s"), Some(-1)).is_err());
        assert_eq!(limit(Some("0"), None).ok(), Some(None));
    }
}
