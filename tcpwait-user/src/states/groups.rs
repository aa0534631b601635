//! Sockets by group: counts in each state under a key. As many groups as there are, since what is counted is there and then gone;
//! the report names the greatest and adds up the others.

use std::cmp::Reverse;

use hashbrown::HashMap;

use super::{
    ListedSocket, STATES,
    report::{GroupRows, StatesGroup, StatesRow},
};
use crate::{aggregate::by::Value, tcp::State};

/// What is counted of a group: sockets by state, and the age of the oldest.
#[derive(Clone, Copy, Debug, Default)]
struct GroupCounts {
    states: [u64; STATES],
    oldest_ms: Option<u32>,
}

impl GroupCounts {
    fn total(&self) -> u64 {
        self.states.iter().sum()
    }

    fn add(&mut self, other: &Self) {
        self.states.iter_mut().zip(other.states).for_each(|(sum, count)| *sum += count);
        self.oldest_ms = self.oldest_ms.max(other.oldest_ms);
    }

    fn group(&self, key: Vec<Value>, states: &[State]) -> StatesGroup {
        let of = |state: &State| self.states.get(*state as usize).copied().unwrap_or(0);
        StatesGroup { key, total: self.total(), states: states.iter().map(of).collect(), oldest_ms: self.oldest_ms }
    }
}

/// The groups.
#[derive(Debug, Default)]
pub struct StatesGroups {
    counts: HashMap<Box<[Value]>, GroupCounts>,
    /// The key of the socket at hand: kept, so that only a new group allocates.
    key: Vec<Value>,
}

impl StatesGroups {
    /// Counts a socket with this key.
    pub fn count(&mut self, key: impl Iterator<Item = Value>, socket: &ListedSocket) {
        self.key.clear();
        self.key.extend(key);
        let counts = match self.counts.get_mut(self.key.as_slice()) {
            Some(counts) => counts,
            None => self.counts.entry(self.key.as_slice().into()).or_default(),
        };
        if let Some(count) = counts.states.get_mut(socket.state as usize) {
            *count += 1;
        }
        counts.oldest_ms = counts.oldest_ms.max(socket.at_least_ms);
    }

    /// The first `top` of them, most sockets first, and all others in one; with counts of those `states` in which there are any.
    pub fn report(self, top: usize, states: &[StatesRow]) -> GroupRows {
        let states: Vec<State> =
            states.iter().filter(|row| row.sockets.is_some_and(|count| count > 0)).map(|row| row.state).collect();
        let mut all: Vec<(Box<[Value]>, GroupCounts)> = self.counts.into_iter().collect();
        all.sort_unstable_by(|(a, mine), (b, others)| (Reverse(mine.total()), a).cmp(&(Reverse(others.total()), b)));
        let others = all.split_off(top.min(all.len()));
        let mut sum = GroupCounts::default();
        others.iter().for_each(|(_, counts)| sum.add(counts));
        GroupRows {
            rows: all.into_iter().map(|(key, counts)| counts.group(key.into_vec(), &states)).collect(),
            folded: others.len() as u64,
            others: sum.group(Vec::new(), &states),
            states,
        }
    }
}
