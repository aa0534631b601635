//! Network namespaces as they were found a moment ago: so that what is read each second does not look at all processes each time. Nothing is kept open
//! meanwhile, as an open file would keep a namespace alive.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{Netns, all, inode};

/// How old what was found may be.
const OLD: Duration = Duration::from_secs(10);

/// Where one is missing, all processes are looked at again only after so many times as long as that took.
const SHARE: u32 = 20;

/// Where the network namespaces were last found.
#[derive(Default)]
pub struct Remembered {
    last: Mutex<Option<Found>>,
}

struct Found {
    places: Vec<Place>,
    at: Instant,
    took: Duration,
}

struct Place {
    inode: u32,
    first_process: Option<u32>,
    source: PathBuf,
}

impl Place {
    /// Whether the namespace can still be reached there.
    fn is_right(&self) -> bool {
        inode(&self.source) == Some(u64::from(self.inode))
    }
}

impl Remembered {
    /// Every network namespace that can be reached now.
    pub fn anew(&self) -> Vec<Netns> {
        let begun = Instant::now();
        let namespaces = all();
        let place =
            |ns: &Netns| Place { inode: ns.inode, first_process: ns.first_process, source: Path::to_owned(&ns.source) };
        let found = Found { places: namespaces.iter().map(place).collect(), at: Instant::now(), took: begun.elapsed() };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
        namespaces
    }

    /// Every network namespace that could be reached at most ten seconds ago: all are looked for anew where one of them, or one of
    /// those that are `wanted`, is not there.
    pub fn recent(&self, wanted: &[u32]) -> Vec<Netns> {
        self.if_recent(wanted).unwrap_or_else(|| self.anew())
    }

    fn if_recent(&self, wanted: &[u32]) -> Option<Vec<Netns>> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let Found { places, at, took } = last.as_ref()?;
        let age = at.elapsed();
        let has = |wanted: &u32| places.binary_search_by_key(wanted, |place| place.inode).is_ok();
        // One that only a socket keeps is found nowhere.
        let is_worth_it =
            age >= *took * SHARE && (places.iter().any(|place| !place.is_right()) || !wanted.iter().all(has));
        if age >= OLD.max(*took * SHARE) || is_worth_it {
            return None;
        }
        let ns = |place: &Place| Netns {
            inode: place.inode,
            first_process: place.first_process,
            source: place.source.clone(),
            handle: None,
        };
        Some(places.iter().map(ns).collect())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::system::netns::{OWN, here, inside};

    #[test]
    fn what_is_remembered_can_be_entered() {
        let own = u32::try_from(inode(Path::new(OWN)).unwrap()).unwrap();
        let remembered = Remembered::default();
        let anew: Vec<u32> = remembered.anew().iter().map(|ns| ns.inode).collect();
        let recent = remembered.if_recent(&[own]).unwrap();
        assert_eq!(recent.iter().map(|ns| ns.inode).collect::<Vec<_>>(), anew);
        let ns = recent.iter().find(|ns| ns.inode == own).unwrap();
        assert_eq!(inside(ns, || here(own).inode).unwrap(), own);
    }

    #[test]
    fn what_has_moved_or_is_missing_is_looked_for_anew() {
        let place = |inode, source: &str| Place { inode, first_process: None, source: source.into() };
        let own = u32::try_from(inode(Path::new(OWN)).unwrap()).unwrap();
        let remembered =
            |places, took| Remembered { last: Mutex::new(Some(Found { places, at: Instant::now(), took })) };
        let (fast, slow) = (Duration::ZERO, Duration::from_secs(1));
        assert!(Remembered::default().if_recent(&[]).is_none());
        assert!(remembered(vec![place(own, OWN)], fast).if_recent(&[own]).is_some());
        assert!(remembered(vec![place(own, OWN)], fast).if_recent(&[1]).is_none());
        assert!(remembered(vec![place(1, OWN)], fast).if_recent(&[]).is_none());
        assert!(remembered(vec![place(1, "/proc/self/ns/gone")], fast).if_recent(&[]).is_none());
        assert!(remembered(vec![place(1, OWN)], slow).if_recent(&[2]).is_some(), "not again so soon");
    }
}
