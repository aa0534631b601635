//! What became of each connection: the states that it went through, until it ended; and calls that failed. Memory is bounded: connections beyond the
//! limit end without their former states, and of many endings the newest wait for the screen.

use std::{collections::VecDeque, sync::Arc};

use hashbrown::HashMap;

use super::snapshot::{EarlyEnder, EarlyRow};
use crate::{
    connection::{ByName, Name},
    lifecycle::{Failure, Reason, Timing, Transition, Update},
    tcp::State,
};

/// Connections whose states are kept until they end: 15 MB.
const MAX_FOLLOWED: usize = 50_000;

/// States of one connection that are kept. None goes through more but by connect() again and again.
const MAX_STEPS: usize = 12;

/// Stories of each kind that are kept: ends as they should be, and all else. Where there are thousands of the ones, the others stay.
pub const KEPT: usize = 2_500;

/// Ends of TIME_WAIT that are told apart.
const MAX_EARLY: usize = 1_000;

/// How a connection ended, or a call that failed.
#[derive(Clone, Debug)]
pub struct Story {
    /// The first is 1.
    pub number: u64,
    /// What happened.
    pub what: Happened,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Happened {
    /// A connection ended.
    Ended(Box<Life>),
    /// A call failed.
    Failed(Box<Failure>),
}

/// A connection that has ended.
#[derive(Clone, Debug)]
pub struct Life {
    /// The states that it left before the last, the oldest first.
    pub before: Vec<LifeStep>,
    /// Whether these are all that were seen.
    pub is_whole: bool,
    /// Its last step.
    pub last: Transition,
}

/// A state that a connection left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LifeStep {
    /// When it left it, in nanoseconds of `CLOCK_MONOTONIC`.
    pub time_ns: u64,
    /// The state; `None` where what came before was not seen.
    pub state: Option<State>,
    /// Nanoseconds spent in it.
    pub dwell_ns: Option<u64>,
    /// Where that is not known: at least.
    pub at_least_ns: Option<u64>,
    /// How exactly it is known.
    pub timing: Timing,
}

impl LifeStep {
    /// The state that a step leaves.
    pub fn of(step: &Transition) -> Self {
        let Transition { time_ns, from, dwell_ns, dwell_at_least_ns, timing, .. } = *step;
        Self { time_ns, state: from, dwell_ns, at_least_ns: dwell_at_least_ns, timing }
    }
}

impl Life {
    /// Every state that it left, the last included.
    pub fn steps(&self) -> impl Iterator<Item = LifeStep> + '_ {
        self.before.iter().copied().chain([LifeStep::of(&self.last)])
    }
}

impl Story {
    /// Whether it is how a connection should end: by FINs, and TIME_WAIT by its timer.
    pub fn is_as_it_should_be(&self) -> bool {
        match &self.what {
            Happened::Failed(_) => false,
            Happened::Ended(life) => {
                let Transition { reason, detail, .. } = &life.last;
                matches!(reason, Some(Reason::Expired | Reason::Closed)) && detail.is_none()
            }
        }
    }
}

/// Stories, the newest last: of each kind at most [`KEPT`].
#[derive(Clone, Debug, Default)]
pub struct StoryRing {
    good: VecDeque<Arc<Story>>,
    bad: VecDeque<Arc<Story>>,
    /// How many gave way to newer ones.
    pub dropped: u64,
}

impl StoryRing {
    /// Takes one in.
    pub fn push(&mut self, story: Arc<Story>) {
        let ring = if story.is_as_it_should_be() { &mut self.good } else { &mut self.bad };
        if ring.len() >= KEPT {
            ring.pop_front();
            self.dropped += 1;
        }
        ring.push_back(story);
    }

    /// Takes in those of another, which came later.
    pub fn append(&mut self, later: Self) {
        self.dropped += later.dropped;
        later.good.into_iter().chain(later.bad).for_each(|story| self.push(story));
    }

    /// Those up to this one, the newest first.
    pub fn until(&self, number: u64) -> Vec<&Arc<Story>> {
        let both = self.good.iter().chain(&self.bad);
        let mut stories: Vec<_> = both.filter(|story| story.number <= number).collect();
        stories.sort_unstable_by_key(|story| std::cmp::Reverse(story.number));
        stories
    }

