//! Two recordings, held against each other.

use std::collections::BTreeSet;

use super::{
    blocks::{CountsOverTime, Window},
    comparable::{SideFacts, Unlike, unlike},
    durations::{Durations, Quantile},
    gauge::Gauge,
    interval::{MeanOfBlocks, Ratio},
    measured::{Lasting, Measured},
    quantity::{Base, Direction, Quantity},
    row::{CountRow, CountSide, DurationRow, GaugeRow, GaugeSide, QuantileRow, SettingRow},
    settings::settings,
    verdict::{DiffVerdict, LEAST_CHANGE, LEAST_EVENTS, LEAST_NS, LEAST_WAIT_NS, NotSaid},
};
use crate::{
    lifecycle::{SegmentSource, Why},
    tcp::State,
};

/// A quantile is shown where so many times lie beyond it, or more.
const BEYOND: u64 = 1;

/// The quantiles, in percent.
const QUANTILES: [u8; 3] = [50, 90, 99];

/// Where so large a part of the events was lost, durations say nothing.
const MUCH_LOST: f64 = 0.01;

/// One of the two recordings.
#[derive(Debug)]
pub struct Side {
    /// What it says of itself.
    pub facts: SideFacts,
    /// What was measured of it.
    pub measured: Measured,
}

/// What came of the comparison.
#[derive(Debug)]
pub struct DiffReport {
    /// Before.
    pub before: SideFacts,
    /// After.
    pub after: SideFacts,
    /// How far they are not alike.
    pub unlike: Vec<Unlike>,
    /// The time that ends of TIME_WAIT are compared of, before and after.
    pub delayed: [Window; 2],
    /// What was counted.
    pub counts: Vec<CountRow>,
    /// How many sockets there were.
    pub gauges: Vec<GaugeRow>,
    /// How long things took.
    pub durations: Vec<DurationRow>,
    /// Settings that are not the same; `None` where a recording has none.
    pub settings: Option<Vec<SettingRow>>,
}

impl DiffReport {
    /// Holds them against each other.
    pub fn new(before: Side, after: Side) -> Self {
        let keys: BTreeSet<(Quantity, Option<String>)> =
            before.measured.keys().into_iter().chain(after.measured.keys()).collect();
        // What left TIME_WAIT has a row for each reason.
        let rows = keys.into_iter().filter(|(quantity, _)| *quantity != Quantity::TimeWaitLeft);
        let counts = rows.map(|(quantity, subject)| count_row(quantity, subject, &before, &after)).collect();
        let states: BTreeSet<(State, Option<String>)> =
            before.measured.gauges.keys().chain(after.measured.gauges.keys()).cloned().collect();
        let gauges = states.into_iter().filter_map(|key| gauge_row(key, &before, &after)).collect();
        let lasting: BTreeSet<(Lasting, Option<String>)> =
            before.measured.durations.keys().chain(after.measured.durations.keys()).cloned().collect();
        let durations = lasting.into_iter().filter_map(|key| duration_row(key, &before, &after)).collect();
        let delayed = [before.measured.delayed, after.measured.delayed];
        let unlike = unlike(&before.facts, &after.facts, delayed);
        let settings = (before.facts.has_settings && after.facts.has_settings)
            .then(|| settings(&before.measured, &after.measured));
        Self { before: before.facts, after: after.facts, unlike, delayed, counts, gauges, durations, settings }
    }

    /// The row of this, if any of it was counted.
    pub fn count(&self, quantity: Quantity, subject: Option<&str>) -> Option<&CountRow> {
        self.counts.iter().find(|row| row.quantity == quantity && row.subject.as_deref() == subject)
    }

    /// How many of its rows are differences, and how many there are.
    pub fn changes(&self) -> (usize, usize) {
        let verdicts = self
            .counts
            .iter()
            .filter(|row| !row.quantity.is_drawn_only())
            .map(|row| row.verdict)
            .chain(self.gauges.iter().filter(|row| row.is_told()).map(|row| row.verdict))
            .chain(self.durations.iter().flat_map(|row| row.quantiles.iter().map(|row| row.verdict)));
        let all: Vec<DiffVerdict> = verdicts.collect();
        (all.iter().filter(|verdict| verdict.is_change()).count(), all.len())
    }
}

