//! Connections in SYN_RECV: how long they were, and what became of them. Knows nothing of who they belong to.

use super::dwell::{Dwell, DwellSummary};
use crate::{
    lifecycle::{Reason, Timing, Transition},
    origin::Origin,
    tcp::State,
};

/// Counts over a time.
#[derive(Clone, Debug, Default)]
pub struct SynRecv {
    made: u64,
    made_dwell: Dwell,
    failed: [u64; Reason::ALL.len()],
    failed_dwells: [Dwell; Reason::ALL.len()],
    retransmits: u64,
    retransmitted: u64,
    without_request: u64,
}

/// What became of connections in SYN_RECV, by reason; `None`: the connection was made.
#[derive(Clone, Copy, Debug)]
pub struct SynRecvOutcome {
    /// Why none was made.
    pub reason: Option<Reason>,
    /// How many.
    pub count: u64,
    /// Time spent in SYN_RECV.
    pub dwell: DwellSummary,
}

impl SynRecvOutcome {
    /// The word for it, in text and JSON.
    pub fn name(&self) -> &'static str {
        self.reason.map_or("established", Reason::name)
    }
}

/// What a report says of connections in SYN_RECV.
#[derive(Clone, Debug, Default)]
pub struct SynRecvReport {
    /// The outcomes, those first whose connection was made, all others in their order; those that did not occur are left out.
    pub outcomes: Vec<SynRecvOutcome>,
    /// SYN-ACKs that were sent again, of all that left SYN_RECV.
    pub retransmits: u64,
    /// Connections for which any was.
    pub retransmitted: u64,
    /// Connections that were made and never were in SYN_RECV as far as could be seen: SYN cookies and TCP Fast Open have no request socket.
    pub without_request: u64,
}

impl SynRecv {
    /// A step of a connection, if it leaves SYN_RECV.
    pub fn step(&mut self, step: &Transition) {
        // A socket that connects to itself, or to one that connects to it, passes SYN_RECV as well, and nobody accepts it.
        if step.from != Some(State::SynRecv) || step.origin == Origin::Here {
            return;
        }
        let again = u64::from(step.retransmits.unwrap_or_default());
        let n = u64::from(step.stands_for);
        self.retransmits += n * again;
        self.retransmitted += n * u64::from(again > 0);
        let dwell = match step.reason.filter(|_| step.to == State::Close).map(of_syn_recv) {
            Some(reason) => {
                if let Some(count) = self.failed.get_mut(reason as usize) {
                    *count += n;
                }
                self.failed_dwells.get_mut(reason as usize)
            }
            None => {
                self.made += n;
                self.without_request += n * u64::from(step.dwell_ns.is_none() && !step.predates);
                Some(&mut self.made_dwell)
            }
        };
        if let (Some(dwell), Some(ns)) = (dwell, step.dwell_ns) {
            dwell.record(ns, step.timing != Timing::Exact);
        }
    }

    /// Adds what was counted over another time.
    pub fn add(&mut self, other: &Self) {
        self.made += other.made;
        self.made_dwell.add(&other.made_dwell);
        for (mine, theirs) in self.failed.iter_mut().zip(other.failed) {
            *mine += theirs;
        }
        for (mine, theirs) in self.failed_dwells.iter_mut().zip(&other.failed_dwells) {
            mine.add(theirs);
        }
        self.retransmits += other.retransmits;
        self.retransmitted += other.retransmitted;
        self.without_request += other.without_request;
    }

    /// What a report says.
    pub fn report(&self) -> SynRecvReport {
        let made = SynRecvOutcome { reason: None, count: self.made, dwell: self.made_dwell.summary() };
        let failed = Reason::ALL.into_iter().zip(self.failed).zip(&self.failed_dwells);
        let failed = failed.map(|((reason, count), dwell)| SynRecvOutcome {
            reason: Some(reason),
            count,
            dwell: dwell.summary(),
        });
        SynRecvReport {
            outcomes: std::iter::once(made).chain(failed).filter(|outcome| outcome.count > 0).collect(),
            retransmits: self.retransmits,
            retransmitted: self.retransmitted,
            without_request: self.without_request,
        }
    }
}

/// A full socket can be in SYN_RECV too (TCP Fast Open), and ends for other reasons than a request socket.
fn of_syn_recv(reason: Reason) -> Reason {
    match reason {
        Reason::TimedOut => Reason::Timeout,
        reason if Reason::OF_SYN_RECV.contains(&reason) => reason,
        _ => Reason::Unknown,
    }
}
