//! A hash map for very many entries that are followed for a minute each: entries lie in chunks that never move, and only
//! their 4-byte places are hashed, so that growing neither copies them nor leaves half of their space empty.
//!
//! Knows nothing of what it holds. It keeps its chunks until it is empty, since what was needed once is needed again.

use std::hash::{BuildHasher, Hash};

use hashbrown::{DefaultHashBuilder, HashTable};

/// Entries of a chunk.
const CHUNK: usize = 4096;

/// A map from `K` to `V` that costs the size of an entry and 5 to 10 bytes.
#[derive(Debug)]
pub struct CompactMap<K, V, S = DefaultHashBuilder> {
    hasher: S,
    places: HashTable<u32>,
    slots: Slots<K, V>,
    free: Vec<u32>,
}

/// Where an entry is.
#[derive(Clone, Copy, Debug)]
pub struct Slot(u32);

type Slots<K, V> = Vec<Vec<Option<(K, V)>>>;

impl<K, V, S: Default> Default for CompactMap<K, V, S> {
    fn default() -> Self {
        Self { hasher: S::default(), places: HashTable::new(), slots: Vec::new(), free: Vec::new() }
    }
}

impl<K: Hash + Eq, V, S: BuildHasher> CompactMap<K, V, S> {
    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// What it costs to go through all entries: the places of those that there are, or were.
    pub fn room(&self) -> usize {
        self.slots.len().saturating_sub(1) * CHUNK + self.slots.last().map_or(0, Vec::len)
    }

    /// The value of a key.
    pub fn get(&self, key: &K) -> Option<&V> {
        let place = *self.places.find(self.hasher.hash_one(key), |place| holds(&self.slots, *place, key))?;
        slot(&self.slots, place).map(|(_, value)| value)
    }

    /// Whether there is an entry.
    pub fn contains_key(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    /// Where a key's entry is, for [`at_mut`](Self::at_mut); it holds until the entry is taken out.
    pub fn place_of(&self, key: &K) -> Option<Slot> {
        let place = self.places.find(self.hasher.hash_one(key), |place| holds(&self.slots, *place, key))?;
        Some(Slot(*place))
    }

    /// The value at a place, to be changed.
    pub fn at_mut(&mut self, place: Slot) -> Option<&mut V> {
        slot_mut(&mut self.slots, place.0)?.as_mut().map(|(_, value)| value)
    }

    /// Every entry, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.slots.iter().flatten().flatten().map(|(key, value)| (key, value))
    }

    /// The value of a key, to be changed.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let place = *self.places.find(self.hasher.hash_one(key), |place| holds(&self.slots, *place, key))?;
        slot_mut(&mut self.slots, place)?.as_mut().map(|(_, value)| value)
    }

    /// Adds an entry; returns the value that it replaces. Beyond 2^32 entries it adds nothing.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let hash = self.hasher.hash_one(&key);
        if let Some(place) = self.places.find(hash, |place| holds(&self.slots, *place, &key)) {
            let (_, old) = slot_mut(&mut self.slots, *place)?.as_mut()?;
            return Some(std::mem::replace(old, value));
        }
        let place = self.free.pop().or_else(|| self.grow())?;
        *slot_mut(&mut self.slots, place)? = Some((key, value));
        let Self { places, slots, hasher, .. } = self;
        places.insert_unique(hash, place, |other| slot(slots, *other).map_or(0, |(key, _)| hasher.hash_one(key)));
        None
    }

    /// Takes an entry out.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let hash = self.hasher.hash_one(key);
        let found = self.places.find_entry(hash, |place| holds(&self.slots, *place, key)).ok()?;
        let (place, _) = found.remove();
        let (_, value) = slot_mut(&mut self.slots, place)?.take()?;
        if self.places.is_empty() {
            (self.slots, self.free) = (Vec::new(), Vec::new());
        } else {
            self.free.push(place);
        }
        Some(value)
    }

    /// A place that was never used.
    fn grow(&mut self) -> Option<u32> {
        if self.slots.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.slots.push(Vec::with_capacity(CHUNK));
        }
        let before = (self.slots.len() - 1) * CHUNK;
        let chunk = self.slots.last_mut()?;
        let place = u32::try_from(before + chunk.len()).ok()?;
        chunk.push(None);
        Some(place)
    }
}

fn slot<K, V>(slots: &Slots<K, V>, place: u32) -> Option<&(K, V)> {
    let place = place as usize;
    slots.get(place / CHUNK)?.get(place % CHUNK)?.as_ref()
}

fn slot_mut<K, V>(slots: &mut Slots<K, V>, place: u32) -> Option<&mut Option<(K, V)>> {
    let place = place as usize;
    slots.get_mut(place / CHUNK)?.get_mut(place % CHUNK)
}

fn holds<K: Eq, V>(slots: &Slots<K, V>, place: u32, key: &K) -> bool {
    slot(slots, place).is_some_and(|(other, _)| other == key)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::{CHUNK, CompactMap};

    proptest! {
        #[test]
        fn it_does_what_a_hash_map_does(steps in prop::collection::vec((0..40u16, 0..4u8, any::<u32>()), 0..400)) {
            let (mut compact, mut naive) = (CompactMap::<u16, u32>::default(), HashMap::new());
            for (key, step, value) in steps {
                match step {
                    0 => prop_assert_eq!(compact.remove(&key), naive.remove(&key)),
                    1 => prop_assert_eq!(compact.get_mut(&key), naive.get_mut(&key)),
                    _ => prop_assert_eq!(compact.insert(key, value), naive.insert(key, value)),
                }
                prop_assert_eq!(compact.get(&key), naive.get(&key));
                prop_assert_eq!((compact.len(), compact.is_empty()), (naive.len(), naive.is_empty()));
            }
        }
    }

    #[test]
    fn places_are_used_again() {
        let mut map = CompactMap::<u32, u32>::default();
        for round in 0..5u32 {
            for key in 0..10_000u32 {
                assert_eq!(map.insert(key, round), None);
            }
            assert_eq!(map.slots.len(), 10_000usize.div_ceil(CHUNK));
            assert!((0..10_000).all(|key| map.get(&key) == Some(&round)));
            for key in 0..9_999 {
                assert_eq!(map.remove(&key), Some(round));
            }
            assert_eq!(map.remove(&9_999), Some(round));
            assert!(map.slots.is_empty());
        }
    }
}
