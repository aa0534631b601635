//! Connects whose SYN was sent again: how many, how often, and how long those took that were made all the same, for each destination.
//! Memory is bounded: destinations beyond the limit are counted together.

use std::net::IpAddr;

use hashbrown::HashMap;

use super::dwell::{Dwell, DwellSummary};
use crate::{
    lifecycle::{Detail, Timing, Transition},
    tcp::{Interface, State},
};

/// Destinations that are kept apart.
const MAX_DESTINATIONS: usize = 4096;

/// Where a connect goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectDestination {
    /// The remote address.
    pub address: IpAddr,
    /// The remote port.
    pub port: u16,
    /// The interface that the socket is bound to, if it is to one.
    pub interface: Option<Interface>,
}

/// Counts over a time.
#[derive(Clone, Debug, Default)]
struct Tally {
    left: u64,
    made: u64,
    syns: u64,
    again: u64,
    soft: u64,
    dwell: Dwell,
}

/// What a report says of connects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectCounts {
    /// Connects that left SYN_SENT.
    pub left: u64,
    /// Of those, the ones that became connections.
    pub made: u64,
    /// SYNs that were sent again for them, those of connects that failed included.
    pub syn_retransmits: u64,
    /// Connects for which any was.
    pub retransmitted: u64,
    /// Connects that their process closed after an error that the kernel only noted (`soft-error`).
    pub soft_errors: u64,
    /// Time in SYN_SENT of those that were made after a SYN was sent again.
    pub dwell: DwellSummary,
}

/// A report on connects.
#[derive(Clone, Debug, Default)]
pub struct ConnectReport {
    /// All of them.
    pub all: ConnectCounts,
    /// The destinations to which a SYN was sent again, those first to which it was for most connects.
    pub rows: Vec<(ConnectDestination, ConnectCounts)>,
    /// Connects whose SYN was sent again to others.
    pub others: u64,
}

/// Counts of an interval and of the whole time.
#[derive(Debug, Default)]
pub struct Connects {
    interval: Tally,
    total: Tally,
    destinations: HashMap<ConnectDestination, (Tally, Tally)>,
}

impl Tally {
    fn step(&mut self, step: &Transition) {
        let again = u64::from(step.retransmits.unwrap_or_default());
        let made = step.to != State::Close;
        let n = u64::from(step.stands_for);
        self.left += n;
        self.made += n * u64::from(made);
        self.syns += n * again;
        self.again += n * u64::from(again > 0);
        self.soft += n * u64::from(step.detail == Some(Detail::SoftError));
        if let Some(ns) = step.dwell_ns.filter(|_| made && again > 0) {
            self.dwell.record(ns, step.timing != Timing::Exact);
        }
    }

    fn counts(&self) -> ConnectCounts {
        ConnectCounts {
            left: self.left,
            made: self.made,
            syn_retransmits: self.syns,
            retransmitted: self.again,
            soft_errors: self.soft,
            dwell: self.dwell.summary(),
        }
    }
}

impl Connects {
    /// A step of a connection, if it leaves SYN_SENT.
    pub fn step(&mut self, step: &Transition) {
        if step.from != Some(State::SynSent) {
            return;
        }
        self.interval.step(step);
        self.total.step(step);
        let flow = &step.flow;
        let to = ConnectDestination { address: flow.raddr, port: flow.rport, interface: flow.interface() };
        if self.destinations.len() < MAX_DESTINATIONS || self.destinations.contains_key(&to) {
            let new = || Tally { dwell: Dwell::coarse(), ..Tally::default() };
            let (interval, total) = self.destinations.entry(to).or_insert_with(|| (new(), new()));
            interval.step(step);
            total.step(step);
        }
    }

    /// A report with at most `top` destinations, on the interval or on the whole time.
    pub fn report(&self, whole: bool, top: usize) -> ConnectReport {
        let all = if whole { &self.total } else { &self.interval }.counts();
        let pick = |(interval, total): &(Tally, Tally)| if whole { total } else { interval }.counts();
        let mut rows: Vec<_> = self.destinations.iter().map(|(to, tallies)| (*to, pick(tallies))).collect();
        rows.retain(|(_, counts)| counts.retransmitted > 0);
        rows.sort_by(|(a, one), (b, other)| {
            (other.retransmitted, other.syn_retransmits).cmp(&(one.retransmitted, one.syn_retransmits)).then(a.cmp(b))
        });
        rows.truncate(top);
        let shown: u64 = rows.iter().map(|(_, counts)| counts.retransmitted).sum();
        ConnectReport { all, rows, others: all.retransmitted.saturating_sub(shown) }
    }

    /// The next interval begins.
    pub fn end_interval(&mut self) {
        self.interval = Tally::default();
        for (interval, _) in self.destinations.values_mut() {
            *interval = Tally { dwell: Dwell::coarse(), ..Tally::default() };
        }
    }
}
