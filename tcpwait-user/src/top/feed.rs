//! What passes between the thread that counts and the thread that draws. Neither ever waits for the other: snapshots that nobody has taken are kept up to a
//! bound, the oldest give way; the lock is held for as long as it takes to put something down.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::Notify;

use super::{bell::Bell, past, snapshot::TopSnapshot, stories::StoryRing};
use crate::{aggregate::by::GroupBy, names::Names};

/// Snapshots that are kept, here and on the screen.
pub const KEPT: usize = past::KEPT;

/// What the screen asks of whoever counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CountRequest {
    /// Group by these.
    GroupBy(Vec<GroupBy>),
    /// A snapshot for each such interval.
    Interval(Duration),
}

/// What there is that has not been seen.
#[derive(Debug, Default)]
pub struct Delivery {
    /// Snapshots, the newest last.
    pub snapshots: Vec<Arc<TopSnapshot>>,
    /// What became of connections meanwhile.
    pub stories: StoryRing,
    /// The names that are known by now.
    pub names: Arc<Names>,
    /// Everything begins anew: what came before is of no use.
    pub anew: bool,
    /// There will be no more.
    pub over: bool,
}

#[derive(Debug, Default)]
struct Undelivered {
    snapshots: VecDeque<Arc<TopSnapshot>>,
    stories: StoryRing,
    names: Arc<Names>,
    anew: bool,
    over: bool,
    requests: VecDeque<CountRequest>,
    screen_is_gone: bool,
}

/// Both directions; each side has a copy.
#[derive(Clone, Debug)]
pub struct Feed {
    undelivered: Arc<Mutex<Undelivered>>,
    /// Wakes whoever counts.
    wake: Arc<Notify>,
    /// Wakes the screen.
    bell: Arc<Bell>,
}

impl Feed {
    /// One with nothing in it.
    ///
    /// # Errors
    /// As [`Bell::new`].
    pub fn new() -> io::Result<Self> {
        Ok(Self { undelivered: Arc::default(), wake: Arc::default(), bell: Arc::new(Bell::new()?) })
    }

    /// Rings when there is something to take.
    pub fn bell(&self) -> &Bell {
        &self.bell
    }

    /// What was counted is there to be drawn.
    pub fn put(&self, snapshot: TopSnapshot, stories: StoryRing, names: Arc<Names>) {
        let snapshot = Arc::new(snapshot);
        let mut waiting = self.lock();
        if waiting.snapshots.len() >= KEPT {
            waiting.snapshots.pop_front();
        }
        waiting.snapshots.push_back(snapshot);
        waiting.stories.append(stories);
        waiting.names = names;
        self.bell.ring();
    }

    /// What was put before is of no use: the counting begins anew.
    pub fn begin_anew(&self) {
        let mut waiting = self.lock();
        (waiting.snapshots, waiting.stories) = (VecDeque::new(), StoryRing::default());
        (waiting.anew, waiting.over) = (true, false);
        self.bell.ring();
    }

    /// Nothing more will be counted.
    pub fn end(&self) {
        self.lock().over = true;
        self.bell.ring();
    }

    /// What is new since the last time, if anything is.
    pub fn take(&self) -> Option<Delivery> {
        let mut waiting = self.lock();
        if waiting.snapshots.is_empty() && !waiting.over && !waiting.anew {
            return None;
        }
        Some(Delivery {
            snapshots: waiting.snapshots.drain(..).collect(),
            stories: std::mem::take(&mut waiting.stories),
            names: Arc::clone(&waiting.names),
            anew: std::mem::take(&mut waiting.anew),
            over: waiting.over,
        })
    }

    /// The screen wants something counted otherwise.
    pub fn ask(&self, request: CountRequest) {
        self.lock().requests.push_back(request);
        self.wake.notify_one();
    }

    /// Tells whoever counts that the screen asks for something, or has ended.
    pub fn wake(&self) -> Arc<Notify> {
        Arc::clone(&self.wake)
    }

    /// What it wants.
    pub fn asked(&self) -> Option<CountRequest> {
        self.lock().requests.pop_front()
    }

    /// The screen has ended, however it did.
    pub fn screen_goes(&self) {
        self.lock().screen_is_gone = true;
        self.wake.notify_one();
    }

    /// Whether the screen has ended.
    pub fn is_screen_gone(&self) -> bool {
        self.lock().screen_is_gone
    }

    /// Nothing is left half done where somebody panics.
    fn lock(&self) -> MutexGuard<'_, Undelivered> {
        self.undelivered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
