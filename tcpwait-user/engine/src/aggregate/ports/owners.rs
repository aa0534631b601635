//! Whose ports they are: by the name of the process.

use hashbrown::HashMap;

use super::failures::Process;
use crate::event::Task;

/// Who has most, and how many.
pub(super) fn most(counts: &HashMap<[u8; 16], (Process, u64)>) -> Option<(Process, u64)> {
    counts.values().max_by_key(|(process, count)| (*count, std::cmp::Reverse(process.comm))).copied()
}

pub(super) fn count_owner(counts: &mut HashMap<[u8; 16], (Process, u64)>, owner: &Task) {
    let (process, count) = counts.entry(owner.comm).or_insert_with(|| (Process::of(owner), 0));
    process.and(owner);
    *count += 1;
}