    /// One of them.
    pub fn get(&self, number: u64) -> Option<&Arc<Story>> {
        let both = [&self.good, &self.bad];
        both.into_iter().find_map(|ring| ring.get(ring.binary_search_by_key(&number, |story| story.number).ok()?))
    }
}

/// A way in which TIME_WAITs ended before their time: how many, and the sum of known times.
#[derive(Clone, Copy, Debug, Default)]
struct Early {
    count: u64,
    estimate: bool,
    timed: u64,
    ns: u64,
}

/// Makes stories of updates.
#[derive(Debug, Default)]
pub struct Stories {
    lives: ByName<(Vec<LifeStep>, bool)>,
    early: HashMap<(Reason, EarlyEnder), Early>,
    untold: StoryRing,
    told: u64,
}

impl Stories {
    /// Something happened to a connection that is wanted.
    pub fn update(&mut self, update: &Update) {
        match update {
            Update::Transition(step) => self.step(step),
            Update::Failed(failure) => self.tell(Happened::Failed(failure.clone())),
            Update::Lost { id, flow } => drop(self.lives.remove(&Name::of(*id, flow))),
            Update::Found(_) | Update::Owned { .. } => {}
        }
    }

    /// The stories since this was asked last.
    pub fn take(&mut self) -> StoryRing {
        std::mem::take(&mut self.untold)
    }

    /// The number of the last one.
    pub fn told(&self) -> u64 {
        self.told
    }

    /// TIME_WAITs that ended before their time, the most first.
    pub fn early(&self) -> Vec<EarlyRow> {
        let row = |((reason, by), early): (&(Reason, EarlyEnder), &Early)| EarlyRow {
            reason: *reason,
            by: *by,
            count: early.count,
            estimate: early.estimate,
            mean_ns: early.ns.checked_div(early.timed),
        };
        let mut rows: Vec<EarlyRow> = self.early.iter().map(row).collect();
        rows.sort_unstable_by_key(|row| (std::cmp::Reverse(row.count), row.reason as u8, row.by));
        rows
    }

    fn step(&mut self, step: &Transition) {
        // A listener is no connection, and stays what it is when one is made through it.
        if step.to == State::Listen || (step.from == Some(State::Listen) && step.to == State::Close) {
            return;
        }
        let name = Name::of(step.id, &step.flow);
        let known = self.lives.remove(&name).or_else(|| self.lives.remove(&name.portless()));
        let known = known.or_else(|| self.lives.remove(&name.anonymous()));
        // One that has ended before is another life.
        let is_new = matches!(step.from, None | Some(State::Close | State::Listen)) || step.predates;
        let known = known.filter(|_| step.from != Some(State::Close));
        let (mut before, mut is_whole) = known.unwrap_or_else(|| (Vec::new(), is_new));
        if step.to == State::Close {
            self.count_early(step);
            return self.tell(Happened::Ended(Box::new(Life { before, is_whole, last: step.clone() })));
        }
        if step.from.is_some_and(|from| from != State::Close && from != State::Listen) {
            if before.len() < MAX_STEPS {
                before.push(LifeStep::of(step));
            } else {
                is_whole = false;
            }
        }
        if self.lives.len() < MAX_FOLLOWED {
            self.lives.insert(name, (before, is_whole));
        }
    }

    fn count_early(&mut self, step: &Transition) {
        // One whose end was lost is taken to be over once its time is.
        let is_early = |reason: &Reason| !matches!(reason, Reason::Expired | Reason::Unknown);
        let Some(reason) = step.reason.filter(is_early) else { return };
        if step.from != Some(State::TimeWait) {
            return;
        }
        let by = match (reason, &step.by) {
            (_, Some(by)) => EarlyEnder::Process(by.comm),
            (Reason::Reset | Reason::ReusedBySyn, None) => EarlyEnder::Peer(step.flow.raddr),
            _ => EarlyEnder::Unknown,
        };
        let has_room = self.early.len() < MAX_EARLY || self.early.contains_key(&(reason, by));
        let early = self.early.entry((reason, if has_room { by } else { EarlyEnder::Other })).or_default();
        early.count += u64::from(step.stands_for);
        early.estimate |= step.stands_for > 1;
        if let Some(ns) = step.dwell_ns {
            early.timed += 1;
            early.ns = early.ns.saturating_add(ns);
        }
    }

    fn tell(&mut self, what: Happened) {
        self.told += 1;
        self.untold.push(Arc::new(Story { number: self.told, what }));
    }
}
