//! Calls that failed: how often, why, whose and where. Memory is bounded: what comes beyond the limit is counted together.

use std::{net::IpAddr, sync::Arc};

use hashbrown::HashMap;

use crate::{
    lifecycle::{Call, Failure, Why},
    tcp::{Interface, NetnsId},
};

/// Kinds of failures that are kept apart.
const MAX_KINDS: usize = 1000;

/// What failures have in common that are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FailureKind {
    /// The call.
    pub call: Call,
    /// Why it failed.
    pub why: Why,
    /// Its errno, positive; 0 where the process gave up.
    pub errno: u16,
    /// The process's name, NUL-padded; `None` where it is not known.
    pub comm: Option<[u8; 16]>,
    /// Of connect() the remote address, else the local one.
    pub address: IpAddr,
    /// Likewise the port; 0 is any.
    pub port: u16,
    /// The interface that the socket is bound to, if it is to one.
    pub interface: Option<Interface>,
    /// The network namespace.
    pub netns: NetnsId,
}

impl FailureKind {
    /// What a failure is counted with.
    pub fn of(failure: &Failure) -> Self {
        let Failure { call, why, errno, flow, owner, .. } = failure;
        let (address, port) = match call {
            Call::Connect => (flow.raddr, flow.rport),
            Call::Bind | Call::Listen => (flow.laddr, flow.lport),
        };
        let comm = owner.as_ref().map(|task| task.comm);
        let (interface, netns) = (flow.interface(), flow.netns);
        Self { call: *call, why: *why, errno: *errno, comm, address, port, interface, netns }
    }
}

/// A row of a report.
#[derive(Clone, Debug)]
pub struct FailureRow {
    /// What was counted.
    pub kind: FailureKind,
    /// How many.
    pub count: u64,
    /// Of calls that found their port held the last, which knows by whom; of those that were given up, which knows how many SYNs had no answer.
    pub last: Option<Arc<Failure>>,
}

/// What a report says of calls that failed.
#[derive(Clone, Debug, Default)]
pub struct FailureReport {
    /// How many in all.
    pub total: u64,
    /// The most frequent kinds.
    pub rows: Vec<FailureRow>,
    /// Those that no row is of.
    pub others: u64,
    /// Calls that fail before anything is sent are not told of, and not among these: bind(), listen(), and connect() before its SYN.
    pub partial: bool,
}

/// Counts of an interval and of the whole time.
#[derive(Debug, Default)]
pub struct CallFailures {
    kinds: HashMap<FailureKind, Kind>,
    interval: u64,
    total: u64,
}

/// What is kept of one kind.
#[derive(Debug, Default)]
struct Kind {
    interval: u64,
    total: u64,
    last: Option<Arc<Failure>>,
}

impl CallFailures {
    /// A call failed.
    pub fn add(&mut self, failure: &Failure) {
        let kind = FailureKind::of(failure);
        let calls = failure.calls();
        self.interval += calls;
        self.total += calls;
        if self.kinds.len() < MAX_KINDS || self.kinds.contains_key(&kind) {
            let kept = self.kinds.entry(kind).or_default();
            kept.interval += calls;
            kept.total += calls;
            if matches!(failure.why, Why::PortHeld | Why::GivenUp) {
                kept.last = Some(Arc::new(failure.clone()));
            }
        }
    }

    /// A report with at most `top` rows, on the interval or on the whole time.
    pub fn report(&self, whole: bool, top: usize) -> FailureReport {
        let pick = |kept: &Kind| if whole { kept.total } else { kept.interval };
        let counted = self.kinds.iter().filter(|(_, kept)| pick(kept) > 0);
        let mut rows: Vec<FailureRow> = counted
            .map(|(kind, kept)| FailureRow { kind: *kind, count: pick(kept), last: kept.last.clone() })
            .collect();
        rows.sort_by(|one, other| other.count.cmp(&one.count).then_with(|| one.kind.cmp(&other.kind)));
        rows.truncate(top);
        let total = if whole { self.total } else { self.interval };
        let shown: u64 = rows.iter().map(|row| row.count).sum();
        FailureReport { total, rows, others: total.saturating_sub(shown), partial: false }
    }

    /// The next interval begins.
    pub fn end_interval(&mut self) {
        self.interval = 0;
        self.kinds.values_mut().for_each(|kept| kept.interval = 0);
    }
}