fn count_row(quantity: Quantity, subject: Option<String>, before: &Side, after: &Side) -> CountRow {
    let key = (quantity, subject);
    let (mine, other) = (CountedSide::of(after, &key), CountedSide::of(before, &key));
    let (rate, share) = (mine.rate_through(&other), mine.share_through(&other));
    let verdict = count_verdict(quantity, &other, &mine, (rate, share), (before, after));
    let (quantity, subject) = key;
    CountRow { quantity, subject, before: other.side(), after: mine.side(), rate, share, verdict }
}

/// What was counted on one side, with what is needed to judge it.
struct CountedSide<'a> {
    counts: Option<&'a CountsOverTime>,
    base: Option<&'a CountsOverTime>,
    seconds: f64,
    lost: u64,
}

impl<'a> CountedSide<'a> {
    fn of(side: &'a Side, key: &(Quantity, Option<String>)) -> Self {
        let (quantity, subject) = key;
        let counts = &side.measured.counts;
        let base = match quantity.base() {
            Base::None => None,
            Base::TimeWaitLeft => counts.get(&(Quantity::TimeWaitLeft, None)),
            // What failed has no connections of its own.
            Base::Ended => {
                counts.get(&(Quantity::Ended, subject.clone())).or_else(|| counts.get(&(Quantity::Ended, None)))
            }
        };
        let window = if quantity.is_delayed() { side.measured.delayed } else { side.measured.window };
        Self { counts: counts.get(key), base, seconds: window.seconds(), lost: side.facts.lost() }
    }

    fn total(&self) -> u64 {
        self.counts.map_or(0, CountsOverTime::total)
    }

    /// How many came a second.
    fn rate(&self) -> Option<MeanOfBlocks> {
        let counts = self.counts?;
        let blocks = counts.blocks();
        // The length of a block is the same for all, and what lies behind the last is counted, too.
        let mean = MeanOfBlocks::new(&blocks, &vec![1.0; blocks.len()], 1.0 / counts.total().max(1) as f64)?;
        Some(mean.times(counts.total() as f64 / self.seconds / mean.mean))
    }

    /// How many came to each of what it is held against.
    fn share(&self) -> Option<MeanOfBlocks> {
        let (counts, base) = (self.counts?, self.base?);
        MeanOfBlocks::new(&counts.blocks(), &base.blocks(), 1.0 / counts.total().max(1) as f64)
    }

    fn rate_through(&self, before: &Self) -> Option<Ratio> {
        self.rate()?.through(before.rate()?)
    }

    fn share_through(&self, before: &Self) -> Option<Ratio> {
        self.share()?.through(before.share()?)
    }

    /// Whether it comes in so many bursts that none in the other's time would be more than chance.
    fn would_show_in(&self, other: &Self) -> bool {
        let blocks = self.counts.map(CountsOverTime::blocks).unwrap_or_default();
        would_show(&blocks, other.seconds / self.seconds)
    }

    /// What a rate would be if all that was lost had been of this.
    fn rate_with_all_lost(&self) -> f64 {
        self.total().saturating_add(self.lost) as f64 / self.seconds
    }

    fn side(&self) -> CountSide {
        CountSide::new(self.counts, self.seconds, self.base.map(CountsOverTime::total))
    }
}

