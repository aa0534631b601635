//! When the kernel's own counters are read beside the tracing: seldom enough to cost little, and once more at the end.
//! Does not read them itself.

use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::Audited;
use crate::aggregate::audit::Reading;

/// How long the last reading of the kernel's own counters may take.
const LAST_READING: Duration = Duration::from_secs(10);

/// The same once a signal asked for the end: whoever hit Ctrl-C wants the prompt back.
const LAST_READING_AT_SIGNAL: Duration = Duration::from_millis(500);

/// Or so many times as long as one has taken: a machine with a thousand network namespaces takes longer.
const AS_BEFORE: u32 = 3;

/// How far they are apart at least; and in a recording, which is to stay small.
const APART: Duration = Duration::from_secs(1);
const APART_IN_A_RECORDING: Duration = Duration::from_secs(60);

/// How old the last reading may become where nothing has happened since.
const OLD: Duration = Duration::from_secs(10);

/// Of the time, one in so many goes to reading the kernel's own counters at most.
const READING_SHARE: u32 = 20;

/// Readings of the kernel's own counters after the first: one from time to time, one with a listing at the end.
pub(super) struct Readings {
    /// One that is being made, and how long it takes.
    pub(super) under_way: Option<oneshot::Receiver<(Reading, Duration)>>,
    /// Mini-sockets that the kernel side had seen begin before it was.
    pub(super) entered_before: Option<u64>,
    /// The last one has begun.
    pub(super) last_begun: bool,
    /// Whether a record came since one began.
    pub(super) has_news: bool,
    next: Option<Instant>,
    /// It is to end, at the latest then.
    pub(super) ends_at: Option<Instant>,
    longest: Duration,
    apart: Duration,
}

impl Readings {
    /// After a first one, which took so long.
    pub(super) fn after(first: Duration, audited: Audited) -> Self {
        let is_recorded = audited == Audited::Recorded;
        let apart = if is_recorded { APART_IN_A_RECORDING } else { APART };
        Self {
            under_way: None,
            entered_before: None,
            last_begun: false,
            has_news: false,
            // A recording has had its first.
            next: is_recorded.then(|| Instant::now() + apart),
            ends_at: None,
            longest: first,
            apart,
        }
    }

    /// Everything is to end, after the last reading.
    pub(super) fn end(&mut self, at_signal: bool) {
        let most = match at_signal {
            true => LAST_READING_AT_SIGNAL.max(self.longest * AS_BEFORE).min(LAST_READING),
            false => LAST_READING,
        };
        self.ends_at.get_or_insert_with(|| Instant::now() + most);
    }

    /// A reading took so long; the next one comes accordingly later.
    pub(super) fn took(&mut self, took: Duration) {
        self.longest = self.longest.max(took);
        self.next = Some(Instant::now() + (took * READING_SHARE).max(self.apart));
    }

    /// Only once the older sockets are known: without them there is little to compare.
    pub(super) fn are_due(&self, seeded: bool) -> bool {
        seeded
            && self.under_way.is_none()
            && match self.ends_at {
                Some(_) => !self.last_begun,
                None => self.next.is_none_or(|next| Instant::now() >= if self.has_news { next } else { next + OLD }),
            }
    }

    /// Whether the last one is done, or has had its time.
    pub(super) fn are_over(&self, at_once: bool) -> bool {
        self.ends_at.is_some_and(|ends_at| {
            at_once || (self.last_begun && self.under_way.is_none()) || Instant::now() >= ends_at
        })
    }
}
