//! What is counted over a time: transitions, times spent in states, how TIME_WAIT was left. Two of them add up.

use super::{
    dwell::{Dwell, DwellSummary},
    ends::{EndDwells, Ends},
    group_row::{ClosedFirst, Closer},
    histogram::TimeWaitHistogram,
    report::Exit,
    syn_recv::SynRecv,
};
use crate::{
    lifecycle::{KeptIn, Reason, RestartCause, Restarts, Timing, Transition},
    tcp::State,
};

/// The kernel's numbers of states start at 1; 0 stands for what was not seen.
const STATES: usize = State::ALL.len() + 1;

/// Counts over a time.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    transitions: [[u64; STATES]; STATES],
    dwells: [Dwell; STATES],
    exits: [Dwell; Reason::ALL.len()],
    exit_counts: [u64; Reason::ALL.len()],
    orphans: [u64; Reason::ALL.len()],
    /// Orphans' mini-sockets that went from FIN_WAIT2 to TIME_WAIT.
    pub(super) switched: u64,
    pub(super) restarts: u64,
    restart_causes: [u64; RestartCause::ALL.len()],
    pub(super) overflows: u64,
    pub(super) syn_recv: SynRecv,
    pub(super) closed: ClosedFirst,
    pub(super) ends: Ends,
    pub(super) end_dwells: EndDwells,
    pub(super) histogram: TimeWaitHistogram,
    /// The shortest and the longest TIME_WAIT that expired without a restart.
    pub(super) natural_ns: Option<(u64, u64)>,
}

impl Counts {
    /// A transition.
    pub fn step(&mut self, step: &Transition) {
        let from = step.from.map_or(0, |from| from as usize);
        let n = u64::from(step.stands_for);
        if let Some(count) = self.transitions.get_mut(from).and_then(|row| row.get_mut(step.to as usize)) {
            *count += n;
        }
        if let (Some(ns), Some(dwell)) = (step.dwell_ns, self.dwells.get_mut(from)) {
            dwell.record(ns, step.timing != Timing::Exact);
        }
        self.syn_recv.step(step);
        self.ends.step(step);
        self.end_dwells.step(step);
        let waited = (step.from, step.to, step.kept_in) == (Some(State::FinWait2), State::TimeWait, KeptIn::Mini);
        self.switched += n * u64::from(waited);
        match step.reason {
            Some(Reason::Overflow) => self.overflows += n,
            Some(reason) if step.from == Some(State::FinWait2) && step.kept_in == KeptIn::Mini => {
                if let Some(count) = self.orphans.get_mut(reason as usize) {
                    *count += n;
                }
            }
            _ => {}
        }
    }

    /// The exit from TIME_WAIT that a transition is.
    pub fn exit(&mut self, reason: Reason, step: &Transition, slack_ns: Option<u64>) {
        let n = u64::from(step.stands_for);
        if let Some(count) = self.exit_counts.get_mut(reason as usize) {
            *count += n;
        }
        let restarts = step.restarts.as_ref().map_or(0, Restarts::total);
        self.restarts += n * u64::from(restarts);
        for (cause, count) in step.restarts.iter().flat_map(Restarts::by_cause) {
            if let Some(sum) = self.restart_causes.get_mut(cause as usize) {
                *sum += n * u64::from(count);
            }
        }
        let Some(ns) = step.dwell_ns else { return };
        if let Some(dwell) = self.exits.get_mut(reason as usize) {
            dwell.record(ns, step.timing != Timing::Exact);
        }
        let natural = reason == Reason::Expired && restarts == 0;
        self.histogram.record((ns, n), natural, slack_ns);
        if natural {
            self.natural_ns = widest(self.natural_ns, Some((ns, ns)));
        }
    }

    /// Connections, so many of them, were closed.
    pub fn close(&mut self, closer: Closer, n: u64) {
        self.closed.count(closer, n);
    }

    /// Adds what was counted over another time.
    pub fn add(&mut self, other: &Self) {
        let counts =
            |mine: &mut [u64], theirs: &[u64]| mine.iter_mut().zip(theirs).for_each(|(mine, theirs)| *mine += theirs);
        for (mine, theirs) in self.transitions.iter_mut().zip(&other.transitions) {
            counts(mine, theirs);
        }
        counts(&mut self.exit_counts, &other.exit_counts);
        counts(&mut self.orphans, &other.orphans);
        counts(&mut self.restart_causes, &other.restart_causes);
        for (mine, theirs) in self.dwells.iter_mut().zip(&other.dwells).chain(self.exits.iter_mut().zip(&other.exits)) {
            mine.add(theirs);
        }
        self.switched += other.switched;
        self.restarts += other.restarts;
        self.overflows += other.overflows;
        self.syn_recv.add(&other.syn_recv);
        self.closed.add(other.closed);
        self.ends.add(&other.ends);
        self.end_dwells.add(&other.end_dwells);
        self.histogram.add(&other.histogram);
        self.natural_ns = widest(self.natural_ns, other.natural_ns);
    }

    /// How often a transition was seen.
    pub fn transition(&self, from: Option<State>, to: State) -> u64 {
        let row = self.transitions.get(from.map_or(0, |from| from as usize));
        row.and_then(|row| row.get(to as usize)).copied().unwrap_or_default()
    }

    /// Entries to a state.
    pub fn entered(&self, state: State) -> u64 {
        self.transitions.iter().filter_map(|row| row.get(state as usize)).sum()
    }

    /// Exits from a state. A listener does not leave LISTEN when a connection is made through it.
    pub fn left(&self, state: State) -> u64 {
        let to = |to: &usize| state != State::Listen || *to == State::Close as usize;
        let row = self.transitions.get(state as usize).into_iter().flatten().enumerate();
        row.filter(|(number, _)| to(number)).map(|(_, count)| count).sum()
    }

    /// Times spent in a state.
    pub fn dwell(&self, state: State) -> DwellSummary {
        self.dwells.get(state as usize).map(Dwell::summary).unwrap_or_default()
    }

    /// How TIME_WAIT was left.
    pub fn exits(&self, per_s: impl Fn(u64) -> Option<f64>) -> Vec<Exit> {
        let exits = Reason::ALL.into_iter().zip(self.exit_counts).zip(&self.exits);
        exits
            .filter(|((_, count), _)| *count > 0)
            .map(|((reason, count), dwell)| Exit { reason, count, rate_per_s: per_s(count), dwell: dwell.summary() })
            .collect()
    }

    /// Why the clock was restarted.
    pub fn restart_causes(&self) -> Vec<(RestartCause, u64)> {
        RestartCause::ALL.into_iter().zip(self.restart_causes).filter(|(_, count)| *count > 0).collect()
    }

    /// How an orphan's FIN_WAIT2 ended without TIME_WAIT.
    pub fn orphans(&self) -> Vec<(Reason, u64)> {
        Reason::ALL.into_iter().zip(self.orphans).filter(|(_, count)| *count > 0).collect()
    }
}

fn widest(a: Option<(u64, u64)>, b: Option<(u64, u64)>) -> Option<(u64, u64)> {
    match (a, b) {
        (Some((low_a, high_a)), Some((low_b, high_b))) => Some((low_a.min(low_b), high_a.max(high_b))),
        (one, other) => one.or(other),
    }
}
