//! What a report on states says: plain numbers, already counted, for a view to show.

use crate::{
    aggregate::{
        age::AgeSummary,
        by::{GroupBy, Value},
    },
    tcp::State,
};

/// A report on one moment.
#[derive(Clone, Debug)]
pub struct StatesReport {
    /// How much of the machine was read.
    pub extent: Extent,
    /// The states asked for, in the order of a connection's life, also those in which no socket is.
    pub states: Vec<StatesRow>,
    /// Sockets in all of them.
    pub total: u64,
    /// Sockets in TIME_WAIT.
    pub time_wait: u64,
    /// Sockets in FIN_WAIT2 that are mini-sockets: connections that no process holds any more.
    pub orphans: u64,
    /// How long those in TIME_WAIT have to go.
    pub time_left: TimeLeft,
    /// What the groups are by; nothing: there are none.
    pub by: Vec<GroupBy>,
    /// The groups.
    pub groups: GroupRows,
    /// Only sockets that have been in their state for so many milliseconds are counted.
    pub older_than_ms: Option<u64>,
    /// Sockets that are not counted as nothing tells how long they have been in their state.
    pub ageless: u64,
    /// What could not be said of owners; `None` where they did not matter.
    pub holders: Option<UnknownHolders>,
}

/// How much of the machine was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Network namespaces whose sockets are counted.
    pub namespaces: u32,
    /// Those that are there and could not be read.
    pub unreadable: u32,
    /// Why, of the first of them.
    pub first_reason: Option<String>,
    /// There are processes whose network namespace may not be seen, so there may be more of them.
    pub unseen: bool,
    /// Of those read, the ones whose tables changed under the listing: sockets in them may be missing, or counted twice.
    pub inconsistent: u32,
    /// Sockets of a family or in a state that this tool knows nothing of. They are not counted.
    pub odd: u64,
}

impl Extent {
    /// A network namespace could not be read to its end.
    pub fn cannot(&mut self, reason: String) {
        self.unreadable += 1;
        self.first_reason.get_or_insert(reason);
    }
}

/// A state.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StatesRow {
    /// The state.
    pub state: State,
    /// Sockets in it; `None` for CLOSE, as the kernel lists none that is in it.
    pub sockets: Option<u64>,
    /// Of those, IPv4 connections and IPv4 listeners.
    pub v4: Option<u64>,
    /// Of those, IPv6; a listener on `::` is one.
    pub v6: Option<u64>,
    /// Share of all, 0 to 1; `None` where there are none.
    pub share: Option<f64>,
    /// How long they have been in it.
    pub age: AgeSummary,
}

impl StatesRow {
    /// A row of so many IPv4 and IPv6 sockets.
    pub(super) fn new(state: State, [v4, v6]: [u64; 2], total: u64, age: AgeSummary) -> Self {
        if state == State::Close {
            return Self { state, sockets: None, v4: None, v6: None, share: None, age };
        }
        let sockets = v4 + v6;
        let share = (total > 0).then(|| sockets as f64 / total as f64);
        Self { state, sockets: Some(sockets), v4: Some(v4), v6: Some(v6), share, age }
    }
}

/// Nominal times to go: the kernel's timer wheel adds up to 2 s at HZ=250. `None` where no socket is in TIME_WAIT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeLeft {
    /// The shortest, in milliseconds.
    pub least_ms: Option<u32>,
    /// Half of them have at most this, in milliseconds.
    pub median_ms: Option<u32>,
    /// The longest, in milliseconds.
    pub most_ms: Option<u32>,
    /// How many end within a bound; each includes those before.
    pub within: [Within; 4],
    /// How many are beyond their nominal end already.
    pub over: u64,
}

/// How many end within a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Within {
    /// The bound in milliseconds.
    pub bound_ms: u32,
    /// How many.
    pub count: u64,
}

/// Groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupRows {
    /// The states that the counts are of: those in which there is any socket.
    pub states: Vec<State>,
    /// The first groups, most sockets first.
    pub rows: Vec<StatesGroup>,
    /// How many groups are in `others`.
    pub folded: u64,
    /// All others, without a key.
    pub others: StatesGroup,
}

/// A group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatesGroup {
    /// One value for each thing that groups are by.
    pub key: Vec<Value>,
    /// Its sockets.
    pub total: u64,
    /// Its sockets in each of [`GroupRows::states`].
    pub states: Vec<u64>,
    /// For how many milliseconds the oldest of those whose age is told has been in its state at least.
    pub oldest_ms: Option<u32>,
}

/// Sockets whose owner is not known, wanted or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnknownHolders {
    /// They have no file: mini-sockets, request sockets, orphans, and connections that were not accepted yet.
    pub without_file: u64,
    /// Of those, the ones in TIME_WAIT.
    pub of_time_wait: u64,
    /// They have a file, and no process that could be looked into has it open, or several have.
    pub unknown: u64,
    /// Of those, the listeners that several processes have, which nothing tells apart.
    pub shared: u64,
}
