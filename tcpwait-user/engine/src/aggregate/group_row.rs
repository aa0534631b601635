//! A group as a report has it: what was counted of it, and who hung up first.

use std::net::IpAddr;

use super::{by::Value, dwell::DwellSummary, ends::EndRow};
use crate::{
    lifecycle::{Reason, Transition},
    tcp::State,
};

/// Which side hung up first, of connections that were closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClosedFirst {
    /// This side: its FIN was acknowledged before the peer's came.
    pub this_side: u64,
    /// The peer.
    pub peer: u64,
    /// Both at once (CLOSING).
    pub both: u64,
    /// Neither: the connection ended in ESTABLISHED, without a FIN.
    pub neither: u64,
}

impl ClosedFirst {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.this_side + self.peer + self.both + self.neither
    }

    /// So many more.
    pub fn count(&mut self, closer: Closer, n: u64) {
        match closer {
            Closer::ThisSide => self.this_side += n,
            Closer::Peer => self.peer += n,
            Closer::Both => self.both += n,
            Closer::Neither => self.neither += n,
        }
    }

    /// Adds others.
    pub fn add(&mut self, other: Self) {
        self.this_side += other.this_side;
        self.peer += other.peer;
        self.both += other.both;
        self.neither += other.neither;
    }
}

/// Who hung up first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Closer {
    /// This side.
    ThisSide,
    /// The peer.
    Peer,
    /// Both at once.
    Both,
    /// Neither.
    Neither,
}

impl Closer {
    /// Who did, if that is certain by this step: once the peer has answered, or when the connection is over; and by then it is known whose socket it is,
    /// which is certain once its process has closed it.
    pub fn of(step: &Transition) -> Option<Self> {
        let seen_to_end = step.reason != Some(Reason::Unknown);
        match (step.from, step.to) {
            (Some(State::FinWait1), State::FinWait2 | State::TimeWait) => Some(Self::ThisSide),
            (Some(State::FinWait1), State::Closing) => Some(Self::Both),
            (Some(State::CloseWait), State::LastAck | State::Close) => Some(Self::Peer),
            // Its FIN was on its way, or waited to be, and none of the peer's had come.
            (Some(State::FinWait1), State::Close) if seen_to_end => Some(Self::ThisSide),
            (Some(State::Established), State::Close) if seen_to_end => Some(Self::Neither),
            _ => None,
        }
    }
}

/// The groups of a report.
#[derive(Clone, Debug)]
pub struct Rows {
    /// The first, as sorted.
    pub groups: Vec<GroupRow>,
    /// All others; its key is empty.
    pub others: GroupRow,
    /// How many groups the others are.
    pub grouped: u64,
    /// Of those, how many were given up for the sake of memory, so that they could not come among the first.
    pub folded: u64,
}

impl Rows {
    /// Each of the sockets that there are now stands for so many. (Of what happened, that is counted as it happens.)
    pub fn stand_for(&mut self, n: u64) {
        self.groups.iter_mut().chain([&mut self.others]).for_each(|row| row.now *= n);
    }
}

/// A group in a report.
#[derive(Clone, Debug)]
pub struct GroupRow {
    /// What its connections have in common, one value for each [`GroupBy`](super::by::GroupBy).
    pub key: Box<[Value]>,
    /// Its sockets in TIME_WAIT.
    pub now: u64,
    /// How many of its sockets entered TIME_WAIT.
    pub entered: u64,
    /// The share of all that entered, 0 to 1; `None` when none did.
    pub share: Option<f64>,
    /// Entries a second; `None` for an interval without length.
    pub rate_per_s: Option<f64>,
    /// How many left.
    pub left: u64,
    /// Why they left, where any did.
    pub exits: Vec<(Reason, u64)>,
    /// Who hung up first.
    pub closed: ClosedFirst,
    /// How its connections ended, once they had been made.
    pub ends: Vec<EndRow>,
    /// Time spent in TIME_WAIT.
    pub dwell: DwellSummary,
    /// The most frequent remote address among those that entered.
    pub peer: Option<Peer>,
}

/// A remote address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The address.
    pub address: IpAddr,
    /// How many of its connections entered TIME_WAIT: at least, where a group has more peers than are counted.
    pub entered: u64,
    /// Whether there is no other.
    pub only: bool,
}
