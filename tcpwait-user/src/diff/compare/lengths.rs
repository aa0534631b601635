//! How long things took on each side.

use super::{MUCH_LOST, Side};
use crate::diff::{
    durations::{Durations, Quantile},
    measured::Lasting,
    quantity::Direction,
    row::{DurationRow, QuantileRow},
    verdict::{DiffVerdict, LEAST_CHANGE, LEAST_EVENTS, LEAST_NS, LEAST_WAIT_NS, NotSaid, SAME_WITHIN},
};

/// A quantile is shown where so many times lie beyond it, or more.
const BEYOND: u64 = 1;

/// The quantiles, in percent.
const QUANTILES: [u8; 3] = [50, 90, 99];

pub(super) fn duration_row(key: (Lasting, Option<String>), before: &Side, after: &Side) -> Option<DurationRow> {
    let (old, new) = (before.measured.durations.get(&key), after.measured.durations.get(&key));
    let (lasting, subject) = key;
    let count = |durations: Option<&Durations>| durations.map_or(0, Durations::count);
    let ended = [count(old), count(new)];
    let still = [old, new].map(|durations| durations.map_or(0, Durations::still_there));
    let counts = [ended[0] + still[0], ended[1] + still[1]];
    // What is there on one side only is a row of counts; of few nothing can be said.
    if counts.contains(&0) || counts.iter().all(|count| *count < LEAST_EVENTS) {
        return None;
    }
    let much_lost =
        [before, after].iter().any(|side| side.facts.lost() as f64 > MUCH_LOST * side.facts.ledger.read.max(1) as f64);
    let jiffies_ns = |side: &Side, durations: Option<&Durations>| match durations.is_some_and(Durations::is_inferred) {
        true => side.facts.hz.map_or(20_000_000, |hz| 2_000_000_000 / hz.max(1)),
        false => 0,
    };
    let size_ns = if lasting.direction() == Direction::MoreIsWorse { LEAST_WAIT_NS } else { LEAST_NS };
    let least_ns = jiffies_ns(before, old).max(jiffies_ns(after, new)).max(size_ns);
    let quantile = |percent: u8| {
        let share = f64::from(percent) / 100.0;
        let of = |durations: Option<&Durations>| {
            let durations = durations?;
            let beyond = (durations.count() + durations.still_there()) * u64::from(100 - percent) / 100;
            durations.quantile(share).filter(|_| beyond >= BEYOND)
        };
        let (before, after) = (of(old), of(new));
        let verdict = match (before, after) {
            _ if much_lost => DiffVerdict::Unknown(NotSaid::Lost),
            _ if counts.iter().any(|count| *count < LEAST_EVENTS) => DiffVerdict::Unknown(NotSaid::TooShort),
            (Some(before), Some(after)) => quantile_verdict(before, after, least_ns),
            _ => DiffVerdict::Unknown(NotSaid::TooShort),
        };
        QuantileRow { percent, before, after, verdict }
    };
    let spread = |durations: Option<&Durations>| durations.map(Durations::spread).unwrap_or_default();
    Some(DurationRow {
        lasting,
        subject,
        count_before: ended[0],
        count_after: ended[1],
        still_before: still[0],
        still_after: still[1],
        quantiles: QUANTILES
            .into_iter()
            .map(quantile)
            .filter(|row| row.before.is_some() || row.after.is_some())
            .collect(),
        spread_before: spread(old),
        spread_after: spread(new),
    })
}

/// Different: intervals that do not meet, of times that are far enough apart. The same: intervals of which no two times are far from each other.
fn quantile_verdict(before: Quantile, after: Quantile, least_ns: u64) -> DiffVerdict {
    if before.is_at_least || after.is_at_least {
        return DiffVerdict::Unknown(NotSaid::StillThere);
    }
    let (Some(old), Some(new)) = (before.low_ns.zip(before.high_ns), after.low_ns.zip(after.high_ns)) else {
        return DiffVerdict::Unknown(NotSaid::TooShort);
    };
    let exceeds = |one: Quantile, other: Quantile| {
        one.ns > other.ns.saturating_add(least_ns) && one.ns as f64 > other.ns as f64 * (1.0 + LEAST_CHANGE)
    };
    let is_near = |low: u64, high: u64| high <= low.saturating_add(least_ns) || high as f64 <= low as f64 * SAME_WITHIN;
    match (old, new) {
        ((_, high), (low, _)) if low > high && exceeds(after, before) => DiffVerdict::Up,
        ((low, _), (_, high)) if high < low && exceeds(before, after) => DiffVerdict::Down,
        ((old_low, old_high), (new_low, new_high)) if is_near(old_low, new_high) && is_near(new_low, old_high) => {
            DiffVerdict::Same
        }
        _ => DiffVerdict::Unknown(NotSaid::TooShort),
    }
}
