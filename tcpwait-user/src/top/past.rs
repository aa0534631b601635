//! The snapshots of the last while, to go back through. Bounded by number: a quarter of an hour at a snapshot a second.

use std::{collections::VecDeque, sync::Arc};

use super::snapshot::TopSnapshot;

/// Snapshots that are kept.
pub const KEPT: usize = 900;

/// Snapshots, the oldest first.
#[derive(Clone, Debug, Default)]
pub struct Past {
    kept: VecDeque<Arc<TopSnapshot>>,
}

impl Past {
    /// Takes one in.
    pub fn push(&mut self, snapshot: Arc<TopSnapshot>) {
        if self.kept.len() >= KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(snapshot);
    }

    /// The newest.
    pub fn newest(&self) -> Option<&Arc<TopSnapshot>> {
        self.kept.back()
    }

    /// The one with this number; of one that is no longer kept the oldest.
    pub fn at(&self, number: u64) -> Option<&Arc<TopSnapshot>> {
        self.kept.get(self.place(number)?)
    }

    /// The one so many later, or earlier.
    pub fn beside(&self, number: u64, by: i64) -> Option<&Arc<TopSnapshot>> {
        let place = i64::try_from(self.place(number)?).ok()?.saturating_add(by);
        let last = i64::try_from(self.kept.len()).ok()? - 1;
        self.kept.get(usize::try_from(place.clamp(0, last)).ok()?)
    }

    /// How many came after it.
    pub fn newer(&self, number: u64) -> u64 {
        self.newest().map_or(0, |newest| newest.number.saturating_sub(number))
    }

    /// Those on intervals up to this one, the newest first.
    pub fn until(&self, number: u64) -> impl Iterator<Item = &Arc<TopSnapshot>> {
        self.kept.iter().rev().filter(move |snapshot| snapshot.number <= number && !snapshot.report.is_final)
    }

    fn place(&self, number: u64) -> Option<usize> {
        let first = self.kept.front()?.number;
        Some(usize::try_from(number.saturating_sub(first)).ok()?.min(self.kept.len() - 1))
    }
}
