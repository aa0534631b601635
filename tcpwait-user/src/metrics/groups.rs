//! Groups that an exporter was asked for: each has a slot for as long as it is there, so that its counter never jumps. Who comes when every slot has its
//! group is counted among the others, and stays there.

use hashbrown::HashMap;

use crate::{
    aggregate::by::{GroupBy, Value},
    lifecycle::{Transition, Update},
    names::Names,
    tcp::State,
};

/// How often a group has to enter TIME_WAIT before it gets a slot: what connects once, as a health check does, is to take none.
const WORTH_A_SLOT: u64 = 10;

/// Groups that may wait for a slot: beyond, those that have waited longest begin anew.
const MAX_WAITING: usize = 10_000;

/// Entries to TIME_WAIT by group.
#[derive(Debug)]
pub struct GroupSlots {
    by: Vec<GroupBy>,
    top: usize,
    slots: Vec<(Box<[Value]>, u64)>,
    index: HashMap<Box<[Value]>, usize>,
    waiting: HashMap<Box<[Value]>, u64>,
    others: u64,
}

impl GroupSlots {
    /// GroupSlots for so many groups by these.
    pub fn new(by: Vec<GroupBy>, top: usize) -> Self {
        Self { by, top, slots: Vec::new(), index: HashMap::new(), waiting: HashMap::new(), others: 0 }
    }

    /// What the groups are by.
    pub fn by(&self) -> &[GroupBy] {
        &self.by
    }

    /// A connection did something. `names`: of pods.
    pub fn update(&mut self, update: &Update, names: &Names) {
        let Update::Transition(step) = update else { return };
        if step.to != State::TimeWait || self.by.is_empty() {
            return;
        }
        self.entered(self.key(step, names), step.stands_for.into());
    }

    fn key(&self, step: &Transition, names: &Names) -> Box<[Value]> {
        let owner = step.owner.as_deref().or(step.listener.as_deref());
        self.by.iter().map(|by| by.of(&step.flow, owner, step.origin, names)).collect()
    }

    fn entered(&mut self, key: Box<[Value]>, n: u64) {
        if let Some((_, count)) = self.index.get(&key).and_then(|index| self.slots.get_mut(*index)) {
            *count += n;
            return;
        }
        if self.is_full() {
            self.others += n;
            return;
        }
        if self.waiting.len() >= MAX_WAITING && !self.waiting.contains_key(&key) {
            self.waiting.clear();
        }
        let seen = self.waiting.entry(key.clone()).or_default();
        *seen += 1;
        if *seen < WORTH_A_SLOT {
            // Its counter begins with what comes after it has a slot: what was counted among the others is not moved.
            self.others += n;
            return;
        }
        self.waiting.remove(&key);
        self.index.insert(key.clone(), self.slots.len());
        self.slots.push((key, n));
    }

    /// Whether every slot has its group.
    pub fn is_full(&self) -> bool {
        self.slots.len() >= self.top
    }

    /// The groups that have a slot, and how often each entered TIME_WAIT since.
    pub fn groups(&self) -> impl Iterator<Item = (&[Value], u64)> {
        self.slots.iter().map(|(key, count)| (&**key, *count))
    }

    /// All others.
    pub fn others(&self) -> u64 {
        self.others
    }
}

#[cfg(test)]
mod tests {
    use super::{GroupSlots, Value};
    use crate::aggregate::by::GroupBy;

    #[test]
    fn a_slot_stays_with_its_group_and_nothing_is_counted_twice() {
        let mut slots = GroupSlots::new(vec![GroupBy::LocalPort], 2);
        let key = |number| -> Box<[Value]> { [Value::Number(number)].into() };
        for number in [1, 2, 3, 1, 2, 3] {
            (0..20).for_each(|_| slots.entered(key(number), 1));
        }
        let groups: Vec<_> = slots.groups().map(|(values, count)| (values.to_vec(), count)).collect();
        assert_eq!(groups, [(vec![Value::Number(1)], 31), (vec![Value::Number(2)], 31)]);
        assert!(slots.is_full());
        assert_eq!(slots.others() + 62, 120, "the first nine of each, and all of the third");
    }
}
