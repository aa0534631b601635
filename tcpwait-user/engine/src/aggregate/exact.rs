//! What the kernel side counted itself, transition by transition: exact also where the ring buffer lost what the transitions were of.
//!
//! It counts what its hooks see: state changes of full sockets, and beginnings and ends of mini-sockets. Where the textbook's
//! transition is a sum or a difference of those that cannot be told apart, there is no number.

use tcpwait_wire::wire::{self, Counter, transition_slot};

use super::LIFE;
use crate::tcp::State;

/// Counts at the start of the interval, and now.
#[derive(Clone, Debug, Default)]
pub struct Exact {
    begin: Option<Counted>,
    now: Option<Counted>,
}

/// Counts since the start, or over an interval.
#[derive(Clone, Debug)]
pub struct Counted {
    values: [u64; wire::COUNTERS],
    transitions: [u64; wire::TRANSITIONS],
    /// Whether a mini-socket has ever begun in FIN_WAIT2, so that one may enter TIME_WAIT at any time, which no hook counts.
    orphans: bool,
}

impl Exact {
    /// The counts so far.
    pub fn set(&mut self, counters: &wire::Counters) {
        let orphans = counters.values.get(Counter::TwEnteredFinWait2 as usize).is_some_and(|count| *count > 0);
        self.now = Some(Counted { values: counters.values, transitions: counters.transitions, orphans });
    }

    /// The interval is over.
    pub fn end_interval(&mut self) {
        self.begin = self.now.clone();
    }

    /// Since the start of the interval or (`whole`) of everything; `None` when the counts are missing.
    pub fn since(&self, whole: bool) -> Option<Counted> {
        let mut counted = self.now.clone()?;
        if let Some(begin) = self.begin.as_ref().filter(|_| !whole) {
            let both = counted.values.iter_mut().zip(&begin.values);
            for (now, begin) in both.chain(counted.transitions.iter_mut().zip(&begin.transitions)) {
                *now = now.saturating_sub(*begin);
            }
        }
        Some(counted)
    }
}

impl Counted {
    /// How often a transition of the textbook occurred; `None` where the hooks cannot tell.
    pub fn transition(&self, from: State, to: State) -> Option<u64> {
        let closing = self.change(State::Closing, State::Close);
        match (from, to) {
            (from, to) if from == to => None,
            (State::FinWait2, State::TimeWait) => {
                (!self.orphans && closing == 0).then(|| self.value(Counter::TwEntered))
            }
            // Handed over, or ended; and an orphan's mini-socket ends too.
            (State::FinWait2 | State::Closing, State::TimeWait | State::Close) | (State::TimeWait, _) => None,
            (from, to) => Some(self.change(from, to)),
        }
    }

    /// Entries to a state by any way; `None` where the hooks cannot tell one of them.
    pub fn entered(&self, state: State) -> Option<u64> {
        let from = LIFE.into_iter().filter(|&from| from != state && (from != State::TimeWait || state == State::Close));
        from.map(|from| self.transition(from, state)).sum()
    }

    /// Exits from a state by any way; `None` where the hooks cannot tell one of them.
    pub fn left(&self, state: State) -> Option<u64> {
        // A mini-socket takes over in two states only.
        // A listener does not leave LISTEN when a connection is made through it.
        let to = LIFE.into_iter().filter(|&to| (state, to) != (State::Listen, State::SynRecv));
        let to = to
            .filter(|&to| to != state && (to != State::TimeWait || matches!(state, State::FinWait2 | State::Closing)));
        to.map(|to| self.transition(state, to)).sum()
    }

    /// Whether records were left out since only some connections are told of.
    pub fn is_thinned(&self) -> bool {
        self.value(Counter::Thinned) > 0
    }

    /// Mini-sockets that began in TIME_WAIT: of the entries, those that no orphan made later.
    pub fn begun_in_time_wait(&self) -> u64 {
        self.value(Counter::TwEntered).saturating_sub(self.value(Counter::TwEnteredFinWait2))
    }

    /// Connections that entered SYN_RECV.
    pub fn syn_recv(&self) -> u64 {
        self.value(Counter::ReqEntered)
    }

    fn value(&self, counter: Counter) -> u64 {
        self.values.get(counter as usize).copied().unwrap_or_default()
    }

    fn change(&self, from: State, to: State) -> u64 {
        self.transitions.get(transition_slot(from as u8, to as u8)).copied().unwrap_or_default()
    }
}
