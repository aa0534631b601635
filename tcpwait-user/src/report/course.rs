//! What there was over time: sockets by state, entries to TIME_WAIT and exits, calls that failed, where events were lost.

use super::equal_parts::{EqualParts, Stretch};
use crate::{
    lifecycle::{Failure, Transition},
    tcp::State,
};

/// So many points has a picture at most: on paper each is half a millimetre wide.
const MOST: usize = 240;

/// How long a part is at first.
const SECOND_NS: u64 = 1_000_000_000;

/// A part of the time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CourseStretch {
    /// Sockets in each state, by the kernel's number less one, when it ended; `None` before anything was known.
    pub counts: Option<[u64; State::ALL.len()]>,
    /// TIME_WAITs that began.
    pub entered: u64,
    /// And that ended.
    pub left: u64,
    /// Calls that failed.
    pub failed: u64,
    /// Whether events were lost in it.
    pub lost: bool,
}

impl Stretch for CourseStretch {
    fn append(&mut self, later: Self) {
        self.counts = later.counts.or(self.counts);
        self.entered += later.entered;
        self.left += later.left;
        self.failed += later.failed;
        self.lost |= later.lost;
    }
}

/// The course of things.
#[derive(Debug)]
pub struct Course {
    buckets: EqualParts<CourseStretch>,
    now: [u64; State::ALL.len()],
    end_ns: u64,
}

impl Course {
    /// From this time on, in nanoseconds of `CLOCK_MONOTONIC`.
    pub fn new(begin_ns: u64) -> Self {
        Self { buckets: EqualParts::new(begin_ns, SECOND_NS, MOST), now: [0; State::ALL.len()], end_ns: begin_ns }
    }

    /// So many sockets are in a state from then on.
    pub fn count(&mut self, time_ns: u64, state: State, now: u64) {
        if let Some(count) = self.now.get_mut(state as usize - 1) {
            *count = now;
        }
        let counts = self.now;
        self.buckets.at(time_ns, |moment| moment.counts = Some(counts));
    }

    /// A connection took a step.
    pub fn step(&mut self, step: &Transition) {
        let n = u64::from(step.stands_for);
        self.buckets.at(step.time_ns, |moment| {
            moment.entered += n * u64::from(step.to == State::TimeWait);
            moment.left += n * u64::from(step.from == Some(State::TimeWait));
        });
    }

    /// A call failed.
    pub fn failed(&mut self, failure: &Failure) {
        self.buckets.at(failure.time_ns, |moment| moment.failed += failure.calls());
    }

    /// Events were lost.
    pub fn lost(&mut self, time_ns: u64) {
        self.buckets.at(time_ns, |moment| moment.lost = true);
    }

    /// It ends at this time: what was there last is so to the end.
    pub fn finish(&mut self, end_ns: u64) {
        self.end_ns = end_ns.max(self.buckets.begin_ns());
        self.buckets.at(self.end_ns, |_| ());
        let mut last = None;
        for moment in self.buckets.parts_mut() {
            last = moment.counts.or(last);
            moment.counts = last;
        }
    }

    /// From when to when, in nanoseconds of `CLOCK_MONOTONIC`.
    pub fn span_ns(&self) -> (u64, u64) {
        (self.buckets.begin_ns(), self.end_ns)
    }

    /// How long each part is, in nanoseconds.
    pub fn width_ns(&self) -> u64 {
        self.buckets.width_ns()
    }

    /// Each part, from the first on.
    pub fn moments(&self) -> &[CourseStretch] {
        self.buckets.parts()
    }
}
