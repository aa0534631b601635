//! How many sockets there were on each side.

use super::{CountedSide, Side, would_show};
use crate::{
    diff::{
        gauge::Gauge,
        interval::{MeanOfBlocks, Ratio},
        quantity::Quantity,
        row::{GaugeRow, GaugeSide},
        verdict::{DiffVerdict, LEAST_EVENTS, NotSaid},
    },
    tcp::State,
};

pub(super) fn gauge_row(key: (State, Option<String>), before: &Side, after: &Side) -> Option<GaugeRow> {
    let state = key.0;
    // What is in CLOSE is not followed.
    if state == State::Close {
        return None;
    }
    let is_time_wait = state == State::TimeWait;
    let time_of = |side: &Side| if is_time_wait { side.measured.delayed } else { side.measured.window };
    let lengths = [before, after].map(|side| time_of(side).seconds());
    let is_too_short = lengths.iter().any(|seconds| *seconds <= 0.0);
    let of = |side: &Side| {
        let whole = side.measured.gauges.get(&key);
        // What was in TIME_WAIT before a recording began is there for a minute, whatever was changed.
        let later = whole.filter(|_| is_time_wait && !is_too_short).map(|gauge| gauge.since(time_of(side).begin_ns));
        let gauge = later.as_ref().or(whole);
        let blocks = gauge.map(Gauge::blocks).unwrap_or_default();
        let level = gauge.map_or(Some(0.0), Gauge::mean);
        let mean = match level {
            // As many are in TIME_WAIT as entered it in the minute before: their number is as sure as that.
            Some(level) if is_time_wait => {
                let entered = CountedSide::of(side, &(Quantity::TimeWaitEntered, key.1.clone())).rate();
                entered.filter(|_| level > 0.0).map(|entered| entered.at(level))
            }
            _ => MeanOfBlocks::new(&blocks, &vec![1.0; blocks.len()], 1.0 / blocks.iter().sum::<f64>().max(1.0)),
        };
        let shown = GaugeSide {
            // Of what was not there at all it is 0.
            mean: level.filter(|_| !is_too_short),
            most: gauge.map_or(0, Gauge::most),
            at_the_end: whole.map_or(0, Gauge::now),
            course: whole.map(Gauge::means).unwrap_or_default(),
        };
        (shown, mean, blocks)
    };
    let ((before_side, old, old_blocks), (after_side, new, new_blocks)) = (of(before), of(after));
    let most = before_side.most.max(after_side.most);
    if most == 0 && before_side.at_the_end.max(after_side.at_the_end) == 0 {
        return None;
    }
    let ratio = new.zip(old).and_then(|(new, old)| new.through(old));
    // Each event that was lost may be a socket too many, or too few.
    let lost = before.facts.lost().saturating_add(after.facts.lost());
    let apart = before_side.mean.unwrap_or_default() - after_side.mean.unwrap_or_default();
    let stands = lost == 0 || apart.abs() > lost as f64;
    let said = match (before_side.most, after_side.most, ratio) {
        _ if is_too_short => DiffVerdict::Unknown(NotSaid::TooShort),
        (0, n, _) if n >= LEAST_EVENTS && would_show(&new_blocks, lengths[0] / lengths[1]) => DiffVerdict::New,
        (n, 0, _) if n >= LEAST_EVENTS && would_show(&old_blocks, lengths[1] / lengths[0]) => DiffVerdict::Gone,
        (0, ..) | (_, 0, _) => DiffVerdict::OneSided,
        _ if most < LEAST_EVENTS => DiffVerdict::Unknown(NotSaid::TooShort),
        (_, _, Some(ratio)) => DiffVerdict::of(ratio),
        // Those of one burst are there together: as many as there were say less than they seem to.
        (_, _, None) if is_time_wait => DiffVerdict::Unknown(NotSaid::TooShort),
        (old, new, None) => by_peaks(old, new),
    };
    let verdict = if said.is_change() && !stands { DiffVerdict::Unknown(NotSaid::Lost) } else { said };
    let (state, subject) = key;
    Some(GaugeRow { state, subject, before: before_side, after: after_side, ratio, verdict })
}

/// Of sockets whose number grows or shrinks all the time, as where they leak, no part of the time is like another: what can be compared is the most there
/// were, each as one that is independent of the others.
fn by_peaks(before: u64, after: u64) -> DiffVerdict {
    /// Of a normal distribution, two-sided, 99 percent.
    const WIDTH: f64 = 2.576;
    let (old, new) = (before as f64, after as f64);
    let width = (WIDTH * (1.0 / old + 1.0 / new).sqrt()).exp();
    let ratio = new / old;
    match DiffVerdict::of(Ratio { ratio, low: ratio / width, high: ratio * width }) {
        said @ (DiffVerdict::Up | DiffVerdict::Down) => said,
        _ => DiffVerdict::Unknown(NotSaid::TooShort),
    }
}
