//! How much may be looked at: going through all that waits, or all connections there are, is paid for by the records that came. So the work that
//! a recording costs grows with its length and no faster, whatever is in it, and what is live never stays behind for the sake of a look around.

use hashbrown::HashMap;

/// For each record so many entries may be looked at. Of what was made by one record each, all can be gone through so often.
const FOR_A_RECORD: u64 = 64;

/// What may still be looked at.
#[derive(Debug, Default)]
pub(super) struct Effort {
    left: u64,
    #[cfg(test)]
    pub(super) spent: u64,
}

impl Effort {
    /// A record came.
    pub(super) fn record(&mut self) {
        self.left = self.left.saturating_add(FOR_A_RECORD);
    }

    /// Whether so many entries may be gone through now; if so, they are taken to be.
    pub(super) fn affords(&mut self, entries: usize) -> bool {
        let Some(left) = self.left.checked_sub(entries as u64) else { return false };
        self.left = left;
        #[cfg(test)]
        {
            self.spent += entries as u64;
        }
        true
    }
}

/// What it costs to go through a map.
pub(super) fn room<K, V>(map: &HashMap<K, V>) -> usize {
    if map.is_empty() { 0 } else { map.capacity() }
}

#[cfg(test)]
mod tests;
