//! Whose something is that is measured: what is kept apart, how much of it, and what people call it.

use hashbrown::HashMap;

use crate::{
    aggregate::{by::Value, failures::FailureKind},
    tcp::NetnsId,
};

/// Groups and kinds of failures that are kept apart; what comes beyond is counted together.
pub(super) const MAX_SUBJECTS: usize = 1000;

/// Groups whose durations are kept, which take more room.
pub(super) const MAX_TIMED: usize = 100;

/// Whose something is: a group's key, or what failed; `None`: of all that came beyond the limit.
pub(super) type Subject<K> = Option<K>;

/// What comes beyond the limit.
pub(super) const OTHERS: &str = "all others";

/// What people call things that a recording has numbers for.
pub trait DiffNames {
    /// A group.
    fn group(&self, key: &[Value]) -> String;
    /// What failed: whose call, and where to.
    fn failure(&self, kind: &FailureKind) -> String;
    /// A network namespace.
    fn netns(&self, netns: NetnsId) -> String;
}

/// Its own place, as long as there is room; else that of all others.
pub(super) fn kept_apart<K: Eq + std::hash::Hash, V>(
    known: &HashMap<Subject<K>, V>,
    key: K,
    most: usize,
) -> Subject<K> {
    let key = Some(key);
    if known.len() < most || known.contains_key(&key) { key } else { None }
}
