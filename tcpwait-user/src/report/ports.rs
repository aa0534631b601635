//! Ports in use towards each destination over time, and connect() that failed there.

use hashbrown::HashMap;

use super::equal_parts::{EqualParts, Stretch};
use crate::{
    aggregate::ports::{
        forecast::Forecast,
        report::{PortDestination, PortRow, PortsReport},
    },
    lifecycle::{Call, Failure},
};

/// So many parts of time at most, as the course of all has.
const MOST: usize = 240;

/// How long a part is at first.
const SECOND_NS: u64 = 1_000_000_000;

/// So many destinations are looked at in a part of the time: those first that are full or will be soonest.
pub const LOOKED_AT: usize = 32;

/// So many destinations to which connect() failed are kept apart in a part of the time.
const MAX_FAILED: usize = 256;

/// How a destination stood.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PortsThen {
    /// When, in nanoseconds of `CLOCK_MONOTONIC`.
    pub time_ns: u64,
    /// Ports in use, of the range.
    pub in_use: u64,
    /// Ports that connect() may take; `None` where that is not known.
    pub size: Option<u64>,
    /// What was foreseen.
    pub forecast: Option<Forecast>,
}

/// A part of the time.
#[derive(Clone, Debug, Default)]
struct PortsStretch {
    /// How each destination stood when it was last looked at; `None`: nobody looked.
    then: Option<HashMap<PortDestination, PortsThen>>,
    /// connect() that failed.
    failed: HashMap<PortDestination, u64>,
}

impl Stretch for PortsStretch {
    fn append(&mut self, later: Self) {
        self.then = later.then.or(self.then.take());
        for (destination, failed) in later.failed {
            *self.failed.entry(destination).or_default() += failed;
        }
    }
}

/// A destination over time.
#[derive(Clone, Debug)]
pub struct DestinationOverTime {
    /// The destination.
    pub destination: PortDestination,
    /// How it stood at the end of each part; `None` before it was there.
    pub then: Vec<Option<PortsThen>>,
    /// connect() that failed in each part.
    pub failed: Vec<u64>,
}

impl DestinationOverTime {
    /// The most ports in use.
    pub fn peak(&self) -> u64 {
        self.then.iter().flatten().map(|then| then.in_use).max().unwrap_or_default()
    }

    /// Ports that connect() may take, as known last.
    pub fn size(&self) -> Option<u64> {
        self.then.iter().rev().flatten().find_map(|then| then.size)
    }

    /// The first of the last forecasts without a break that said the ports would run out or stay at some number.
    pub fn foreseen(&self) -> Option<PortsThen> {
        let looks_ahead =
            |then: &PortsThen| matches!(then.forecast, Some(Forecast::FullIn { .. } | Forecast::Steady { .. }));
        let known = || self.then.iter().rev().flatten().skip_while(|then| !looks_ahead(then));
        let kind = known().next()?.forecast.as_ref().map(std::mem::discriminant);
        known().take_while(|then| then.forecast.as_ref().map(std::mem::discriminant) == kind).last().copied()
    }
}

/// Ports over time.
#[derive(Debug)]
pub struct PortsCourse {
    parts: EqualParts<PortsStretch>,
}

impl PortsCourse {
    /// From this time on, in nanoseconds of `CLOCK_MONOTONIC`.
    pub fn new(begin_ns: u64) -> Self {
        Self { parts: EqualParts::new(begin_ns, SECOND_NS, MOST) }
    }

    /// A call failed.
    pub fn failed(&mut self, failure: &Failure) {
        if failure.call != Call::Connect {
            return;
        }
        let destination = PortDestination::of(&failure.flow);
        self.parts.at(failure.time_ns, |part| {
            if part.failed.len() < MAX_FAILED || part.failed.contains_key(&destination) {
                *part.failed.entry(destination).or_default() += failure.calls();
            }
        });
    }

    /// How ports stand when the report ends.
    pub fn look(&mut self, report: &PortsReport) {
        let then = |row: &PortRow| PortsThen {
            time_ns: report.end_ns,
            in_use: row.in_use,
            size: row.size,
            forecast: row.forecast,
        };
        let then = report.rows.iter().map(|row| (row.destination, then(row))).collect();
        self.parts.at(report.end_ns, |part| part.then = Some(then));
    }

    /// It ends at this time: what was there last is so to the end.
    pub fn finish(&mut self, end_ns: u64) {
        self.parts.at(end_ns, |_| ());
        let mut last = None;
        for part in self.parts.parts_mut() {
            last = part.then.take().or(last);
            part.then.clone_from(&last);
        }
    }

    /// How long each part is, in nanoseconds.
    pub fn width_ns(&self) -> u64 {
        self.parts.width_ns()
    }

    /// The destinations that were fullest at any time, the fullest first: by the share of their ports, or by their number where that is not known.
    pub fn fullest(&self, most: usize) -> Vec<DestinationOverTime> {
        let mut peaks: HashMap<PortDestination, (f64, u64)> = HashMap::new();
        for (destination, then) in self.parts.parts().iter().filter_map(|part| part.then.as_ref()).flatten() {
            let share = then.size.map_or(0.0, |size| then.in_use as f64 / size.max(1) as f64);
            let peak = peaks.entry(*destination).or_default();
            *peak = (peak.0.max(share), peak.1.max(then.in_use));
        }
        let failed = self.parts.parts().iter().flat_map(|part| part.failed.keys());
        failed.for_each(|destination| {
            peaks.entry(*destination).or_default();
        });
        let mut fullest: Vec<(PortDestination, (f64, u64))> = peaks.into_iter().collect();
        fullest.sort_unstable_by(|(a, one), (b, other)| {
            other.0.total_cmp(&one.0).then(other.1.cmp(&one.1)).then(a.cmp(b))
        });
        fullest.truncate(most);
        fullest.into_iter().map(|(destination, _)| self.over_time(destination)).collect()
    }

    fn over_time(&self, destination: PortDestination) -> DestinationOverTime {
        let parts = self.parts.parts();
        // Once it was there, that it is not among those looked at means that it holds none, unless there were too many to look at.
        let mut before: Option<PortsThen> = None;
        let then = parts.iter().map(|part| {
            let looked_at = part.then.as_ref()?;
            let none = before.filter(|_| looked_at.len() < LOOKED_AT);
            let gone = none.map(|then| PortsThen { in_use: 0, forecast: None, ..then });
            before = looked_at.get(&destination).copied().or(gone);
            before
        });
        DestinationOverTime {
            destination,
            then: then.collect(),
            failed: parts.iter().map(|part| part.failed.get(&destination).copied().unwrap_or_default()).collect(),
        }
    }
}
