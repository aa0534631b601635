//! How connections ended: every step to CLOSE by reason, detail and the state that was left, and whether many ended after the same time there.
//! Small enough to be kept for each of a thousand groups.

use super::dwell::{Dwell, DwellSummary};
use crate::{
    lifecycle::{Detail, Reason, Timing, Transition},
    tcp::State,
};

/// Ends over a time.
#[derive(Clone, Debug, Default)]
pub struct Ends(Vec<Row>);

/// Ends that are alike.
#[derive(Clone, Debug)]
struct Row {
    key: EndKey,
    /// How many, and how many were seen, each of which may stand for several.
    count: u64,
    seen: u64,
    times: EndTimes,
}

/// What they have in common; the state is `None` where it was not seen.
type EndKey = (Reason, Option<Detail>, Option<State>);

impl Ends {
    /// A step, if it leads to CLOSE.
    pub fn step(&mut self, step: &Transition) {
        if step.to != State::Close {
            return;
        }
        let key = (step.reason.unwrap_or(Reason::Unknown), step.detail, step.from);
        let row = self.row(key);
        row.count += u64::from(step.stands_for);
        row.seen += 1;
        if let Some(ns) = step.dwell_ns {
            row.times.record(ns, step.time_ns);
        }
    }

    fn row(&mut self, key: EndKey) -> &mut Row {
        let at = self.0.iter().position(|row| row.key == key).unwrap_or_else(|| {
            self.0.push(Row { key, count: 0, seen: 0, times: EndTimes::default() });
            self.0.len() - 1
        });
        // It was found or pushed just now.
        #[allow(clippy::indexing_slicing, reason = "the index is of this very vector")]
        &mut self.0[at]
    }

    /// Adds those of another time.
    pub fn add(&mut self, other: &Self) {
        for theirs in &other.0 {
            let mine = self.row(theirs.key);
            mine.count += theirs.count;
            mine.seen += theirs.seen;
            mine.times.add(&theirs.times);
        }
    }

    /// Whether nothing ended.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What a report says: the most frequent first.
    pub fn rows(&self) -> Vec<EndRow> {
        let row = |row: &Row| {
            let (reason, detail, from) = row.key;
            let times = row.times.summary(row.seen);
            let each = row.count.checked_div(row.seen).unwrap_or(1);
            let shared = times.shared.map(|shared| Shared { count: shared.count * each, ..shared });
            EndRow { reason, detail, from, count: row.count, seen: row.seen, times: TimesSummary { shared, ..times } }
        };
        let mut rows: Vec<EndRow> = self.0.iter().map(row).collect();
        rows.sort_by_key(|row| {
            (std::cmp::Reverse(row.count), row.reason as u8, row.detail, row.from.map(|from| from as u8))
        });
        rows
    }

    /// What stands out among the ends of a group, if anything does: a tenth of them, or a time that many share; and how many connections
    /// were over in all. `entered`: so many entered TIME_WAIT.
    pub fn outstanding(&self, entered: u64) -> Option<(EndRow, u64)> {
        const TENTH: u64 = 10;
        let otherwise = |row: &&Row| was_made(row.key.2) && row.key.2 != Some(State::TimeWait);
        let over = entered + self.0.iter().filter(otherwise).map(|row| row.count).sum::<u64>();
        let stands_out = |row: &EndRow| {
            let many = row.seen >= MANY && row.count * TENTH >= over;
            row.is_abnormal() && (many || row.times.shared.is_some())
        };
        // A time that many share says more than how many there are.
        let row =
            self.rows().into_iter().filter(stands_out).max_by_key(|row| (row.times.shared.is_some(), row.count))?;
        Some((row, over))
    }
}

/// Ends of one reason and detail, out of one state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndRow {
    /// Why.
    pub reason: Reason,
    /// How, in detail.
    pub detail: Option<Detail>,
    /// The state that was left; `None` where that was not seen.
    pub from: Option<State>,
    /// How many.
    pub count: u64,
    /// How many of these were seen: fewer, where each stands for several.
    pub seen: u64,
    /// How long they had been in that state.
    pub times: TimesSummary,
}

impl EndRow {
    /// Whether a connection that had been made is known to have ended otherwise than by FINs on both sides.
    pub fn is_abnormal(&self) -> bool {
        self.was_made()
            && !matches!(
                self.reason,
                Reason::Closed
                    | Reason::Expired
                    | Reason::ReusedByConnect
                    | Reason::ReusedBySyn
                    | Reason::Overflow
                    | Reason::Failed
                    | Reason::Unknown
            )
            && self.from != Some(State::TimeWait)
    }

    /// Whether the connection had been made.
    pub fn was_made(&self) -> bool {
        was_made(self.from)
    }
}

