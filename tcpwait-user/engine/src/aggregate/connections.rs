//! What the aggregates must remember of each connection, in as little memory as can be: the state that it is counted in,
//! and its group while it is in TIME_WAIT. Counts them by state as they come and go.

use super::{
    age::{AgeSummary, Ages},
    groups::GroupId,
};
use crate::{
    compact::Slot,
    connection::{ByName, Name},
    tcp::State,
};

/// One connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The state that it is counted in; `None` when it was not counted yet.
    pub state: Option<State>,
    /// Its group, once it is in TIME_WAIT.
    pub group: Option<GroupId>,
    /// Since when it is in that state.
    pub since: Since,
}

/// Since when a connection is in its state: twice the nanoseconds of `CLOCK_MONOTONIC`, and one more where it was seen to enter it; else it was
/// in it then already. 0 where nothing tells. A flag of its own would cost another 8 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Since(u64);

impl Since {
    /// It entered the state then.
    pub fn at(ns: u64) -> Self {
        Self(ns << 1 | 1)
    }

    /// It was in the state then, if that is known.
    pub fn by(ns: Option<u64>) -> Self {
        Self(ns.unwrap_or_default() << 1)
    }

    /// How long that is at this time, and whether exactly; `None` where nothing tells.
    fn age(self, now_ns: u64) -> Option<(u64, bool)> {
        (self.0 != 0).then(|| (now_ns.saturating_sub(self.0 >> 1), self.0 & 1 != 0))
    }
}

/// Every connection that is followed.
#[derive(Debug, Default)]
pub struct Connections {
    standings: ByName<Standing>,
    /// How many are in each state.
    now: [u64; State::ALL.len() + 1],
    /// How many of them are there under a name that may change.
    provisional: usize,
}

impl Connections {
    /// What is remembered of a connection, and where; be it under a former name, under which it is forgotten by that.
    pub fn recall(&mut self, name: Name) -> Option<(Standing, Option<Slot>)> {
        if let Some(place) = self.standings.place_of(&name) {
            return self.standings.at_mut(place).map(|standing| (*standing, Some(place)));
        }
        // Almost always; it saves a look for every new connection.
        if self.provisional == 0 {
            return None;
        }
        let former = self.forget(name.portless()).or_else(|| self.forget(name.anonymous()))?;
        Some((former, None))
    }

    /// Remembers, where it was recalled from if it was.
    pub fn keep(&mut self, name: Name, place: Option<Slot>, standing: Standing) {
        match place.and_then(|place| self.standings.at_mut(place)) {
            Some(kept) => {
                let former = std::mem::replace(kept, standing);
                self.uncount(former);
                self.count(standing);
            }
            None => drop(self.put(name, standing)),
        }
    }

    /// Remembers; returns what is replaced.
    pub fn put(&mut self, name: Name, standing: Standing) -> Option<Standing> {
        let replaced = self.standings.insert(name, standing);
        replaced.into_iter().for_each(|replaced| self.uncount(replaced));
        self.count(standing);
        self.provisional += usize::from(name.is_provisional() && replaced.is_none());
        replaced
    }

    /// How long those of each state have been in it at this time, by the state's number.
    pub fn ages(&self, now_ns: u64) -> [AgeSummary; State::ALL.len() + 1] {
        let mut all: [Ages; State::ALL.len() + 1] = Default::default();
        for (_, Standing { state, since, .. }) in self.standings.iter() {
            let ages = state.and_then(|state| all.get_mut(state as usize));
            if let Some((ages, (ns, exact))) = ages.zip(since.age(now_ns)) {
                ages.add(ns, exact);
            }
        }
        all.map(Ages::summary)
    }

    /// Forgets; returns what was remembered.
    pub fn forget(&mut self, name: Name) -> Option<Standing> {
        let forgotten = self.standings.remove(&name);
        forgotten.into_iter().for_each(|forgotten| self.uncount(forgotten));
        self.provisional -= usize::from(name.is_provisional() && forgotten.is_some());
        forgotten
    }

    /// How many are in a state.
    pub fn now(&self, state: State) -> u64 {
        self.now.get(state as usize).copied().unwrap_or_default()
    }

    fn count(&mut self, standing: Standing) {
        if let Some(now) = self.now_of(standing) {
            *now += 1;
        }
    }

    fn uncount(&mut self, standing: Standing) {
        if let Some(now) = self.now_of(standing) {
            *now = now.saturating_sub(1);
        }
    }

    fn now_of(&mut self, standing: Standing) -> Option<&mut u64> {
        self.now.get_mut(standing.state? as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::Name;

    #[test]
    fn a_connection_costs_32_bytes() {
        assert_eq!(size_of::<Option<(Name, super::Standing)>>(), 32);
    }
}