fn count_verdict(
    quantity: Quantity,
    before: &CountedSide<'_>,
    after: &CountedSide<'_>,
    (rate, share): (Option<Ratio>, Option<Ratio>),
    sides: (&Side, &Side),
) -> DiffVerdict {
    if !is_recorded_alike(quantity, &sides.0.facts, &sides.1.facts) {
        return DiffVerdict::Unknown(NotSaid::NotRecorded);
    }
    if before.seconds <= 0.0 || after.seconds <= 0.0 {
        return DiffVerdict::Unknown(NotSaid::TooShort);
    }
    let said = match (before.total(), after.total()) {
        (0, n) if n >= LEAST_EVENTS && after.would_show_in(before) => DiffVerdict::New,
        (n, 0) if n >= LEAST_EVENTS && before.would_show_in(after) => DiffVerdict::Gone,
        (0, _) | (_, 0) => DiffVerdict::OneSided,
        (one, other) if one.max(other) < LEAST_EVENTS => DiffVerdict::Same,
        _ => match (rate, share, quantity.base()) {
            (None, ..) => few_bursts(before, after),
            (Some(rate), _, Base::None) => DiffVerdict::of(rate),
            // Nothing is there to hold it against.
            (Some(rate), None, _) => DiffVerdict::of(rate),
            (Some(rate), Some(share), _) => match (DiffVerdict::of(rate), DiffVerdict::of(share)) {
                (rate, share) if rate == share => rate,
                _ => DiffVerdict::WithLoad,
            },
        },
    };
    // Were all that was lost of this: would it still be more, or less?
    let stands = match said {
        DiffVerdict::Up | DiffVerdict::New => {
            after.total() as f64 / after.seconds > before.rate_with_all_lost() * (1.0 + LEAST_CHANGE)
        }
        DiffVerdict::Down | DiffVerdict::Gone => {
            before.total() as f64 / before.seconds > after.rate_with_all_lost() * (1.0 + LEAST_CHANGE)
        }
        _ => true,
    };
    let lossless = before.lost == 0 && after.lost == 0;
    if stands || lossless { said } else { DiffVerdict::Unknown(NotSaid::Lost) }
}

/// Whether what is there in some of these blocks would be there in the other recording, too, with 99 percent, were it to come as often: of a time that is so
/// many times as long.
fn would_show(blocks: &[f64], length: f64) -> bool {
    /// Of so many that are expected by chance, none comes in one of 100 cases (Poisson).
    const EXPECTED: f64 = 4.6;
    let bursts = blocks.iter().filter(|count| **count > 0.0).count();
    bursts as f64 * length >= EXPECTED
}

/// Where what came on one side came in too few bursts for an interval: whether it would be less than on the other side if so many more bursts had come as may
/// have been missed by chance.
fn few_bursts(before: &CountedSide<'_>, after: &CountedSide<'_>) -> DiffVerdict {
    /// So many of a number that is known are meant where one was counted, with 99.5 percent (the upper end of a Poisson interval, from above).
    fn at_most(counted: f64) -> f64 {
        counted + 2.6 * (counted + 1.0).sqrt() + 3.0
    }
    let highest = |side: &CountedSide<'_>| {
        let blocks = side.counts.map(CountsOverTime::blocks).unwrap_or_default();
        let bursts = blocks.iter().filter(|count| **count > 0.0).count() as f64;
        side.total() as f64 / side.seconds * at_most(bursts) / bursts.max(1.0)
    };
    let lowest = |side: &CountedSide<'_>| side.rate().map(|mean| mean.mean * (1.0 - mean.margin()));
    let is_below = |less: &CountedSide<'_>, more: &CountedSide<'_>| {
        lowest(more).is_some_and(|low| highest(less) * (1.0 + LEAST_CHANGE) < low)
    };
    match (is_below(after, before), is_below(before, after)) {
        (true, _) => DiffVerdict::Down,
        (_, true) => DiffVerdict::Up,
        _ => DiffVerdict::Unknown(NotSaid::TooShort),
    }
}

/// Whether both recordings had what tells of it.
fn is_recorded_alike(quantity: Quantity, before: &SideFacts, after: &SideFacts) -> bool {
    match quantity {
        // Those that the timer alone shows are fewer.
        Quantity::Restarted(_) => (before.segments == SegmentSource::Timer) == (after.segments == SegmentSource::Timer),
        // What an answer tells of, or its lack, is seen without the hooks of calls, too.
        Quantity::Failed(
            _,
            Why::Refused
            | Why::TimedOut
            | Why::Unreachable
            | Why::GivenUp
            | Why::SoftError
            | Why::NeverSent
            | Why::Destroyed,
        ) => true,
        Quantity::Failed(..) => before.tells_refused_calls == after.tells_refused_calls,
        _ => true,
    }
}