/// Whether a connection that leaves this state had been made.
pub fn was_made(from: Option<State>) -> bool {
    !matches!(from, Some(State::SynSent | State::SynRecv | State::Listen | State::Close))
}

/// Ends of one reason, with quantiles.
#[derive(Clone, Debug, Default)]
pub struct EndDwells(Vec<(Reason, Dwell)>);

impl EndDwells {
    /// A step, if it leads to CLOSE.
    pub fn step(&mut self, step: &Transition) {
        if let (State::Close, Some(ns)) = (step.to, step.dwell_ns) {
            self.of(step.reason.unwrap_or(Reason::Unknown)).record(ns, step.timing != Timing::Exact);
        }
    }

    fn of(&mut self, reason: Reason) -> &mut Dwell {
        let at = self.0.iter().position(|(known, _)| *known == reason).unwrap_or_else(|| {
            self.0.push((reason, Dwell::default()));
            self.0.len() - 1
        });
        #[allow(clippy::indexing_slicing, reason = "the index is of this very vector")]
        &mut self.0[at].1
    }

    /// Adds those of another time.
    pub fn add(&mut self, other: &Self) {
        for (reason, dwell) in &other.0 {
            self.of(*reason).add(dwell);
        }
    }

    /// How long those that ended for this reason had been in the state that they left.
    pub fn summary(&self, reason: Reason) -> DwellSummary {
        self.0.iter().find(|(known, _)| *known == reason).map(|(_, dwell)| dwell.summary()).unwrap_or_default()
    }
}

/// Times that are followed at once, to find one that many share. Whatever more than a ninth share is among them (Misra and Gries, 1982), and too few
/// are counted rather than too many, by a ninth of all at most.
const FOLLOWED: usize = 8;

/// Times are the same if they differ by less than a fiftieth, or by this, in nanoseconds: timers come late, and programs.
const SAME_NS: u64 = 50_000_000;

/// How many at least make a time worth telling.
const MANY: u64 = 5;

/// And how long it is at least, in nanoseconds: what takes less is the network's time, or the program's.
const LONG_NS: u64 = 1_000_000_000;

/// Times spent in a state: their number, sum and extremes, and those that many share.
#[derive(Clone, Copy, Debug, Default)]
struct EndTimes {
    known: u64,
    sum_ns: u128,
    min_ns: u64,
    max_ns: u64,
    followed: [Followed; FOLLOWED],
}

/// Of a time that many share, how far apart the ends must lie, in times of what makes two times the same. Connections that were made at once and
/// ended at once have the same time too, whatever ended them: a process that was killed, a deployment.
const APART: u64 = 4;

/// A time, and how many share it at least.
#[derive(Clone, Copy, Debug, Default)]
struct Followed {
    count: u64,
    sum_ns: u128,
    /// When the first and the last of them ended.
    first_ns: u64,
    last_ns: u64,
}

impl Followed {
    fn mean_ns(&self) -> u64 {
        self.sum_ns.checked_div(self.count.into()).and_then(|mean| u64::try_from(mean).ok()).unwrap_or_default()
    }

    /// By how much times may differ that are the same.
    fn width_ns(&self) -> u64 {
        SAME_NS.max(self.mean_ns() / 50)
    }

    fn is_near(&self, ns: u64) -> bool {
        self.count > 0 && self.mean_ns().abs_diff(ns) <= self.width_ns()
    }

    /// Whether the connections ended one after the other, so that it is the time that they share, and not the moment.
    fn is_of_many_moments(&self) -> bool {
        self.last_ns.saturating_sub(self.first_ns) >= APART * self.width_ns()
    }
}

impl EndTimes {
    /// A time, of a connection that ended then.
    fn record(&mut self, ns: u64, ended_ns: u64) {
        self.take(&Self { known: 1, sum_ns: ns.into(), min_ns: ns, max_ns: ns, followed: Default::default() });
        self.follow(Followed { count: 1, sum_ns: ns.into(), first_ns: ended_ns, last_ns: ended_ns });
    }

    fn take(&mut self, other: &Self) {
        (self.min_ns, self.max_ns) = match (self.known, other.known) {
            (0, _) => (other.min_ns, other.max_ns),
            (_, 0) => return,
            _ => (self.min_ns.min(other.min_ns), self.max_ns.max(other.max_ns)),
        };
        self.known += other.known;
        self.sum_ns += other.sum_ns;
    }

