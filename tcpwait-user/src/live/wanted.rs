//! When port settings are read beside the tracing: soon after a namespace appears in which somebody connects, then each second; seldom enough to cost
//! little. Does not read them itself.

use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::{Sink, beside::SettingsRead};
use crate::tcp::NetnsId;

/// How often it is asked which namespaces are of interest.
const ASK: Duration = Duration::from_millis(250);

/// Of the time, one part in so many goes to that at most.
const ASK_SHARE: u32 = 100;

/// How old settings may be; and where nothing has happened meanwhile.
const OLD: Duration = Duration::from_secs(1);
const OLDEST: Duration = Duration::from_secs(10);

/// Of the time, one in so many goes to reading them at most: all processes are looked at for their namespaces.
const SHARE: u32 = 20;

/// Readings of port settings.
pub(super) struct SettingsReadings {
    /// One that is being made.
    pub(super) under_way: Option<oneshot::Receiver<SettingsRead>>,
    /// Those that it was asked for last, in order.
    known: Vec<NetnsId>,
    /// Whether a record came since the last reading began.
    pub(super) has_news: bool,
    next_ask: Instant,
    next: Instant,
    not_before: Instant,
}

impl SettingsReadings {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self { under_way: None, known: Vec::new(), has_news: true, next_ask: now, next: now, not_before: now }
    }

    /// A reading took so long.
    pub(super) fn took(&mut self, took: Duration) {
        self.under_way = None;
        let now = Instant::now();
        self.not_before = now + took * SHARE;
        self.next = self.not_before.max(now + OLD);
    }

    /// The namespaces to be read now, if it is time to.
    pub(super) fn due(&mut self, sink: &impl Sink) -> Option<Vec<NetnsId>> {
        let now = Instant::now();
        if self.under_way.is_some() || now < self.next_ask || now < self.not_before {
            return None;
        }
        let mut wanted = sink.namespaces();
        wanted.sort_unstable();
        // There may be a million sockets to be gone through.
        self.next_ask = now + ASK.max(now.elapsed() * ASK_SHARE);
        let is_new = wanted.iter().any(|netns| self.known.binary_search(netns).is_err());
        let next = if self.has_news { self.next } else { self.next + OLDEST };
        if wanted.is_empty() || !(is_new || now >= next) {
            return None;
        }
        self.has_news = false;
        self.known.clone_from(&wanted);
        Some(wanted)
    }
}
