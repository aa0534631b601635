//! What the screen shows at one time: plain numbers, already counted. Times are nanoseconds of `CLOCK_MONOTONIC`.

use std::net::IpAddr;

use crate::{
    aggregate::{ports::report::PortsReport, report::StatReport},
    lifecycle::Reason,
};

/// A bar of [`TimeLeftBars`] is so many seconds wide.
pub const BAR_S: u64 = 5;

/// As many bars as cover the 60 s of TIME_WAIT.
pub const BARS: usize = 12;

/// What is shown at one time.
#[derive(Clone, Debug)]
pub struct TopSnapshot {
    /// Which one it is, the first is 1.
    pub number: u64,
    /// What `tcpwait stat` reports.
    pub report: StatReport,
    /// What `tcpwait ports` reports.
    pub ports: PortsReport,
    /// How long TIME_WAITs have to go.
    pub time_left: TimeLeftBars,
    /// TIME_WAITs that ended before their time, since the start, the most first.
    pub early: Vec<EarlyRow>,
    /// The number of the last story that was told by then.
    pub stories: u64,
    /// Add to `CLOCK_MONOTONIC` nanoseconds to get `CLOCK_REALTIME`.
    pub realtime_offset_ns: i128,
    /// When tracing began.
    pub started_ns: u64,
}

/// How long TIME_WAITs have to go, by their timers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TimeLeftBars {
    /// How many end within the first 5 s, the next 5 s, and so on.
    pub bars: [u64; BARS],
    /// How many have longer to go: segments restarted them just now, or this kernel's TIME_WAIT is longer.
    pub beyond: u64,
    /// How many should be over: they wait for their bucket of the timer wheel.
    pub over: u64,
    /// Of how many that is not known.
    pub unknown: u64,
}

impl TimeLeftBars {
    /// Takes in one that stands for so many; `left_ns`: how long it has to go, less than 0 where it should be over.
    pub fn add(&mut self, left_ns: Option<i64>, n: u64) {
        let Some(left_ns) = left_ns else {
            self.unknown += n;
            return;
        };
        let Ok(left_ns) = u64::try_from(left_ns) else {
            self.over += n;
            return;
        };
        let bar = usize::try_from(left_ns / (BAR_S * 1_000_000_000)).unwrap_or(usize::MAX);
        match self.bars.get_mut(bar) {
            Some(count) => *count += n,
            None => self.beyond += n,
        }
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.bars.iter().sum::<u64>() + self.beyond + self.over + self.unknown
    }
}

/// Who ended TIME_WAITs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EarlyEnder {
    /// A process of this machine, in a call of its own.
    Process([u8; 16]),
    /// The peer, by a segment.
    Peer(IpAddr),
    /// Nobody that is known.
    Unknown,
    /// One of those that are not counted by themselves, as there are too many.
    Other,
}

/// TIME_WAITs that ended before their time in one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EarlyRow {
    /// Why.
    pub reason: Reason,
    /// By whom.
    pub by: EarlyEnder,
    /// How many, since the start.
    pub count: u64,
    /// Whether that is an estimate, as one of those that were seen stands for several.
    pub estimate: bool,
    /// The mean time they had spent in TIME_WAIT; `None` where it is known of none.
    pub mean_ns: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::TimeLeftBars;

    #[test]
    fn each_is_in_one_bar() {
        let mut left = TimeLeftBars::default();
        let s = 1_000_000_000;
        for ns in [Some(0), Some(5 * s - 1), Some(5 * s), Some(60 * s - 1), Some(60 * s), Some(-1), None] {
            left.add(ns, 1);
        }
        assert_eq!(left.bars, [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!((left.beyond, left.over, left.unknown, left.total()), (1, 1, 1, 7));
    }
}
