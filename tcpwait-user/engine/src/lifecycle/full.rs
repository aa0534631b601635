//! One connection in a full socket.

use std::sync::Arc;

use super::Transition;
use crate::{
    event::{Reuse, Seed, Task},
    origin::Origin,
    tcp::{Flow, State},
};

/// A connection in a full socket.
#[derive(Debug)]
pub(super) struct Full {
    pub(super) flow: Flow,
    pub(super) state: State,
    /// When `state` was entered; `None` when that was not seen.
    pub(super) since_ns: Option<u64>,
    /// When it was in `state` at the latest, where `since_ns` is not known; 0 where that is not known either.
    pub(super) by_ns: u64,
    pub(super) owner: Option<Arc<Task>>,
    /// Of a passive connection: whose listener it came through.
    pub(super) listener: Option<Arc<Task>>,
    pub(super) predates: bool,
    pub(super) origin: Origin,
    /// Whether others may share its port, when that was last read.
    pub(super) reuse: Option<Reuse>,
    /// Whether it has IPV6_V6ONLY, when that was last read.
    pub(super) v6only: Option<bool>,
    /// Whether bind() gave its port; `None` where connect() was not seen.
    pub(super) bound: Option<bool>,
    /// In SYN_SENT: the port it seemed to have was that of a former connection.
    pub(super) old_port: bool,
    /// In SYN_SENT: its SYN has been sent for certain.
    pub(super) syn_sent: bool,
    /// In SYN_SENT: the error that the kernel noted was there before.
    pub(super) old_soft: bool,
    /// Its first step, which waits for the port.
    pub(super) waiting: Option<Box<Transition>>,
}

impl Full {
    /// One of which nothing else is known.
    pub(super) fn new(flow: Flow, state: State, origin: Origin) -> Self {
        Self {
            flow,
            state,
            since_ns: None,
            by_ns: 0,
            owner: None,
            listener: None,
            predates: false,
            origin,
            reuse: None,
            v6only: None,
            bound: None,
            old_port: false,
            syn_sent: false,
            old_soft: false,
            waiting: None,
        }
    }

    /// One that sock_diag lists.
    pub(super) fn listed(seed: &Seed, owner: Option<Arc<Task>>, origin: Origin) -> Self {
        let by_ns = seed.by_ns.unwrap_or_default();
        // Without a SYN there is nothing to be sent again; one that waits for a second has sent it again (`TCP_TIMEOUT_INIT`).
        let syn_sent = seed.state == State::SynSent && seed.retransmits > 0;
        Self { by_ns, owner, v6only: seed.v6only, syn_sent, ..Self::new(seed.flow, seed.state, origin) }
    }

    /// Of one that is followed sock_diag may know what the events did not tell.
    pub(super) fn complete(&mut self, seed: &Seed, owner: Option<Arc<Task>>, origin: Origin) {
        self.owner = self.owner.take().or(owner);
        self.origin = self.origin.or(origin);
        self.v6only = self.v6only.or(seed.v6only);
    }

    /// How long it has been in its state at least, at this time, where that is all that is known.
    pub(super) fn dwell_at_least_ns(&self, time_ns: u64) -> Option<u64> {
        let bounded = self.since_ns.is_none() && self.by_ns != 0;
        if bounded { time_ns.checked_sub(self.by_ns) } else { None }
    }

    /// Whose it is, or whose listener it came through as long as nobody is known to have accepted it.
    pub(super) fn owner_or_listener(&self) -> Option<&Arc<Task>> {
        self.owner.as_ref().or(self.listener.as_ref())
    }
    /// Whether nothing has been heard of it since.
    pub(super) fn is_older(&self, time_ns: u64) -> bool {
        self.since_ns.is_none_or(|since_ns| since_ns < time_ns)
    }
}
