//! What the machines of the model share, and belongs to none of them: time, whose sockets are, who listens, what has been counted.

use std::sync::Arc;

use hashbrown::HashSet;

use super::{
    OlderConnection, Update,
    counts::{ModelCounts, Unmatched},
    effort::Effort,
    jiffies::JiffyClock,
};
use crate::{
    event::{Seed, Task},
    origin::{Endpoint, Listened, Origin},
    symbols::Symbols,
    tcp::{Flow, State},
};

/// How long a step waits for the port that the kernel chooses only after it. `tcp_v4_connect` takes microseconds.
pub(super) const PORT_PATIENCE_NS: u64 = 100_000_000;

/// How long what ran out or was cancelled waits for the next event of its context, which says what it was.
pub(super) const HOLD_NS: u64 = 10_000_000;

/// A socket is in the kernel's tables microseconds after its event, or before; but who makes it may be preempted meanwhile.
pub(super) const HASHED_NS: u64 = 1_000_000_000;

/// How many distinct owners are shared before the table starts anew; it only saves memory.
const SHARED_OWNERS: usize = 4096;

/// What every machine is given with an event.
#[derive(Debug, Default)]
pub(super) struct Common {
    pub(super) symbols: Symbols,
    pub(super) clock: JiffyClock,
    /// The time of the latest event.
    pub(super) now_ns: u64,
    /// Where anybody was ever seen to listen.
    pub(super) listened: Listened,
    /// Whether the sockets that were there before are known.
    pub(super) seeds_read: bool,
    pub(super) effort: Effort,
    /// Of how many connections one is told of, once that is not all: what began or ended untold has not been lost.
    pub(super) thinned: Option<u32>,
    pub(super) tally: ModelCounts,
    owners: SharedOwners,
    ended: EndedSockets,
}

/// The processes that sockets belong to. Many connections have few.
#[derive(Debug, Default)]
struct SharedOwners {
    all: HashSet<Arc<Task>>,
    last: Option<Arc<Task>>,
}

/// Full and request sockets (`false`) and mini-sockets (`true`) that ended while sock_diag is being read, by cookie: what it says of them is old. `None` afterwards.
#[derive(Debug, Default)]
struct EndedSockets(Option<HashSet<(u64, bool)>>);

impl Common {
    pub(super) fn new(symbols: Symbols) -> Self {
        Self { symbols, ended: EndedSockets(Some(HashSet::new())), ..Self::default() }
    }

    /// Where what does not fit together is counted.
    pub(super) fn unmatched(&mut self) -> &mut Unmatched {
        if self.thinned.is_some() { &mut self.tally.told_in_part } else { &mut self.tally.unmatched }
    }

    /// A process, as all its sockets have it.
    pub(super) fn share(&mut self, task: &Task) -> Arc<Task> {
        self.owners.share(task)
    }

    /// Which side made a connection whose birth was not seen, by its addresses and who was seen to listen. Nobody was seen to listen for one
    /// that is not known, so it is named after its remote end.
    pub(super) fn origin_of(&self, flow: &Flow) -> Origin {
        self.listened.tell(flow).unwrap_or(Origin::Unknown(Some(Endpoint::Remote)))
    }

    /// Which side made a connection that sock_diag lists.
    pub(super) fn seeded_origin(&self, seed: &Seed) -> Origin {
        match seed.state {
            // A socket of its own is one of two that connect to each other; else it is a request, and requests are a listener's.
            State::SynRecv if seed.task.is_none() => Origin::There,
            State::SynSent => Origin::Here,
            _ => seed.origin.unwrap_or_else(|| self.origin_of(&seed.flow)),
        }
    }

    /// What is said of a connection that sock_diag lists.
    pub(super) fn found(&self, seed: &Seed, owner: Option<Arc<Task>>, origin: Origin) -> Update {
        // That of a TIME_WAIT is told from its 60 s.
        let is_told = !(seed.mini && seed.state == State::TimeWait) || self.clock.other_length_ns().is_none();
        let by_ns = seed.by_ns.filter(|_| is_told);
        Update::Found(OlderConnection { id: seed.cookie, flow: seed.flow, state: seed.state, owner, origin, by_ns })
    }

    /// What ends from now on, a listing may still show.
    pub(super) fn remember_ends(&mut self) {
        self.ended.0.get_or_insert_default();
    }

    /// The listings have shown all that they will show of those that ended.
    pub(super) fn forget_ends(&mut self) {
        self.ended.0 = None;
    }

    /// A full socket or a request socket ended.
    pub(super) fn full_ended(&mut self, cookie: u64) {
        self.ended.add(cookie, false);
    }

    /// A mini-socket ended.
    pub(super) fn mini_ended(&mut self, cookie: u64) {
        self.ended.add(cookie, true);
    }

    /// Whether what a listing shows has ended since.
    pub(super) fn has_ended(&self, seed: &Seed) -> bool {
        self.ended.0.as_ref().is_some_and(|ended| ended.contains(&(seed.cookie, seed.mini)))
    }
}

impl SharedOwners {
    fn share(&mut self, task: &Task) -> Arc<Task> {
        // The one that did something last is the one that does something next.
        if let Some(owner) = self.last.as_ref().filter(|owner| ***owner == *task) {
            return owner.clone();
        }
        let owner = self.find(task);
        self.last = Some(owner.clone());
        owner
    }

    fn find(&mut self, task: &Task) -> Arc<Task> {
        if let Some(owner) = self.all.get(task) {
            return owner.clone();
        }
        if self.all.len() >= SHARED_OWNERS {
            self.all.clear();
        }
        let owner = Arc::new(task.clone());
        self.all.insert(owner.clone());
        owner
    }
}

impl EndedSockets {
    fn add(&mut self, cookie: u64, mini: bool) {
        if let Some(ended) = &mut self.0
            && cookie != 0
        {
            ended.insert((cookie, mini));
        }
    }
}
