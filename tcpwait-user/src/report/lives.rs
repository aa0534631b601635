//! Single connections to be looked at: those that ended otherwise than they should, the longest, the shortest, and some by chance. Of all others nothing is kept.

use std::rc::Rc;

use hashbrown::HashMap;
use twox_hash::XxHash32;

use crate::{
    event::Task,
    lifecycle::{Detail, Reason},
    tcp::{Flow, State},
    timeline::{Drawn, Stay, Stroke},
};

/// So many that ended otherwise than they should.
const NOTABLE: usize = 80;

/// So many of each other kind.
const OTHERS: usize = 40;

/// So many connections that have not ended are kept in mind; of more nothing is shown.
const MAX_OPEN: usize = 200_000;

/// So many stays of one: a connection has six, unless it is connected again and again. (A picture has two shapes for each of 200 connections' stays.)
const MAX_STAYS: usize = 8;

/// A connection.
#[derive(Clone, Debug)]
pub struct SampledLife {
    /// Its number, and which side made it.
    pub of: Drawn,
    /// The addresses.
    pub flow: Flow,
    /// Whose it is, where that is known.
    pub owner: Option<Task>,
    /// The states that it was in, one after the other.
    pub stays: Vec<Stay>,
    /// How it ended, where that was seen.
    pub end: Option<(Reason, Option<Detail>)>,
    /// Whether it ended otherwise than it should.
    pub is_notable: bool,
}

impl SampledLife {
    /// From when to when it is known, in nanoseconds of `CLOCK_MONOTONIC`.
    pub fn span_ns(&self) -> (u64, u64) {
        let begin = self.stays.first().map_or(0, |stay| stay.begin_ns);
        (begin, self.stays.last().map_or(begin, |stay| stay.end_ns))
    }

    fn length_ns(&self) -> u64 {
        let (begin, end) = self.span_ns();
        end.saturating_sub(begin)
    }
}

/// Those that are kept.
#[derive(Debug, Default)]
pub struct SampledLives {
    open: HashMap<u64, SampledLife>,
    notable: Vec<Rc<SampledLife>>,
    longest: Vec<(u64, Rc<SampledLife>)>,
    shortest: Vec<(u64, Rc<SampledLife>)>,
    by_chance: Vec<(u64, Rc<SampledLife>)>,
    /// All that there were.
    all: u64,
    all_notable: u64,
    overlooked: u64,
}

impl SampledLives {
    /// Something of a connection is known.
    pub fn stroke(&mut self, stroke: &Stroke<'_>) {
        match stroke {
            Stroke::Line { of, flow, owner } => {
                self.all += 1;
                if self.open.len() >= MAX_OPEN {
                    self.overlooked += 1;
                    return;
                }
                let owner = owner.cloned();
                let life =
                    SampledLife { of: *of, flow: **flow, owner, stays: Vec::new(), end: None, is_notable: false };
                self.open.insert(of.line, life);
            }
            Stroke::Stay { of, stay, step } => {
                let Some(life) = self.open.get_mut(&of.line) else { return };
                if life.stays.len() < MAX_STAYS {
                    life.stays.push(*stay);
                }
                if let Some(step) = step.filter(|step| step.to == State::Close) {
                    life.end = step.reason.map(|reason| (reason, step.detail));
                    life.is_notable = step.reason.is_some_and(|reason| is_notable(reason, step.detail));
                }
                let is_over = stay.is_open || step.is_some_and(|step| step.to == State::Close);
                if is_over && let Some(life) = self.open.remove(&of.line) {
                    self.over(life);
                }
            }
            Stroke::Count { .. } => {}
        }
    }

    /// There is no more.
    pub fn finish(&mut self) {
        let mut open: Vec<SampledLife> =
            self.open.drain().map(|(_, life)| life).filter(|life| !life.stays.is_empty()).collect();
        open.sort_unstable_by_key(|life| life.of.line);
        open.into_iter().for_each(|life| self.over(life));
    }

    fn over(&mut self, life: SampledLife) {
        if life.stays.iter().all(|stay| stay.state == State::Listen) {
            self.all -= 1;
            return;
        }
        let life = Rc::new(life);
        if life.is_notable {
            self.all_notable += 1;
            if self.notable.len() < NOTABLE {
                self.notable.push(Rc::clone(&life));
            }
        }
        offer(&mut self.longest, life.length_ns(), &life);
        offer(&mut self.shortest, u64::MAX - life.length_ns(), &life);
        offer(&mut self.by_chance, u64::from(XxHash32::oneshot(0, &life.of.line.to_le_bytes())), &life);
    }

    /// How many connections there were; of them those that ended otherwise than they should; and those that were too many to be kept in mind.
    pub fn counts(&self) -> (u64, u64, u64) {
        (self.all, self.all_notable, self.overlooked)
    }

    /// Those to be shown, each once, in the order in which they began.
    pub fn shown(&self) -> Vec<Rc<SampledLife>> {
        let others = [&self.longest, &self.shortest, &self.by_chance].into_iter().flatten().map(|(_, life)| life);
        let mut all: Vec<Rc<SampledLife>> = self.notable.iter().chain(others).map(Rc::clone).collect();
        all.sort_unstable_by_key(|life| life.of.line);
        all.dedup_by_key(|life| life.of.line);
        all.sort_by_key(|life| life.span_ns());
        all
    }
}

/// Whether something went otherwise than it should: neither FINs on both sides nor a TIME_WAIT that took its time. What is unknown is not said to be wrong.
fn is_notable(reason: Reason, detail: Option<Detail>) -> bool {
    // One that its process closed before it was made was never made.
    let is_given_up = matches!(detail, Some(Detail::GivenUp | Detail::SoftError));
    is_given_up || !matches!(reason, Reason::Closed | Reason::Expired | Reason::Unknown)
}

/// Keeps those with the highest keys, in descending order.
fn offer(kept: &mut Vec<(u64, Rc<SampledLife>)>, key: u64, life: &Rc<SampledLife>) {
    if kept.len() >= OTHERS && kept.last().is_some_and(|(least, _)| *least >= key) {
        return;
    }
    let place = kept.partition_point(|(other, _)| *other >= key);
    kept.insert(place, (key, Rc::clone(life)));
    kept.truncate(OTHERS);
}
