//! What mini-sockets have in common with many others: it is there once for all of them, and each has its number. Most of a million are of a handful of
//! kinds: those of a service, made by one process in one way.

use std::{
    hash::{BuildHasher, Hash},
    sync::Arc,
};

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::{
    event::{Reuse, Task},
    origin::Origin,
};

/// Everything that is known of a mini-socket but who it is, and when what happened to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct MiniKind {
    pub(super) owner: Option<Arc<Task>>,
    pub(super) predates: bool,
    pub(super) origin: Origin,
    pub(super) reuse: Option<Reuse>,
    pub(super) v6only: Option<bool>,
    pub(super) timestamps: Option<bool>,
    /// Whether bind() gave its port; `None` where connect() was not seen.
    pub(super) bound: Option<bool>,
}

/// One of which nothing is known.
static UNKNOWN: MiniKind = MiniKind {
    owner: None,
    predates: false,
    origin: Origin::Unknown(None),
    reuse: None,
    v6only: None,
    timestamps: None,
    bound: None,
};

/// The number of a kind, as long as there are mini-sockets of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KindId(u32);

/// The kinds that there are, and how many mini-sockets are of each.
#[derive(Debug, Default)]
pub(super) struct MiniKinds {
    hasher: DefaultHashBuilder,
    places: HashTable<u32>,
    kinds: Vec<(MiniKind, u32)>,
    free: Vec<u32>,
    /// What the latest was is what the next one is, mostly.
    last: Option<KindId>,
}

impl MiniKinds {
    /// One more of this kind.
    pub(super) fn hold(&mut self, kind: MiniKind) -> KindId {
        let id = match self.last.filter(|last| *self.get(*last) == kind) {
            Some(last) => last,
            None => self.find(kind),
        };
        self.last = Some(id);
        if let Some((_, count)) = self.kinds.get_mut(id.0 as usize) {
            *count += 1;
        }
        id
    }

    fn find(&mut self, kind: MiniKind) -> KindId {
        let Self { hasher, places, kinds, free, .. } = self;
        let is_it = |place: &u32| kinds.get(*place as usize).is_some_and(|(other, _)| *other == kind);
        let hash = hasher.hash_one(&kind);
        if let Some(place) = places.find(hash, is_it) {
            return KindId(*place);
        }
        let place = match free.pop() {
            Some(place) => {
                if let Some(slot) = kinds.get_mut(place as usize) {
                    *slot = (kind, 0);
                }
                place
            }
            None => {
                kinds.push((kind, 0));
                // There are no more kinds than mini-sockets, whose places are as long.
                kinds.len() as u32 - 1
            }
        };
        let hash_of = |place: &u32| kinds.get(*place as usize).map_or(0, |(kind, _)| hasher.hash_one(kind));
        places.insert_unique(hash, place, hash_of);
        KindId(place)
    }

    /// What one of this kind is.
    pub(super) fn get(&self, id: KindId) -> &MiniKind {
        self.kinds.get(id.0 as usize).map_or(&UNKNOWN, |(kind, _)| kind)
    }

    /// One less of this kind. With the last of them it is forgotten.
    pub(super) fn release(&mut self, id: KindId) {
        let Self { hasher, places, kinds, free, last } = self;
        let Some((kind, count)) = kinds.get_mut(id.0 as usize) else { return };
        *count = count.saturating_sub(1);
        if *count > 0 {
            return;
        }
        let hash = hasher.hash_one(&*kind);
        if let Ok(found) = places.find_entry(hash, |place| *place == id.0) {
            found.remove();
        }
        *kind = UNKNOWN.clone();
        *last = last.filter(|last| *last != id);
        if places.is_empty() {
            (*kinds, *free) = (Vec::new(), Vec::new());
        } else {
            free.push(id.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::{MiniKind, MiniKinds, UNKNOWN};
    use crate::{event::Task, origin::Origin};

    fn kind(pid: u32, predates: bool) -> MiniKind {
        let task = Task { pid, uid: 0, cgroup: 0, comm: [0; 16] };
        MiniKind { owner: Some(task.into()), predates, origin: Origin::Here, ..UNKNOWN.clone() }
    }

    proptest! {
        #[test]
        fn a_kind_has_its_number_as_long_as_there_are_any(steps in prop::collection::vec((0..6u32, any::<bool>(), 0..3u8), 0..200)) {
            let mut kinds = MiniKinds::default();
            let mut held: HashMap<(u32, bool), Vec<_>> = HashMap::new();
            for (pid, predates, step) in steps {
                let of_it = held.entry((pid, predates)).or_default();
                match (step, of_it.pop()) {
                    (0, Some(id)) => kinds.release(id),
                    (_, popped) => {
                        let id = kinds.hold(kind(pid, predates));
                        prop_assert!(of_it.iter().chain(&popped).all(|other| *other == id));
                        of_it.extend(popped.into_iter().chain([id]));
                    }
                }
                for ((pid, predates), ids) in &held {
                    prop_assert!(ids.iter().all(|id| *kinds.get(*id) == kind(*pid, *predates)));
                }
                let there = held.values().filter(|ids| !ids.is_empty()).count();
                prop_assert_eq!(kinds.places.len(), there);
                prop_assert!(kinds.kinds.len() <= 12);
            }
        }
    }
}