fn gauge_row(key: (State, Option<String>), before: &Side, after: &Side) -> Option<GaugeRow> {
    let state = key.0;
    // What is in CLOSE is not followed.
    if state == State::Close {
        return None;
    }
    let of = |side: &Side| {
        let gauge = side.measured.gauges.get(&key);
        let blocks = gauge.map(Gauge::blocks).unwrap_or_default();
        let sum: f64 = blocks.iter().sum();
        // In TIME_WAIT it is the same sockets for a minute: as many as there are on the average are independent of each other, and no more.
        let independent = if state == State::TimeWait { sum / blocks.len().max(1) as f64 } else { sum };
        let mean = MeanOfBlocks::new(&blocks, &vec![1.0; blocks.len()], 1.0 / independent.max(1.0));
        let shown = GaugeSide {
            // Of what was not there at all it is 0.
            mean: gauge.map_or(Some(0.0), Gauge::mean),
            most: gauge.map_or(0, Gauge::most),
            at_the_end: gauge.map_or(0, Gauge::now),
            course: gauge.map(Gauge::means).unwrap_or_default(),
        };
        (shown, mean, blocks)
    };
    let ((before_side, old, old_blocks), (after_side, new, new_blocks)) = (of(before), of(after));
    let most = before_side.most.max(after_side.most);
    if most == 0 {
        return None;
    }
    let ratio = new.zip(old).and_then(|(new, old)| new.through(old));
    // Each event that was lost may be a socket too many, or too few.
    let lost = before.facts.lost().saturating_add(after.facts.lost());
    let apart = before_side.mean.unwrap_or_default() - after_side.mean.unwrap_or_default();
    let stands = lost == 0 || apart.abs() > lost as f64;
    let lengths = [before, after].map(|side| side.measured.window.seconds().max(f64::MIN_POSITIVE));
    let said = match (before_side.most, after_side.most, ratio) {
        (0, n, _) if n >= LEAST_EVENTS && would_show(&new_blocks, lengths[0] / lengths[1]) => DiffVerdict::New,
        (n, 0, _) if n >= LEAST_EVENTS && would_show(&old_blocks, lengths[1] / lengths[0]) => DiffVerdict::Gone,
        (0, ..) | (_, 0, _) => DiffVerdict::OneSided,
        _ if most < LEAST_EVENTS => DiffVerdict::Same,
        (_, _, Some(ratio)) => DiffVerdict::of(ratio),
        // What was there before a recording is there for a minute.
        (_, _, None) if state == State::TimeWait => DiffVerdict::Unknown(NotSaid::TooShort),
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
        DiffVerdict::Same => DiffVerdict::Unknown(NotSaid::TooShort),
        said => said,
    }
}

fn duration_row(key: (Lasting, Option<String>), before: &Side, after: &Side) -> Option<DurationRow> {
    let (old, new) = (before.measured.durations.get(&key), after.measured.durations.get(&key));
    let (lasting, subject) = key;
    let count = |durations: Option<&Durations>| durations.map_or(0, Durations::count);
    let counts = [count(old), count(new)];
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
            let beyond = durations.count() * u64::from(100 - percent) / 100;
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
        count_before: counts[0],
        count_after: counts[1],
        quantiles: QUANTILES
            .into_iter()
            .map(quantile)
            .filter(|row| row.before.is_some() || row.after.is_some())
            .collect(),
        spread_before: spread(old),
        spread_after: spread(new),
    })
}

/// Intervals that do not meet, of times that are far enough apart.
fn quantile_verdict(before: Quantile, after: Quantile, least_ns: u64) -> DiffVerdict {
    let (old, new) = (before.ns as f64, after.ns as f64);
    if before.ns.abs_diff(after.ns) <= least_ns {
        return DiffVerdict::Same;
    }
    match (before.low_ns.zip(before.high_ns), after.low_ns.zip(after.high_ns)) {
        (Some((_, high)), Some((low, _))) if low > high && new > old * (1.0 + LEAST_CHANGE) => DiffVerdict::Up,
        (Some((low, _)), Some((_, high))) if high < low && old > new * (1.0 + LEAST_CHANGE) => DiffVerdict::Down,
        (Some(_), Some(_)) => DiffVerdict::Same,
        _ => DiffVerdict::Unknown(NotSaid::TooShort),
    }
}
