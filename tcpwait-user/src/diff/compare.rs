//! Two recordings, held against each other.

mod lengths;
mod levels;

use std::collections::BTreeSet;

use self::{lengths::duration_row, levels::gauge_row};
use super::{
    blocks::{CountsOverTime, Window},
    comparable::{SideFacts, Unlike, tell_apart, unlike},
    interval::{MeanOfBlocks, Ratio},
    measured::{Lasting, Measured},
    quantity::{Base, Quantity},
    row::{CountRow, CountSide, DurationRow, GaugeRow, SettingRow},
    settings::settings,
    verdict::{DiffVerdict, LEAST_BURSTS, LEAST_CHANGE, LEAST_EVENTS, NotSaid},
};
use crate::{lifecycle::SegmentSource, tcp::State};

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
    /// Connections that ended of which both ends are in it and count, before and after.
    pub both_ends: [u64; 2],
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
    pub fn new(mut before: Side, mut after: Side) -> Self {
        tell_apart(&mut before.facts, &mut after.facts);
        let keys: BTreeSet<(Quantity, Option<String>)> =
            before.measured.keys().into_iter().chain(after.measured.keys()).collect();
        // What left TIME_WAIT has a row for each reason.
        let rows = keys.into_iter().filter(|(quantity, _)| *quantity != Quantity::TimeWaitLeft);
        // Where one has no such counter, its 0 is none.
        let is_counted = |(quantity, _): &(Quantity, Option<String>)| {
            !matches!(quantity, Quantity::Kernel(_))
                || [&before, &after].iter().all(|side| side.facts.tells_of(*quantity))
        };
        let rows = rows.filter(is_counted);
        let counts = rows.map(|(quantity, subject)| count_row(quantity, subject, &before, &after)).collect();
        let states: BTreeSet<(State, Option<String>)> =
            before.measured.gauges.keys().chain(after.measured.gauges.keys()).cloned().collect();
        let gauges = states.into_iter().filter_map(|key| gauge_row(key, &before, &after)).collect();
        let lasting: BTreeSet<(Lasting, Option<String>)> =
            before.measured.durations.keys().chain(after.measured.durations.keys()).cloned().collect();
        let durations = lasting.into_iter().filter_map(|key| duration_row(key, &before, &after)).collect();
        let delayed = [before.measured.delayed, after.measured.delayed];
        let both_ends = [before.measured.both_ends, after.measured.both_ends];
        let unlike = unlike(&before.facts, &after.facts, delayed);
        let settings = (before.facts.has_settings && after.facts.has_settings)
            .then(|| settings(&before.measured, &after.measured));
        let mut report = Self {
            before: before.facts,
            after: after.facts,
            unlike,
            delayed,
            both_ends,
            counts,
            gauges,
            durations,
            settings,
        };
        if report.is_of_one() {
            report.all_is_the_same();
        }
        report
    }

    /// Whether both are the same part of the same recording.
    pub fn is_of_one(&self) -> bool {
        self.unlike.contains(&Unlike::SameRecording)
    }

    /// Of how little it may be: what is held against itself is the same.
    fn all_is_the_same(&mut self) {
        let counts = self.counts.iter_mut().map(|row| &mut row.verdict);
        let gauges = self.gauges.iter_mut().map(|row| &mut row.verdict);
        let durations = self.durations.iter_mut().flat_map(|row| &mut row.quantiles).map(|row| &mut row.verdict);
        for verdict in counts.chain(gauges).chain(durations) {
            if matches!(verdict, DiffVerdict::Unknown(why) if *why != NotSaid::Lost) {
                *verdict = DiffVerdict::Same;
            }
        }
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
    let bursts = [&other, &mine].map(|side| side.blocks().iter().filter(|count| **count > 0.0).count());
    CountRow { quantity, subject, before: other.side(), after: mine.side(), rate, share, bursts, verdict }
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
        would_show(&self.blocks(), other.seconds / self.seconds)
    }

    fn blocks(&self) -> Vec<f64> {
        self.counts.map(CountsOverTime::blocks).unwrap_or_default()
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
        (one, other) if one.max(other) < LEAST_EVENTS => DiffVerdict::Unknown(NotSaid::TooShort),
        _ => match (rate, share, quantity.base()) {
            (None, ..) => few_bursts(before, after),
            (Some(rate), _, Base::None) => DiffVerdict::of(rate),
            // Nothing is there to hold it against.
            (Some(rate), None, _) => DiffVerdict::of(rate),
            (Some(rate), Some(share), _) => match (DiffVerdict::of(rate), DiffVerdict::of(share)) {
                (rate, share) if rate == share => rate,
                (DiffVerdict::Unknown(why), _) => DiffVerdict::Unknown(why),
                (_, DiffVerdict::Unknown(_)) => DiffVerdict::Unknown(NotSaid::ForEach),
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
    let bursts = blocks.iter().filter(|count| **count > 0.0).count();
    bursts as f64 * length >= LEAST_BURSTS
}

/// Where what came on one side came in too few bursts for an interval: whether it would be less than on the other side if so many more bursts had come as may
/// have been missed by chance.
fn few_bursts(before: &CountedSide<'_>, after: &CountedSide<'_>) -> DiffVerdict {
    /// So many of a number that is known are meant where one was counted, with 99.5 percent (the upper end of a Poisson interval, from above).
    fn at_most(counted: f64) -> f64 {
        counted + 2.6 * (counted + 1.0).sqrt() + 3.0
    }
    let highest = |side: &CountedSide<'_>| {
        let blocks = side.blocks();
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
        _ => before.tells_of(quantity) == after.tells_of(quantity),
    }
}
