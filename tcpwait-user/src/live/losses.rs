//! When losses are looked for, and when the sockets are listed anew after one: seldom enough to cost little. Lists nothing itself.

use std::time::{Duration, Instant};

use anyhow::Result;

/// How often losses are looked for.
const LOOK: Duration = Duration::from_secs(1);

/// How long after a loss was noticed the listing may begin: it says nothing of the last second before it (`lifecycle/recovery.rs`).
const SETTLING: Duration = Duration::from_millis(1500);

/// How long after a listing the next one may come at the earliest, and of the time one in so many goes to them at most.
const PAUSE: Duration = Duration::from_secs(10);
const LISTING_SHARE: u32 = 20;

/// Losses so far, and the listing that is owed for them.
pub(super) struct Losses {
    lost: u64,
    next_look: Instant,
    owed: bool,
    next_listing: Instant,
}

impl Losses {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self { lost: 0, next_look: now + LOOK, owed: false, next_listing: now }
    }

    /// Looks for losses if it is time to: how many there are by now, if there are more than before.
    ///
    /// # Errors
    /// They cannot be counted.
    pub(super) fn grown(&mut self, count: impl Fn() -> Result<u64>) -> Result<Option<u64>> {
        let now = Instant::now();
        if now < self.next_look {
            return Ok(None);
        }
        self.next_look = now + LOOK;
        let lost = count()?;
        let grown = lost > self.lost;
        self.lost = lost;
        if grown {
            self.owed = true;
            self.next_listing = self.next_listing.max(now + SETTLING);
        }
        Ok(grown.then_some(lost))
    }

    /// More connections are told of again: those that there are must be listed.
    pub(super) fn owe_listing(&mut self) {
        self.owed = true;
        self.next_listing = self.next_listing.max(Instant::now() + SETTLING);
    }

    /// Whether a listing is to begin now.
    pub(super) fn begins_listing(&mut self) -> bool {
        let begins = self.owed && Instant::now() >= self.next_listing;
        self.owed &= !begins;
        begins
    }

    /// A listing is done, and took so long.
    pub(super) fn listed(&mut self, took: Duration) {
        self.next_listing = Instant::now() + PAUSE.max(took * LISTING_SHARE);
    }
}