    fn follow(&mut self, new: Followed) {
        let mean_ns = new.mean_ns();
        if let Some(same) = self.followed.iter_mut().find(|followed| followed.is_near(mean_ns)) {
            same.count += new.count;
            same.sum_ns += new.sum_ns;
            same.first_ns = same.first_ns.min(new.first_ns);
            same.last_ns = same.last_ns.max(new.last_ns);
            return;
        }
        let Some(least) = self.followed.iter_mut().min_by_key(|followed| followed.count) else { return };
        if least.count == 0 {
            *least = new;
            return;
        }
        // All give way by as many as the least of them, or as many as came.
        let less = least.count.min(new.count);
        for followed in &mut self.followed {
            let mean_ns = followed.mean_ns();
            followed.count -= less;
            followed.sum_ns = u128::from(mean_ns) * u128::from(followed.count);
        }
        if new.count > less {
            self.follow(Followed {
                count: new.count - less,
                sum_ns: u128::from(mean_ns) * u128::from(new.count - less),
                ..new
            });
        }
    }

    fn add(&mut self, other: &Self) {
        self.take(other);
        for followed in other.followed.iter().filter(|followed| followed.count > 0) {
            self.follow(*followed);
        }
    }

    fn summary(&self, of: u64) -> TimesSummary {
        let known = (self.known > 0).then_some(self);
        let most = self.followed.iter().max_by_key(|followed| followed.count);
        let shared = most.filter(|most| {
            most.count >= MANY && most.count * 3 >= of && most.mean_ns() >= LONG_NS && most.is_of_many_moments()
        });
        TimesSummary {
            known: self.known,
            mean_ns: self.sum_ns.checked_div(self.known.into()).and_then(|mean| u64::try_from(mean).ok()),
            min_ns: known.map(|times| times.min_ns),
            max_ns: known.map(|times| times.max_ns),
            shared: shared.map(|most| Shared { ns: most.mean_ns(), count: most.count }),
        }
    }
}

/// What is said of times spent in a state. Nanoseconds; `None` where there were none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimesSummary {
    /// How many are known.
    pub known: u64,
    /// Their mean.
    pub mean_ns: Option<u64>,
    /// The shortest.
    pub min_ns: Option<u64>,
    /// The longest.
    pub max_ns: Option<u64>,
    /// One that a third of them share or more.
    pub shared: Option<Shared>,
}

/// A time that many share which ended one after the other: somebody's timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shared {
    /// Their mean.
    pub ns: u64,
    /// How many, at least.
    pub count: u64,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn times(all: impl IntoIterator<Item = u64>) -> EndTimes {
        let mut times = EndTimes::default();
        all.into_iter().zip(0..).for_each(|(ns, n)| times.record(ns, n * S));
        times
    }

    const S: u64 = 1_000_000_000;

    #[test]
    fn a_time_that_many_share_is_found_among_others() {
        let idle = (0..60).map(|n| 60 * S + n * 1_000_000);
        let others = (1..50).map(|n| n * n * 7_000_000);
        let mixed = times(others.clone().zip(idle.clone()).flat_map(|(a, b)| [a, b]).chain(idle.skip(49)));
        let said = mixed.summary(mixed.known).shared.map(|shared| (shared.ns / S, shared.count > 40));
        assert_eq!(said, Some((60, true)));
        assert_eq!(times(others).summary(49).shared, None);
        // Few, or short ones.
        assert_eq!(times([60 * S; 4]).summary(4).shared, None);
        assert_eq!(times([S / 2; 400]).summary(400).shared, None);
        // All at once.
        let mut killed = EndTimes::default();
        (0..400).for_each(|n| killed.record(60 * S + n * 1_000_000, 100 * S + n * 1_000_000));
        assert_eq!(killed.summary(400).shared, None);
        // The times of most are not known.
        assert_eq!(times([60 * S; 9]).summary(28).shared, None);
    }

    proptest! {
        #[test]
        fn two_times_add_up(first in prop::collection::vec(0..100 * S, 0..60), second in prop::collection::vec(0..100 * S, 0..60)) {
            let mut sum = times(first.clone());
            sum.add(&times(second.clone()));
            let all = [first, second].concat();
            let said = sum.summary(all.len() as u64);
            prop_assert_eq!(said.known, all.len() as u64);
            prop_assert_eq!((said.min_ns, said.max_ns), (all.iter().min().copied(), all.iter().max().copied()));
            prop_assert_eq!(said.mean_ns, all.iter().sum::<u64>().checked_div(all.len() as u64));
            if let Some(shared) = said.shared {
                let near = all.iter().filter(|ns| ns.abs_diff(shared.ns) <= 2 * SAME_NS.max(shared.ns / 25)).count() as u64;
                prop_assert!(shared.count <= near + all.len() as u64 / 5, "{shared:?}, {near} near of {}", all.len());
            }
        }
    }
}
