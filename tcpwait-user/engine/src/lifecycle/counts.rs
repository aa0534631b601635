//! What the model counts: what it has seen, and what did not fit together.

/// What the model could not fit together, by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unmatched {
    /// Ends of mini-sockets whose beginning was not seen.
    pub ends: u64,
    /// Beginnings of mini-sockets on a tuple whose former one was never seen to end.
    pub beginnings: u64,
    /// State changes that do not continue the state known.
    pub gaps: u64,
    /// Connections in SYN_RECV whose beginning or end was not seen.
    pub requests: u64,
    /// Connections whose end was not seen, and must have come: by their own clock, or by a new listing.
    pub overdue: u64,
}

impl Unmatched {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.ends + self.beginnings + self.gaps + self.requests + self.overdue
    }
}

/// What the model has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ModelCounts {
    /// Transitions yielded.
    pub transitions: u64,
    /// Mini-sockets that began: TIME_WAIT, and an orphan's FIN_WAIT2.
    pub minis_entered: u64,
    /// Mini-sockets that ended.
    pub minis_ended: u64,
    /// Connections that entered SYN_RECV.
    pub requests: u64,
    /// Passive connections that never were, since they have no request socket: SYN cookies, TCP Fast Open.
    pub without_request: u64,
    /// Sockets older than the tool that were taken in.
    pub seeded: u64,
    /// Of those, mini-sockets.
    pub seeded_minis: u64,
    /// What did not fit together.
    pub unmatched: Unmatched,
    /// The same since it first changed of how many connections one is told of: those that were there are told of in part, and nothing is lost.
    pub told_in_part: Unmatched,
}
