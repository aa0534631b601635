//! Sockets by group: counts in each state under a key. As many groups as there are, since what is counted is there and then gone;
//! the report names the greatest and adds up the others.

use std::cmp::Reverse;

use hashbrown::HashMap;

use super::{
    STATES,
    report::{Group, GroupRows, StateRow},
};
use crate::{aggregate::by::Value, tcp::State};

type Counts = [u64; STATES];

/// The groups.
#[derive(Debug, Default)]
pub struct Groups {
    counts: HashMap<Box<[Value]>, Counts>,
    /// The key of the socket at hand: kept, so that only a new group allocates.
    key: Vec<Value>,
}

impl Groups {
    /// Counts a socket with this key.
    pub fn count(&mut self, key: impl Iterator<Item = Value>, state: State) {
        self.key.clear();
        self.key.extend(key);
        let counts = match self.counts.get_mut(self.key.as_slice()) {
            Some(counts) => counts,
            None => self.counts.entry(self.key.as_slice().into()).or_default(),
        };
        if let Some(count) = counts.get_mut(state as usize) {
            *count += 1;
        }
    }

    /// The first `top` of them, most sockets first, and all others in one; with counts of those `states` in which there are any.
    pub fn report(self, top: usize, states: &[StateRow]) -> GroupRows {
        let states: Vec<State> =
            states.iter().filter(|row| row.sockets.is_some_and(|count| count > 0)).map(|row| row.state).collect();
        let mut all: Vec<(Box<[Value]>, Counts)> = self.counts.into_iter().collect();
        all.sort_unstable_by(|(a, mine), (b, others)| {
            (Reverse(mine.iter().sum::<u64>()), a).cmp(&(Reverse(others.iter().sum()), b))
        });
        let others = all.split_off(top.min(all.len()));
        let of =
            |counts: &Counts| states.iter().map(|state| counts.get(*state as usize).copied().unwrap_or(0)).collect();
        let mut sum = Counts::default();
        for (_, counts) in &others {
            sum.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        }
        GroupRows {
            rows: all
                .into_iter()
                .map(|(key, counts)| Group { total: counts.iter().sum(), states: of(&counts), key: key.into_vec() })
                .collect(),
            folded: others.len() as u64,
            others: Group { key: Vec::new(), total: sum.iter().sum(), states: of(&sum) },
            states,
        }
    }
}
