//! A row of the comparison: the same thing before and after, and what that says.

use super::{
    blocks::CountsOverTime,
    durations::Quantile,
    interval::Ratio,
    measured::Lasting,
    quantity::{Direction, Quantity},
    verdict::{DiffVerdict, LEAST_EVENTS},
};
use crate::tcp::State;

/// Something that was counted.
#[derive(Debug)]
pub struct CountRow {
    /// What.
    pub quantity: Quantity,
    /// Whose: a group, or what failed; `None`: all.
    pub subject: Option<String>,
    /// Before.
    pub before: CountSide,
    /// After.
    pub after: CountSide,
    /// The rates: after through before; `None` where there were none on one side, or it cannot be said.
    pub rate: Option<Ratio>,
    /// The same of what comes to a thousand of what it is held against.
    pub share: Option<Ratio>,
    /// In so many parts of the time it came, before and after.
    pub bursts: [usize; 2],
    /// What that says.
    pub verdict: DiffVerdict,
}

/// A count on one side.
#[derive(Debug, Default)]
pub struct CountSide {
    /// How many; at least, where events were lost.
    pub count: u64,
    /// A second; `None` of no time.
    pub per_s: Option<f64>,
    /// For a thousand of what it is held against: connections that ended, or TIME_WAITs that ended. `None` of what is not held against anything, and where
    /// there were none.
    pub per_1000: Option<f64>,
    /// How many a second over time, and how long a part of it is in nanoseconds.
    pub course: (Vec<f64>, u64),
}

/// Sockets in a state.
#[derive(Debug)]
pub struct GaugeRow {
    /// The state.
    pub state: State,
    /// Whose: a group, looked at once a second or less; `None`: all, at each step.
    pub subject: Option<String>,
    /// Before.
    pub before: GaugeSide,
    /// After.
    pub after: GaugeSide,
    /// The means: after through before.
    pub ratio: Option<Ratio>,
    /// What that says.
    pub verdict: DiffVerdict,
}

/// Sockets on one side.
#[derive(Debug, Default)]
pub struct GaugeSide {
    /// The mean by time; `None` of no time.
    pub mean: Option<f64>,
    /// The most at once.
    pub most: u64,
    /// How many there were at the end.
    pub at_the_end: u64,
    /// The means over time, and how long a part of it is in nanoseconds.
    pub course: (Vec<f64>, u64),
}

/// A quantile of what took its time.
#[derive(Clone, Copy, Debug)]
pub struct QuantileRow {
    /// The share of those that took no longer, in percent.
    pub percent: u8,
    /// Before; `None` where too few are known.
    pub before: Option<Quantile>,
    /// After.
    pub after: Option<Quantile>,
    /// What that says.
    pub verdict: DiffVerdict,
}

/// How long something took.
#[derive(Debug)]
pub struct DurationRow {
    /// What.
    pub lasting: Lasting,
    /// Whose: a group; `None`: all.
    pub subject: Option<String>,
    /// How many are known before.
    pub count_before: u64,
    /// And after.
    pub count_after: u64,
    /// How many are still in it at the end of the one before.
    pub still_before: u64,
    /// And after.
    pub still_after: u64,
    /// The quantiles.
    pub quantiles: Vec<QuantileRow>,
    /// How they are spread before: each length in nanoseconds with how many took about so long.
    pub spread_before: Vec<(u64, u64)>,
    /// And after.
    pub spread_after: Vec<(u64, u64)>,
}

/// A setting that is not the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingRow {
    /// The network namespace.
    pub netns: String,
    /// Its name.
    pub name: String,
    /// Before; `None` where it was not there.
    pub before: Option<String>,
    /// After.
    pub after: Option<String>,
}

/// Where a change belongs, in the order in which it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeKind {
    /// A failure that was not there before.
    NewFailure,
    /// It got worse.
    Worse,
    /// It got better.
    Better,
    /// It was not there before.
    New,
    /// It is gone.
    Gone,
    /// It changed, and neither is better.
    Changed,
}

impl ChangeKind {
    /// Where a verdict belongs; `None` of what is no change.
    pub fn of(verdict: DiffVerdict, direction: Direction) -> Option<Self> {
        let bad = direction == Direction::MoreIsWorse;
        match verdict {
            DiffVerdict::New if bad => Some(Self::NewFailure),
            DiffVerdict::Up if bad => Some(Self::Worse),
            DiffVerdict::Down | DiffVerdict::Gone if bad => Some(Self::Better),
            DiffVerdict::New => Some(Self::New),
            DiffVerdict::Gone => Some(Self::Gone),
            DiffVerdict::Up | DiffVerdict::Down => Some(Self::Changed),
            DiffVerdict::WithLoad | DiffVerdict::OneSided | DiffVerdict::Same | DiffVerdict::Unknown(_) => None,
        }
    }
}

impl CountRow {
    /// The rate after through that before; `None` where either is nothing.
    pub fn change(&self) -> Option<f64> {
        let (before, after) = (self.before.per_s?, self.after.per_s?);
        (before > 0.0 && after > 0.0).then(|| after / before)
    }

    /// Where it belongs.
    pub fn kind(&self) -> Option<ChangeKind> {
        ChangeKind::of(self.verdict, self.quantity.direction())
    }
}

impl GaugeRow {
    /// Whether there is anything to say: of a group that has few, there is not.
    pub fn is_told(&self) -> bool {
        self.subject.is_none() || self.before.most.max(self.after.most) >= LEAST_EVENTS
    }

    /// The mean after through that before; `None` where either is nothing.
    pub fn change(&self) -> Option<f64> {
        let (before, after) = (self.before.mean?, self.after.mean?);
        (before > 0.0 && after > 0.0).then(|| after / before)
    }

    /// Whether more of it is worse: what nobody closes, and what nobody accepts.
    pub fn direction(&self) -> Direction {
        match self.state {
            State::CloseWait | State::SynRecv => Direction::MoreIsWorse,
            _ => Direction::Neither,
        }
    }

    /// Where it belongs. What was there is no failure by itself.
    pub fn kind(&self) -> Option<ChangeKind> {
        ChangeKind::of(self.verdict, self.direction())
            .map(|kind| if kind == ChangeKind::NewFailure { ChangeKind::Worse } else { kind })
    }
}

impl QuantileRow {
    /// Where it belongs.
    pub fn kind(&self, lasting: Lasting) -> Option<ChangeKind> {
        ChangeKind::of(self.verdict, lasting.direction())
    }
}

impl Lasting {
    /// Whether longer is worse: of what somebody waits for.
    pub fn direction(self) -> Direction {
        match self.0 {
            State::SynSent | State::SynRecv => Direction::MoreIsWorse,
            _ => Direction::Neither,
        }
    }

    /// As conditions and JSON have it.
    pub fn name(self) -> String {
        self.0.name().to_lowercase()
    }

    /// In words.
    pub fn words(self) -> String {
        format!("time in {}", self.0)
    }
}

impl CountSide {
    /// Of what was counted; `seconds`: how long; `base`: what it is held against.
    pub(super) fn new(counts: Option<&CountsOverTime>, seconds: f64, base: Option<u64>) -> Self {
        let count = counts.map_or(0, CountsOverTime::total);
        Self {
            count,
            per_s: (seconds > 0.0).then(|| count as f64 / seconds),
            per_1000: base.filter(|base| *base > 0).map(|base| count as f64 * 1000.0 / base as f64),
            course: counts.map(CountsOverTime::rates).unwrap_or_default(),
        }
    }
}
